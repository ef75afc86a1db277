"""BeyondMimic, mjlab and holosoma `.npz`: joint coordinates of a robot and the world poses of its bodies.

Liao et al., BeyondMimic, 2025. The keys are the same in all three, the order is not: BeyondMimic's arrays come from
Isaac Lab, breadth first, those of mjlab and holosoma from MuJoCo, depth first; holosoma adds names, and puts the root's
seven coordinates before the joints'. Quaternions are wxyz, from Isaac Lab 3 on xyzw. Where a file does not say, the
order is the one in which the joints lead to the stored positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from motionlib.importers.archives import ZIP_MAGIC, array_names, read_arrays
from motionlib.importers.characters import breadth_first, moving_bodies, skeleton_by_counts
from motionlib.importers.world_poses import recorded_offsets
from motionlib.motion import Motion, MotionError
from poselib.kinematics import forward_kinematics
from poselib.rotations import quat_normalize, xyzw_from_wxyz
from poselib.skeleton import Skeleton

__all__ = ["FORMAT", "read", "recognizes", "recognizes_file"]

FORMAT = "BeyondMimic .npz"

_KEYS = ("fps", "joint_pos", "body_pos_w", "body_quat_w")
_OPTIONAL = ("joint_names", "body_names", "quaternion_order")
_ROOT_COORDINATES = 7
_NEAR = 0.03
"""m, mean distance of bodies from their stored positions up to which an order counts as the right one"""
_PROBES = 64
"""frames on which orders are compared"""


@dataclass(frozen=True, eq=False)
class _Layout:
    """One way to understand the columns of a file."""

    dof_columns: list[int]
    """of joint_pos, one per degree of freedom of the skeleton"""
    bodies: list[int]
    """of the skeleton, the root first"""
    body_columns: list[int]
    """of body_pos_w, one per body in `bodies`"""
    scalar_first: bool


def recognizes(head: bytes) -> bool:
    """A zip archive."""
    return head.startswith(ZIP_MAGIC)


def recognizes_file(path: Path) -> bool:
    """Joints and bodies under BeyondMimic's names."""
    return set(_KEYS[1:]) <= array_names(path)


def read(path: Path, *, skeleton: str | Skeleton | None = None) -> Motion:
    """Read the clip.

    Args:
        path: the file.
        skeleton: the robot; needed where no built-in one has as many degrees of freedom.

    Raises:
        MotionError: if the file is damaged, fits no robot, or its joints do not lead to its body positions.
    """
    content = read_arrays(path, (*_KEYS, *_OPTIONAL))
    if missing := [key for key in _KEYS if key not in content]:
        raise MotionError(f"{path}: {FORMAT} without {missing}")
    joints, positions, rotations = (torch.from_numpy(np.asarray(content[k], dtype=np.float64)) for k in _KEYS[1:])
    frames = len(joints)
    if (
        joints.ndim != 2
        or positions.shape != (frames, positions.shape[1], 3)
        or rotations.shape[:2] != positions.shape[:2]
    ):
        shapes = [tuple(t.shape) for t in (joints, positions, rotations)]
        raise MotionError(
            f"{path}: joint_pos, body_pos_w and body_quat_w have shapes {shapes}, which do not fit together"
        )
    joint_names = _names(content, "joint_names")
    character = skeleton_by_counts(path, skeleton, dofs=joints.shape[1] if joint_names is None else len(joint_names))
    layouts = _layouts(path, character, content, joints.shape[1], positions.shape[1])
    probes = torch.linspace(0, frames - 1, min(frames, _PROBES)).round().long()
    errors = [_error(character, one, joints[probes], positions[probes], rotations[probes]) for one in layouts]
    best = int(np.argmin(errors))
    if not errors[best] <= _NEAR:
        raise MotionError(
            f"{path}: the joints do not lead to the stored bodies on {character.name!r} in any known order; "
            f"they miss by {errors[best]:.3g} m in the best"
        )
    layout = layouts[best]
    root, local = _poses(character, layout, joints, positions, rotations)
    _, world = forward_kinematics(character, root, local)
    return Motion(
        name=path.stem,
        fps=float(content["fps"].reshape(-1)[0]),
        body_names=character.body_names,
        parents=character.parents,
        offsets=recorded_offsets(path, character, layout.bodies, positions[:, layout.body_columns], world),
        root_positions=root,
        local_rotations=local,
        source=f"BeyondMimic {path.name}",
    )


