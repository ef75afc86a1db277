from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from motionlib import Motion, MotionError, load
from motionlib.importers import asf_amc, bvh
from poselib.rotations import angle_between, quat_apply, quat_multiply

ASF = """# a comment
:version 1.10
:name test
:units
  mass 1.0
  length 0.5
  angle deg
:root
  order TX TY TZ RX RY RZ
  axis ZYX
  position 0 0 0
  orientation 0 0 0
:bonedata
  begin
    id 1
    name leg
    direction 0 -2 0
    length 4
    axis 10 20 30 XYZ
    dof rx ry rz
    limits (-160.0 20.0)
           (-70.0 70.0)
           (-60.0 70.0)
  end
  begin
    id 2
    name foot
    direction 0 0 1
    length 1.5
    axis 0 0 40 ZXY
    dof rx rz
  end
  begin
    id 3
    name toe
    direction 0 0 1
    length 0.5
    axis 0 0 0 XYZ
  end
:hierarchy
  begin
    root leg
    leg foot
    foot toe
  end
"""
AMC = """#!OML:ASF somewhere
:FULLY-SPECIFIED
:DEGREES
1
root 10 20 30 5 6 7
leg 11 12 13
foot 14 15
2
root 10.5 20 30 5 6 7
foot 15 15
leg 12 12 13
"""


@pytest.fixture
def write(tmp_path):
    def write(amc: str = AMC, asf: str = ASF, name: str = "01_02.amc", skeleton: str = "01.asf") -> Path:
        (tmp_path / skeleton).write_text(asf)
        (tmp_path / name).write_text(amc)
        return tmp_path / name

    return write


def world(motion: Motion) -> tuple[torch.Tensor, torch.Tensor]:
    """Poses of a clip by its own offsets, `(T, B, 3)` and `(T, B, 4)`."""
    positions, rotations = [motion.root_positions], [motion.local_rotations[:, 0]]
    for body, parent in enumerate(motion.parents[1:], start=1):
        positions.append(positions[parent] + quat_apply(rotations[parent], motion.offsets[body]))
        rotations.append(quat_multiply(rotations[parent], motion.local_rotations[:, body]))
    return torch.stack(positions, 1), torch.stack(rotations, 1)


def test_angles_axes_and_units(write):
    motion = load(write())
    assert motion.body_names == ("root", "leg", "foot", "toe")
    assert motion.parents == (-1, 0, 1, 2)
    assert motion.fps == 120
    unit = 0.0254 / 0.5
    torch.testing.assert_close(motion.root_positions[0], unit * torch.tensor([30.0, 10.0, 20.0]))
    torch.testing.assert_close(
        motion.offsets, unit * torch.tensor([[0.0, 0, 0], [0, 0, 0], [0, 0, -4], [1.5, 0, 0]]), msg="parents' tips"
    )
    cyclic = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]])  # x' = z, y' = x, z' = y

    def turn(order: str, axis: list[float], angles: list[float]) -> np.ndarray:
        frame = Rotation.from_euler(order, axis, degrees=True).as_matrix()  # lower case: about fixed axes
        return cyclic @ frame @ Rotation.from_euler(order, angles, degrees=True).as_matrix() @ frame.T @ cyclic.T

    wanted = [
        turn("zyx", [0, 0, 0], [7, 6, 5]),
        turn("xyz", [10, 20, 30], [12, 12, 13]),
        turn("zxy", [40, 0, 0], [15, 15, 0]),
        np.eye(3),
    ]
    for body, matrix in enumerate(wanted):
        found = Rotation.from_quat(motion.local_rotations[1, body].numpy()).as_matrix()
        np.testing.assert_allclose(found, matrix, atol=1e-6)


def test_what_the_files_do_not_say_is_an_option(write):
    path = write()
    motion = asf_amc.read(path, fps=60, unit=0.01, up="z", forward="x", end_sites=True)
    assert motion.fps == 60
    assert motion.body_names[-1] == "toe_end"
    torch.testing.assert_close(motion.root_positions[0], torch.tensor([0.1, 0.2, 0.3]))
    torch.testing.assert_close(motion.offsets[4], torch.tensor([0.0, 0.0, 0.005]))


