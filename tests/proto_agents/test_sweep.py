"""Grids of runs."""

import dataclasses
import json
import math
import os
import re
import shlex
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
import tyro
import yaml
from scipy.stats import t as student

from proto_agents.checkpoint import load_state
from proto_agents.cli import sweep
from proto_agents.cli.sweep_runs import flag, make_runs, read_grid, read_seeds
from proto_agents.cli.sweep_scripts import shell_script, slurm_script
from proto_agents.cli.train import parse_arguments
from proto_agents.config import split_arguments
from proto_agents.distributed import cpu_shares
from proto_agents.parsing import ConfigError, plain

PAGE = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text(encoding="utf-8")
TINY = (
    *(
        "--env.num-envs",
        "2",
        "--algorithm.horizon",
        "8",
        "--runner.max-samples",
        "32",
        "--runner.checkpoint-every",
        "16",
    ),
    *("--evaluation.num-envs", "2", "--runner.logger", "none", "--runner.no-report"),
)


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def exit_code(*arguments):
    with pytest.raises(SystemExit) as end:
        sweep.main(list(arguments))
    return end.value.code


def runs_of(*grid, overlays=("cartpole",), seeds=(0,), flags=TINY):
    return make_runs(overlays, read_grid(grid), seeds, flags, Path("runs/s"))


def finish(run, **evaluation):
    """Leaves what a finished run would, with these numbers."""
    run.folder.joinpath("best").mkdir(parents=True)
    for name in ("best", "last"):
        run.folder.joinpath(name).mkdir(exist_ok=True)
        (run.folder / name / "model.safetensors").touch()
        state = {"format": 1, "samples": run.experiment.runner.max_samples, "evaluation": evaluation}
        (run.folder / name / "state.json").write_text(json.dumps(state))
    (run.folder / "config.yaml").write_text(yaml.safe_dump(plain(run.experiment)))


def test_every_value_meets_every_other_with_every_seed():
    runs = runs_of("algorithm.gamma=0.9,0.99", "model.hidden-sizes=[8],[8, 4]", seeds=(3, 5))
    assert len(runs) == len({run.folder for run in runs}) == 8
    assert str(runs[0].folder) == "runs/s/gamma=0.9,hidden_sizes=8/seed-3"
    assert str(runs[-1].folder) == "runs/s/gamma=0.99,hidden_sizes=8-4/seed-5"
    last = runs[-1].experiment
    assert (last.algorithm.gamma, last.model.hidden_sizes, last.runner.seed) == (0.99, (8, 4), 5)
    assert last.name == "cartpole,gamma=0.99,hidden_sizes=8-4"


def test_what_a_run_is_given_is_what_it_is_said_to_be():
    grid = (
        "env.kwargs.limit=[1, 2],null",
        "model.learn_std=true,false",
        "algorithm.value_clip=null,0.2",
        "opt=smoke,gpu",
    )
    for run in runs_of(*grid, flags=("--env.kwargs.other", "3")):
        assert parse_arguments(run.command()).experiment == run.experiment
        assert run.state() == "new"


def test_overlays_may_differ():
    runs = runs_of("exp=style-steering,style-facing", "perturbation=none,pushes", overlays=("style-walk",), flags=())
    assert runs[0].arguments[:3] == ("style-walk", "style-steering", "perturbation/none")
    assert [run.variation for run in runs[2:]] == ["style-facing,perturbation=none", "style-facing,perturbation=pushes"]
    assert runs[3].experiment.name == "style-facing,perturbation=pushes"
    assert runs[0].experiment.env.id == "ProtoSteering-AMP-v0"
    Path("mine.yaml").write_text("algorithm: {gamma: 0.5}")
    (mine,) = runs_of("exp=mine.yaml")
    assert mine.variation == "mine" and mine.experiment.algorithm.gamma == 0.5


def test_settings_that_end_alike_are_named_in_full():
    (run,) = runs_of("env.num_envs=4", "evaluation.num_envs=8")
    assert run.variation == "env.num_envs=4,evaluation.num_envs=8"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cartpole", "--grid", "algorithm.gama=0.9"), "did you mean 'gamma'"),
        (("cartpole", "--grid", "algorithm.gamma=high"), "algorithm.gamma must be float"),
        (("cartpole", "--grid", "exp=cartpol"), "did you mean 'cartpole'"),
        (("cartpole", "--grid", "algorithm.gamma"), "KEY=VALUE"),
        (("cartpole", "--grid", "runner.seed=1,2"), "--seeds"),
        (("cartpole", "--grid", "algorithm.gamma=0.9,0.9"), "2 runs of the grid"),
        (("cartpole", "--seeds", "one"), "--seeds wants whole numbers"),
        (("cartpole", "--runner.run-dir=x"), "--folder"),
        (("cartpole", "--resume", "x"), "by itself"),
        (("cartpole", "--jobs", "0"), "--jobs must be at least 1"),
        (("cartpol",), "did you mean 'cartpole'"),
    ],
)
def test_mistakes_end_with_a_sentence_before_anything_runs(arguments, message):
    assert message in str(exit_code(*arguments))
    assert not Path("runs").exists()


