"""Who acts while someone watches: a policy, or one of three that need no training."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from proto_envs.components.control import MotionReference
from proto_envs.vector_env import ProtoVectorEnv
from proto_envs.viewer.errors import ViewerError

__all__ = ["AGENTS", "Agent", "ScriptedAgent"]

AGENTS = ("zero", "random", "reference")
"""zero: the default pose, or the reference where actions are offsets from it. random: uniform in [-1, 1]. reference:
the drives are given the pose that the clip has a step later"""


class Agent(Protocol):
    """Gives actions, and may become another while the robots move."""

    title: str
    """what the choices are: "agent", "checkpoint" """

    @property
    def choices(self) -> tuple[str, ...]:
        """Who it may become now."""

    @property
    def chosen(self) -> str:
        """Who it is."""

    def act(self, observation: Any) -> Any:  # noqa: ANN401
        """Actions for an observation, both as the environment speaks."""

    def choose(self, name: str) -> None:
        """Become one of the `choices`.

        Raises:
            ViewerError: it cannot; it stays who it was.
        """

    def refresh(self) -> bool:
        """Look whether there is a newer version of who it is, and become that; says whether there was.

        Raises:
            ViewerError: there was one that cannot be used; it stays who it was.
        """


class ScriptedAgent:
    """One of `AGENTS`."""

    title = "agent"
    choices = AGENTS

    def __init__(self, env: ProtoVectorEnv, chosen: str = "zero", *, seed: int = 0) -> None:
        """Begin as one of them.

        Raises:
            ViewerError: as `choose`.
        """
        self._env, self._generator = env, torch.Generator(env.device).manual_seed(seed)
        self.choose(chosen)

    def choose(self, name: str) -> None:
        """Become one of `AGENTS`.

        Raises:
            ViewerError: for another name, or "reference" in a task that plays no clip.
        """
        if name not in AGENTS:
            raise ViewerError(f"no agent {name!r}; there are {', '.join(AGENTS)}")
        if name == "reference" and self._reference() is None:
            raise ViewerError(f"agent reference: task {type(self._env.task).__name__} plays no clip beside the robot")
        self.chosen = name

    def refresh(self) -> bool:
        """There is never anything new."""
        return False

    def act(self, observation: Any) -> Tensor:  # noqa: ANN401
        """Actions (N, D), whatever is observed."""
        del observation
        env, reference = self._env, self._reference()
        size, device = (env.num_envs, env.robot.skeleton.num_dofs), env.device
        if self.chosen == "random":
            return 2.0 * torch.rand(size, generator=self._generator, device=device) - 1.0
        # Actions that are offsets from the reference ask for it with zero.
        if self.chosen == "zero" or reference is None or getattr(env.task, "action", "absolute") == "residual":
            return torch.zeros(size, device=device)
        pose, _ = reference.joints_at(reference.dt)
        targets = env.robot.skeleton.dofs_from_local_rotations(pose)
        return (targets - env.robot.action_offset.to(device)) / env.robot.action_scale.to(device)

    def _reference(self) -> MotionReference | None:
        controls = self._env.components.controls.values()
        return next((control for control in controls if isinstance(control, MotionReference)), None)
