"""skrl: `SequentialTrainer(env=SkrlWrapper(env), agents=agent, cfg={"headless": True})`."""

from __future__ import annotations

from typing import Any

import gymnasium
import torch
from torch import Tensor

from proto_envs.adapters.wrapping import mean_metrics, missing_library, state_and_policy, unwrapped_proto

try:
    from skrl.envs.wrappers.torch.base import Wrapper
except ImportError as error:
    raise missing_library("skrl", "skrl") from error

__all__ = ["SkrlWrapper"]


class SkrlWrapper(Wrapper):
    """A Proto environment as skrl wants one, all tensors staying on its device.

    skrl's own wrapper of gymnasium environments takes them too, and passes actions through numpy. Where observations
    come by group, "policy" is what skrl calls the observation, and "critic" what it calls the state. `info["log"]` has
    means of the metrics (the trainer's `environment_info: "log"`).
    """

    def __init__(self, env: Any, *, seed: int | None = None) -> None:  # noqa: ANN401
        """Wrap an environment.

        Args:
            env: made by `gymnasium.make_vec`, in SAME_STEP mode, with `output="torch"`.
            seed: of the first reset.

        Raises:
            TypeError: for an environment that is not of this project.
            ValueError: for another autoreset mode.
        """
        super().__init__(unwrapped_proto(env, "skrl"))
        self._seed = seed
        self._last: tuple[Tensor | None, Tensor] | None = None

    @property
    def observation_space(self) -> gymnasium.Space[Any]:
        """Of one environment's policy."""
        space = self._env.single_observation_space
        return space["policy"] if isinstance(space, gymnasium.spaces.Dict) else space

    @property
    def state_space(self) -> gymnasium.Space[Any] | None:
        """Of one environment's critic; None where it sees what the policy sees."""
        space = self._env.single_observation_space
        return space.spaces.get("critic") if isinstance(space, gymnasium.spaces.Dict) else None

    @property
    def action_space(self) -> gymnasium.Space[Any]:
        """Of one environment."""
        return self._env.single_action_space

    def reset(self) -> tuple[Tensor, dict[str, Any]]:
        """Begin new episodes at the first call; later ones return the present observations, as episodes go on."""
        info: dict[str, Any] = {}
        if self._last is None:
            observation, info = self._env.reset(seed=self._seed)
            self._last = state_and_policy(observation)
        return self._last[1], info

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Any]:
        """Advance all environments; reward, terminated and truncated are (N, 1)."""
        observation, reward, terminated, truncated, info = self._env.step(actions)
        self._last = state_and_policy(observation)
        columns = (torch.as_tensor(part).view(-1, 1) for part in (reward, terminated, truncated))
        return self._last[1], *columns, info | {"log": mean_metrics(info)}

    def state(self) -> Tensor | None:
        """What the critic sees, of the last reset or step; None where it sees what the policy sees."""
        return None if self._last is None else self._last[0]

    def render(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """A frame of each environment, where `render_mode="rgb_array"`."""
        return self._env.render()

    def close(self) -> None:
        """Free the engine."""
        self._env.close()
