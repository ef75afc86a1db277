"""Retargeting with inverse kinematics, stances, and the numbers that judge both."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from motionlib import Motion, MotionError, load, sample_path
from motionlib.processing import (
    cleaned,
    cropped,
    quality,
    retargeted,
    retargeted_with_report,
    skeleton_of,
)
from motionlib.processing.stance import foot_points, stance_of
from poselib import models
from poselib.anatomy import anatomy_of
from poselib.rotations import angle_between


def walk() -> Motion:
    return Motion.load(sample_path("amp", "walk"))


def shifted(motion: Motion, x: float = 0.0, z: float = 0.0) -> Motion:
    """The clip moved, with `x` in m/s."""
    seconds = torch.arange(motion.num_frames) / motion.fps
    moved = motion.root_positions + torch.stack([x * seconds, 0 * seconds, z + 0 * seconds], dim=-1)
    return replace(motion, root_positions=moved)


def standing(frames: int = 30) -> Motion:
    """AMP stands at rest with its soles on the ground."""
    skeleton = models.skeleton("amp")
    local = torch.tensor([0.0, 0.0, 0.0, 1.0]).expand(frames, 15, 4)
    motion = Motion(
        "stand", 30.0, skeleton.body_names, skeleton.parents, skeleton.offsets, torch.zeros(frames, 3), local
    )
    lowest = models.collision_points("amp").lowest(*motion.world_poses(skeleton)).min()
    return shifted(motion, z=-float(lowest))


# --- quality ---------------------------------------------------------------------------------------------------------


def test_quality_of_standing_still_is_zero():
    found = quality(standing(), models.skeleton("amp"))
    assert found.stance_share == 1.0
    assert (found.foot_slide, found.jerk, found.limit_excess) == (0.0, 0.0, 0.0)
    assert found.penetration_max < 1e-3
    assert found.key_point_error is None


def test_quality_counts_what_was_put_in():
    skeleton = models.skeleton("amp")
    found = quality(shifted(standing(), x=0.2, z=-0.03), skeleton)
    assert found.foot_slide == pytest.approx(200.0, rel=1e-3)
    assert found.penetration_mean == pytest.approx(30.0, abs=0.01)
    assert found.penetration_max == pytest.approx(30.0, abs=0.01)
    bent = standing()
    local = bent.local_rotations.clone()
    local[:, skeleton.body_names.index("left_shin")] = torch.tensor([0.0, -0.1, 0.0, 0.995])
    found = quality(replace(bent, local_rotations=local), skeleton)
    assert found.limit_excess == pytest.approx(0.2, abs=2e-3), "the knee does not bend forward"


def test_jerk_is_the_third_derivative():
    motion = standing()
    seconds = torch.arange(motion.num_frames) / motion.fps
    root = motion.root_positions + torch.stack([seconds**3, 0 * seconds, 0 * seconds], dim=-1)
    found = quality(replace(motion, root_positions=root), models.skeleton("amp"))
    assert found.jerk == pytest.approx(6.0, rel=0.02)


def test_stances_alternate_in_a_walk_and_take_the_height_as_it_is():
    skeleton = models.skeleton("amp")
    anatomy, points = anatomy_of(skeleton), models.collision_points("amp")
    labels = stance_of(foot_points(walk(), anatomy, points), walk().fps)
    assert 0.4 < float(labels.float().mean()) < 0.8
    assert bool(labels.any(dim=-1).float().mean() > 0.8), "one foot at least"
    hovering = stance_of(foot_points(shifted(walk(), z=0.3), anatomy, points), walk().fps)
    assert torch.equal(hovering, labels)
    by_joints = stance_of(foot_points(walk(), anatomy, None), walk().fps)
    assert float((by_joints == labels).float().mean()) > 0.75, "without geometry the ankles decide"


def test_a_runner_stands_too():
    motion = Motion.load(sample_path("amp", "run"))
    feet = foot_points(motion, anatomy_of(models.skeleton("amp")), models.collision_points("amp"))
    share = stance_of(feet, motion.fps).float().mean(dim=0)
    assert bool(((share > 0.1) & (share < 0.4)).all()), share


# --- retargeting -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("character", ["smpl", "smplx", "g1", "h1"])
def test_a_walk_is_carried_over_cleanly(character: str):
    result, report = retargeted_with_report(walk(), character)
    skeleton = models.skeleton(character)
    assert result.body_names == skeleton.body_names
    assert result.labels == walk().labels
    assert report.result.stance_share == report.source.stance_share
    assert report.result.foot_slide < 10.0
    assert report.result.foot_slide < 0.3 * report.transferred.foot_slide
    assert report.result.penetration_max < 5.0
    assert report.result.limit_excess < 1e-5
    assert report.result.key_point_error is not None
    assert report.result.key_point_error < 20.0
    assert report.result.jerk < 1.5 * report.transferred.jerk
    legs = anatomy_of(skeleton).leg_length() / anatomy_of(models.skeleton("amp")).leg_length()
    assert result.path_length == pytest.approx(legs * walk().path_length, rel=0.1)


def test_a_loop_stays_a_loop():
    result = retargeted(walk(), "smpl")
    assert result.loop == "wrap"
    assert result.num_frames == walk().num_frames
    # The recording's own ends are 0.5 rad apart in one joint; those of the result meet.
    first, last = result.local_rotations[0, 1:], result.local_rotations[-1, 1:]
    assert float(angle_between(first, last).max()) < 0.03
    assert float((result.root_positions[0, :2] - walk().root_positions[0, :2]).norm()) < 0.1


def test_a_clip_is_cleaned_on_its_own_character():
    motion = shifted(cropped(walk(), 0.0, 0.8), z=-0.02)
    before = quality(motion, models.skeleton("amp"))
    after = quality(cleaned(motion, "amp"), models.skeleton("amp"))
    assert before.penetration_max > 15.0
    assert after.penetration_max < 5.0
    assert after.foot_slide < 0.3 * before.foot_slide
    with pytest.raises(MotionError, match="is not of 'smpl' but amp"):
        cleaned(motion, "smpl")


def test_there_and_back_with_inverse_kinematics_is_nearly_the_same():
    motion = cropped(walk(), 0.0, 0.8)
    back = retargeted(retargeted(motion, "smpl"), "amp")
    skeleton = models.skeleton("amp")
    gaps = (back.world_poses(skeleton)[0] - motion.world_poses(skeleton)[0]).norm(dim=-1)
    assert float(gaps.mean()) < 0.03
    assert float(angle_between(back.local_rotations, motion.local_rotations).mean()) < 0.06


def test_a_robots_motion_comes_back_to_a_person():
    motion = cropped(walk(), 0.0, 0.8)
    back = retargeted(retargeted(motion, "g1", ik=False), "amp", ik=False)
    assert float(angle_between(back.local_rotations, motion.local_rotations).mean()) < 0.15


def test_any_skeleton_with_a_person_in_it_will_do():
    """Unknown offsets and names: parts are found, or named."""
    motion = cropped(walk(), 0.0, 0.5)
    names = {"left_thigh": "LeftUpLeg", "left_shin": "LeftLeg", "left_foot": "LeftFoot", "right_thigh": "RightUpLeg"}
    names |= {"right_shin": "RightLeg", "right_foot": "RightFoot"}
    renamed = replace(motion, body_names=tuple(names.get(name, name) for name in motion.body_names))
    assert skeleton_of(renamed).joints[1].kind == "ball"
    a, b = retargeted(renamed, "smpl", ik=False), retargeted(motion, "smpl", ik=False)
    assert float(angle_between(a.local_rotations, b.local_rotations).max()) < 1e-3
    odd = replace(motion, body_names=tuple(f"x{i}" for i in range(15)))
    parts = {part: f"x{p.body}" for part, p in anatomy_of(models.skeleton("amp")).parts.items()}
    c, report = retargeted_with_report(odd, "smpl", ik=False, bodies=parts)
    assert report.result.foot_slide == report.transferred.foot_slide
    assert float(angle_between(c.local_rotations, b.local_rotations).max()) < 1e-3


def test_a_cmu_take_stands_on_the_ground(shared_data):
    take = load(shared_data / "bvh" / "cmu_01_01.bvh")
    _, report = retargeted_with_report(cropped(take, 1.0, 1.6), "amp")
    assert report.result.foot_slide < 20.0
    assert report.result.penetration_max < 5.0
    assert report.result.limit_excess < 1e-5
