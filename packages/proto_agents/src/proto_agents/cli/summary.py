"""Tables on the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from proto_agents.evaluation import EvaluationReport, ExpectationResult

ROWS = (
    ("success_rate", "success rate", "{:.1%}"),
    ("success_rate_max_error", "success rate by the farthest body", "{:.1%}"),
    ("survival_rate", "survival rate", "{:.1%}"),
    ("mpjpe_mm", "MPJPE (mm)", "{:.1f}"),
    ("mpjpe_mm_successful", "MPJPE, successful episodes (mm)", "{:.1f}"),
    ("mpjpe_mm_failed", "MPJPE, failed episodes (mm)", "{:.1f}"),
    ("mpjpe_mm_until_failure", "MPJPE until the first failure (mm)", "{:.1f}"),
    ("mpjpe_root_relative_mm", "MPJPE, root-relative (mm)", "{:.1f}"),
    ("mean_return", "return", "{:.2f}"),
    ("mean_episode_length", "episode length (steps)", "{:.1f}"),
    ("num_envs", "episodes", "{:.0f}"),
    ("seed", "seed", "{:.0f}"),
)


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
    if expected:
        table.add_column("expected")
    labels = {name: (label, form) for name, label, form in ROWS}
    for name in [name for name, _, _ in ROWS] + [name for name in expected if name not in labels]:
        says_nothing = name == "survival_rate" and report.success_rate is not None
        if name not in expected and (name not in values or says_nothing):
            continue
        label, form = labels.get(name, (name, "{:.4g}"))
        cells = [label, form.format(values[name]) if name in values else "not reported"]
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
