"""Clips made up, and one small valid file of every format."""

from __future__ import annotations

import json
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from motionlib import Motion, MotionLib
from motionlib.exporters import save
from poselib import models
from poselib.rotations import exp_map_from_quat, matrix_from_quat, quat_from_exp_map, quat_from_yaw

SHARED_DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def shared_data() -> Path:
    """Real files; tests that need them are skipped without."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture
def make_motion():
    """A smooth random clip on the AMP skeleton; wrapped ones do not close."""

    def make(name: str = "clip", *, frames: int = 12, fps: float = 20.0, loop: str = "none", seed: int = 0) -> Motion:
        generator = torch.Generator().manual_seed(seed)
        skeleton = models.skeleton("amp")
        seconds = torch.arange(frames)[:, None, None] / fps
        speeds, starts = torch.randn(2, skeleton.num_bodies, 3, generator=generator)
        return Motion(
            name=name,
            fps=fps,
            body_names=skeleton.body_names,
            parents=skeleton.parents,
            offsets=skeleton.offsets,
            root_positions=torch.tensor([0.3, -0.2, 1.0]) + torch.tensor([1.0, 0.4, 0.0]) * seconds[:, 0],
            local_rotations=quat_from_exp_map(0.3 * starts + 0.8 * seconds * speeds),
            loop=loop,
            labels=("a test", "moves"),
            source="made up",
            license="none",
        )

    return make


# --- one small valid file of every format ----------------------------------------------------------------------------

FRAMES = 4


def clip_of(name: str) -> Motion:
    """A character that turns on the spot while every joint moves."""
    skeleton = models.skeleton(name)
    seconds = torch.arange(FRAMES)[:, None] / 30.0
    dofs = 0.5 * torch.sin(3.0 * seconds + torch.arange(skeleton.num_dofs))
    return Motion(
        name="clip",
        fps=30.0,
        body_names=skeleton.body_names,
        parents=skeleton.parents,
        offsets=skeleton.offsets,
        root_positions=torch.cat([seconds, 0 * seconds, 0 * seconds + 0.8], dim=1),
        local_rotations=skeleton.local_rotations_from_dofs(dofs, quat_from_yaw(seconds[:, 0])),
    )


def exported(name: str, character: str, file: str, format: str | None = None) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        save(clip_of(character), folder / file, format)
        return folder / file

    return write


def deepmimic(folder: Path) -> Path:
    row = [0.1, 0.0, 0.9, 0.2] + [0.0] * 40
    for column in (4, 8, 12, 16, 21, 25, 30, 35, 39):
        row[column] = 1.0
    path = folder / "clip.txt"
    path.write_text(json.dumps({"Loop": "wrap", "Frames": [row] * FRAMES}))
    return path


def skeleton_motion() -> dict:
    motion = clip_of("amp")

    def array(values: np.ndarray) -> dict:
        return {"arr": values, "context": {"dtype": str(values.dtype)}}

    tree = OrderedDict(
        node_names=list(motion.body_names),
        parent_indices=array(np.array(motion.parents)),
        local_translation=array(motion.offsets.numpy()),
    )
    return OrderedDict(
        rotation=array(motion.local_rotations.numpy()),
        root_translation=array(motion.root_positions.numpy()),
        skeleton_tree=tree,
        is_local=True,
        fps=np.array(30.0),
        __name__="SkeletonMotion",
    )


def poselib_npy(folder: Path) -> Path:
    np.save(folder / "clip.npy", np.array(skeleton_motion(), dtype=object), allow_pickle=True)
    return folder / "clip.npy"


def poselib_json(folder: Path) -> Path:
    def plain(value: object) -> object:
        if isinstance(value, np.ndarray):
            return {"__ndarray__": value.tolist(), "dtype": str(value.dtype), "shape": value.shape}
        raise TypeError(value)

    path = folder / "clip.json"
    path.write_text(json.dumps(skeleton_motion() | {"fps": 30}, default=plain))
    return path


def protomotions_package(folder: Path) -> Path:
    motion, skeleton = clip_of("smpl"), models.skeleton("smpl")
    positions, rotations = motion.world_poses(skeleton)
    content = {
        "gts": positions.repeat(2, 1, 1),
        "grs": rotations.repeat(2, 1, 1),
        "dps": skeleton.dofs_from_local_rotations(motion.local_rotations).repeat(2, 1),
        "length_starts": torch.tensor([0, FRAMES]),
        "motion_num_frames": torch.tensor([FRAMES, FRAMES]),
        "motion_dt": torch.tensor([1 / 30, 1 / 30]),
        "motion_files": ("a.motion", "b.motion"),
    }
    torch.save(content, folder / "clips.pt")
    return folder / "clips.pt"


def h1_hands(folder: Path) -> Path:
    motion, skeleton = clip_of("h1_hands"), models.skeleton("h1_hands")
    positions, rotations = motion.world_poses(skeleton)
    content = {
        "global_translation": positions,
        "global_rotation": rotations,
        "global_rotation_mat": matrix_from_quat(rotations),
        "dof_pos": skeleton.dofs_from_local_rotations(motion.local_rotations),
        "fps": 30,
    }
    torch.save(content, folder / "clip.npy")
    return folder / "clip.npy"


def amass(folder: Path) -> Path:
    poses = 0.1 * np.random.default_rng(0).standard_normal((FRAMES, 156))
    np.savez(
        folder / "clip.npz",
        poses=poses,
        trans=np.zeros((FRAMES, 3)),
        betas=np.zeros(16),
        gender="male",
        mocap_framerate=np.array(120.0),
    )
    return folder / "clip.npz"


def samp(folder: Path) -> Path:
    content = {
        "pose_est_fullposes": 0.1 * np.random.default_rng(0).standard_normal((FRAMES, 165)),
        "pose_est_trans": np.zeros((FRAMES, 3)),
        "mocap_framerate": 120.0,
        "shape_est_betas": np.zeros(10),
    }
    (folder / "clip.pkl").write_bytes(pickle.dumps(content, protocol=2))
    return folder / "clip.pkl"


def mimickit(folder: Path) -> Path:
    motion, skeleton = clip_of("g1"), models.skeleton("g1")
    root = exp_map_from_quat(motion.local_rotations[:, 0])
    frames = torch.cat([motion.root_positions, root, skeleton.dofs_from_local_rotations(motion.local_rotations)], dim=1)
    content = {"loop_mode": 1, "fps": 30, "frames": frames.numpy()}
    (folder / "clip.pkl").write_bytes(pickle.dumps(content))
    return folder / "clip.pkl"


def locomujoco(folder: Path) -> Path:
    from motionlib.importers.locomujoco import _JOINTS, _PELVIS

    angles = 0.1 * np.random.default_rng(0).standard_normal((100, FRAMES))
    names = [f"{kind}_{joint}" for kind in ("q", "dq") for joint in (*_PELVIS, *_JOINTS.values())]
    np.savez(folder / "clip.npz", **dict(zip(names, angles, strict=False)))
    return folder / "clip.npz"


def gmr(folder: Path) -> Path:
    motion, skeleton = clip_of("g1"), models.skeleton("g1")
    content = {
        "fps": 30,
        "root_pos": motion.root_positions.numpy(),
        "root_rot": motion.local_rotations[:, 0].numpy(),
        "dof_pos": skeleton.dofs_from_local_rotations(motion.local_rotations).numpy(),
    }
    (folder / "clip.pkl").write_bytes(pickle.dumps(content))
    return folder / "clip.pkl"


def locomujoco_trajectory(folder: Path) -> Path:
    motion, skeleton = clip_of("g1"), models.skeleton("g1")
    turn = motion.local_rotations[:, 0, [3, 0, 1, 2]]
    dofs = skeleton.dofs_from_local_rotations(motion.local_rotations)
    np.savez(
        folder / "clip.npz",
        qpos=torch.cat([motion.root_positions, turn, dofs], dim=1).numpy(),
        joint_names=np.array(["root", *skeleton.dof_names]),
        jnt_type=np.array([0] + [3] * skeleton.num_dofs),
        frequency=np.array(40.0),
        split_points=np.array([0, FRAMES]),
    )
    return folder / "clip.npz"


ASF = """:version 1.10
:units
  length 0.45
  angle deg
