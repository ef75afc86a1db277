from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import pickle
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from motionlib import Motion, MotionError
from motionlib.datasets import (
    Dataset,
    MotionFile,
    Problem,
    SubMotion,
    flipped_dataset,
    hash_share,
    humanml3d,
    merged,
    rate_table,
    read_occlusions,
    read_rates,
    samp,
    split_by_hash,
    with_rates,
    without_occlusions,
    write_rates,
)
from motionlib.datasets.humanml3d import captions_of
from poselib.rotations import angle_between

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


# --- YAML ------------------------------------------------------------------------------------------------------------


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


# --- occlusions ------------------------------------------------------------------------------------------------------

TABLE = {
    "0-CMU_01_01_poses": {"issue": "sitting", "idxes": [60, 61, 62]},
    "0-CMU_01_02_poses": {"issue": "stairs", "idxes": [60]},
    "0-CMU_01_03_poses": {"issue": "airborne", "idxes": [4]},
    "SSM_a_stageii": {"issue": "airborne", "idxes": [90]},
}


@pytest.mark.parametrize("form", ["json", "pickle", "zlib"])
def test_occlusions_end_a_clip_or_rule_it_out(tmp_path, form):
    path = tmp_path / "table"
    data = json.dumps(TABLE).encode() if form == "json" else pickle.dumps(TABLE, 4)
    path.write_bytes(zlib.compress(data) if form == "zlib" else data)
    names = ["CMU-smpl/01/01_poses.npy", "CMU-smpl/01/02_poses.npy", "amass/CMU/01/03_poses_flipped.npz"]
    names += ["SSM/a_stageii.npz", "KIT/3/free_poses.npz"]
    dataset = Dataset(tuple(MotionFile(file=name) for name in names))
    kept, problems = without_occlusions(dataset, read_occlusions(path))
    assert {f.file: f.sub_motions[0].end for f in kept.files} == {names[0]: 2.0, names[3]: 3.0, names[4]: None}
    assert [(p.file, p.index) for p in problems] == [(names[1], 1), (names[2], 2)]
    assert "stairs" in problems[0].reason


# joblib.dump of 0-CMU_01_01_poses: sitting, idxes and consec as numpy arrays 60, 61, 62; compress=9, joblib 1.5.
JOBLIB = (
    "c-m!9O-sW-5KV2XMWwbD4^n?XJy<Gu@X!j<o53K0c#^RBptG8fC7V!lDCj|qus0{aw@yApu*0(RcK6M^H~ZGgTMey@6{`N^Y<~M-"
    "PR@%ZLg`9e;YhW)l!=RKNAfu4!2;>Vd8J1+cn&R(TjL<{MQRFezj(y!8^!TDidgy>F(KRtzwz|F?A4KpWqV9gal5Rdwt>S6E|FAQ"
    "0uwIk%@4w1<WQ+<%n3VjO82n;i-^0$FYzn;#Csg+P1Ts9VHh`SigMGn7%jESJTF|DzRv_^YFPO!)lBB`Mc}(ZY+7kd!|1)l>aG99"
    "wE7!uR_Cia=XW(w+jba8*TyG=PBkO!K^G2+5ugu;Fn}Yndhur!jyH|MFoToAL3dMsR_o@iT9YMm`~&KZubB"
)


def test_arrays_of_joblib_are_read_without_it(tmp_path):
    path = tmp_path / "table.pkl"
    path.write_bytes(base64.b85decode(JOBLIB))
    occlusions = read_occlusions(path)
    assert {key: (o.issue, o.frames) for key, o in occlusions.items()} == {
        "0-CMU_01_01_poses": ("sitting", (60, 61, 62))
    }
    assert occlusions["0-CMU_01_01_poses"].good_until == 2.0


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 400), st.binary(min_size=1, max_size=4))
def test_damaged_tables_are_errors_or_tables(tmp_path_factory, place, noise):
    data = bytearray(zlib.decompress(base64.b85decode(JOBLIB)))
    data[place : place + len(noise)] = noise
    path = tmp_path_factory.getbasetemp() / "table.pkl"
    path.write_bytes(data)
    with contextlib.suppress(MotionError):
        assert isinstance(read_occlusions(path), dict)


class Evil:
    def __reduce__(self):
        return print, ("executed",)


def test_a_malicious_table_is_refused(tmp_path, capsys):
    path = tmp_path / "table.pkl"
    path.write_bytes(pickle.dumps({"a": Evil()}))
    with pytest.raises(MotionError, match="refused"):
        read_occlusions(path)
    assert "executed" not in capsys.readouterr().out
    path.write_text('{"a": {"issue": 3}}')
    with pytest.raises(MotionError, match="a: want a mapping with an issue"):
        read_occlusions(path)


