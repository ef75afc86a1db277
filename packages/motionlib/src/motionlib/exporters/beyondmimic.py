"""BeyondMimic and mjlab `.npz`: joint coordinates of a robot, and world poses and velocities of its moving bodies.

The keys are those that their loaders read; names of joints and bodies stand beside them. Quaternions are wxyz. Bodies
that are fixed to another are left out, as in their models.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from torch import Tensor

from motionlib.files import complete_file
from motionlib.importers.characters import breadth_first, moving_bodies, required_skeleton
from motionlib.motion import Motion, MotionError
from motionlib.processing.frames import clip_frames
from poselib.rotations import wxyz_from_xyzw
from poselib.skeleton import Skeleton

__all__ = ["FORMAT", "SUFFIX", "Order", "write"]

FORMAT = "BeyondMimic .npz"
SUFFIX = ".npz"

Order = Literal["isaaclab", "mujoco"]


def write(motion: Motion, path: Path, *, skeleton: Skeleton | None = None, order: Order = "isaaclab") -> None:
    """Write the clip as it is: heights stay, and loops are not closed.

    Args:
        motion: the clip.
        path: where to.
        skeleton: its robot; known for the bodies of built-in ones.
        order: of joints and bodies: breadth first as in Isaac Lab, for BeyondMimic, or depth first as in MuJoCo, for
            mjlab.

    Raises:
        MotionError: if the clip is of no known robot, does not fit the given one, or there is no such order.
    """
    if order not in get_args(Order):
        raise MotionError(f"{path}: order must be one of {list(get_args(Order))}, found {order!r}")
    robot = required_skeleton(motion, skeleton)
    motion = replace(motion, loop="none").for_skeleton(robot)
    frames = clip_frames(motion, robot, height_fix="none")
    moving = moving_bodies(robot)
    bodies = [b for b in breadth_first(robot) if b in moving] if order == "isaaclab" else moving
    dofs = [d for body in bodies for d, b in enumerate(robot.dof_bodies) if b == body]

    def columns(tensor: Tensor, which: list[int]) -> np.ndarray:
        return tensor[:, which].float().contiguous().numpy()

    arrays = {
        "fps": np.array([int(motion.fps) if motion.fps == int(motion.fps) else motion.fps]),
        "joint_pos": columns(robot.dofs_from_local_rotations(motion.local_rotations), dofs),
        "joint_vel": columns(frames.dof_velocities, dofs),
        "body_pos_w": columns(frames.positions, bodies),
        "body_quat_w": columns(wxyz_from_xyzw(frames.rotations), bodies),
        "body_lin_vel_w": columns(frames.velocities, bodies),
        "body_ang_vel_w": columns(frames.angular_velocities, bodies),
        "joint_names": np.array([robot.dof_names[d] for d in dofs]),
        "body_names": np.array([robot.body_names[b] for b in bodies]),
    }
    with complete_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
