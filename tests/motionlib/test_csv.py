from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from motionlib import Motion, MotionError, load
from motionlib.exporters import exporter_of, save
from motionlib.importers import csv
from poselib import models
from poselib.rotations import angle_between, quat_from_exp_map, wxyz_from_xyzw

G1 = models.skeleton("g1")


def motion_of(name: str, *, yaw: float = 0.3, speed: float = 1.0, frames: int = 20) -> Motion:
    """A character that goes where it looks, swaying, with all joints moving."""
    skeleton = models.skeleton(name)
    generator = torch.Generator().manual_seed(3)
    seconds = torch.arange(frames)[:, None] / 30.0
    phases = 6.0 * torch.rand(skeleton.num_dofs, generator=generator)
    dofs = 0.8 * torch.sin(4.0 * seconds + phases)
    sway = torch.cat([0.2 * torch.sin(3 * seconds), 0.2 * torch.cos(4 * seconds), torch.zeros_like(seconds)], dim=1)
    turn = (Rotation.from_euler("z", yaw) * Rotation.from_rotvec(sway.numpy())).as_quat()
    forward = torch.tensor([np.cos(yaw), np.sin(yaw), 0.0]).float()
    return Motion(
        name="clip",
        fps=30.0,
        body_names=skeleton.body_names,
        parents=skeleton.parents,
        offsets=skeleton.offsets,
        root_positions=torch.tensor([0.0, 0.0, 0.79]) + speed * seconds * forward,
        local_rotations=skeleton.local_rotations_from_dofs(dofs, torch.tensor(turn).float()),
    )


def table(motion: Motion, root: str = "xyzw", *, degrees: bool = False, centimeters: bool = False) -> np.ndarray:
    """What a publisher would write, made by scipy."""
    dofs = G1.dofs_from_local_rotations(motion.local_rotations)
    quats = motion.local_rotations[:, 0]
    turn = {
        "xyzw": quats,
        "wxyz": wxyz_from_xyzw(quats),
        "euler": torch.tensor(Rotation.from_quat(quats.numpy()).as_euler("xyz", degrees=degrees)),
    }[root]
    positions = motion.root_positions * (100.0 if centimeters else 1.0)
    return torch.cat([positions, turn, torch.rad2deg(dofs) if degrees else dofs], dim=1).numpy()


def assert_same(found: Motion, wanted: Motion) -> None:
    assert found.body_names == wanted.body_names
    torch.testing.assert_close(found.root_positions, wanted.root_positions, rtol=0, atol=1e-6)
    assert float(angle_between(found.local_rotations, wanted.local_rotations).max()) < 1e-5


@pytest.fixture
def write(tmp_path):
    def write(rows: np.ndarray, header: str = "", delimiter: str = ",") -> Path:
        path = tmp_path / "clip.csv"
        np.savetxt(path, rows, delimiter=delimiter, header=header, comments="", fmt="%.9g")
        return path

    return write


@pytest.mark.parametrize("yaw", [0.0, 0.3, -1.6, 2.0, 3.1, np.pi])
@pytest.mark.parametrize("root", ["xyzw", "wxyz", "euler"])
@pytest.mark.parametrize("degrees", [False, True])
def test_every_publishers_table_is_the_same_motion(write, yaw, root, degrees):
    motion = motion_of("g1", yaw=yaw)
    assert_same(load(write(table(motion, root, degrees=degrees, centimeters=degrees))), motion)


def test_frame_columns_headers_and_delimiters(write):
    motion = motion_of("g1")
    rows = table(motion)
    numbered = np.column_stack([np.arange(len(rows)) + 1, rows])
    names = ",".join(G1.dof_names)
    assert_same(load(write(numbered)), motion)
    assert_same(load(write(rows, delimiter=" ")), motion)
    assert_same(load(write(rows, delimiter=";")), motion)
    assert_same(load(write(numbered, "Frame," + ",".join(f"c{i}" for i in range(36)))), motion)
    assert_same(load(write(rows, f"x,y,z,qx,qy,qz,qw,{names}")), motion)
    euler = np.column_stack([np.arange(len(rows)), table(motion, "euler", degrees=True, centimeters=True)])
    found = load(write(euler, "Frame,X,Y,Z,RX,RY,RZ," + names.replace("_joint", "_joint_dof")))
    assert_same(found, motion)
    assert found.fps == 120


def test_rates(write):
    rows = table(motion_of("g1"))
    assert load(write(rows)).fps == 30
    assert csv.read(write(rows), fps=50).fps == 50
    timed = np.column_stack([np.arange(len(rows)) * 0.02 + 3, rows])
    assert load(write(timed, ",".join(["time", *map(str, range(36))]))).fps == 50
    timed[:, 0] = 1.0
    with pytest.raises(MotionError, match="do not grow"):
        load(write(timed, ",".join(["time", *(f"c{i}" for i in range(36))])))


