from __future__ import annotations

from dataclasses import replace

import mujoco
import pytest
import torch

from motionlib import Motion, MotionError, sample_path
from motionlib.datasets import Dataset, MotionFile
from motionlib.datasets.samp import with_goals
from motionlib.loops import close_loop
from motionlib.processing import (
    Limits,
    check_motion,
    concatenated,
    cropped,
    fix_heights,
    goal_states,
    ground_contacts,
    mirrored,
    repeated,
    smoothed_contacts,
)
from motionlib.processing.filters import self_penetration
from poselib import models
from poselib.rotations import quat_from_exp_map, quat_identity
from poselib.skeleton import Skeleton

AMP = models.skeleton("amp")


def sample(name: str) -> Motion:
    return fix_heights(Motion.load(sample_path("amp", name)), AMP, "lift")


def still(seconds: float = 2.0, fps: float = 30.0, **dofs: float) -> Motion:
    """Standing, with joint coordinates in rad."""
    frames = round(seconds * fps) + 1
    values = torch.zeros(frames, AMP.num_dofs)
    for name, value in dofs.items():
        values[:, AMP.dof_names.index(name)] = value
    return Motion(
        name="still",
        fps=fps,
        body_names=AMP.body_names,
        parents=AMP.parents,
        offsets=AMP.offsets,
        root_positions=torch.tensor([0.0, 0.0, 0.89]).repeat(frames, 1),
        local_rotations=AMP.local_rotations_from_dofs(values),
    )


def moved(motion: Motion, frames: slice, shift: tuple[float, float, float]) -> Motion:
    root = motion.root_positions.clone()
    root[frames] += torch.tensor(shift)
    return replace(motion, root_positions=root)


# --- filters ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["walk", "run", "backflip", "cartwheel", "crawl", "roll"])
def test_good_recordings_pass(name):
    assert check_motion(sample(name)) == ()


def test_a_clip_below_the_ground_is_found_with_its_time():
    (finding,) = check_motion(moved(still(), slice(30, 46), (0.0, 0.0, -0.2)))
    assert (finding.kind, finding.start, finding.end) == ("below_ground", 1.0, 1.5)
    assert finding.where in ("left_foot", "right_foot")
    lowest = float(still().world_poses(AMP)[0][0, :, 2].min()) - 0.2
    assert finding.value == pytest.approx(lowest, abs=1e-5) and finding.limit == -0.05
    assert str(finding).startswith(f"{finding.where} is below the ground at -0.")
    assert check_motion(moved(still(), slice(30, 46), (0.0, 0.0, -0.2)), limits=Limits(min_height=None)) == ()


def test_a_jump_between_two_frames_is_too_fast():
    (finding,) = check_motion(moved(still(), slice(30, None), (0.6, 0.0, 0.0)))
    assert finding.kind == "fast_body"
    assert finding.value == pytest.approx(0.6 * 30.0, rel=1e-4)
    assert (finding.start, finding.end) == pytest.approx((29 / 30, 1.0))


def test_a_joint_that_turns_over_is_too_fast():
    motion = still()
    local = motion.local_rotations.clone()
    local[30:, AMP.body_names.index("head")] = quat_from_exp_map(torch.tensor([0.0, 0.0, 1.5]))
    (finding,) = check_motion(replace(motion, local_rotations=local))
    assert (finding.kind, finding.where) == ("fast_joint", "head")
    assert finding.value == pytest.approx(1.5 * 30.0, rel=1e-4)


def test_too_long_in_the_air_is_found_and_a_jump_is_not():
    motion = moved(still(4.0), slice(30, 75), (0.0, 0.0, 0.4))
    (finding,) = check_motion(motion, limits=Limits(max_body_speed=None))
    assert finding.kind == "airborne" and finding.value == pytest.approx(1.5)
    assert (finding.start, finding.end) == pytest.approx((1.0, 74 / 30))
    short = moved(still(4.0), slice(30, 50), (0.0, 0.0, 0.4))
    assert check_motion(short, limits=Limits(max_body_speed=None)) == ()


def test_an_arm_in_the_body_is_self_penetration():
    through = still(1.0, right_elbow=-2.4, right_shoulder_x=0.5, right_shoulder_z=1.2, right_shoulder_y=0.3)
    findings = check_motion(through)
    assert findings and {f.kind for f in findings} == {"self_penetration"}
    assert any("torso" in f.where for f in findings)
    assert check_motion(through, limits=Limits(max_penetration=None)) == ()
    other = check_motion(mirrored(through))
    assert [f.value for f in other] == pytest.approx([f.value for f in findings], abs=1e-6)