:root
  order TX TY TZ RX RY RZ
  axis XYZ
  position 0 0 0
  orientation 0 0 0
:bonedata
  begin
    id 1
    name leg
    direction 0 -1 0
    length 4
    axis 10 20 30 XYZ
    dof rx ry rz
  end
  begin
    id 2
    name foot
    direction 0 0 1
    length 1.5
    axis 0 0 40 XYZ
    dof rx rz
  end
:hierarchy
  begin
    root leg
    leg foot
  end
"""


def asf_amc(folder: Path) -> Path:
    (folder / "clip.asf").write_text(ASF)
    frames = [f"{i}\nroot 1 {i} 30 5 6 7\nleg 11 {i} 13\nfoot 15 15\n" for i in range(1, FRAMES + 1)]
    (folder / "clip.amc").write_text(":FULLY-SPECIFIED\n:DEGREES\n" + "".join(frames))
    return folder / "clip.amc"


def packed_library(folder: Path) -> Path:
    library = MotionLib([clip_of("amp"), clip_of("amp")], models.skeleton("amp"))
    library.save(folder / "clips.safetensors")
    return folder / "clips.safetensors"


SEEDS: dict[str, Callable[[Path], Path]] = {
    "clip": exported("clip", "amp", "clip.npz"),
    "packed_library": packed_library,
    "deepmimic": deepmimic,
    "poselib_npy": poselib_npy,
    "poselib_json": poselib_json,
    "protomotions": exported("protomotions", "smpl", "clip.motion"),
    "protomotions_package": protomotions_package,
    "h1_hands": h1_hands,
    "amass": amass,
    "samp": samp,
    "mimickit": mimickit,
    "gmr": gmr,
    "beyondmimic": exported("beyondmimic", "g1", "clip.npz", "beyondmimic"),
    "locomujoco": locomujoco,
    "locomujoco_trajectory": locomujoco_trajectory,
    "bvh": exported("bvh", "amp", "clip.bvh"),
    "asf_amc": asf_amc,
    "csv": exported("csv", "g1", "clip.csv"),
}
"""short name of an importer to what writes a file of its format into a folder"""


@pytest.fixture
def seeds() -> dict[str, Callable[[Path], Path]]:
    """Short name of an importer to what writes a file of its format, of clips of 4 frames, into a folder."""
    return SEEDS
