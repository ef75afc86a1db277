"""How long an environment takes to start, the first time on a machine and later.

    uv run python benchmarks/start.py --backend mujoco_warp --device cuda

Two fresh processes make the same environment and step it. The first finds no kernels that were compiled before (an
empty folder stands in for the engine's cache), the second those of the first.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro
from engine_tables import merge_row, provenance

PROGRAM = """
import json, sys, time
start = time.perf_counter()
import gymnasium, proto_envs, torch
from proto_envs import vector_env
from proto_envs.simulators import make_simulator
imported = time.perf_counter()
name, num_envs, backend, device = sys.argv[1:]
env = gymnasium.make_vec(name, num_envs=int(num_envs), backend=backend, device=device)
env.reset(seed=0)
made = time.perf_counter()
action = torch.zeros(env.action_space.shape)
seconds = []
for _ in range(4):
    before = time.perf_counter()
    float(env.step(action)[1].sum())
    seconds.append(time.perf_counter() - before)
print(json.dumps({
    "engine": env.simulator.capabilities.name, "device": env.device.type, "import_s": imported - start,
    "make_and_reset_s": made - imported, "first_step_s": seconds[0], "second_step_s": seconds[1],
    "later_step_s": seconds[3],
}))
"""
CACHES = ("WARP_CACHE_PATH", "GS_CACHE_FILE_PATH", "XDG_CACHE_HOME")
"""environment variables that say where engines keep compiled kernels"""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What to start."""

    env: str = "ProtoMimic-AMP-v0"
    """environment id"""
    backend: str = "auto"
    """engine"""
    device: str = "auto"
    """where a GPU engine runs"""
    num_envs: int = 64
    """environments"""
    cache: str = ""
    """folder of compiled kernels, kept; empty: a temporary one"""
    warm_only: bool = False
    """leave out the first process, and use the engine's own cache"""
    output: str = ""
    """file to add the row to"""


def main(args: Arguments) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="start-") as temporary:
        folder = args.cache or temporary
        places = {} if args.warm_only else {name: folder for name in CACHES}
        found = {} if args.warm_only else {"cold": _start(args, places)}
        found["warm"] = _start(args, places)
    row: dict[str, Any] = {"env": args.env, "num_envs": args.num_envs}
    row |= {name: found["warm"][name] for name in ("engine", "device")}
    for temperature, seconds in found.items():
        numbers = {name: round(value, 3) for name, value in seconds.items() if name.endswith("_s")}
        row[temperature] = numbers | {"total_s": round(sum(numbers.values()), 1)}
        print(f"{temperature}: " + ", ".join(f"{name} {value}" for name, value in row[temperature].items()))
    if args.output:
        row |= {"settings": asdict(args), **provenance()}
        merge_row(Path(args.output), row, ("env", "engine", "device", "num_envs"))


def _start(args: Arguments, places: dict[str, str]) -> dict[str, Any]:
    """One process; seconds of its parts.

    Raises:
        RuntimeError: with the end of what it said, if it fails.
    """
    command = [sys.executable, "-c", PROGRAM, args.env, str(args.num_envs), args.backend, args.device]
    done = subprocess.run(command, env=os.environ | places, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout.strip().splitlines()[-1])


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
