"""LocoMuJoCo `.npz` from version 1 on: trajectories of a robot as MuJoCo's generalized coordinates, with names.

`qpos` has the free joint (position, quaternion wxyz) and one angle per hinge, in the order of `joint_names`; joints may
lack the `_joint` that others put behind their names. `split_points` are the first frames of the trajectories, and the
number of all frames at the end.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from motionlib.importers.archives import ZIP_MAGIC, array_names, read_arrays
from motionlib.importers.characters import skeleton_by_counts
from motionlib.motion import Motion, MotionError
from poselib.rotations import quat_normalize, xyzw_from_wxyz
from poselib.skeleton import Skeleton

__all__ = ["FORMAT", "read_all", "recognizes", "recognizes_file"]

FORMAT = "LocoMuJoCo trajectory .npz"

_KEYS = ("qpos", "joint_names", "jnt_type", "frequency")
_FREE, _HINGE = 0, 3  # mjtJoint
_SUFFIX = "_joint"


def recognizes(head: bytes) -> bool:
    """A zip archive."""
    return head.startswith(ZIP_MAGIC)


def recognizes_file(path: Path) -> bool:
    """Coordinates with the names and types of joints."""
    return set(_KEYS) <= array_names(path)


def read_all(path: Path, *, skeleton: str | Skeleton | None = None) -> list[Motion]:
    """Read every trajectory.

    Args:
        path: the file.
        skeleton: the robot; needed where no built-in one has as many hinges.

    Raises:
        MotionError: if the file is damaged or fits no robot.
    """
    content = read_arrays(path, (*_KEYS, "split_points"))
    qpos = torch.from_numpy(np.asarray(content["qpos"], dtype=np.float64))
    names, types = [str(name) for name in content["joint_names"].ravel()], content["jnt_type"].ravel().tolist()
    hinges = [name.removesuffix(_SUFFIX) for name, kind in zip(names, types, strict=True) if kind == _HINGE]
    if types[:1] != [_FREE] or len(hinges) != len(types) - 1 or qpos.ndim != 2 or qpos.shape[1] != 7 + len(hinges):
        raise MotionError(
            f"{path}: want one free joint, then hinges, and 7 numbers and one each per frame; found joints "
            f"{dict(zip(names, types, strict=True))} and qpos {tuple(qpos.shape)}"
        )
    robot = skeleton_by_counts(path, skeleton, dofs=len(hinges))
    wanted = [name.removesuffix(_SUFFIX) for name in robot.dof_names]
    if missing := sorted(set(wanted) - set(hinges)):
        raise MotionError(f"{path}: {robot.name!r} has the joints {missing}, the file has others: {hinges}")
    columns = [7 + hinges.index(name) for name in wanted]
    local = robot.local_rotations_from_dofs(qpos[:, columns], quat_normalize(xyzw_from_wxyz(qpos[:, 3:7])))
    splits = [int(s) for s in content["split_points"].ravel()] if "split_points" in content else [0, len(qpos)]
    if splits != sorted(splits) or len(splits) < 2 or splits[0] < 0 or splits[-1] > len(qpos):
        raise MotionError(f"{path}: split_points {splits[:8]} do not divide {len(qpos)} frames")
    ranges = [slice(start, end) for start, end in pairwise(splits)]
    return [
        Motion(
            name=path.stem if len(ranges) == 1 else f"{path.stem}-{index}",
            fps=float(content["frequency"].item()),
            body_names=robot.body_names,
            parents=robot.parents,
            offsets=robot.offsets,
            root_positions=qpos[frames, :3],
            local_rotations=local[frames],
            source=f"LocoMuJoCo {path.name}",
        )
        for index, frames in enumerate(ranges)
    ]
