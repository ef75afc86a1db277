"""Style: move like the clips, with no goal at all (AMP, ASE: the reward is the discriminator's)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from proto_envs.components.terms import Reward
from proto_envs.context import Context
from proto_envs.tasks.base import Setup
from proto_envs.tasks.goal_task import GoalParts, GoalTask

__all__ = ["Style"]


@dataclass(frozen=True, kw_only=True)
class Style(GoalTask):
    """Only the style of the clips counts: the trainer rewards it from the group "style" and `sample_style`."""

    alive: float = 0.0
    """reward of each step"""

    def goal(self, setup: Setup) -> GoalParts:
        """No goal; not to fall is success.

        Raises:
            ValueError: without motions.
        """
        if setup.motions is None:
            raise ValueError("task Style needs motions: pass motions=<clip name, file or MotionLib>")
        return GoalParts(rewards={"alive": Reward(alive, self.alive)}, success=upright, failed=never)


def alive(ctx: Context) -> Tensor:
    """1, (N,)."""
    return torch.ones(len(ctx.steps), device=ctx.steps.device)


def upright(ctx: Context) -> Tensor:
    """True, (N,): whoever falls is out."""
    return torch.ones_like(ctx.steps, dtype=torch.bool)


def never(ctx: Context) -> Tensor:
    """False, (N,)."""
    return torch.zeros_like(ctx.steps, dtype=torch.bool)
