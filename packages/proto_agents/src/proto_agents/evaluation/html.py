"""An evaluation as one page that needs nothing beside it: tables, charts and videos."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from string import Template

from proto_agents.evaluation.expectations import ExpectationResult
from proto_agents.evaluation.labels import grouped, label_of
from proto_agents.evaluation.report import EvaluationReport

__all__ = ["Page", "Video", "document", "render_page", "section", "table", "video_figures"]

_TILES = (
    "success_rate",
    "success_rate_max_error",
    "survival_rate",
    "clips_tracked",
    "mpjpe_mm",
    "mpjpe_root_relative_mm",
    "speed_ratio",
    "speed_error",
    "style_frechet",
    "style_coverage",
    "skills_recovered",
    "transition_survival",
    "foot_slide_mmps",
    "mean_return",
    "mean_episode_length",
)
_MOST_TILES = 6


@dataclass(frozen=True)
class Video:
    """One episode to be watched."""

    title: str
    """such as "best" """
    caption: str
    """which episode it is, and what it scored"""
    data: bytes
    """an mp4 file"""


@dataclass(frozen=True, kw_only=True)
class Page:
    """What a page shows."""

    title: str
    """such as the experiment's name"""
    subtitle: str
    """which checkpoint, where it was evaluated"""
    report: EvaluationReport
    expectations: Sequence[ExpectationResult] = ()
    charts: Mapping[str, str] = field(default_factory=dict)
    """<svg> elements by the heading above each"""
    videos: Sequence[Video] = ()
    notes: Sequence[str] = ()
    """what is missing, and why"""
    settings: str = ""
    """the experiment as YAML, folded away"""


def render_page(page: Page) -> str:
    """The page as HTML."""
    sections = [
        _tiles(page.report),
        _expectations(page.report, page.expectations),
        _numbers(page.report),
        _videos(page.videos),
        *(section(title, f'<div class="chart">{svg}</div>') for title, svg in page.charts.items()),
        _clips(page.report),
        _settings(page),
    ]
    return document(page.title, page.subtitle, sections, page.notes)


def document(title: str, subtitle: str, sections: Sequence[str], notes: Sequence[str] = ()) -> str:
    """A page of sections (HTML) under a title; title, subtitle and notes are plain text."""
    noted = "".join(f'<p class="note">{escape(note)}</p>' for note in notes)
    return _PAGE.substitute(
        title=escape(title), subtitle=escape(subtitle), notes=noted, body="\n".join(filter(None, sections))
    )


def section(title: str, content: str) -> str:
    """A box with a heading. title: plain text; content: HTML."""
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


def _tiles(report: EvaluationReport) -> str:
    """The numbers that matter most, large."""
    values = report.values()
    chosen = [name for name in _TILES if name in values]
    if "success_rate" in chosen and "survival_rate" in chosen:
        chosen.remove("survival_rate")
    tiles = []
    for name in chosen[:_MOST_TILES]:
        label = label_of(name)
        number, unit = label.format(values[name]), label.unit
        total = f" of {len(report.clips)}" if name == "clips_tracked" else ""
        within = _interval(report, name)
        tiles.append(
            f'<div class="tile"><div class="name">{escape(label.text)}</div>'
            f'<div class="value">{number}<span class="unit">{escape(total or " " + unit)}</span></div>'
            f'<div class="interval">{within or "&nbsp;"}</div></div>'
        )
    return f'<div class="tiles">{"".join(tiles)}</div>'


def _interval(report: EvaluationReport, name: str) -> str:
    """The 95 % interval, where there is one."""
    return label_of(name).format_interval(report.intervals.get(name))


def _expectations(report: EvaluationReport, expectations: Sequence[ExpectationResult]) -> str:
    if not expectations:
        return ""
    rows = []
    for result in expectations:
        label, verdict = label_of(result.metric), "met" if result.passed else "missed"
        value = "not reported" if result.value is None else f"{label.format(result.value)} {label.unit}"
        cells = (label.text, value, _interval(report, result.metric), f"{result.low:g} to {result.high:g}")
        marked = f'<td><span class="verdict {verdict}">{verdict}</span></td>'
        rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + marked + "</tr>")
    return section("Expected", table(("number", "measured", "95 % interval", "expected", ""), rows))


