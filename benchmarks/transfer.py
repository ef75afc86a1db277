"""What a policy reaches in engines that it was not trained in.

    uv run python benchmarks/transfer.py                                  # both shipped policies, every engine found
    uv run python benchmarks/transfer.py --engines mujoco_warp --device cpu --episodes 64
    uv run python benchmarks/engine_tables.py                             # then the table in docs/engines.md

Plays the evaluation that the policy's own experiment describes (`proto-eval` does the same), the same episodes in each
engine. Writes benchmarks/results/transfer.json, a row for each policy, engine and device; rows of other runs stay, so
that each engine may be run in a virtual environment of its own.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro
from engine_tables import RESULTS, home_of, merge_row, provenance, read_rows
from rich.console import Console
from rich.table import Table

from proto_agents.cli.environments import find_run, make_environment
from proto_agents.cli.learners import load_policy
from proto_agents.evaluation import evaluate
from proto_agents.parsing import merge
from proto_envs.simulators import ENGINES, installed

TRAINED_IN = "mujoco"
"""where a policy was trained whose experiment names no engine: "auto" on the CPU"""
MEASURES = ("success_rate", "success_rate_max_error", "mpjpe_mm", "mpjpe_root_relative_mm", "mpjpe_mm_until_failure")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What to play."""

    policies: tuple[str, ...] = ("pretrained/walk-amp", "pretrained/walk-smpl")
    """run folders or pretrained/<name>"""
    engines: tuple[str, ...] = ()
    """names of engines; none: every one that is installed"""
    device: str = "auto"
    """where GPU engines run; "auto" is CUDA where there is some"""
    episodes: int = 64
    """each in an environment of its own"""
    seconds: float = 10.0
    """longest episode"""
    seed: int = 1000
    """of the reset"""
    output: Path = RESULTS / "transfer.json"
    """file to add to"""


def main(args: Arguments) -> None:
    """Play, write after each, print what the file has."""
    for policy in args.policies:
        for engine in args.engines or tuple(name for name in ENGINES if installed(name)):
            merge_row(args.output, play(policy, engine, args), ("policy", "engine", "device"))
    show(read_rows(args.output))


def play(policy: str, engine: str, args: Arguments) -> dict[str, Any]:
    """One policy in one engine."""
    experiment, checkpoint = find_run(policy)
    settings = replace(experiment.evaluation, num_envs=args.episodes, seconds=args.seconds, steps=None, seed=args.seed)
    device = "auto" if engine == "mujoco" else args.device
    overlay = merge(settings.env, {"backend": engine, "device": device})
    start = time.perf_counter()
    env = make_environment(experiment, args.episodes, overlay)
    try:
        kind = env.unwrapped.device.type
        experiment = replace(experiment, runner=replace(experiment.runner, device=kind))
        learner = load_policy(experiment, env, checkpoint)
        report = evaluate(env, learner.model.act_deterministic, settings, learner.device)
    finally:
        env.close()
    return {
        "policy": policy,
        "engine": engine,
        "device": kind,
        "trained_in": experiment.env.backend or TRAINED_IN,
        "episodes": args.episodes,
        "seconds": args.seconds,
        "seed": args.seed,
        **{name: getattr(report, name) for name in MEASURES},
        "wall_s": round(time.perf_counter() - start, 1),
        **provenance(),
    }


def show(rows: list[dict[str, Any]]) -> None:
    """A table for people."""
    table = Table("policy", "engine", "episodes", "success", "strict", "MPJPE mm", "root-relative mm")
    for row in rows:
        home = home_of(row, rows)
        cells = [row["policy"].rpartition("/")[2], f"{row['engine']}, {row['device']}", str(row["episodes"])]
        cells += [f"{100 * row[name]:.1f} %" for name in ("success_rate", "success_rate_max_error")]
        for name in ("mpjpe_mm", "mpjpe_root_relative_mm"):
            cells.append(f"{row[name]:.1f}" + ("" if home is None else f" (x {row[name] / home[name]:.2f})"))
        table.add_row(*cells)
    Console().print(table)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
