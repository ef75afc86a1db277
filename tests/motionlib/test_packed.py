"""Packed libraries: the frames against the full set of v3, the file against the library it came from."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scipy.spatial.transform import Rotation, Slerp

from motionlib import Motion, MotionError, MotionLib, sample_path
from motionlib.datasets import SubMotion
from motionlib.packed import PackedWriter
from motionlib.processing import clip_frames
from poselib import models
from poselib.rotations import angle_between, quat_from_exp_map

SKELETON = models.skeleton("amp")
FULL_SMPL_BYTES = 2208
"""v3 in float32: 546 numbers and 24 contacts"""


@pytest.fixture
def clips(make_motion):
    return [
        make_motion("short", frames=5, fps=10.0, seed=1),
        make_motion("wraps", frames=25, fps=30.0, loop="wrap", seed=2),
        make_motion("long", frames=40, fps=29.9989, seed=3),
        make_motion("a clip named ü", frames=12, fps=120.0, seed=4),
    ]


@pytest.fixture
def parts():
    return [
        (),
        (SubMotion(start=0.2, end=0.6, labels=("walks", "strolls", "ambles", "roams"), weight=2.0), SubMotion(end=0.3)),
        (SubMotion(start=0.1, labels=("jumps",), weight=0.5),),
        (),
    ]


@pytest.fixture
def library(clips, parts):
    return MotionLib(clips, SKELETON, weights=[1.0, 2.0, 3.0, 0.0], sub_motions=parts)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "library.safetensors"


def assert_same(ours: MotionLib, theirs: MotionLib, clips: range | None = None) -> None:
    """Equal answers to the last bit; `clips` are those of `theirs` that `ours` has."""
    clips = clips or range(theirs.num_motions)
    ids = torch.arange(len(clips)).repeat(7)
    times = torch.linspace(-1.0, 3.0, len(ids))
    states = ours.get_motion_state(ids, times), theirs.get_motion_state(ids + clips[0], times)
    for name, value in vars(states[0]).items():
        assert torch.equal(value, getattr(states[1], name)), name
    for name in ("names", "labels"):
        assert getattr(ours, name) == getattr(theirs, name)[clips[0] : clips[-1] + 1]
    for name in ("num_frames", "fps", "durations", "loops", "weights"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)[clips[0] : clips[-1] + 1])


# --- frames ----------------------------------------------------------------------------------------------------------


def test_a_frame_takes_little_more_than_half_of_the_full_set():
    library = MotionLib.from_samples("smpl", ["walk"])
    assert library.frames.bytes_per_frame <= 0.6 * FULL_SMPL_BYTES
    tables = vars(library.frames).values()
    assert sum(table.nbytes for table in tables) == library.frames.bytes_per_frame * len(library.frames)


@pytest.mark.parametrize("name", ["walk", "backflip", "spinkick", "getup_faceup"])
def test_answers_agree_with_the_full_set(name):
    """Everything in float32 from `clip_frames`, blended between two frames in the plainest way."""
    library = MotionLib.from_samples("smpl", [name])
    skeleton = library.skeleton
    clip = clip_frames(Motion.load(sample_path("smpl", name)), skeleton)
    count, fps = len(clip.positions), float(library.fps[0])
    generator = np.random.default_rng(0)
    frames = np.append(np.arange(count - 1.0), generator.uniform(0, count - 1, 200))
    times = torch.tensor(frames / fps, dtype=torch.float32)
    state = library.get_motion_state(torch.zeros(len(times), dtype=torch.long), times)
    early = torch.tensor(np.floor(frames).astype(int))
    blend = torch.tensor(frames - np.floor(frames), dtype=torch.float32)[:, None, None]

    def lerp(table: torch.Tensor) -> torch.Tensor:
        return torch.lerp(table[early], table[early + 1], blend.view(-1, *[1] * (table.ndim - 1)))

    assert float((state.body_positions - lerp(clip.positions)).abs().max()) < 1e-4
    # float16: relative error 2^-11 when stored and again when blended, of the larger neighbour.
    for ours, full in (
        (state.body_velocities, clip.velocities),
        (state.body_angular_velocities, clip.angular_velocities),
        (state.dof_velocities, clip.dof_velocities),
    ):
        size = torch.maximum(full[early].abs(), full[early + 1].abs())
        speed = (full[early + 1] - full[early]).abs()
        assert bool(((ours - lerp(full)).abs() <= 1.2e-3 * size + 5e-4 * speed + 1e-5).all())
    assert torch.equal(state.contacts, clip.contacts[early] | clip.contacts[early + 1])
    knots = np.arange(count)
    for rotations, full in ((state.body_rotations, clip.rotations), (state.local_rotations, clip.local_rotations)):
        for body in (0, 2, 8, 18, 23):
            exact = Slerp(knots, Rotation.from_quat(full[:, body].numpy()))(frames)
            error = (exact.inv() * Rotation.from_quat(rotations[:, body].numpy())).magnitude()
            assert error.max() < 2e-4
    exact = skeleton.dofs_from_local_rotations(state.local_rotations)
    torch.testing.assert_close(state.dof_positions, exact, rtol=0, atol=2e-6)
    norms = state.body_rotations.norm(dim=-1)
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=0, atol=2e-6)


@pytest.mark.parametrize(("angle", "bound"), [(0.01, 1e-4), (0.5, 1e-4), (1.0, 1e-4), (2.0, 1.3e-4), (3.0, 1e-3)])
def test_quick_turns_are_blended_along_the_arc(make_motion, angle, bound):
    """Half a turn between frames is the most there can be; the bound is what `FrameStore` promises."""
    motion = make_motion(frames=3, fps=10.0)
    turns = torch.tensor([0.0, 1.0, 2.0])[:, None, None] * angle * torch.tensor([0.6, 0.0, 0.8])
    rotations = quat_from_exp_map(turns.expand(-1, 15, -1))
    library = MotionLib([replace(motion, local_rotations=rotations)], SKELETON, height_fix="none")
    times = torch.linspace(0.0, 0.2, 41)
    local = library.get_joint_state(torch.zeros(41, dtype=torch.long), times)[0]
    exact = quat_from_exp_map((times * 10.0)[:, None, None] * angle * torch.tensor([0.6, 0.0, 0.8]))
    assert float(angle_between(local, exact.expand(-1, 15, -1)).max()) < bound


def test_impossible_speed_is_refused(make_motion):
    motion = make_motion("rocket", frames=3)
    motion = replace(motion, root_positions=torch.tensor([[0.0, 0, 1], [9e4, 0, 1], [18e4, 0, 1]]))
    with pytest.raises(MotionError, match="clip 'rocket': velocities must stay below 65504"):
        MotionLib([motion], SKELETON, height_fix="none")


# --- the file --------------------------------------------------------------------------------------------------------


def test_opening_gives_the_library_back(library, path):
    library.save(path)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    opened = MotionLib.open(path)
    assert_same(opened, library)
    assert list(opened.index.sources) == ["made up"] * 4
    assert list(opened.index.licenses) == ["none"] * 4
    assert opened.skeleton.joints == SKELETON.joints
    assert torch.equal(opened.skeleton.offsets, SKELETON.offsets)
    opened.save(path.with_name("again.safetensors"))
    assert path.with_name("again.safetensors").read_bytes() == path.read_bytes()


def test_any_reader_can_read_the_file(library, path):
    library.save(path)
    tensors = load_file(path)
    torch.testing.assert_close(tensors["frames.positions"].view(-1, 15, 3), library.body_positions)
    with safe_open(path, framework="np") as file:
        assert json.loads(file.metadata()["skeleton"])["name"] == SKELETON.name
    for table in vars(MotionLib.open(path).frames).values():
        assert table.data_ptr() % table.element_size() == 0


def test_the_writer_needs_one_clip_at_a_time(clips, parts, library, path):
    with PackedWriter(path, SKELETON) as writer:
        for clip, weight, own in zip(clips, [1.0, 2.0, 3.0, 0.0], parts, strict=True):
            writer.add(clip, weight, own)
            assert not path.exists()
        assert writer.num_motions == 4
    assert_same(MotionLib.open(path), library)
    library.save(path.with_name("saved.safetensors"))
    assert path.with_name("saved.safetensors").read_bytes() == path.read_bytes()


def test_many_clips_are_compacted_on_the_way(make_motion, path, monkeypatch):
    monkeypatch.setattr("motionlib.packed._COMPACT", 4)
    clips = [make_motion(f"clip {i}", frames=3 + i, seed=i) for i in range(11)]
    with PackedWriter(path, SKELETON) as writer:
        for clip in clips:
            writer.add(clip)
    assert_same(MotionLib.open(path), MotionLib(clips, SKELETON))


def test_libraries_are_merged(library, clips, path):
    other = MotionLib(clips[:1], SKELETON)
    with PackedWriter(path, SKELETON) as writer:
        writer.add_library(other)
        writer.add_library(library)
    merged = MotionLib.open(path)
    assert merged.names == ("short", *library.names)
    assert merged.sub_motions.clips.tolist() == [0, 1, 2, 2, 3, 4]
    assert merged.labels == other.labels + library.labels
    assert_same(merged.select([*library.names]), library.select([*library.names]))
    with pytest.raises(MotionError, match=r"a library on skeleton '.*' cannot be added to one on"):
        PackedWriter(path, SKELETON).add_library(MotionLib.from_samples("smpl", ["walk"]))


def test_nothing_half_written_stays(clips, library, path):
    library.save(path)
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="power cut"), PackedWriter(path, SKELETON) as writer:
        writer.add(clips[0])
        raise RuntimeError("power cut")
    with pytest.raises(MotionError, match="at least one clip"), PackedWriter(path, SKELETON):
        pass
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_clip_that_does_not_fit_leaves_the_others(clips, path):
    with PackedWriter(path, SKELETON) as writer:
        writer.add(clips[0])
        with pytest.raises(MotionError, match="does not fit skeleton"):
            writer.add(Motion.load(sample_path("smpl", "walk")))
        with pytest.raises(MotionError, match=r"no part of it goes from 0\.3 to 0\.2 s"):
            writer.add(clips[1], sub_motions=[SubMotion(start=0.3, end=0.2)])
        with pytest.raises(MotionError, match="weight must be finite"):
            writer.add(clips[1], weight=-1.0)
        writer.add(clips[2])
    assert MotionLib.open(path).names == ("short", "long")


def test_wrong_files_are_named(library, path):
    with pytest.raises(MotionError, match="no packed library at"):
        MotionLib.open(path)
    with pytest.raises(MotionError, match=r"saved as \.safetensors, not '\.pt'"):
        library.save(path.with_suffix(".pt"))
    with pytest.raises(MotionError, match="no folder"):
        library.save(path.parent / "nowhere" / path.name)
    save_file({"x": torch.zeros(3)}, path)
    with pytest.raises(MotionError, match=r"no packed library; it holds \['x'\]"):
        MotionLib.open(path)
    library.save(path)
    content = path.read_bytes()
    for damaged in (content[:-5], content[:100], b"", content[:8] + b"!" + content[9:]):
        path.write_bytes(damaged)
        with pytest.raises(MotionError, match="not a readable packed library"):
            MotionLib.open(path)
    path.write_bytes(content.replace(b'"version": "1"', b'"version": "7"'))
    with pytest.raises(MotionError, match="packed format version 7, this motionlib reads up to 1"):
        MotionLib.open(path)


def test_an_index_that_lies_is_found(library, path):
    library.save(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    for name, value in (("clips.num_frames", 5), ("sub_motions.clips", 9), ("clips.first_frames", 3)):
        tensors = load_file(path)
        tensors[name][1] = value
        wrong = path.with_name("wrong.safetensors")
        save_file(tensors, wrong, metadata)
        with pytest.raises(MotionError, match="its index does not fit its 82 frames"):
            MotionLib.open(wrong)


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_shards_are_contiguous_balanced_and_complete(library, path, world_size):
    library.save(path)
    first = 0
    for rank in range(world_size):
        shard = MotionLib.open(path, rank=rank, world_size=world_size)
        clips = range(first, first + shard.num_motions)
        assert_same(shard, library, clips)
        own = (library.sub_motions.clips >= clips[0]) & (library.sub_motions.clips <= clips[-1])
        assert torch.equal(shard.sub_motions.clips, library.sub_motions.clips[own] - first)
        assert torch.equal(shard.sub_motions.times, library.sub_motions.times[own])
        first += shard.num_motions
    assert first == library.num_motions


def test_shards_differ_by_a_clip_at_most(make_motion, path):
    lengths = np.random.default_rng(0).integers(2, 30, 60)
    library = MotionLib([make_motion(f"{i}", frames=int(n)) for i, n in enumerate(lengths)], SKELETON)
    for world_size in (2, 5, 7):
        bounds = [library.index.shard(rank, world_size) for rank in range(world_size)]
        sizes = [int(library.num_frames[first:stop].sum()) for first, stop in bounds]
        assert max(sizes) - min(sizes) <= 2 * 30
    with pytest.raises(MotionError, match=r"rank must be in \[0, 2\), found 2"):
        library.index.shard(2, 2)
    with pytest.raises(MotionError, match="60 clips cannot be shared by 61"):
        library.index.shard(0, 61)


def test_opening_reads_next_to_nothing(path):
    """Of 40 MB and 400 clips, a small part; `benchmarks/motion_library.py` opens 5 GB."""
    library = MotionLib.from_samples("smpl")
    with PackedWriter(path, library.skeleton) as writer:
        for _ in range(20):
            writer.add_library(library)
    program = f"""
