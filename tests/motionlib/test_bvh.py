from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from motionlib import Motion, MotionError
from motionlib.exporters import save
from motionlib.importers import bvh
from motionlib.importers.axes import WorldAxes, guess_axes
from motionlib.parallel_frames import with_parallel_frames
from poselib import models
from poselib.kinematics import forward_kinematics
from poselib.rotations import angle_between, quat_apply, quat_multiply

HIERARCHY = """HIERARCHY
ROOT Bip01 Pelvis
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
  JOINT Left Arm
  {
    OFFSET 30 40 0
    CHANNELS 3 Yrotation Zrotation Xrotation
    End Site
    {
      OFFSET 60 0 0
    }
  }
  JOINT Leg {
    OFFSET 0 -80 5
    CHANNELS 1 Xrotation
    End site {
      OFFSET 0 0 12 } }
}
"""
ROWS = [[10, 90, 20, 30, -20, 50, 5, 15, -25, 40], [11, 91, 22, 31, -21, 52, 6, 17, -20, 44]]


def text(
    hierarchy: str = HIERARCHY, rows: list[list[float]] = ROWS, frames: int | str = 2, frame_time: str = "0.0333"
) -> str:
    lines = [" ".join(map(str, row)) for row in rows]
    return hierarchy + f"MOTION\nFrames: {frames}\nFrame Time: {frame_time}\n" + "\n".join(lines) + "\n"


@pytest.fixture
def write(tmp_path):
    def write(content: str, name: str = "clip.bvh") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode())
        return path

    return write


def world(motion: Motion) -> tuple[torch.Tensor, torch.Tensor]:
    """Poses of a clip by its own offsets, `(T, B, 3)` and `(T, B, 4)`."""
    positions, rotations = [motion.root_positions], [motion.local_rotations[:, 0]]
    for body, parent in enumerate(motion.parents[1:], start=1):
        positions.append(positions[parent] + quat_apply(rotations[parent], motion.offsets[body]))
        rotations.append(quat_multiply(rotations[parent], motion.local_rotations[:, body]))
    return torch.stack(positions, 1), torch.stack(rotations, 1)


def test_channels_turn_in_their_order_in_every_joint(write):
    motion = bvh.read(write(text()), unit="cm", up="y", forward="z")
    assert motion.body_names == ("Bip01 Pelvis", "Left Arm", "Leg")
    assert motion.parents == (-1, 0, 0)
    assert motion.fps == 30
    cyclic = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]])  # x' = z, y' = x, z' = y
    row = ROWS[1]
    wanted = [("ZXY", row[3:6]), ("YZX", row[6:9]), ("XYZ", [row[9], 0, 0])]
    for body, (order, angles) in enumerate(wanted):
        matrix = cyclic @ Rotation.from_euler(order, angles, degrees=True).as_matrix() @ cyclic.T
        found = Rotation.from_quat(motion.local_rotations[1, body].numpy()).as_matrix()
        np.testing.assert_allclose(found, matrix, atol=1e-6)
    torch.testing.assert_close(motion.root_positions[1], torch.tensor([0.22, 0.11, 0.91]))
    torch.testing.assert_close(motion.offsets[1], torch.tensor([0.0, 0.3, 0.4]))


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.replace("\n", "\r\n"),
        lambda t: "\ufeff" + t,
        lambda t: t.replace("Frames: 2", "Frames: 7"),
        lambda t: t.replace("Frames: 2", "Frames: 1"),
        lambda t: t.replace("Frames: 2\n", ""),
        lambda t: t + "\n \n",
        lambda t: t.replace("OFFSET", "offset").replace("CHANNELS", "Channels").replace("rotation", "ROTATION"),
        lambda t: t.replace(" 30 -20", "\n30 -20").replace(" 31 -21", "\n31 -21"),
        lambda t: t.replace(" ", "\t").replace("Bip01\tPelvis", "Bip01 Pelvis").replace("Left\tArm", "Left Arm"),
        lambda t: t.replace("MOTION\n", "MOTION \n\n"),
    ],
)
def test_what_programs_write_differently_means_the_same(write, change):
    plain = bvh.read(write(text()))
    other = bvh.read(write(change(text()), "other.bvh"))
    assert other.body_names == plain.body_names
    assert other.fps == plain.fps
    assert torch.equal(other.root_positions, plain.root_positions)
    assert torch.equal(other.local_rotations, plain.local_rotations)


def test_end_sites_on_request(write):
    motion = bvh.read(write(text()), unit="cm", end_sites=True)
    assert motion.body_names == ("Bip01 Pelvis", "Left Arm", "Left Arm_end", "Leg", "Leg_end")
    assert motion.parents == (-1, 0, 1, 0, 3)
    torch.testing.assert_close(motion.offsets[4], torch.tensor([0.12, 0.0, 0.0]))


