from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from motionlib import Motion, MotionError, sample_path
from motionlib.loops import Cycle, close_loop
from motionlib.synth import FIGURES, WalkStyle, synthesize_walk, walking_speeds
from motionlib.synth.curves import gait_curves, speed_range
from motionlib.synth.footsteps import Path as WalkPath
from poselib import models
from poselib.rotations import quat_apply, quat_apply_inverse

ROMS = {  # degrees, Schwartz et al., 2008, means: hip, knee, ankle
    "slow": (0.295, (-2.4, 34.3), (3.6, 55.2), (-13.6, 13.8)),
    "free": (0.43, (-5.8, 36.7), (4.0, 59.1), (-19.8, 11.8)),
    "fast": (0.57, (-8.0, 39.9), (4.1, 61.0), (-22.0, 8.9)),
}
NEUTRAL_HIP = 11.5  # degrees, published hip angle of an upright stance
CADENCES = {1.03: (86.1, 110.5), 1.42: (99.1, 124.3), 1.93: (118.4, 156.3)}  # steps/min, norms of 18 to 29 years


@cache
def walk(character: str, speed: float, turn_rate: float = 0.0, fps: float = 30.0) -> Motion:
    return synthesize_walk(character, speed, turn_rate, duration=2.0, fps=fps)


def sole_points(motion: Motion, character: str) -> Tensor:
    """Lowest points of the feet's geometry, `(T, P, 3)` m."""
    points, figure = models.collision_points(character), FIGURES[character]
    positions, rotations = motion.world_poses(models.skeleton(character))
    feet = [side.ankle[-1] for side in (figure.left, figure.right)] + [
        side.toe for side in (figure.left, figure.right) if side.toe
    ]
    rows = [i for i, b in enumerate(points.bodies) if b in models.skeleton(character).body_indices(feet)]
    bodies = torch.tensor(points.bodies)[rows]
    world = positions[:, bodies] + quat_apply(rotations[:, bodies], points.points[rows].expand(len(positions), -1, 3))
    return world - torch.tensor([0.0, 0.0, 1.0]) * points.radii[rows, None]


def leg_angles(motion: Motion, character: str, left: bool = True) -> list[np.ndarray]:
    """Hip, knee and ankle flexion in degrees between the bones, seen from the side of the root."""
    skeleton, figure = models.skeleton(character), FIGURES[character]
    side = figure.left if left else figure.right
    positions, rotations = motion.world_poses(skeleton)
    hip, knee, ankle = skeleton.body_indices([figure.flexing(side), side.knee, side.ankle[-1]])
    forward = torch.tensor([1.0, 0.0, 0.0]).expand(len(positions), 3)
    bones = positions[:, knee] - positions[:, hip], positions[:, ankle] - positions[:, knee]
    thigh, shank, foot = (
        quat_apply_inverse(rotations[:, 0], bone) for bone in (*bones, quat_apply(rotations[:, ankle], forward))
    )
    thigh, shank = (torch.atan2(bone[:, 0], -bone[:, 2]) for bone in (thigh, shank))
    foot = torch.atan2(foot[:, 2], foot[:, 0])
    return [np.degrees(angle.numpy()) for angle in (thigh, thigh - shank, foot - shank)]


def rms_at_best_phase(found: list[np.ndarray], recorded: list[np.ndarray]) -> list[float]:
    """Of each angle over one stride, in degrees, at the shift in time that suits all three best."""
    phase = np.linspace(0.0, 1.0, 100, endpoint=False)
    a, b = (
        np.array([np.interp(phase, np.linspace(0.0, 1.0, len(x)), x) for x in angles]) for angles in (found, recorded)
    )
    errors = [np.sqrt(np.mean((np.roll(a, shift, axis=1) - b) ** 2, axis=1)) for shift in range(100)]
    return list(min(errors, key=lambda each: float(each.sum())))


