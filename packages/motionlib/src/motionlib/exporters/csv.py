"""A robot's root and joints as a table in Unitree's layout: x, y, z in m, quaternion xyzw, joint angles in rad.

One row per frame. Robots (characters of hinges alone) get no header, as Unitree publishes them; characters with ball
joints, whose coordinates are rotation vectors, get one that names the columns. The rate stands nowhere in the format.
"""

from __future__ import annotations

from pathlib import Path

import torch

from motionlib.files import complete_file
from motionlib.importers.characters import required_skeleton
from motionlib.motion import Motion
from poselib.skeleton import Skeleton

__all__ = ["FORMAT", "SUFFIX", "write"]

FORMAT = "robot CSV"
SUFFIX = ".csv"

_ROOT_COLUMNS = ("root_x", "root_y", "root_z", "root_qx", "root_qy", "root_qz", "root_qw")


def write(motion: Motion, path: Path, *, skeleton: Skeleton | None = None) -> None:
    """Write the clip. Numbers are the shortest that give the same float32 again.

    Args:
        motion: the clip.
        path: where to.
        skeleton: which names the degrees of freedom; None: the built-in character with the clip's bodies.

    Raises:
        MotionError: if the clip is of no known character; what a hinge cannot do is not written.
    """
    skeleton = required_skeleton(motion, skeleton)
    motion = motion.for_skeleton(skeleton)
    dofs = skeleton.dofs_from_local_rotations(motion.local_rotations)
    rows = torch.cat([motion.root_positions, motion.local_rotations[:, 0], dofs], dim=1).numpy()
    with complete_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        if skeleton.ball_dofs:
            file.write(",".join([*_ROOT_COLUMNS, *skeleton.dof_names]) + "\n")
        for row in rows:
            file.write(",".join(str(number) for number in row) + "\n")
