"""What policies achieve under perturbations: one row for each condition and policy, beside the unperturbed world."""

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from proto_agents.evaluation.labels import label_of
from proto_agents.evaluation.report import EvaluationReport
from proto_agents.evaluation.statistics import Interval, interval_of_seeds

__all__ = [
    "UNPERTURBED",
    "Condition",
    "Estimate",
    "Measurement",
    "PolicyResult",
    "Robustness",
    "Row",
    "headline",
    "over_runs",
]


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One value of one perturbation."""

    perturbation: str
    """what is perturbed, such as gravity or mass.right_hand"""
    value: str = ""
    """by how much, as it was typed"""
    number: float | None = None
    """the same where it is a single number"""


UNPERTURBED = Condition(perturbation="none")
"""What all others are compared with."""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one run's policy achieved under one condition."""

    values: Mapping[str, float]
    """mean of each number"""
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    """95 % interval of each, over episodes, of those that have one"""
    episodes: int = 0
    """how many, of all seeds together"""

    @classmethod
    def of(cls, report: EvaluationReport) -> "Measurement":
        """What an evaluation says, without its episodes."""
        count = report.num_envs * (len(report.seeds) or 1)
        return cls(values=report.values(), intervals=report.intervals, episodes=count)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number under one condition."""

    mean: float | None
    """over episodes, or over the means of runs where there are several; None where there is none"""
    interval: Interval | None
    """95 %, over the episodes of one run, or over several runs"""
    change: float | None = None
    """by how much the mean differs from that of the unperturbed world; None there"""

    def texts(self, metric: str) -> list[str]:
        """Mean, interval and change as a table shows them; empty for what there is not."""
        label = label_of(metric)
        mean = "" if self.mean is None else label.format(self.mean)
        change = "" if self.change is None else label.format_change(self.change)
        return [mean, label.format_interval(self.interval), change]


@dataclass(frozen=True, kw_only=True)
class PolicyResult:
    """A policy, or several runs of one experiment that differ by their training seed alone."""

    name: str
    """of the experiment, or the checkpoint's folder where that says too little"""
    checkpoints: tuple[str, ...]
    """folder of each run's"""
    measured: Mapping[Condition, Sequence[Measurement]]
    """of each run, by condition, `UNPERTURBED` among them"""

    def estimate(self, condition: Condition, metric: str) -> Estimate:
        """A number of one run with its interval over episodes, or of several with Student's interval over runs."""
        now, before = self._pooled(condition, metric), self._pooled(UNPERTURBED, metric).mean
        if now.mean is None or before is None or condition == UNPERTURBED:
            return now
        return replace(now, change=now.mean - before)

    def _pooled(self, condition: Condition, metric: str) -> Estimate:
        runs = self.measured[condition]
        if len(runs) == 1:
            return Estimate(mean=runs[0].values.get(metric), interval=runs[0].intervals.get(metric))
        return over_runs([run.values.get(metric) for run in runs], metric)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    condition: Condition
    policy: str
    """its name"""
    runs: int
    """how many runs the numbers are of"""
    episodes: int
    """of each run"""
    numbers: Mapping[str, Estimate]
    """by metric"""


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """Policies under the same conditions."""

    metrics: tuple[str, ...]
    """numbers that are shown, the one that matters most first"""
    conditions: tuple[Condition, ...]
    """the unperturbed world first"""
    policies: tuple[PolicyResult, ...]

    def rows(self) -> list[Row]:
        """The table, condition by condition."""
        return [
            Row(
                condition=condition,
                policy=policy.name,
                runs=len(policy.checkpoints),
                episodes=policy.measured[condition][0].episodes,
                numbers={metric: policy.estimate(condition, metric) for metric in self.metrics},
            )
            for condition in self.conditions
            for policy in self.policies
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: the table, and every number of every run."""
        return {
            "metrics": list(self.metrics),
            "rows": [asdict(row) for row in self.rows()],
            "runs": [
                {"policy": policy.name, "checkpoint": checkpoint, "condition": asdict(condition), **asdict(runs[index])}
                for policy in self.policies
                for index, checkpoint in enumerate(policy.checkpoints)
                for condition, runs in policy.measured.items()
            ],
        }

    def to_csv(self) -> str:
        """The table: a column for each metric, for the bounds of its interval and for its change."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        parts = ("", "_low", "_high", "_change")
        named = [f"{metric}{part}" for metric in self.metrics for part in parts]
        writer.writerow(["perturbation", "value", "policy", "runs", "episodes", *named])
        for row in self.rows():
            cells: list[float | None] = []
            for estimate in row.numbers.values():
                cells += [estimate.mean, *(estimate.interval or (None, None)), estimate.change]
            condition = row.condition
            writer.writerow([condition.perturbation, condition.value, row.policy, row.runs, row.episodes, *cells])
        return text.getvalue()


def over_runs(values: Sequence[float | None], metric: str) -> Estimate:
    """Mean of a number that each run has one of, with Student's interval, cut to what a share can be."""
    known = [value for value in values if value is not None]
    if not known:
        return Estimate(mean=None, interval=None)
    interval = interval_of_seeds(known)
    if interval is not None and label_of(metric).kind == "share":
        interval = max(interval[0], 0.0), min(interval[1], 1.0)
    return Estimate(mean=sum(known) / len(known), interval=interval)


def headline(known: Collection[str], best_metric: str = "mean_return") -> str:
    """The number by which policies are compared where nobody names one: success, else what training chose best/ by."""
    return next(name for name in ("success_rate", best_metric, "mean_return") if name in known or name == "mean_return")