# --- other projects' folders -----------------------------------------------------------------------------------------


@pytest.fixture
def human_ml(tmp_path):
    """A tiny HumanML3D, made up, with its two sources of captions."""
    (tmp_path / "texts").mkdir()
    (tmp_path / "index.csv").write_text(
        "source_path,start_frame,end_frame,new_name\n"
        "./pose_data/KIT/3/kick_high_left02_poses.npy,0,117,000000.npy\n"
        "./pose_data/Eyes_Japan_Dataset/aita/turn_poses.npy,20,120,000001.npy\n"
        "./pose_data/humanact12/humanact12/P01.npy,0,62,000002.npy\n"
        "./pose_data/KIT/3/kick_high_left02_poses.npy,117,120,000003.npy\n"
        "./pose_data/CMU/1/gone_poses.npy,0,100,000004.npy\n"
    )
    texts = {
        "000000": "a man kicks with his left leg.#a/DET man/NOUN kick/VERB#0.0#0.0\nsomeone kicks#kick/VERB#nan#nan\n"
        "he lands.#land/VERB#2.5#4.0\n",
        "000001": "a person turns.#turn/VERB#0#0\n",
        "000003": "a blink#blink/NOUN#0#0\n",
    }
    for name, text in texts.items():
        (tmp_path / "texts" / f"{name}.txt").write_text(text)
    return tmp_path


def test_humanml3d_gives_captioned_parts(human_ml):
    rates = {"KIT/3/kick_high_left02_poses.npz": 100.0, "Eyes_Japan_Dataset/aita/turn_poses.npy": 59.94}
    dataset, problems = humanml3d(human_ml / "index.csv", human_ml / "texts", human_ml, rates=rates)
    kick, turn = dataset.files
    assert kick.file == "KIT/3/kick_high_left02_poses.npz"
    assert kick.sub_motions == (
        SubMotion(start=0.0, end=5.85, labels=("a man kicks with his left leg", "someone kicks"), hml3d_id=0),
        SubMotion(start=2.5, end=4.0, labels=("he lands",), hml3d_id=0),
    )
    # Frames count after 3 s that HumanML3D leaves out, and at 59.94 / 2 per second.
    assert turn.sub_motions[0].start == pytest.approx((60 + 20) * 2 / 59.94, abs=1e-6)
    assert turn.sub_motions[0].end == pytest.approx((60 + 120) * 2 / 59.94, abs=1e-6)
    reasons = [str(problem) for problem in problems]
    assert len(reasons) == 3
    assert "not of AMASS" in reasons[0] and "lasts 0.15 s" in reasons[1] and "no captions at" in reasons[2]


def test_humanml3d_takes_named_motions_and_knows_the_folders_of_smplx(human_ml):
    dataset, _ = humanml3d(
        human_ml / "index.csv", human_ml / "texts", human_ml, names=["000001", "M000001"], layout="smplx"
    )
    assert [file.file for file in dataset.files] == ["EyesJapanDataset/aita/turn_stageii.npz"]
    assert dataset.files[0].sub_motions[0].start == 4.0


def test_damaged_humanml3d_is_named(human_ml):
    (human_ml / "index.csv").write_text("a,b\n1,2\n")
    with pytest.raises(MotionError, match=r"lacks the columns \['source_path'"):
        humanml3d(human_ml / "index.csv", human_ml / "texts", human_ml)
    (human_ml / "index.csv").write_text("source_path,start_frame,end_frame,new_name\na.npy,x,3,000000.npy\n")
    with pytest.raises(MotionError, match="line 2: want frame numbers"):
        humanml3d(human_ml / "index.csv", human_ml / "texts", human_ml)
    assert captions_of(human_ml / "texts" / "000001.txt") == [("a person turns", 0.0, 0.0)]


def test_samp_files_say_what_they_show(tmp_path):
    names = [
        "armchair001_stageII.pkl",
        "chair_mo_stageII.pkl",
        "lie_down_2_stageII.pkl",
        "run_side_stageII.pkl",
        "x.pkl",
    ]
    for name in names:
        (tmp_path / name).touch()
    dataset, problems = samp(tmp_path, scenes={"Armchairs": ("a", "b")})
    found = {f.file: (f.sub_motions[0].action_type, f.sub_motions[0].object_category) for f in dataset.files}
    assert found == {
        names[0]: ("Sit", "Armchairs"),
        names[1]: ("Sit", "StraightChairs"),
        names[2]: ("LieDown", "LargeSofas"),
        names[3]: ("Run", ""),
    }
    assert dataset.files[0].sub_motions[0].supported_scenes == ("a", "b")
    assert [problem.file for problem in problems] == ["x.pkl"]
