"""Goal states: the spans in which a person has arrived and stays, seated, lying or standing.

Recordings of interactions (SAMP) walk up to an object, use it for a while and leave. What a policy should reach is the
pose held there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from motionlib.motion import Motion
from poselib.kinematics import forward_kinematics
from poselib.rotations import quat_apply, quat_identity
from poselib.skeleton import Skeleton
from poselib.velocities import linear_velocities

__all__ = ["GoalState", "Posture", "goal_states"]

Posture = Literal["sitting", "lying", "standing"]

_LYING_TILT = 50.0
"""degrees between the root's up and the vertical from which a person lies"""
_SEATED_HEIGHT = 0.85
"""of the root's height when standing straight; high stools are sat on at 0.8"""


@dataclass(frozen=True)
class GoalState:
    """A span at rest at the end of an approach."""

    start: float
    """s from the clip's first frame"""
    end: float
    posture: Posture
    approach: float
    """m that the root moved over the ground since the span at rest before, or since the start"""

    @property
    def middle(self) -> float:
        """s, when the pose is taken that stands for the goal."""
        return 0.5 * (self.start + self.end)


def goal_states(
    motion: Motion,
    skeleton: Skeleton,
    *,
    max_speed: float = 0.15,
    min_seconds: float = 1.0,
    max_break: float = 0.3,
    min_approach: float = 0.5,
) -> tuple[GoalState, ...]:
    """Spans at rest, in order; those that no approach leads to (waiting at the start) are left out.

    Args:
        motion: matched with the skeleton by name.
        skeleton: of the character; its root's z axis points up when it stands.
        max_speed: m/s, mean of all bodies, below which a frame is at rest (ProtoMotions 3: 0.15).
        min_seconds: shorter spans are no goals.
        max_break: s; a faster moment within a span, such as a gesture of someone seated, does not end it.
        min_approach: m.
    """
    motion = motion.for_skeleton(skeleton)
    positions, rotations = forward_kinematics(skeleton, motion.root_positions.double(), motion.local_rotations.double())
    speeds = linear_velocities(positions, motion.fps).norm(dim=-1).mean(dim=-1)
    steps = positions[:, 0, :2].diff(dim=0).norm(dim=-1)
    goals = []
    left = 0
    for first, last in _spans(speeds < max_speed, round(max_break * motion.fps)):
        if (last - first) / motion.fps < min_seconds:
            continue
        approach = float(steps[left:first].sum())
        left = last
        if approach >= min_approach:
            posture = _posture(skeleton, positions[first : last + 1], rotations[first : last + 1])
            goals.append(GoalState(first / motion.fps, last / motion.fps, posture, approach))
    return tuple(goals)


def _spans(resting: Tensor, max_break: int) -> list[tuple[int, int]]:
    """First and last frame of each span of True, with breaks of at most `max_break` frames."""
    spans: list[tuple[int, int]] = []
    for frame in torch.nonzero(resting).flatten().tolist():
        if spans and frame - spans[-1][1] - 1 <= max_break:
            spans[-1] = (spans[-1][0], frame)
        else:
            spans.append((frame, frame))
    return spans


def _posture(skeleton: Skeleton, positions: Tensor, rotations: Tensor) -> Posture:
    """Of the median frame of a span: by how the root tilts, then by how high it is."""
    up = quat_apply(rotations[:, 0], rotations.new_tensor([0.0, 0.0, 1.0]).expand(len(rotations), 3))
    tilt = torch.rad2deg(torch.acos(up[:, 2].clamp(-1.0, 1.0))).median()
    if tilt > _LYING_TILT:
        return "lying"
    rest, _ = forward_kinematics(
        skeleton, positions.new_zeros(3), quat_identity(skeleton.num_bodies, dtype=positions.dtype)
    )
    standing = -rest[:, 2].min()
    return "sitting" if positions[:, 0, 2].median() < _SEATED_HEIGHT * standing else "standing"
