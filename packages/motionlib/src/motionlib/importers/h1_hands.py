"""The Unitree H1 clips of ProtoMotions 2 (`h1_extended_hands_*.npy`): a torch archive in spite of their name.

World positions and rotations (xyzw) of the 20 links and the two hands, without names, in the order of the character
"h1_hands".
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from motionlib.importers.archives import ZIP_MAGIC, read_tensors, torch_description
from motionlib.importers.characters import skeleton_by_counts
from motionlib.importers.world_poses import clip_from_world_poses
from motionlib.motion import Motion, MotionError
from poselib.skeleton import Skeleton

__all__ = ["FORMAT", "read", "recognizes", "recognizes_file"]

FORMAT = "ProtoMotions H1 .npy"

_KEYS = ("global_translation", "global_rotation", "dof_pos")


def recognizes(head: bytes) -> bool:
    """A zip archive."""
    return head.startswith(ZIP_MAGIC)


def recognizes_file(path: Path) -> bool:
    """A torch archive with the rotations of bodies as quaternions and as matrices."""
    description = torch_description(path)
    return b"global_translation" in description and b"global_rotation" in description


def read(path: Path, *, skeleton: str | Skeleton | None = None) -> Motion:
    """Read the clip.

    Args:
        path: the file.
        skeleton: the character; needed where no built-in one has as many bodies and degrees of freedom.

    Raises:
        MotionError: if the file is damaged, names a class that no motion needs, or fits no character.
    """
    content = read_tensors(path)
    if missing := [key for key in _KEYS if not isinstance(content.get(key), Tensor)] + (
        ["fps"] * ("fps" not in content)
    ):
        raise MotionError(f"{path}: {FORMAT} without {missing}; it holds {sorted(map(str, content))}")
    positions, dofs = content["global_translation"], content["dof_pos"]
    if positions.ndim != 3 or dofs.ndim != 2:
        raise MotionError(f"{path}: want positions (frames, bodies, 3) and dof_pos (frames, degrees of freedom)")
    return clip_from_world_poses(
        path,
        skeleton_by_counts(path, skeleton, bodies=positions.shape[1], dofs=dofs.shape[1]),
        positions,
        content["global_rotation"],
        name=path.stem,
        fps=float(content["fps"]),
        source=f"ProtoMotions {path.name}",
    )