@pytest.mark.parametrize("turn_rate", [0.0, -0.6])
@pytest.mark.parametrize(
    ("character", "speed"),
    [("amp", 0.8), ("amp", 1.3), ("amp", 2.0), ("smpl", 0.8), ("smpl", 1.3), ("smpl", 2.0), ("g1", 0.8), ("g1", 1.6)],
)
def test_a_walk_keeps_its_speed_and_its_feet_stand(character: str, speed: float, turn_rate: float):
    motion = walk(character, speed, turn_rate)
    heading = turn_rate * motion.duration
    if not turn_rate:
        moved = motion.root_positions[-1, :2] - motion.root_positions[0, :2]
        assert moved.tolist() == pytest.approx([speed * motion.duration, 0.0], rel=1e-4, abs=1e-4)
    assert motion.path_length / motion.duration == pytest.approx(speed, rel=0.02)
    assert float(Cycle.of(motion).yaw) == pytest.approx(heading, abs=1e-4)

    lowest = models.collision_points(character).lowest(*motion.world_poses(models.skeleton(character)))
    assert float(lowest.min()) > -0.005
    assert float(lowest.amin(dim=-1).max()) < 0.005, "one foot is always on the ground"
    points = sole_points(motion, character)
    speeds = points.diff(dim=0)[..., :2].norm(dim=-1) * motion.fps
    touching = torch.maximum(points[1:, :, 2], points[:-1, :, 2]) < 0.005
    assert touching.any(dim=-1).all()
    assert float(speeds[touching].mean()) < 0.02


@pytest.mark.parametrize("character", sorted(set(FIGURES) - {"amp", "smpl", "g1"}))
def test_every_character_walks(character: str):
    motion = walk(character, 1.1, 0.2)
    lowest = models.collision_points(character).lowest(*motion.world_poses(models.skeleton(character)))
    assert float(lowest.min()) > -0.005
    assert motion.path_length / motion.duration == pytest.approx(1.1, rel=0.02)


@pytest.mark.parametrize("group", ROMS)
def test_the_curves_have_the_published_ranges(group: str):
    speed, *ranges = ROMS[group]
    angles = gait_curves(speed).at(torch.linspace(0, 1, 51))
    for name, (low, high) in zip(("hip_flexion", "knee_flexion", "ankle_dorsiflexion"), ranges, strict=True):
        found = torch.rad2deg(angles[name])
        assert float(found.min()) == pytest.approx(low, abs=0.8)
        assert float(found.max()) == pytest.approx(high, abs=0.8)
        assert float(found[0]) == pytest.approx(float(found[-1]), abs=1e-6)


@pytest.mark.parametrize("character", ["amp", "smpl"])
@pytest.mark.parametrize("group", ROMS)
def test_legs_move_as_far_as_people_s_do(character: str, group: str):
    """Foot contact changes the joint curves; what is left is within two standard deviations of walkers."""
    unit = walking_speeds(character)[0] / speed_range()[0]
    speed, *ranges = ROMS[group]
    angles = leg_angles(walk(character, speed * unit, fps=60.0), character)
    for found, (low, high), neutral in zip(angles, ranges, (NEUTRAL_HIP, 0.0, 0.0), strict=True):
        assert found.min() + neutral == pytest.approx(low, abs=13)
        assert found.max() + neutral == pytest.approx(high, abs=10)


def test_steps_are_as_frequent_as_adults_are():
    for speed, (low, high) in CADENCES.items():
        stride = synthesize_walk("amp", speed, duration=0.1, fps=100)
        assert low <= 120 / stride.duration <= high


def test_a_walk_wraps():
    motion = walk("amp", 1.2, 0.4)
    assert motion.loop == "wrap"
    torch.testing.assert_close(motion.local_rotations[0, 1:], motion.local_rotations[-1, 1:], atol=1e-5, rtol=0)
    position, rotation = Cycle.of(motion).apply(1, motion.root_positions[0], motion.local_rotations[0, 0])
    torch.testing.assert_close(position, motion.root_positions[-1], atol=1e-5, rtol=0)
    torch.testing.assert_close(rotation.abs(), motion.local_rotations[-1, 0].abs(), atol=1e-5, rtol=0)
    bent = close_loop(motion, 0.25)
    torch.testing.assert_close(bent.local_rotations, motion.local_rotations, atol=1e-5, rtol=0)


def test_joints_stay_within_their_limits():
    for character in ("amp", "g1", "h1"):
        skeleton = models.skeleton(character)
        dofs = skeleton.dofs_from_local_rotations(walk(character, 1.3).local_rotations)
        low, high = skeleton.dof_limits.unbind(-1)
        over = torch.maximum(low - dofs, dofs - high).amax(dim=0)
        assert float(over.max()) < 1e-3, skeleton.dof_names[int(over.argmax())]


def test_arms_swing_against_the_legs():
    for character, hand, foot in (("amp", "left_hand", "left_foot"), ("smpl", "L_Hand", "L_Ankle")):
        positions, _ = walk(character, 1.3).world_poses(models.skeleton(character))
        hands, feet = models.skeleton(character).body_indices([hand, foot])
        ahead = (positions - positions[:, :1])[..., 0].numpy()
        assert np.corrcoef(ahead[:, hands], ahead[:, feet])[0, 1] < -0.8


