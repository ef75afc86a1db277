"""Points in the air to bring a hand to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from proto_envs.components.control import Markers
from proto_envs.components.timed_goal import TimedGoal
from proto_envs.components.user_control import Dial, Menu
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
        target = _around(context, offset, low + (high - low) * draw[:, 2])
        return ReachGoal(age=torch.zeros_like(goal.age), target=target)

    def dials(self) -> Sequence[Dial | Menu]:
        """Where the point is, seen from the root and its heading when it is set."""
        (low, high), far = self._heights, self._reach
        return [
            Dial(name="forward", unit="m", low=-far, high=far, step=0.05, start=0.5 * far),
            Dial(name="left", unit="m", low=-far, high=far, step=0.05, start=0.0),
            Dial(name="height", unit="m", low=low, high=high, step=0.05, start=0.5 * (low + high)),
        ]

    def wished(self, goal: Goal, wishes: Tensor, context: Context) -> ReachGoal:
        """The point that was set; where only a part of it was, the rest stands as the dials do."""
        assert isinstance(goal, ReachGoal)
        starts = wishes.new_tensor([dial.start for dial in self.dials() if isinstance(dial, Dial)])
        whole = torch.where(wishes.isnan(), starts, wishes)
        target = _around(context, whole[:, :2], whole[:, 2])
        return replace(goal, target=torch.where(wishes.isnan().all(-1, keepdim=True), goal.target, target))

    def markers(self) -> list[Markers]:
        """The targets."""
        return [Markers(self.goal.target.unsqueeze(1))]


def _around(context: Context, offset: Tensor, height: Tensor) -> Tensor:
    """Points (n, 3) at `offset` (n, 2) from the roots in their heading frames, `height` (n,) m over the ground."""
    # Row vectors times the transpose: from the heading frame to the world.
    turn = context.heading_matrix[:, :2, :2].transpose(1, 2)
    place = context.state.body_positions[:, 0, :2] + (offset.unsqueeze(1) @ turn).squeeze(1)
    return torch.cat([place, (context.terrain.heights(place) + height).unsqueeze(-1)], dim=-1)
