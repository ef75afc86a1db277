"""What a MaskedMimic policy is asked for while something else, a task token, tells it what to do."""

from __future__ import annotations

import torch
from torch import Tensor

from proto_envs.components.sparse_goals import EngineeredGoals, SparseGoals, SparseShape
from proto_envs.context import Context
from proto_envs.goals import SparseGoal

__all__ = ["FoundationGoals"]


class FoundationGoals(SparseGoals):
    """Asks for nothing, or for what a controller asks; may tell one sentence all the time."""

    def __init__(
        self,
        shape: SparseShape,
        num_envs: int,
        device: torch.device,
        *,
        controller: EngineeredGoals | None = None,
        text: Tensor | None = None,
    ) -> None:
        """Say who asks and what is told.

        Args:
            shape: of the goals.
            num_envs: N.
            device: of the goals.
            controller: whose goals are asked for; none: no parts of poses are.
            text: (E,) embedding of a sentence.
        """
        super().__init__(shape, num_envs, device)
        self._controller, self._text = controller, text
        self._tell(self.goal)

    def begin(self, ids: Tensor, context: Context, generator: torch.Generator) -> None:
        """Ask for something at once."""
        del generator
        if self._controller is not None:
            self._write(self._tell(self._controller.ask(context, ids)), ids)

    def step(self, generator: torch.Generator) -> None:
        """Poses draw nearer, where there are any."""
        if self._controller is not None:
            super().step(generator)

    def observe(self, context: Context, generator: torch.Generator) -> None:
        """Ask anew."""
        del generator
        if self._controller is not None:
            self._write(self._tell(self._controller.ask(context, None)))

    def _tell(self, goal: SparseGoal) -> SparseGoal:
        if self._text is not None:
            goal.text.copy_(self._text.expand_as(goal.text))
            goal.text_shown.fill_(True)
        return goal
