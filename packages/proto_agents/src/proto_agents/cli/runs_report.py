"""proto-report: several runs, finished or not, as one HTML page."""

import glob
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from proto_agents.checkpoint import write_atomically
from proto_agents.config import program_arguments
from proto_agents.evaluation.html import Video
from proto_agents.evaluation.runs import Run, RunError, grouped_runs, read_run
from proto_agents.evaluation.runs_page import render_runs
from proto_agents.parsing import ConfigError, nearest

_USUAL = (
    "episode/return",
    "evaluation/mean_return",
    "evaluation/success_rate",
    "evaluation/success_rate_max_error",
    "evaluation/mpjpe_mm",
    "episode/length",
    "speed/samples_per_second",
)
"""metrics that are drawn, as far as runs have them"""


@dataclass(frozen=True)
class ReportArguments:
    """Writes one HTML page about runs: learning curves over each other, results, settings that differ, videos. Runs may
    be going on; what cannot be read is named on the page.
    """  # noqa: D205

    runs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """run folders, folders of them as of a sweep, or patterns such as 'runs/*'"""
    output: Path = Path("report.html")
    """the page, which needs nothing beside it"""
    metric: tuple[str, ...] = ()
    """curves to draw: names in metrics.jsonl, where evaluation/ may be left out; the table has those of evaluations"""
    smooth: Literal["none", "some", "much"] = "some"
    """smoothing of the curves at first; the page has buttons"""
    video_mb: float = 4.0
    """size up to which a video of a run (video.mp4, the last of videos/) is laid into the page; 0: none"""


def find_runs(names: Sequence[str]) -> tuple[list[Run], list[str]]:
    """The runs that folders and patterns mean, each once, and what could not be read."""
    folders: dict[Path, Path] = {}
    notes = []
    for name in names:
        found = sorted(glob.glob(name, recursive=True)) if glob.has_magic(name) and not Path(name).exists() else [name]
        for folder in map(Path, found):
            inside = [folder] if (folder / "config.yaml").exists() or not folder.is_dir() else _below(folder)
            folders |= {place.resolve(): place for place in inside or [folder]}
        if not found:
            notes.append(f"no folder fits {name!r}")
    runs = []
    for folder in folders.values():
        try:
            runs.append(read_run(folder))
        except RunError as error:
            notes.append(str(error))
    return runs, notes + [note for run in runs for note in run.notes]


def _below(folder: Path) -> list[Path]:
    """Run folders in a folder, as sweeps have them: folder/variation/seed-N."""
    return [path.parent for pattern in ("*/config.yaml", "*/*/config.yaml") for path in sorted(folder.glob(pattern))]


def chosen_metrics(runs: Sequence[Run], wanted: Sequence[str]) -> list[str]:
    """Names in metrics.jsonl of what is to be drawn.

    Raises:
        ConfigError: no run has a metric that is wanted.
    """
    known = list(dict.fromkeys(name for run in runs for row in run.rows for name in row))
    if not wanted:
        best = [f"evaluation/{found[0]}" for run in runs if (found := run.best()) is not None]
        return [name for name in dict.fromkeys([*_USUAL, *best]) if name in known]
    chosen = []
    for name in wanted:
        match = next((candidate for candidate in (name, f"evaluation/{name}") if candidate in known), None)
        if match is None:
            raise ConfigError(f"--metric {name}: no run has it; {nearest(name, known)}")
        chosen.append(match)
    return chosen


def videos_of(run: Run, limit: float) -> list[Video]:
    """Its video.mp4 and the last of its videos/, where they are no larger than `limit` MB."""
    films = [run.folder / "video.mp4", *sorted((run.folder / "videos").glob("*.mp4"))[-1:]]
    small = [film for film in films if film.is_file() and film.stat().st_size <= 1e6 * limit]
    return [Video(film.name, "", film.read_bytes()) for film in small]


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of proto-report."""
    words = program_arguments(arguments)
    options = tyro.cli(ReportArguments, args=words, prog="proto-report")
    try:
        runs, notes = find_runs(options.runs)
        if not runs:
            raise ConfigError("; ".join(["no run to report", *notes]))
        curves = chosen_metrics(runs, options.metric)
        numbers = [name.removeprefix("evaluation/") for name in curves if name.startswith("evaluation/")]
        page = render_runs(
            grouped_runs(runs),
            curves,
            numbers,
            subtitle=f"{shlex.join(['proto-report', *words])}, {time.strftime('%Y-%m-%d %H:%M')}",
            smoothing=options.smooth,
            videos={run: videos_of(run, options.video_mb) for run in runs},
            notes=notes,
        )
        write_atomically(options.output, page)
    except (ConfigError, OSError) as error:
        sys.exit(f"proto-report: {error}")
    for note in notes:
        print(f"left out: {note}")
    print(f"wrote {options.output} ({len(runs)} runs, {options.output.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
