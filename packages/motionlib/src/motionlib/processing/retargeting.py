"""Clips of one built-in character on another."""

from __future__ import annotations

from dataclasses import replace

import torch

from motionlib.motion import Motion, MotionError
from poselib import models
from poselib.retargeting import BODY_MAPS, ground_shift, retarget

__all__ = ["character_of", "retargeted"]


def character_of(motion: Motion) -> str | None:
    """The built-in character whose bodies a clip has; None if there is none."""
    names = set(motion.body_names)
    return next((name for name in sorted(models.MODELS) if set(models.skeleton(name).body_names) == names), None)


def retargeted(motion: Motion, character: str) -> Motion:
    """The clip on another built-in character, standing on the ground as the original does.

    Raises:
        MotionError: if there is no way from the clip's bodies to that character.
    """
    found = character_of(motion)
    if found == character:
        return motion
    if found is None or (found, character) not in BODY_MAPS:
        raise MotionError(
            f"clip {motion.name!r}: no body map from {found or list(motion.body_names)} to {character!r}; "
            f"there are {sorted(BODY_MAPS)}"
        )
    source, target = models.skeleton(found), models.skeleton(character)
    motion = motion.for_skeleton(source)
    body_map = BODY_MAPS[found, character]
    root, local = retarget(body_map, source, target, motion.root_positions, motion.local_rotations)
    result = replace(
        motion,
        body_names=target.body_names,
        parents=target.parents,
        offsets=target.offsets,
        root_positions=root,
        local_rotations=local,
    )
    before = models.collision_points(found).lowest(*motion.world_poses(source))
    after = models.collision_points(character).lowest(*result.world_poses(target))
    shift = ground_shift(before, after, source.body_indices(body_map.feet))
    return replace(result, root_positions=root + torch.tensor([0.0, 0.0, shift]))
