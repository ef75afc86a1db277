"""The runs of a sweep: what each of them is, where it is kept, and how far it has come."""

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from proto_agents.checkpoint import CheckpointError, find_checkpoint, load_state
from proto_agents.cli.beginning import difference
from proto_agents.cli.environments import find_run
from proto_agents.cli.train import parse_arguments
from proto_agents.config import FREE_MAPPINGS, Experiment, config_root, find_overlay
from proto_agents.parsing import ConfigError, load_yaml, nested, parse_dataclass

State = Literal["new", "interrupted", "finished"]


@dataclass(frozen=True)
class Axis:
    """What differs between runs: a setting, or which overlay of a group is taken."""

    key: str
    """dotted name of the setting, or the folder of `configs/` that the overlays are in"""
    values: tuple[Any, ...]
    """of the setting, or names of overlays"""
    of_overlays: bool
    """whether it is a group of overlays"""


@dataclass(frozen=True, eq=False)
class SweepRun:
    """One run."""

    variation: str
    """what it differs by from others, but for the seed; empty where nothing else differs"""
    seed: int
    """of the training"""
    experiment: Experiment
    """with the run folder in `runner.run_dir`"""
    arguments: tuple[str, ...]
    """of proto-train, but for the run folder"""

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.experiment.runner.run_dir)

    @property
    def title(self) -> str:
        """What it is called where runs are listed."""
        return f"{self.variation} seed {self.seed}".strip()

    def state(self) -> State:
        """How far it has come, by its folder."""
        settings = self.experiment.runner
        try:
            samples = load_state(find_checkpoint(self.folder, ("last",)))["samples"]
        except CheckpointError:
            return "new"
        lacks_report = settings.report and not (self.folder / "report.json").is_file()
        return "interrupted" if samples < settings.max_samples or lacks_report else "finished"

    def command(self) -> list[str]:
        """Arguments of proto-train that begin the run, or go on with it."""
        if self.state() == "new":
            return [*self.arguments, "--runner.run-dir", str(self.folder)]
        return ["--resume", str(self.folder), *self.resume_flags()]

    def resume_flags(self) -> list[str]:
        """What may have been changed since the run was begun."""
        settings = self.experiment.runner
        return [*flag("runner.max_samples", settings.max_samples), *flag("runner.report", settings.report)]

    def check_folder(self) -> None:
        """Refuse a folder with another run in it.

        Raises:
            ConfigError: naming a setting that differs.
        """
        try:
            stored, _ = find_run(str(self.folder), ("last",))
        except CheckpointError:
            return
        if differs := difference(stored, self.experiment):
            raise ConfigError(f"{self.folder} holds a run with other settings: {differs}; choose another --folder")


def read_grid(items: Sequence[str]) -> list[Axis]:
    """What `--grid KEY=VALUE,VALUE,...` says; values are read as YAML.

    Raises:
        ConfigError: no such setting, value or overlay; names the nearest.
    """
    groups = {path.name for path in config_root().iterdir() if path.is_dir()}
    axes = []
    for item in items:
        key, equals, text = item.partition("=")
        key, where = key.replace("-", "_"), f"--grid {item}"
        values = load_yaml(f"[{text}]", where)
        if not equals or not key or not values:
            raise ConfigError(f"{where}: want KEY=VALUE,VALUE,...")
        if key in _RESERVED:
            raise ConfigError(f"{where}: {_RESERVED[key]}")
        if key in groups:
            values = [str(value) for value in values]
            for value in values:
                find_overlay(_overlay(key, value))
        else:
            for value in values:
                parse_dataclass(Experiment, nested(key.split("."), value), where)
        axes.append(Axis(key, tuple(values), key in groups))
    return axes


def read_seeds(texts: Sequence[str]) -> tuple[int, ...]:
    """What `--seeds 0,1,2` says.

    Raises:
        ConfigError: something there is no whole number.
    """
    seeds = load_yaml(f"[{','.join(texts)}]", "--seeds")
    if not seeds or any(not isinstance(seed, int) or isinstance(seed, bool) or seed < 0 for seed in seeds):
        raise ConfigError(f"--seeds wants whole numbers such as 0,1,2, not {' '.join(texts)}")
    return tuple(dict.fromkeys(seeds))


