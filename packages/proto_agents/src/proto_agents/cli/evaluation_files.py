"""What an evaluation leaves: report.json, summary.md, failed_clips.txt, and a page to look at."""

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from proto_agents.checkpoint import load_state, write_atomically
from proto_agents.cli.episode_videos import episode_videos
from proto_agents.cli.pictures import RenderError
from proto_agents.config import Experiment
from proto_agents.evaluation import EvaluationReport, ExpectationResult
from proto_agents.evaluation.charts import clip_chart, distribution_chart, svg_of, time_chart
from proto_agents.evaluation.curves import CurveEvaluator
from proto_agents.evaluation.html import Page, render_page
from proto_agents.evaluation.labels import grouped, label_of
from proto_agents.parsing import plain
from proto_agents.plots import learning_curve

DRAWN = ("mpjpe_mm", "speed_mps", "speed_error", "success", "jerk_mps3", "power_w", "foot_slide_mmps")
"""metrics whose course is drawn, as far as the environment has them"""
FAILED_CLIPS = "failed_clips.txt"


def report_content(
    report: EvaluationReport, expectations: Sequence[ExpectationResult], checkpoint: Path
) -> dict[str, Any]:
    """What report.json says."""
    return report.to_dict() | {
        "checkpoint": checkpoint.name,
        "samples": load_state(checkpoint)["samples"],
        "expect": {result.metric: asdict(result) | {"passed": result.passed} for result in expectations},
    }


def write_folder(
    folder: Path,
    experiment: Experiment,
    checkpoint: Path,
    report: EvaluationReport,
    expectations: Sequence[ExpectationResult],
) -> list[Path]:
    """Writes report.json, summary.md and failed_clips.txt; returns their paths.

    Args:
        folder: made where it is missing; files of an earlier evaluation in it are replaced.
        experiment: as evaluated.
        checkpoint: of the policy.
        report: what was found.
        expectations: and what was expected.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = command_line()
    content = {"command": command} | report_content(report, expectations, checkpoint)
    files = {
        "report.json": json.dumps(content, indent=1) + "\n",
        "summary.md": summary(f"{experiment.name}: {checkpoint.name}", command, report, expectations),
        FAILED_CLIPS: failed_clips(experiment, report, command),
    }
    for name, text in files.items():
        write_atomically(folder / name, text)
    return [folder / name for name in files]


def command_line() -> str:
    """The command that is running, as one would type it."""
    return shlex.join(["proto-eval", *sys.argv[1:]])


def failed_clips(experiment: Experiment, report: EvaluationReport, command: str) -> str:
    """The clips of which an episode failed, one a line: a motion list, which `--env.motions` takes.

    Clips that were given as files are named by those files.
    """
    given = experiment.evaluation.env.get("motions", experiment.env.motions) or ()
    files = {Path(name).stem: name for name in ([given] if isinstance(given, str) else given)}
    names = [files.get(name, name) for name in report.failed_clips]
    return "\n".join([f"# clips with a failed episode: {command}", *names]) + "\n"


def summary(title: str, command: str, report: EvaluationReport, expectations: Sequence[ExpectationResult]) -> str:
    """The numbers as a table in Markdown."""
    lines = [f"# {title}", "", f"`{command}`", ""]
    lines.append(f"{len(report.seeds) or 1} x {report.num_envs} episodes; intervals hold with 95 % confidence.")
    expected, values = {result.metric: result for result in expectations}, report.values()
    lines += ["", "| number | mean | interval | expected |", "|---|---|---|---|"]
    for names in grouped(values, expected).values():
        for name in names:
            label = label_of(name)
            result = expected.get(name)
            cells = [
                label.text,
                f"{label.format(values[name])} {label.unit}".rstrip() if name in values else "not reported",
                label.format_interval(report.intervals.get(name)),
                ""
                if result is None
                else f"{result.low:g} to {result.high:g}: {'met' if result.passed else '**missed**'}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    if len(report.clips) > 1:
        lines += ["", "| clip | episodes | success | MPJPE (mm) |", "|---|---|---|---|"]
        for name, clip in report.clips.items():
            success = "" if clip.success_rate is None else f"{clip.success_rate:.1%}"
            lines.append(
                f"| {name} | {clip.episodes} | {success} | {'' if clip.mpjpe_mm is None else f'{clip.mpjpe_mm:.1f}'} |"
            )
    return "\n".join(lines) + "\n"


def write_page(
    path: Path,
    experiment: Experiment,
    checkpoint: Path,
    report: EvaluationReport,
    expectations: Sequence[ExpectationResult],
    curves: CurveEvaluator,
) -> None:
    """Writes the page.

    Args:
        path: of the HTML file; its folder must be there.
        experiment: as evaluated.
        checkpoint: of the policy; the learning curve is drawn from metrics.jsonl in the folder that it is in.
        report: what was found.
        expectations: and what was expected.
        curves: that watched the evaluation.
    """
    notes: list[str] = []
    over_time = time_chart(curves.curves(), curves.unfailed(), curves.step_seconds)
    charts = {"Over time (median and deciles)": svg_of(over_time)}
    charts["Over episodes (dashed: mean)"] = svg_of(distribution_chart(report))
    if len(report.clips) > 1:
        charts["Over clips (red: a failed episode)"] = svg_of(clip_chart(report))
    try:
        charts["Learning curve"] = svg_of(learning_curve(checkpoint.parent / "metrics.jsonl"))
    except ValueError:
        notes.append("No learning curve: the checkpoint has no metrics.jsonl beside it.")
    try:
        videos = episode_videos(experiment, checkpoint, report.records[0], curves.clip_names)
    except RenderError as error:
        videos = []
        notes.append(f"No videos: {error}")
    samples = load_state(checkpoint)["samples"]
    where = experiment.evaluation.env.get("backend") or experiment.env.backend or "default engine"
    page = Page(
        title=experiment.name,
        subtitle=f"{checkpoint}, {samples:,} samples, {experiment.env.id}, {where}. {command_line()}",
        report=report,
        expectations=expectations,
        charts=charts,
        videos=videos,
        notes=notes,
        settings=yaml.safe_dump(plain(experiment), sort_keys=False),
    )
    write_atomically(path, render_page(page))
