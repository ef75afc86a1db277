"""Files of robots and of characters without names: MimicKit, BeyondMimic and its relatives, LocoMuJoCo."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from motionlib import Motion, MotionError, load, load_all, sample_path
from motionlib.exporters import beyondmimic, save
from poselib import models
from poselib.kinematics import forward_kinematics
from poselib.rotations import angle_between, exp_map_from_quat, quat_from_exp_map

GOLDEN = Path(__file__).parent / "golden"
ISAAC_LAB_START = ("left_hip_pitch_joint", "right_hip_pitch_joint", "waist_yaw_joint", "left_hip_roll_joint")
"""how the joints of G1 stand in BeyondMimic's files"""


def robot_clip(character: str, frames: int = 6, seed: int = 0) -> Motion:
    skeleton = models.skeleton(character)
    generator = torch.Generator().manual_seed(seed)
    dofs = 0.4 * torch.randn(frames, skeleton.num_dofs, generator=generator)
    turns = quat_from_exp_map(0.5 * torch.randn(frames, 3, generator=generator))
    local = skeleton.local_rotations_from_dofs(dofs, turns)
    root = torch.randn(frames, 3, generator=generator)
    return Motion("clip", 50.0, skeleton.body_names, skeleton.parents, skeleton.offsets, root, local)


def mujoco_positions(character: str, motion: Motion) -> np.ndarray:
    """Where MuJoCo puts the bodies of a character of hinges and balls."""
    model = models.character_model(character).spec().compile()
    skeleton = models.skeleton(character)
    data = mujoco.MjData(model)
    dofs = skeleton.dofs_from_local_rotations(motion.local_rotations).numpy()
    result = []
    for root, turn, angles in zip(motion.root_positions, motion.local_rotations[:, 0], dofs, strict=True):
        data.qpos[:7] = [*root, turn[3], *turn[:3]]
        for name, angle in zip(skeleton.dof_names, angles, strict=True):
            data.joint(name).qpos = angle
        mujoco.mj_kinematics(model, data)
        result.append([data.body(name).xpos.copy() for name in skeleton.body_names])
    return np.array(result)


# --- MimicKit --------------------------------------------------------------------------------------------------------


def mimickit(path: Path, motion: Motion, character: str, **changes: object) -> Path:
    skeleton = models.skeleton(character)
    parts = [
        motion.root_positions,
        exp_map_from_quat(motion.local_rotations[:, 0]),
        skeleton.dofs_from_local_rotations(motion.local_rotations),
    ]
    frames = torch.cat(parts, dim=-1).numpy()
    path.write_bytes(pickle.dumps({"loop_mode": 1, "fps": 30, "frames": frames} | changes))
    return path


@pytest.mark.parametrize("character", ["amp", "smpl"])
def test_mimickit_frames(tmp_path, character):
    motion = Motion.load(sample_path(character, "walk"))
    again = load(mimickit(tmp_path / "walk.pkl", motion, character))
    assert torch.equal(again.root_positions, motion.root_positions)
    assert float(angle_between(again.local_rotations, motion.local_rotations).max()) < 1e-5
    assert (again.loop, again.fps, again.body_names) == ("wrap", 30.0, motion.body_names)


def test_mimickit_robots_stand_where_mujoco_puts_them(tmp_path):
    clip = load(mimickit(tmp_path / "a.pkl", robot_clip("g1"), "g1", loop_mode=0))
    positions, _ = clip.world_poses(models.skeleton("g1"))
    assert np.abs(positions.numpy() - mujoco_positions("g1", clip)).max() < 1e-5
    assert clip.loop == "none"


def test_mimickit_rows_may_be_lists(tmp_path):
    motion = Motion.load(sample_path("amp", "walk"))
    rows = np.zeros((3, 34)).tolist()
    assert load(mimickit(tmp_path / "a.pkl", motion, "amp", frames=rows)).num_frames == 3
    for changes, message in [
        ({"loop_mode": 2}, "loop_mode must be 0"),
        ({"frames": [[0.0] * 18] * 3}, r"12 degrees of freedom, as none of the built-in .* amp \(15, 28\)"),
        ({"frames": [1.0, 2.0]}, "frames must be rows"),
        ({"frames": [[0.0] * 34, [0.0] * 33]}, "damaged MimicKit"),
    ]:
        with pytest.raises(MotionError, match=message):
            load(mimickit(tmp_path / "b.pkl", motion, "amp", **changes))
    assert load(mimickit(tmp_path / "c.pkl", robot_clip("h1_hands"), "h1_hands")).body_names[-1] == "right_elbow_link"
    hands = load(tmp_path / "c.pkl", skeleton="h1_hands")
    assert len(hands.body_names) == 22


