"""Reward kernels: pure functions of a `Context` with outputs (N,).

Tracking kernels have the form exp(-c · e), with e a mean over bodies. Where an error is a vector, its mean square over
x, y, z is taken, so an error of d metres on one axis counts d²/3 (ProtoMotions' convention; DeepMimic sums the axes).
"""

from __future__ import annotations

import torch
from torch import Tensor

from proto_envs.context import Context

__all__ = [
    "angular_velocity_tracking",
    "contact_mismatch",
    "position_tracking",
    "power",
    "root_height_tracking",
    "rotation_tracking",
    "target_change",
    "velocity_tracking",
]


def position_tracking(ctx: Context, scale: float) -> Tensor:
    """exp(-scale · mean squared position error in m² per axis), in (0, 1]."""
    return torch.exp(-scale / 3.0 * ctx.tracking.squared_distances.mean(-1))


def rotation_tracking(ctx: Context, scale: float, power: int = 2) -> Tensor:
    """exp(-scale · mean angle^power), angles in rad, in (0, 1]. ProtoMotions 3 squares the angle, version 1 did not."""
    return torch.exp(-scale * ctx.tracking.angles.pow(power).mean(-1))


def velocity_tracking(ctx: Context, scale: float) -> Tensor:
    """exp(-scale · mean squared velocity error in (m/s)² per axis), in (0, 1]."""
    error = ctx.state.body_velocities - ctx.reference.body_velocities
    return torch.exp(-scale * error.square().flatten(1).mean(-1))


def angular_velocity_tracking(ctx: Context, scale: float) -> Tensor:
    """exp(-scale · mean squared angular velocity error in (rad/s)² per axis), in (0, 1]."""
    error = ctx.state.body_angular_velocities - ctx.reference.body_angular_velocities
    return torch.exp(-scale * error.square().flatten(1).mean(-1))


def root_height_tracking(ctx: Context, scale: float) -> Tensor:
    """exp(-scale · squared height error of the root in m²), in (0, 1]."""
    return torch.exp(-scale * ctx.tracking.offsets[:, 0, 2].square())


def target_change(ctx: Context) -> Tensor:
    """Length in rad of the change of all joint targets since the last step: what a smooth controller keeps small."""
    return (ctx.targets - ctx.previous_targets).norm(dim=-1)


def power(ctx: Context) -> Tensor:
    """Sum over joints of |torque · velocity|, W."""
    return (ctx.state.dof_forces * ctx.state.dof_velocities).abs().sum(-1)


def contact_mismatch(ctx: Context, bodies: list[int], threshold: float = 1.0) -> Tensor:
    """Share of `bodies` whose contact with the ground (force above `threshold` N) is not the reference's label."""
    touching = ctx.state.contact_forces[:, bodies].norm(dim=-1) > threshold
    return (touching != ctx.reference.contacts[:, bodies]).float().mean(-1)
