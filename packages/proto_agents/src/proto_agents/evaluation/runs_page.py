"""Several runs as one page that needs nothing beside it: curves, results, what differs, and each run."""

from collections.abc import Mapping, Sequence
from html import escape

import yaml

from proto_agents.evaluation.charts import svg_of
from proto_agents.evaluation.html import Video, document, section, table, video_figures
from proto_agents.evaluation.labels import label_of
from proto_agents.evaluation.learning_charts import learning_chart
from proto_agents.evaluation.runs import Group, Run, differing_settings
from proto_agents.evaluation.statistics import Interval, interval_of_seeds
from proto_agents.progress import count, duration

__all__ = ["SMOOTHINGS", "render_runs"]

SMOOTHINGS = {"none": 0.0, "some": 0.6, "much": 0.9}
"""weight of the past in the curves that can be chosen from"""


def render_runs(
    groups: Sequence[Group],
    curves: Sequence[str],
    numbers: Sequence[str],
    *,
    subtitle: str,
    smoothing: str = "some",
    videos: Mapping[Run, Sequence[Video]] | None = None,
    notes: Sequence[str] = (),
) -> str:
    """The page as HTML.

    Args:
        groups: of runs.
        curves: metrics of metrics.jsonl to draw.
        numbers: of evaluations, such as success_rate, for the table.
        subtitle: below the title.
        smoothing: which of `SMOOTHINGS` is seen first.
        videos: of runs.
        notes: what is missing, and why.
    """
    runs = [run for group in groups for run in group.runs]
    sections = [
        _curves(groups, curves, smoothing),
        _results(groups, numbers),
        _differences(groups),
        *(_run(run, (videos or {}).get(run, ())) for run in runs),
    ]
    return document(f"{len(runs)} runs" if len(runs) != 1 else "1 run", subtitle, sections, notes)


def _curves(groups: Sequence[Group], metrics: Sequence[str], smoothing: str) -> str:
    """The charts of every smoothing, of which buttons choose the one that is seen."""
    if not metrics:
        return ""
    buttons, rules, charts = [], [], []
    for name, weight in SMOOTHINGS.items():
        checked = " checked" if name == smoothing else ""
        buttons.append(
            f'<input type="radio" name="smoothing" id="smooth-{name}"{checked}>'
            f'<label for="smooth-{name}">{name}</label> '
        )
        rules.append(f"#smooth-{name}:checked ~ .smooth-{name} {{ display: block; }}")
        charts.append(
            f'<div class="chart smooth smooth-{name}">{svg_of(learning_chart(groups, metrics, weight))}</div>'
        )
    style = f"<style>.smooth {{ display: none; }} {' '.join(rules)}</style>"
    about = (
        '<p class="note">Thin: each run; thick and band: mean and standard deviation of runs that differ by seed.</p>'
    )
    return section("Learning curves", f"{style}<div>smoothing: {''.join(buttons)}{''.join(charts)}</div>{about}")


def _results(groups: Sequence[Group], numbers: Sequence[str]) -> str:
    """A row of each run, and before them one of the mean of each group of several."""
    rows: list[tuple[list[str], list[tuple[str, str]], str]] = []
    for group in groups:
        several = len(group.runs) > 1
        if several:
            means = [_mean(group, name) for name in numbers]
            rows.append(([group.name, f"{len(group.runs)} runs", "", "", ""], means, "new"))
        for run in group.runs:
            cells = [str(run.folder), "" if run.seed is None else str(run.seed), run.state, count(run.samples)]
            found = [_number(name, *run.final(name)) for name in numbers]
            rows.append(([*cells, _best(run)], found, "" if several else "new"))
    sure = [any(found[place][1] for _, found, _ in rows) for place in range(len(numbers))]
    header = ["run", "seed", "state", "samples", "best in training"]
    for name, known in zip(numbers, sure, strict=True):
        header += [label_of(name).title, *(["95 % interval"] if known else [])]
    lines = []
    for cells, found, kind in rows:
        for pair, known in zip(found, sure, strict=True):
            cells += pair if known else pair[:1]
        lines.append(_row(cells, kind))
    about = (
        '<p class="note">Numbers of report.json where there is one, else of the last evaluation in training. '
        "Intervals: of a run over its episodes, where report.json has them; of several over their means (Student).</p>"
    )
    return section("Results", table(header, lines) + about)


def _mean(group: Group, name: str) -> tuple[str, str]:
    """Mean of a number over runs, and its interval, as they are shown."""
    known = [value for run in group.runs if (value := run.final(name)[0]) is not None]
    return _number(name, sum(known) / len(known) if known else None, interval_of_seeds(known))


def _number(name: str, value: float | None, interval: Interval | None) -> tuple[str, str]:
    label = label_of(name)
    return "" if value is None else label.format(value), label.format_interval(interval)


def _row(cells: Sequence[str], kind: str = "") -> str:
    marked = f' class="{kind}"' if kind else ""
    return f"<tr{marked}>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _best(run: Run) -> str:
    if (best := run.best()) is None:
        return ""
    metric, value, samples = best
    label = label_of(metric)
    return f"{label.text} {label.format(value)} {label.unit} at {count(samples)}".replace("  ", " ")


def _differences(groups: Sequence[Group]) -> str:
    differing = differing_settings(groups)
    if not differing:
        return ""
    header = ("setting", *(group.name for group in groups))
    rows = [_row([key, *map(_shown, values)]) for key, values in differing.items()]
    return section("Settings that differ", table(header, rows))


def _shown(value: object) -> str:
    """A setting as YAML would say it; nothing for one that is not there."""
    if value is None:
        return ""
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n").removesuffix("\n...")


def _run(run: Run, videos: Sequence[Video]) -> str:
    """A run by itself, folded away."""
    settings = yaml.safe_dump(dict(run.settings), sort_keys=False)
    facts = [f"{count(run.samples)} of {count(run.settings.get('runner', {}).get('max_samples', 0))} samples"]
    if run.speed:
        facts.append(f"{count(run.speed)} samples/s, {duration(run.samples / run.speed)} without evaluations")
    facts.append(str(run.settings.get("env", {}).get("id", "")))
    line = f"<p>{escape(', '.join(filter(None, facts)))}</p>"
    seen = video_figures(videos) if videos else ""
    folded = f"<details><summary>settings</summary><pre>{escape(settings)}</pre></details>"
    return f"<details><summary>{escape(str(run.folder))} ({run.state})</summary>{line}{seen}{folded}</details>"
