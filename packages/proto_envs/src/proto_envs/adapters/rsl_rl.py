"""rsl_rl: `OnPolicyRunner(RslRlVecEnv(env), settings)`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from proto_envs.adapters.wrapping import mean_metrics, missing_library, unwrapped_proto
from proto_envs.vector_env import ProtoVectorEnv

try:
    from rsl_rl.env import VecEnv
    from tensordict import TensorDict
except ImportError as error:
    raise missing_library("rsl-rl-lib", "rsl-rl") from error

__all__ = ["RslRlVecEnv"]


class RslRlVecEnv(VecEnv):
    """A Proto environment as rsl_rl wants one: tensors on its device, observations by group in a `TensorDict`.

    With `observation="groups"` all groups are there (`obs_groups` chooses, such as {"actor": ["policy"], "critic":
    ["critic"]}), otherwise "policy" alone. `extras` has `time_outs`, and `log` with means of the metrics. rsl_rl
    bootstraps from the value before a time-out, so that final observations are not asked for.
    """

    def __init__(self, env: Any, *, seed: int | None = None, cfg: dict[str, Any] | None = None) -> None:  # noqa: ANN401
        """Wrap an environment and reset it, as rsl_rl never does.

        Args:
            env: made by `gymnasium.make_vec`, in SAME_STEP mode, with `output="torch"`.
            seed: of the reset.
            cfg: what rsl_rl's loggers keep of the environment.

        Raises:
            TypeError: for an environment that is not of this project.
            ValueError: for another autoreset mode.
        """
        self.env: ProtoVectorEnv = unwrapped_proto(env, "rsl_rl")
        self.num_envs = self.env.num_envs
        self.num_actions = self.env.robot.skeleton.num_dofs
        self.max_episode_length = self.env.max_episode_length
        self.device = self.env.device
        self.cfg = cfg or {}
        observation, _ = self.env.reset(seed=seed)
        self._observation = self._by_group(observation)

    @property
    def episode_length_buf(self) -> Tensor:
        """(N,) long, control steps since each episode began. rsl_rl sets it, so that they end at other times."""
        return self.env.episode_steps

    @episode_length_buf.setter
    def episode_length_buf(self, steps: Tensor) -> None:
        self.env.episode_steps = steps

    def get_observations(self) -> TensorDict:
        """The observations that the last step or the reset led to."""
        return self._observation

    def step(self, actions: Tensor) -> tuple[TensorDict, Tensor, Tensor, dict[str, Any]]:
        """Advance all environments; `dones` are long, 1 where an episode ended and the next one has begun."""
        observation, reward, terminated, truncated, info = self.env.step(actions)
        self._observation = self._by_group(observation)
        extras = {"time_outs": torch.as_tensor(truncated), "log": mean_metrics(info)}
        return self._observation, torch.as_tensor(reward), torch.as_tensor(terminated | truncated).long(), extras

    def close(self) -> None:
        """Free the engine."""
        self.env.close()

    def _by_group(self, observation: Any) -> TensorDict:  # noqa: ANN401
        groups = observation if isinstance(observation, dict) else {"policy": observation}
        return TensorDict({name: torch.as_tensor(part) for name, part in groups.items()}, batch_size=[self.num_envs])