def test_depths_are_those_of_two_spheres():
    joint, ball = '<joint name="{0}" axis="0 0 1"/>', '<geom type="sphere" size="{0}"/>'
    spec = mujoco.MjSpec.from_string(
        '<mujoco model="two"><worldbody><body name="a" pos="0 0 1"><freejoint name="root"/>'
        f'{ball.format(0.1)}<body name="m" pos="0 0.3 0">{joint.format("m")}{ball.format(0.02)}'
        f'<body name="b" pos="0 0.3 0">{joint.format("b")}{ball.format(0.1)}</body></body></body></worldbody></mujoco>'
    )
    skeleton = Skeleton.from_mjcf(spec)
    angles = torch.linspace(0.0, 3.1, 32)
    local = quat_identity(32, 3)
    local[:, 1] = quat_from_exp_map(torch.stack([0 * angles, 0 * angles, angles], dim=-1))
    motion = Motion(
        name="fold",
        fps=10.0,
        body_names=skeleton.body_names,
        parents=skeleton.parents,
        offsets=skeleton.offsets,
        root_positions=torch.ones(32, 3),
        local_rotations=local,
    )
    (finding,) = self_penetration(motion, skeleton, spec)
    gap = 0.6 * torch.cos(angles / 2) - 0.2
    assert finding.where == "a and b"
    assert finding.value == pytest.approx(-float(gap.min()), abs=1e-4)
    first = int((gap < -0.05).nonzero()[0])
    assert finding.start == pytest.approx(first / 10.0)


def test_a_strange_character_needs_its_skeleton(make_motion):
    motion = replace(make_motion(), body_names=tuple(f"b{i}" for i in range(15)))
    with pytest.raises(MotionError, match="pass its skeleton"):
        check_motion(motion)


# --- contacts --------------------------------------------------------------------------------------------------------


def test_feet_touch_the_ground_in_turn():
    motion = sample("walk")
    contacts = ground_contacts(motion, AMP, max_speed=0.5, points=models.collision_points("amp"), max_height=0.03)
    feet = AMP.body_indices(["left_foot", "right_foot"])
    share = contacts[:, feet].float().mean(dim=0)
    assert bool(((share > 0.3) & (share < 0.9)).all())
    assert not bool(contacts[:, AMP.body_names.index("head")].any())
    torch.testing.assert_close(contacts[0], contacts[-1])


def test_a_loops_contacts_are_those_within_its_repetition():
    motion = close_loop(sample("walk"), 0.25)
    once, thrice = (ground_contacts(m, AMP, max_speed=0.5) for m in (motion, repeated(motion, 3)))
    cycle = motion.num_frames - 1
    assert torch.equal(thrice[cycle : 2 * cycle + 1], once)


def test_smoothing_is_a_moving_average():
    contacts = torch.tensor([[0, 1, 1, 1, 0, 1, 1, 0, 0, 0]]).T.bool()
    smooth = smoothed_contacts(contacts, 3)[:, 0]
    torch.testing.assert_close(smooth, torch.tensor([0.5, 2 / 3, 1, 2 / 3, 2 / 3, 2 / 3, 2 / 3, 1 / 3, 0, 0]))
    assert torch.equal((smooth > 0.5)[1:7], torch.ones(6, dtype=torch.bool)), "no flicker"
    wrapped = smoothed_contacts(contacts, 3, wraps=True)[:, 0]
    assert float(wrapped[0]) == float(wrapped[-1]) == pytest.approx(1 / 3)
    with pytest.raises(MotionError, match="odd"):
        smoothed_contacts(contacts, 4)


# --- goals -----------------------------------------------------------------------------------------------------------


def visit(end: Motion) -> Motion:
    """Stands, walks for four cycles, and stays as in `end`."""
    return concatenated([still(2.0), repeated(sample("walk"), 4), end], blend=0.3)


def seated() -> Motion:
    legs = {"right_hip_y": -1.5, "left_hip_y": -1.5, "right_knee": 1.5, "left_knee": 1.5}
    return moved(still(3.0, **legs), slice(None), (0.0, 0.0, -0.35))


def lying() -> Motion:
    motion = moved(still(3.0), slice(None), (0.0, 0.0, -0.7))
    local = motion.local_rotations.clone()
    local[:, 0] = quat_from_exp_map(torch.tensor([0.0, -1.5, 0.0]))
    return replace(motion, local_rotations=local)


@pytest.mark.parametrize(("end", "posture"), [(seated, "sitting"), (lying, "lying"), (still, "standing")])
def test_the_goal_is_where_an_approach_ends(end, posture):
    motion = visit(end())
    (goal,) = goal_states(motion, AMP)
    assert goal.posture == posture
    arrival = 2.0 + 4 * sample("walk").duration - 2 * 0.3
    assert goal.start == pytest.approx(arrival, abs=0.5)
    assert goal.end == pytest.approx(motion.duration, abs=0.1)
    assert goal.approach == pytest.approx(4 * sample("walk").path_length, rel=0.1)
    assert goal.start < goal.middle < goal.end


def test_who_never_rests_or_never_walks_has_no_goal():
    assert goal_states(repeated(sample("walk"), 3), AMP) == ()
    assert goal_states(still(5.0), AMP) == ()
    assert goal_states(cropped(visit(seated()), 0.0, 4.0), AMP) == ()


def test_goals_of_a_data_set_count_from_the_start_of_the_file(tmp_path):
    visit(seated()).save(tmp_path / "chair.npz")
    sample("run").save(tmp_path / "run.npz")
    dataset = with_goals(Dataset((MotionFile(file="chair.npz"), MotionFile(file="run.npz")), tmp_path))
    goal = dataset.files[0].sub_motions[0].goal
    assert goal is not None and goal[1] - goal[0] > 2.0
    assert dataset.files[1].sub_motions[0].goal is None
    dataset.save(tmp_path / "set.yaml")
    assert Dataset.load(tmp_path / "set.yaml").files == dataset.files