def test_radians_and_line_ends_mean_the_same(write):
    plain = load(write())
    radians = AMC.replace(":DEGREES", ":RADIANS")
    for line in ("5 6 7", "11 12 13", "12 12 13", "14 15", "15 15"):
        radians = radians.replace(
            f" {line}\n", " " + " ".join(str(np.deg2rad(float(n))) for n in line.split()) + "\r\n"
        )
    other = load(write(radians))
    torch.testing.assert_close(other.local_rotations, plain.local_rotations)


def test_the_skeleton_is_found_beside_the_motion(write, tmp_path):
    path = write()
    assert load(path).source == "ASF/AMC 01_02.amc on 01.asf"
    (tmp_path / "0.asf").write_text("damaged")
    (tmp_path / "02.asf").write_text("damaged")
    assert load(path).source.endswith("on 01.asf"), "the longest name that fits"
    path.rename(tmp_path / "walk.amc")
    with pytest.raises(MotionError, match="several that do not"):
        load(tmp_path / "walk.amc")
    assert asf_amc.read(tmp_path / "walk.amc", skeleton_file=tmp_path / "01.asf").name == "walk"
    for name in ("0.asf", "01.asf", "02.asf"):
        (tmp_path / name).unlink()
    with pytest.raises(MotionError, match="found none"):
        load(tmp_path / "walk.amc")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("foot 14 15\n", "", "left out before"),
        ("leg 12 12 13\n", "", "frame 2 lacks"),
        ("foot 14 15", "foot 14", "frame 1, 'foot' has 1 numbers, want 2"),
        ("foot 14 15", "foot 14 x", "no number"),
        ("foot 14 15", "hand 14 15", "no such bone"),
        ("foot 14 15", "foot 14 inf", "not finite"),
        ("leg 11 12 13", "foot 11 12", "comes twice"),
        ("2\nroot 10.5 20 30 5 6 7\nfoot 15 15\nleg 12 12 13\n", "", "at least 2 frames"),
        ("root 10", "2\nroot 10", "lacks|left out"),
    ],
)
def test_damaged_motion_says_what_is_wrong(write, old, new, message):
    with pytest.raises(MotionError, match=message):
        load(write(AMC.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("length 0.5\n  angle", "length 0\n  angle", "unit of length is 0"),
        ("dof rx rz", "dof rx tz", "only turns"),
        ("dof rx rz", "dof rx rx", "degrees of freedom"),
        ("40 ZXY", "40 ZXX", "axis order"),
        ("direction 0 0 1\n    length 1.5", "length 1.5", "direction of 'foot'"),
        ("name foot", "", "without a name"),
        ("leg foot", "leg hand", "'hand' without data"),
        ("foot toe", "foot leg", "'leg' again"),
        ("foot toe", "", r"does not reach the bones \['toe'\]"),
        ("order TX TY TZ", "order TX TY", "want TX, TY and TZ"),
    ],
)
def test_damaged_skeletons_say_what_is_wrong(write, old, new, message):
    assert old in ASF
    with pytest.raises(MotionError, match=message):
        load(write(asf=ASF.replace(old, new)))


def test_a_skeleton_alone_is_no_motion(write):
    with pytest.raises(MotionError, match=r"read the \.amc"):
        load(write().with_name("01.asf"))


def test_one_recording_in_two_formats_is_one_motion(shared_data):
    """BVH has the take as Carnegie Mellon's files do, after one frame of its rest pose and in four decimals.

    Its converter left out the bones "thorax" and "wrist" (offset 0 of what follows), so places above differ by those.
    """
    acclaim = load(shared_data / "asf_amc" / "cmu_01_01.amc")
    other = bvh.read(shared_data / "bvh" / "cmu_01_01.bvh")
    assert (acclaim.num_frames, other.num_frames) == (2751, 2752)
    other = replace(
        other, root_positions=other.root_positions[1:], local_rotations=other.local_rotations[1:]
    )  # the bodies follow each other in the same order under other names
    positions, rotations = world(acclaim)
    other_positions, other_rotations = world(other)
    assert float(angle_between(rotations, other_rotations).max()) < 1e-5
    below = slice(0, acclaim.body_names.index("thorax") + 1)
    torch.testing.assert_close(positions[:, below], other_positions[:, below], rtol=0, atol=1e-5)
    positions, _ = world(replace(acclaim, offsets=other.offsets))
    torch.testing.assert_close(positions, other_positions, rtol=0, atol=1e-5)
