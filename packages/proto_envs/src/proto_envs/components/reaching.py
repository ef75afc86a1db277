"""Points in the air to bring a hand to."""

from __future__ import annotations

import torch

from proto_envs.components.control import Markers
from proto_envs.components.timed_goal import TimedGoal
from proto_envs.context import Context
from proto_envs.goals import Goal, ReachGoal

__all__ = ["ReachTargets"]


class ReachTargets(TimedGoal):
    """Draws points in a box around the root, upright and turned with its heading."""

    goal: ReachGoal

    def __init__(
        self,
        num_envs: int,
        dt: float,
        device: torch.device,
        *,
        reach: float,
        heights: tuple[float, float],
        hold: tuple[float, float],
    ) -> None:
        """Say where targets are.

        Args:
            num_envs: N.
            dt: s per control step.
            device: of the targets.
            reach: m, farthest along the heading's x and y.
            heights: m over the ground, lowest and highest.
            hold: s for which a target stays, shortest and longest.
        """
        age = torch.zeros(num_envs, dtype=torch.long, device=device)
        super().__init__("reach", ReachGoal(age=age, target=torch.zeros(num_envs, 3, device=device)), dt, hold)
        self._reach, self._heights = reach, heights

    def draw(self, goal: Goal, context: Context, generator: torch.Generator, *, first: bool) -> ReachGoal:
        """Points uniform in the box around where the root is now."""
        del first
        low, high = self._heights
        draw = torch.rand(len(goal.age), 3, generator=generator, device=goal.age.device)
        offset = self._reach * (2.0 * draw[:, :2] - 1.0)
        # Row vectors times the transpose: from the heading frame to the world.
        turn = context.heading_matrix[:, :2, :2].transpose(1, 2)
        place = context.state.body_positions[:, 0, :2] + (offset.unsqueeze(1) @ turn).squeeze(1)
        height = context.terrain.heights(place) + low + (high - low) * draw[:, 2]
        return ReachGoal(age=torch.zeros_like(goal.age), target=torch.cat([place, height.unsqueeze(-1)], dim=-1))

    def markers(self) -> list[Markers]:
        """The targets."""
        return [Markers(self.goal.target.unsqueeze(1))]
