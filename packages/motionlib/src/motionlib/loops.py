"""How a wrapped clip goes on: the planar rigid motion of its root per cycle, and the seam between two cycles."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from motionlib.motion import Motion
from poselib.rotations import (
    exp_map_from_quat,
    quat_apply,
    quat_conjugate,
    quat_from_exp_map,
    quat_from_yaw,
    quat_multiply,
    twist_angle,
)

__all__ = ["Cycle", "close_loop"]


@dataclass(frozen=True, eq=False)
class Cycle:
    """A turn about the world's z axis and a shift on the ground: x -> R(yaw) (x - center) + center + step.

    Batched: every field may carry the same leading dimensions.
    """

    yaw: Tensor
    """(...) rad in (-pi, pi]"""
    center: Tensor
    """(..., 2) m, where the root stands in the first frame"""
    step: Tensor
    """(..., 2) m, from there to where it stands in the last"""

    @classmethod
    def of(cls, motion: Motion) -> Cycle:
        """The one that takes the first frame's root to the last's (its tilt and height left aside)."""
        first, last = motion.local_rotations[0, 0], motion.local_rotations[-1, 0]
        up = torch.tensor([0.0, 0.0, 1.0])
        yaw = twist_angle(quat_multiply(last, quat_conjugate(first)), up)
        center = motion.root_positions[0, :2]
        return cls(yaw, center, motion.root_positions[-1, :2] - center)

    @classmethod
    def identity(cls) -> Cycle:
        """No motion at all."""
        return cls(torch.zeros(()), torch.zeros(2), torch.zeros(2))

    def power(self, count: Tensor) -> tuple[Tensor, Tensor]:
        """Repeat it `count` times (whole, may be negative): total yaw `(...)` and total step `(..., 2)`.

        The steps add up to sum_i R(i yaw) step = sin(count yaw / 2) / sin(yaw / 2) R((count - 1) yaw / 2) step.
        """
        half = 0.5 * self.yaw
        sine = torch.sin(half)
        straight = sine.abs() < 1e-6
        ratio = torch.where(
            straight, count, torch.sin(count * half) / torch.where(straight, torch.ones_like(sine), sine)
        )
        angle = (count - 1.0) * half
        cosine, sine = ratio * torch.cos(angle), ratio * torch.sin(angle)
        x, y = self.step.unbind(-1)
        return count * self.yaw, torch.stack([cosine * x - sine * y, sine * x + cosine * y], dim=-1)

    def apply(self, count: int, positions: Tensor, rotations: Tensor) -> tuple[Tensor, Tensor]:
        """Move positions `(..., 3)` and rotations `(..., 4)` on by `count` cycles; for one cycle's numbers."""
        yaw, step = self.power(torch.tensor(float(count)))
        turn = quat_from_yaw(yaw)
        center = torch.cat([self.center, torch.zeros(1)])
        moved = quat_apply(turn, positions - center) + center + torch.cat([step, torch.zeros(1)])
        return moved, quat_multiply(turn.expand_as(rotations), rotations)


def close_loop(motion: Motion, window: float) -> Motion:
    """Make the last frame of a wrapped clip equal the first of the next cycle.

    Recorded loops do not close: from last frame to first, joints jump by up to 60 degrees in the DeepMimic clips.
    Both ends are bent to the pose half way between them; the change fades out over `window` along a cosine.

    Args:
        motion: returned as it is unless it wraps.
        window: s on either side of the seam, at most half of the clip; 0 leaves the clip as it is.
    """
    if motion.loop != "wrap" or window <= 0:
        return motion
    yaw = Cycle.of(motion).yaw
    rotations = motion.local_rotations.double()
    last = rotations[-1].clone()
    last[0] = quat_multiply(quat_from_yaw(-yaw.double()), last[0])
    gap = exp_map_from_quat(quat_multiply(quat_conjugate(rotations[0]), last))
    sink = motion.root_positions[-1, 2] - motion.root_positions[0, 2]

    seconds = torch.arange(motion.num_frames, dtype=torch.float64) / motion.fps
    width = min(window, 0.5 * motion.duration)
    fade = 0.5 + 0.5 * torch.cos(math.pi * (seconds / width).clamp_max(1.0))
    share = 0.5 * (fade - fade.flip(0))
    bent = quat_multiply(rotations, quat_from_exp_map(share[:, None, None] * gap))
    positions = motion.root_positions.clone()
    positions[:, 2] += (share * sink).float()
    return replace(motion, root_positions=positions, local_rotations=bent)
