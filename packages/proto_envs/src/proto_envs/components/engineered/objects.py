"""Goals that bring a robot to an object and let it use it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from proto_envs.components.engineered.steering import ask_to_walk
from proto_envs.components.objects import target_pose
from proto_envs.components.scenery import Scenery
from proto_envs.components.sparse_goals import EngineeredGoals, SparseShape
from proto_envs.context import Context
from proto_envs.goals import SparseGoal

__all__ = ["ObjectGoals"]


class ObjectGoals(EngineeredGoals):
    """Asks to walk towards the scene's target; near it, shows the object and asks for nothing else."""

    def __init__(
        self,
        shape: SparseShape,
        num_envs: int,
        dt: float,
        device: torch.device,
        scenery: Scenery,
        *,
        near: float = 2.0,
        speed: float = 1.0,
        text: Tensor | None = None,
    ) -> None:
        """Say where walking ends; numbers of ProtoMotions 1.

        Args:
            shape: of the goals.
            num_envs: N.
            dt: s per control step.
            device: of the goals.
            scenery: where the objects are.
            near: m on the ground from the root to the target's origin.
            speed: m/s, of walking.
            text: (E,) embedding of a sentence that is told while walking.
        """
        super().__init__(shape, num_envs, dt, device)
        self._scenery, self._near, self._speed, self._text = scenery, near, speed, text

    def ask(self, context: Context, ids: Tensor | None) -> SparseGoal:
        """The pelvis on its way, or the object."""
        goal = self.nothing(context)
        place, _, _ = target_pose(replace(context, **self._scenery.context(ids)))
        way = (place - context.state.body_positions[:, 0])[:, :2]
        distance = way.norm(dim=-1)
        far = distance > self._near
        velocity = self._speed * way / distance.clamp_min(1e-6).unsqueeze(-1)
        ask_to_walk(self, goal, context, velocity, torch.atan2(way[:, 1], way[:, 0]), where=far)
        goal.object_shown.copy_(~far)
        if self._text is not None:
            goal.text.copy_(self._text.expand_as(goal.text))
            goal.text_shown.copy_(far)
        return goal