def _numbers(report: EvaluationReport) -> str:
    """Every number, group by group."""
    values, rows, seeds = report.values(), [], len(report.seeds) > 1
    for title, names in grouped(values).items():
        rows.append(f'<tr class="group"><th colspan="{4 if seeds else 3}">{escape(title)}</th></tr>')
        for name in names:
            label = label_of(name)
            cells = [label.text, f"{label.format(values[name])} {label.unit}", _interval(report, name)]
            if seeds:
                known = [value for value in report.per_seed.get(name, ()) if value is not None]
                cells.append(", ".join(map(label.format, known)))
            rows.append(f'<tr title="{escape(name)}">' + "".join(f"<td>{escape(c)}</td>" for c in cells) + "</tr>")
    count = len(report.seeds) or 1
    what = f"{count} x {report.num_envs} episodes" if count > 1 else f"{report.num_envs} episodes"
    header = ("number", "mean", "95 % interval", *(["each seed"] if seeds else []))
    return section(f"Numbers ({what})", table(header, rows))


def _clips(report: EvaluationReport) -> str:
    if len(report.clips) < 2:
        return ""
    known = ("success_rate", "success_rate_max_error", "mpjpe_mm", "mpjpe_root_relative_mm")
    names = [name for name in known if any(getattr(clip, name) is not None for clip in report.clips.values())]
    rows = []
    for clip_name, clip in report.clips.items():
        cells = [clip_name, str(clip.episodes)]
        for name in names:
            value, label = getattr(clip, name), label_of(name)
            cells.append("" if value is None else f"{label.format(value)} {label.unit}")
        kind = ' class="lost"' if clip_name in report.failed_clips else ""
        rows.append(f"<tr{kind}>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    header = ("clip", "episodes", *(label_of(name).text for name in names))
    failed = f", {len(report.failed_clips)} with a failure" if report.failed_clips else ""
    return section(f"Clips ({len(report.clips)}{failed})", table(header, rows))


def table(header: Sequence[str], rows: Sequence[str]) -> str:
    """header: plain text of each column; rows: <tr> elements."""
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _videos(videos: Sequence[Video]) -> str:
    return section("Episodes", video_figures(videos)) if videos else ""


def video_figures(videos: Sequence[Video]) -> str:
    """Videos beside each other, as HTML."""
    figures = "".join(
        f'<figure><video controls muted loop playsinline preload="metadata" '
        f'src="data:video/mp4;base64,{base64.b64encode(video.data).decode()}"></video>'
        f"<figcaption><b>{escape(video.title)}</b> {escape(video.caption)}</figcaption></figure>"
        for video in videos
    )
    return f'<div class="videos">{figures}</div>'


def _settings(page: Page) -> str:
    if not page.settings:
        return ""
    return f"<details><summary>Settings</summary><pre>{escape(page.settings)}</pre></details>"


_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light; --ink: #1d2733; --soft: #667280; --line: #e1e6eb; --good: #1f7a46; --bad: #b3261e; }
body { font: 15px/1.45 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; color: var(--ink); background: #f6f8fa;
  margin: 0; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 26px; margin: 0; } h2 { font-size: 18px; margin: 0 0 12px; }
header p { color: var(--soft); margin: 4px 0 20px; overflow-wrap: anywhere; }
section, details { background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 18px 20px;
  margin: 18px 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; }
.tile { background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; }
.tile .name { color: var(--soft); font-size: 13px; min-height: 38px; }
.tile .value { font-size: 25px; font-weight: 600; font-variant-numeric: tabular-nums; white-space: nowrap; }
.unit { font-size: 14px; font-weight: 400; color: var(--soft); }
.interval { color: var(--soft); font-size: 12.5px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; color: var(--soft); font-weight: 600; font-size: 13px; }
td, th { padding: 5px 14px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tr:last-child td { border-bottom: 0; }
tr.group th { color: var(--ink); padding-top: 16px; }
tr.new td { border-top: 2px solid var(--line); }
tr.lost td:first-child { color: var(--bad); font-weight: 600; }
.verdict { border-radius: 9px; padding: 1px 9px; font-size: 13px; color: #fff; }
.met { background: var(--good); } .missed { background: var(--bad); }
.videos { display: grid; grid-template-columns: repeat(auto-fit, minmax(280px, 1fr)); gap: 16px; }
figure { margin: 0; } video { width: 100%; border-radius: 8px; background: #000; }
figcaption { color: var(--soft); font-size: 13.5px; margin-top: 4px; }
figcaption b { color: var(--ink); }
.chart svg { width: 100%; height: auto; display: block; }
.note { color: var(--soft); margin: 4px 0; font-size: 13.5px; }
details { padding: 12px 20px; } summary { cursor: pointer; color: var(--soft); }
pre { overflow-x: auto; font-size: 12.5px; }
</style>
</head>
<body><main>
<header><h1>$title</h1><p>$subtitle</p></header>
$notes
$body
</main></body>
</html>
""")
