"""Velocities of recorded motion by finite differences in time."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from poselib.rotations import exp_map_from_quat, quat_conjugate, quat_multiply

__all__ = ["angular_velocities", "linear_velocities"]


def linear_velocities(positions: Tensor, fps: float) -> Tensor:
    """Central differences over time (dimension 0), one-sided at both ends; `(T, ..., 3)` m to m/s.

    Raises:
        ValueError: for fewer than two frames.
    """
    _check(positions, fps)
    return torch.gradient(positions, dim=0)[0] * fps


def angular_velocities(rotations: Tensor, fps: float) -> Tensor:
    """Central differences of rotations over time (dimension 0), in the frame that the rotations are given in (world).

    The mean of the steps before and after each frame, `log(q_{t+1} q_t^-1) fps`, and the one step there is at both
    ends: what `linear_velocities` does for positions. Signs of the quaternions do not matter. A body that turns more
    than half a revolution between two frames is seen turning the other way.

    Args:
        rotations: `(T, ..., 4)`.
        fps: frames per second.

    Returns:
        `(T, ..., 3)` rad/s.

    Raises:
        ValueError: for fewer than two frames.
    """
    _check(rotations, fps)
    steps = exp_map_from_quat(quat_multiply(rotations[1:], quat_conjugate(rotations[:-1]))) * fps
    return torch.cat([steps[:1], 0.5 * (steps[1:] + steps[:-1]), steps[-1:]])


def _check(frames: Tensor, fps: float) -> None:
    if len(frames) < 2:
        raise ValueError(f"a velocity needs at least two frames, got {len(frames)}")
    if not 0 < fps < math.inf:
        raise ValueError(f"fps must be positive and finite, got {fps}")
