"""rl_games: `register("proto", lambda **settings: env)`, then `env_name: proto` in its configuration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import torch
from torch import Tensor

from proto_envs.adapters.wrapping import missing_library, state_and_policy, unwrapped_proto
from proto_envs.vector_env import ProtoVectorEnv

try:
    from rl_games.common import env_configurations, vecenv
    from rl_games.common.ivecenv import IVecEnv
except ImportError as error:
    raise missing_library("rl-games", "rl-games") from error

__all__ = ["RlGamesVecEnv", "register"]


class RlGamesVecEnv(IVecEnv):
    """A Proto environment as rl_games wants one, all tensors staying on its device.

    Where observations come by group, "policy" is what rl_games calls `obs`, and "critic" what it calls `states`, for a
    central value function.
    """

    def __init__(self, env: Any) -> None:  # noqa: ANN401
        """Wrap an environment.

        Args:
            env: made by `gymnasium.make_vec`, in SAME_STEP mode, with `output="torch"`.

        Raises:
            TypeError: for an environment that is not of this project.
            ValueError: for another autoreset mode.
        """
        self.env: ProtoVectorEnv = unwrapped_proto(env, "rl_games")
        self._seed: int | None = None

    def seed(self, seed: int) -> None:
        """Of the next reset."""
        self._seed = seed

    def reset(self) -> dict[str, Tensor]:
        """Begin new episodes everywhere."""
        observation, _ = self.env.reset(seed=self._seed)
        self._seed = None
        return _named(observation)

    def step(self, actions: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor, dict[str, Any]]:
        """Advance all environments; infos have `time_outs`, after which rl_games bootstraps (`value_bootstrap`)."""
        observation, reward, terminated, truncated, info = self.env.step(actions)
        infos = {"time_outs": torch.as_tensor(truncated), "metrics": info["metrics"]}
        return _named(observation), torch.as_tensor(reward), torch.as_tensor(terminated | truncated), infos

    def get_env_info(self) -> dict[str, Any]:
        """Spaces of one environment."""
        space = self.env.single_observation_space
        info = {"action_space": self.env.single_action_space, "observation_space": space, "agents": 1, "value_size": 1}
        if isinstance(space, gymnasium.spaces.Dict):
            info["observation_space"] = space["policy"]
            if "critic" in space.spaces:
                info["state_space"] = space["critic"]
        return info

    def get_env_state(self) -> dict[str, Tensor]:
        """All that the future depends on, for rl_games' checkpoints."""
        return self.env.state_dict()

    def set_env_state(self, env_state: dict[str, Tensor] | None) -> None:
        """Restore `get_env_state`."""
        if env_state is not None:
            self.env.load_state_dict(env_state)


def register(name: str, make: Callable[..., Any]) -> None:
    """Make environments known to rl_games under a name.

    Args:
        name: for `env_name` in rl_games' configuration.
        make: called with `num_envs`, its `num_actors`, and what stands under `env_config`; returns a Proto environment.
    """

    def create(config_name: str, num_actors: int, **settings: Any) -> RlGamesVecEnv:  # noqa: ANN401
        return RlGamesVecEnv(make(num_envs=num_actors, **settings))

    vecenv.register(f"proto_envs:{name}", create)
    env_configurations.register(name, {"vecenv_type": f"proto_envs:{name}", "env_creator": make})


def _named(observation: Any) -> dict[str, Tensor]:  # noqa: ANN401
    state, policy = state_and_policy(observation)
    named = {"obs": torch.as_tensor(policy)}
    return named if state is None else named | {"states": torch.as_tensor(state)}
