"""Everything that follows from a clip and a skeleton, frame by frame: world poses, velocities, contacts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from poselib import models
from poselib.ground import CollisionPoints, contact_labels, height_offset
from poselib.kinematics import forward_kinematics, joint_velocities
from poselib.rotations import quat_continuous
from poselib.skeleton import Skeleton
from poselib.velocities import angular_velocities, linear_velocities
from torch import Tensor

from motionlib.loops import Cycle, close_loop
from motionlib.motion import Motion, MotionError

__all__ = ["ClipFrames", "HeightFix", "clip_frames", "collision_points_of", "ground_height"]

HeightFix = Literal["lowest", "usual", "none"]
"""which height of a clip is put on the ground: its lowest point of all, the lowest point of a usual frame (median over
frames; for recordings with noise), or none"""

_QUANTILES = {"lowest": 0.0, "usual": 0.5}


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


def collision_points_of(skeleton: Skeleton) -> CollisionPoints | None:
    """The collision geometry of a built-in character; None for other skeletons."""
    if skeleton.name in models.MODELS and models.skeleton(skeleton.name).body_names == skeleton.body_names:
        return models.collision_points(skeleton.name)
    return None


def ground_height(motion: Motion, skeleton: Skeleton, points: CollisionPoints, height_fix: HeightFix) -> float:
    """Height in m of what `height_fix` calls the ground of a clip: lowering the clip by it puts that on z = 0."""
    if height_fix == "none":
        return 0.0
    return height_offset(points.lowest(*motion.world_poses(skeleton)), _QUANTILES[height_fix])


def clip_frames(
    motion: Motion,
    skeleton: Skeleton,
    *,
    points: CollisionPoints | None = None,
    height_fix: HeightFix = "lowest",
    loop_blend: float = 0.25,
) -> ClipFrames:
    """Work out one clip.

    Velocities are central differences. Those of a wrapped clip reach across the seam: the clip is extended by one
    frame of the cycle before and one of the cycle after.

    Args:
        motion: matched with the skeleton by name.
        skeleton: of the character.
        points: its collision geometry; looked up for built-in characters.
        height_fix: which height to put on the ground.
        loop_blend: s on either side of the seam over which a wrapped clip is bent to close.

    Raises:
        MotionError: if the clip does not fit the skeleton, or a height fix is wanted without geometry.
    """
    motion = close_loop(motion.for_skeleton(skeleton), loop_blend)
    points = points or collision_points_of(skeleton)
    if height_fix not in ("none", *_QUANTILES):
        raise MotionError(f"height_fix must be one of {['none', *_QUANTILES]}, found {height_fix!r}")
    root, local = motion.root_positions, motion.local_rotations
    if height_fix != "none":
        if points is None:
            raise MotionError(
                f"no collision geometry of skeleton {skeleton.name!r}: pass collision points or height_fix='none'"
            )
        root = root - torch.tensor([0.0, 0.0, ground_height(motion, skeleton, points, height_fix)])
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
