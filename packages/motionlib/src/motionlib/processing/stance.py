"""When the feet of a clip stand on the ground."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from motionlib.motion import Motion
from poselib.anatomy import Anatomy
from poselib.ground import CollisionPoints
from poselib.kinematics import forward_kinematics
from poselib.rotations import quat_apply

__all__ = ["FootPoints", "foot_bodies", "foot_points", "stance_of"]

_LOW = 0.03
"""m above its usual lowest height that a standing foot is at most"""
_SLOW = 0.4
"""m/s at which the lowest point of a standing foot may move: recordings slip"""
_OF_TRAVEL = 0.25
"""share of the speed of travel at which it may: a running foot is hardly ever still, and frames blur what it does"""
_STRIDE = 0.25
"""s on either side over which travel is measured"""
_SHORTEST = 0.06
"""s; shorter stances, and shorter gaps in one, are noise"""
_USUAL = 0.25
"""quantile over frames of the lower foot's height that is taken for the ground; recordings sink in some frames"""
_LOWEST = 0.05
"""quantile over frames of a joint's height at which its foot rests, where soles are not known"""


@dataclass(frozen=True, eq=False)
class FootPoints:
    """The points of one foot that may stand on the ground."""

    positions: Tensor
    """(T, F, 3) m, world"""
    heights: Tensor
    """(T, F) m above z = 0, radii taken off"""


def foot_bodies(anatomy: Anatomy, side: str) -> list[int]:
    """The bodies of a foot: the ankle's and all that hang on it."""
    parents, bodies = anatomy.skeleton.parents, [anatomy.parts[f"{side}_ankle"].body]
    bodies += [b for b in range(bodies[0] + 1, len(parents)) if parents[b] in bodies]
    return sorted(set(bodies) | {b for b in range(len(parents)) if parents[b] in bodies})


def foot_points(motion: Motion, anatomy: Anatomy, points: CollisionPoints | None) -> tuple[FootPoints, FootPoints]:
    """Left and right foot over the clip.

    Without collision geometry, the joints of ankle and toes stand for it, each as high above the ground as it is in the
    lowest frames of the clip.
    """
    fitted = motion.for_skeleton(anatomy.skeleton)
    positions, rotations = forward_kinematics(anatomy.skeleton, fitted.root_positions, fitted.local_rotations)
    feet = []
    for side in ("left", "right"):
        bodies = foot_bodies(anatomy, side)
        rows = [i for i, body in enumerate(points.bodies) if body in bodies] if points else []
        if points is not None and rows:
            on = [points.bodies[i] for i in rows]
            placed = positions[:, on] + quat_apply(rotations[:, on], points.points[rows])
            heights = placed[..., 2] - points.radii[rows]
        else:
            on = [anatomy.parts[f"{side}_{p}"].body for p in ("ankle", "toe") if f"{side}_{p}" in anatomy.parts]
            placed = positions[:, on]
            heights = placed[..., 2] - placed[..., 2].quantile(_LOWEST, dim=0)
        feet.append(FootPoints(placed, heights))
    return feet[0], feet[1]


def stance_of(feet: tuple[FootPoints, FootPoints], fps: float) -> Tensor:
    """Frames in which the left and the right foot stand, `(T, 2)` bool: its lowest point is low and slow.

    Heights are taken against the clip's own ground, so a clip that hovers or sinks as a whole is judged alike.
    """
    slow = (_OF_TRAVEL * _travel(feet, fps)).clamp_min(_SLOW)
    lowest = torch.stack([foot.heights.amin(dim=-1) for foot in feet], dim=-1)
    ground = lowest.amin(dim=-1).quantile(_USUAL)
    labels = []
    for side, foot in enumerate(feet):
        row = foot.heights.argmin(dim=-1)[:, None, None]
        speeds = torch.gradient(foot.positions, dim=0)[0].norm(dim=-1, keepdim=True) * fps
        still = torch.take_along_dim(speeds, row, dim=1)[:, 0, 0] < slow
        labels.append(_steady((lowest[:, side] - ground < _LOW) & still, fps))
    return torch.stack(labels, dim=-1)


def _travel(feet: tuple[FootPoints, FootPoints], fps: float) -> Tensor:
    """Speed `(T,)` in m/s along the ground of the point between the feet, over about a step."""
    middle = torch.stack([foot.positions.mean(dim=1) for foot in feet]).mean(dim=0)[:, :2]
    frames, reach = torch.arange(len(middle)), max(round(_STRIDE * fps), 1)
    before, after = (frames - reach).clamp_min(0), (frames + reach).clamp_max(len(middle) - 1)
    return (middle[after] - middle[before]).norm(dim=-1) * fps / (after - before)


def _steady(label: Tensor, fps: float) -> Tensor:
    """Fill short gaps of a label `(T,)`, then drop short stances."""
    reach = max(round(0.5 * _SHORTEST * fps), 1)

    def grown(values: Tensor) -> Tensor:
        padded = F.pad(values.float()[None, None], (reach, reach), mode="replicate")
        return F.max_pool1d(padded, 2 * reach + 1, stride=1)[0, 0] > 0

    closed = ~grown(~grown(label))
    return grown(~grown(~closed))
