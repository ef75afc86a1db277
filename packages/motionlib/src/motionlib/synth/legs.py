"""Both feet to their places: damped least squares on the legs' own joints, for all frames at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from motionlib.synth.figures import Figure, Side
from poselib.jacobians import moved, turns_of
from poselib.kinematics import forward_kinematics
from poselib.rotations import exp_map_from_quat, quat_conjugate, quat_from_angle_axis, quat_multiply, twist_angle

__all__ = ["FootPose", "place_feet"]

_ROTATION_WEIGHT, _FEW_JOINTS_WEIGHT = 0.1, 0.01
"""m/rad; a leg with fewer than six degrees of freedom cannot have both, and the place matters more"""
_DAMPINGS = (1e-2, 3e-3, 1e-3, 1e-3, 3e-4, 3e-4, 1e-4, 1e-4, 1e-4, 1e-4, 1e-4, 1e-4)
"""m2/rad2 of each step; large at first, since a straight knee is a singular place"""
_LEAST_BEND = 0.02
"""rad, of a knee"""


@dataclass(frozen=True, eq=False)
class FootPose:
    """Where a foot is to be."""

    side: Side
    position: Tensor
    """(M, 3) m, of its body's origin, world"""
    rotation: Tensor
    """(M, 4), of its body, world"""

    def every(self, step: int) -> FootPose:
        """Every `step`-th frame."""
        return FootPose(self.side, self.position[::step], self.rotation[::step])


def place_feet(figure: Figure, root: Tensor, local: Tensor, feet: tuple[FootPose, FootPose]) -> tuple[Tensor, Tensor]:
    """Bend the legs so that the feet are where they are to be, close to the pose that is given.

    Args:
        figure: who walks.
        root: `(M, 3)` m.
        local: `(M, B, 4)`.
        feet: of both sides.

    Returns:
        Local rotations `(M, B, 4)`, and how far each foot is from its place, `(M, 2)` m.
    """
    skeleton = figure.skeleton
    columns = [_columns(figure, foot.side) for foot in feet]
    for damping in _DAMPINGS:
        positions, rotations = forward_kinematics(skeleton, root, local)
        turns = turns_of(skeleton, positions, rotations)
        step = torch.zeros(len(root), 6 + skeleton.num_dofs, dtype=root.dtype)
        for foot, own in zip(feet, columns, strict=True):
            body = torch.tensor(skeleton.body_indices(foot.side.ankle[-1:]))
            weight = _ROTATION_WEIGHT if len(own) >= 6 else _FEW_JOINTS_WEIGHT
            shift, turn = _errors(foot, positions[:, body[0]], rotations[:, body[0]])
            error = torch.cat([shift, weight * turn], dim=-1)
            linear = turns.of_points(body, positions[:, body])[:, 0][..., own]
            angular = turns.of_bodies(body)[:, 0][..., own]
            jacobian = torch.cat([linear, weight * angular], dim=-2)
            normal = jacobian.mT @ jacobian + damping * torch.eye(len(own), dtype=root.dtype)
            change = torch.linalg.solve(normal, (jacobian.mT @ error.unsqueeze(-1)).squeeze(-1))
            step[:, own] = change.clamp(-0.3, 0.3)
        _, local = moved(skeleton, root, local, step)
        for foot in feet:
            _keep_bent(figure, foot.side, local)
    positions, _ = forward_kinematics(skeleton, root, local)
    bodies = skeleton.body_indices([foot.side.ankle[-1] for foot in feet])
    wanted = torch.stack([foot.position for foot in feet], dim=1)
    return local, (positions[:, bodies] - wanted).norm(dim=-1)


def _keep_bent(figure: Figure, side: Side, local: Tensor) -> None:
    """Knees do not bend backwards; changes `local`."""
    knee = figure.skeleton.body_indices([side.knee])[0]
    axis = torch.tensor([0.0, 1.0, 0.0]).to(local).expand(len(local), 3)
    angle = twist_angle(local[:, knee], axis).clamp(min=_LEAST_BEND - figure.rest_bend(side))
    local[:, knee] = quat_from_angle_axis(angle, axis)


def _errors(foot: FootPose, position: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor]:
    turn = exp_map_from_quat(quat_multiply(foot.rotation, quat_conjugate(rotation)))
    return foot.position - position, turn


def _columns(figure: Figure, side: Side) -> list[int]:
    """Columns of the Jacobian that belong to a leg; a knee only bends forward and back."""
    skeleton = figure.skeleton
    axes = [axis for joint in skeleton.joints for axis in joint.axes]
    legs = skeleton.body_indices([*side.hip, side.knee, *side.ankle])
    knee = skeleton.body_indices([side.knee])[0]
    return [
        6 + d for d, body in enumerate(skeleton.dof_bodies) if body in legs and (body != knee or abs(axes[d][1]) > 0.5)
    ]
