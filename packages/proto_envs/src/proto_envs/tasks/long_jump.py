"""LongJump: run up along a track, jump from a line, and come down as far behind it as possible."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from proto_envs.components.jumping import JumpTrack
from proto_envs.components.terms import Kernel, Reward, Termination
from proto_envs.context import Context, given
from proto_envs.tasks.base import Setup
from proto_envs.tasks.goal_task import GoalParts, GoalTask

__all__ = ["LongJump"]


@dataclass(frozen=True, kw_only=True)
class LongJump(GoalTask):
    """Jump far; numbers of Task Tokens.

    The landing ends the episode. It counts as terminated, failed or not: nothing comes after it that a trainer should
    estimate.
    """

    line: float = 20.0
    """m from the start to the line"""
    target: float = 30.0
    """m from the start to the point the robot is drawn to"""
    half_width: float = 0.5
    """m, half of the track; leaving it ends the episode"""
    success_length: float = 1.5
    """m; a jump must be longer"""
    landing_force: float = 50.0
    """N by which bodies behind the line must press on the ground for it to be a landing"""

    clips: ClassVar[tuple[str, ...]] = ("walk", "run", "jump")

    def goal(self, setup: Setup) -> GoalParts:
        """The track, progress along it, the flight and the landing."""
        feet = setup.robot.skeleton.body_indices(setup.robot.feet)
        end = round(self.episode_seconds / setup.dt)
        land = partial(landed, line=self.line, force=self.landing_force)
        outside = partial(off_track, half_width=self.half_width)
        success = partial(long_enough, land=land, line=self.line, length=self.success_length)
        return GoalParts(
            control=JumpTrack(setup.num_envs, setup.device, line=self.line, goal=self.target),
            observations=(
                partial(jump_goal, line=self.line, target=self.target, height=setup.robot.default_root_height),
            ),
            rewards={
                "progress": Reward(partial(progress, target=self.target)),
                "speed": Reward(forward_speed, 0.01),
                "flight": Reward(partial(flight, feet=feet, line=self.line), 0.1),
                "landing": Reward(partial(landing_length, land=land, line=self.line), 30.0),
            },
            terminations={"landed": Termination(land), "off_track": Termination(outside)},
            success=success,
            failed=partial(misses, land=land, outside=outside, success=success, end=end),
            metrics={"jump_length": partial(landing_length, land=land, line=self.line)},
        )

    @property
    def needs_contact_forces(self) -> bool:
        """Landings are contacts."""
        return True


# --- kernels: Context to (N, F) or (N,) ------------------------------------------------------------------------------


def jump_goal(ctx: Context, line: float, target: float, height: float) -> Tensor:
    """The goal against the root, in the heading frame 3, and the way to the line along the track 1, (N, 4), m.

    The goal hangs `height` m over the ground, where the root of a standing robot is.
    """
    track, root = given(ctx.jump), ctx.state.body_positions[:, 0]
    goal = torch.cat([track.start + target * track.direction, (ctx.ground_height + height).unsqueeze(-1)], dim=-1)
    return torch.cat([ctx.in_heading(goal - root), (line - _along(ctx, root.unsqueeze(1)))], dim=-1)


def progress(ctx: Context, target: float) -> Tensor:
    """How much nearer the goal is than a control step ago, on the ground, m, (N,), at most 1, 0 where it is farther."""
    track = given(ctx.jump)
    goal = track.start + target * track.direction
    distance = (goal - ctx.state.body_positions[:, 0, :2]).norm(dim=-1)
    return (track.previous_distance - distance).clamp(0.0, 1.0)


def forward_speed(ctx: Context) -> Tensor:
    """The root's speed along the track, m/s, (N,)."""
    return (ctx.state.body_velocities[:, 0, :2] * given(ctx.jump).direction).sum(-1)


def flight(ctx: Context, feet: list[int], line: float) -> Tensor:
    """Height of the root over the ground, m, (N,), once a foot is behind the line; else 0."""
    behind = (_along(ctx, ctx.state.body_positions[:, feet]) > line).any(-1)
    height = ctx.state.body_positions[:, 0, 2] - ctx.ground_height
    return torch.where(behind, height, torch.zeros_like(height))


def landed(ctx: Context, line: float, force: float) -> Tensor:
    """Bodies behind the line press on the ground by more than `force` N together, (N,) bool.

    (Task Tokens counts the force on all bodies, so that a foot that takes off before the line while the other is past
    it already lands.)
    """
    behind = _along(ctx, ctx.state.body_positions) > line
    pressing = ctx.state.contact_forces * behind.unsqueeze(-1)
    return pressing.sum(1).norm(dim=-1) > force


def landing_length(ctx: Context, land: Kernel, line: float) -> Tensor:
    """Mean of the bodies' distances behind the line at the landing, m, (N,); 0 at any other moment."""
    length = _along(ctx, ctx.state.body_positions).mean(-1) - line
    return torch.where(land(ctx), length, torch.zeros_like(length))


def long_enough(ctx: Context, land: Kernel, line: float, length: float) -> Tensor:
    """The robot lands now, far enough, (N,) bool."""
    return landing_length(ctx, land, line) > length


def off_track(ctx: Context, half_width: float) -> Tensor:
    """The root is beside the track, (N,) bool."""
    track = given(ctx.jump)
    offset = ctx.state.body_positions[:, 0, :2] - track.start
    across = offset[:, 1] * track.direction[:, 0] - offset[:, 0] * track.direction[:, 1]
    return across.abs() > half_width


def misses(ctx: Context, land: Kernel, outside: Kernel, success: Kernel, end: int) -> Tensor:
    """The episode ends now, by landing, beside the track or after `end` steps, without a jump long enough."""
    ends = land(ctx) | outside(ctx) | (ctx.steps >= end)
    return ends & ~success(ctx)


def _along(ctx: Context, positions: Tensor) -> Tensor:
    """Way along the track of points (N, P, 3), m, (N, P)."""
    track = given(ctx.jump)
    return ((positions[..., :2] - track.start.unsqueeze(1)) * track.direction.unsqueeze(1)).sum(-1)
