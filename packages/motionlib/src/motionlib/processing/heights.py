"""Putting a clip on the ground, z = 0."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from motionlib.motion import Motion, MotionError
from poselib import models
from poselib.ground import CollisionPoints, height_offset
from poselib.skeleton import Skeleton

__all__ = ["HeightFix", "fix_heights", "known_collision_points"]

HeightFix = Literal["lift", "lowest", "none"]
"""How to put a clip on the ground.

- "lift": frames that sink are raised along a smooth curve, so that feet do not hover because of one bad frame. A clip
  that hovers, or sinks by more than a body's thickness, is first moved as a whole to its usual height (40 % quantile
  over frames of the lowest point).
- "lowest": the lowest point of the whole clip goes to z = 0.
- "none": heights stay.
"""

_USUAL = 0.4
_THICKNESS = 0.15
"""m; hands and hips may sink this deep in frames where feet stand right"""
_LIFT_WINDOW = 0.08
"""s on either side over which a lift rises and fades"""


def known_collision_points(skeleton: Skeleton) -> CollisionPoints | None:
    """The collision geometry of a built-in character; None for other skeletons."""
    if skeleton.name in models.MODELS and models.skeleton(skeleton.name).body_names == skeleton.body_names:
        return models.collision_points(skeleton.name)
    return None


def fix_heights(
    motion: Motion, skeleton: Skeleton, height_fix: HeightFix, points: CollisionPoints | None = None
) -> Motion:
    """The clip with other root heights.

    Args:
        motion: bodies are matched by name.
        skeleton: of the character.
        height_fix: see `HeightFix`.
        points: the character's collision geometry; known for built-in characters.

    Raises:
        MotionError: for an unknown `height_fix`, or if geometry is needed and not known.
    """
    if height_fix not in get_args(HeightFix):
        raise MotionError(f"height_fix must be one of {list(get_args(HeightFix))}, found {height_fix!r}")
    if height_fix == "none":
        return motion
    points = points or known_collision_points(skeleton)
    if points is None:
        raise MotionError(
            f"the collision geometry of skeleton {skeleton.name!r} is not known: pass it, or height_fix='none'"
        )
    lowest = points.lowest(*motion.world_poses(skeleton))
    if not torch.isfinite(lowest.amin()):
        raise MotionError(f"skeleton {skeleton.name!r} has no collision geometry: pass height_fix='none'")
    shift = -height_offset(lowest, _USUAL if height_fix == "lift" else 0.0)
    if height_fix == "lift" and 0.0 < shift < _THICKNESS:
        shift = 0.0
    raised = torch.full((motion.num_frames,), shift)
    if height_fix == "lift":
        raised += _lift(lowest.amin(dim=-1) + shift, motion)
    root = motion.root_positions.clone()
    root[:, 2] += raised
    return replace(motion, root_positions=root)


def _lift(lowest: Tensor, motion: Motion) -> Tensor:
    """A smooth curve `(T,)` m that is nowhere less than how deep the clip sinks: local maxima, then their average."""
    sunk = (-lowest).clamp_min(0.0)
    wraps = motion.loop == "wrap"
    if wraps:
        sunk = torch.maximum(sunk, sunk[[-1, *range(1, len(sunk) - 1), 0]])[:-1]
    reach = max(round(_LIFT_WINDOW * motion.fps), 1)
    frames = torch.arange(-2 * reach, len(sunk) + 2 * reach)
    frames = frames % len(sunk) if wraps else frames.clamp(0, len(sunk) - 1)
    peaks = F.max_pool1d(sunk[frames][None, None], 2 * reach + 1, stride=1)
    kernel = torch.hann_window(2 * reach + 3, periodic=False)[1:-1]
    curve = F.conv1d(peaks, (kernel / kernel.sum())[None, None])[0, 0]
    return torch.cat([curve, curve[:1]]) if wraps else curve
