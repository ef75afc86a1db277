"""Damaged files of every format: each gives a clip or a `MotionError`, soon, and without asking for much memory.

`pytest -m slow tests/motionlib/test_fuzz.py` tries 10,000 of them.
"""

from __future__ import annotations

import io
import json
import pickle
import re
import resource
import signal
import time
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from motionlib import Motion, MotionError, MotionLib
from motionlib.exporters import save
from motionlib.importers import IMPORTERS, importer_of, load_all
from poselib import models
from poselib.rotations import exp_map_from_quat, matrix_from_quat, quat_from_yaw

SECONDS = 5.0
MEMORY = 512 * 2**20
"""bytes that reading a file of some kilobytes may take beyond what the process has"""
FRAMES = 4


# --- one small valid file of every format ----------------------------------------------------------------------------


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


# --- damage ----------------------------------------------------------------------------------------------------------

HOSTILE = b"nan inf -inf 1e308 -1e308 1e-320 -1 0 99999999999 4294967296 2147483647 1e9 x {} [] , \n".split(b" ")
NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
WORD = re.compile(rb"[A-Za-z_]{3,}")


def span(random: Random, data: bytes, longest: int = 400) -> tuple[int, int]:
    start = random.randrange(len(data) + 1)
    return start, min(len(data), start + random.randrange(1, longest))


def flip_bits(random: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 2, 8, 64)) if data else 0):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def truncate(random: Random, data: bytes) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def delete(random: Random, data: bytes) -> bytes:
    start, end = span(random, data)
    return data[:start] + data[end:]


def duplicate(random: Random, data: bytes) -> bytes:
    start, end = span(random, data)
    return data[:end] + data[start:end] * random.choice((1, 1, 2, 50)) + data[end:]


def overwrite(random: Random, data: bytes) -> bytes:
    start, end = span(random, data, 40)
    fill = random.choice((b"\0", b"\xff", b"\x7f", bytes([random.randrange(256)])))
    return data[:start] + fill * (end - start) + data[end:]


def replace_tokens(random: Random, data: bytes, pattern: re.Pattern, new: Callable[[bytes], bytes]) -> bytes:
    found = list(pattern.finditer(data))
    for match in sorted(random.sample(found, min(len(found), random.choice((1, 1, 3)))), key=lambda m: -m.start()):
        data = data[: match.start()] + new(match[0]) + data[match.end() :]
    return data


def replace_numbers(random: Random, data: bytes) -> bytes:
    return replace_tokens(random, data, NUMBER, lambda _: random.choice(HOSTILE))


def rename(random: Random, data: bytes) -> bytes:
    def other(word: bytes) -> bytes:  # as long as before, so that files that count characters stay readable
        return random.choice((word[::-1], word.swapcase(), b"x" * len(word), word[:-1] + b"q"))

    return replace_tokens(random, data, WORD, other)


PLAIN = (flip_bits, truncate, delete, duplicate, overwrite, replace_numbers, rename)


def repack(random: Random, data: bytes) -> bytes:
    """Damage what is in an archive and pack it again, so that its checksums are right."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    target = random.randrange(len(members))
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as archive:
        for index, (info, content) in enumerate(members):
            name = info.filename
            if index == target:
                damage = random.choice((*PLAIN, None, rename, replace_numbers))
                if damage is None and random.random() < 0.5:
                    continue
                if damage is None:
                    name = rename(random, name.encode()).decode(errors="replace")
                else:
                    content = damage(random, content)
            archive.writestr(name, content, compress_type=info.compress_type)
    return output.getvalue()


def damaged(random: Random, data: bytes) -> bytes:
    archive = data.startswith(b"PK\x03\x04")
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        if archive and random.random() < 0.7:
            try:
                data = repack(random, data)
                continue
            except Exception:  # damaged before
                pass
        data = random.choice(PLAIN)(random, data)
    return data


# --- the test --------------------------------------------------------------------------------------------------------


class Hang(BaseException):
    """Not an `Exception`, so that no reader takes it for damage."""


@contextmanager
def limits() -> Iterator[None]:
    """At most `SECONDS` and `MEMORY` for what is done inside."""

    def stop(*_: object) -> None:
        raise Hang

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def outcome(path: Path) -> str:
    """ "clip" or "error"; anything else fails."""
    try:
        with limits():
            motions = load_all(path)
    except MotionError as error:
        text = str(error)
        assert str(path.parent) in text, f"the error does not name the file: {text}"
        assert not re.search("allocate|MemoryError", text), text
        return "error"
    assert motions
    assert all(isinstance(motion, Motion) for motion in motions)
    return "clip"


def fuzz(name: str, count: int, folder: Path) -> Counter[str]:
    path = SEEDS[name](folder)
    files = {file: file.read_bytes() for file in sorted(folder.iterdir())}
    random = Random(f"{name} {count}")
    outcomes: Counter[str] = Counter()
    for index in range(count):
        target = random.choice(list(files))
        target.write_bytes(damaged(random, files[target]))
        started = time.perf_counter()
        try:
            outcomes[outcome(path)] += 1
        except BaseException as error:
            kept = folder.parent / f"{name}-{index}{target.suffix}"
            kept.write_bytes(target.read_bytes())
            raise AssertionError(f"{kept}: {type(error).__name__} {error}") from error
        outcomes["slowest ms"] = max(outcomes["slowest ms"], round(1e3 * (time.perf_counter() - started)))
        target.write_bytes(files[target])
    return outcomes


def test_every_importer_has_a_seed():
    assert list(SEEDS) == [importer.__name__.rpartition(".")[2] for importer in IMPORTERS]


@pytest.mark.parametrize("name", SEEDS)
def test_seeds_are_read_by_their_importer(name, tmp_path):
    path = SEEDS[name](tmp_path)
    assert importer_of(path).__name__.rpartition(".")[2] == name
    assert all(motion.num_frames == FRAMES for motion in load_all(path))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits memory as Linux does")
@pytest.mark.parametrize("name", SEEDS)
def test_damaged_files_are_clips_or_errors(name, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    outcomes = fuzz(name, 20, folder)
    assert outcomes["clip"] + outcomes["error"] == 20


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits memory as Linux does")
@pytest.mark.parametrize("name", SEEDS)
def test_ten_thousand_damaged_files(name, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    count = -(-10_000 // len(SEEDS))
    outcomes = fuzz(name, count, folder)
    print(f"{name:22s} {count} files: {dict(outcomes)}")
    assert outcomes["clip"] + outcomes["error"] == count
