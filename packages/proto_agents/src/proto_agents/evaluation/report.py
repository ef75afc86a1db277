"""What an evaluation found."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from proto_agents.evaluation.episodes import EpisodeRecord
from proto_agents.evaluation.statistics import (
    Interval,
    interval_of_mean,
    interval_of_seeds,
    interval_of_share,
    mean_of,
)

__all__ = ["ClipResult", "EvaluationReport", "MetricSummary", "summarize"]

TRACKED_SHARE = 0.9
"""of the episodes of a clip that must succeed for it to count as tracked"""


@dataclass(frozen=True, kw_only=True)
class MetricSummary:
    """One metric of the environment over the evaluation."""

    mean: float
    """mean over environments of each one's mean over its episode"""
    max: float
    """mean over environments of each one's maximum"""


@dataclass(frozen=True, kw_only=True)
class ClipResult:
    """The episodes that played one motion clip."""

    episodes: int
    """how many"""
    success_rate: float | None
    """share that never failed; None where the environment does not report failures"""
    mpjpe_mm: float | None
    """mean per-joint position error, mm"""
    mpjpe_root_relative_mm: float | None
    """the same with the root moved onto the reference's root, mm"""
    success_rate_max_error: float | None = None
    """share in which no body ever was too far"""


@dataclass(frozen=True, kw_only=True)
class EvaluationReport:
    """Result of `evaluate`. Position errors are means over environments of each one's mean over its episode.

    docs/evaluation.md defines every number.
    """

    num_envs: int
    """episodes of each seed"""
    steps: int
    """steps of the longest episode"""
    seed: int
    """of the first reset"""
    mean_return: float
    """sum of rewards, mean over episodes"""
    mean_episode_length: float
    """steps, mean over episodes"""
    survival_rate: float
    """share of episodes that the environment never terminated (time-outs count as survival); where an evaluation turns
    terminations off, as those of tracking do, it says nothing and `success_rate` does"""
    success_rate: float | None = None
    """share of episodes whose metric "failed" never was true; None where the environment has no such metric"""
    success_rate_max_error: float | None = None
    """the stricter one: share whose metric "failed_max_error" (any body too far, not just the mean) never was true"""
    mpjpe_mm: float | None = None
    """mean per-joint position error over whole episodes, mm"""
    mpjpe_mm_successful: float | None = None
    """of the successful episodes"""
    mpjpe_mm_failed: float | None = None
    """of the failed episodes"""
    mpjpe_mm_until_failure: float | None = None
    """over the steps up to and including the first failure"""
    mpjpe_root_relative_mm: float | None = None
    """the error with the root moved onto the reference's root, mm"""
    mpjpe_root_relative_mm_successful: float | None = None
    """of the successful episodes"""
    mpjpe_root_relative_mm_failed: float | None = None
    """of the failed episodes"""
    mpjpe_root_relative_mm_until_failure: float | None = None
    """over the steps up to and including the first failure"""
    metrics: dict[str, MetricSummary] = field(default_factory=dict)
    """every metric that the environment reports"""
    numbers: dict[str, float] = field(default_factory=dict)
    """all others, those of evaluators among them"""
    clips: dict[str, ClipResult] = field(default_factory=dict)
    """by name of the motion clip, where the environment plays clips"""
    failed_clips: tuple[str, ...] = ()
    """clips of which at least one episode failed"""
    clips_tracked: int | None = None
    """number of clips of which nine in ten episodes succeeded, a count that more episodes do not lower; None where
    there are no clips, or no failures are known"""
    seeds: tuple[int, ...] = ()
    """of all resets"""
    intervals: dict[str, Interval] = field(default_factory=dict)
    """95 % interval of each number, where it was asked for and can be said"""
    per_seed: dict[str, tuple[float | None, ...]] = field(default_factory=dict)
    """each number in the evaluation of each seed, where there are several; None where one lacks it"""
    records: tuple[EpisodeRecord, ...] = field(default=(), repr=False, compare=False)
    """the episodes themselves, of each seed"""

    def to_dict(self) -> dict[str, Any]:
        """Plain values only, for JSON; without the episodes."""
        plain = asdict(replace(self, records=()))
        del plain["records"]
        return plain

    def values(self) -> dict[str, float]:
        """All single numbers by name: the fields that are known, the others, the means of the environment's metrics."""
        named = {f.name: getattr(self, f.name) for f in fields(self)}
        known = {name: float(value) for name, value in named.items() if isinstance(value, int | float)}
        return {name: summary.mean for name, summary in self.metrics.items()} | self.numbers | known


