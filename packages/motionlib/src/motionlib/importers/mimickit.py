"""MimicKit `.pkl`: frames of root position, root rotation vector and joint coordinates, with a rate and a loop mode.

Peng, MimicKit, 2025. Coordinates stand in the order of the character's XML, three of a ball joint as its rotation
vector, and no names are stored: the number of coordinates says which character it is.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from motionlib.importers.characters import skeleton_by_counts
from motionlib.importers.pickles import PICKLE_MAGICS, read_pickle
from motionlib.motion import Motion, MotionError
from poselib.rotations import quat_from_exp_map
from poselib.skeleton import Skeleton

__all__ = ["FORMAT", "read", "recognizes", "recognizes_file"]

FORMAT = "MimicKit .pkl"

_KEYS = ("loop_mode", "fps", "frames")
_CLAMP, _WRAP = 0, 1


def recognizes(head: bytes) -> bool:
    """A pickle."""
    return head.startswith(PICKLE_MAGICS)


def recognizes_file(path: Path) -> bool:
    """It has MimicKit's keys."""
    content = path.read_bytes()
    return all(key.encode() in content for key in _KEYS)


def read(path: Path, *, skeleton: str | Skeleton | None = None) -> Motion:
    """Read the clip.

    Args:
        path: the file.
        skeleton: the character; needed where no built-in one has as many degrees of freedom.

    Raises:
        MotionError: if the pickle is damaged, names what no motion needs, or fits no character.
    """
    content = read_pickle(path.read_bytes(), path)
    if not isinstance(content, dict) or any(key not in content for key in _KEYS):
        raise MotionError(f"{path}: want a dictionary with {list(_KEYS)}, found {type(content).__name__}")
    frames = torch.from_numpy(np.array(content["frames"], dtype=np.float64))
    if frames.ndim != 2 or frames.shape[1] < 6:
        raise MotionError(f"{path}: frames must be rows of 6 numbers of the root and the joints', found {frames.shape}")
    mode = int(content["loop_mode"])
    if mode not in (_CLAMP, _WRAP):
        raise MotionError(f"{path}: loop_mode must be {_CLAMP} (clamp) or {_WRAP} (wrap), found {mode}")
    character = skeleton_by_counts(path, skeleton, dofs=frames.shape[1] - 6)
    return Motion(
        name=path.stem,
        fps=float(content["fps"]),
        body_names=character.body_names,
        parents=character.parents,
        offsets=character.offsets,
        root_positions=frames[:, :3],
        local_rotations=character.local_rotations_from_dofs(frames[:, 6:], quat_from_exp_map(frames[:, 3:6])),
        loop="wrap" if mode == _WRAP else "none",
        source=f"MimicKit {path.name}",
    )
