"""GetUp: from lying on the ground, stand up and stay there."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from poselib.kinematics import forward_kinematics
from proto_envs.components.lying import lying_states
from proto_envs.components.start import StartStates
from proto_envs.components.terms import Kernel, Reward
from proto_envs.context import Context, ResetState
from proto_envs.robots import Robot
from proto_envs.tasks.base import Setup
from proto_envs.tasks.goal_task import GoalParts, GoalTask

__all__ = ["GetUp"]


@dataclass(frozen=True, kw_only=True)
class GetUp(GoalTask):
    """Stand up. The reward and what counts as standing are this project's own: the reference systems have none."""

    rest_share: float = 1.0
    """share of episodes that begin lying as a dropped robot lies; the others begin at the first frame of a clip, which
    should be one of getting up"""
    dropped: int = 64
    """robots dropped to know how they lie"""
    drop_seed: int = 0
    """of their poses"""
    fall_height: float | None = None
    """m; never: this task begins with a fall"""
    standing_height: float = 0.85
    """of the head's height in the default pose, from which on it is high enough to stand"""
    standing_tilt: float = 0.6
    """rad, largest tilt of the root to stand"""

    clips: ClassVar[tuple[str, ...]] = ("getup_faceup", "getup_facedown")

    def goal(self, setup: Setup) -> GoalParts:
        """Half of the reward for the head's height, 0.3 for an upright root, 0.2 for holding still up there."""
        robot = setup.robot
        (head,) = robot.skeleton.body_indices([robot.semantic["head"]])
        high = _standing_head_height(robot, head)
        end = round(self.episode_seconds / setup.dt)
        up = partial(stands, head=head, full=high, share=self.standing_height, tilt=self.standing_tilt)
        return GoalParts(
            rewards={
                "head_height": Reward(partial(head_height, head=head, full=high), 0.5),
                "upright": Reward(upright, 0.3),
                "still": Reward(partial(still, stands=up), 0.2),
            },
            success=up,
            failed=partial(misses, stands=up, end=end),
        )

    def start_states(self, setup: Setup) -> StartStates:
        """Lying as dropped, or at the beginning of a clip.

        Raises:
            ValueError: if no robot is to be dropped.
        """
        if self.dropped < 1:
            raise ValueError(f"task GetUp: dropped must be at least 1, got {self.dropped}")
        states = lying_states(setup.robot, self.dropped, self.drop_seed)
        return StartStates(
            setup.robot,
            setup.num_envs,
            setup.device,
            setup.motions,
            others=ResetState(*(getattr(states, field.name).to(setup.device) for field in fields(ResetState))),
            others_share=self.rest_share,
            at_zero=True,
        )


# --- kernels: Context to (N,) ----------------------------------------------------------------------------------------


def head_height(ctx: Context, head: int, full: float) -> Tensor:
    """Height of the head over the ground as a share of `full` m, (N,) in [0, 1]."""
    position = ctx.state.body_positions[:, head]
    return ((position[:, 2] - ctx.terrain.heights(position)) / full).clamp(0.0, 1.0)


def upright(ctx: Context) -> Tensor:
    """Cosine of the root's tilt, (N,), 0 where it is upside down."""
    return _cosine_of_tilt(ctx).clamp_min(0.0)


def stands(ctx: Context, head: int, full: float, share: float, tilt: float) -> Tensor:
    """The head is high and the root upright, (N,) bool."""
    return (head_height(ctx, head, full) >= share) & (_cosine_of_tilt(ctx) >= math.cos(tilt))


def still(ctx: Context, stands: Kernel) -> Tensor:
    """exp(-v²) of the root's speed v in m/s for who stands, else 0, (N,)."""
    calm = torch.exp(-ctx.state.body_velocities[:, 0].square().sum(-1))
    return torch.where(stands(ctx), calm, torch.zeros_like(calm))


def misses(ctx: Context, stands: Kernel, end: int) -> Tensor:
    """The episode ends now, after `end` steps, and the robot does not stand, (N,) bool."""
    return (ctx.steps >= end) & ~stands(ctx)


def _cosine_of_tilt(ctx: Context) -> Tensor:
    x, y, _, _ = ctx.state.body_rotations[:, 0].unbind(-1)
    return 1.0 - 2.0 * (x.square() + y.square())


def _standing_head_height(robot: Robot, head: int) -> float:
    local_rotations = robot.skeleton.local_rotations_from_dofs(robot.default_dofs)
    root = torch.tensor([0.0, 0.0, robot.default_root_height])
    return float(forward_kinematics(robot.skeleton, root, local_rotations)[0][head, 2])
