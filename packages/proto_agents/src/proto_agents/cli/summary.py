"""Tables on the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from proto_agents.evaluation import EvaluationReport, ExpectationResult
from proto_agents.evaluation.labels import grouped, label_of


def print_report(
    report: EvaluationReport, expectations: Sequence[ExpectationResult], title: str, console: Console | None = None
) -> None:
    """Prints an evaluation, what was expected of it, and the clips that failed."""
    console = console or Console()
    values = report.values()
    expected = {result.metric: result for result in expectations}
    table = Table(title=title, title_justify="left")
    table.add_column("metric")
    table.add_column("value", justify="right")
    if report.intervals:
        table.add_column("95 % interval")
    if expected:
        table.add_column("expected")
    groups = {group: names for group, names in grouped(values, expected).items() if not group.startswith("Rewards")}
    for name in [name for names in groups.values() for name in names]:
        label = label_of(name)
        cells = [label.title, label.format(values[name]) if name in values else "not reported"]
        if report.intervals:
            cells.append(label.format_interval(report.intervals.get(name)))
        if name in expected:
            result = expected[name]
            verdict = "[green]met[/]" if result.passed else "[red]missed[/]"
            cells.append(f"{result.low:g} to {result.high:g}  {verdict}")
        table.add_row(*cells)
    console.print(table)
    if len(report.clips) > 1:
        clips = Table("clip", "episodes", "success", "MPJPE (mm)", "root-relative (mm)")
        for name, clip in report.clips.items():
            numbers = (clip.mpjpe_mm, clip.mpjpe_root_relative_mm)
            success = "" if clip.success_rate is None else f"{clip.success_rate:.1%}"
            clips.add_row(name, str(clip.episodes), success, *("" if n is None else f"{n:.1f}" for n in numbers))
        console.print(clips)
    if report.failed_clips:
        console.print(f"failed clips: {', '.join(report.failed_clips)}", markup=False)
