"""Learning curves of several runs over each other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from proto_agents.evaluation.charts import COLORS, make_panels
from proto_agents.evaluation.labels import label_of
from proto_agents.evaluation.runs import Group, Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["learning_chart", "mean_and_spread", "metric_title", "smoothed"]

_POINTS = 250
"""of a curve at most; more would not be seen"""


def learning_chart(groups: Sequence[Group], metrics: Sequence[str], smoothing: float = 0.0) -> "Figure":
    """A panel for each metric: each run as a thin line, and of a group of several the mean and standard deviation.

    Args:
        groups: of runs, each in a colour of its own.
        metrics: as in metrics.jsonl.
        smoothing: weight of the past in the curves, in [0, 1).
    """
    figure, panels = make_panels(len(metrics))
    for panel, metric in zip(panels, metrics, strict=True):
        for number, group in enumerate(groups):
            _draw(panel, group, metric, smoothing, COLORS[number % len(COLORS)])
        panel.set_title(metric_title(metric))
        panel.set_xlabel("samples (million)", fontsize=8)
        low, high = panel.get_ylim()
        if metric.endswith("_mm") and low > 0.0:  # a fallen figure is metres off, a good one centimetres
            panel.set_yscale("log")
        elif low > 0.0:
            panel.set_ylim(0.0, high)
    lines = {text: line for panel in panels for line, text in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(
        lines.values(), lines.keys(), loc="outside lower center", ncols=min(len(lines), 4), fontsize=8, frameon=False
    )
    return figure


def _draw(panel: Any, group: Group, metric: str, smoothing: float, color: str) -> None:  # noqa: ANN401 - axes
    curves = [curve for run in group.runs if (curve := _curve(run, metric, smoothing)) is not None]
    alone = len(curves) == 1
    for x, y in curves:
        marker = "o" if len(x) < 20 else None
        style = {"linewidth": 1.5, "label": group.name} if alone else {"linewidth": 0.7, "alpha": 0.45}
        panel.plot(x, y, color=color, marker=marker, markersize=2.5, **style)
    if len(curves) > 1:
        x, mean, spread = mean_and_spread(curves)
        panel.fill_between(x, mean - spread, mean + spread, color=color, alpha=0.15, linewidth=0)
        panel.plot(x, mean, color=color, linewidth=1.8, label=f"{group.name} ({len(group.runs)} runs)")


def _curve(run: Run, metric: str, smoothing: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Million samples and values, thinned out; None for a run without the metric."""
    samples, values = run.curve(metric)
    if not values:
        return None
    chosen = np.unique(np.linspace(0, len(values) - 1, min(len(values), _POINTS)).astype(int))
    return np.array(samples)[chosen] / 1e6, smoothed(np.array(values), smoothing)[chosen]


def smoothed(values: np.ndarray, weight: float) -> np.ndarray:
    """Exponential moving average of (T,), corrected for its beginning. weight: of the past, in [0, 1)."""
    result, total, mass = np.empty(len(values)), 0.0, 0.0
    for index, value in enumerate(values):
        total, mass = weight * total + (1.0 - weight) * value, weight * mass + (1.0 - weight)
        result[index] = total / mass
    return result


def mean_and_spread(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and standard deviation over curves, where at least two of them are, on one axis.

    Args:
        curves: x, rising, and y of each.

    Returns:
        x, mean and standard deviation (n - 1), (T,) each; NaN where fewer than two curves are.
    """
    axis = np.unique(np.concatenate([x for x, _ in curves]))
    table = np.array([np.interp(axis, x, y, left=np.nan, right=np.nan) for x, y in curves])
    count = (~np.isnan(table)).sum(axis=0)
    several = count >= 2
    mean, spread = np.full(len(axis), np.nan), np.full(len(axis), np.nan)
    mean[several] = np.nanmean(table[:, several], axis=0)
    spread[several] = np.nanstd(table[:, several], axis=0, ddof=1)
    return axis, mean, spread


def metric_title(metric: str) -> str:
    """What a metric of metrics.jsonl is called above its panel."""
    if metric.startswith("evaluation/"):
        return f"{label_of(metric.removeprefix('evaluation/')).title}, evaluation"
    return _TITLES.get(metric, metric)


_TITLES = {
    "episode/return": "return, training",
    "episode/length": "episode length (steps), training",
    "speed/samples_per_second": "samples per second",
}
