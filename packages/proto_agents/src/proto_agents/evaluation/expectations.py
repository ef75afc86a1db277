"""What an experiment expects of its evaluation."""

from collections.abc import Mapping
from dataclasses import dataclass

from proto_agents.evaluation.report import EvaluationReport

__all__ = ["ExpectationResult", "check_expectations"]


@dataclass(frozen=True, kw_only=True)
class ExpectationResult:
    """One line of an experiment's `expect:` against a report."""

    metric: str
    """name in `EvaluationReport.values`"""
    value: float | None
    """what was measured; None where the report lacks it"""
    low: float
    """least accepted value"""
    high: float
    """greatest accepted value"""

    @property
    def passed(self) -> bool:
        """Whether the value is known and within the bounds (NaN is not)."""
        return self.value is not None and self.low <= self.value <= self.high


def check_expectations(
    report: EvaluationReport, expect: Mapping[str, tuple[float, float]]
) -> tuple[ExpectationResult, ...]:
    """Compares a report with bounds; a metric that the report lacks counts as missed."""
    values = report.values()
    return tuple(
        ExpectationResult(metric=name, value=values.get(name), low=low, high=high)
        for name, (low, high) in expect.items()
    )
