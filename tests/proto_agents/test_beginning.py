"""Where a run begins, and that it goes on where it was after its processes have died."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from proto_agents.checkpoint import load_state
from proto_agents.cli import environments, train
from proto_agents.cli.beginning import LAUNCH_FILE, begin
from proto_agents.config import load_experiment
from proto_agents.parsing import ConfigError

EXPERIMENT = """
name: point
env: {id: PointTest-v0, num_envs: 8}
model: {hidden_sizes: [16], critic_hidden_sizes: [16]}
algorithm: {horizon: 8, minibatch_size: 32, epochs: 2}
runner: {max_samples: 192, evaluate_every: 64, checkpoint_every: 64, logger: none}
evaluation: {num_envs: 4, seconds: 1}
"""
SMALL = (
    *("cartpole", "--env.num-envs", "4", "--algorithm.horizon", "16", "--runner.logger", "none", "--runner.no-report"),
    *("--runner.checkpoint-every", "256", "--runner.evaluate-every", "0", "--evaluation.num-envs", "2"),
)
MANY = 100_000_000
"""samples; nobody waits for them"""


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environments, "register_environments", lambda identifier: None)
    (tmp_path / "point.yaml").write_text(EXPERIMENT)
    return tmp_path


@pytest.fixture
def restarted(monkeypatch):
    """As torchrun starts processes for the second time."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job-7")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")


def run(*arguments):
    with pytest.raises(SystemExit) as end:
        train.main(list(arguments))
    return end.value.code


def rows(folder):
    return [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]


def test_a_run_with_auto_resume_begins_goes_on_and_is_finished_once(capsys):
    assert run("point.yaml", "--runner.auto-resume") == 0
    assert run("point.yaml", "--runner.auto-resume", "--runner.max-samples", "320") == 0
    assert "point: PointTest-v0, goes on in runs/point" in capsys.readouterr().out
    assert run("point.yaml", "--runner.auto-resume", "--runner.max-samples", "320") == 0
    assert [row["iteration"] for row in rows("runs/point")] == [1, 2, 3, 4, 5]
    assert [path.name for path in Path("runs").iterdir()] == ["point"]


def test_without_it_a_second_run_has_a_folder_of_its_own():
    assert run("point.yaml") == run("point.yaml") == 0
    assert sorted(path.name for path in Path("runs").iterdir()) == ["point", "point-2"]


def test_a_folder_with_another_run_is_refused_and_the_setting_named():
    assert run("point.yaml") == 0
    message = run("point.yaml", "--runner.auto-resume", "--algorithm.gamma", "0.5")
    assert "runs/point holds a run with other settings: algorithm.gamma is 0.97 there, not 0.5" in str(message)


def test_a_run_that_died_before_its_first_checkpoint_begins_again_in_its_folder():
    Path("runs/point").mkdir(parents=True)
    Path("runs/point/config.yaml").write_text("name: point\n")
    assert run("point.yaml", "--runner.auto-resume") == 0
    assert [row["iteration"] for row in rows("runs/point")] == [1, 2, 3]


def test_processes_that_are_started_anew_find_the_folder_of_their_launch(restarted, monkeypatch):
    for name, launch in (("point", "job-6"), ("point-2", "job-7"), ("point-3", "job-8")):
        (folder := Path("runs") / name).mkdir(parents=True)
        (folder / LAUNCH_FILE).write_text(launch)
    experiment = load_experiment(["point.yaml"])
    assert begin(experiment)[0].runner.run_dir == "runs/point-2"
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job-9")
    assert begin(experiment)[0].runner.run_dir == "runs/point-4"
    assert Path("runs/point-4", LAUNCH_FILE).read_text() == "job-9"


def test_the_launching_process_names_a_launch_without_a_name(restarted, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    experiment = load_experiment(["point.yaml"])
    assert begin(experiment)[0].runner.run_dir == begin(experiment)[0].runner.run_dir == "runs/point"
    monkeypatch.setattr(os, "getppid", lambda: 1)
    assert begin(experiment)[0].runner.run_dir == "runs/point-2"


def test_environments_that_cannot_be_split_are_refused(monkeypatch):
    monkeypatch.setattr(environments.distributed, "world_size", lambda: 3)
    with pytest.raises(ConfigError, match=r"env\.num_envs 8 cannot be split over 3 processes; try 6 or 9"):
        environments.make_training_environment(load_experiment(["point.yaml"]))


# --- real processes --------------------------------------------------------------------------------------------------


def started(*command, **variables):
    """A process without our own one's launcher, in a session of its own."""
    return subprocess.Popen(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"} | variables, stdout=subprocess.PIPE, text=True
    )


def wait_for(condition, seconds=600.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.2)


def samples(folder="runs/cartpole"):
    try:
        return load_state(Path(folder) / "last")["samples"]
    except Exception:  # not there yet, or being replaced
        return 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGKILL])
def test_a_killed_process_that_is_started_again_goes_on(number):
    command = (sys.executable, "-m", "proto_agents.cli.train", *SMALL, "--runner.auto-resume", "--runner.max-samples")
    first = started(*command, str(MANY))
    wait_for(lambda: samples() > 0)
    first.send_signal(number)
    assert first.wait(300) == (130 if number == signal.SIGUSR1 else -signal.SIGKILL)
    reached = samples()
    second = started(*command, str(reached + 640))
    assert second.wait(600) == 0 and "goes on in runs/cartpole" in second.stdout.read()
    assert samples() == reached + 640
    assert [row["samples"] for row in rows("runs/cartpole")] == list(range(64, reached + 641, 64))


@pytest.mark.slow
def test_torchrun_starts_processes_anew_and_they_go_on(workspace):
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1")
    arguments = ("-m", "proto_agents.cli.train", *SMALL, "--runner.max-samples", "100000")
    launcher = started(sys.executable, *launch, *arguments)
    wait_for(lambda: samples() > 0)
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    assert len(children) == 2
    os.kill(int(children[1]), signal.SIGKILL)
    wait_for(lambda: children[0] not in _children(launcher.pid))
    reached = samples()
    wait_for(lambda: samples() > reached)
    launcher.send_signal(signal.SIGTERM)
    output = launcher.communicate(timeout=300)[0]
    assert output.count("cartpole: CartPole-v1, run folder runs/cartpole") == 1
    assert output.count("cartpole: CartPole-v1, goes on in runs/cartpole") == 1
    assert output.count("stopped by SIGTERM") == 1  # all saved one checkpoint, rank 0 says so
    state = load_state(Path("runs/cartpole/last"))
    assert state["ranks"] == 2 and [path.name for path in Path("runs").iterdir()] == ["cartpole"]
    assert [row["samples"] for row in rows("runs/cartpole")] == list(range(64, state["samples"] + 1, 64))


def _children(process):
    try:
        return Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except FileNotFoundError:
        return []
