"""One environment with numpy in and out: what `gymnasium.make` gives."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode

from proto_envs.factory import make_vector_env

__all__ = ["ProtoEnv"]


class ProtoEnv(gymnasium.Env):
    """A vector environment of one, without the batch dimension; never resets by itself."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401
        """Take the keyword arguments of `make_vector_env`, except num_envs, output and autoreset_mode."""
        self._vector = make_vector_env(1, output="numpy", autoreset_mode=AutoresetMode.DISABLED, **kwargs)
        self.observation_space = self._vector.single_observation_space
        self.action_space = self._vector.single_action_space
        self.render_mode = self._vector.render_mode
        self.metadata = dict(self._vector.metadata)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin a new episode; there are no options."""
        super().reset(seed=seed)
        if options:
            raise ValueError(f"reset options {sorted(options)} are unknown; there are none")
        observation, _ = self._vector.reset(seed=seed)
        return _first(observation), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Advance by one control step."""
        observation, reward, terminated, truncated, info = self._vector.step(np.asarray(action)[None])
        metrics = {name: value[0].item() for name, value in info["metrics"].items()}
        return _first(observation), float(reward[0]), bool(terminated[0]), bool(truncated[0]), {"metrics": metrics}

    def render(self) -> np.ndarray | None:
        """A (480, 640, 3) uint8 frame."""
        frames = self._vector.render()
        return None if frames is None else frames[0]

    def close(self) -> None:
        """Free the engine."""
        self._vector.close()


def _first(observation: Any) -> Any:  # noqa: ANN401
    return {k: v[0] for k, v in observation.items()} if isinstance(observation, dict) else observation[0]
