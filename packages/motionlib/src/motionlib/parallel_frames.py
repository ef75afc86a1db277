"""Clips for formats that know no rest rotations: at zero all joint frames are parallel to the world (BVH).

Some built-in characters (G1, H1) have bodies that are turned against their parents at rest. With W the world rotation
of a body at rest, the same motion in parallel frames is `W q W^-1`, and an offset is turned by its parent's W.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from motionlib.motion import Motion
from poselib import models
from poselib.kinematics import forward_kinematics
from poselib.rotations import quat_apply, quat_conjugate, quat_identity, quat_multiply
from poselib.skeleton import Skeleton

__all__ = ["with_character_frames", "with_parallel_frames"]

_OFFSET_TOLERANCE = 1e-4
"""m"""


def with_parallel_frames(motion: Motion) -> Motion:
    """The clip in frames that are parallel at rest; clips of unknown or unturned skeletons are so already."""
    skeleton = _turned_character(motion)
    if skeleton is None:
        return motion
    turns = _rest_rotations(skeleton)
    motion = motion.for_skeleton(skeleton)
    rotations = quat_multiply(quat_multiply(turns, motion.local_rotations.double()), quat_conjugate(turns))
    return replace(motion, offsets=_parallel_offsets(skeleton), local_rotations=rotations)


def with_character_frames(motion: Motion) -> Motion:
    """Undo `with_parallel_frames`, where names and offsets say that this is the clip of a built-in character."""
    skeleton = _turned_character(motion)
    if skeleton is None:
        return motion
    matched = motion.for_skeleton(skeleton)
    order = [motion.body_names.index(name) for name in skeleton.body_names]
    error = (motion.offsets[order] - _parallel_offsets(skeleton)).abs()
    if float(error[1:].max()) > _OFFSET_TOLERANCE:
        return motion
    turns = _rest_rotations(skeleton)
    rotations = quat_multiply(quat_multiply(quat_conjugate(turns), matched.local_rotations.double()), turns)
    return replace(matched, local_rotations=rotations)


def _rest_rotations(skeleton: Skeleton) -> Tensor:
    """(B, 4) world, float64, with the root upright and all joints at zero."""
    return forward_kinematics(skeleton, skeleton.offsets[0].double(), quat_identity(skeleton.num_bodies).double())[1]


def _parallel_offsets(skeleton: Skeleton) -> Tensor:
    """(B, 3) m, float64."""
    offsets, turns = skeleton.offsets.double(), _rest_rotations(skeleton)
    return torch.cat([offsets[:1], quat_apply(turns[list(skeleton.parents[1:])], offsets[1:])])


def _turned_character(motion: Motion) -> Skeleton | None:
    """The built-in character with the clip's bodies, if some body of it is turned at rest."""
    above = [motion.body_names[p] if p >= 0 else None for p in motion.parents]
    hangs = dict(zip(motion.body_names, above, strict=True))
    for name, model in models.MODELS.items():
        if {body.name: body.parent for body in model.bodies} == hangs:
            skeleton = models.skeleton(name)
            if not bool((skeleton.rest_rotations[:, 3] > 1 - 1e-9).all()):
                return skeleton
    return None
