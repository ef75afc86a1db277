"""AMASS and SAMP files, made up here (real ones may not be passed on), against the published conversion by scipy."""

from __future__ import annotations

import pickle
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from motionlib import Motion, MotionError, load
from poselib import models
from poselib.rotations import angle_between

BODY_PARENTS = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19]
"""of SMPL's first 22 joints, as its papers give them"""
SMPL_PARENTS = [*BODY_PARENTS, 20, 21]
FINGERS = [parent for wrist, k in ((20, 25), (21, 40)) for j in range(k, k + 15, 3) for parent in (wrist, j, j + 1)]
SMPLX_PARENTS = [*BODY_PARENTS, 15, 15, 15, *FINGERS]
OURS_FROM_SMPL = [0, 1, 4, 7, 10, 2, 5, 8, 11, 3, 6, 9, 12, 15, 13, 16, 18, 20, 22, 14, 17, 19, 21, 23]
"""ProtoMotions' table: which joint of SMPL each body is"""


def poses(numbers: int, frames: int = 7, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random rotation vectors, the root upright in a world with z up, and translations."""
    generator = np.random.default_rng(seed)
    vectors = generator.normal(0, 0.3, (frames, numbers // 3, 3))
    upright = Rotation.from_euler("x", 90, degrees=True)
    turned = Rotation.from_rotvec(generator.normal(0, 0.5, (frames, 3)))
    vectors[:, 0] = (turned * upright).as_rotvec()
    return vectors.reshape(frames, numbers), generator.normal(0, 1, (frames, 3))


def world_rotations(vectors: np.ndarray, parents: list[int]) -> list[Rotation]:
    """Of each joint of the body model, every one turned from the model's rest axes to ours."""
    rotations: list[Rotation] = []
    for joint, parent in enumerate(parents):
        local = Rotation.from_rotvec(vectors[:, 3 * joint : 3 * joint + 3])
        rotations.append(local if parent == -1 else rotations[parent] * local)
    to_model = Rotation.from_euler("xyz", [-90, -90, 0], degrees=True)
    return [r * to_model for r in rotations]


def amass(path: Path, numbers: int = 156, **changes: object) -> Path:
    vectors, translations = poses(numbers)
    rate = {"mocap_frame_rate": np.array(120.0)} if numbers == 165 else {"mocap_framerate": np.array(120.0)}
    content = {"poses": vectors, "trans": translations, "gender": np.array("male"), "betas": np.arange(16) / 10, **rate}
    np.savez(path, **{k: v for k, v in (content | changes).items() if v is not None})
    return path


def assert_rotations(motion: Motion, character: str, expected: dict[str, Rotation]) -> None:
    skeleton = models.skeleton(character)
    _, rotations = motion.world_poses(skeleton)
    for name, rotation in expected.items():
        ours = rotations[:, skeleton.body_names.index(name)].double()
        assert float(angle_between(ours, torch.from_numpy(rotation.as_quat())).max()) < 1e-5, name


def test_smpl_h(tmp_path):
    motion = load(amass(tmp_path / "walk_poses.npz"))
    vectors, translations = poses(156)
    skeleton = models.skeleton("smpl")
    assert (motion.name, motion.fps, motion.body_names) == ("walk", 120.0, skeleton.body_names)
    whole = np.concatenate([vectors[:, :66], np.zeros((len(vectors), 6))], axis=1)  # hands do not bend
    world = world_rotations(whole, SMPL_PARENTS)
    assert_rotations(motion, "smpl", {n: world[j] for n, j in zip(skeleton.body_names, OURS_FROM_SMPL, strict=True)})
    expected = translations + skeleton.offsets[0].numpy()
    np.testing.assert_allclose(motion.root_positions.numpy(), expected, atol=1e-6)
    assert "SMPL-H, male, betas 0.000 0.100 0.200" in motion.source
    assert "research" in motion.license


def test_upright_people_face_along_x_and_bend_their_left_knee_backwards(tmp_path):
    vectors = np.zeros((2, 156))
    vectors[:, :3] = [np.pi / 2, 0, 0]  # y up in the model, z up in the world
    vectors[:, 12] = 1.0  # left knee
    path = amass(tmp_path / "a.npz", poses=vectors, trans=np.zeros((2, 3)))
    skeleton = models.skeleton("smpl")
    positions, rotations = load(path).world_poses(skeleton)
    head, hip, ankle, toe = (positions[0, skeleton.body_names.index(n)] for n in ("Head", "L_Hip", "L_Ankle", "L_Toe"))
    assert head[2] > 0.3
    left = Rotation.from_quat(rotations[0, 0].numpy()).apply([0, 1, 0])
    np.testing.assert_allclose(left, [1, 0, 0], atol=1e-6)  # the model's x, which AMASS keeps as the world's
    forward = Rotation.from_quat(rotations[0, 0].numpy()).apply([1, 0, 0])
    assert (ankle - hip).numpy() @ forward < -0.1
    assert toe[2] < ankle[2]


def test_smpl_x(tmp_path):
    motion = load(amass(tmp_path / "walk_stageii.npz", 165))
    vectors, translations = poses(165)
    world = world_rotations(vectors, SMPLX_PARENTS)
    skeleton = models.skeleton("smplx")
    expected = {
        n: world[OURS_FROM_SMPL[b]] for b, n in enumerate(models.skeleton("smpl").body_names) if "Hand" not in n
    }
    fingers = [f"{f}{j}" for f in ("Index", "Middle", "Pinky", "Ring", "Thumb") for j in (1, 2, 3)]
    expected |= {f"{s}_{f}": world[25 + 15 * k + i] for k, s in enumerate("LR") for i, f in enumerate(fingers)}
    assert set(expected) == set(skeleton.body_names)
    assert_rotations(motion, "smplx", expected)
    assert (motion.name, motion.fps) == ("walk", 120.0)
    np.testing.assert_allclose(motion.root_positions.numpy(), translations + skeleton.offsets[0].numpy(), atol=1e-6)


def test_smpl_with_hands_as_two_bodies(tmp_path):
    motion = load(amass(tmp_path / "a.npz", 72))
    world = world_rotations(poses(72)[0], SMPL_PARENTS)
    assert_rotations(motion, "smpl", {"L_Hand": world[22], "R_Hand": world[23]})


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"poses": None, "trans": None}, {}, "no motion, .* missing; such AMASS files hold only the shape of a body"),
        ({"poses": np.zeros((7, 66))}, {}, "SMPL-H has 156, SMPL-X has 165 numbers"),
        ({"trans": np.zeros((6, 3))}, {}, "do not|want"),
        ({"mocap_framerate": None}, {}, "without mocap_frame_rate or mocap_framerate; pass fps="),
        ({"poses": np.full((7, 156), np.nan)}, {}, "not finite"),
        ({}, {"skeleton": "smplx"}, "poses are of SMPL-H \\('smpl'\\), not of 'smplx'"),
    ],
)
def test_what_is_wrong_with_an_amass_file(tmp_path, changes, options, message):
    path = amass(tmp_path / "a.npz", **changes)
    with pytest.raises(MotionError, match=message) as caught:
        load(path, **options)
    assert str(path) in str(caught.value)