def make_runs(
    overlays: Sequence[str], axes: Sequence[Axis], seeds: Sequence[int], flags: Sequence[str], folder: Path
) -> list[SweepRun]:
    """All runs: every value of every axis with every other, and every seed.

    Args:
        overlays: of all runs.
        axes: what differs. Overlays come after those of all runs, settings after `flags`.
        seeds: of the training.
        flags: of proto-train, of all runs.
        folder: in which each run gets one of its own, named by what differs.

    Raises:
        ConfigError: a mistake in what proto-train would be given, two runs alike, or a folder with another run in it.
    """
    for word in flags:
        key = word.removeprefix("--").partition("=")[0].replace("-", "_")
        if word.startswith("--") and key in _RESERVED:
            raise ConfigError(f"{word}: {_RESERVED[key]}")
    runs = []
    for values in itertools.product(*(axis.values for axis in axes)):
        pairs = list(zip(axes, values, strict=True))
        chosen = [_overlay(axis.key, value) for axis, value in pairs if axis.of_overlays]
        settings = [word for axis, value in pairs if not axis.of_overlays for word in flag(axis.key, value)]
        arguments = [*overlays, *chosen, *flags, *settings]
        experiment = parse_arguments(arguments).experiment
        name = ",".join([experiment.name, *(_part(a, v, axes) for a, v in pairs if a.key != "exp")])
        variation = ",".join(_part(axis, value, axes) for axis, value in pairs)
        for seed in seeds:
            place = str(folder / variation / f"seed-{seed}")
            of_run = replace(experiment, name=name, runner=replace(experiment.runner, seed=seed, run_dir=place))
            words = (*arguments, "--name", name, "--runner.seed", str(seed))
            runs.append(SweepRun(variation, seed, of_run, words))
    for taken, count in Counter(run.folder for run in runs).items():
        if count > 1:
            raise ConfigError(f"{count} runs of the grid would be kept in {taken}: values that differ must be named so")
    for run in runs:
        run.check_folder()
    return runs


def flag(key: str, value: Any) -> list[str]:  # noqa: ANN401 - YAML
    """A setting as words of proto-train's command line."""
    if any(key.startswith(f"{prefix}.") for prefix in FREE_MAPPINGS):
        return [f"--{key}", yaml.safe_dump(value, default_flow_style=True).removesuffix("\n").removesuffix("\n...")]
    path, _, last = key.replace("_", "-").rpartition(".")
    place = f"--{path}." if path else "--"
    match value:
        case bool():
            return [f"{place}{'' if value else 'no-'}{last}"]
        case list():
            return [f"{place}{last}", *map(str, value)]
    return [f"{place}{last}", str(value)]


_RESERVED = {
    "name": "a sweep names its runs by what differs",
    "runner.seed": "give the seeds with --seeds",
    "runner.run_dir": "give the place of all runs with --folder",
    "resume": "a sweep goes on with its runs by itself",
    "estimate": "ask proto-train, for one run",
}


def _overlay(group: str, value: str) -> str:
    return value if group == "exp" or value.endswith((".yaml", ".yml")) else f"{group}/{value}"


def _part(axis: Axis, value: Any, axes: Sequence[Axis]) -> str:  # noqa: ANN401 - YAML
    """A value as a part of the names of runs: speed=1.5, or the whole key where two end alike."""
    if axis.of_overlays:
        text = Path(value).stem
        return text if axis.key == "exp" else f"{axis.key}={text}"
    last = axis.key.rpartition(".")[2]
    alike = sum(other.key.rpartition(".")[2] == last for other in axes)
    return f"{last if alike == 1 else axis.key}={_text(value)}"


def _text(value: Any) -> str:  # noqa: ANN401 - YAML
    match value:
        case bool() | None:
            return str(value).lower()
        case float():
            return f"{value:g}"
        case list():
            return "-".join(map(_text, value))
    return re.sub(r"[^\w.+-]+", "-", str(value)).strip("-")