def summarize(
    records: Sequence[EpisodeRecord], clip_names: Sequence[str] | None = None, *, intervals: bool = False
) -> EvaluationReport:
    """One report of the episodes of all seeds.

    Args:
        records: of the seeds, with the same names in each.
        clip_names: of the clips that the records number.
        intervals: also say how sure each mean is.
    """
    columns = {name: _pooled(r.columns[name] for r in records) for name in records[0].columns}
    metrics = {name: _pooled(r.metrics[name] for r in records) for name in records[0].metrics}
    maxima = {name: _pooled(r.maxima[name] for r in records) for name in metrics}
    own = {f.name for f in fields(EvaluationReport)}
    means = {name: mean_of(column) for name, column in columns.items()}
    clips = _clips(records, columns, clip_names)
    rates = [result.success_rate for result in clips.values() if result.success_rate is not None]
    per_seed = {name: tuple(mean_of(r.columns[name]) for r in records) for name in columns}
    per_seed |= {name: tuple(mean_of(r.metrics[name]) for r in records) for name in metrics if name not in columns}
    per_seed |= {name: tuple(r.numbers[name] for r in records) for name in records[0].numbers}
    whole = {name: sum(r.numbers[name] for r in records) / len(records) for name in records[0].numbers}
    return EvaluationReport(
        num_envs=len(records[0].columns["mean_return"]),
        steps=int(columns["mean_episode_length"].max().item()),
        seed=records[0].seed,
        metrics={
            name: MetricSummary(mean=mean, max=maxima[name][~maxima[name].isinf()].mean().item())
            for name, column in metrics.items()
            if (mean := mean_of(column)) is not None
        },
        numbers={n: mean for n, mean in means.items() if n not in own | metrics.keys() and mean is not None} | whole,
        clips=clips,
        failed_clips=tuple(n for n, c in clips.items() if c.success_rate is not None and c.success_rate < 1.0),
        clips_tracked=sum(rate >= TRACKED_SHARE for rate in rates) if rates else None,
        seeds=tuple(r.seed for r in records),
        intervals=_intervals(metrics | columns, records) if intervals else {},
        per_seed=per_seed if len(records) > 1 else {},
        records=tuple(records),
        **{name: mean for name, mean in means.items() if name in own},  # type: ignore[arg-type]
    )


def _pooled(parts: Iterable[Tensor]) -> Tensor:
    return torch.cat(list(parts))


def _intervals(columns: dict[str, Tensor], records: Sequence[EpisodeRecord]) -> dict[str, Interval]:
    """Over the episodes of all seeds; of a number that only a whole evaluation has, over the seeds."""
    found: dict[str, Interval | None] = {
        name: interval_of_share(column) if column.dtype == torch.bool else interval_of_mean(column)
        for name, column in columns.items()
    }
    found |= {name: interval_of_seeds([r.numbers[name] for r in records]) for name in records[0].numbers}
    return {name: interval for name, interval in found.items() if interval is not None}


def _clips(
    records: Sequence[EpisodeRecord], columns: dict[str, Tensor], names: Sequence[str] | None
) -> dict[str, ClipResult]:
    if any(r.clips is None for r in records):
        return {}
    clips = _pooled(r.clips for r in records if r.clips is not None)
    results = {}
    for clip in clips.unique().tolist():
        chosen = clips == clip
        of_clip = {
            name: mean_of(columns[name][chosen]) if name in columns else None
            for name in ("success_rate", "success_rate_max_error", "mpjpe_mm", "mpjpe_root_relative_mm")
        }
        results[names[clip] if names else str(clip)] = ClipResult(episodes=int(chosen.sum().item()), **of_clip)
    return results
