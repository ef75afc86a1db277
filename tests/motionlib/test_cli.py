"""The command line: what is common to all commands, and those on single clips."""

from __future__ import annotations

import json
import multiprocessing
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from motionlib import Motion, load, sample_path, save
from motionlib.cli import main
from motionlib.cli.batch import Failure, outcomes
from motionlib.cli.inputs import Character
from motionlib.exporters import EXPORTERS
from motionlib.importers import IMPORTERS
from motionlib.importers.archives import read_tensors
from motionlib.processing import mirrored, resampled
from poselib import models

GOLDEN = Path(__file__).parent / "golden"
WALK, RUN = str(sample_path("amp", "walk")), str(sample_path("amp", "run"))


@pytest.fixture
def result(capsys):
    """Run a command with --json; returns the exit code, the JSON object, and what stands on stderr."""

    def run(*arguments: object) -> tuple[int, dict, str]:
        capsys.readouterr()
        code = main([*map(str, arguments), "--json"])
        printed = capsys.readouterr()
        return code, json.loads(printed.out.splitlines()[-1]), printed.err

    return run


@pytest.fixture
def ten_files(tmp_path, make_motion):
    """Seven clips in folders, and three files that are none: garbage, half an archive, an empty one."""
    folder = tmp_path / "clips"
    (folder / "deep").mkdir(parents=True)
    for number in range(7):
        clip = make_motion(f"clip{number}", seed=number)
        clip.save(folder / ("deep" if number % 2 else "") / f"clip{number}.npz")
    (folder / "garbage.npz").write_bytes(b"garbage" * 10)
    (folder / "deep" / "half.npz").write_bytes((folder / "clip0.npz").read_bytes()[:900])
    (folder / "empty.bvh").write_bytes(b"")
    return folder


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# --- list, inspect ---------------------------------------------------------------------------------------------------


def test_list_shows_every_sample(capsys, result):
    assert main(["list", "--character", "amp"]) == 0
    output = capsys.readouterr().out
    assert "amp/cartwheel" in output
    assert "smpl" not in output
    assert len(output.splitlines()) == 21
    _, listed, _ = result("list")
    assert {"name": "smpl/walk", "frames": 39, "loop": "wrap"}.items() <= listed["clips"][-2].items()


def test_list_knows_all_characters_and_formats(result):
    assert list(result("list", "characters")[1]["characters"]) == list(models.MODELS)
    assert list(Character.__args__) == list(models.MODELS)
    formats = result("list", "formats")[1]
    assert formats["read"] == [importer.FORMAT for importer in IMPORTERS]
    assert list(formats["written"].values()) == [exporter.FORMAT for exporter in EXPORTERS]


def test_inspect_says_what_a_file_holds(capsys):
    assert main(["inspect", str(sample_path("smpl", "walk"))]) == 0
    output = capsys.readouterr().out
    for text in ("smpl", "39 at 30.0012 per second", "wrap", "a person walks forward", "Xue Bin Peng", "L_Ankle"):
        assert text in output


def test_inspect_gives_the_extremes_that_a_real_file_stores(result):
    path = GOLDEN / "protomotions_g1.motion"
    code, facts, _ = result("inspect", path, "--stats")
    assert code == 0
    assert facts["format"] == "ProtoMotions .motion"
    assert facts["character"] == "g1"
    stored = read_tensors(path)
    positions = stored["rigid_body_pos"]
    assert facts["frames"] == len(positions)
    assert facts["fps"] == float(stored["fps"])
    assert facts["duration"] == pytest.approx((len(positions) - 1) / float(stored["fps"]))
    assert list(facts["stats"]) == facts["body_names"]
    own = facts["stats"].values()
    np.testing.assert_allclose([body["position_min"] for body in own], positions.amin(dim=0), atol=1e-5)
    np.testing.assert_allclose([body["position_max"] for body in own], positions.amax(dim=0), atol=1e-5)
    velocities = np.gradient(positions.double().numpy(), axis=0) * float(stored["fps"])
    np.testing.assert_allclose([body["velocity_min"] for body in own], velocities.min(axis=0), atol=2e-3)
    np.testing.assert_allclose([body["velocity_max"] for body in own], velocities.max(axis=0), atol=2e-3)


