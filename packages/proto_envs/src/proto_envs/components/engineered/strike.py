"""Goals that turn a robot towards a target that is to be knocked over."""

from __future__ import annotations

import torch
from torch import Tensor

from proto_envs.components.sparse_goals import EngineeredGoals, SparseShape, place_body
from proto_envs.components.striking import uprightness
from proto_envs.context import Context, given
from proto_envs.goals import SparseGoal

__all__ = ["StrikeGoals"]


class StrikeGoals(EngineeredGoals):
    """Asks for head and pelvis to face the target while it is far and stands; near it, asks for nothing."""

    def __init__(
        self,
        shape: SparseShape,
        num_envs: int,
        dt: float,
        device: torch.device,
        *,
        down: float,
        near: float = 2.0,
        ahead: float = 1.0,
    ) -> None:
        """Say until when; distance of Task Tokens.

        Args:
            shape: of the goals.
            num_envs: N.
            dt: s per control step.
            device: of the goals.
            down: `uprightness` below which the target is down.
            near: m on the ground from the root to the target.
            ahead: s in which they are to face it (our choice).
        """
        super().__init__(shape, num_envs, dt, device)
        self._rows = [shape.row(role) for role in ("pelvis", "head")]
        self._down, self._near, self._wait = down, near, self.steps_in(ahead)

    def ask(self, context: Context, ids: Tensor | None) -> SparseGoal:
        """The facing of two bodies."""
        goal = self.nothing(context)
        way = (given(context.objects).positions[:, 0] - context.state.body_positions[:, 0])[:, :2]
        where = (way.norm(dim=-1) > self._near) & (uprightness(context) >= self._down)
        goal.wait[:, -1] = self._wait
        for row in self._rows:
            place_body(goal, -1, row, rotation=self.facing(row, torch.atan2(way[:, 1], way[:, 0])), where=where)
        return goal
