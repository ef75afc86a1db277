from __future__ import annotations

import hashlib
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from motionlib import Motion, MotionError
from motionlib.datasets import (
    Dataset,
    MotionFile,
    Problem,
    SubMotion,
    flipped_dataset,
    hash_share,
    merged,
    rate_table,
    read_rates,
    split_by_hash,
    with_rates,
    write_rates,
)
from poselib.rotations import angle_between

# --- clips -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, make_motion):
    """Ten files, three of them broken."""
    for number in range(10):
        path = tmp_path / f"clip{number}.npz"
        make_motion(f"clip{number}", frames=41, fps=20.0, seed=number).save(path)
    (tmp_path / "clip2.npz").write_bytes((tmp_path / "clip2.npz").read_bytes()[:200])
    (tmp_path / "clip5.npz").write_text("no motion")
    (tmp_path / "clip7.npz").unlink()
    return tmp_path


def ten(folder: Path) -> Dataset:
    return Dataset(tuple(MotionFile(file=f"clip{number}.npz") for number in range(10)), folder)


@pytest.mark.parametrize("workers", [1, 3])
def test_broken_files_are_reported_and_skipped(folder, workers):
    problems: list[Problem] = []
    motions = list(ten(folder).motions(workers=workers, report=problems.append))
    assert [motion.name for motion in motions] == [f"clip{number}" for number in (0, 1, 3, 4, 6, 8, 9)]
    assert [problem.file for problem in problems] == ["clip2.npz", "clip5.npz", "clip7.npz"]
    assert "no motion file at" in str(problems[2])
    assert all(problem.file in str(problem) for problem in problems)
    kept = ten(folder).without(problems)
    assert kept.num_clips == 7
    assert len(list(kept.motions(on_error="raise"))) == 7


@pytest.mark.parametrize("workers", [1, 3])
def test_broken_files_are_fatal_if_asked(folder, workers):
    motions = ten(folder).motions(on_error="raise", workers=workers)
    assert next(motions).name == "clip0"
    with pytest.raises(MotionError, match=r"clip2\.npz"):
        list(motions)


def test_what_is_skipped_goes_to_the_log_by_default(folder, caplog):
    with caplog.at_level(logging.WARNING):
        assert len(list(ten(folder).motions())) == 7
    assert len(caplog.records) == 3


def test_parts_have_their_time_their_labels_and_their_weight(tmp_path, make_motion):
    motion = make_motion(frames=41, fps=20.0, loop="wrap")
    motion.save(tmp_path / "a.npz")
    parts = (
        SubMotion(start=0.5, end=1.5, labels=("first",), weight=2.0, goal=(1.0, 1.25)),
        SubMotion(start=1.0, end=2.08),
        SubMotion(),
        SubMotion(start=1.0, end=3.0),
    )
    dataset = Dataset((MotionFile(file="a.npz", weight=3.0, sub_motions=parts),), tmp_path)
    problems: list[Problem] = []
    first, second, whole = dataset.clips(report=problems.append)
    assert (first.motion.name, first.motion.labels, first.weight, first.index) == ("a#0", ("first",), 6.0, 0)
    torch.testing.assert_close(first.motion.root_positions, motion.root_positions[10:31], rtol=0, atol=0)
    assert first.motion.loop == "none" and first.goal == (0.5, 0.75)
    assert second.motion.duration == pytest.approx(1.0), "a data set's rounded end is the file's end"
    assert second.motion.labels == motion.labels
    assert whole.motion.loop == "wrap" and whole.motion.num_frames == 41
    assert problems[0].index == 3 and "lasts 2 s" in problems[0].reason
    (all_of_it,) = dataset.whole_files().clips(on_error="raise")
    assert (all_of_it.motion.name, all_of_it.motion.num_frames, all_of_it.index) == ("a", 41, 0)


def test_the_rate_of_the_data_set_replaces_the_files(tmp_path, make_motion):
    make_motion(frames=41, fps=20.0).save(tmp_path / "a.npz")
    dataset = Dataset.of_files([tmp_path / "a.npz"], tmp_path)
    assert rate_table(dataset) == {"a.npz": 20.0}
    write_rates(tmp_path / "fps.yaml", {"a.npy": 40.0, "b.npy": 30})
    (motion,) = with_rates(dataset, read_rates(tmp_path / "fps.yaml")).motions()
    assert motion.fps == 40.0 and motion.duration == 1.0
    (tmp_path / "fps.yaml").write_text("a.npy: 0")
    with pytest.raises(MotionError, match=r"fps.yaml: a.npy: want a positive number"):
        read_rates(tmp_path / "fps.yaml")


