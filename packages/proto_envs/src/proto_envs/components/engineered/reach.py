"""Goals that bring a hand to a point."""

from __future__ import annotations

import torch
from torch import Tensor

from proto_envs.components.reaching import ReachTargets
from proto_envs.components.sparse_goals import EngineeredGoals, SparseShape, place_body
from proto_envs.context import Context
from proto_envs.goals import SparseGoal

__all__ = ["ReachGoals"]


class ReachGoals(EngineeredGoals):
    """Asks for the position of one hand, and for nothing else."""

    def __init__(
        self,
        shape: SparseShape,
        num_envs: int,
        dt: float,
        device: torch.device,
        targets: ReachTargets,
        *,
        hand: str,
        due: float = 2.0,
        least: float = 1.0 / 6.0,
    ) -> None:
        """Say which hand and when.

        Args:
            shape: of the goals.
            num_envs: N.
            dt: s per control step.
            device: of the goals.
            targets: the points.
            hand: role of the body.
            due: s after a new point by which the hand should be there.
            least: s, the hand is never asked to be there sooner than in this time.
        """
        super().__init__(shape, num_envs, dt, device)
        self._targets, self._row = targets, shape.row(hand)
        self._due, self._least = self.steps_in(due), self.steps_in(least)

    def ask(self, context: Context, ids: Tensor | None) -> SparseGoal:
        """The hand at its point, in the time that is left."""
        goal, command = self.nothing(context), self._targets.goal.rows(ids)
        goal.wait[:, -1] = (self._due - command.age).clamp_min(self._least)
        place_body(goal, -1, self._row, position=command.target)
        return goal
