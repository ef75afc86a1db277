"""Pictures of an evaluation, as SVG to be laid into a page."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from proto_agents.evaluation.curves import Curve
from proto_agents.evaluation.labels import label_of
from proto_agents.evaluation.report import EvaluationReport
from proto_agents.evaluation.robustness import UNPERTURBED, Estimate, Robustness

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COLORS", "clip_chart", "distribution_chart", "make_panels", "robustness_chart", "svg_of", "time_chart"]

_BLUE, _GREEN, _RED, _GREY = "#2f6db5", "#2e8b57", "#c0392b", "#8a94a0"
COLORS = (_BLUE, "#d9822b", _GREEN, "#8e44ad", _RED, "#16808a", "#7a5c3e", "#c2499d", "#5f6b77", "#9aa31f")
"""of policies beside each other, taken in turn"""
_WIDTH = 11.0
"""inches, of all charts"""
_COLUMNS = 3
_DRAWN = (
    "mpjpe_mm",
    "mpjpe_procrustes_mm",
    "mean_episode_length",
    "mean_return",
    "speed_mps",
    "speed_error",
    "success",
    "jerk_mps3",
    "power_w",
    "foot_slide_mmps",
)
"""numbers of episodes whose distribution is drawn, the first six that there are"""


def svg_of(figure: "Figure") -> str:
    """The figure as an <svg> element, as wide as the page allows; the same figure gives the same text."""
    import matplotlib

    buffer = io.StringIO()
    # The names of parts are hashes salted by the size, so that those of several charts in one page differ.
    salt = f"{figure.get_size_inches()} {len(figure.axes)}"
    with matplotlib.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none", "path.simplify_threshold": 0.3}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def time_chart(curves: Mapping[str, Curve], unfailed: Tensor, step_seconds: float) -> "Figure":
    """Median and deciles of each metric over the time of the episodes, and the share that has not failed yet.

    Args:
        curves: by metric.
        unfailed: (T,) share.
        step_seconds: s per control step.
    """
    figure, panels = make_panels(len(curves) + 1)
    time = step_seconds * torch.arange(1, len(unfailed) + 1)
    panels[0].step(time, 100.0 * unfailed, where="post", color=_GREEN, linewidth=1.5)
    panels[0].set_ylim(0, 103)
    panels[0].set_title("episodes that have not failed (%)")
    for panel, (name, curve) in zip(panels[1:], curves.items(), strict=True):
        x = time[: len(curve.middle)]
        panel.fill_between(x, curve.low, curve.high, color=_BLUE, alpha=0.18, linewidth=0)
        panel.plot(x, curve.middle, color=_BLUE, linewidth=1.3)
        panel.set_title(label_of(name).title)
        panel.set_ylim(bottom=0)
    for panel in panels:
        panel.set_xlabel("s")
        panel.set_xlim(0, max(float(time[-1]) if len(time) else 1.0, step_seconds))
    return figure


def distribution_chart(report: EvaluationReport) -> "Figure":
    """How numbers are spread over episodes, successful ones beside failed ones.

    Raises:
        ValueError: the report has no episodes to draw.
    """
    records = report.records
    known = {name: torch.cat([{**r.metrics, **r.columns}[name].double() for r in records]) for name in _named(records)}
    if not known:
        raise ValueError("the report has no numbers of single episodes to draw")
    lost = torch.cat([~r.columns.get("success_rate", r.columns["survival_rate"]) for r in records])
    figure, panels = make_panels(len(known))
    for panel, (name, values) in zip(panels, known.items(), strict=True):
        chosen = ~values.isnan()
        groups = [values[chosen & ~lost].tolist(), values[chosen & lost].tolist()]
        low, high = values[chosen].min().item(), values[chosen].max().item()
        span = (low, high) if high - low > 1e-6 * max(abs(low), abs(high), 1e-9) else (low - 0.5, low + 0.5)
        panel.hist(groups, bins=24, range=span, stacked=True, color=[_BLUE, _RED], label=["not failed", "failed"])
        panel.axvline(values[chosen].mean().item(), color="black", linewidth=1, linestyle="--")
        panel.set_title(label_of(name).title)
        panel.set_ylabel("episodes")
    if bool(lost.any()):
        panels[0].legend(fontsize=8, frameon=False)
    return figure


def _named(records: Sequence[Any]) -> list[str]:
    """Numbers to draw the distribution of."""
    there = [
        name
        for name in _DRAWN
        if all(
            (column := {**r.metrics, **r.columns}.get(name)) is not None and not column.isnan().all() for r in records
        )
    ]
    return there[:6] if records else []


def clip_chart(report: EvaluationReport) -> "Figure":
    """Success rate, and position error where there is one, of each clip.

    Raises:
        ValueError: the report has no clips.
    """
    from matplotlib.figure import Figure

    clips = list(reversed(report.clips.items()))
    if not clips:
        raise ValueError("the report has no clips to draw")
    names = [name for name, _ in clips]
    bars = {
        "success rate (%)": [None if c.success_rate is None else 100.0 * c.success_rate for _, c in clips],
        "MPJPE (mm)": [c.mpjpe_mm for _, c in clips],
    }
    bars = {title: values for title, values in bars.items() if any(value is not None for value in values)}
    if not bars:
        raise ValueError("the report says nothing of its clips")
    figure = Figure(figsize=(_WIDTH, 0.9 + 0.24 * len(clips)), layout="constrained")
    axes = figure.subplots(1, len(bars), sharey=True, squeeze=False)[0]
    colors = [_RED if name in report.failed_clips else _GREEN for name in names]
    for axis, (title, values) in zip(axes, bars.items(), strict=True):
        axis.barh(names, [value or 0.0 for value in values], color=colors, height=0.7)
        axis.set_title(title, fontsize=10)
        _plain(axis)
        axis.grid(axis="y", visible=False)
    if "MPJPE (mm)" in bars and max(v or 0.0 for v in bars["MPJPE (mm)"]) > 500.0:
        axes[-1].set_xscale("log")
    axes[0].tick_params(axis="y", labelsize=8)
    return figure


def robustness_chart(
    robustness: Robustness, metric: str, unperturbed: Mapping[str, float] | None = None
) -> "Figure | None":
    """A number over the values of each perturbation, a line with its interval for each policy; None without any.

    Args:
        robustness: what was found.
        metric: the number.
        unperturbed: value of each perturbation that changes nothing, of those that have one; lines go through it.
    """
    names = dict.fromkeys(c.perturbation for c in robustness.conditions if c != UNPERTURBED)
    if not names:
        return None
    label, policies = label_of(metric), robustness.policies
    figure, panels = make_panels(len(names))
    for panel, name in zip(panels, names, strict=True):
        conditions = [condition for condition in robustness.conditions if condition.perturbation == name]
        numbers = [condition.number for condition in conditions]
        nothing = (unperturbed or {}).get(name)
        for index, policy in enumerate(policies):
            color = COLORS[index % len(COLORS)]
            calm, *found = (_point(policy.estimate(c, metric), label.kind) for c in (UNPERTURBED, *conditions))
            panel.axhline(calm[0], color=color, linewidth=0.9, linestyle="--", alpha=0.6)
            if None in numbers:
                shift = 0.16 * (index - 0.5 * (len(policies) - 1))  # so that policies can be told apart
                _marks(panel, [place + shift for place in range(len(found))], found, color, policy.name)
            else:
                at = dict(zip(numbers, found, strict=True))
                _line(panel, at if nothing is None else {nothing: calm} | at, color, policy.name)
        if None in numbers:
            panel.set_xticks(range(len(conditions)), [condition.value for condition in conditions], fontsize=8)
            panel.set_xlim(-0.6, len(conditions) - 0.4)
        if label.kind == "share":
            panel.set_ylim(-3, 103)
        panel.set_title(name)
    panels[0].set_ylabel(f"{label.text} (%)" if label.kind == "share" else label.title, fontsize=9)
    if len(policies) > 1:
        lines, texts = panels[0].get_legend_handles_labels()
        figure.legend(lines, texts, loc="outside lower center", ncols=min(len(policies), 4), fontsize=8, frameon=False)
    return figure


def _point(estimate: Estimate, kind: str) -> tuple[float, float, float]:
    """Mean and both bounds as they are drawn: shares in per cent, NaN for what is not known."""
    mean = math.nan if estimate.mean is None else estimate.mean
    low, high = estimate.interval or (mean, mean)
    scale = 100.0 if kind == "share" else 1.0
    return scale * mean, scale * low, scale * high


def _line(panel: Any, points: Mapping[Any, tuple[float, float, float]], color: str, name: str) -> None:  # noqa: ANN401
    """A curve through the means over numbers, in the band of their intervals."""
    places = sorted(points)
    means, lows, highs = zip(*(points[place] for place in places), strict=True)
    panel.fill_between(places, lows, highs, color=color, alpha=0.18, linewidth=0)
    panel.plot(places, means, color=color, linewidth=1.4, marker="o", markersize=4, label=name)


def _marks(
    panel: Any,  # noqa: ANN401 - matplotlib's axes
    places: Sequence[float],
    points: Sequence[tuple[float, float, float]],
    color: str,
    name: str,
) -> None:
    """A mark with its interval at each place, for values that are not numbers."""
    means, lows, highs = zip(*points, strict=True)
    reach = [[abs(m - bound) for m, bound in zip(means, side, strict=True)] for side in (lows, highs)]
    panel.errorbar(places, means, reach, fmt="o", color=color, markersize=5, capsize=3, label=name)


def make_panels(count: int) -> tuple["Figure", list[Any]]:
    """A figure with that many axes, three beside each other."""
    from matplotlib.figure import Figure

    rows = -(-count // _COLUMNS)
    figure = Figure(figsize=(_WIDTH, 2.5 * rows), layout="constrained")
    axes = figure.subplots(rows, _COLUMNS, squeeze=False).flatten().tolist()
    for axis in axes[count:]:
        axis.remove()
    for axis in axes[:count]:
        _plain(axis)
    return figure, axes[:count]


def _plain(axis: Any) -> None:  # noqa: ANN401 - matplotlib's axes
    axis.grid(alpha=0.25)
    axis.set_axisbelow(True)
    axis.tick_params(labelsize=8)
    axis.title.set_fontsize(10)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_color(_GREY)