def test_inspect_reads_folders_past_broken_files(ten_files, result):
    code, facts, errors = result("inspect", ten_files)
    assert code == 0
    assert facts["clips"] == 7
    assert facts["fps"] == 20.0
    assert facts["duration"] == pytest.approx(7 * 11 / 20)
    assert {problem["file"] for problem in facts["skipped"]} == {"garbage.npz", "deep/half.npz", "empty.bvh"}
    assert len(errors.splitlines()) == 3


def test_samples_go_by_their_names(result):
    assert result("inspect", "amp/walk")[1]["names"] == ["walk"]


# --- convert ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".npz", ".bvh", ".csv", ".motion"])
def test_convert_writes_every_format(suffix, tmp_path, capsys):
    output = tmp_path / f"walk{suffix}"
    assert main(["convert", WALK, str(output)]) == 0
    assert str(output) in capsys.readouterr().out
    assert load(output).num_frames == 39


def test_convert_retargets_and_resamples(tmp_path):
    output = tmp_path / "walk.npz"
    assert main(["convert", WALK, str(output), "--robot", "smpl", "--no-ik", "--fps", "60"]) == 0
    clip = Motion.load(output)
    assert set(clip.body_names) == set(models.skeleton("smpl").body_names)
    assert clip.fps == pytest.approx(resampled(Motion.load(WALK), 60).fps)


def test_convert_keeps_everything_a_clip_holds(tmp_path, make_motion):
    original = make_motion()
    original.save(tmp_path / "a.npz")
    assert main(["convert", str(tmp_path / "a.npz"), str(tmp_path / "b.npz")]) == 0
    again = Motion.load(tmp_path / "b.npz")
    assert (again.name, again.labels, again.source) == (original.name, original.labels, original.source)
    assert torch.equal(again.local_rotations, original.local_rotations)


def test_what_a_file_does_not_say_is_told_by_flags(tmp_path):
    assert main(["convert", WALK, str(tmp_path / "a.csv"), "--character", "g1", "--no-ik"]) == 0
    flags = ["--source.fps", "50", "--source.skeleton", "g1"]
    assert main(["convert", str(tmp_path / "a.csv"), str(tmp_path / "b.npz"), *flags]) == 0
    assert Motion.load(tmp_path / "b.npz").fps == 50


def test_three_broken_files_of_ten_are_skipped(ten_files, tmp_path, result):
    output = tmp_path / "out"
    code, facts, errors = result("convert", ten_files, output)
    assert code == 0
    assert facts["clips"] == 7
    assert files_below(output) == sorted(Path(path).relative_to(output).as_posix() for path in facts["written"])
    assert load(output / "deep" / "clip1.npz").name == "clip1"
    skipped = {problem["file"]: problem["reason"] for problem in facts["skipped"]}
    assert set(skipped) == {"garbage.npz", "deep/half.npz", "empty.bvh"}
    assert "cut off or damaged" in skipped["deep/half.npz"]
    assert all(line.startswith("motionlib: skipped ") for line in errors.splitlines())


