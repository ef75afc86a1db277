"""PoseLib files: a real one (see NOTICE), and the same in every other form they come in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from motionlib import Motion, MotionError, load, sample_path
from motionlib.importers.pickles import read_pickle
from poselib import models
from poselib.rotations import angle_between, quat_from_exp_map

GOLDEN = Path(__file__).parent / "golden" / "poselib_backflip.npy"


def stored(path: Path) -> dict:
    """The dictionary in a file."""
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        return read_pickle(file.read(), path)


def write(path: Path, content: dict) -> Path:
    np.save(path, np.array(content, dtype=object), allow_pickle=True)
    return path


def array(values: np.ndarray) -> dict:
    return {"arr": values, "context": {"dtype": values.dtype.name}}


def world(motion: Motion) -> tuple[np.ndarray, list[Rotation]]:
    """Positions and rotations of all bodies by scipy, on the clip's own tree, whose rest rotations are none."""
    positions, rotations = [motion.root_positions.double().numpy()], []
    for body, parent in enumerate(motion.parents):
        local = Rotation.from_quat(motion.local_rotations[:, body].double().numpy())
        rotations.append(local if parent < 0 else rotations[parent] * local)
        if parent >= 0:
            positions.append(positions[parent] + rotations[parent].apply(motion.offsets[body].double().numpy()))
    return np.stack(positions, axis=1), rotations


def filtered(velocities: np.ndarray) -> np.ndarray:
    return gaussian_filter1d(velocities, 2, axis=0, mode="nearest")


def assert_velocities(motion: Motion, content: dict, linear: float, angular: float) -> None:
    """The stored velocities follow from our poses by PoseLib's recipe."""
    positions, rotations = world(motion)
    ours = filtered(np.gradient(positions, axis=0) * motion.fps)
    assert np.abs(ours - content["global_velocity"]["arr"]).max() < linear
    steps = np.stack([(r[1:] * r[:-1].inv()).as_rotvec() for r in rotations], axis=1) * motion.fps
    ours = filtered(np.concatenate([steps, np.zeros_like(steps[:1])]))
    assert np.abs(ours - content["global_angular_velocity"]["arr"]).max() < angular


def test_a_real_file_and_its_velocities():
    motion, content = load(GOLDEN), stored(GOLDEN)
    assert (motion.fps, motion.num_frames, motion.duration) == (16.0, 29, 1.75)
    assert motion.body_names == models.skeleton("amp").body_names
    assert motion.parents == models.skeleton("amp").parents
    assert_velocities(motion, content, 5e-5, 1e-4)
    ours = Motion.load(sample_path("amp", "backflip"))
    assert float(torch.rad2deg(angle_between(ours.local_rotations, motion.local_rotations).max())) < 0.01
    assert motion.for_skeleton(models.skeleton("amp")).source == "PoseLib poselib_backflip.npy"


def test_other_real_files(shared_data):
    path = shared_data / "poselib_npy" / "amp_humanoid_walk.npy"
    motion = load(path)
    assert (motion.fps, motion.num_frames) == (60.0, 154)
    assert_velocities(motion, stored(path), 5e-5, 7e-3)


def test_numbers_are_those_of_the_file():
    """Positions and offsets to the last bit; quaternions, which the file has to five digits, made unit."""
    motion, content = load(GOLDEN), stored(GOLDEN)
    torch.testing.assert_close(
        motion.root_positions, torch.tensor(content["root_translation"]["arr"]).float(), rtol=0, atol=0
    )
    quaternions = torch.tensor(content["rotation"]["arr"]).float()
    assert float((motion.local_rotations.abs() - quaternions.abs()).abs().max()) < 1e-5
    torch.testing.assert_close(motion.offsets, torch.tensor(content["skeleton_tree"]["local_translation"]["arr"]))


@pytest.mark.parametrize("fps", [30, 29.9989, np.float64(29.9246), np.array(60.0), np.array(100)])
def test_rates_of_all_kinds(tmp_path, fps):
    motion = load(write(tmp_path / "a.npy", stored(GOLDEN) | {"fps": fps}))
    assert motion.fps == float(fps)


def test_world_rotations_become_local(tmp_path):
    motion, content = load(GOLDEN), stored(GOLDEN)
    _, rotations = world(motion)
    quaternions = np.stack([r.as_quat() for r in rotations], axis=1)
    content |= {"rotation": array(quaternions), "is_local": False}
    again = load(write(tmp_path / "a.npy", content))
    assert float(angle_between(again.local_rotations, motion.local_rotations).max()) < 2e-6


def test_json(tmp_path):
    motion, content = load(GOLDEN), stored(GOLDEN)

    def plain(value: object) -> object:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, np.ndarray):
            return {"__ndarray__": value.tolist(), "dtype": str(value.dtype), "shape": list(value.shape)}
        return value

    path = tmp_path / "clip.json"
    path.write_text(json.dumps(plain(content)))
    again = load(path)
    assert torch.equal(again.local_rotations, motion.local_rotations)
    assert torch.equal(again.root_positions, motion.root_positions)
    assert (again.fps, again.body_names, again.source) == (motion.fps, motion.body_names, "PoseLib clip.json")
    path.write_text(json.dumps(plain(content))[:-2000])
    with pytest.raises(MotionError, match="not valid JSON"):
        load(path)


def test_rest_rotations_of_robots_are_taken_off(tmp_path):
    """PoseLib's rotation of a link holds its rest rotation; ours does not. World poses stay."""
    skeleton = models.skeleton("g1")
    generator = torch.Generator().manual_seed(1)
    dofs = 0.3 * torch.randn(5, skeleton.num_dofs, generator=generator)
    local = skeleton.local_rotations_from_dofs(dofs, quat_from_exp_map(torch.randn(5, 3, generator=generator)))
    clip = Motion("g1", 30.0, skeleton.body_names, skeleton.parents, skeleton.offsets, torch.randn(5, 3), local)
    _, rotations = clip.world_poses(skeleton)
    content = {
        "rotation": array(rotations.double().numpy()),
        "root_translation": array(clip.root_positions.numpy()),
        "skeleton_tree": {
            "node_names": list(skeleton.body_names),
            "parent_indices": array(np.array(skeleton.parents)),
            "local_translation": array(skeleton.offsets.numpy()),
        },
        "is_local": False,
        "fps": 30,
        "__name__": "SkeletonMotion",
    }
    again = load(write(tmp_path / "a.npy", content))
    assert float(angle_between(again.local_rotations, clip.local_rotations).max()) < 1e-5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"__name__": "SkeletonState"}, "found a 'SkeletonState'"),
        ({"fps": None}, "damaged PoseLib"),
        ({"rotation": {"arr": np.ones((29, 15, 4))}}, "unit quaternions"),
        ({"rotation": {"arr": np.full((29, 15, 4), np.nan)}}, "unit quaternions"),
        ({"rotation": {"arr": np.ones((29, 14, 4))}}, "for 15 bodies"),
        ({"root_translation": {"arr": np.ones((28, 3))}}, "must have shape"),
        ({"skeleton_tree": {}}, "damaged PoseLib"),
    ],
)
def test_what_is_no_motion_says_why(tmp_path, change, message):
    path = write(tmp_path / "a.npy", stored(GOLDEN) | change)
    with pytest.raises(MotionError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)


def test_other_numpy_files_are_not_known(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 4)))
    with pytest.raises(MotionError, match="none of the known motion formats"):
        load(tmp_path / "a.npy")
    write(tmp_path / "b.npy", ["no", "dictionary"])
    with pytest.raises(MotionError, match="want a pickled SkeletonMotion, found list"):
        load(tmp_path / "b.npy")
