"""Everything that follows from a clip and a skeleton, frame by frame: world poses, velocities, contacts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from motionlib.loops import Cycle, close_loop
from motionlib.motion import Motion
from motionlib.processing.heights import HeightFix, fix_heights
from poselib.ground import CollisionPoints, contact_labels
from poselib.kinematics import forward_kinematics, joint_velocities
from poselib.rotations import quat_continuous
from poselib.skeleton import Skeleton
from poselib.velocities import angular_velocities, linear_velocities

__all__ = ["ClipFrames", "clip_frames"]


@dataclass(frozen=True, eq=False)
class ClipFrames:
    """One clip on one skeleton, T frames, B bodies, D degrees of freedom; world frame, m, s, rad."""

    positions: Tensor
    """(T, B, 3)"""
    rotations: Tensor
    """(T, B, 4), sign-continuous"""
    velocities: Tensor
    """(T, B, 3)"""
    angular_velocities: Tensor
    """(T, B, 3)"""
    contacts: Tensor
    """(T, B) bool"""
    local_rotations: Tensor
    """(T, B, 4), sign-continuous"""
    dof_velocities: Tensor
    """(T, D)"""
    cycle: Cycle


def clip_frames(
    motion: Motion,
    skeleton: Skeleton,
    *,
    points: CollisionPoints | None = None,
    height_fix: HeightFix = "lift",
    loop_blend: float = 0.25,
) -> ClipFrames:
    """Work out one clip.

    Velocities are central differences. Those of a wrapped clip reach across the seam: the clip is extended by one
    frame of the cycle before and one of the cycle after.

    Args:
        motion: matched with the skeleton by name.
        skeleton: of the character.
        points: its collision geometry; known for built-in characters.
        height_fix: how to put the clip on the ground.
        loop_blend: s on either side of the seam over which a wrapped clip is bent to close.

    Raises:
        MotionError: if the clip does not fit the skeleton, or a height fix is wanted without geometry.
    """
    motion = close_loop(motion.for_skeleton(skeleton), loop_blend)
    motion = fix_heights(motion, skeleton, height_fix, points)
    root, local = motion.root_positions, motion.local_rotations
    cycle = Cycle.of(motion) if motion.loop == "wrap" else Cycle.identity()
    inner = slice(None)
    if motion.loop == "wrap":
        root, local = _extended(cycle, root, local)
        inner = slice(1, -1)

    # Differences of float32 positions lose digits; two frames are only millimeters apart.
    positions, rotations = forward_kinematics(skeleton, root.double(), local.double())
    velocities = linear_velocities(positions, motion.fps)[inner]
    turning = angular_velocities(rotations, motion.fps)[inner]
    positions, rotations = positions[inner], rotations[inner]
    joints = joint_velocities(skeleton, rotations, turning)
    return ClipFrames(
        positions=positions.float(),
        rotations=quat_continuous(rotations).float(),
        velocities=velocities.float(),
        angular_velocities=turning.float(),
        contacts=contact_labels(positions, velocities),
        local_rotations=quat_continuous(local[inner]),
        dof_velocities=skeleton.dof_velocities_from_joint_velocities(joints).float(),
        cycle=cycle,
    )


def _extended(cycle: Cycle, root: Tensor, local: Tensor) -> tuple[Tensor, Tensor]:
    """One frame more at both ends, taken from the neighbouring cycles."""
    ends = [(-1, -2), (1, 1)]
    poses = [cycle.apply(count, root[frame], local[frame, 0]) for count, frame in ends]
    before, after = (
        torch.cat([turned[None], local[f, 1:]])[None] for (_, turned), (_, f) in zip(poses, ends, strict=True)
    )
    return torch.cat([poses[0][0][None], root, poses[1][0][None]]), torch.cat([before, local, after])
