"""ProtoMotions 3 `.motion`: one clip as a torch archive of the state of every body in every frame.

Positions and rotations (xyzw) of all bodies are in the world; names are not stored, so the number of bodies and degrees
of freedom says which character it is. Files differ in how their velocities were made; ours follow from the poses.
"""

from __future__ import annotations

from pathlib import Path

import torch

from motionlib.importers.archives import ZIP_MAGIC, read_tensors, torch_description
from motionlib.importers.characters import skeleton_by_counts
from motionlib.importers.world_poses import clip_from_world_poses
from motionlib.motion import Motion, MotionError
from poselib.skeleton import Skeleton

__all__ = ["FORMAT", "read", "recognizes", "recognizes_file"]

FORMAT = "ProtoMotions .motion"

_KEYS = ("fps", "rigid_body_pos", "rigid_body_rot", "dof_pos")


def recognizes(head: bytes) -> bool:
    """A zip archive."""
    return head.startswith(ZIP_MAGIC)


def recognizes_file(path: Path) -> bool:
    """A torch archive of rigid bodies."""
    return b"rigid_body_pos" in torch_description(path)


def read(path: Path, *, skeleton: str | Skeleton | None = None) -> Motion:
    """Read the clip.

    Args:
        path: the file.
        skeleton: the character; needed where no built-in one has as many bodies and degrees of freedom.

    Raises:
        MotionError: if the file is damaged, names a class that no motion needs, or fits no character.
    """
    content = read_tensors(path)
    if missing := [key for key in _KEYS if key not in content]:
        raise MotionError(f"{path}: {FORMAT} without {missing}; it holds {sorted(map(str, content))}")
    tensors = {key: value for key, value in content.items() if isinstance(value, torch.Tensor)}
    if wrong := [key for key in _KEYS[1:] if key not in tensors or tensors[key].ndim < 2]:
        raise MotionError(f"{path}: {wrong} must be tensors with time as the first dimension")
    positions, dofs = tensors["rigid_body_pos"], tensors["dof_pos"]
    character = skeleton_by_counts(path, skeleton, bodies=positions.shape[1], dofs=dofs.shape[1])
    return clip_from_world_poses(
        path,
        character,
        positions,
        tensors["rigid_body_rot"],
        local_rotations=tensors.get("local_rigid_body_rot"),
        name=path.stem,
        fps=float(content["fps"]),
        source=f"ProtoMotions {path.name}",
    )
