"""Tianshou: `Collector(algorithm, TianshouVecEnv(env), buffer)`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode

from proto_envs.adapters.wrapping import missing_library, to_numpy, unwrapped_proto
from proto_envs.vector_env import ProtoVectorEnv

try:
    from tianshou.env import BaseVectorEnv
except ImportError as error:
    raise missing_library("tianshou", "tianshou") from error

__all__ = ["TianshouVecEnv"]

_OF_ONE = {"observation_space": "single_observation_space", "action_space": "single_action_space"}


class TianshouVecEnv(BaseVectorEnv):
    """A Proto environment as Tianshou wants one: arrays, infos as an array of dicts, and resets that it asks for.

    Tianshou resets environments itself, so that they have to be made with `autoreset_mode=AutoresetMode.DISABLED`. It
    may leave some of them out of a step; all are stepped together, so these move on unseen, with an action of zero.
    """

    def __init__(self, env: Any) -> None:  # noqa: ANN401
        """Wrap an environment.

        Args:
            env: made by `gymnasium.make_vec`, in DISABLED mode, with outputs of either kind.

        Raises:
            TypeError: for an environment that is not of this project.
            ValueError: for another autoreset mode.
        """
        self.env: ProtoVectorEnv = unwrapped_proto(env, "Tianshou", AutoresetMode.DISABLED)
        # What its own constructor would set from a list of workers; there are none here.
        self.env_num = self.wait_num = self.env.num_envs
        self.workers: list[Any] = []
        self.timeout = None
        self.is_async = self.is_closed = False
        self.waiting_id: list[int] = []
        self.ready_id = list(range(self.env_num))
        self._seed: int | None = None
        self._started = False

    def get_env_attr(self, key: str, id: Any = None) -> list[Any]:  # noqa: ANN401
        """An attribute, once for each of `id`; spaces are those of one environment."""
        value = getattr(self.env, _OF_ONE.get(key, key))
        return [value for _ in self._wrap_id(id)]

    def set_env_attr(self, key: str, value: Any, id: Any = None) -> None:  # noqa: ANN401
        """Set an attribute of all environments.

        Raises:
            ValueError: for some of them alone: they are one object.
        """
        if len(self._wrap_id(id)) != self.env_num:
            raise ValueError(f"the {self.env_num} environments are one object: id={id!r} must be None")
        self.env.set_attr(key, value)

    def reset(self, env_id: Any = None, **kwargs: Any) -> tuple[np.ndarray, np.ndarray]:  # noqa: ANN401
        """Begin new episodes in `env_id`; returns their observations and infos."""
        self._assert_is_not_closed()
        ids = np.asarray(self._wrap_id(env_id))
        seed = kwargs.get("seed", self._seed)
        self._seed = None
        mask = np.isin(np.arange(self.env_num), ids)
        options = {} if mask.all() or not self._started else {"reset_mask": mask}
        self._started = True
        observation, _ = self.env.reset(seed=seed, options=options)
        return _rows(to_numpy(observation), ids), np.array([{"env_id": i} for i in ids.tolist()])

    def step(self, action: Any, id: Any = None) -> tuple[Any, ...]:  # noqa: ANN401
        """Advance all environments; returns what became of those in `id`, which `action` (n, D) is for."""
        self._assert_is_not_closed()
        ids = np.asarray(self._wrap_id(id))
        actions = torch.zeros(self.env_num, self.env.robot.skeleton.num_dofs)
        actions[torch.from_numpy(ids)] = torch.as_tensor(action, dtype=torch.float32, device="cpu")
        observation, reward, terminated, truncated, info = self.env.step(actions)
        metrics = to_numpy(info["metrics"])
        infos = [{"env_id": i, **{name: value[i] for name, value in metrics.items()}} for i in ids.tolist()]
        ends = (to_numpy(part)[ids] for part in (reward, terminated, truncated))
        return _rows(to_numpy(observation), ids), *ends, np.array(infos)

    def seed(self, seed: int | Sequence[int] | None = None) -> list[Any]:
        """Of the next reset; of several, the first counts, as the environments share their randomness."""
        self._seed = seed if seed is None or isinstance(seed, int) else seed[0]
        return [self._seed] * self.env_num

    def render(self, **kwargs: Any) -> list[Any]:  # noqa: ANN401
        """A frame of each environment, where `render_mode="rgb_array"`."""
        return list(self.env.render() or ())

    def close(self) -> None:
        """Free the engine."""
        self._assert_is_not_closed()
        self.env.close()
        self.is_closed = True


def _rows(observation: Any, ids: np.ndarray) -> Any:  # noqa: ANN401
    if isinstance(observation, dict):
        return np.array([{name: part[i] for name, part in observation.items()} for i in ids])
    return observation[ids]
