from __future__ import annotations

from dataclasses import replace

import mujoco
import pytest
import torch

from motionlib import Motion, MotionError, sample_names, sample_path
from motionlib.processing import character_of, clip_frames, fix_heights, retargeted
from poselib import models
from poselib.ground import CollisionPoints
from poselib.kinematics import forward_kinematics
from poselib.rotations import angle_between
from poselib.skeleton import Skeleton


def lowest(motion: Motion, skeleton: str = "amp") -> torch.Tensor:
    return models.collision_points(skeleton).lowest(*motion.world_poses(models.skeleton(skeleton))).amin(dim=-1)


def sample(name: str, skeleton: str = "amp") -> Motion:
    return Motion.load(sample_path(skeleton, name))


def test_lowest_puts_the_lowest_point_on_the_ground():
    fixed = fix_heights(sample("run"), models.skeleton("amp"), "lowest")
    assert float(lowest(fixed).min()) == pytest.approx(0.0, abs=1e-5)
    moved = fixed.root_positions - sample("run").root_positions
    torch.testing.assert_close(moved, moved[:1].expand_as(moved))
    assert fix_heights(fixed, models.skeleton("amp"), "none") is fixed


@pytest.mark.parametrize("name", ["run", "cartwheel", "getup_facedown"])
@pytest.mark.parametrize("skeleton", ["amp", "smpl"])
def test_lifted_clips_neither_sink_nor_hover(name, skeleton):
    motion = sample(name, skeleton)
    fixed = fix_heights(motion, models.skeleton(skeleton), "lift")
    heights = lowest(fixed, skeleton)
    assert float(heights.min()) > -1e-4
    assert float(heights.quantile(0.25)) < 0.03
    steps = (fixed.root_positions - motion.root_positions)[:, 2].diff() * motion.fps
    assert float(steps.abs().max()) < 1.5, "m/s that the lift adds"


def test_a_clip_far_from_the_ground_is_moved_as_a_whole():
    motion = sample("backflip")
    near = fix_heights(motion, models.skeleton("amp"), "lift")
    for height in (-1.0, 0.4):
        moved = replace(motion, root_positions=motion.root_positions + torch.tensor([0.0, 0.0, height]))
        far = fix_heights(moved, models.skeleton("amp"), "lift")
        torch.testing.assert_close(far.root_positions, near.root_positions, rtol=0, atol=0.02)


def test_lift_continues_around_the_loop():
    motion = sample("run")
    fixed = fix_heights(motion, models.skeleton("amp"), "lift")
    raised = (fixed.root_positions - motion.root_positions)[:, 2]
    assert float(raised[0]) == pytest.approx(float(raised[-1]), abs=1e-6)


def test_geometry_that_is_not_known_is_asked_for(make_motion):
    model = """<mujoco model="stick"><worldbody><body name="a"><freejoint/><geom size="0.1"/>
      <body name="b" pos="0 0 -0.5"><joint name="bend" axis="0 1 0"/><geom size="0.1"/></body></body>
      </worldbody></mujoco>"""
    skeleton = Skeleton.from_mjcf(model)
    still = torch.tensor([0.0, 0.0, 0.0, 1.0]).expand(3, 2, 4)
    motion = Motion("stick", 10.0, ("a", "b"), (-1, 0), skeleton.offsets, torch.ones(3, 3), still)
    with pytest.raises(MotionError, match="collision geometry of skeleton 'stick' is not known"):
        clip_frames(motion, skeleton)
    points = CollisionPoints.from_spec(mujoco.MjSpec.from_string(model), skeleton)
    frames = clip_frames(motion, skeleton, points=points)
    assert float(frames.positions[0, 1, 2]) == pytest.approx(0.1, abs=1e-5)
    assert torch.allclose(clip_frames(motion, skeleton, height_fix="none").positions[0, 0], torch.ones(3))


def test_frames_are_consistent(make_motion):
    skeleton = models.skeleton("amp")
    frames = clip_frames(make_motion(loop="wrap", frames=20), skeleton)
    positions, rotations = forward_kinematics(skeleton, frames.positions[:, 0], frames.local_rotations)
    torch.testing.assert_close(positions, frames.positions, rtol=0, atol=1e-5)
    assert float(angle_between(rotations, frames.rotations).max()) < 2e-3
    assert ((frames.rotations[1:] * frames.rotations[:-1]).sum(-1) > 0).all()


@pytest.mark.parametrize("name", sample_names("smpl"))
def test_smpl_samples_stand_on_the_ground_where_their_originals_do(name):
    """Unfixed heights: the other body sinks nowhere, and while the original stands on its feet, so does it."""
    skeleton = models.skeleton("amp")
    ours, theirs = lowest(sample(name)), lowest(sample(name, "smpl"), "smpl")
    assert float(theirs.min()) > -1e-3
    bodies = models.collision_points("amp").lowest(*sample(name).world_poses(skeleton))
    feet = bodies[:, skeleton.body_indices(["left_foot", "right_foot"])].amin(dim=-1)
    standing = (feet <= ours) & (ours < ours.median() + 0.03)
    if standing.sum() > 10:
        assert float(theirs[standing].median()) < 0.01
        assert float((theirs - ours.clamp_min(0.0))[standing].max()) < 0.05


def test_there_and_back_is_the_same_motion():
    motion = sample("kick")
    smpl = retargeted(motion, "smpl", ik=False)
    assert character_of(smpl) == "smpl"
    assert smpl.labels == motion.labels
    assert smpl.license == motion.license
    back = retargeted(smpl, "amp", ik=False)
    assert character_of(back) == "amp"
    assert float(angle_between(back.local_rotations, motion.local_rotations).max()) < 0.02
    assert float((back.root_positions - motion.root_positions).norm(dim=-1).max()) < 0.02
    assert retargeted(motion, "amp") is motion


def test_unknown_bodies_cannot_be_retargeted(make_motion):
    motion = make_motion()
    renamed = replace(motion, body_names=tuple(f"x{i}" for i in range(15)))
    assert character_of(renamed) is None
    with pytest.raises(MotionError, match=r"found no bodies for \['left_hip'"):
        retargeted(renamed, "smpl")
    with pytest.raises(MotionError, match="no built-in character 'dog'"):
        retargeted(motion, "dog")
