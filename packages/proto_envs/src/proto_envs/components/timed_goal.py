"""A goal that is given anew every so often, each robot at its own times."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from proto_envs.components.control import Control
from proto_envs.components.user_control import Settings, wishes
from proto_envs.context import Context
from proto_envs.goals import Goal

__all__ = ["TimedGoal"]


class TimedGoal(Control):
    """Keeps a goal for each robot; subclasses say how a new one is drawn."""

    def __init__(self, name: str, goal: Goal, dt: float, hold: tuple[float, float]) -> None:
        """Begin with a goal that the first episodes replace.

        Args:
            name: field of `Context` that shows the goal.
            goal: any, with N rows; its tensors become this control's state.
            dt: s per control step.
            hold: s, a goal is kept for a time drawn uniformly between these two, whole steps.
        """
        self.goal = goal
        self._name = name
        self._hold = (max(1, round(hold[0] / dt)), max(1, round(hold[1] / dt)))
        self._remaining = torch.zeros_like(goal.age)
        self._wishes: Tensor | None = None
        """(N, K) what a person has set of the dials, NaN: nothing; None where nobody ever has"""

    @abstractmethod
    def draw(self, goal: Goal, context: Context, generator: torch.Generator, *, first: bool) -> Goal:
        """New goals in new tensors.

        Args:
            goal: the present ones, n rows.
            context: of the same n environments.
            generator: of the draw.
            first: an episode begins, so that the present goal is of no interest.
        """

    def wished(self, goal: Goal, wishes: Tensor, context: Context) -> Goal:
        """`goal`, which was drawn, with what a person has set in place of what was drawn.

        Args:
            goal: n rows.
            wishes: (n, K) of the K dials, in their order; NaN: not set.
            context: of the same n environments.
        """
        del wishes, context
        return goal

    def obey(self, settings: Settings, ids: Tensor) -> None:
        """Give goals of which the settings are true, from the next step on and in later episodes too."""
        dials = self.dials()
        if self._wishes is None:
            self._wishes = torch.full((len(self.goal.age), len(dials)), torch.nan, device=self.goal.age.device)
        self._wishes[ids] = wishes(dials, settings, self.goal.age.device)
        self.renew(ids)

    def renew(self, ids: Tensor) -> bool:
        """Give other goals with the next step."""
        self._remaining[ids] = 0
        return True

    def begin(self, ids: Tensor, context: Context, generator: torch.Generator) -> None:
        """Give new episodes their first goals."""
        fresh = self.draw(self.goal.rows(ids), context, generator, first=True)
        if self._wishes is not None:
            fresh = self.wished(fresh, self._wishes[ids], context)
        for name, live in vars(self.goal).items():
            live[ids] = vars(fresh)[name]
        self._remaining[ids] = self._duration(len(ids), generator)

    def step(self, generator: torch.Generator) -> None:
        """Goals grow older."""
        del generator
        self.goal.age.add_(1)
        self._remaining.sub_(1)

    def observe(self, context: Context, generator: torch.Generator) -> None:
        """Replace the goals whose time is over."""
        due = self._remaining <= 0
        # All are drawn and few are kept: that needs no look at which they are.
        fresh = self.draw(self.goal, context, generator, first=False)
        if self._wishes is not None:
            fresh = self.wished(fresh, self._wishes, context)
        for name, live in vars(self.goal).items():
            mask = due.view(-1, *[1] * (live.dim() - 1))
            live.copy_(torch.where(mask, vars(fresh)[name], live))
        self._remaining.copy_(torch.where(due, self._duration(len(due), generator), self._remaining))

    def _duration(self, count: int, generator: torch.Generator) -> Tensor:
        low, high = self._hold
        device = self._remaining.device
        return torch.randint(low, high + 1, (count,), generator=generator, device=device)

    def context(self, ids: Tensor | None) -> Mapping[str, Any]:
        """The goal under its name."""
        return {self._name: self.goal.rows(ids)}

    def state_dict(self) -> dict[str, Tensor]:
        """The goals and how long they still hold."""
        return {**vars(self.goal), "remaining": self._remaining}
