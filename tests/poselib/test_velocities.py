"""Finite differences against motions whose velocity is known."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from poselib.rotations import quat_from_exp_map, quat_multiply
from poselib.velocities import angular_velocities, linear_velocities


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("speed", [0.0, 1e-3, 2.0, 40.0])
def test_constant_rotation_is_found_exactly_at_every_frame(dtype: torch.dtype, speed: float):
    fps, omega = 30.0, speed * torch.tensor([0.6, 0.0, -0.8], dtype=torch.float64)
    start = torch.tensor(Rotation.random(4, rng=np.random.default_rng(0)).as_quat())
    time = torch.arange(12, dtype=torch.float64)[:, None, None] / fps
    rotations = quat_multiply(quat_from_exp_map(time * omega), start)
    signs = torch.tensor(np.random.default_rng(1).choice([-1.0, 1.0], size=(12, 4, 1)))
    found = angular_velocities((signs * rotations).to(dtype), fps)
    assert found.dtype == dtype
    tolerance = 1e-4 if dtype == torch.float32 else 1e-9
    torch.testing.assert_close(found, omega.to(dtype).expand(12, 4, 3), atol=tolerance, rtol=0)


def test_changing_rotation_is_found_to_second_order():
    def error(fps: float) -> float:
        time = torch.arange(0, 1, 1 / fps, dtype=torch.float64)
        angle = torch.sin(2 * time)
        zero = torch.zeros_like(time)
        found = angular_velocities(quat_from_exp_map(torch.stack([zero, angle, zero], dim=-1)), fps)
        return float((found[1:-1, 1] - 2 * torch.cos(2 * time)[1:-1]).abs().max())

    assert error(50) < 2e-3
    assert error(100) == pytest.approx(error(50) / 4, rel=0.1)


def test_positions_on_a_parabola_are_exact_inside_and_one_sided_at_the_ends():
    fps = 20.0
    time = torch.arange(6, dtype=torch.float64) / fps
    positions = torch.stack([3 * time, 2 * time**2, torch.ones_like(time)], dim=-1)
    expected = torch.stack([3 * torch.ones_like(time), 4 * time, torch.zeros_like(time)], dim=-1)
    expected[0, 1], expected[-1, 1] = 2 / fps, 4 * float(time[-1]) - 2 / fps
    torch.testing.assert_close(linear_velocities(positions, fps), expected)


def test_two_frames_are_enough_and_one_is_not():
    q = quat_from_exp_map(torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.0, 0.0]]))
    torch.testing.assert_close(angular_velocities(q, 10.0), torch.tensor([[1.0, 0.0, 0.0]] * 2))
    assert linear_velocities(torch.tensor([[0.0, 0, 0], [1, 0, 0]]), 10.0)[:, 0].tolist() == [10.0, 10.0]
    for function, frames in ((angular_velocities, q[:1]), (linear_velocities, torch.zeros(1, 3))):
        with pytest.raises(ValueError, match="at least two frames, got 1"):
            function(frames, 30.0)


@pytest.mark.parametrize("fps", [0.0, -30.0, math.nan, math.inf])
def test_a_frame_rate_must_be_positive_and_finite(fps: float):
    with pytest.raises(ValueError, match="fps must be"):
        linear_velocities(torch.zeros(3, 3), fps)
