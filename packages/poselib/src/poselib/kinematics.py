"""Forward kinematics: from local rotations and joint velocities to every body's pose and velocity in the world."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from poselib.rotations import quat_apply, quat_apply_inverse, quat_conjugate, quat_multiply
from poselib.skeleton import Skeleton, SkeletonTables

__all__ = [
    "forward_kinematics",
    "forward_velocities",
    "joint_velocities",
    "local_rotations_from_world",
    "velocities_from_joints",
]


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
    turns = _multiply(_components(tables.rest_rotations), _components(local_rotations))
    rotations = _down_the_tree(turns, tables, _multiply)
    arms = _apply(rotations.index_select(1, tables.parents), _components(tables.offsets[1:]))
    steps = torch.cat([_components(root_position.unsqueeze(-2)), arms], dim=1)
    positions = _down_the_tree(steps, tables, torch.add)
    shape = local_rotations.shape[:-2]
    return _bodies(positions, shape), _bodies(rotations, shape)


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
    joints = skeleton.joint_velocities_from_dof_velocities(dof_velocities)
    return velocities_from_joints(skeleton, positions, rotations, root_velocity, root_angular_velocity, joints)


def velocities_from_joints(
    skeleton: Skeleton,
    positions: Tensor,
    rotations: Tensor,
    root_velocity: Tensor,
    root_angular_velocity: Tensor,
    joint_velocities: Tensor,
) -> tuple[Tensor, Tensor]:
    """As `forward_velocities`, of joints whose angular velocities `(..., B, 3)` are what `joint_velocities` gives.

    The root's row of them is left out of account.
    """
    tables = skeleton.tables(rotations)
    places, orientations = _components(positions), _components(rotations)
    turning = _apply(orientations[:, 1:], _components(joint_velocities[..., 1:, :]))
    turning = torch.cat([_components(root_angular_velocity.unsqueeze(-2)), turning], dim=1)
    angular = _down_the_tree(turning, tables, torch.add)
    arms = places[:, 1:] - places.index_select(1, tables.parents)
    swing = _cross(angular.index_select(1, tables.parents), arms)
    moving = torch.cat([_components(root_velocity.unsqueeze(-2)), swing], dim=1)
    linear = _down_the_tree(moving, tables, torch.add)
    shape = rotations.shape[:-2]
    return _bodies(linear, shape), _bodies(angular, shape)


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


# --- trees -----------------------------------------------------------------------------------------------------------
# Inside, values of bodies are (C, B, n): component by component, all of a batch side by side, which is how a CPU reads
# memory fastest.


def _components(values: Tensor) -> Tensor:
    """(..., B, C) to (C, B, n)."""
    return values.reshape(-1, *values.shape[-2:]).permute(2, 1, 0).contiguous()


def _bodies(values: Tensor, shape: torch.Size) -> Tensor:
    """(C, B, n) to (*shape, B, C)."""
    return values.permute(2, 1, 0).contiguous().view(*shape, values.shape[1], values.shape[0])


def _down_the_tree(values: Tensor, tables: SkeletonTables, joined: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """What `joined(above, below)` makes of all values (C, B, n) from the root to each body.

    In round k every body joins what its ancestor 2^k steps above it has joined so far: as many rounds as the depth has
    binary digits, instead of one for each level.
    """
    for bodies, ancestors in tables.jumps:
        below, above = values.index_select(1, bodies), values.index_select(1, ancestors)
        values = values.index_copy(1, bodies, joined(above, below))
    return values


def _multiply(a: Tensor, b: Tensor) -> Tensor:
    return quat_multiply(a.movedim(0, -1), b.movedim(0, -1)).movedim(-1, 0)


def _apply(q: Tensor, v: Tensor) -> Tensor:
    return quat_apply(q.movedim(0, -1), v.movedim(0, -1)).movedim(-1, 0)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    (ax, ay, az), (bx, by, bz) = a, b
    return torch.stack(
        [
            (ay * bz).addcmul_(az, by, value=-1),
            (az * bx).addcmul_(ax, bz, value=-1),
            (ax * by).addcmul_(ay, bx, value=-1),
        ]
    )
