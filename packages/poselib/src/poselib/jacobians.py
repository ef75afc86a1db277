"""How a skeleton's points and bodies move with its coordinates: analytic Jacobians for all frames of a clip at once.

The coordinates of motion are the root's velocity in the world (3), its angular velocity in its own frame (3), and the
velocities of the degrees of freedom (a ball's are its angular velocity in the child's frame): 6 + D columns, the ones
that MuJoCo's `mj_jac` has for a free root, hinges and ball joints. Every column but the first three is a turn about an
axis through a body's origin, so a whole clip is two batched products, with no loop over frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from poselib.rotations import exp_map_from_quat, quat_apply, quat_from_exp_map, quat_multiply
from poselib.skeleton import Skeleton

__all__ = ["Turns", "coordinate_jacobian", "moved", "turns_of"]


@dataclass(frozen=True, eq=False)
class Turns:
    """The axes about which a pose can turn, in the world."""

    axes: Tensor
    """(..., 3 + D, 3) unit axes: the root's x, y, z, then one per degree of freedom"""
    origins: Tensor
    """(..., 3 + D, 3) m, points on the axes"""
    moves: Tensor
    """(B, 3 + D) float, 1 where a turn moves a body"""

    def of_points(self, bodies: Tensor, points: Tensor) -> Tensor:
        """Jacobian `(..., K, 3, 6 + D)` in m per rad of points that are fixed to bodies.

        Args:
            bodies: `(K,)`, or `(..., K)` if the bodies differ from frame to frame.
            points: `(..., K, 3)` m, world.
        """
        x, y, z = points.unbind(-1)
        zero = torch.zeros_like(x)
        cross = torch.stack([zero, z, -y, -z, zero, x, y, -x, zero], dim=-1).unflatten(-1, (3, 3))
        # axis x (point - origin), as products of matrices: a x p = -[p] a
        swing = cross @ self.axes.mT.unsqueeze(-3) - torch.linalg.cross(self.axes, self.origins, dim=-1).mT.unsqueeze(
            -3
        )
        swing = swing * self.moves[bodies].unsqueeze(-2)
        shift = torch.eye(3, dtype=points.dtype, device=points.device).expand(*swing.shape[:-1], 3)
        return torch.cat([shift, swing], dim=-1)

    def of_bodies(self, bodies: Tensor) -> Tensor:
        """Jacobian `(..., K, 3, 6 + D)` of the rotation vectors, world, of bodies `(K,)`."""
        turn = (self.axes.unsqueeze(-3) * self.moves[bodies].unsqueeze(-1)).transpose(-1, -2)
        return torch.cat([torch.zeros_like(turn[..., :3]), turn], dim=-1)


def turns_of(skeleton: Skeleton, positions: Tensor, rotations: Tensor) -> Turns:
    """The axes of a pose.

    Args:
        skeleton: B bodies, D degrees of freedom.
        positions: `(..., B, 3)` m, as `forward_kinematics` gives them.
        rotations: `(..., B, 4)`, likewise.
    """
    tables = skeleton.tables(positions)
    bodies = torch.cat([tables.dof_bodies.new_zeros(3), tables.dof_bodies])
    local = torch.cat([torch.eye(3).to(positions), tables.dof_axes])
    moves = torch.zeros(skeleton.num_bodies, len(bodies)).to(positions)
    for body, parent in enumerate(skeleton.parents):
        if parent >= 0:
            moves[body] = moves[parent]
        moves[body, bodies == body] = 1.0
    axes = quat_apply(rotations.index_select(-2, bodies), local)
    return Turns(axes, positions.index_select(-2, bodies), moves)


def moved(skeleton: Skeleton, root: Tensor, local: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """The pose after a step along the columns of the Jacobians: root positions and local rotations.

    Args:
        skeleton: B bodies, D degrees of freedom.
        root: `(..., 3)` m.
        local: `(..., B, 4)`.
        step: `(..., 6 + D)` m and rad.
    """
    turns = skeleton.joint_velocities_from_dof_velocities(step[..., 6:])
    turns = torch.cat([step[..., None, 3:6], turns[..., 1:, :]], dim=-2)
    return root + step[..., :3], quat_multiply(local, quat_from_exp_map(turns))


def coordinate_jacobian(skeleton: Skeleton, local: Tensor) -> Tensor:
    """How joint coordinates change with the turns of the joints, `(..., D, D)`: one for a hinge.

    A ball's coordinates are its rotation vector, so its block is the inverse of the right Jacobian of SO(3). It grows
    without bound towards a full turn.
    """
    tables = skeleton.tables(local)
    result = torch.eye(skeleton.num_dofs).to(local).repeat(*local.shape[:-2], 1, 1)
    if skeleton.ball_dofs:
        rows = torch.tensor(skeleton.ball_dofs, device=local.device)
        axes = tables.dof_axes[rows]
        turns = exp_map_from_quat(local.index_select(-2, tables.dof_bodies[rows[:, 0]]))
        block = axes @ _inverse_right_jacobian(turns) @ axes.transpose(-1, -2)
        result[..., rows[:, :, None], rows[:, None, :]] = block
    return result


def _inverse_right_jacobian(phi: Tensor) -> Tensor:
    """`(..., 3)` rad to `(..., 3, 3)`: I + [phi] / 2 + c [phi]^2 with [phi] the matrix of the cross product."""
    squared = (phi * phi).sum(-1)[..., None, None]
    small = squared < 1e-6
    angle = torch.where(small, torch.ones_like(squared), squared).sqrt()
    factor = (1.0 - 0.5 * angle / torch.tan(0.5 * angle)) / angle.square()
    factor = torch.where(small, torch.full_like(factor, 1.0 / 12.0), factor)
    eye = torch.eye(3).to(phi)
    cross = torch.linalg.cross(phi.unsqueeze(-1).expand(*phi.shape, 3), eye.expand(*phi.shape, 3), dim=-2)
    return eye + 0.5 * cross + factor * (cross @ cross)
