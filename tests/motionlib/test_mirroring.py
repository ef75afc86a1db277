from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from motionlib import Motion, MotionError, sample_names, sample_path
from motionlib.processing.mirroring import counterparts, mirrored
from poselib import models
from poselib.rotations import angle_between, quat_conjugate, quat_from_exp_map, quat_multiply
from poselib.skeleton import Skeleton

MIRROR = torch.tensor([1.0, -1.0, 1.0])
SYMMETRIC = {"amp": 1e-5, "h1": 1e-4, "h1_hands": 2e-3, "g1": 2e-3}
"""m, how far the two halves of a character are from mirror images of each other, at most"""


def moving(skeleton: Skeleton, seed: int = 0, frames: int = 9) -> Motion:
    """A random smooth motion of all joints."""
    generator = torch.Generator().manual_seed(seed)
    seconds = torch.arange(frames)[:, None] / 20.0
    speeds, starts = torch.randn(2, skeleton.num_dofs, generator=generator)
    turns, offset = torch.randn(2, 3, generator=generator)
    dofs = 0.4 * starts + seconds * speeds
    return Motion(
        name="moving",
        fps=20.0,
        body_names=skeleton.body_names,
        parents=skeleton.parents,
        offsets=skeleton.offsets,
        root_positions=torch.tensor([0.3, 0.7, 1.0]) + seconds * offset,
        local_rotations=skeleton.local_rotations_from_dofs(dofs, quat_from_exp_map(0.3 + seconds * turns)),
        labels=("turns left", "walks counterclockwise, upright"),
    )


@pytest.mark.parametrize("name", sorted(models.MODELS))
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 1000))
def test_flipped_twice_a_clip_is_itself(name, seed):
    motion = moving(models.skeleton(name), seed)
    flipped = mirrored(motion)
    again = mirrored(flipped)
    assert (again.name, again.labels, again.body_names) == (motion.name, motion.labels, motion.body_names)
    assert flipped.name == "moving_flipped"
    assert flipped.labels == ("turns right", "walks clockwise, upright")
    torch.testing.assert_close(again.root_positions, motion.root_positions, rtol=0, atol=0)
    assert float(angle_between(again.local_rotations, motion.local_rotations).max()) < 2e-6


@pytest.mark.parametrize("name", sorted(set(SYMMETRIC) & set(models.MODELS)))
def test_bodies_of_symmetric_characters_go_where_the_mirror_shows_them(name):
    skeleton = models.skeleton(name)
    motion = moving(skeleton)
    positions, _ = motion.world_poses(skeleton)
    flipped, _ = mirrored(motion).world_poses(skeleton)
    other = counterparts(skeleton.body_names)
    torch.testing.assert_close(flipped, (positions * MIRROR)[:, other], rtol=0, atol=SYMMETRIC[name])


@pytest.mark.parametrize("name", sorted({"smpl", "smplx", *SYMMETRIC} & set(models.MODELS)))
def test_local_rotations_are_mirrored_whatever_the_rest_rotations(name):
    skeleton = models.skeleton(name)
    motion = moving(skeleton)
    _, rotations = motion.world_poses(skeleton)
    _, flipped = mirrored(motion).world_poses(skeleton)
    # Turned away from the rest pose, in the world: what does not depend on how a link's frame lies in it.
    _, rest = replace(
        motion, local_rotations=torch.tensor([0.0, 0.0, 0.0, 1.0]).expand_as(motion.local_rotations).clone()
    ).world_poses(skeleton)
    turned, shown = (quat_multiply(r.double(), quat_conjugate(rest.double())) for r in (rotations, flipped))
    wanted = (turned * turned.new_tensor([-1.0, 1.0, -1.0, 1.0]))[:, counterparts(skeleton.body_names)]
    assert float(angle_between(shown, wanted).max()) < 1e-4


def test_hinges_that_roll_or_yaw_change_their_sign():
    for name in sorted({"h1", "g1"} & set(models.MODELS)):
        skeleton = models.skeleton(name)
        motion = moving(skeleton)
        dofs = skeleton.dofs_from_local_rotations(motion.local_rotations)
        flipped = skeleton.dofs_from_local_rotations(mirrored(motion).local_rotations)
        other = counterparts(skeleton.dof_names)
        signs = torch.tensor(
            [-1.0 if "roll" in n or "yaw" in n or n == "torso_joint" else 1.0 for n in skeleton.dof_names]
        )
        torch.testing.assert_close(flipped, (signs * dofs)[:, other], rtol=0, atol=2e-3)


@pytest.mark.parametrize("skeleton", ["amp", "smpl"])
def test_samples_keep_their_loop_and_their_length(skeleton):
    for name in sample_names(skeleton)[:3]:
        motion = Motion.load(sample_path(skeleton, name))
        flipped = mirrored(motion)
        assert (flipped.loop, flipped.fps, flipped.num_frames) == (motion.loop, motion.fps, motion.num_frames)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("L_Hip", "R_Hip"),
        ("left_shoulder_roll_link", "right_shoulder_roll_link"),
        ("lfemur", "rfemur"),
        ("lhipjoint", "rhipjoint"),
        ("LeftUpLeg", "RightUpLeg"),
        ("mixamorig:LeftHand", "mixamorig:RightHand"),
        ("LHipJoint", "RHipJoint"),
        ("hip_l", "hip_r"),
        ("thigh.L", "thigh.R"),
        ("Bip01 L Thigh", "Bip01 R Thigh"),
        ("FootLeft", "FootRight"),
        ("ArmL", "ArmR"),
    ],
)
def test_pairs_are_found_by_name(left, right):
    assert counterparts(["root", left, "lowerback", right, "upright"]) == [0, 3, 2, 1, 4]


def test_pairs_can_be_given_and_must_make_sense(make_motion):
    assert counterparts(["hip", "a", "b"], {"a": "b"}) == [0, 2, 1]
    with pytest.raises(MotionError, match=r"no body \['c'\]"):
        counterparts(["hip", "a", "b"], {"a": "c"})
    with pytest.raises(MotionError, match=r"'left_foot' has no counterpart.*'right_foot'"):
        counterparts(["pelvis", "left_foot"])
    motion = make_motion()
    tree = replace(
        motion,
        body_names=("root", "left_a", "left_b", "right_a", "right_b"),
        parents=(-1, 0, 1, 0, 0),
        offsets=motion.offsets[:5],
        local_rotations=motion.local_rotations[:, :5],
    )
    with pytest.raises(MotionError, match="hang on bodies that are none"):
        mirrored(tree)
    assert mirrored(replace(tree, parents=(-1, 0, 1, 0, 3))).num_frames == motion.num_frames


def test_captions_can_be_left_alone(make_motion):
    motion = replace(make_motion(), labels=("turns left",))
    assert mirrored(motion, flip_captions=False).labels == ("turns left",)
