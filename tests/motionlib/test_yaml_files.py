from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motionlib import MotionError
from motionlib.datasets import Dataset, MotionFile, SubMotion

VERSION_1 = """
motions:
- file: CMU/01_poses.npz
  fps: 30.0
  idx: 0
  sub_motions:
  - {idx: 0, hml3d_id: 7, labels: [turns left, walks, stops, stands], timings: {start: 0.5, end: 1.5}, weight: 2.0}
  - {idx: 1, labels: [climbs], timings: {start: 1, end: 2}, ref_respawn_offset: 0.05}
- file: samp/armchair.npz
  idx: 2
  sub_motions:
  - {action_type: Sit, object_category: Armchairs, supported_scenes: [a10, 25], idx: 2, weight: 1.0}
- file: plain.npz
  idx: 3
"""
VERSION_3 = """
motions:
- {file: g1/fight.motion, fps: 30.0, weight: 2.0}
- {file: g1/run.motion, weight: 1.0, idx: 1, sub_motions: [{timings: {start: 0.0, end: 2.5}}]}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "set.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_version_1_is_read(tmp_path):
    dataset = Dataset.load(written(tmp_path, VERSION_1))
    assert dataset.root == tmp_path and dataset.num_clips == 4
    cmu, chair, plain = dataset.files
    assert (cmu.file, cmu.fps, len(cmu.sub_motions)) == ("CMU/01_poses.npz", 30.0, 2)
    assert cmu.sub_motions[0] == SubMotion(
        start=0.5, end=1.5, labels=("turns left", "walks", "stops", "stands"), weight=2.0, hml3d_id=7
    )
    assert cmu.sub_motions[1].ref_respawn_offset == 0.05
    assert chair.sub_motions[0].supported_scenes == ("a10", "25")
    assert plain.sub_motions == (SubMotion(),) and plain.sub_motions[0].is_whole
    assert [index for index, _, _ in dataset.parts()] == [0, 1, 2, 3]


def test_version_3_is_read(tmp_path):
    fight, run = Dataset.load(written(tmp_path, VERSION_3)).files
    assert (fight.fps, fight.weight, fight.sub_motions) == (30.0, 2.0, (SubMotion(),))
    assert run.sub_motions == (SubMotion(start=0.0, end=2.5),)


def test_plain_paths_and_patterns_are_read(tmp_path):
    (tmp_path / "walks").mkdir()
    for name in ("b", "a"):
        (tmp_path / "walks" / f"{name}.npz").touch()
    text = "motions: [run.npz, 'walks/*.npz', {file: x.npz, labels: hops, timings: {start: 1}}]\nsplits: {train: 0.9}"
    dataset = Dataset.load(written(tmp_path, text))
    assert [file.file for file in dataset.files] == ["run.npz", "walks/a.npz", "walks/b.npz", "x.npz"]
    assert dataset.files[-1].sub_motions == (SubMotion(start=1.0, labels=("hops",)),)
    assert dataset.splits == {"train": 0.9}


TEXTS = st.text(st.sampled_from("aZ9 äß漢🙂:#-'\"{}[]&*!|>%@`,?\\~"), min_size=1, max_size=20)
SECONDS = st.floats(0.0, 1e3)
PARTS = st.builds(
    lambda start, length, **others: SubMotion(start=start, end=None if length is None else start + length, **others),
    start=SECONDS,
    length=st.none() | st.floats(0.01, 100.0),
    labels=st.lists(TEXTS, max_size=4).map(tuple),
    weight=st.floats(0.0, 10.0),
    hml3d_id=st.none() | st.integers(0, 20000),
    action_type=st.sampled_from(["", "Sit"]),
    supported_scenes=st.lists(TEXTS, max_size=2).map(tuple),
    ref_respawn_offset=st.none() | st.floats(-1.0, 1.0),
    goal=st.none() | st.tuples(st.floats(0.0, 1.0), st.floats(2.0, 3.0)),
)
FILES = st.builds(
    MotionFile,
    file=st.from_regex(r"[a-z ]{1,5}/[a-zA-Z0-9_]{1,8}\.npy", fullmatch=True),
    fps=st.none() | st.floats(1.0, 240.0),
    weight=st.floats(0.0, 5.0),
    sub_motions=st.lists(PARTS, min_size=1, max_size=3).map(tuple) | st.just((SubMotion(),)),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(FILES, max_size=4).map(tuple))
def test_what_is_written_is_read_again(tmp_path_factory, files):
    path = tmp_path_factory.mktemp("yaml") / "set.yaml"
    dataset = Dataset(files, path.parent, {"train": 0.75, "test": ("CMU/*",)})
    dataset.save(path)
    assert Dataset.load(path) == dataset
    assert [p.name for p in path.parent.iterdir()] == ["set.yaml"], "nothing half-written stays"


WRONG = {
    "motions: 3": "motions must be a list, found 3",
    "- a": 'want a mapping with the key "motions"',
    "motion: []": "unknown key 'motion'; did you mean 'motions'",
    "motions: [3]": r"motions\[0\]: want a path or a mapping",
    "motions: [{fps: 3}]": r"motions\[0\]: want a path under the key file",
    "motions: [{file: a, fsp: 3}]": r"motions\[0\] \(a\): unknown key 'fsp'; did you mean 'fps'",
    "motions: [{file: a, fps: fast}]": r"motions\[0\] \(a\): fps must be a number above 0, found 'fast'",
    "motions: [{file: a, idx: 1}]": r"\(a\): idx must be consecutive: want 0, found 1",
    "motions: [{file: a, weight: -1}]": "weight must not be negative",
    "motions: [{file: a, sub_motions: []}]": "sub_motions must be a list of at least one part",
    "motions: [{file: a, sub_motions: [{timing: {}}]}]": r"sub_motions\[0\]: unknown key 'timing'; did you mean 'timi",
    "motions: [{file: a, sub_motions: [{timings: {strat: 1}}]}]": "timings: unknown key 'strat'; did you mean 'start'",
    "motions: [{file: a, sub_motions: [{timings: {start: 2, end: 1}}]}]": "0 <= start < end, found 2.0 and 1.0",
    "motions: [{file: a, sub_motions: [{idx: 0}, {idx: 2}]}]": r"sub_motions\[1\]: idx must be .* want 1, found 2",
    "motions: [{file: a, sub_motions: [{labels: {a: b}}]}]": "labels must be a list of texts",
    "motions: [{file: a, sub_motions: [{weight: .nan}]}]": "weight must be a number, found nan",
    "motions: [{file: a, sub_motions: [{hml3d_id: x}]}]": "hml3d_id must be a whole number",
    "motions: [{file: a, idx: [1]}]": r"idx must be consecutive: want 0, found \[1\]",
    "motions: [{file: a, fps: 1" + "0" * 400 + "}]": "fps must be a number above 0, found 1000",
    "motions: ['../**x']": r"is no pattern of paths below",
    "motions: " + "[" * 5000: "no valid YAML",
    "motions: [a*.npz]": r"no file fits 'a\*.npz' below",
    "motions: [a]\nsplits: {train: 0.9, test: 0.2}": "shares must not exceed 1 in all, found 1.1",
    "motions: [a\n b: c": "no valid YAML.* line 2",
}


@pytest.mark.parametrize(("text", "message"), WRONG.items())
def test_mistakes_are_named_with_their_place(tmp_path, text, message):
    with pytest.raises(MotionError, match=message) as caught:
        Dataset.load(written(tmp_path, text))
    assert str(tmp_path / "set.yaml") in str(caught.value)


NOISE = [*"[]{}:,-9", "'a'", ".inf", "&a", "*a", "!!x", "null", "[1]", "{a: b}", "**", "\t", "\0", "1e400"]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_data_sets_are_errors_or_data_sets(tmp_path_factory, data):
    lines = (VERSION_1 + VERSION_3.partition("motions:")[2] + "- 'a*.npz'\n").splitlines()
    row = data.draw(st.integers(1, len(lines) - 1))
    column = data.draw(st.integers(0, len(lines[row])))
    noise = data.draw(st.sampled_from(NOISE))
    length = data.draw(st.integers(0, 6))
    lines[row] = lines[row][:column] + noise + lines[row][column + length :]
    path = written(tmp_path_factory.getbasetemp(), "\n".join(lines))
    with contextlib.suppress(MotionError):
        assert isinstance(Dataset.load(path), Dataset)


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(MotionError, match=r"no data set at .*nowhere.yaml"):
        Dataset.load(tmp_path / "nowhere.yaml")
