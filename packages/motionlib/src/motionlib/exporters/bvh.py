"""BVH (Biovision Hierarchy) text files: y up, z forward, centimeters, angles in degrees in the order z, y, x.

Name, rate, offsets, root path and rotations are kept; loop, labels, source and licence have no place in the format.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from motionlib.files import complete_file
from motionlib.motion import Motion, MotionError
from motionlib.parallel_frames import with_parallel_frames
from poselib.rotations import euler_from_quat

__all__ = ["FORMAT", "SUFFIX", "write"]

FORMAT = "BVH"
SUFFIX = ".bvh"

_UNITS_PER_METER = 100.0
_ROTATIONS = "Zrotation Yrotation Xrotation"
_POSITIONS = "Xposition Yposition Zposition"


def write(motion: Motion, path: Path) -> None:
    """Write the clip; `importers.bvh.read` gives it back to 1e-7 rad and 1e-7 m.

    The file says nothing of its unit: a skeleton far from the size of a person is read back with `unit="cm"`.

    Raises:
        MotionError: if a body's name cannot stand in the format.
    """
    for name in motion.body_names:
        if name != " ".join(name.split()) or not name or set(name) & set("{}"):
            raise MotionError(f"clip {motion.name!r}: the name {name!r} cannot stand in a BVH file")
    motion = with_parallel_frames(motion)
    hierarchy, order = _hierarchy(motion)

    quats = _y_up(motion.local_rotations[:, order].double())
    angles = torch.rad2deg(euler_from_quat("ZYX", quats)).flatten(1)
    rows = torch.cat([_UNITS_PER_METER * _y_up(motion.root_positions.double()), angles], dim=1).numpy()
    with complete_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write("\n".join(["HIERARCHY", *hierarchy, "MOTION", f"Frames: {motion.num_frames}"]))
        file.write(f"\nFrame Time: {1.0 / motion.fps!r}\n")
        np.savetxt(file, rows, fmt="%.7f")


def _y_up(vectors: Tensor) -> Tensor:
    """Vectors `(..., 3)` or the vector parts of quaternions `(..., 4)` from ours to y up, z forward, x left."""
    x, y, z, *w = vectors.unbind(-1)
    return torch.stack([y, z, x, *w], dim=-1)


def _hierarchy(motion: Motion) -> tuple[list[str], list[int]]:
    """Lines of the joints and the order in which their channels follow, depth first."""
    children: list[list[int]] = [[] for _ in motion.parents]
    for body, parent in enumerate(motion.parents[1:], start=1):
        children[parent].append(body)
    offsets = (_UNITS_PER_METER * _y_up(motion.offsets.double())).tolist()
    lines: list[str] = []
    order: list[int] = []
    stack: list[tuple[int, int]] = [(0, 0)]  # body and depth; -1 closes a joint
    while stack:
        body, depth = stack.pop()
        indent = "\t" * depth
        if body < 0:
            lines.append(indent + "}")
            continue
        order.append(body)
        inner = indent + "\t"
        channels = f"3 {_ROTATIONS}" if body else f"6 {_POSITIONS} {_ROTATIONS}"
        offset = " ".join(f"{number:.7f}" for number in offsets[body])
        lines += [f"{indent}{'JOINT' if body else 'ROOT'} {motion.body_names[body]}", indent + "{"]
        lines += [f"{inner}OFFSET {offset}", f"{inner}CHANNELS {channels}"]
        if not children[body]:
            lines += [inner + "End Site", inner + "{", f"{inner}\tOFFSET 0 0 0", inner + "}"]
        stack.append((-1, depth))
        stack += [(child, depth + 1) for child in reversed(children[body])]
    return lines, order
