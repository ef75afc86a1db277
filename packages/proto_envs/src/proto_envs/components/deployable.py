"""Tracking on a real robot: what it can sense or compute, and how near it is to a reference that moves along with it.

A robot knows its joints, how it turns and where down is (gyroscope and accelerometer, whose filter also gives a heading
that drifts slowly), and the reference. It does not know where it is in the world. So bodies are compared with the
*carried* reference: turned about the vertical and moved over the ground until the anchor, a body such as the torso,
faces the same way at the same place; its height stays (BeyondMimic, Liao et al. 2025).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from poselib.kinematics import joint_velocities, local_rotations_from_world
from poselib.rotations import (
    angle_between,
    heading_angle,
    quat_apply,
    quat_apply_inverse,
    quat_conjugate,
    quat_difference,
    quat_from_yaw,
    quat_multiply,
    rotation_6d_from_quat,
)
from proto_envs.context import Context

__all__ = [
    "SENSES",
    "anchor_height_error",
    "anchor_rotation_tracking",
    "carried_distances",
    "carried_position_tracking",
    "carried_rotation_tracking",
    "future_joint_tokens",
    "future_joints",
    "gravity_direction",
    "joint_limit_excess",
    "joint_positions",
    "joint_rates",
    "lost_anchor",
    "lost_limb",
    "turning",
]


# --- observations: Context to (N, F) ---------------------------------------------------------------------------------


def gravity_direction(ctx: Context) -> Tensor:
    """Where down is, a unit vector in the root's frame, (N, 3)."""
    root = ctx.state.body_rotations[:, 0]
    down = torch.zeros_like(root[:, :3])
    down[:, 2] = -1.0
    return quat_apply_inverse(root, down)


def turning(ctx: Context) -> Tensor:
    """Angular velocity of the root in its own frame, as a gyroscope gives it, (N, 3) rad/s."""
    return quat_apply_inverse(ctx.state.body_rotations[:, 0], ctx.state.body_angular_velocities[:, 0])


def joint_positions(ctx: Context) -> Tensor:
    """Joint positions, (N, D) rad."""
    return ctx.state.dof_positions


def joint_rates(ctx: Context) -> Tensor:
    """Joint velocities, (N, D) rad/s."""
    return ctx.state.dof_velocities


SENSES = (gravity_direction, turning, joint_positions, joint_rates)
"""What a robot's own sensors give, 2 D + 6 numbers (64 for G1), a kernel for each so that each has its own noise"""


def future_joints(ctx: Context, anchor: int) -> Tensor:
    """The reference at K moments to come, as far as it says nothing of places, (N, K (2 D + 6)).

    Moment by moment: joint positions D and velocities D, and the turn from the anchor's orientation now to that of the
    reference, in the anchor's frame, 6 (two rotated axes).
    """
    skeleton, future = ctx.robot.skeleton, ctx.future
    rotations = future.body_rotations
    dofs = skeleton.dofs_from_local_rotations(local_rotations_from_world(skeleton, rotations))
    joint_turning = joint_velocities(skeleton, rotations, future.body_angular_velocities)
    turn = quat_difference(ctx.state.body_rotations[:, None, anchor], rotations[:, :, anchor])
    rates = skeleton.dof_velocities_from_joint_velocities(joint_turning)
    return torch.cat([dofs, rates, rotation_6d_from_quat(turn)], dim=-1).flatten(1)


def future_joint_tokens(width: int, moments: int) -> Tensor:
    """One token for each moment of `future_joints`, (K, width / K): a `TokenLayout`."""
    return torch.arange(width).view(moments, -1)


# --- the carried reference -------------------------------------------------------------------------------------------


def _carry(ctx: Context, anchor: int) -> tuple[Tensor, Tensor, Tensor]:
    """The turn (N, 1, 4) and the two anchors' positions (N, 1, 3), the robot's at the height of its reference's."""
    state, reference = ctx.state, ctx.reference
    apart = quat_multiply(state.body_rotations[:, anchor], quat_conjugate(reference.body_rotations[:, anchor]))
    there = reference.body_positions[:, anchor]
    here = torch.cat([state.body_positions[:, anchor, :2], there[:, 2:]], dim=-1)
    return quat_from_yaw(heading_angle(apart)).unsqueeze(1), here.unsqueeze(1), there.unsqueeze(1)