def test_seeds_are_written_with_commas_or_blanks():
    assert read_seeds(["0,1,2"]) == read_seeds(["0", "1", "2"]) == (0, 1, 2)


def test_flags_are_told_apart():
    own, others = split_arguments(
        ["a", "b", "--env.num-envs", "4", "--grid", "x.y=-1,2", "z=3", "--runner.no-report", "--jobs=2", "--print"],
        sweep.OWN_FLAGS,
    )
    assert own == ["a", "b", "--grid", "x.y=-1,2", "z=3", "--jobs=2", "--print"]
    assert others == ["--env.num-envs", "4", "--runner.no-report"]


def test_a_folder_with_another_run_in_it_is_refused():
    (run,) = runs_of()
    finish(run)
    (longer,) = runs_of(flags=(*TINY, "--runner.max-samples", "64"))
    assert longer.state() == "interrupted" and longer.command()[:2] == ["--resume", "runs/s/seed-0"]
    assert parse_arguments(longer.command()).experiment.runner.max_samples == 64
    with pytest.raises(
        ConfigError, match=r"seed-0 holds a run with other settings: algorithm.gamma is 0.99 .* not 0.5"
    ):
        runs_of(flags=(*TINY, "--algorithm.gamma", "0.5"))


def test_a_run_that_lacks_its_report_is_not_finished():
    (run,) = runs_of(flags=TINY[:-1])
    finish(run)
    assert run.state() == "interrupted"
    (run.folder / "report.json").write_text("{}")
    assert run.state() == "finished"


def test_the_table_has_means_and_intervals_over_seeds(capsys):
    runs = runs_of("algorithm.gamma=0.9,0.99", seeds=(0, 1, 2))
    for run, rate in zip(runs[:5], (0.2, 0.4, 0.6, 0.5, 0.7), strict=True):
        finish(run, success_rate=rate, mean_return=1.0)
    metric, (low, high) = sweep.summarize_runs(runs)
    reach = student.ppf(0.975, 2) * 0.2 / math.sqrt(3)
    assert metric == "success_rate" and (low.seeds, high.seeds, high.runs) == ((0, 1, 2), (0, 1), 3)
    assert low.estimate.mean == pytest.approx(0.4)
    assert low.estimate.interval == pytest.approx((0.0, 0.4 + reach)), "no share is below 0"
    sweep.print_results(metric, [low, high])
    assert "2 of 3" in capsys.readouterr().out
    assert sweep.summarize_runs(runs, "mean_return")[0] == "mean_return"
    with pytest.raises(ConfigError, match="did you mean 'success_rate'"):
        sweep.summarize_runs(runs, "succes_rate")


def test_cpus_are_divided_among_jobs(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {2, 3, 5, 7, 8}, raising=False)
    assert cpu_shares(1) == [()]
    assert cpu_shares(2) == [(2, 3), (5, 7, 8)]
    assert cpu_shares(6)[5] == (8,) and sorted({cpu for share in cpu_shares(6) for cpu in share}) == [2, 3, 5, 7, 8]


@pytest.fixture
def recorded(monkeypatch):
    """Stands in for proto-train: notes its arguments, and fails for seed 1."""
    Path("bin").mkdir()
    program = Path("bin/proto-train")
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$*" >> calls\ncase "$*" in *"seed 1"*) exit 3 ;; esac\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{Path('bin').resolve()}:{os.environ['PATH']}")
    return Path("calls")


def test_the_script_does_the_runs_and_goes_on_with_those_that_were_begun(recorded):
    runs = runs_of("env.kwargs.name=[a b]", seeds=(0, 1, 2))
    Path(runs[2].folder, "last").mkdir(parents=True)
    ended = subprocess.run(["sh", "-c", shell_script(runs, "proto-sweep x")], check=False)
    calls = recorded.read_text().splitlines()
    assert ended.returncode == 1 and len(calls) == 3, "one that fails does not stop the others"
    assert calls[0] == " ".join([*runs[0].arguments, "--runner.run-dir", str(runs[0].folder)])
    assert calls[2] == f"--resume {runs[2].folder} --runner.max-samples 32 --runner.no-report"


