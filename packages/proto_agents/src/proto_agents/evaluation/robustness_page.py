"""The page on robustness: curves over the strength of each perturbation, and the table."""

from collections.abc import Mapping
from html import escape

from proto_agents.evaluation.charts import robustness_chart, svg_of
from proto_agents.evaluation.html import document, section, table
from proto_agents.evaluation.labels import label_of
from proto_agents.evaluation.robustness import Robustness

__all__ = ["render_robustness"]


def render_robustness(
    robustness: Robustness, title: str, subtitle: str, unperturbed: Mapping[str, float] | None = None
) -> str:
    """The page as HTML, which needs nothing beside it.

    Args:
        robustness: what was found.
        title: of the page.
        subtitle: below it.
        unperturbed: value of each perturbation that changes nothing, of those that have one; curves go through it.
    """
    bands = "band: 95 % interval, over runs where a policy has several, else over episodes; dashed: unperturbed"
    charts = [
        section(f"{label_of(metric).text}", f'<div class="chart">{svg_of(figure)}</div><p class="note">{bands}</p>')
        for metric in robustness.metrics
        if (figure := robustness_chart(robustness, metric, unperturbed)) is not None
    ]
    return document(title, subtitle, [*charts, _rows(robustness), _policies(robustness)])


def _rows(robustness: Robustness) -> str:
    several = len(robustness.policies) > 1
    header = ["perturbation", "value", *(["policy"] if several else []), "episodes"]
    for metric in robustness.metrics:
        header += [label_of(metric).title, "95 % interval", "change"]
    lines, before = [], ""
    for row in robustness.rows():
        condition = row.condition
        cells = [condition.perturbation, condition.value, *([row.policy] if several else [])]
        cells.append(f"{row.runs} x {row.episodes}" if row.runs > 1 else str(row.episodes))
        for metric, number in row.numbers.items():
            cells += number.texts(metric)
        kind = ' class="new"' if before not in ("", condition.perturbation) else ""
        before = condition.perturbation
        lines.append(f"<tr{kind}>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    return section("Every condition", table(header, lines))


def _policies(robustness: Robustness) -> str:
    lines = [
        f"<tr><td>{escape(policy.name)}</td><td>{'<br>'.join(map(escape, policy.checkpoints))}</td></tr>"
        for policy in robustness.policies
    ]
    return section("Policies", table(("policy", "checkpoints"), lines))
