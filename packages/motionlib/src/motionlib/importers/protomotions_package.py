"""ProtoMotions 3 packaged `.pt`: many clips in one torch archive, frame after frame in common tensors.

gts and grs are positions and rotations (xyzw) of the bodies in the world, dps the joint coordinates, lrs, where there,
the local rotations; clip m has motion_num_frames[m] frames from length_starts[m] on, motion_dt[m] s apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from torch import Tensor

from motionlib.importers.archives import ZIP_MAGIC, read_tensors, torch_description
from motionlib.importers.characters import skeleton_by_counts
from motionlib.importers.world_poses import clip_from_world_poses
from motionlib.motion import Motion, MotionError
from poselib.skeleton import Skeleton

__all__ = ["FORMAT", "read_all", "recognizes", "recognizes_file"]

FORMAT = "ProtoMotions packaged .pt"

_TENSORS = ("gts", "grs", "dps", "length_starts", "motion_num_frames", "motion_dt")


def recognizes(head: bytes) -> bool:
    """A zip archive."""
    return head.startswith(ZIP_MAGIC)


def recognizes_file(path: Path) -> bool:
    """A torch archive of clips one after the other."""
    description = torch_description(path)
    return b"gts" in description and b"length_starts" in description


def read_all(path: Path, *, skeleton: str | Skeleton | None = None) -> list[Motion]:
    """Read every clip.

    Args:
        path: the file.
        skeleton: the character; needed where no built-in one has as many bodies and degrees of freedom.

    Raises:
        MotionError: if the file is damaged, names a class that no motion needs, or fits no character.
    """
    content = read_tensors(path)
    if missing := [key for key in _TENSORS if not isinstance(content.get(key), Tensor)]:
        raise MotionError(f"{path}: {FORMAT} without the tensors {missing}; it holds {sorted(map(str, content))}")
    positions, rotations, dofs = content["gts"], content["grs"], content["dps"]
    if positions.ndim != 3 or dofs.ndim != 2:
        raise MotionError(f"{path}: gts and dps must be (frames, bodies, 3) and (frames, degrees of freedom)")
    character = skeleton_by_counts(path, skeleton, bodies=positions.shape[1], dofs=dofs.shape[1])
    starts, counts = content["length_starts"].long().tolist(), content["motion_num_frames"].long().tolist()
    steps = content["motion_dt"].double().tolist()
    local = content.get("lrs")
    motions = []
    for start, count, dt, name in zip(starts, counts, steps, _names(path, content, len(starts)), strict=True):
        if not 0 <= start < start + count <= len(positions) or dt <= 0:
            raise MotionError(
                f"{path}: clip {name!r} has {count} frames from {start} on, {dt} s apart, of {len(positions)}"
            )
        frames = slice(start, start + count)
        motions.append(
            clip_from_world_poses(
                path,
                character,
                positions[frames],
                rotations[frames],
                local_rotations=local[frames] if isinstance(local, Tensor) else None,
                name=name,
                fps=_rate(dt),
                source=f"ProtoMotions {path.name}",
            )
        )
    if not motions:
        raise MotionError(f"{path}: holds no clip")
    return motions


def _rate(dt: float) -> float:
    """Frames per second of a step that was stored in float32: whole where that is what it meant."""
    return float(round(1 / dt)) if abs(dt * round(1 / dt) - 1) < 1e-6 else 1 / dt


def _names(path: Path, content: dict[str, Any], count: int) -> list[str]:
    files: Sequence[object] = content.get("motion_files") or ()
    if len(files) == count:
        return [PurePosixPath(str(file)).stem for file in files]
    return [f"{path.stem}-{index}" for index in range(count)]
