"""PathFollow: keep the head on a point that moves along a random path and up and down."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from proto_envs.components.paths import PathFollower, PathShape
from proto_envs.components.terms import Kernel, Reward, Termination
from proto_envs.context import Context, given
from proto_envs.tasks.base import Setup
from proto_envs.tasks.goal_task import GoalParts, GoalTask

__all__ = ["PathFollow"]


@dataclass(frozen=True, kw_only=True)
class PathFollow(GoalTask):
    """Follow a path in time; numbers of Task Tokens, of ProtoMotions 3 where said."""

    with_height: bool = True
    """the height of the head counts; else only its place on the ground"""
    samples: int = 11
    """points of the path that the policy sees (ProtoMotions 3: 10)"""
    sample_spacing: float = 0.5
    """s between them; the first is where the head should be now"""
    max_speed: float = 5.0
    """m/s"""
    start_speed: float = 1.5
    """m/s, highest at the beginning (ProtoMotions 3: 1)"""
    acceleration: float = 1.0
    """m/s2 (ProtoMotions 3: 2)"""
    turn_rate: float = 2.0
    """rad/s"""
    sharp_turn_share: float = 0.02
    """of the path's 101 vertices at which it turns by any angle at once"""
    start_turn: float = math.pi
    """rad, largest angle between where the robot faces and where the path begins to go"""
    heights: tuple[float, float] = (0.7, 1.5)
    """m of the head over the ground, lowest and highest (ProtoMotions 3: 0.4 to 1.5)"""
    success_distance: float = 2.0
    """m on the ground; farther off after 10 steps is a failure (ProtoMotions 3: 0.5)"""
    termination_distance: float = 4.0
    """m in space; farther off after 20 steps ends the episode (ProtoMotions 3: 1, on the ground, after 10)"""
    termination_height: float = 0.5
    """m, the same for the height alone"""

    clips: ClassVar[tuple[str, ...]] = ("walk", "run", "turn_left0", "turn_left1", "turn_right0", "turn_right1")

    def goal(self, setup: Setup) -> GoalParts:
        """Paths that go on beyond the end of the episode, so that what is seen ahead never stops.

        Raises:
            ValueError: without samples, or a time between them.
        """
        if self.samples < 1 or not self.sample_spacing > 0:
            raise ValueError(
                "task PathFollow: samples must be at least 1 and sample_spacing positive, got"
                f" {self.samples} and {self.sample_spacing}"
            )
        spacing = self.episode_seconds / 100.0
        shape = PathShape(
            vertices=101 + math.ceil(self.samples * self.sample_spacing / spacing),
            spacing=spacing,
            start_speed=self.start_speed,
            max_speed=self.max_speed,
            acceleration=self.acceleration,
            turn_rate=self.turn_rate,
            sharp_turn_share=self.sharp_turn_share,
            start_turn=self.start_turn,
            heights=self.heights,
        )
        (head,) = setup.robot.skeleton.body_indices([setup.robot.semantic["head"]])
        follower = PathFollower(
            setup.num_envs,
            setup.dt,
            setup.device,
            shape=shape,
            head=head,
            samples=self.samples,
            sample_spacing=self.sample_spacing,
        )
        off = partial(
            off_path,
            head=head,
            distance=self.termination_distance,
            height=self.termination_height if self.with_height else math.inf,
        )
        near = partial(near_path, head=head, distance=self.success_distance)
        return GoalParts(
            control=follower,
            observations=(partial(path_ahead, head=head, with_height=self.with_height),),
            rewards={"follow_path": Reward(partial(follow_path, head=head, with_height=self.with_height))},
            terminations={"off_path": Termination(off)},
            success=near,
            failed=partial(misses, near=near),
            metrics={"path_distance": partial(path_distance, head=head)},
        )


# --- kernels: Context to (N, F) or (N,) ------------------------------------------------------------------------------


def path_ahead(ctx: Context, head: int, with_height: bool) -> Tensor:
    """The path's samples against the head, in the heading frame, (N, 3 S), or (N, 2 S) without the height."""
    offsets = given(ctx.path).ahead - _head(ctx, head).unsqueeze(1)
    return ctx.in_heading(offsets if with_height else offsets[..., :2]).flatten(1)


def follow_path(ctx: Context, head: int, with_height: bool) -> Tensor:
    """How close the head is to its point on the path, (N,) in [0, 1].

    exp(-2 d²) with the distance d on the ground; with the height, the harmonic mean of that and exp(-10 dz²). (Task
    Tokens takes the head's height over the lowest body, which a jump leaves as it is; here it is over the ground.)
    """
    offset = given(ctx.path).now - _head(ctx, head)
    place = torch.exp(-2.0 * offset[:, :2].square().sum(-1))
    if not with_height:
        return place
    height = torch.exp(-10.0 * offset[:, 2].square())
    return 2.0 * place * height / (place + height + 1e-6)


def path_distance(ctx: Context, head: int) -> Tensor:
    """Distance on the ground from the head to its point on the path, m, (N,)."""
    return (given(ctx.path).now - _head(ctx, head))[:, :2].norm(dim=-1)


def near_path(ctx: Context, head: int, distance: float) -> Tensor:
    """The head is within `distance` m on the ground of its point on the path, (N,) bool."""
    return path_distance(ctx, head) <= distance


def misses(ctx: Context, near: Kernel) -> Tensor:
    """The head is too far off after 10 steps, (N,) bool."""
    return (given(ctx.path).age > 10) & ~near(ctx)


def off_path(ctx: Context, head: int, distance: float, height: float) -> Tensor:
    """The head is farther than `distance` m in space from its point, or `height` m too high or low, after 20 steps."""
    offset = given(ctx.path).now - _head(ctx, head)
    lost = (offset.norm(dim=-1) > distance) | (offset[:, 2].abs() > height)
    return lost & (given(ctx.path).age > 20)


def _head(ctx: Context, head: int) -> Tensor:
    """(N, 3) m, place of the head in the world and its height over the ground below it."""
    position = ctx.state.body_positions[:, head]
    return torch.cat([position[:, :2], position[:, 2:] - ctx.terrain.heights(position).unsqueeze(-1)], dim=-1)
