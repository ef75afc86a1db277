"""Pictures of a run."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proto_agents.logging import read_json_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PANELS", "learning_curve", "plot_learning_curve"]

PANELS = (
    ("return per episode", ("episode/return", "evaluation/mean_return")),
    ("episode length (steps)", ("episode/length", "evaluation/mean_episode_length")),
    ("success rate", ("evaluation/success_rate", "evaluation/success_rate_max_error")),
    ("position error (mm)", ("evaluation/mpjpe_mm", "evaluation/mpjpe_root_relative_mm", "metrics/mpjpe_mm")),
)
"""Title and curves of each panel; a panel without data is left out."""


def plot_learning_curve(metrics: Path, output: Path) -> Path:
    """Draws return, episode length, success rate and position error over samples.

    Args:
        metrics: `metrics.jsonl` of a run.
        output: the PNG to write.

    Raises:
        ValueError: the file holds none of these numbers.
    """
    figure = learning_curve(metrics)
    temporary = output.with_name(f".{output.name}.tmp")
    figure.savefig(temporary, format="png", dpi=120)
    os.replace(temporary, output)
    return output


def learning_curve(metrics: Path) -> "Figure":
    """The figure of `plot_learning_curve`.

    Raises:
        ValueError: the file holds none of its numbers.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = read_json_lines(metrics)
    panels = [(title, curves) for title, names in PANELS if (curves := _curves(rows, names))]
    if not panels:
        raise ValueError(f"{metrics} holds nothing to draw: no returns, lengths, success rates or errors")
    figure = Figure(figsize=(4.2 * len(panels), 3.2), layout="constrained")
    FigureCanvasAgg(figure)
    for index, (title, curves) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), index + 1)
        for name, (samples, values) in curves.items():
            marker = "o" if len(samples) < 50 else None
            axes.plot(samples, values, marker=marker, markersize=3, linewidth=1.2, label=name)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("samples (million)")
        if "error" in title:  # a fallen figure is metres off, a good one centimetres
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    return figure


def _curves(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, tuple[list[float], list[float]]]:
    curves = {}
    for name in names:
        points = [(row["samples"] / 1e6, row[name]) for row in rows if row.get(name) is not None]
        if points:
            curves[name] = ([x for x, _ in points], [y for _, y in points])
    return curves
