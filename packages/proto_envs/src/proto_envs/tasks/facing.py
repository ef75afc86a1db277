"""Facing: move along one commanded direction at a commanded speed while facing another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from proto_envs.components.terms import Reward
from proto_envs.context import Context, given
from proto_envs.tasks.base import Setup
from proto_envs.tasks.goal_task import GoalParts
from proto_envs.tasks.steering import (
    SpeedRule,
    Steering,
    follow_command,
    follows,
    misses,
    speed_error,
    steering_goal,
)

__all__ = ["Facing"]


@dataclass(frozen=True, kw_only=True)
class Facing(Steering):
    """`Steering`, and a direction to face: sideways, backwards, any way (Task Tokens' "direction_facing")."""

    judged_after: float = 80 / 30
    """s after a change from when on missing the command is a failure (Task Tokens: 80 steps)"""
    facing_tolerance: float = math.pi / 4
    """rad"""

    faces: ClassVar[bool] = True

    def goal(self, setup: Setup) -> GoalParts:
        """Commands, and how well they are followed: 0.7 for the velocity, 0.3 for the facing."""
        met = partial(follows_and_faces, rule=self.rule, tolerance=self.facing_tolerance, average=self.average)
        return GoalParts(
            control=self.command(setup),
            observations=(steering_goal, facing_goal),
            rewards={
                "follow_command": Reward(partial(follow_command, rule=self.rule), 0.7),
                "face": Reward(face, 0.3),
            },
            success=met,
            failed=partial(misses, follows=met, after=self.judged_after),
            metrics={"speed_error": partial(speed_error, average=self.average), "facing_error": facing_error},
        )


# --- kernels: Context to (N, F) or (N,) ------------------------------------------------------------------------------


def facing_goal(ctx: Context) -> Tensor:
    """The direction to face, in the heading frame, (N, 2)."""
    return ctx.in_heading(given(ctx.steering).facing)


def face(ctx: Context) -> Tensor:
    """Cosine of the angle between the root's heading and the direction to face, (N,), 0 where it is negative."""
    return facing_goal(ctx)[:, 0].clamp_min(0.0)


def facing_error(ctx: Context) -> Tensor:
    """Angle between the root's heading and the direction to face, rad, (N,)."""
    x, y = facing_goal(ctx).unbind(-1)
    return torch.atan2(y, x).abs()


def follows_and_faces(ctx: Context, rule: SpeedRule, tolerance: float, average: float = 0.0) -> Tensor:
    """The command is followed and the facing right, (N,) bool."""
    return follows(ctx, rule, average) & (facing_error(ctx) <= tolerance)
