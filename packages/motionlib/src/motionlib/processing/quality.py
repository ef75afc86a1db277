"""How good a clip is as motion of a physical character: numbers that need no eye and no physics."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from motionlib.motion import Motion, MotionError
from motionlib.processing.heights import known_collision_points
from motionlib.processing.stance import FootPoints, foot_points, stance_of
from poselib.anatomy import Anatomy, AnatomyError, anatomy_of
from poselib.ground import CollisionPoints
from poselib.ik import limit_coordinates
from poselib.skeleton import Skeleton

__all__ = ["Quality", "quality"]

_AT_LIMIT = 1e-3
"""rad; a coordinate so near to its bound counts as at it"""


@dataclass(frozen=True, kw_only=True)
class Quality:
    """What is wrong with a clip; zero is best everywhere but for `stance_share`."""

    foot_slide: float
    """mm/s, mean speed along the ground of the point on which a foot stands"""
    stance_share: float
    """share of frames in which a foot stands, mean of both feet"""
    penetration_mean: float
    """mm that the lowest point of the character is below the ground, mean over frames"""
    penetration_max: float
    """mm, in the worst frame"""
    limit_share: float
    """share of joint coordinates at or over their limits, over all frames"""
    limit_excess: float
    """rad that the worst coordinate is beyond its limit"""
    jerk: float
    """m/s^3, length of the third derivative of position, mean over bodies and frames"""
    key_point_error: float | None = None
    """mm between joints and where the source, scaled limb by limb, has them; None without a source"""

    def as_dict(self) -> dict[str, float | None]:
        """Plain numbers, for JSON."""
        return asdict(self)


def quality(
    motion: Motion,
    skeleton: Skeleton,
    points: CollisionPoints | None = None,
    *,
    anatomy: Anatomy | None = None,
    stance: Tensor | None = None,
    key_point_error: float | None = None,
) -> Quality:
    """Measure a clip on flat ground at z = 0, heights as they are.

    Args:
        motion: bodies are matched by name.
        skeleton: of the character; feet are found by `poselib.anatomy`.
        points: its collision geometry; known for built-in characters.
        anatomy: its parts; found by name where not given.
        stance: `(T, 2)` bool, when the left and right foot stand. Without it the clip itself decides, by height and
            speed (`stance_of`), which forgives feet that slide fast; a retargeted clip is better judged by its source.
        key_point_error: mm, passed through.

    Raises:
        MotionError: if the clip does not fit, or there is neither geometry nor feet.
    """
    points = points or known_collision_points(skeleton)
    try:
        anatomy = anatomy or anatomy_of(skeleton, poses=motion.for_skeleton(skeleton).local_rotations)
    except AnatomyError as error:
        raise MotionError(f"clip {motion.name!r}: {error}") from error
    feet = foot_points(motion, anatomy, points)
    if stance is None:
        stance = stance_of(feet, motion.fps)
    positions, rotations = motion.world_poses(skeleton)
    if points is None:
        lowest = torch.stack([foot.heights.amin(dim=-1) for foot in feet]).amin(dim=0)
    else:
        lowest = points.lowest(positions, rotations).amin(dim=-1)
    sunk = 1000.0 * (-lowest).clamp_min(0.0)
    dofs = limit_coordinates(skeleton, motion.for_skeleton(skeleton).local_rotations)
    low, high = skeleton.dof_limits.unbind(-1)
    excess = torch.maximum(low - dofs, dofs - high)
    return Quality(
        foot_slide=_slide(feet, stance, motion.fps),
        stance_share=float(stance.float().mean()),
        penetration_mean=float(sunk.mean()),
        penetration_max=float(sunk.max()),
        limit_share=float((excess >= -_AT_LIMIT).float().mean()) if excess.numel() else 0.0,
        limit_excess=float(excess.max().clamp_min(0.0)) if excess.numel() else 0.0,
        jerk=_jerk(positions, motion.fps),
        key_point_error=key_point_error,
    )


def _slide(feet: tuple[FootPoints, FootPoints], stance: Tensor, fps: float) -> float:
    """Mean over pairs of neighbouring frames in stance; the material point that is lowest in the first is followed."""
    speeds = []
    for foot, stands in zip(feet, stance.unbind(-1), strict=True):
        lowest = foot.heights[:-1].argmin(dim=-1)[:, None, None]
        steps = torch.take_along_dim(foot.positions.diff(dim=0)[..., :2], lowest, dim=1)[:, 0]
        speeds.append((steps.norm(dim=-1) * fps)[stands[1:] & stands[:-1]])
    values = torch.cat(speeds)
    return 1000.0 * float(values.mean()) if len(values) else 0.0


def _jerk(positions: Tensor, fps: float) -> float:
    if len(positions) < 4:
        return 0.0
    return float((positions.double().diff(n=3, dim=0) * fps**3).norm(dim=-1).mean())