def test_an_array_task_does_its_run(recorded):
    runs = runs_of(seeds=(0, 1, 2))
    script = slurm_script(runs, "proto-sweep x", "sweep", 2)
    assert "#SBATCH --array=0-2%2" in script
    ends = [
        subprocess.run(["sh", "-c", script], env=os.environ | {"SLURM_ARRAY_TASK_ID": n}, check=False) for n in "21"
    ]
    calls = recorded.read_text().splitlines()
    assert [end.returncode for end in ends] == [0, 3] and "--runner.seed 2" in calls[0] and len(calls) == 2


def test_printing_leaves_nothing_behind(capsys):
    assert exit_code("cartpole", "--grid", "algorithm.gamma=0.9,0.99", "--print", *TINY) == 0
    script = capsys.readouterr().out
    commands = [shlex.split(line)[3:] for line in script.splitlines() if line.startswith("run runs/")]
    assert [parse_arguments(words).experiment.algorithm.gamma for words in commands] == [0.9, 0.99]
    assert not Path("runs").exists()
    for run in make_runs(["cartpole"], [], [0], TINY, Path("runs/cartpole-sweep")):
        finish(run)
    assert "are finished" in str(exit_code("cartpole", "--slurm", *TINY))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("runner.max_samples", 5, ["--runner.max-samples", "5"]),
        ("model.symmetric", True, ["--model.symmetric"]),
        ("model.symmetric", False, ["--model.no-symmetric"]),
        ("model.hidden_sizes", [8, 4], ["--model.hidden-sizes", "8", "4"]),
        ("env.task.speed", [0.5, 1], ["--env.task.speed", "[0.5, 1]"]),
        ("env.task.start", "zero", ["--env.task.start", "zero"]),
    ],
)
def test_settings_are_flags(key, value, words):
    assert flag(key, value) == words


def test_a_run_that_fails_does_not_stop_the_others_and_finished_ones_are_skipped(capsys):
    arguments = ("cartpole", "--grid", "env.id=CartPole-v1,CartPol-v1", "--jobs", "2", *TINY)
    assert exit_code(*arguments) == 1
    output = capsys.readouterr().out
    assert "id=CartPol-v1 seed 0 failed" in output and "nearest: CartPole-v1" in output
    folder = Path("runs/cartpole-sweep")
    assert load_state(folder / "id=CartPole-v1/seed-0/last")["samples"] == 32
    stored = json.loads((folder / "sweep.json").read_text())
    assert stored["metric"] == "mean_return"
    assert [result["seeds"] for result in stored["results"]] == [[0], []]

    assert exit_code("cartpole", "--grid", "env.id=CartPole-v1", *TINY) == 0
    output = capsys.readouterr().out
    assert "1 of 1 runs are finished already" in output and "starts" not in output


def test_a_signal_makes_runs_save_and_the_same_command_goes_on(monkeypatch, capsys):
    arguments = ["cartpole", *TINY]
    arguments[arguments.index("32")] = "100000000"
    folder = Path("runs/cartpole-sweep/seed-0")

    def press_when_it_runs():
        while not (folder / "last/state.json").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press_when_it_runs, daemon=True).start()
    assert exit_code(*arguments, "--seeds", "0,1") == 130
    output = capsys.readouterr().out
    assert "seed 0 interrupted" in output and "1 interrupted, 1 not started" in output
    assert "stopped by SIGTERM" in (folder / "output.log").read_text()
    samples = load_state(folder / "last")["samples"]
    assert 0 < samples < 100000000
    arguments[arguments.index("100000000")] = str(samples + 16)
    assert exit_code(*arguments) == 0
    assert "seed 0 goes on" in capsys.readouterr().out and load_state(folder / "last")["samples"] == samples + 16


@pytest.mark.parametrize("command", re.findall(r"^proto-sweep ([^|>\n]*)", PAGE, re.MULTILINE))
def test_every_command_in_the_docs_is_understood(command):
    own, flags = split_arguments(shlex.split(command), sweep.OWN_FLAGS)
    options = tyro.cli(sweep.SweepArguments, args=own)
    _, runs = sweep.planned(options, flags)
    seeds = len(read_seeds(options.seeds))
    assert len(runs) == seeds * math.prod(len(axis.values) for axis in read_grid(options.grid))


def test_the_docs_name_every_flag():
    table = PAGE.split("| part | is |")[1].split("\n\n")[0]
    named = set(re.findall(r"^\| `--(\w+)", table, re.MULTILINE))
    assert named == {field.name for field in dataclasses.fields(sweep.SweepArguments)} - {"overlays"}
