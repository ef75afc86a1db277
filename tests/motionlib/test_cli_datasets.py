"""The commands on data sets and libraries: package, filter, split, merge, synth."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from motionlib import Dataset, Motion, MotionLib, load, load_all, sample_path
from motionlib.cli import main
from motionlib.importers import importer_of


@pytest.fixture
def result(capsys):
    """Run a command with --json; returns the exit code and the JSON object."""

    def run(*arguments: object) -> tuple[int, dict]:
        capsys.readouterr()
        code = main([*map(str, arguments), "--json"])
        return code, json.loads(capsys.readouterr().out.splitlines()[-1])

    return run


@pytest.fixture
def clips(tmp_path):
    """A folder of samples with a data set over it."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("walk", "run", "kick", "punch"):
        Motion.load(sample_path("amp", name)).save(folder / f"{name}.npz")
    (tmp_path / "set.yaml").write_text(
        "motions:\n"
        "- file: clips/walk.npz\n"
        "  weight: 2.0\n"
        "  sub_motions:\n"
        "  - {labels: [starts], timings: {end: 0.5}}\n"
        "  - {labels: [goes on, walks], timings: {start: 0.5}, weight: 3.0}\n"
        "  - {labels: [too late], timings: {start: 9.0}}\n"
        "- clips/[rkp]*.npz\n"
        "splits: {train: [clips/walk.npz, clips/run.npz], test: [clips/kick.npz]}\n"
    )
    return folder


# --- package ---------------------------------------------------------------------------------------------------------


def test_package_keeps_parts_captions_and_weights(clips, tmp_path, result):
    output = tmp_path / "library.safetensors"
    code, facts = result("package", tmp_path / "set.yaml", output)
    assert code == 0
    assert (facts["clips"], facts["parts"]) == (4, 5)
    assert len(facts["skipped"]) == 1
    library = MotionLib.open(output)
    assert library.names == ("clips/walk", "clips/kick", "clips/punch", "clips/run")
    assert library.weights.tolist() == [2.0, 1.0, 1.0, 1.0]
    assert library.labels[0] == ("starts", "goes on", "walks")
    assert library.sub_motions.weights.tolist()[:2] == [2.0, 6.0]
    assert library.durations[0] == pytest.approx(load(clips / "walk.npz").duration)


def test_package_and_inspect_agree(clips, tmp_path, result):
    output = tmp_path / "library.safetensors"
    packed = result("package", clips, output)[1]
    facts = result("inspect", output, "--stats")[1]
    assert facts["names"] == ["kick", "punch", "run", "walk"]
    assert facts["duration"] == pytest.approx(packed["seconds"], rel=1e-6)
    assert facts["frames"] == packed["frames"]
    assert set(facts["stats"]) == set(facts["body_names"])
    library = MotionLib.open(output)
    hand = facts["body_names"].index("left_hand")
    assert facts["stats"]["left_hand"]["position_max"] == library.body_positions[:, hand].amax(dim=0).tolist()
    fastest = library.body_velocities[:, hand].norm(dim=-1).amax()
    assert facts["stats"]["left_hand"]["speed_max"] == pytest.approx(float(fastest))


def test_a_packed_library_is_a_motion_file(clips, tmp_path):
    output = tmp_path / "library.safetensors"
    assert main(["package", str(clips), str(output), "--height-fix", "none", "--loop-blend", "0"]) == 0
    assert importer_of(output).FORMAT == "motionlib packed .safetensors"
    for clip, name in zip(load_all(output), ("kick", "punch", "run", "walk"), strict=True):
        original = Motion.load(clips / f"{name}.npz")
        assert (clip.name, clip.loop, clip.labels, clip.license) == (
            name,
            original.loop,
            original.labels,
            original.license,
        )
        torch.testing.assert_close(clip.root_positions, original.root_positions, rtol=0, atol=1e-6)
        torch.testing.assert_close(clip.local_rotations.abs(), original.local_rotations.abs(), rtol=0, atol=1e-4)
    assert main(["convert", str(output), str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "out").glob("*.npz"))) == 4


def test_convert_to_a_packed_file_packs(clips, tmp_path):
    output = tmp_path / "library.safetensors"
    flags = ["--character", "smpl", "--no-ik", "--fps", "30"]
    assert main(["convert", str(clips), str(output), *flags]) == 0
    assert MotionLib.open(output).skeleton.name == "smpl"


def test_package_takes_one_split(clips, tmp_path, result):
    assert result("package", tmp_path / "set.yaml", tmp_path / "a.safetensors", "--split", "test")[1]["clips"] == 1


def test_package_leaves_other_characters_out(clips, tmp_path, result):
    Motion.load(sample_path("smpl", "walk")).save(clips / "smpl.npz")
    code, facts = result("package", clips, tmp_path / "a.safetensors")
    assert code == 0
    assert facts["clips"] == 4
    (problem,) = facts["skipped"]
    assert problem["file"] == "smpl.npz"
    assert "--character" in problem["reason"]
    assert main(["package", str(clips), str(tmp_path / "b.safetensors"), "--strict"]) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "clips", "set.yaml"]


