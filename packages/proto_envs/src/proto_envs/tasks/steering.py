"""Steering: move along a commanded direction at a commanded speed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor

from proto_envs.components.steering import SteeringCommand
from proto_envs.components.terms import Kernel, Reward
from proto_envs.context import Context, given
from proto_envs.tasks.base import Setup
from proto_envs.tasks.goal_task import GoalParts, GoalTask

__all__ = ["SpeedRule", "Steering", "follow_command", "follows", "misses", "speed_error", "steering_goal"]

SpeedRule = Literal["relative", "absolute"]
"""relative: errors are shares of the commanded speed (Task Tokens). absolute: in m/s (AMP, ProtoMotions 3)"""

STANDING = 0.1
"""m/s: below this a command is to stand, and relative errors are taken in m/s"""


@dataclass(frozen=True, kw_only=True)
class Steering(GoalTask):
    """Follow a direction and a speed that change now and then; where the robot faces does not matter."""

    speed: tuple[float, float] = (1.2, 6.0)
    """m/s, lowest and highest command (Task Tokens; ProtoMotions 3: 0 to 2)"""
    hold: tuple[float, float] = (6.6, 6.6)
    """s between changes, shortest and longest (Task Tokens: 199 steps at 30 Hz; ProtoMotions 3: 50 to 150)"""
    turn: float = math.pi / 2
    """rad, largest change of the direction"""
    speed_change: float = 0.3
    """m/s, largest change of the speed"""
    fresh_share: float = 0.2
    """of the changes that draw direction and speed anew from everywhere"""
    stop_share: float = 0.05
    """of the commands that are to stand still"""
    rule: SpeedRule = "relative"
    """how speeds are compared, for the reward and for success"""
    judged_after: float = 2.0
    """s after a change from when on missing the command is a failure"""
    average: float = 0.0
    """s, the mean velocity of so long is what is judged (not what is rewarded): within a stride no walk is even, and a
    clip of walking misses its own mean speed by 20 % for a tenth of the time. 0: the momentary one (Task Tokens)"""

    faces: ClassVar[bool] = False
    """where the robot faces matters"""
    clips: ClassVar[tuple[str, ...]] = ("walk", "run", "turn_left0", "turn_left1", "turn_right0", "turn_right1")

    def goal(self, setup: Setup) -> GoalParts:
        """Commands, and how well they are followed."""
        met = partial(follows, rule=self.rule, average=self.average)
        return GoalParts(
            control=self.command(setup),
            observations=(steering_goal,),
            rewards={"follow_command": Reward(partial(follow_command, rule=self.rule))},
            success=met,
            failed=partial(misses, follows=met, after=self.judged_after),
            metrics={"speed_error": partial(speed_error, average=self.average)},
        )

    def command(self, setup: Setup) -> SteeringCommand:
        """What commands are given."""
        return SteeringCommand(
            setup.num_envs,
            setup.dt,
            setup.device,
            speed=self.speed,
            hold=self.hold,
            turn=self.turn,
            speed_change=self.speed_change,
            fresh_share=self.fresh_share,
            stop_share=self.stop_share,
            average=self.average,
            faces=self.faces,
        )


# --- kernels: Context to (N, F) or (N,) ------------------------------------------------------------------------------


def steering_goal(ctx: Context) -> Tensor:
    """Commanded direction in the heading frame 2, and speed in m/s 1, (N, 3)."""
    goal = given(ctx.steering)
    return torch.cat([ctx.in_heading(goal.direction), goal.speed.unsqueeze(-1)], dim=-1)


def follow_command(ctx: Context, rule: SpeedRule) -> Tensor:
    """How well the root's velocity is the commanded one, (N,) in [0, 1].

    relative: exp(-(10 e² + 0.1 t²)), 0 below -0.5 m/s; absolute: exp(-0.25 (e² + 0.1 t²)), 0 for going backwards. e is
    the error along the command, t the speed across it. (Task Tokens sums the two components of the velocity across,
    with their signs, so that one can hide the other; it and ProtoMotions take the velocity by differences of positions.
    In ProtoMotions 3 no one who is told to stand gets a reward, as standing is not going forward.)
    """
    goal = given(ctx.steering)
    along, across = _velocity(ctx)
    error = _error(ctx, rule, along)
    if rule == "relative":
        reward = torch.exp(-(10.0 * error.square() + 0.1 * across.square()))
        return reward.masked_fill(along < -0.5, 0.0)
    reward = torch.exp(-0.25 * (error.square() + 0.1 * across.square()))
    return reward.masked_fill((along <= 0.0) & (goal.speed > STANDING), 0.0)


def follows(ctx: Context, rule: SpeedRule, average: float = 0.0) -> Tensor:
    """The command is followed well enough, (N,) bool.

    relative: the speed along it is within 20 % of it, or within 0.2 m/s of standing (Task Tokens). absolute: within
    0.5 m/s, and the velocity at most 45 degrees off (ProtoMotions 3), which of course counts only for who moves. The
    velocity is the mean over the last `average` s.
    """
    along, across = _velocity(ctx, average)
    error = _error(ctx, rule, along).abs()
    if rule == "relative":
        return error <= 0.2
    told_to_move = given(ctx.steering).speed > STANDING
    return (error < 0.5) & ((along > 0.7 * torch.hypot(along, across)) | ~told_to_move)


def misses(ctx: Context, follows: Kernel, after: float) -> Tensor:
    """A command given more than `after` s ago is not followed, (N,) bool; the last step still counts."""
    return (given(ctx.steering).age * ctx.dt > after) & ~follows(ctx)


def speed_error(ctx: Context, average: float = 0.0) -> Tensor:
    """How much the speed along the command, the mean over the last `average` s, is off, m/s, (N,)."""
    along, _ = _velocity(ctx, average)
    return (along - given(ctx.steering).speed).abs()


def _velocity(ctx: Context, average: float = 0.0) -> tuple[Tensor, Tensor]:
    """The root's speed along the command and across it, m/s, both (N,): now, or the mean over the last `average` s."""
    direction, velocity = given(ctx.steering).direction, ctx.state.body_velocities[:, 0, :2]
    if steps := round(average / ctx.dt):
        velocity = (ctx.state.body_positions[:, 0, :2] - given(ctx.place_before)) / (steps * ctx.dt)
    along = (velocity * direction).sum(-1)
    across = velocity[:, 1] * direction[:, 0] - velocity[:, 0] * direction[:, 1]
    return along, across


def _error(ctx: Context, rule: SpeedRule, along: Tensor) -> Tensor:
    """Commanded speed less the speed along the command; as a share of the command by the rule "relative"."""
    commanded = given(ctx.steering).speed
    error = commanded - along
    if rule == "absolute":
        return error
    return error / torch.where(commanded > STANDING, commanded, torch.ones_like(commanded))
