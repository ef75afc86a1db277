"""PoseLib's `SkeletonMotion` as a pickle in a numpy file (`.npy`), as in IsaacGymEnvs, ASE and ProtoMotions 1 and 2.

The pickle is an array of one dictionary. Rotations are xyzw; `is_local` says whether they are against the parent or in
the world. The tree's offset of the root is not part of the root's path. `fps` may be a fraction, and an array.
Velocities are stored too, filtered; ours follow from the poses.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from motionlib.importers.pickles import read_pickle
from motionlib.motion import Motion, MotionError
from poselib import models
from poselib.rotations import quat_conjugate, quat_multiply, quat_normalize

__all__ = ["FORMAT", "motion_from_skeleton_motion", "read", "recognizes"]

FORMAT = "PoseLib .npy"

_MAGIC = b"\x93NUMPY"
_KIND = "SkeletonMotion"
_KEYS = ("rotation", "root_translation", "skeleton_tree", "is_local", "fps")


def recognizes(head: bytes) -> bool:
    """A numpy file of Python objects."""
    return head.startswith(_MAGIC) and b"|O" in head[:128]


def read(path: Path) -> Motion:
    """Read the clip.

    Raises:
        MotionError: if the file is damaged, its pickle names what no motion needs, or it is no moving skeleton.
    """
    file = io.BytesIO(path.read_bytes())  # in memory: the file itself would set aside as much as a header claims to be
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    header(file)
    content = read_pickle(file.read(), path)
    if not isinstance(content, dict):
        raise MotionError(f"{path}: want a pickled {_KIND}, found {type(content).__name__}")
    return motion_from_skeleton_motion(content, path)


def motion_from_skeleton_motion(content: Mapping[str, Any], path: Path) -> Motion:
    """The clip in PoseLib's dictionary.

    Raises:
        MotionError: naming what is missing or does not fit.
    """
    kind = content.get("__name__", _KIND)
    missing = [key for key in _KEYS if key not in content]
    if kind != _KIND or missing:
        raise MotionError(f"{path}: want a {_KIND} with {list(_KEYS)}, found a {kind!r} without {missing}")
    tree = content["skeleton_tree"]
    names = tuple(str(name) for name in tree["node_names"])
    parents = tuple(int(p) for p in np.asarray(tree["parent_indices"]["arr"]))
    rotations = _numbers(content["rotation"])
    if rotations.shape[1:] != (len(names), 4) or len(parents) != len(names):
        raise MotionError(
            f"{path}: rotations have shape {tuple(rotations.shape)} for {len(names)} bodies, want (frames, bodies, 4)"
        )
    error = float((rotations.norm(dim=-1) - 1).abs().nan_to_num(torch.inf).max()) if rotations.numel() else 0.0
    if error > 1e-2:
        raise MotionError(f"{path}: rotations must be unit quaternions, lengths are {error:.3g} off")
    rotations = quat_normalize(rotations)
    return Motion(
        name=path.stem,
        fps=float(np.asarray(content["fps"]).item()),
        body_names=names,
        parents=parents,
        offsets=_numbers(tree["local_translation"]),
        root_positions=_numbers(content["root_translation"]),
        local_rotations=_without_rest(
            names, rotations if content["is_local"] else _against_parents(rotations, parents)
        ),
        source=f"PoseLib {path.name}",
    )


def _numbers(field: Mapping[str, Any]) -> Tensor:
    return torch.tensor(np.asarray(field["arr"], dtype=np.float64))


def _against_parents(world: Tensor, parents: tuple[int, ...]) -> Tensor:
    """World rotations `(T, B, 4)` against the parent's; the root's stays."""
    local = quat_multiply(quat_conjugate(world[:, [max(p, 0) for p in parents]]), world)
    return torch.cat([world[:, :1], local[:, 1:]], dim=1)


def _without_rest(names: tuple[str, ...], rotations: Tensor) -> Tensor:
    """PoseLib's trees have no rest rotations: those of a built-in character that has some are taken off the joints."""
    character = models.character_of(names)
    if character is None:
        return rotations
    skeleton = models.skeleton(character)
    rest = skeleton.rest_rotations[[skeleton.body_names.index(name) for name in names]].to(rotations)
    return torch.cat([rotations[:, :1], quat_multiply(quat_conjugate(rest[1:]), rotations[:, 1:])], dim=1)
