"""The main job across all four packages, as its commands run it: train, evaluate, resume, show, and what goes wrong."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import imageio.v3 as iio
import pytest
import yaml
from safetensors.torch import load_file

from proto_agents.cli import evaluate, export, train
from proto_agents.cli.environments import find_run
from proto_agents.evaluation import check_expectations

PRETRAINED = Path(str(files("proto_agents"))) / "pretrained"
TINY = [
    *("--env.num-envs", "16", "--env.kwargs.threads", "1"),
    *("--algorithm.horizon", "8", "--algorithm.minibatch-size", "64", "--algorithm.epochs", "2"),
    *("--algorithm.anneal", "0"),  # it goes by the share of max_samples, which differs between parts and whole
    *("--model.hidden-sizes", "32", "32", "--model.critic-hidden-sizes", "32", "32"),
    *("--evaluation.num-envs", "4", "--evaluation.seconds", "1"),
    *("--runner.evaluate-every", "512", "--runner.checkpoint-every", "512", "--runner.threads", "1"),
    "--runner.no-report",
]


def run(command: str, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """A command of ours in a process of its own."""
    module = f"proto_agents.cli.{command}"
    return subprocess.run(
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True, timeout=timeout, check=False
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of quickstart of 1024 samples."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    result = run("train", "quickstart", *TINY, "--runner.max-samples", "1024", "--runner.run-dir", str(folder))
    assert result.returncode == 0, result.stderr
    return folder


def test_a_run_folder_holds_config_checkpoints_and_history(trained: Path):
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert config["env"]["id"] == "ProtoMimic-AMP-v0"
    assert config["env"]["task"]["action"] == "residual"
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["samples"] == 1024
    assert "evaluation/mpjpe_mm" in lines[-1]
    assert (trained / "best" / "model.safetensors").is_file()
    assert (trained / "last" / "trainer.safetensors").is_file()


def test_evaluation_prints_one_json_line_last_and_says_by_exit_code_that_the_expectation_is_missed(trained: Path):
    result = run("evaluate", str(trained), "--json")
    report = json.loads(result.stdout.strip().splitlines()[-1])
    recorded = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    best = min(line["evaluation/mpjpe_mm"] for line in recorded if "evaluation/mpjpe_mm" in line)
    assert report["mpjpe_mm"] == best  # same seed, same policy: equal to the last digit
    assert {"success_rate", "mpjpe_mm", "mpjpe_root_relative_mm", "success_rate_max_error"} <= report.keys()
    assert report["steps"] == 30
    assert not report["expectations_met"]
    assert result.returncode == 1


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(trained: Path, tmp_path: Path):
    folder = tmp_path / "two-parts"
    first = run("train", "quickstart", *TINY, "--runner.max-samples", "512", "--runner.run-dir", str(folder))
    assert first.returncode == 0, first.stderr
    second = run("train", "--resume", str(folder), "--runner.max-samples", "1024")
    assert second.returncode == 0, second.stderr
    for name in ("model", "trainer"):
        whole = load_file(trained / "last" / f"{name}.safetensors")
        parts = load_file(folder / "last" / f"{name}.safetensors")
        assert whole.keys() == parts.keys()
        different = [key for key in whole if not whole[key].equal(parts[key])]
        assert not different


def test_an_interrupted_run_leaves_a_checkpoint_that_resumes(tmp_path: Path):
    folder = tmp_path / "interrupted"
    command = [sys.executable, "-m", "proto_agents.cli.train", "quickstart", *TINY, "--runner.run-dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 90
    while not (folder / "metrics.jsonl").exists() or not (folder / "metrics.jsonl").stat().st_size:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"proto-train --resume {folder}" in output
    done = json.loads((folder / "last" / "state.json").read_text())["samples"]
    resumed = run("train", "--resume", str(folder), "--runner.max-samples", str(done + 128))
    assert resumed.returncode == 0, resumed.stderr


def test_play_writes_a_video_of_robot_and_reference(trained: Path, tmp_path: Path):
    video = tmp_path / "video.mp4"
    result = run("play", str(trained), "--video", str(video), "--seconds", "0.2")
    if "cannot render without a display" in result.stderr:
        pytest.skip("no EGL or OSMesa here")
    assert result.returncode == 0, result.stderr
    frames = iio.imread(video)
    assert frames.shape == (6, 480, 640, 3)
    assert frames.std() > 10


def test_an_exported_policy_scores_as_the_run_does_without_its_value_function(trained: Path, tmp_path: Path):
    export.main([str(trained), str(tmp_path / "policy")])
    names = load_file(tmp_path / "policy" / "model.safetensors").keys()
    assert not [name for name in names if name.startswith("critic")]
    reports = []
    for source in (trained, tmp_path / "policy"):
        experiment, checkpoint = find_run(str(source))
        reports.append(evaluate.evaluate_checkpoint(experiment, checkpoint))
    assert reports[0] == reports[1]


@pytest.mark.parametrize("name", sorted(path.parent.name for path in PRETRAINED.glob("*/model.safetensors")))
def test_a_shipped_policy_meets_what_its_experiment_expects(name: str):
    experiment, checkpoint = find_run(f"pretrained/{name}")
    assert experiment.expect
    few = replace(experiment, evaluation=replace(experiment.evaluation, num_envs=16))
    report = evaluate.evaluate_checkpoint(few, checkpoint)
    assert not [result for result in check_expectations(report, experiment.expect) if not result.passed]


def refused(main: Callable[[list[str]], None], arguments: list[str]) -> str:
    """The message that a command ends with, run in this process."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code != 0
    return str(end.value.code)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["quikstart"], "quickstart"),
        (["quickstart", "--env.id", "ProtoMimic-AMPP-v0"], "ProtoMimic-AMP-v0"),
        (["quickstart", "--env.motions", "wolk"], "walk"),
        (["quickstart", "--env.task.rewardz", "v3"], "rewards"),
        (["quickstart", "--env.task.rewards", "v4"], "'v3'"),
        (["quickstart", "--env.kwargs.thread", "1"], "threads"),
        (["quickstart", "--env.task.future-steps", "soon"], "future_steps"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_what_would_be_right(arguments: list[str], message: str, tmp_path: Path):
    assert message in refused(train.main, [*arguments, "--runner.run-dir", str(tmp_path / "run")])


def test_a_damaged_checkpoint_is_refused_with_its_path(trained: Path, tmp_path: Path):
    folder = shutil.copytree(trained, tmp_path / "damaged")
    weights = folder / "last" / "trainer.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    assert str(weights) in refused(train.main, ["--resume", str(folder), "--runner.max-samples", "2048"])


def test_a_run_folder_that_cannot_be_made_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    assert "file" in refused(train.main, ["quickstart", *TINY, "--runner.run-dir", str(tmp_path / "file" / "run")])


def test_a_policy_of_one_robot_is_refused_for_another(trained: Path, tmp_path: Path):
    folder = shutil.copytree(trained, tmp_path / "other")
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("ProtoMimic-AMP-v0", "ProtoMimic-SMPL-v0"))
    assert "does not fit" in refused(evaluate.main, [str(folder)])
