"""Which bodies rest on the ground, frame by frame."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from motionlib.loops import Cycle
from motionlib.motion import Motion, MotionError
from poselib.ground import CollisionPoints, contact_labels
from poselib.kinematics import forward_kinematics
from poselib.skeleton import Skeleton
from poselib.velocities import linear_velocities

__all__ = ["ground_contacts", "smoothed_contacts"]


def ground_contacts(
    motion: Motion,
    skeleton: Skeleton,
    *,
    max_speed: float = 0.15,
    max_height: float = 0.1,
    points: CollisionPoints | None = None,
) -> Tensor:
    """Bodies that are slow and low, (T, B) bool, in the skeleton's order. Thresholds as in ProtoMotions 3's data tools.

    Args:
        motion: on the ground, z = 0; matched with the skeleton by name.
        skeleton: of the character.
        max_speed: m/s of the body's origin.
        max_height: m, of the body's origin; with `points`, of the lowest point of its geometry.
        points: the character's collision geometry.
    """
    motion = motion.for_skeleton(skeleton)
    root, local = motion.root_positions.double(), motion.local_rotations.double()
    positions, rotations = forward_kinematics(skeleton, root, local)
    velocities = linear_velocities(positions, motion.fps)
    if motion.loop == "wrap":
        velocities[[0, -1]] = _seam_velocities(motion, positions)
    if points is None:
        return contact_labels(positions, velocities, max_speed=max_speed, max_height=max_height)
    return (velocities.norm(dim=-1) < max_speed) & (points.lowest(positions, rotations) < max_height)


def _seam_velocities(motion: Motion, positions: Tensor) -> Tensor:
    """(2, B, 3) m/s in the first and last frame of a loop: central differences across the seam."""
    cycle = Cycle.of(motion)
    turn = torch.tensor([0.0, 0.0, 0.0, 1.0]).expand(positions.shape[1], 4)
    before = cycle.apply(-1, positions[-2].float(), turn)[0]
    after = cycle.apply(1, positions[1].float(), turn)[0]
    return torch.stack([positions[1] - before, after - positions[-2]]) * (0.5 * motion.fps)


def smoothed_contacts(contacts: Tensor, window: int = 7, *, wraps: bool = False) -> Tensor:
    """Moving average of contact labels over time, (T, B) float in [0, 1].

    It tells for how much of the time around a frame a body is on the ground; 0.5 as threshold gives labels without
    flicker. At the ends the average is over the frames there are.

    Args:
        contacts: (T, B) bool.
        window: frames, odd; ProtoMotions 3 takes 7 at 30 frames per second.
        wraps: the clip is a loop, whose last frame is its first.

    Raises:
        MotionError: if the window is even, or not positive.
    """
    if window < 1 or window % 2 == 0:
        raise MotionError(f"the window of a moving average must be odd and positive, found {window}")
    reach = window // 2
    signal = contacts.float().T.unsqueeze(0)
    if wraps:
        cycle = signal[..., :-1]
        frames = torch.arange(-reach, signal.shape[-1] + reach) % cycle.shape[-1]
        return F.avg_pool1d(cycle[..., frames], window, stride=1)[0].T
    pooled = F.avg_pool1d(signal, window, stride=1, padding=reach, count_include_pad=False)
    return pooled[0].T