def test_joints_are_matched_by_the_headers_names(write):
    motion = motion_of("g1")
    rows = table(motion)
    shuffled = np.random.default_rng(0).permutation(29)
    names = [G1.dof_names[i] for i in shuffled]
    rows[:, 7:] = rows[:, 7 + shuffled]
    header = "x,y,z,qx,qy,qz,qw,"
    assert_same(load(write(rows, header + ",".join(names))), motion)
    with pytest.raises(MotionError, match=r"lacks the joints \['left_knee'\]"):
        load(write(rows, header + ",".join(names).replace("left_knee_joint", "left_knie")))


def test_the_headers_letters_decide_the_quaternion(write):
    motion = motion_of("g1", speed=-1.0)  # walks backwards facing away: by its path it would be read the other way
    motion.local_rotations[:, 0] = torch.tensor([0.0, 0.0, 1.0, 0.0])
    rows = table(motion, "wxyz")
    assert_same(load(write(rows, ",".join(["x,y,z,qw,qx,qy,qz", *G1.dof_names]))), motion)
    assert_same(csv.read(write(rows), root_rotation="wxyz"), motion)


def test_options_overrule_the_numbers(write):
    motion = motion_of("g1")
    rows = table(motion)
    rows[:, 2] += 6.0
    flying = csv.read(write(rows), unit="m")
    assert float(flying.root_positions[0, 2]) == pytest.approx(6.79)
    small = table(motion, degrees=True) * np.array([1.0] * 7 + [0.01] * 29)
    read = csv.read(write(small), angles="deg")
    wanted = G1.dofs_from_local_rotations(motion.local_rotations) * 0.01
    torch.testing.assert_close(G1.dofs_from_local_rotations(read.local_rotations), wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", sorted(models.MODELS))
def test_write_and_read_give_every_character_back(name, tmp_path):
    motion = motion_of(name)
    # Those with as many hinges, or just the bodies, of another character must be named.
    given = name if name in ("h1_hands", "amp36") else None
    skeleton = None if given is None else models.skeleton(given)
    exporter_of("clip.csv").write(motion, tmp_path / "clip.csv", skeleton=skeleton)
    again = load(tmp_path / "clip.csv", skeleton=given)
    assert again.body_names == motion.body_names
    assert torch.equal(again.root_positions, motion.root_positions)
    assert float(angle_between(again.local_rotations, motion.local_rotations).max()) < 1e-5


def test_numbers_are_written_to_the_last_bit(tmp_path):
    motion = motion_of("g1")
    save(motion, tmp_path / "clip.csv")
    rows = np.loadtxt(tmp_path / "clip.csv", delimiter=",").astype(np.float32)
    assert rows.shape == (20, 36)
    assert np.array_equal(rows[:, :3], motion.root_positions.numpy())
    assert np.array_equal(rows[:, 3:7], motion.local_rotations[:, 0].numpy())
    assert np.array_equal(rows[:, 7:], G1.dofs_from_local_rotations(motion.local_rotations).numpy())


def test_clips_of_unknown_bodies_need_a_skeleton(make_motion, tmp_path):
    quats = quat_from_exp_map(torch.zeros(2, 1, 3))
    motion = Motion("m", 20.0, ("ball",), (-1,), torch.zeros(1, 3), torch.zeros(2, 3), quats)
    with pytest.raises(MotionError, match="pass skeleton="):
        save(motion, tmp_path / "m.csv")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t.replace("\n", ",7\n", 1), "line 2 has 36 columns, the first has 37"),
        (lambda t: t[:-40], "line 20 has"),
        (lambda t: t.splitlines()[0] + "\n" + t.splitlines()[1][:-9] + "x" * 9, "no number"),
        (lambda t: t.splitlines()[0] + "\n" + t.splitlines()[1].rpartition(",")[0] + ",nan", "line 2 holds .* not fin"),
        (lambda t: t.splitlines()[0] + "\n", "at least 2 rows"),
        (lambda t: "\n".join(line + ",0.5" for line in t.splitlines()), "30 degrees of freedom"),
    ],
)
def test_damaged_files_say_what_is_wrong(tmp_path, damage, message):
    save(motion_of("g1"), tmp_path / "clip.csv")
    path = tmp_path / "bad.csv"
    path.write_text(damage((tmp_path / "clip.csv").read_text()))
    with pytest.raises(MotionError, match=message):
        csv.read(path)


def test_what_is_a_table(tmp_path):
    assert csv.recognizes(b"1,2,3,4,5,6,7,8\r\n1,2,3,4,5,6,7,-8e-3\r\n")
    assert csv.recognizes(b"a,b,c,d,e,f,g,h\n1,2,3,4,5,6,7,8")
    assert not csv.recognizes(b"1,2,3\n1,2,3\n")
    assert not csv.recognizes(b"a,b,c,d,e,f,g,h\na,b,c,d,e,f,g,h\n")
    assert not csv.recognizes(b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False}\n")


def test_a_published_table_is_the_published_motion(shared_data):
    motion = load(shared_data / "unitree" / "g1_walk.csv")
    reference = load(shared_data / "protomotions" / "g1_walk.motion")
    assert float(angle_between(motion.local_rotations, reference.local_rotations).max()) < 1e-5
    torch.testing.assert_close(motion.root_positions[:, :2], reference.root_positions[:, :2], rtol=0, atol=1e-5)
    assert motion.fps == reference.fps
