"""How long imports and commands take before they do anything, beside what they cannot do without.

    uv run python benchmarks/startup.py --rounds 5 --output benchmarks/results/startup.json

Each program is a fresh process. Programs take turns, so that a busy machine slows them alike, and the least of the
rounds counts. CPU time (user and system) is the better number where other programs run too; caches and memory that are
shared with them make it longer all the same, so compare it with that of `import torch` in the same run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import tyro
from engine_tables import merge_row, provenance

PROGRAMS: dict[str, tuple[str, ...]] = {
    "python": ("-c", "pass"),
    "import gymnasium": ("-c", "import gymnasium"),
    "import proto_envs": ("-c", "import proto_envs"),
    "import torch": ("-c", "import torch"),
    "import proto_agents": ("-c", "import proto_agents"),
    "proto-train --help": ("-m", "proto_agents.cli.train", "--help"),
}
LIMITS = {"import proto_envs": 0.3, "proto-train --help": 2.0}
"""s on a quiet machine that we want to stay under"""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What to measure."""

    rounds: int = 5
    """processes of each program, in turn"""
    output: str = ""
    """file to add the rows to"""


def main(args: Arguments) -> None:
    """Measure and print."""
    cpu: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    wall: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(args.rounds):
        for name, program in PROGRAMS.items():
            seconds = start(program)
            cpu[name].append(seconds[0])
            wall[name].append(seconds[1])
    for name in PROGRAMS:
        row = {"program": name, "cpu_s": round(min(cpu[name]), 3), "wall_s": round(min(wall[name]), 3)}
        row |= {"of_import_torch": round(min(cpu[name]) / min(cpu["import torch"]), 3), "limit_s": LIMITS.get(name)}
        print(json.dumps(row))
        if args.output:
            merge_row(Path(args.output), row | {"settings": asdict(args)} | provenance(), ("program",))


def start(program: tuple[str, ...]) -> tuple[float, float]:
    """CPU and wall-clock seconds of one process.

    Raises:
        RuntimeError: with the end of what it said, if it fails.
    """
    before, used = time.perf_counter(), os.times()
    done = subprocess.run([sys.executable, *program], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    now = os.times()
    cpu = now.children_user - used.children_user + now.children_system - used.children_system
    return cpu, time.perf_counter() - before


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
