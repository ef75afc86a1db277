"""What each engine does: the conformance suite on every engine found here and several robots.

    uv run python benchmarks/support.py                            # every engine found, AMP, SMPL and G1
    uv run python benchmarks/support.py --engines mujoco --robots H1
    uv run python benchmarks/engine_tables.py                      # then the table in docs/engines.md

Writes benchmarks/results/support.json, a row for each engine, device and robot; rows of other runs stay, so that each
engine may be run in a virtual environment of its own. Exit code 1 if a check failed.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import tyro
from engine_tables import RESULTS, merge_row, provenance

from proto_envs.robots import Robot, get_robot
from proto_envs.simulators import ENGINES, SimulationSettings, Simulator, UnsupportedError, installed, make_simulator
from proto_envs.testing import engine_outcomes
from proto_envs.testing.allowances import ALLOWANCES


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What to run."""

    engines: tuple[str, ...] = ()
    """names of engines; none: every one that is installed"""
    robots: tuple[str, ...] = ("AMP", "SMPL", "G1")
    """names of robots"""
    device: str = "auto"
    """where GPU engines run; "auto" is CUDA where there is some"""
    checks: tuple[str, ...] = ()
    """names of checks; none: all. A row then has these alone"""
    output: Path = RESULTS / "support.json"
    """file to add to"""


def main(args: Arguments) -> None:
    """Run, print as it goes, write after each robot."""
    failures = 0
    for engine in args.engines or tuple(name for name in ENGINES if installed(name)):
        for robot in args.robots:
            failures += run(engine, robot, args)
    sys.exit(1 if failures else 0)


def run(engine: str, robot: str, args: Arguments) -> int:
    """One engine, one robot; the number of failed checks."""
    devices: set[str] = set()

    def make(who: Robot, num_envs: int, settings: SimulationSettings) -> Simulator:
        simulator = make_simulator(engine, who, num_envs, replace(settings, device=args.device))
        devices.add(simulator.device.type)
        return simulator

    print(f"{engine}, {robot}", flush=True)
    try:
        make(get_robot(robot), 1, SimulationSettings()).close()
    except UnsupportedError as error:  # such as an engine of hinges alone: no row
        print(f"  not offered: {error}", flush=True)
        return 0
    outcomes, start = [], time.perf_counter()
    allowances = ALLOWANCES.get(engine, {})
    for outcome in engine_outcomes(make, get_robot(robot), checks=args.checks or None, allowances=allowances):
        print(f"  {outcome}", flush=True)
        outcomes.append(outcome)
    row = {
        "engine": engine,
        "device": "cuda" if "cuda" in devices else "cpu",
        "robot": robot,
        "seconds": round(time.perf_counter() - start, 1),
        "outcomes": [asdict(outcome) for outcome in outcomes],
        **provenance(),
    }
    merge_row(args.output, row, ("engine", "device", "robot"))
    return sum(outcome.status == "failed" for outcome in outcomes)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
