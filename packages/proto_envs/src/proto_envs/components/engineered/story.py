"""Goals of several controllers one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from proto_envs.components.control import Control
from proto_envs.components.sparse_goals import EngineeredGoals, SparseShape
from proto_envs.context import Context, ObjectState, RobotState
from proto_envs.goals import SparseGoal

__all__ = ["Chapter", "StoryGoals", "chapter_at"]


@dataclass(frozen=True, eq=False)
class Chapter:
    """A controller, and how long it drives."""

    goals: EngineeredGoals
    command: Control
    """what it follows; begins anew with the chapter"""
    seconds: float


def chapter_at(steps: Tensor, ends: Tensor) -> Tensor:
    """Which chapter (n,) follows after `steps` (n,) control steps; the last one goes on for ever.

    Args:
        steps: since the episode began.
        ends: (P,) control steps after which each chapter is over.
    """
    return torch.bucketize(steps, ends, right=True).clamp_max(len(ends) - 1)


class StoryGoals(EngineeredGoals):
    """Lets several controllers drive in turn, each environment in its own time."""

    def __init__(
        self,
        shape: SparseShape,
        num_envs: int,
        dt: float,
        device: torch.device,
        chapters: Sequence[Chapter],
    ) -> None:
        """Say what comes after what.

        Args:
            shape: of the goals.
            num_envs: N.
            dt: s per control step.
            device: of the goals.
            chapters: in order. Their commands must be controls of the task, before this one.
        """
        super().__init__(shape, num_envs, dt, device)
        self._chapters = tuple(chapters)
        self.ends = torch.tensor([self.steps_in(chapter.seconds) for chapter in chapters], device=device).cumsum(0)
        """(P,) control steps after which each chapter is over"""

    def ask(self, context: Context, ids: Tensor | None) -> SparseGoal:
        """What the controller of the present chapter asks."""
        chapter = chapter_at(context.steps, self.ends)
        goal = self._chapters[0].goals.ask(context, ids)
        for number, each in enumerate(self._chapters[1:], start=1):
            now, other = chapter == number, each.goals.ask(context, ids)
            for name, live in vars(goal).items():
                live.copy_(torch.where(now.view(-1, *[1] * (live.dim() - 1)), vars(other)[name], live))
        return goal

    def observe(self, context: Context, generator: torch.Generator) -> None:
        """Begin the commands of the chapters that have just been reached, then ask."""
        for chapter, begin in zip(self._chapters[1:], self.ends[:-1], strict=True):
            ids = (context.steps == begin).nonzero().squeeze(-1)
            if len(ids):
                chapter.command.begin(ids, _rows(context, ids), generator)
        super().observe(context, generator)


def _rows(context: Context, ids: Tensor) -> Context:
    """The context of some environments, without the fields of controls."""
    state, objects = context.state, context.objects
    fresh = RobotState(
        state.body_positions[ids],
        state.body_rotations[ids],
        state.body_velocities[ids],
        state.body_angular_velocities[ids],
        read=lambda name: getattr(state, name)[ids],
    )
    if objects is not None:
        parts = {name: part[ids] for name, part in vars(objects).items() if part is not None}
        objects = ObjectState(**parts)
    return replace(
        context,
        state=fresh,
        objects=objects,
        steps=context.steps[ids],
        targets=context.targets[ids],
        previous_targets=context.previous_targets[ids],
        ground_height=context.ground_height[ids],
    )