import re, time
from motionlib import MotionLib
def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
before, start = resident(), time.perf_counter()
library = MotionLib.open({str(path)!r})
print(resident() - before, time.perf_counter() - start, library.num_motions)
"""
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc")
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert path.stat().st_size > 40e6
    assert int(output[2]) == 20 * library.num_motions
    assert float(output[0]) < 20.0
    assert float(output[1]) < 1.0


def test_on_a_gpu(library, path):
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    library.save(path)
    opened = MotionLib.open(path, device="cuda", rank=1, world_size=2)
    assert opened.device.type == opened.index.table.device.type == "cuda"
    here = MotionLib.open(path, rank=1, world_size=2)
    ids, times = torch.tensor([0, 1, 1]), torch.tensor([0.33, -1.7, 5.01])
    there = opened.get_motion_state(ids.cuda(), times.cuda())
    for name, value in vars(here.get_motion_state(ids, times)).items():
        torch.testing.assert_close(getattr(there, name).cpu(), value, rtol=2e-3, atol=2e-3)


# --- sub-motions -----------------------------------------------------------------------------------------------------


def test_sub_motions_are_drawn_by_weight_and_in_their_time(library):
    parts = library.sub_motions
    assert parts.clips.tolist() == [0, 1, 1, 2, 3]
    torch.testing.assert_close(parts.weights, torch.tensor([1.0, 4.0, 2.0, 1.5, 0.0]))
    assert parts.labels(1) == ("walks", "strolls", "ambles", "roams")
    assert parts.labels(0) == ("a test", "moves")
    assert library.labels[1] == ("walks", "strolls", "ambles", "roams", "a test", "moves")
    generator = torch.Generator().manual_seed(0)
    drawn = library.sample_sub_motions(20_000, generator)
    shares = torch.bincount(drawn, minlength=5) / 20_000
    torch.testing.assert_close(shares, parts.weights / 8.5, rtol=0, atol=0.015)
    times = library.sample_sub_motion_times(drawn, generator)
    start, end = parts.times[drawn].unbind(1)
    assert bool((times >= start).all())
    assert bool((times <= end).all())
    assert float(times[drawn == 1].mean()) == pytest.approx(0.4, abs=0.01)
    late = library.sample_sub_motion_times(drawn, generator, margin=99.0)
    assert torch.equal(late, start)


def test_wrong_sub_motions_are_named(clips):
    with pytest.raises(MotionError, match=r"clip .short. lasts 0\.400 s: no part of it goes from 0\.1 to 3\.0 s"):
        MotionLib(clips, SKELETON, sub_motions=[[SubMotion(start=0.1, end=3.0)], [], [], []])
    with pytest.raises(MotionError, match="parts of each of the 4 clips, found 1"):
        MotionLib(clips, SKELETON, sub_motions=[[]])
    with pytest.raises(MotionError, match="weight of a part"):
        MotionLib(clips, SKELETON, sub_motions=[[SubMotion(weight=-1.0)], [], [], []])