def _names(content: dict[str, np.ndarray], key: str) -> list[str] | None:
    return [str(name) for name in content[key].ravel()] if key in content else None


def _layouts(
    path: Path, skeleton: Skeleton, content: dict[str, np.ndarray], num_joints: int, num_bodies: int
) -> list[_Layout]:
    """Every way to understand the file that its names and sizes leave open."""
    joint_names, body_names = _names(content, "joint_names"), _names(content, "body_names")
    if joint_names is not None:
        start = 0 if num_joints == len(joint_names) else _ROOT_COORDINATES
        missing = sorted(set(skeleton.dof_names) - set(joint_names))
        if missing or num_joints < start + len(joint_names):
            raise MotionError(f"{path}: {num_joints} joint columns named {joint_names}; missing {missing}")
        dof_columns = [[start + joint_names.index(name) for name in skeleton.dof_names]]
    else:
        dof_columns = [list(range(skeleton.num_dofs)), _columns(breadth_first(skeleton), skeleton)]
    if body_names is not None:
        if skeleton.body_names[0] not in body_names or len(body_names) != num_bodies:
            raise MotionError(
                f"{path}: {num_bodies} bodies named {body_names}; want {skeleton.body_names[0]!r} among them"
            )
        known = [b for b, name in enumerate(skeleton.body_names) if name in body_names]
        body_columns = [(known, [body_names.index(skeleton.body_names[b]) for b in known])]
    else:
        stored = {len(s): s for s in (moving_bodies(skeleton), list(range(skeleton.num_bodies)))}.get(num_bodies)
        if stored is None:
            raise MotionError(
                f"{path}: {num_bodies} bodies without names; {skeleton.name!r} has {skeleton.num_bodies}, of which "
                f"{len(moving_bodies(skeleton))} move"
            )
        orders = (stored, [b for b in breadth_first(skeleton) if b in stored])
        body_columns = [(order, list(range(num_bodies))) for order in orders]
    scalar_first = [True, False]
    if "quaternion_order" in content:
        scalar_first = [str(content["quaternion_order"].item()) == "wxyz"]
    pairs = (
        [(d, b) for d in dof_columns for b in body_columns]
        if len(dof_columns) * len(body_columns) != 4
        else list(zip(dof_columns, body_columns, strict=True))  # without any names both follow one order
    )
    return [_Layout(dofs, *bodies, scalar_first=first) for first in scalar_first for dofs, bodies in pairs]


def _columns(order: Sequence[int], skeleton: Skeleton) -> list[int]:
    """Where each degree of freedom stands if bodies come in that order."""
    dofs = [d for body in order for d, b in enumerate(skeleton.dof_bodies) if b == body]
    return [dofs.index(d) for d in range(skeleton.num_dofs)]


def _poses(
    skeleton: Skeleton, layout: _Layout, joints: Tensor, positions: Tensor, rotations: Tensor
) -> tuple[Tensor, Tensor]:
    """Root positions `(T, 3)` and local rotations `(T, B, 4)`."""
    root = layout.body_columns[0]
    turned = quat_normalize(xyzw_from_wxyz(rotations[:, root]) if layout.scalar_first else rotations[:, root])
    return positions[:, root], skeleton.local_rotations_from_dofs(joints[:, layout.dof_columns], turned)


def _error(skeleton: Skeleton, layout: _Layout, joints: Tensor, positions: Tensor, rotations: Tensor) -> float:
    """Mean distance in m of the bodies from where the file has them."""
    reached, _ = forward_kinematics(skeleton, *_poses(skeleton, layout, joints, positions, rotations))
    return float(
        (reached[:, layout.bodies] - positions[:, layout.body_columns]).norm(dim=-1).mean().nan_to_num(torch.inf)
    )
