"""proto-sweep: many runs, by grids of overlays, settings and seeds."""

import json
import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Column, Table

from proto_agents.checkpoint import CheckpointError, find_checkpoint, load_state, write_atomically
from proto_agents.cli.sweep_jobs import run_all
from proto_agents.cli.sweep_runs import SweepRun, make_runs, read_grid, read_seeds
from proto_agents.cli.sweep_scripts import shell_script, slurm_script
from proto_agents.config import load_overlays, program_arguments, split_arguments
from proto_agents.evaluation.labels import label_of
from proto_agents.evaluation.robustness import Estimate, headline, over_runs
from proto_agents.parsing import ConfigError, nearest
from proto_agents.progress import Progress

DESCRIPTION = """Trains every combination of settings, with several seeds.

proto-sweep OVERLAYS... [--grid KEY=A,B,C ...] [--seeds 0,1,2] [FLAGS]: overlays and all flags but those below are
proto-train's, and those of every run. Run folders are named by what differs. Given once more, the same command skips
runs that are finished and goes on with the others. Exit code 1 where a run failed, 130 where a signal ended them."""


@dataclass(frozen=True)
class SweepArguments:
    """Flags of proto-sweep."""

    overlays: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """of every run, as proto-train takes them"""
    grid: tuple[str, ...] = ()
    """what differs: KEY=A,B,C of a setting (algorithm.gamma=0.95,0.99), values as YAML; or of a folder of configs/, and
    then overlays (exp=style-steering,style-facing robot=amp,smpl), which come after those of every run"""
    seeds: tuple[str, ...] = ("0",)
    """of the training, such as 0,1,2"""
    jobs: int = 1
    """runs at a time; the CPUs are divided among them"""
    folder: Path | None = None
    """of all runs; by default runs/<name>-sweep, after the overlays"""
    metric: str = ""
    """number of the evaluation of best/ that the table compares; by default success_rate, else runner.best_metric"""
    print: bool = False
    """print a shell script that does the runs one after the other, and do nothing"""
    slurm: bool = False
    """print a script for sbatch, an array with a task for each run and `jobs` at a time, and do nothing"""


OWN_FLAGS = frozenset(field.name for field in fields(SweepArguments) if field.name != "overlays")


@dataclass(frozen=True)
class Result:
    """What the runs of one variation have reached."""

    variation: str
    """what it differs by"""
    seeds: tuple[int, ...]
    """of the runs that are finished"""
    runs: int
    """finished or not"""
    values: tuple[float | None, ...]
    """of the metric, of each finished run"""
    estimate: Estimate
    """over them"""


def summarize_runs(runs: Sequence[SweepRun], metric: str = "") -> tuple[str, list[Result]]:
    """The metric that is compared, and what each variation has reached in it.

    Raises:
        ConfigError: no evaluation has that metric.
    """
    evaluations = {run: _evaluation(run) for run in runs if run.state() == "finished"}
    known = sorted({name for values in evaluations.values() for name in values})
    if metric and known and metric not in known:
        raise ConfigError(f"--metric {metric} is not in the evaluations; {nearest(metric, known)}")
    metric = metric or headline(known, runs[0].experiment.runner.best_metric)
    results = []
    for variation in dict.fromkeys(run.variation for run in runs):
        of_it = [run for run in runs if run.variation == variation]
        finished = [run for run in of_it if run in evaluations]
        values = tuple(evaluations[run].get(metric) for run in finished)
        seeds = tuple(run.seed for run in finished)
        results.append(Result(variation, seeds, len(of_it), values, over_runs(values, metric)))
    return metric, results


def _evaluation(run: SweepRun) -> Mapping[str, float]:
    """Numbers of the evaluation that best/ was chosen by; of the last one where there is no best/."""
    return load_state(find_checkpoint(run.folder))["evaluation"]


def print_results(metric: str, results: Sequence[Result], console: Console | None = None) -> None:
    """Prints the table of a sweep."""
    label = label_of(metric)
    table = Table(Column("variation", overflow="fold"), "runs", label.title, "95 % interval", "each seed")
    for result in results:
        mean, interval, _ = result.estimate.texts(metric)
        each = ", ".join("none" if value is None else label.format(value) for value in result.values)
        table.add_row(result.variation, f"{len(result.seeds)} of {result.runs}", mean, interval, each)
    (console or Console()).print(table)


def planned(options: SweepArguments, flags: Sequence[str]) -> tuple[Path, list[SweepRun]]:
    """The folder of the sweep, and its runs.

    Raises:
        ConfigError: a mistake in what was asked for.
    """
    if options.jobs < 1:
        raise ConfigError(f"--jobs must be at least 1, got {options.jobs}")
    name = load_overlays(options.overlays).get("name")
    folder = options.folder or Path("runs") / (f"{name}-sweep" if name else "sweep")
    return folder, make_runs(options.overlays, read_grid(options.grid), read_seeds(options.seeds), flags, folder)


def carry_out(runs: Sequence[SweepRun], jobs: int, folder: Path, metric: str, command: str) -> int:
    """Does the runs, and shows and writes what came of them; returns the exit code."""
    folder.mkdir(parents=True, exist_ok=True)
    with Progress() as progress:
        outcomes, interrupted = run_all(runs, jobs, progress)
    metric, results = summarize_runs(runs, metric)
    content: dict[str, Any] = {"command": command, "metric": metric, "results": [asdict(result) for result in results]}
    write_atomically(folder / "sweep.json", json.dumps(content, indent=1) + "\n")
    print_results(metric, results)
    ended = Counter(outcomes.values())
    print(", ".join(f"{count} {outcome}" for outcome, count in ended.items()))
    complete = ended.keys() == {"finished"}
    if complete:
        pattern = folder / ("*/*/best" if runs[0].variation else "*/best")
        print(f"compare with: proto-eval --checkpoints {shlex.quote(str(pattern))} --seeds 5")
    else:
        print(f"go on with: {command}")
    return 130 if interrupted else int(not complete)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of proto-sweep."""
    words = program_arguments(arguments)
    own, flags = split_arguments(words, OWN_FLAGS)
    options = tyro.cli(SweepArguments, args=own, prog="proto-sweep", description=DESCRIPTION)
    command = shlex.join(["proto-sweep", *words])
    try:
        folder, runs = planned(options, flags)
        todo = [run for run in runs if run.state() != "finished"]
        if options.print or options.slurm:
            if not todo:
                raise ConfigError(f"all {len(runs)} runs in {folder} are finished")
            script = (
                slurm_script(todo, command, folder.name, options.jobs) if options.slurm else shell_script(todo, command)
            )
            print(script, end="")
            sys.exit(0)
        sys.exit(carry_out(runs, options.jobs, folder, options.metric, command))
    except (CheckpointError, ConfigError, OSError) as error:
        sys.exit(f"proto-sweep: {error}")


if __name__ == "__main__":
    main()
