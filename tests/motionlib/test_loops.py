from __future__ import annotations

import pytest
import torch

from motionlib.loops import Cycle, close_loop
from poselib.rotations import angle_between, quat_from_yaw, quat_multiply


def repeated(cycle: Cycle, count: int, point: torch.Tensor) -> torch.Tensor:
    """The cycle's map, applied `count` times in float64."""
    cosine, sine = torch.cos(cycle.yaw.double()), torch.sin(cycle.yaw.double())
    turn = torch.stack([torch.stack([cosine, -sine]), torch.stack([sine, cosine])])
    for _ in range(abs(count)):
        if count > 0:
            point = turn @ (point - cycle.center) + cycle.center + cycle.step
        else:
            point = turn.T @ (point - cycle.center - cycle.step) + cycle.center
    return point


@pytest.mark.parametrize("yaw", [0.0, 1e-12, 1e-7, 2e-6, 1e-3, -0.4, 2.0, 3.1415926, -3.1415926])
@pytest.mark.parametrize("count", [-7, -1, 0, 1, 2, 12])
def test_powers_are_repetitions(yaw, count):
    cycle = Cycle(torch.tensor(yaw), torch.tensor([0.3, -0.7]), torch.tensor([1.1, 0.2]))
    point = torch.tensor([2.0, 1.0, 0.5])
    moved, turned = cycle.apply(count, point, torch.tensor([0.0, 0.0, 0.0, 1.0]))
    torch.testing.assert_close(moved[:2].double(), repeated(cycle, count, point[:2].double()), rtol=0, atol=1e-4)
    assert moved[2] == 0.5
    assert float(angle_between(turned, quat_from_yaw(torch.tensor(count * yaw)))) < 1e-4


def test_a_cycle_takes_the_first_root_to_the_last(make_motion):
    motion = make_motion(loop="wrap")
    first, last = motion.local_rotations[0, 0], motion.local_rotations[-1, 0]
    position, _ = Cycle.of(motion).apply(1, motion.root_positions[0], first)
    torch.testing.assert_close(position[:2], motion.root_positions[-1, :2])
    closed = close_loop(motion, 0.2)
    _, turned = Cycle.of(closed).apply(1, closed.root_positions[0], closed.local_rotations[0, 0])
    assert float(angle_between(turned, closed.local_rotations[-1, 0])) < 1e-3
    assert float(angle_between(turned, last)) > 1e-2, "the recording itself does not close"


def test_closing_changes_the_ends_alone(make_motion):
    motion = make_motion(frames=41, fps=20.0, loop="wrap")
    closed = close_loop(motion, 0.5)
    gap = angle_between(closed.local_rotations[0, 1:], closed.local_rotations[-1, 1:])
    assert float(gap.max()) < 1e-3
    middle = slice(10, -10)
    torch.testing.assert_close(closed.local_rotations[middle], motion.local_rotations[middle], rtol=0, atol=1e-6)
    assert float(closed.root_positions[-1, 2] - closed.root_positions[0, 2]) == pytest.approx(0.0, abs=1e-6)
    turn = quat_multiply(quat_from_yaw(Cycle.of(closed).yaw), closed.local_rotations[0, 0])
    assert float(angle_between(turn, closed.local_rotations[-1, 0])) < 1e-3


def test_clips_that_end_and_closed_clips_stay(make_motion):
    ends = make_motion()
    assert close_loop(ends, 0.3) is ends
    wraps = make_motion(loop="wrap")
    assert close_loop(wraps, 0.0) is wraps
    once = close_loop(wraps, 0.2)
    again = close_loop(once, 0.2)
    assert float(angle_between(once.local_rotations, again.local_rotations).max()) < 1e-3