def test_names_that_come_twice_are_numbered(write):
    motion = bvh.read(write(text().replace("Leg", "Left Arm")))
    assert motion.body_names == ("Bip01 Pelvis", "Left Arm", "Left Arm_2")


def test_position_channels_of_joints_stand_for_the_offset(write):
    hierarchy = HIERARCHY.replace("CHANNELS 3 Yrotation", "CHANNELS 6 Xposition Yposition Zposition Yrotation")
    rows = [[*row[:6], 31, 41, 1, *row[6:]] for row in ROWS]
    motion = bvh.read(write(text(hierarchy, rows)), unit="cm", up="y", forward="z")
    torch.testing.assert_close(motion.offsets[1], torch.tensor([0.01, 0.31, 0.41]))
    rows[1][6] = 51.0
    with pytest.raises(MotionError, match=r"moves 0\.1 m off its mean"):
        bvh.read(write(text(hierarchy, rows)), unit="cm")
    motion = bvh.read(write(text(hierarchy, rows)), unit="cm", up="y", forward="z", sliding=0.2)
    torch.testing.assert_close(motion.offsets[1, 1], torch.tensor(0.41))


@pytest.mark.parametrize(
    ("token", "fps"),
    [
        (".0083333", 120),
        ("0.008333", 120),
        ("0.033333", 30),
        ("0.03", 30),
        ("0.04", 25),
        ("0.016667", 60),
        ("0.033367", 1 / 0.033367),
        ("0.0416667", 24),
        ("0.1", 10),
        ("2.0", 0.5),
        ("1e-2", 100),
    ],
)
def test_frame_times_are_rounded_rates(write, token, fps):
    assert bvh.read(write(text(frame_time=token))).fps == pytest.approx(fps, rel=1e-12)


@pytest.mark.parametrize(("unit", "scale"), [("m", 1.0), ("cm", 100.0), ("inch", 1 / 0.0254), ("mm", 1000.0)])
def test_the_unit_is_guessed_from_the_size(make_motion, unit, scale):
    motion = make_motion()
    offsets = motion.offsets * scale
    assert bvh.guess_unit(motion.parents, offsets) == unit


def test_units_by_name_and_number(write):
    path = write(text())
    heights = {unit: float(bvh.read(path, unit=unit, up="y").root_positions[0, 2]) for unit in ("m", "cmu", 0.5)}
    assert heights == pytest.approx({"m": 90.0, "cmu": 90 * 0.0254 / 0.45, 0.5: 45.0})
    with pytest.raises(MotionError, match="no unit 'feet'"):
        bvh.read(path, unit="feet")


def test_axes_are_seen_in_the_rest_pose():
    names = ["hips", "L_Foot", "R_Foot", "Head", "LeftHand", "RightHand"]
    ours = torch.tensor([[0, 0, 1], [0, 0.1, 0], [0, -0.1, 0], [0, 0, 1.7], [0, 0.8, 1.4], [0, -0.8, 1.4]]).double()
    for axes in (WorldAxes("y", "z"), WorldAxes("z", "x"), WorldAxes("z", "-y"), WorldAxes("x", "-z")):
        theirs = ours @ axes.matrix()
        assert guess_axes(names, theirs) == axes
        torch.testing.assert_close(axes.vectors(theirs), ours)
    assert guess_axes(["a", "b", "c", "d", "e", "f"], ours) == WorldAxes("y", "z")
    along_x = torch.tensor([[0.0, 0, 0], [0.9, 0, 0.1], [0.9, 0, -0.1], [0.7, 0, 0], [0.6, 0, 0.2], [0.6, 0, -0.2]])
    assert guess_axes(names, along_x.double()) == WorldAxes("y", "z"), "the pose says nothing"
    with pytest.raises(MotionError, match="must differ"):
        WorldAxes("y", "-y")


def test_z_up_files(write, make_motion, tmp_path):
    motion = bvh.read(write(text()), unit="cm", up="z")
    torch.testing.assert_close(motion.root_positions[0], torch.tensor([-0.9, 0.1, 0.2]))
    motion = bvh.read(write(text()), unit="cm", up="z", forward="x")
    torch.testing.assert_close(motion.root_positions[0], torch.tensor([0.1, 0.9, 0.2]))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t[:300], "no line MOTION"),
        (lambda t: t.replace("}\nMOTION", "MOTION"), "not closed"),
        (lambda t: t.replace("ROOT", "JOINT"), "out of place"),
        (lambda t: t.replace("MOTION", "ROOT b\n{\nOFFSET 0 0 0\n}\nMOTION"), "want one ROOT"),
        (lambda t: t.replace("OFFSET 30 40 0", "OFFSET 30 40"), "has 2 numbers, want 3"),
        (lambda t: t.replace("CHANNELS 3 Y", "CHANNELS 4 Y"), "has CHANNELS 4"),
        (lambda t: t.replace("CHANNELS 3 Yrotation", "CHANNELS 3 Wrotation"), "has CHANNELS 3 Wrotation"),
        (lambda t: t[:-6], "frame 1 does not have the 10 numbers"),
        (lambda t: t.replace(" 91 ", " "), "frame 1 does not have the 10 numbers"),
        (lambda t: t.replace(" 91 ", " x91 "), "no number"),
        (lambda t: t.replace(" 91 ", " nan "), "not finite"),
        (lambda t: t.replace("0.0333", "0"), "frame time is 0 s"),
        (lambda t: t.replace("Frame Time", "Time"), "Frame Time"),
        (lambda t: t[: t.rindex("\n11 ")], "at least 2 frames"),
    ],
)
def test_damaged_files_say_what_is_wrong(write, damage, message):
    with pytest.raises(MotionError, match=message):
        bvh.read(write(damage(text())))


