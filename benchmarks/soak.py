"""Does an environment that steps for long keep its memory? Resident memory over time, and its slope.

    uv run python benchmarks/soak.py --minutes 60
    uv run python benchmarks/soak.py --env ProtoSteering-SMPL-v0 --minutes 15 --output benchmarks/results/soak.json

Random actions, so that characters fall and episodes end and begin all the time. The first part of the run is left out
of the slope: caches fill there. Linux alone, which says in /proc how much memory a process holds.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium
import torch
import tyro
from engine_tables import merge_row, provenance

import proto_envs  # noqa: F401 - registers the ids

MIB = 2.0**20


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What to step, and for how long."""

    env: str = "ProtoMimic-AMP-v0"
    """environment id"""
    backend: str = "auto"
    """engine"""
    device: str = "auto"
    """where a GPU engine runs"""
    num_envs: int = 256
    """environments stepped together"""
    minutes: float = 60.0
    """wall-clock time"""
    every: float = 5.0
    """s between samples"""
    settle: float = 0.25
    """share of the run that the slope leaves out, at its beginning"""
    limit: float = 0.0
    """MiB per million environment steps; a steeper slope ends the program with exit code 1. 0: no limit"""
    output: str = ""
    """file to add the row to"""


@dataclass(frozen=True)
class Sample:
    """Memory at one moment."""

    seconds: float
    """since the first step"""
    steps: int
    """control steps of all environments together"""
    episodes: int
    """episodes that have ended"""
    resident_mib: float
    """MiB of memory that is the process's own or shared, resident"""


def main(args: Arguments) -> None:
    """Measure and print."""
    samples = soak(args)
    row = summary(samples, args)
    print(json.dumps({name: row[name] for name in row if name != "samples"}))
    if args.output:
        merge_row(Path(args.output), row | provenance(), ("env", "engine", "num_envs"))
    if args.limit and row["mib_per_million_steps"] > args.limit:
        raise SystemExit(f"memory grows by {row['mib_per_million_steps']:.2f} MiB per million steps, over {args.limit}")


def soak(args: Arguments) -> list[Sample]:
    """Step until the time is over."""
    env = gymnasium.make_vec(args.env, num_envs=args.num_envs, backend=args.backend, device=args.device)
    env.reset(seed=0)
    env.action_space.seed(0)
    samples: list[Sample] = []
    steps = episodes = 0
    start = time.perf_counter()
    while (seconds := time.perf_counter() - start) < 60 * args.minutes:
        if not samples or seconds - samples[-1].seconds >= args.every:
            gc.collect()
            samples.append(Sample(seconds, steps, episodes, resident_bytes() / MIB))
            if len(samples) % 12 == 1:
                print(f"{seconds:.0f} s, {steps} steps, {samples[-1].resident_mib:.1f} MiB", flush=True)
        action = torch.as_tensor(env.action_space.sample(), device=args.device if args.device != "auto" else None)
        _, _, terminated, truncated, _ = env.step(action)
        steps += args.num_envs
        episodes += int((terminated | truncated).sum())
    samples.append(Sample(time.perf_counter() - start, steps, episodes, resident_bytes() / MIB))
    env.close()
    return samples


def summary(samples: Sequence[Sample], args: Arguments) -> dict[str, Any]:
    """One row: how memory changed with time and with steps after the run had settled."""
    last = samples[-1]
    settled = [sample for sample in samples if sample.seconds >= args.settle * last.seconds]
    memory = [sample.resident_mib for sample in settled]
    return {
        "env": args.env,
        "engine": args.backend,
        "num_envs": args.num_envs,
        "seconds": round(last.seconds, 1),
        "steps": last.steps,
        "episodes": last.episodes,
        "resident_mib": {
            "first": round(samples[0].resident_mib, 1),
            "settled": round(memory[0], 1),
            "last": round(memory[-1], 1),
            "highest": round(max(memory), 1),
        },
        "mib_per_hour": round(slope([sample.seconds / 3600 for sample in settled], memory), 3),
        "mib_per_million_steps": round(slope([sample.steps / 1e6 for sample in settled], memory), 3),
        "samples": [[round(s.seconds), s.steps, round(s.resident_mib, 2)] for s in samples],
        "settings": asdict(args),
    }


def slope(along: Sequence[float], values: Sequence[float]) -> float:
    """Of the least-squares line through points; 0 where there are fewer than two different ones."""
    x, y = torch.tensor(along, dtype=torch.float64), torch.tensor(values, dtype=torch.float64)
    x, y = x - x.mean(), y - y.mean()
    spread = float((x * x).sum())
    return float((x * y).sum()) / spread if spread else 0.0


def resident_bytes() -> int:
    """Memory of this process that is resident."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return 1024 * int(line.split()[1])
    raise RuntimeError("/proc/self/status has no VmRSS: want Linux")


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
