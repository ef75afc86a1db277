from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from motionlib import Motion, MotionError, sample_path
from motionlib.loops import Cycle
from motionlib.processing.resampling import concatenated, cropped, poses_at, repeated, resampled
from poselib.rotations import angle_between


def sample(name: str) -> Motion:
    return Motion.load(sample_path("amp", name))


def assert_same(a: Motion, b: Motion, atol: float = 1e-5):
    assert a.num_frames == b.num_frames
    torch.testing.assert_close(a.root_positions, b.root_positions, rtol=0, atol=atol)
    assert float(angle_between(a.local_rotations.double(), b.local_rotations.double()).max()) < max(10 * atol, 1e-4)


@settings(max_examples=15, deadline=None)
@given(st.floats(5.0, 240.0))
def test_rotations_follow_scipys_slerp_and_positions_lines(fps):
    motion = sample("walk")
    result = resampled(replace(motion, loop="none"), fps)
    assert result.fps == fps
    times = np.arange(result.num_frames) / fps
    assert times[-1] <= motion.duration + 1e-4 < times[-1] + 1 / fps + 1e-3
    stored = np.arange(motion.num_frames) / motion.fps
    times = times.clip(0, stored[-1])
    for body in (0, 3, 9):
        wanted = Slerp(stored, Rotation.from_quat(motion.local_rotations[:, body].double().numpy()))(times)
        angles = (wanted.inv() * Rotation.from_quat(result.local_rotations[:, body].double().numpy())).magnitude()
        assert angles.max() < 1e-5
    for axis in range(3):
        wanted = np.interp(times, stored, motion.root_positions[:, axis].double().numpy())
        np.testing.assert_allclose(result.root_positions[:, axis].numpy(), wanted, atol=1e-6)


def test_a_divisor_of_the_rate_takes_stored_frames_as_they_are(make_motion):
    motion = make_motion(frames=121, fps=120.0)
    result = resampled(motion, 30.0)
    torch.testing.assert_close(result.root_positions, motion.root_positions[::4], rtol=0, atol=0)
    assert float(angle_between(result.local_rotations, motion.local_rotations[::4]).max()) < 1e-6
    assert_same(resampled(resampled(motion, 360.0), 120.0), motion)
    assert resampled(motion, 120.0) is motion


def test_a_rate_that_does_not_divide_keeps_the_speed(make_motion):
    motion = make_motion(frames=101, fps=100.0)
    result = resampled(motion, 30.0)
    assert result.num_frames == 31
    velocity = result.root_positions.diff(dim=0) * 30.0
    torch.testing.assert_close(velocity, torch.tensor([1.0, 0.4, 0.0]).expand_as(velocity), rtol=0, atol=1e-4)


@pytest.mark.parametrize("fps", [7.0, 30.0, 50.0, 144.0])
def test_a_loop_keeps_its_seam(fps):
    motion = sample("walk")
    assert motion.loop == "wrap"
    result = resampled(motion, fps)
    assert result.loop == "wrap"
    assert result.duration == pytest.approx(motion.duration, rel=1e-6)
    assert abs(result.fps - fps) <= 0.5 / motion.duration
    before, after = Cycle.of(motion), Cycle.of(result)
    torch.testing.assert_close(after.step, before.step, rtol=0, atol=1e-6)
    torch.testing.assert_close(after.yaw, before.yaw, rtol=0, atol=1e-6)


@pytest.mark.parametrize("fps", [0.0, -30.0, float("nan"), float("inf"), 1.0])
def test_a_rate_that_cannot_be_is_refused(make_motion, fps):
    with pytest.raises(MotionError, match="'clip'"):
        resampled(make_motion(frames=12, fps=20.0), fps)


@settings(max_examples=15, deadline=None)
@given(st.floats(0.0, 0.6), st.floats(0.7, 1.3))
def test_a_part_is_the_clip_at_those_times(start, end):
    motion = sample("walk")
    end = min(end, motion.duration)
    part = cropped(motion, start, end)
    times = start + torch.arange(part.num_frames, dtype=torch.float64) / motion.fps
    assert end - 1 / motion.fps - 1e-6 < float(times[-1]) <= end + 1e-5
    positions, rotations = poses_at(motion, times)
    assert_same(part, replace(part, root_positions=positions, local_rotations=rotations), 1e-6)
    assert part.loop == (motion.loop if part is motion else "none")
    assert part.fps == motion.fps and part.labels == motion.labels


def test_parts_at_frames_hold_those_frames(make_motion):
    motion = make_motion(frames=61, fps=30.0, loop="wrap")
    assert cropped(motion) is motion
    part = cropped(motion, 0.5, 1.5)
    torch.testing.assert_close(part.root_positions, motion.root_positions[15:46], rtol=0, atol=0)


@pytest.mark.parametrize(("start", "end"), [(-0.1, 0.3), (0.0, 0.7), (0.3, 0.3), (0.4, 0.2), (0.1, 0.11), (2.0, None)])
def test_a_part_outside_the_clip_is_refused(make_motion, start, end):
    with pytest.raises(MotionError, match="clip 'clip'"):
        cropped(make_motion(frames=12, fps=20.0), start, end)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 58), st.booleans())
def test_parts_put_together_are_the_clip(frame, align):
    motion = replace(sample("cartwheel"), loop="none")
    cut = frame / motion.fps
    whole = concatenated([cropped(motion, 0, cut), cropped(motion, cut)], align=align, name=motion.name)
    assert_same(whole, motion, 2e-5)
    assert whole.labels == motion.labels


def test_clips_go_on_where_the_one_before_ends(make_motion):
    first, second = make_motion("a", frames=41), make_motion("b", frames=31, seed=1)
    whole = concatenated([first, second], blend=0.5)
    assert whole.name == "a+b"
    assert whole.duration == pytest.approx(first.duration + second.duration - 0.5)
    steps = whole.root_positions.diff(dim=0).norm(dim=-1) * whole.fps
    assert float(steps.max()) < 2.0, "m/s; the clips themselves move at 1.1"
    turning = angle_between(whole.local_rotations[1:], whole.local_rotations[:-1]) * whole.fps
    own = max(
        float(angle_between(m.local_rotations[1:], m.local_rotations[:-1]).max()) * m.fps for m in (first, second)
    )
    assert float(turning.max()) < own + 3.0 * np.pi / 0.5


def test_a_repeated_loop_is_the_loop_put_together():
    motion = sample("walk")
    twice = repeated(motion, 2)
    assert twice.loop == "wrap" and twice.duration == pytest.approx(2 * motion.duration)
    together = concatenated([motion, motion])
    torch.testing.assert_close(twice.root_positions[:, :2], together.root_positions[:, :2], rtol=0, atol=1e-5)
    torch.testing.assert_close(Cycle.of(twice).step, Cycle.of(motion).power(torch.tensor(2.0))[1], rtol=0, atol=1e-5)


def test_what_does_not_fit_together_is_refused(make_motion):
    motion = make_motion()
    smpl = Motion.load(sample_path("smpl", "walk"))
    with pytest.raises(MotionError, match="different bodies"):
        concatenated([motion, smpl])
    with pytest.raises(MotionError, match="blend"):
        concatenated([motion, motion], blend=5.0)
    with pytest.raises(MotionError, match="at least one"):
        concatenated([])
    with pytest.raises(MotionError, match="does not wrap"):
        repeated(motion, 2)
