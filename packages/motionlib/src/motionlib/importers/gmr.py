"""GMR `.pkl`: a robot's root path, root rotation and joint angles, as General Motion Retargeting writes them.

Araujo et al., Retargeting Matters, 2025; TWIST and others read the same files. Rotations are xyzw, joints stand in
MuJoCo's order without names: their number says which robot it is.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from motionlib.importers.characters import skeleton_by_counts
from motionlib.importers.pickles import PICKLE_MAGICS, read_pickle
from motionlib.motion import Motion, MotionError
from poselib.rotations import quat_normalize
from poselib.skeleton import Skeleton

__all__ = ["FORMAT", "read", "recognizes", "recognizes_file"]

FORMAT = "GMR .pkl"

_KEYS = ("fps", "root_pos", "root_rot", "dof_pos")


def recognizes(head: bytes) -> bool:
    """A pickle."""
    return head.startswith(PICKLE_MAGICS)


def recognizes_file(path: Path) -> bool:
    """It has GMR's keys."""
    content = path.read_bytes()
    return all(key.encode() in content for key in _KEYS)


def read(path: Path, *, skeleton: str | Skeleton | None = None) -> Motion:
    """Read the clip.

    Args:
        path: the file.
        skeleton: the robot; needed where no built-in one has as many joints.

    Raises:
        MotionError: if the pickle is damaged, names what no motion needs, or fits no robot.
    """
    content = read_pickle(path.read_bytes(), path)
    if not isinstance(content, dict) or any(key not in content for key in _KEYS):
        raise MotionError(f"{path}: want a dictionary with {list(_KEYS)}, found {type(content).__name__}")
    root, turn, joints = (_rows(content[key]) for key in _KEYS[1:])
    frames = len(joints)
    if joints.ndim != 2 or tuple(root.shape) != (frames, 3) or tuple(turn.shape) != (frames, 4):
        shapes = [tuple(t.shape) for t in (root, turn, joints)]
        raise MotionError(f"{path}: root_pos, root_rot and dof_pos have shapes {shapes}, which do not fit together")
    robot = skeleton_by_counts(path, skeleton, dofs=joints.shape[1])
    return Motion(
        name=path.stem,
        fps=float(np.asarray(content["fps"]).item()),
        body_names=robot.body_names,
        parents=robot.parents,
        offsets=robot.offsets,
        root_positions=root,
        local_rotations=robot.local_rotations_from_dofs(joints, quat_normalize(turn)),
        source=f"GMR {path.name}",
    )


def _rows(values: object) -> Tensor:
    return torch.from_numpy(np.array(values, dtype=np.float64))
