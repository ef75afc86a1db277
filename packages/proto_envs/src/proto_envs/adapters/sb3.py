"""Stable-Baselines3: `PPO("MlpPolicy", Sb3VecEnv(env))`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from proto_envs.adapters.wrapping import missing_library, to_numpy, unwrapped_proto
from proto_envs.vector_env import ProtoVectorEnv

try:
    from stable_baselines3.common.vec_env import VecEnv
    from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn
except ImportError as error:
    raise missing_library("stable-baselines3", "sb3") from error

__all__ = ["Sb3VecEnv"]


class Sb3VecEnv(VecEnv):
    """A Proto environment as Stable-Baselines3 wants one: arrays, and a list with a dict for each environment.

    Where an episode ends, its dict has `terminal_observation`, `TimeLimit.truncated`, and `episode` with return `r` and
    length `l` (so that no `VecMonitor` is needed, though one may be put around). Observations by group become
    dict observations, for `MultiInputPolicy`.
    """

    def __init__(self, env: Any) -> None:  # noqa: ANN401
        """Wrap an environment.

        Args:
            env: made by `gymnasium.make_vec`, in SAME_STEP mode, with outputs of either kind.

        Raises:
            TypeError: for an environment that is not of this project.
            ValueError: for another autoreset mode.
        """
        self.env: ProtoVectorEnv = unwrapped_proto(env, "Stable-Baselines3")
        self._actions: np.ndarray | None = None
        super().__init__(self.env.num_envs, self.env.single_observation_space, self.env.single_action_space)

    def reset(self) -> VecEnvObs:
        """Begin new episodes everywhere, with the seed that `seed` was given, if any."""
        observation, _ = self.env.reset(seed=self._seeds[0])
        self._reset_seeds()
        self._reset_options()
        return to_numpy(observation)

    def step_async(self, actions: np.ndarray) -> None:
        """Remember the actions (N, D)."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Step with the actions that were given."""
        observation, reward, terminated, truncated, info = self.env.step(self._actions)
        terminated, truncated = to_numpy(terminated), to_numpy(truncated)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        done = terminated | truncated
        if done.any():
            final, episode = to_numpy(info["final_obs"]), to_numpy(info["episode"])
            for i in done.nonzero()[0].tolist():
                infos[i] = {
                    "terminal_observation": _row(final, i),
                    "TimeLimit.truncated": bool(truncated[i]),
                    "episode": {"r": float(episode["r"][i]), "l": int(episode["l"][i])},
                }
        return to_numpy(observation), to_numpy(reward), done, infos

    def close(self) -> None:
        """Free the engine."""
        self.env.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """A frame of each environment, where `render_mode="rgb_array"`."""
        return self.env.render() or [None] * self.num_envs

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute, which all environments share, once for each of `indices`."""
        return [getattr(self.env, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:  # noqa: ANN401
        """Set an attribute of all environments.

        Raises:
            ValueError: for some of them alone: they are one object.
        """
        self._require_all(indices)
        self.env.set_attr(attr_name, value)

    def env_method(
        self,
        method_name: str,
        *method_args: Any,  # noqa: ANN401
        indices: VecEnvIndices = None,
        **method_kwargs: Any,  # noqa: ANN401
    ) -> list[Any]:
        """What a method of all environments returns, once for each.

        Raises:
            ValueError: for some of them alone: they are one object.
        """
        self._require_all(indices)
        return list(self.env.call(method_name, *method_args, **method_kwargs))

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        """False: wrappers of single environments cannot be around these."""
        return [False for _ in self._get_indices(indices)]

    def _require_all(self, indices: VecEnvIndices) -> None:
        if sorted(self._get_indices(indices)) != list(range(self.num_envs)):
            raise ValueError(f"the {self.num_envs} environments are one object: indices={indices!r} must be None")


def _row(observation: Any, index: int) -> Any:  # noqa: ANN401
    if isinstance(observation, dict):
        return {name: part[index] for name, part in observation.items()}
    return observation[index]