def test_a_folder_is_a_data_set(folder):
    (folder / "set.yaml").touch()
    assert Dataset.of_folder(folder).num_clips == 9
    with pytest.raises(MotionError, match="no folder at"):
        Dataset.of_folder(folder / "nowhere")


# --- splits and merging ----------------------------------------------------------------------------------------------


def files_of(count: int) -> tuple[MotionFile, ...]:
    return tuple(MotionFile(file=f"set/clip_{number}.npz") for number in range(count))


def test_splits_depend_on_names_alone():
    files = files_of(4000)
    parts = split_by_hash(files, {"train": 0.8, "validation": 0.1, "test": 0.1})
    assert sum(map(len, parts.values())) == 4000
    assert len(parts["train"]) == pytest.approx(3200, abs=100)
    fewer = split_by_hash(tuple(reversed(files[::2])), {"train": 0.8, "validation": 0.1, "test": 0.1})
    for name, part in fewer.items():
        assert set(part) <= set(parts[name])
    # A split must be the same on every machine and in every release.
    digest = hashlib.sha256(b"set/clip_0").hexdigest()
    assert hash_share("set/clip_0.npz") == pytest.approx(int(digest[:10], 16) / 16**10, abs=1e-9)


def test_a_mirrored_clip_goes_with_its_original():
    assert hash_share("a/b.npy") == hash_share("a/b_flipped.npz") != hash_share("a/c.npy")


def test_splits_of_a_data_set_are_shares_or_patterns():
    dataset = Dataset(files_of(100), splits={"train": 0.5, "rest": 0.5, "first": ("*_1?.npz",)})
    train, rest = dataset.split("train").files, dataset.split("rest").files
    assert set(train) | set(rest) == set(dataset.files) and not set(train) & set(rest)
    assert len(dataset.split("first").files) == 10
    with pytest.raises(MotionError, match=r"no split 'tset'.*\['first', 'rest', 'train'\]"):
        dataset.split("tset")
    with pytest.raises(MotionError, match="above 0 and 1 in all"):
        split_by_hash(dataset.files, {"train": 0.9, "test": 0.2})


def test_merging_counts_anew_and_reports_what_was_there(tmp_path):
    first = Dataset(files_of(3), tmp_path / "a")
    second = Dataset((replace(files_of(1)[0], file="../a/set/clip_1.npz"), MotionFile(file="new.npz")), tmp_path / "b")
    extra = replace(files_of(1)[0], sub_motions=(SubMotion(start=1.0), SubMotion()))
    dataset, duplicates = merged([first, second, Dataset((extra,), tmp_path / "a")])
    assert [f.file for f in dataset.files] == [f.file for f in files_of(3)] + ["../b/new.npz"]
    assert dataset.files[0].sub_motions == (SubMotion(), SubMotion(start=1.0))
    assert [d.file for d in duplicates] == ["set/clip_1.npz", "set/clip_0.npz"]
    dataset.save(tmp_path / "merged.yaml")
    assert [e["idx"] for e in yaml.safe_load((tmp_path / "merged.yaml").read_text())["motions"]] == [0, 2, 3, 4]
    assert Dataset.load(tmp_path / "merged.yaml", tmp_path / "a").files == dataset.files


# --- flipping --------------------------------------------------------------------------------------------------------


def test_a_flipped_data_set_has_mirrored_clips_and_captions(folder):
    part = SubMotion(start=0.5, end=1.5, labels=("turns left, stands upright",))
    files = (MotionFile(file="clip0.npz", fps=10.0, sub_motions=(part,)), MotionFile(file="clip5.npz"))
    problems: list[Problem] = []
    flipped = flipped_dataset(Dataset(files, folder), folder / "out", report=problems.append)
    assert [p.file for p in problems] == ["clip5.npz"]
    assert flipped.files == (
        MotionFile(file="clip0_flipped.npz", sub_motions=(replace(part, labels=("turns right, stands upright",)),)),
    )
    (clip,) = flipped.clips(on_error="raise")
    assert clip.motion.fps == 10.0 and clip.motion.labels == ("turns right, stands upright",)
    stored = Motion.load(folder / "clip0.npz")
    torch.testing.assert_close(clip.motion.root_positions[0, 1], -stored.root_positions[5, 1])
    again = flipped_dataset(flipped, folder / "back", on_error="raise")
    back = Motion.load(folder / "back" / again.files[0].file)
    assert float(angle_between(back.local_rotations, stored.local_rotations).max()) < 1e-5