def test_write_and_read_give_the_clip_back(make_motion, tmp_path):
    motion = make_motion("dance", fps=29.9989)
    save(motion, tmp_path / "dance.bvh")
    again = bvh.read(tmp_path / "dance.bvh")
    assert (again.name, again.body_names, again.parents) == (motion.name, motion.body_names, motion.parents)
    assert again.fps == pytest.approx(motion.fps, rel=1e-14)
    torch.testing.assert_close(again.offsets, motion.offsets, rtol=0, atol=1e-6)
    torch.testing.assert_close(again.root_positions, motion.root_positions, rtol=0, atol=1e-6)
    assert float(angle_between(again.local_rotations, motion.local_rotations).max()) < 1e-6


@pytest.mark.parametrize("name", sorted(models.MODELS))
def test_every_character_keeps_its_pose(name, tmp_path):
    skeleton = models.skeleton(name)
    generator = torch.Generator().manual_seed(1)
    rotations = torch.nn.functional.normalize(torch.randn(4, skeleton.num_bodies, 4, generator=generator), dim=-1)
    root = torch.randn(4, 3, generator=generator)
    motion = Motion(name, 30.0, skeleton.body_names, skeleton.parents, skeleton.offsets, root, rotations)
    save(motion, tmp_path / "clip.bvh")
    again = bvh.read(tmp_path / "clip.bvh")
    assert again.body_names == motion.body_names
    assert float(angle_between(again.local_rotations, motion.local_rotations).max()) < 1e-5
    positions, _ = world(with_parallel_frames(again))
    torch.testing.assert_close(positions, forward_kinematics(skeleton, root, rotations)[0], rtol=0, atol=1e-5)


def test_bodies_in_another_order_come_back_depth_first(tmp_path):
    quats = torch.nn.functional.normalize(torch.randn(3, 4, 4), dim=-1)
    offsets = torch.tensor([[0.0, 0, 1], [0, 0.5, 0], [0, -0.5, 0], [0, 0.6, 0]])
    motion = Motion("m", 20.0, ("a", "b", "c", "b1"), (-1, 0, 0, 1), offsets, torch.randn(3, 3), quats)
    save(motion, tmp_path / "m.bvh")
    again = bvh.read(tmp_path / "m.bvh", unit="cm")
    assert again.body_names == ("a", "b", "b1", "c")
    assert float(angle_between(again.local_rotations, quats[:, [0, 1, 3, 2]]).max()) < 1e-6


def test_names_that_the_format_cannot_hold(make_motion, tmp_path):
    motion = Motion("m", 20.0, ("a}",), (-1,), torch.zeros(1, 3), torch.zeros(2, 3), torch.eye(4)[3].repeat(2, 1, 1))
    with pytest.raises(MotionError, match="cannot stand"):
        save(motion, tmp_path / "m.bvh")
    assert list(tmp_path.iterdir()) == []


def test_a_recording_of_carnegie_mellon(shared_data, tmp_path):
    motion = bvh.read(shared_data / "bvh" / "cmu_01_01.bvh")
    assert motion.fps == 120
    assert (motion.num_frames, len(motion.body_names)) == (2752, 31)
    assert float(motion.root_positions[:, 2].median()) == pytest.approx(1.02, abs=0.15)
    positions, _ = world(motion)
    feet = positions[:, motion.body_names.index("LeftToeBase"), 2]
    assert -0.05 < float(feet.min()) < 0.1, "it stands on the floor"
    save(motion, tmp_path / "again.bvh")
    again = bvh.read(tmp_path / "again.bvh")
    assert float(angle_between(again.local_rotations, motion.local_rotations).max()) < 1e-5
    torch.testing.assert_close(again.root_positions, motion.root_positions, rtol=0, atol=1e-5)
    save(again, tmp_path / "third.bvh")
    third = bvh.read(tmp_path / "third.bvh")
    assert float(angle_between(third.local_rotations, again.local_rotations).max()) < 1e-6
