"""Forward kinematics: from local rotations and joint velocities to every body's pose and velocity in the world."""

from __future__ import annotations

import torch
from torch import Tensor

from poselib.rotations import quat_apply, quat_apply_inverse, quat_conjugate, quat_multiply
from poselib.skeleton import Skeleton, SkeletonTables

__all__ = ["forward_kinematics", "forward_velocities", "joint_velocities", "local_rotations_from_world"]


def forward_kinematics(skeleton: Skeleton, root_position: Tensor, local_rotations: Tensor) -> tuple[Tensor, Tensor]:
    """Pose of every body in the world.

    Args:
        skeleton: B bodies.
        root_position: `(..., 3)` m.
        local_rotations: `(..., B, 4)`; the root's is its orientation in the world.

    Returns:
        Positions `(..., B, 3)` in m and rotations `(..., B, 4)`.
    """
    tables = skeleton.tables(local_rotations)
    joints = quat_multiply(tables.rest_rotations, local_rotations)
    positions, rotations = [root_position.unsqueeze(-2)], [local_rotations[..., :1, :]]
    for bodies, parents in tables.levels:
        parent_position = positions[-1].index_select(-2, parents)
        parent_rotation = rotations[-1].index_select(-2, parents)
        positions.append(parent_position + quat_apply(parent_rotation, tables.offsets[bodies]))
        rotations.append(quat_multiply(parent_rotation, joints.index_select(-2, bodies)))
    return _depth_first(positions, tables), _depth_first(rotations, tables)


def local_rotations_from_world(skeleton: Skeleton, rotations: Tensor) -> Tensor:
    """Inverse of `forward_kinematics` for rotations, world `(..., B, 4)` to local `(..., B, 4)`."""
    tables = skeleton.tables(rotations)
    parent_rotation = quat_multiply(rotations.index_select(-2, tables.parents), tables.rest_rotations[1:])
    local = quat_multiply(quat_conjugate(parent_rotation), rotations[..., 1:, :])
    return torch.cat([rotations[..., :1, :], local], dim=-2)


def forward_velocities(
    skeleton: Skeleton,
    positions: Tensor,
    rotations: Tensor,
    root_velocity: Tensor,
    root_angular_velocity: Tensor,
    dof_velocities: Tensor,
) -> tuple[Tensor, Tensor]:
    """Velocity of every body in the world.

    Args:
        skeleton: B bodies, D degrees of freedom.
        positions: `(..., B, 3)` m, as `forward_kinematics` gives them.
        rotations: `(..., B, 4)`, likewise.
        root_velocity: `(..., 3)` m/s, world.
        root_angular_velocity: `(..., 3)` rad/s, world.
        dof_velocities: `(..., D)` rad/s; a ball's three are its angular velocity in the child's frame.

    Returns:
        Linear `(..., B, 3)` m/s (of the bodies' origins) and angular velocity `(..., B, 3)` rad/s, world.
    """
    tables = skeleton.tables(dof_velocities)
    turning = quat_apply(rotations, skeleton.joint_velocities_from_dof_velocities(dof_velocities))
    arms = positions[..., 1:, :] - positions.index_select(-2, tables.parents)
    linear, angular = [root_velocity.unsqueeze(-2)], [root_angular_velocity.unsqueeze(-2)]
    for bodies, parents in tables.levels:
        parent_angular = angular[-1].index_select(-2, parents)
        swing = torch.linalg.cross(parent_angular, arms.index_select(-2, bodies - 1), dim=-1)
        linear.append(linear[-1].index_select(-2, parents) + swing)
        angular.append(parent_angular + turning.index_select(-2, bodies))
    return _depth_first(linear, tables), _depth_first(angular, tables)


def joint_velocities(skeleton: Skeleton, rotations: Tensor, angular_velocities: Tensor) -> Tensor:
    """Angular velocity of each body against its parent, in the body's own frame, `(..., B, 3)` rad/s.

    Args:
        skeleton: B bodies.
        rotations: `(..., B, 4)` world.
        angular_velocities: `(..., B, 3)` rad/s, world. The root's row of the result is its own in its own frame.
    """
    of_parents = angular_velocities.index_select(-2, skeleton.tables(angular_velocities).parents)
    relative = angular_velocities[..., 1:, :] - of_parents
    return quat_apply_inverse(rotations, torch.cat([angular_velocities[..., :1, :], relative], dim=-2))


def _depth_first(levels: list[Tensor], tables: SkeletonTables) -> Tensor:
    return torch.cat(levels, dim=-2).index_select(-2, tables.level_rows)
