from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from motionlib import Motion, MotionError, load, sample_path
from motionlib.importers import deepmimic
from motionlib.samples.build import CLIPS, build, main
from poselib.rotations import angle_between

GOLDEN = Path(__file__).parent / "golden"


class PoselibUnpickler(pickle.Unpickler):
    """Lets in the classes that PoseLib's files name, and no other."""

    def find_class(self, module: str, name: str):
        allowed = {"OrderedDict", "_reconstruct", "scalar", "ndarray", "dtype"}
        if module.split(".")[0] not in ("collections", "numpy") or name not in allowed:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def write(path: Path, frames: list[list[float]], **fields: object) -> Path:
    path.write_text(json.dumps({"Loop": "wrap", "Frames": frames, **fields}))
    return path


def frame(dt: float = 0.1, x: float = 0.0) -> list[float]:
    row = [dt, x, 0.9, 0.2] + [0.0] * 40
    for column in (4, 8, 12, 16, 21, 25, 30, 35, 39):
        row[column] = 1.0
    return row


def assert_poses_equal(root: np.ndarray, local: np.ndarray, motion: Motion, frames: object = slice(None)) -> None:
    assert np.abs(motion.root_positions[frames].numpy() - root).max() < 1e-4
    angles = angle_between(motion.local_rotations[frames], torch.tensor(local, dtype=torch.float32))
    assert float(torch.rad2deg(angles).max()) < 0.01


def test_shipped_backflip_equals_another_conversion_of_it():
    motion = Motion.load(sample_path("amp", "backflip"))
    with np.load(GOLDEN / "backflip_reference.npz") as golden:
        assert motion.body_names == tuple(golden["body_names"])
        assert motion.fps == golden["fps"]
        assert_poses_equal(golden["root_positions"], golden["local_rotations"], motion, golden["frames"])


def test_backflip_equals_the_poselib_file(shared_data):
    path = shared_data / "poselib_npy" / "amp_humanoid_backflip.npy"
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        reference = PoselibUnpickler(file).load().item()
    motion = load(shared_data / "deepmimic" / "humanoid3d_backflip.txt")
    assert list(motion.body_names) == reference["skeleton_tree"]["node_names"]
    assert motion.fps == pytest.approx(float(np.asarray(reference["fps"])))
    assert_poses_equal(reference["root_translation"]["arr"], reference["rotation"]["arr"], motion)


def test_all_clips_are_read(shared_data):
    motions = {name: load(shared_data / "deepmimic" / f"{stem}.txt") for name, (stem, _) in CLIPS.items()}
    assert {name for name, m in motions.items() if m.loop == "none"} == {
        "getup_facedown",
        "getup_faceup",
        "kick",
        "punch",
    }
    assert motions["walk"].duration == pytest.approx(1.267, abs=1e-3)
    assert motions["roll"].duration == pytest.approx(2.016, abs=1e-3)
    knees = motions["walk"].local_rotations[:, motions["walk"].body_names.index("right_shin"), 1]
    assert (knees > 0).all(), "knees bend backwards: positive about y"


def test_shipped_clips_are_what_the_builder_makes(shared_data, tmp_path):
    for skeleton, motion in build(shared_data / "deepmimic", ["walk"]):
        shipped = Motion.load(sample_path(skeleton, motion.name))
        torch.testing.assert_close(shipped.root_positions, motion.root_positions, rtol=0, atol=1e-5)
        assert float(angle_between(shipped.local_rotations, motion.local_rotations).max()) < 1e-3
    assert main([]) == 2
    assert main([str(tmp_path), str(tmp_path)]) == 1


def test_axes_signs_and_hinges(tmp_path):
    row = frame(x=1.5)
    row[4:8] = [np.cos(0.2), 0.0, np.sin(0.2), 0.0]  # 0.4 rad about their vertical
    row[20] = -0.7
    motion = load(write(tmp_path / "humanoid3d_test.txt", [row, row]))
    assert motion.name == "test"
    assert motion.loop == "wrap"
    assert motion.fps == pytest.approx(10.0)
    torch.testing.assert_close(motion.root_positions[0], torch.tensor([1.5, -0.2, 0.9]))
    torch.testing.assert_close(motion.local_rotations[0, 0], torch.tensor([0.0, 0.0, np.sin(0.2), np.cos(0.2)]).float())
    shin = motion.local_rotations[0, motion.body_names.index("right_shin")]
    torch.testing.assert_close(shin, torch.tensor([0.0, np.sin(0.35), 0.0, np.cos(0.35)]).float())


def test_uneven_frames_are_resampled(tmp_path):
    rows = [frame(0.1, 0.0), frame(0.2, 1.0), frame(0.1, 3.0), frame(0.0, 4.0)]
    motion = load(write(tmp_path / "uneven.txt", rows))
    assert motion.fps == pytest.approx(10.0)
    torch.testing.assert_close(motion.root_positions[:, 0], torch.arange(5.0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("BVH HIERARCHY", "none of the known motion formats"),
        ('{"Frames": [', "not valid JSON"),
        (json.dumps({"Frames": [frame(), frame()[:-1]]}), "frame 1 has 43 numbers, the humanoid's have 44"),
        (json.dumps({"Frames": [frame()]}), "at least 2 frames"),
        (json.dumps({"Frames": [frame(0.0), frame()]}), "dt 0.0 s"),
        (json.dumps({"Frames": [frame(), frame()], "Loop": "maybe"}), "must be"),
        (json.dumps({"Frames": [frame(), ["x"] * 44]}), "frame 1 holds something that is no number"),
    ],
)
def test_damaged_files_say_what_is_wrong(tmp_path, text, message):
    path = tmp_path / "clip.txt"
    path.write_text(text)
    with pytest.raises(MotionError, match=message):
        load(path)


def test_content_decides_not_the_suffix(tmp_path, make_motion):
    make_motion().save(tmp_path / "clip.npz")
    (tmp_path / "clip.npz").rename(tmp_path / "clip.dat")
    assert load(tmp_path / "clip.dat").name == "clip"
    assert deepmimic.recognizes(b'{\n"Loop": "wrap", "Frames": [[')
    with pytest.raises(MotionError, match="no motion file"):
        load(tmp_path / "missing")