def test_rate_can_be_given(tmp_path):
    assert load(amass(tmp_path / "a.npz", mocap_framerate=None), fps=60.0).fps == 60.0
    assert load(amass(tmp_path / "b.npz", gender=np.array(b"female"))).source.count("female") == 1


def samp(path: Path, **changes: object) -> Path:
    vectors, translations = poses(165)
    content = {
        "pose_est_fullposes": vectors,
        "pose_est_trans": translations,
        "shape_est_betas": np.zeros(10),
        "mocap_framerate": 120.0,
        "ps": {"gender": "male"},
    } | changes
    data = pickle.dumps({k: v for k, v in content.items() if v is not None}, protocol=2)  # as Python 2 wrote it
    path.write_bytes(data.replace(b"cnumpy._core.multiarray", b"cnumpy.core.multiarray"))
    return path


def test_samp_is_smpl_x(tmp_path):
    ours, amass_clip = load(samp(tmp_path / "chair_stageII.pkl")), load(amass(tmp_path / "a.npz", 165))
    assert torch.equal(ours.local_rotations, amass_clip.local_rotations)
    assert torch.equal(ours.root_positions, amass_clip.root_positions)
    assert (ours.name, ours.fps) == ("chair", 120.0)
    with pytest.raises(MotionError, match=r"SAMP .pkl without \['mocap_framerate'\]"):
        load(samp(tmp_path / "b.pkl", mocap_framerate=None))


def test_one_clip_is_converted_in_a_moment(tmp_path):
    """5 s at 120 Hz: the goal is 0.3 s; here it only must not be slow beyond any doubt."""
    vectors, translations = poses(165, frames=600)
    path = amass(tmp_path / "a.npz", 165, poses=vectors, trans=translations)
    load(path)
    start = time.perf_counter()
    load(path)
    assert time.perf_counter() - start < 3.0