def test_package_says_how_to_get_text_models(clips, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    assert main(["package", str(clips), str(tmp_path / "a.safetensors"), "--text-model", "any"]) == 1
    assert "pip install 'proto-motionlib[text]'" in capsys.readouterr().err


# --- filter, split, merge --------------------------------------------------------------------------------------------


def test_filter_writes_a_data_set_of_what_passes(clips, tmp_path, result):
    (clips / "broken.npz").write_bytes(b"broken")
    output = tmp_path / "sets" / "good.yaml"
    output.parent.mkdir()
    code, facts = result("filter", clips, output, "--limits.max-penetration", "None", "--quality.foot-slide", 250)
    assert code == 0
    assert [left["file"] for left in facts["left_out"]] == ["run.npz"]
    assert "mm/s" in facts["left_out"][0]["reason"]
    assert [problem["file"] for problem in facts["skipped"]] == ["broken.npz"]
    good = Dataset.load(output)
    assert [clip.motion.num_frames for clip in good.clips(on_error="raise")] == [47, 65, 39]


def test_filter_copies_what_passes(clips, tmp_path, result):
    code, facts = result("filter", clips, tmp_path / "good", "--quality.max-seconds", "1.4")
    assert code == 0
    assert facts["kept"] == ["run.npz", "walk.npz"]
    assert (tmp_path / "good" / "run.npz").read_bytes() == (clips / "run.npz").read_bytes()
    assert len(list(clips.iterdir())) == 4


def test_filter_leaves_single_parts_out(clips, tmp_path, result):
    output = tmp_path / "good.yaml"
    assert result("filter", tmp_path / "set.yaml", output, "--quality.min-seconds", "0.6")[0] == 0
    walk = Dataset.load(output).files[0]
    assert [part.labels for part in walk.sub_motions] == [("goes on", "walks")]


def test_splits_are_stable(tmp_path, make_motion, result):
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number}.npz").write_bytes(b"not read")
    assert result("split", folder, tmp_path / "a", "--shares", "train=0.7", "test=0.3")[0] == 0
    for number in range(30, 60):
        (folder / f"{number}.npz").write_bytes(b"not read")
    facts = result("split", folder, tmp_path / "b", "--shares", "train=0.7", "test=0.3")[1]
    assert facts["splits"]["train"]["files"] + facts["splits"]["test"]["files"] == 60
    for name in ("train", "test"):
        few, many = (Dataset.load(tmp_path / side / f"{name}.yaml") for side in "ab")
        assert {file.file for file in few.files} <= {file.file for file in many.files}
        assert all((many.root / file.file).is_file() for file in many.files)


def test_split_takes_the_splits_of_the_data_set(clips, tmp_path, result):
    facts = result("split", tmp_path / "set.yaml", tmp_path / "out")[1]
    assert {name: split["files"] for name, split in facts["splits"].items()} == {"train": 2, "test": 1}
    assert main(["split", str(tmp_path / "set.yaml"), str(tmp_path / "out")]) == 1


def test_merge_joins_data_sets_and_reports_duplicates(clips, tmp_path, result):
    (clips / "more").mkdir()
    Motion.load(sample_path("amp", "jump")).save(clips / "more" / "jump.npz")
    (clips / "more.yaml").write_text("motions:\n- more/jump.npz\n- run.npz\n")
    code, facts = result("merge", tmp_path / "set.yaml", clips / "more.yaml", clips / "all.yaml")
    assert code == 0
    assert facts["files"] == 5
    assert [Path(problem["file"]).name for problem in facts["skipped"]] == ["run.npz"]
    found = Dataset.load(clips / "all.yaml")
    assert found.num_clips == 7
    assert all((clips / file.file).is_file() for file in found.files)


def test_merge_joins_packed_libraries(clips, tmp_path, result):
    for name in ("walk", "run"):
        assert main(["package", str(clips / f"{name}.npz"), str(tmp_path / f"{name}.safetensors")]) == 0
    parts = [tmp_path / "walk.safetensors", tmp_path / "run.safetensors"]
    assert result("merge", *parts, tmp_path / "all.safetensors")[1]["clips"] == 2
    assert MotionLib.open(tmp_path / "all.safetensors").names == ("walk", "run")


# --- synth -----------------------------------------------------------------------------------------------------------


def test_synth_takes_all_steps_and_draws_the_rest(tmp_path, result):
    flags = ("--speed", "0.8..1.6:0.4", "--turn=-0.3..0.3", "--seconds", "1", "--count", "1")
    code, facts = result("synth", tmp_path / "a", *flags)
    assert code == 0
    clips = [Motion.load(path) for path in facts["written"]]
    speeds = [(clip.root_positions[-1] - clip.root_positions[0])[:2].norm() / clip.duration for clip in clips]
    assert [float(speed) for speed in speeds] == pytest.approx([0.8, 1.2, 1.6], rel=0.02)
    assert len({path.rpartition("_")[2] for path in facts["written"]}) == 3
    assert all(clip.loop == "wrap" for clip in clips)


def test_the_same_seed_walks_the_same(tmp_path, result):
    flags = ("--speed", "1.0..1.4", "--seconds", "1")
    first = result("synth", tmp_path / "a", *flags, "--count", 2, "--seed", 5)[1]["written"]
    again = result("synth", tmp_path / "b.npz", *flags, "--count", 1, "--seed", 6)[1]["written"]
    assert torch.equal(Motion.load(first[1]).local_rotations, Motion.load(again[0]).local_rotations)
    assert not torch.equal(Motion.load(first[0]).local_rotations, Motion.load(again[0]).local_rotations)


def test_synth_packs(tmp_path, result):
    output = tmp_path / "walks.safetensors"
    assert result("synth", output, "--character", "g1", "--seconds", "1")[1]["clips"] == 1
    library = MotionLib.open(output)
    assert library.skeleton.name == "g1"
    assert library.labels == (("a person walks forward",),)


def test_walks_out_of_reach_are_skipped(tmp_path, result):
    code, facts = result("synth", tmp_path / "a", "--speed", "1.2..9.2:8", "--seconds", "1")
    assert code == 0
    assert facts["clips"] == 1
    assert "not at 9.2 m/s" in facts["skipped"][0]["reason"]
    assert len(list(Path(tmp_path / "a").iterdir())) == 1
