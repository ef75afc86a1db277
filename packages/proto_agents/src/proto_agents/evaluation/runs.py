"""Run folders as a report reads them: also those that are going on, were cut off, or are of an earlier version."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import yaml

from proto_agents.config import without_bookkeeping
from proto_agents.evaluation.statistics import Interval
from proto_agents.logging import read_json_lines
from proto_agents.parsing import flat

__all__ = ["Group", "Run", "RunError", "differing_settings", "grouped_runs", "read_run"]

State = Literal["finished", "running", "stopped"]

_ALIVE = 600.0
"""s without a line of metrics after which a run that is not at its end counts as stopped"""


class RunError(ValueError):
    """A folder that cannot be read as a run; the message says which and why."""


@dataclass(frozen=True, eq=False)
class Run:
    """One run folder."""

    folder: Path
    settings: Mapping[str, Any]
    """as in config.yaml"""
    rows: Sequence[Mapping[str, Any]]
    """of metrics.jsonl, at least one"""
    report: Mapping[str, Any]
    """of report.json; empty where there is none"""
    state: State
    """how far it is"""
    notes: tuple[str, ...] = ()
    """what could not be read"""

    @property
    def name(self) -> str:
        """Of the experiment."""
        return str(self.settings.get("name") or self.folder.name)

    @property
    def seed(self) -> int | None:
        """Of the training."""
        return self.settings.get("runner", {}).get("seed")

    @property
    def samples(self) -> int:
        """Seen so far."""
        return int(self.rows[-1]["samples"])

    @property
    def speed(self) -> float | None:
        """Samples per second, the median over iterations, without evaluations."""
        found = [row["speed/samples_per_second"] for row in self.rows if row.get("speed/samples_per_second")]
        return median(found) if found else None

    def curve(self, metric: str) -> tuple[list[float], list[float]]:
        """Samples and values of a metric, of the rows that have it."""
        points = [(float(row["samples"]), float(row[metric])) for row in self.rows if row.get(metric) is not None]
        return [x for x, _ in points], [y for _, y in points]

    def final(self, metric: str) -> tuple[float | None, Interval | None]:
        """What the report says of a number of the evaluation, else the last evaluation in training; and its interval.

        metric: such as success_rate, without "evaluation/".
        """
        parts = (self.report, self.report.get("numbers") or {})
        value = next((part[metric] for part in parts if isinstance(part.get(metric), int | float)), None)
        if value is None and metric in (self.report.get("metrics") or {}):
            value = self.report["metrics"][metric]["mean"]
        if value is not None:
            interval = (self.report.get("intervals") or {}).get(metric)
            return float(value), (float(interval[0]), float(interval[1])) if interval else None
        _, values = self.curve(f"evaluation/{metric}")
        return (values[-1] if values else None), None

    def best(self) -> tuple[str, float, float] | None:
        """Metric by which best/ was chosen, its best value in training, and the samples then; None: no evaluation."""
        runner = self.settings.get("runner", {})
        metric, mode = runner.get("best_metric", "mean_return"), runner.get("best_mode", "max")
        samples, values = self.curve(f"evaluation/{metric}")
        if not values:
            return None
        value, at = (max if mode == "max" else min)(zip(values, samples, strict=True))
        return metric, value, at


@dataclass(frozen=True, eq=False)
class Group:
    """Runs that differ by their seed and length alone."""

    name: str
    """of the experiment, with a number where several groups have the same"""
    runs: Sequence[Run]


def read_run(folder: Path) -> Run:
    """Reads a run folder.

    Raises:
        RunError: it holds no run, or one without a single number so far.
    """
    path = folder / "config.yaml"
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"{folder}: no run, config.yaml is missing") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RunError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(settings, dict) or not isinstance(settings.get("runner", {}), dict):
        raise RunError(f"{path} is no experiment's configuration")
    rows = _rows(folder / "metrics.jsonl")
    if not rows:
        raise RunError(f"{folder}: metrics.jsonl has no number yet")
    report, notes = _report(folder / "report.json")
    return Run(folder, settings, rows, report, _state(folder, settings, rows), notes)


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        rows = read_json_lines(path)
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path} cannot be read: {error}") from error
    return [row for row in rows if isinstance(row, dict) and isinstance(row.get("samples"), int | float)]


def _report(path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    if not path.is_file():
        return {}, ()
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return {}, (f"{path} cannot be read: {error}",)
    return (report, ()) if isinstance(report, dict) else ({}, (f"{path} is no report",))


def _state(folder: Path, settings: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> State:
    if rows[-1]["samples"] >= settings.get("runner", {}).get("max_samples", 0):
        return "finished"
    written = (folder / "metrics.jsonl").stat().st_mtime
    return "running" if time.time() - written < _ALIVE else "stopped"


def grouped_runs(runs: Sequence[Run]) -> list[Group]:
    """Runs together with those that differ from them by seed and length alone, in the order of the first of each."""
    alike: dict[str, list[Run]] = {}
    for run in runs:
        alike.setdefault(json.dumps(_decisive(run), sort_keys=True, default=str), []).append(run)
    groups, taken = [], [members[0].name for members in alike.values()]
    for number, members in enumerate(alike.values()):
        name = taken[number]
        same = [place for place, other in enumerate(taken) if other == name]
        groups.append(Group(name if len(same) == 1 else f"{name} ({same.index(number) + 1})", members))
    return groups


def differing_settings(groups: Sequence[Group]) -> dict[str, list[Any]]:
    """Dotted settings in which groups differ, with the value of each; None where one lacks it."""
    tables = [_decisive(group.runs[0]) for group in groups]
    keys = dict.fromkeys(key for table in tables for key in table)
    columns = {key: [table.get(key) for table in tables] for key in keys}
    return {key: column for key, column in columns.items() if any(value != column[0] for value in column)}


def _decisive(run: Run) -> dict[str, Any]:
    """Settings by dotted key, without those of its name, seed, length, place, recordings and expectations."""
    settings = {key: value for key, value in run.settings.items() if key not in ("name", "expect")}
    decisive = flat(without_bookkeeping(settings))
    return {key: value for key, value in decisive.items() if key not in ("runner.seed", "runner.max_samples")}