# --- GMR -------------------------------------------------------------------------------------------------------------


def test_gmr_robots_stand_where_mujoco_puts_them(tmp_path):
    motion, skeleton, path = robot_clip("g1"), models.skeleton("g1"), tmp_path / "walk.pkl"
    content = {
        "fps": 30,
        "root_pos": motion.root_positions.numpy(),
        "root_rot": motion.local_rotations[:, 0].numpy(),
        "dof_pos": skeleton.dofs_from_local_rotations(motion.local_rotations).numpy(),
        "local_body_pos": None,
        "link_body_list": None,
    }
    path.write_bytes(pickle.dumps(content))
    again = load(path)
    assert (again.name, again.fps, again.source) == ("walk", 30.0, "GMR walk.pkl")
    assert torch.equal(again.root_positions, motion.root_positions)
    positions, _ = again.world_poses(skeleton)
    assert np.abs(positions.numpy() - mujoco_positions("g1", motion)).max() < 1e-5
    path.write_bytes(pickle.dumps(content | {"root_rot": np.zeros((5, 4))}))
    with pytest.raises(MotionError, match="do not fit together"):
        load(path)
    path.write_bytes(pickle.dumps(content | {"root_rot": np.zeros((6, 4))}))
    with pytest.raises(MotionError, match="unit quaternions"):
        load(path)


# --- BeyondMimic, mjlab, holosoma ------------------------------------------------------------------------------------


def without(path: Path, *names: str, **changes: np.ndarray) -> Path:
    """The file without some arrays, and with others changed."""
    with np.load(path) as archive:
        content = {k: v for k, v in archive.items() if k not in names} | changes
    np.savez(path, **content)
    return path


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("order", ["isaaclab", "mujoco"])
@pytest.mark.parametrize("character", ["g1", "h1"])
def test_orders_are_found_with_names_and_without(tmp_path, character, order, named):
    motion, path = robot_clip(character), tmp_path / "clip.npz"
    beyondmimic.write(motion, path, order=order)
    if not named:
        without(path, "joint_names", "body_names")
    again = load(path)
    assert (again.fps, again.body_names) == (50.0, motion.body_names)
    assert torch.equal(again.root_positions, motion.root_positions)
    assert float(angle_between(again.local_rotations, motion.local_rotations).max()) < 1e-5
    with np.load(path) as archive:
        stored = torch.from_numpy(archive["body_pos_w"])
    positions, _ = again.world_poses(models.skeleton(character))
    distances = (stored[:, :, None] - positions[:, None]).norm(dim=-1)
    assert float(distances.amin(dim=-1).max()) < 1e-5


def test_scalar_last_files_are_seen(tmp_path):
    motion, path = robot_clip("g1"), tmp_path / "clip.npz"
    beyondmimic.write(motion, path)
    with np.load(path) as archive:
        turned = np.roll(archive["body_quat_w"], -1, axis=-1)
    for extra in ({}, {"quaternion_order": np.array("xyzw")}):
        again = load(without(path, body_quat_w=turned, **extra))
        assert float(angle_between(again.local_rotations, motion.local_rotations).max()) < 1e-5
    with pytest.raises(MotionError, match="the joints do not lead to the stored bodies on 'g1'"):
        load(without(path, quaternion_order=np.array("wxyz")))


def test_written_files_have_the_keys_order_and_poses_of_beyondmimic(tmp_path):
    motion, path = robot_clip("g1"), tmp_path / "clip.npz"
    save(motion, path, "beyondmimic")
    with np.load(path, allow_pickle=False) as archive:
        content = dict(archive)
    shapes = {"joint_pos": (6, 29), "joint_vel": (6, 29), "body_pos_w": (6, 30, 3), "body_quat_w": (6, 30, 4)}
    shapes |= {"body_lin_vel_w": (6, 30, 3), "body_ang_vel_w": (6, 30, 3)}
    assert {k: content[k].shape for k in shapes} == shapes
    assert all(content[k].dtype == np.float32 for k in shapes)
    assert content["fps"].tolist() == [50]
    assert tuple(content["joint_names"][:4]) == ISAAC_LAB_START
    expected = mujoco_positions("g1", motion)
    names = list(models.skeleton("g1").body_names)
    expected = expected[:, [names.index(name) for name in content["body_names"]]]
    np.testing.assert_allclose(content["body_pos_w"], expected, atol=1e-5)
    scalar_first = motion.local_rotations[:, 0, [3, 0, 1, 2]].double()
    assert float(angle_between(torch.from_numpy(content["body_quat_w"][:, 0]).double(), scalar_first).max()) < 1e-6
    with pytest.raises(MotionError, match="order must be one of"):
        beyondmimic.write(motion, path, order="newton")