def test_strict_ends_at_the_first_broken_file(ten_files, tmp_path, capsys):
    assert main(["convert", str(ten_files), str(tmp_path / "out"), "--strict"]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert "half.npz" in error


@pytest.mark.parametrize("command", ["convert", "flip", "filter", "package", "split", "synth"])
def test_a_dry_run_writes_nothing(command, ten_files, tmp_path, result):
    before = files_below(tmp_path)
    output = tmp_path / ("out.safetensors" if command == "package" else "out")
    code, facts, _ = result(command, *([] if command == "synth" else [ten_files]), output, "--dry-run")
    assert code == 0
    assert facts["dry_run"]
    assert files_below(tmp_path) == before
    assert not output.exists()
    if command == "convert":
        assert len(facts["written"]) == 7


def test_workers_give_the_same(ten_files, tmp_path, result):
    one = result("convert", ten_files, tmp_path / "one", "--character", "smpl", "--no-ik")[1]
    two = result("convert", ten_files, tmp_path / "two", "--character", "smpl", "--no-ik", "--workers", 2)[1]
    assert one["skipped"] == two["skipped"]
    assert files_below(tmp_path / "one") == files_below(tmp_path / "two")
    for name in files_below(tmp_path / "one"):
        a, b = Motion.load(tmp_path / "one" / name), Motion.load(tmp_path / "two" / name)
        torch.testing.assert_close(a.local_rotations, b.local_rotations)


@pytest.mark.slow
def test_a_worker_that_dies_takes_one_task_with_it():
    # Workers cannot import this file, but they know `eval`.
    tasks = ["0", "1", "4", "__import__('os')._exit(9)", "16", "int('five')", "36", "49"]
    found = list(outcomes(eval, tasks, 2))
    assert [value for value in found if not isinstance(value, Failure)] == [0, 1, 4, 16, 36, 49]
    assert "died" in found[3].reason
    assert found[5].reason.startswith("ValueError: ")


@pytest.mark.slow
def test_workers_end_when_nobody_waits_for_them():
    with closing(outcomes(time.sleep, [0.0, 100.0, 100.0], 2)) as results:
        assert next(results) is None
        started = time.monotonic()
    assert time.monotonic() - started < 10.0
    assert multiprocessing.active_children() == []


def test_outputs_stay_unless_overwritten(tmp_path, ten_files, result, capsys):
    output = tmp_path / "walk.npz"
    output.write_text("mine")
    assert main(["convert", WALK, str(output)]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert output.read_text() == "mine"
    assert main(["convert", WALK, str(output), "--overwrite"]) == 0
    assert Motion.load(output).num_frames == 39

    result("convert", ten_files, tmp_path / "out")
    (tmp_path / "out" / "clip0.npz").unlink()
    code, facts, _ = result("convert", ten_files, tmp_path / "out")
    assert code == 0
    assert [Path(path).name for path in facts["written"]] == ["clip0.npz"]
    assert len(facts["existing"]) == 6


def test_parts_of_data_sets_become_clips(tmp_path, result):
    save(Motion.load(WALK), tmp_path / "walk.npz")
    (tmp_path / "set.yaml").write_text(
        "motions:\n- file: walk.npz\n  sub_motions:\n"
        "  - {labels: [one], timings: {start: 0.2, end: 0.6}}\n"
        "  - {labels: [late], timings: {start: 5.0}}\n"
        "  - {labels: [two], timings: {start: 0.6}}\n"
    )
    code, facts, _ = result("convert", tmp_path / "set.yaml", tmp_path / "out")
    assert code == 0
    assert len(facts["skipped"]) == 1
    clips = [Motion.load(path) for path in facts["written"]]
    assert [clip.labels for clip in clips] == [("one",), ("two",)]
    assert clips[0].duration == pytest.approx(0.4, abs=1e-3)
    assert result("inspect", tmp_path / "set.yaml")[1]["clips"] == 2


def test_inputs_that_would_become_one_file_are_refused(tmp_path, make_motion, capsys):
    make_motion().save(tmp_path / "a.npz")
    save(make_motion(), tmp_path / "a.bvh")
    assert main(["convert", str(tmp_path), str(tmp_path / "out")]) == 1
    assert "would both become" in capsys.readouterr().err


# --- retarget, flip, validate ----------------------------------------------------------------------------------------


def test_retarget_measures_what_it_did(tmp_path, result):
    code, facts, _ = result("retarget", RUN, tmp_path / "run.npz", "--character", "smpl")
    assert code == 0
    assert len(Motion.load(tmp_path / "run.npz").body_names) == 24
    stages = facts["quality"]["run"]
    assert stages["result"]["foot_slide"] < stages["source"]["foot_slide"]
    assert stages["result"]["penetration_max"] < 5.0


def test_flip_mirrors_a_clip(tmp_path):
    kick = Motion.load(sample_path("amp", "kick"))
    assert main(["flip", "amp/kick", str(tmp_path / "kick.npz")]) == 0
    assert torch.equal(Motion.load(tmp_path / "kick.npz").local_rotations, mirrored(kick).local_rotations)


def test_flip_of_a_data_set_writes_its_captions(tmp_path, result):
    save(Motion.load(WALK), tmp_path / "walk.npz")
    (tmp_path / "set.yaml").write_text("motions:\n- {file: walk.npz, labels: [turns right], timings: {start: 0.3}}\n")
    code, facts, _ = result("flip", tmp_path / "set.yaml", tmp_path / "out")
    assert code == 0
    assert files_below(tmp_path / "out") == ["set_flipped.yaml", "walk_flipped.npz"]
    before, after = (result("inspect", path)[1] for path in (tmp_path / "set.yaml", facts["dataset"]))
    assert before["duration"] == after["duration"] < Motion.load(WALK).duration - 0.25
    assert "turns left" in (tmp_path / "out" / "set_flipped.yaml").read_text()


def test_validate_finds_what_is_wrong(tmp_path, make_motion, result, capsys):
    assert main(["validate", "amp/walk"]) == 0
    assert "1 clip checked, 0 wrong" in capsys.readouterr().out
    make_motion().save(tmp_path / "random.npz")
    code, facts, _ = result("validate", "amp/walk", tmp_path / "random.npz", "--limits.max-body-speed", "0.1")
    assert code == 1
    assert facts["checked"] == 2
    assert {finding["kind"] for clip in facts["clips"] for finding in clip["findings"]} >= {"fast_body"}
    assert facts["clips"][0]["quality"]["foot_slide"] > 0
    (tmp_path / "broken.npz").write_bytes(b"broken")
    assert result("validate", "amp/walk", tmp_path / "broken.npz")[0] == 1
    assert result("validate", "amp/walk", "--quality.foot-slide", 1)[0] == 1


def test_clips_of_unknown_skeletons_are_validated(tmp_path, shared_data, result):
    code, facts, _ = result("validate", shared_data / "bvh" / "cmu_01_01.bvh")
    assert facts["checked"] == 1
    assert facts["clips"][0]["quality"]["stance_share"] > 0.2
    assert code in (0, 1)


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", "missing.txt"], "no file or folder missing.txt"),
        (["inspect", "amp/sleep"], "no sample clip 'sleep'"),
        (["inspect", __file__], "none of the known motion formats"),
        (["list", "--character", "dog"], "no sample clips for 'dog'"),
        (["convert", WALK, "out.xyz"], "no export format has the suffix '.xyz'"),
        (["convert", WALK, "no/such/folder/out.npz"], "no folder no/such/folder"),
        (
            ["convert", str(sample_path("amp", "walk").parent / "walk.npz"), "a.npz", "--source.skeleton", "x.xml"],
            "x.xml",
        ),
        (["synth", "out.npz", "--speed", "9"], "not at 9 m/s"),
        (["play", WALK, "--video", "out.avi"], ".mp4"),
    ],
)
def test_failures_are_one_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("motionlib: ")
    assert len(error.strip().splitlines()) == 1
    assert files_below(tmp_path) == []


def test_programs_are_told_of_failures(ten_files, tmp_path, result):
    code, facts, errors = result("convert", ten_files, tmp_path / "out", "--strict")
    assert code == 1
    assert "half.npz" in facts["error"]
    assert "half.npz" in errors


@pytest.mark.parametrize(
    "arguments",
    [
        ["convert", "only_one"],
        ["convert", WALK, RUN, "one_file.npz"],
        ["package", WALK, "out.npz"],
        ["split", WALK, "out", "--shares", "train=2"],
        ["merge", WALK, "out"],
        ["synth", "out", "--speed", "fast"],
        ["convert", WALK, "out.npz", "--workers", "0"],
    ],
)
def test_impossible_requests_exit_with_2(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert "--help" in capsys.readouterr().err
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("arguments", [["nonsense"], [], ["convert", "--character", "dog"], ["inspect", "--nonsense"]])
def test_a_wrong_command_line_exits_with_2(arguments):
    with pytest.raises(SystemExit) as failure:
        main(arguments)
    assert failure.value.code == 2
