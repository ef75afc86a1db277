"""Reach: bring a hand to a point in the air and keep it there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor

from proto_envs.components.reaching import ReachTargets
from proto_envs.components.terms import Kernel, Reward
from proto_envs.context import Context, given
from proto_envs.tasks.base import Setup
from proto_envs.tasks.goal_task import GoalParts, GoalTask

__all__ = ["Reach"]


@dataclass(frozen=True, kw_only=True)
class Reach(GoalTask):
    """Reach points that move to somewhere else every few seconds; numbers of Task Tokens."""

    hand: Literal["right_hand", "left_hand"] = "right_hand"
    """role of the body that is to reach"""
    reach: float = 0.75
    """m, farthest target along the heading's x and y from the root"""
    heights: tuple[float, float] = (0.05, 1.6)
    """m over the ground, lowest and highest target"""
    hold: tuple[float, float] = (3.0, 4.0)
    """s for which a target stays (90 to 120 steps)"""
    judged_after: float = 2.0
    """s after a new target from when on missing it is a failure (60 steps)"""
    success_distance: float = 0.2
    """m (MaskedMimic's own goal-engineered reach: 0.5)"""

    clips: ClassVar[tuple[str, ...]] = ("walk", "walk_forward")

    def goal(self, setup: Setup) -> GoalParts:
        """Targets, and how close the hand is."""
        robot = setup.robot
        if self.hand not in robot.semantic:
            raise ValueError(f"task Reach: robot {robot.name} has no {self.hand!r}; it has {sorted(robot.semantic)}")
        (hand,) = robot.skeleton.body_indices([robot.semantic[self.hand]])
        targets = ReachTargets(
            setup.num_envs, setup.dt, setup.device, reach=self.reach, heights=self.heights, hold=self.hold
        )
        near = partial(reached, hand=hand, distance=self.success_distance)
        return GoalParts(
            control=targets,
            observations=(reach_goal,),
            rewards={"reach": Reward(partial(closeness, hand=hand))},
            success=near,
            failed=partial(misses, near=near, after=self.judged_after),
            metrics={"reach_distance": partial(distance_to_target, hand=hand)},
        )


# --- kernels: Context to (N, F) or (N,) ------------------------------------------------------------------------------


def reach_goal(ctx: Context) -> Tensor:
    """The target against the root, in the heading frame, (N, 3)."""
    return ctx.in_heading(given(ctx.reach).target - ctx.state.body_positions[:, 0])


def distance_to_target(ctx: Context, hand: int) -> Tensor:
    """Distance of the hand from the target, m, (N,)."""
    return (ctx.state.body_positions[:, hand] - given(ctx.reach).target).norm(dim=-1)


def closeness(ctx: Context, hand: int) -> Tensor:
    """exp(-4 d²) of the distance d, (N,) in (0, 1]."""
    return torch.exp(-4.0 * distance_to_target(ctx, hand).square())


def reached(ctx: Context, hand: int, distance: float) -> Tensor:
    """The hand is within `distance` m of the target, (N,) bool."""
    return distance_to_target(ctx, hand) <= distance


def misses(ctx: Context, near: Kernel, after: float) -> Tensor:
    """The target has been there for more than `after` s and the hand is not at it, (N,) bool."""
    return (given(ctx.reach).age * ctx.dt > after) & ~near(ctx)