def test_holosoma_puts_the_root_first_and_has_more_bodies(tmp_path):
    motion, path = robot_clip("g1"), tmp_path / "clip.npz"
    beyondmimic.write(motion, path, order="mujoco")
    with np.load(path) as archive:
        root = [archive["body_pos_w"][:, 0], archive["body_quat_w"][:, 0]]
        frames = len(root[0])
        changes = {
            "joint_pos": np.concatenate([*root, archive["joint_pos"]], axis=1),
            "body_names": np.concatenate([["world"], archive["body_names"], ["largebox_link"]]),
            "body_pos_w": np.concatenate([np.zeros((frames, 1, 3)), archive["body_pos_w"], np.ones((frames, 1, 3))], 1),
            "body_quat_w": np.concatenate(
                [np.ones((frames, 1, 4)), archive["body_quat_w"], np.ones((frames, 1, 4))], 1
            ),
        }
    again = load(without(path, **changes))
    assert float(angle_between(again.local_rotations, motion.local_rotations).max()) < 1e-5
    assert torch.equal(again.root_positions, motion.root_positions)


def test_another_revision_of_the_robot_keeps_its_own_offsets(tmp_path):
    """Links a few millimeters elsewhere: the clip's own offsets lead to the stored positions."""
    skeleton = models.skeleton("g1")
    moved = replace(skeleton, offsets=skeleton.offsets + 0.004 * torch.randn(33, 3, generator=torch.Generator()))
    motion, path = robot_clip("g1"), tmp_path / "clip.npz"
    beyondmimic.write(motion, path, skeleton=moved)
    again = load(path)
    own = replace(skeleton, offsets=again.offsets)
    positions, _ = forward_kinematics(own, again.root_positions.double(), again.local_rotations.double())
    with np.load(path) as archive:
        columns = [skeleton.body_names.index(name) for name in archive["body_names"]]
        assert float((positions[:, columns] - torch.from_numpy(archive["body_pos_w"])).abs().max()) < 1e-5


def test_what_is_wrong_with_a_beyondmimic_file(tmp_path):
    motion, path = robot_clip("g1"), tmp_path / "clip.npz"
    for removed, changes, message in [
        (("fps",), {}, r"without \['fps'\]"),
        (("joint_names", "body_names"), {"joint_pos": np.zeros((6, 12))}, "12 degrees of freedom, as none"),
        (("body_names",), {"body_pos_w": np.zeros((6, 7, 3)), "body_quat_w": np.zeros((6, 7, 4))}, "7 bodies without"),
        ((), {"body_pos_w": np.zeros((6, 30, 3))}, "the joints do not lead"),
        ((), {"joint_pos": np.zeros((5, 29))}, "do not fit together"),
        ((), {"joint_names": np.array([f"j{i}" for i in range(29)])}, "missing"),
        ((), {"body_names": np.array([f"b{i}" for i in range(30)])}, "want 'pelvis' among them"),
    ]:
        beyondmimic.write(motion, path)
        with pytest.raises(MotionError, match=message):
            load(without(path, *removed, **changes))


# --- LocoMuJoCo ------------------------------------------------------------------------------------------------------


def test_locomujoco_walk_stands_where_its_joints_put_it():
    motion = load(GOLDEN / "locomujoco_h1.npz")
    assert (motion.fps, motion.num_frames, motion.body_names) == (500.0, 10, models.skeleton("h1").body_names)
    with np.load(GOLDEN / "locomujoco_h1.npz") as archive:
        content = dict(archive)
    skeleton = models.skeleton("h1")
    dofs = skeleton.dofs_from_local_rotations(motion.local_rotations)
    for ours, theirs in [("left_knee_joint", "knee_angle_l"), ("right_hip_pitch_joint", "hip_flexion_r")]:
        np.testing.assert_allclose(dofs[:, skeleton.dof_names.index(ours)], content[f"q_{theirs}"], atol=1e-6)
    tilt, roll, yaw = (content[f"q_pelvis_{name}"][:, None] for name in ("tilt", "list", "rotation"))
    turn = Rotation.from_rotvec([0, -1, 0] * tilt) * Rotation.from_rotvec([1, 0, 0] * roll)
    turn = turn * Rotation.from_rotvec([0, 0, 1] * yaw)
    assert float(angle_between(motion.local_rotations[:, 0].double(), torch.from_numpy(turn.as_quat())).max()) < 1e-6
    positions, _ = motion.world_poses(skeleton)
    assert np.abs(positions.numpy() - mujoco_positions("h1", motion)).max() < 1e-5
    velocity = np.gradient(positions[:, 0].double().numpy(), axis=0) * motion.fps
    theirs = np.stack([content[f"dq_pelvis_{axis}"] for axis in ("tx", "tz", "ty")], axis=-1)
    np.testing.assert_allclose(velocity[1:-1], theirs[1:-1], atol=0.05)