def carried_distances(ctx: Context, anchor: int, bodies: Sequence[int] | None = None) -> Tensor:
    """Distance of each body, or of some, from the carried reference, (N, B) m."""
    return _carried_offsets(ctx, anchor, bodies).norm(dim=-1)


def _carried_offsets(ctx: Context, anchor: int, bodies: Sequence[int] | None = None) -> Tensor:
    turn, here, there = _carry(ctx, anchor)
    chosen = slice(None) if bodies is None else list(bodies)
    carried = quat_apply(turn, ctx.reference.body_positions[:, chosen] - there) + here
    return ctx.state.body_positions[:, chosen] - carried


# --- rewards: Context to (N,) ----------------------------------------------------------------------------------------


def anchor_rotation_tracking(ctx: Context, anchor: int, deviation: float) -> Tensor:
    """exp(-(angle / deviation)²) of the anchor's orientation from the reference's, heading included, in (0, 1]."""
    angle = angle_between(ctx.state.body_rotations[:, anchor], ctx.reference.body_rotations[:, anchor])
    return torch.exp(-(angle / deviation).square())


def carried_position_tracking(ctx: Context, anchor: int, deviation: float) -> Tensor:
    """exp(-mean squared distance / deviation²) of the bodies from the carried reference, m, in (0, 1]."""
    return torch.exp(-_carried_offsets(ctx, anchor).square().sum(-1).mean(-1) / deviation**2)


def carried_rotation_tracking(ctx: Context, anchor: int, deviation: float) -> Tensor:
    """exp(-mean squared angle / deviation²) of the bodies from the carried reference, rad, in (0, 1]."""
    turn, _, _ = _carry(ctx, anchor)
    angles = angle_between(ctx.state.body_rotations, quat_multiply(turn, ctx.reference.body_rotations))
    return torch.exp(-angles.square().mean(-1) / deviation**2)


def joint_limit_excess(ctx: Context, limits: Tensor) -> Tensor:
    """By how much joints are beyond `limits` (D, 2) rad, summed over the joints."""
    low, high = limits.to(ctx.state.dof_positions).unbind(-1)
    position = ctx.state.dof_positions
    return ((low - position).clamp_min(0.0) + (position - high).clamp_min(0.0)).sum(-1)


# --- ends and metrics ------------------------------------------------------------------------------------------------


def anchor_height_error(ctx: Context, anchor: int) -> Tensor:
    """How far the anchor is above or below its reference, (N,) m."""
    return (ctx.state.body_positions[:, anchor, 2] - ctx.reference.body_positions[:, anchor, 2]).abs()


def lost_anchor(ctx: Context, anchor: int, height: float, tilt: float) -> Tensor:
    """The anchor is `height` m too high or too low, or leans otherwise than its reference, (N,) bool.

    `tilt` bounds the difference of the two upright components of the anchor's own vertical axis, each in [-1, 1].
    """
    state, reference = ctx.state, ctx.reference
    upright = [_upright(rotations[:, anchor]) for rotations in (state.body_rotations, reference.body_rotations)]
    return (anchor_height_error(ctx, anchor) > height) | ((upright[0] - upright[1]).abs() > tilt)


def _upright(rotations: Tensor) -> Tensor:
    """The world's z component of the rotated z axis, (N,)."""
    x, y = rotations[:, 0], rotations[:, 1]
    return 1.0 - 2.0 * (x.square() + y.square())


def lost_limb(ctx: Context, anchor: int, bodies: Sequence[int], height: float) -> Tensor:
    """One of `bodies` is `height` m above or below where the carried reference has it, (N,) bool."""
    return (_carried_offsets(ctx, anchor, bodies)[..., 2].abs() > height).any(-1)
