"""The one suite that every engine has to pass."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from proto_envs.robots import Robot
from proto_envs.testing.bench import Bench, Check, ConformanceError, EngineFactory, NotOfferedError
from proto_envs.testing.object_checks import OBJECT_CHECKS
from proto_envs.testing.parameter_checks import PARAMETER_CHECKS
from proto_envs.testing.physics_checks import PHYSICS_CHECKS
from proto_envs.testing.state_checks import STATE_CHECKS

__all__ = ["ENGINE_CHECKS", "Allowance", "Outcome", "check_engine", "engine_outcomes"]

ENGINE_CHECKS: dict[str, Check] = {
    **STATE_CHECKS,
    **PHYSICS_CHECKS,
    **{f"parameter {name}": check for name, check in PARAMETER_CHECKS.items()},
    **OBJECT_CHECKS,
}
"""name to check"""


@dataclass(frozen=True)
class Allowance:
    """A larger error that an engine is allowed in one check."""

    error: float
    """in the check's unit"""
    reason: str
    """what about the engine makes it so"""


@dataclass(frozen=True)
class Outcome:
    """What became of one check."""

    check: str
    """its name in `ENGINE_CHECKS`"""
    status: Literal["passed", "failed", "not offered"]
    error: float | None = None
    """that was measured"""
    allowed: float = 0.0
    """largest error that passes"""
    unit: str = ""
    """of both"""
    detail: str = ""
    """why it failed, what is not offered, or why more than usual is allowed"""

    def __str__(self) -> str:
        """One line."""
        measured = "" if self.error is None else f", {self.error:.2g} {self.unit} (at most {self.allowed:g})"
        return f"{self.check}: {self.status}{measured}" + (f": {self.detail}" if self.detail else "")


def engine_outcomes(
    make: EngineFactory,
    robot: Robot,
    *,
    checks: Iterable[str] | None = None,
    allowances: Mapping[str, Allowance] | None = None,
) -> Iterator[Outcome]:
    """Run checks on an engine and tell what became of each, as they end.

    Args:
        make: (robot, num_envs, settings) to a simulator.
        robot: what to simulate.
        checks: names in `ENGINE_CHECKS`; None: all.
        allowances: larger errors that the engine is allowed, by name of the check.

    Raises:
        ValueError: for a name that is no check.
        ImportError: if the engine is not installed.
    """
    names, allowances = list(ENGINE_CHECKS if checks is None else checks), allowances or {}
    if unknown := [name for name in (*names, *allowances) if name not in ENGINE_CHECKS]:
        raise ValueError(f"no checks {unknown}; there are {list(ENGINE_CHECKS)}")
    bench = Bench(make, robot)
    for name in names:
        yield _outcome(name, bench, allowances.get(name))


def _outcome(name: str, bench: Bench, allowance: Allowance | None) -> Outcome:
    check = ENGINE_CHECKS[name]
    allowed, reason = (check.allowed, "") if allowance is None else (allowance.error, allowance.reason)
    try:
        error = check.measure(bench)
    except NotOfferedError as nothing:
        return Outcome(name, "not offered", allowed=allowed, unit=check.unit, detail=str(nothing))
    except ImportError:
        raise
    except ConformanceError as broken:
        return Outcome(name, "failed", allowed=allowed, unit=check.unit, detail=str(broken))
    except Exception as failure:  # an engine may raise anything
        detail = f"{type(failure).__name__}: {failure}"
        return Outcome(name, "failed", allowed=allowed, unit=check.unit, detail=detail)
    if error <= allowed:  # NaN is not
        return Outcome(name, "passed", error, allowed, check.unit, reason)
    return Outcome(name, "failed", error, allowed, check.unit, " ".join((check.measure.__doc__ or "").split()))


def check_engine(
    make: EngineFactory,
    robot: Robot,
    *,
    checks: Iterable[str] | None = None,
    allowances: Mapping[str, Allowance] | None = None,
) -> dict[str, float]:
    """Run checks on an engine until one fails; the arguments are those of `engine_outcomes`.

    Returns:
        The error that each check measured, NaN for what the engine does not offer.

    Raises:
        ConformanceError: naming the check.
    """
    measured = {}
    for outcome in engine_outcomes(make, robot, checks=checks, allowances=allowances):
        if outcome.status == "failed":
            raise ConformanceError(str(outcome))
        measured[outcome.check] = math.nan if outcome.error is None else outcome.error
    return measured