def test_a_whole_locomujoco_walk(shared_data):
    motion = load(shared_data / "unitree" / "h1_constspeed_locomujoco.npz")
    assert (motion.fps, motion.num_frames) == (500.0, 500)
    assert motion.path_length / motion.duration == pytest.approx(1.286, abs=0.01)
    positions, _ = motion.world_poses(models.skeleton("h1"))
    ankles = positions[:, models.skeleton("h1").body_indices(["left_ankle_link", "right_ankle_link"]), 2]
    assert 0.05 < float(ankles.amin()) < 0.08, "one foot is on the ground"
    assert float(ankles.amin(dim=1).max()) < 0.12, "one foot is always near the ground"


def test_other_robots_of_locomujoco_are_named_as_such(tmp_path):
    with np.load(GOLDEN / "locomujoco_h1.npz") as archive:
        content = dict(archive)
    lacking = {k: v for k, v in content.items() if "knee" not in k}
    np.savez(tmp_path / "a.npz", **lacking)
    with pytest.raises(MotionError, match=r"only the Unitree H1 is read; its joints .*knee_angle_l"):
        load(tmp_path / "a.npz")
    still = {k: v for k, v in content.items() if not k.startswith("dq_")}
    np.savez(tmp_path / "b.npz", **still)
    assert (load(tmp_path / "b.npz").fps, load(tmp_path / "b.npz", fps=100.0).fps) == (500.0, 100.0)
    np.savez(tmp_path / "c.npz", **(content | {"q_back_bkz": np.zeros(9)}))
    with pytest.raises(MotionError, match="all equally long"):
        load(tmp_path / "c.npz")


def trajectory(path: Path, motion: Motion, character: str, **changes: object) -> Path:
    skeleton = models.skeleton(character)
    order = torch.randperm(skeleton.num_dofs, generator=torch.Generator().manual_seed(2)).tolist()
    turn = motion.local_rotations[:, 0, [3, 0, 1, 2]]
    dofs = skeleton.dofs_from_local_rotations(motion.local_rotations)
    content = {
        "qpos": torch.cat([motion.root_positions, turn, dofs[:, order]], dim=1).numpy(),
        "joint_names": np.array(["root", *(skeleton.dof_names[d].removesuffix("_joint") for d in order)]),
        "jnt_type": np.array([0] + [3] * skeleton.num_dofs),
        "frequency": np.array(40.0),
        "split_points": np.array([0, 4, len(turn)]),
        "metadata": np.array(None, dtype=object),  # theirs are pickled; it is not looked at
    } | changes
    np.savez(path, **content)
    return path


@pytest.mark.parametrize("character", ["g1", "h1"])
def test_locomujoco_trajectories(tmp_path, character):
    motion = robot_clip(character, frames=7)
    path = trajectory(tmp_path / "walk.npz", motion, character)
    first, second = load_all(path)
    assert (first.name, first.fps, first.num_frames, second.num_frames) == ("walk-0", 40.0, 4, 3)
    assert torch.equal(torch.cat([first.root_positions, second.root_positions]), motion.root_positions)
    both = torch.cat([first.local_rotations, second.local_rotations])
    assert float(angle_between(both, motion.local_rotations).max()) < 1e-5
    with pytest.raises(MotionError, match="holds 2 clips"):
        load(path)
    assert load(trajectory(path, motion, character, split_points=np.array([0, 7]))).name == "walk"
    for change, message in [
        ({"split_points": np.array([0, 9])}, "do not divide 7 frames"),
        ({"jnt_type": np.array([3] * (models.skeleton(character).num_dofs + 1))}, "want one free joint"),
        (
            {"joint_names": np.array([f"j{i}" for i in range(models.skeleton(character).num_dofs + 1)])},
            "has the joints",
        ),
    ]:
        with pytest.raises(MotionError, match=message):
            load(trajectory(path, motion, character, **change))
