"""Our packed libraries (`MotionLib.save`), clip by clip: frames as they were stored, on the library's skeleton."""

from __future__ import annotations

from operator import itemgetter
from pathlib import Path

from motionlib.motion import Motion
from poselib.rotations import quat_normalize

__all__ = ["FORMAT", "read_all", "recognizes"]

FORMAT = "motionlib packed .safetensors"

_MARK = b'"motionlib-packed"'
_LARGEST_HEADER = 100 << 20
"""bytes; that of safetensors"""


def recognizes(head: bytes) -> bool:
    """A header of safetensors that names our format."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < _LARGEST_HEADER and _MARK in head


def read_all(path: Path) -> list[Motion]:
    """Read every clip, with the labels of its parts; rotations come back within 1e-4 rad."""
    from motionlib.library import MotionLib  # which reads data sets, which read files

    library = MotionLib.open(path)
    skeleton, index, labels = library.skeleton, library.index, library.labels
    motions = []
    for clip, (first, count) in enumerate(zip(library.first_frames.tolist(), library.num_frames.tolist(), strict=True)):
        frames = library.frames.map(itemgetter(slice(first, first + count)))
        motions.append(
            Motion(
                name=library.names[clip],
                fps=float(library.fps[clip]),
                body_names=skeleton.body_names,
                parents=skeleton.parents,
                offsets=skeleton.offsets,
                root_positions=frames.vectors(0)[:, 0].clone(),  # not a part of the file, which may change
                local_rotations=quat_normalize(frames.rotations(1)),
                loop="wrap" if bool(library.loops[clip]) else "none",
                labels=labels[clip],
                source=index.sources[clip],
                license=index.licenses[clip],
            )
        )
    return motions