def test_left_and_right_turns_mirror_each_other():
    turns = walk("amp", 1.3, 0.6, 60.0), walk("amp", 1.3, -0.6, 60.0)
    for inner, outer in ((True, False), (False, True)):
        found, other = leg_angles(turns[0], "amp", inner), leg_angles(turns[1], "amp", outer)
        for a, b in zip(found, other, strict=True):  # frames differ by half a stride, which need not be whole
            assert np.sort(a) == pytest.approx(np.sort(b), abs=4.0), "as often as far"


def test_the_path_is_an_arc():
    path = WalkPath(1.5, 0.5)
    position, yaw = path.at(torch.tensor([0.0, math.pi / 0.5], dtype=torch.float64))
    torch.testing.assert_close(position[1], torch.tensor([0.0, 2 * 1.5 / 0.5], dtype=torch.float64))
    assert float(yaw[1]) == pytest.approx(math.pi)
    straight, _ = WalkPath(1.5, 0.0).at(torch.tensor([2.0]))
    assert straight.tolist() == [[3.0, 0.0]]
    seen = path.seen_from(torch.tensor([1.0]).double(), path.at(torch.tensor([1.0]).double())[0])
    torch.testing.assert_close(seen, torch.zeros(1, 2).double())


def test_a_seed_is_a_person():
    first, again, other = (synthesize_walk("amp", 1.2, duration=1, seed=seed) for seed in (3, 3, 4))
    torch.testing.assert_close(first.local_rotations, again.local_rotations)
    assert first.num_frames != other.num_frames or not torch.allclose(first.local_rotations, other.local_rotations)
    wide = synthesize_walk("amp", 1.2, duration=1, style=WalkStyle(step_width=0.3))
    feet = models.skeleton("amp").body_indices(["left_foot", "right_foot"])
    y = wide.world_poses(models.skeleton("amp"))[0][:, feet, 1]
    assert float(y[:, 0].median() - y[:, 1].median()) == pytest.approx(0.3, abs=0.03)


def test_what_cannot_be_walked_says_so():
    with pytest.raises(MotionError, match=r"no walk for character 'dog'; there is one for \['amp'"):
        synthesize_walk("dog", 1.0)
    with pytest.raises(MotionError, match=r"'amp' walks at 0\.\d+ to 2\.\d+ m/s, not at 4 m/s"):
        synthesize_walk("amp", 4.0)
    with pytest.raises(MotionError, match="not both"):
        synthesize_walk("amp", 1.0, style=WalkStyle(), seed=1)
    with pytest.raises(MotionError, match="duration and fps must be positive"):
        synthesize_walk("amp", 1.0, fps=0)
    with pytest.raises(MotionError, match=r"'amp' turns by at most 1\.\d+ rad/s at 1 m/s, not by 12 rad/s"):
        synthesize_walk("amp", 1.0, 12.0)


def test_the_walk_is_like_the_shipped_recording():
    """Held out: nothing was fitted to it. The recording's knees are livelier (3 to 78 degrees at 0.98 m/s)."""
    recorded = Motion.load(sample_path("amp", "walk"))
    speed = recorded.path_length / recorded.duration
    found = leg_angles(synthesize_walk("amp", speed, duration=0.1, fps=100), "amp")
    hip, knee, ankle = rms_at_best_phase(found, leg_angles(recorded, "amp"))
    assert hip < 12
    assert knee < 15
    assert ankle < 8


@pytest.mark.parametrize(
    ("character", "bounds"),
    [("amp", (6, 9, 7)), ("smpl", (7, 9, 9)), ("h1", (6, 14, 9))],  # H1's long feet keep its knees more bent
)
def test_the_walk_is_like_a_measured_stride(shared_data: Path, character: str, bounds: tuple[float, ...]):
    """Held out: one stride of an adult at 1.28 m/s (LocoMuJoCo)."""
    with np.load(shared_data / "unitree" / "h1_constspeed_locomujoco.npz") as data:
        recorded = [np.degrees(data[f"q_{name}_l"]) for name in ("hip_flexion", "knee_angle", "ankle_angle")]
        speed = float(data["q_pelvis_tx"][-1] - data["q_pelvis_tx"][0]) / 0.998
    found = leg_angles(synthesize_walk(character, speed, duration=0.1, fps=100), character)
    errors = rms_at_best_phase(found, [-recorded[0], recorded[1], -recorded[2]])
    assert all(error < bound for error, bound in zip(errors, bounds, strict=True)), errors
