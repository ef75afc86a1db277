"""Observation kernels: pure functions of a `Context` with outputs (N, F).

The heading frame has the root's yaw alone: x points where the character faces, z up. Orientations are encoded by two
rotated axes (6 numbers, `poselib.rotations.rotation_6d_from_quat`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from poselib.rotations import (
    exp_map_from_quat,
    quat_conjugate,
    quat_difference,
    quat_multiply,
    rotation_6d_from_quat,
)
from proto_envs.context import Context

__all__ = ["future_pose_tokens", "future_poses", "pose_difference", "previous_targets", "proprioception"]


def proprioception(ctx: Context) -> Tensor:
    """The body's own state in maximal coordinates, (N, 15 B - 2): 223 for AMP, 358 for SMPL.

    Root height above ground 1, positions of the other bodies against the root 3 (B - 1), orientations 6 B, velocities
    3 B and angular velocities 3 B, all but the height in the heading frame. Layout as `max_coords` of ProtoMotions.
    """
    state = ctx.state
    root = state.body_positions[:, :1]
    axes = rotation_6d_from_quat(state.body_rotations)
    vectors = torch.cat(
        [
            state.body_positions[:, 1:] - root,
            axes.unflatten(-1, (2, 3)).flatten(1, 2),
            state.body_velocities,
            state.body_angular_velocities,
        ],
        dim=1,
    )
    height = root[:, 0, 2:] - ctx.ground_height.unsqueeze(-1)
    return torch.cat([height, (vectors @ ctx.heading_matrix).flatten(1)], dim=-1)


def future_poses(ctx: Context) -> Tensor:
    """Reference poses to come, against the present one, (N, 24 B K) for K future moments.

    Per moment and body: position against the same body now 3 and against the root now 3, velocity difference 3, angular
    velocity difference 3, orientation 6, all in the heading frame, and the turn from the body's orientation now, in the
    body's frame, 6. The first five are laid out moment by moment; the turns of all moments follow.
    """
    state, future = ctx.state, ctx.future
    now_position = state.body_positions.unsqueeze(1)
    orientation = rotation_6d_from_quat(future.body_rotations).unflatten(-1, (2, 3))
    vectors = torch.cat(
        [
            future.body_positions - now_position,
            future.body_positions - now_position[:, :, :1],
            future.body_velocities - state.body_velocities.unsqueeze(1),
            future.body_angular_velocities - state.body_angular_velocities.unsqueeze(1),
            orientation.flatten(2, 3),
        ],
        dim=2,
    )
    in_heading = vectors.flatten(1, 2) @ ctx.heading_matrix
    turn = quat_difference(state.body_rotations.unsqueeze(1), future.body_rotations)
    return torch.cat([in_heading.flatten(1), rotation_6d_from_quat(turn).flatten(1)], dim=-1)


def future_pose_tokens(width: int, moments: int) -> Tensor:
    """Which numbers of `future_poses` are of which moment, (moments, 24 B): a token for each pose to come."""
    vectors = torch.arange(width * 3 // 4).view(moments, -1)
    turns = torch.arange(width * 3 // 4, width).view(moments, -1)
    return torch.cat([vectors, turns], dim=1)


def pose_difference(ctx: Context) -> Tensor:
    """How far each body is from its reference now, (N, 12 B): nothing but zeros if the reference is met.

    Per body: position 3 m and turn 3 rad (rotation vector), velocity 3 and angular velocity 3, in the heading frame.
    """
    state, reference = ctx.state, ctx.reference
    turn = exp_map_from_quat(quat_multiply(reference.body_rotations, quat_conjugate(state.body_rotations)))
    vectors = torch.cat(
        [
            reference.body_positions - state.body_positions,
            turn,
            reference.body_velocities - state.body_velocities,
            reference.body_angular_velocities - state.body_angular_velocities,
        ],
        dim=1,
    )
    return ctx.in_heading(vectors).flatten(1)


def previous_targets(ctx: Context) -> Tensor:
    """Joint targets commanded last, (N, D) rad."""
    return ctx.targets
