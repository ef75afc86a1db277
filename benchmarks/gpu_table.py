"""One table of what `benchmarks/gpu.sh` measured, with the goals beside it.

python benchmarks/gpu_table.py FOLDER
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine_tables import home_of, read_rows
from rich.console import Console
from rich.table import Table

GOALS = {"ProtoMimic-SMPL-v0": 100_000, "ProtoMimic-G1-v0": 250_000}
"""least steps of environments per second, of 4096 of them on an H100"""
GOAL_ENVS = 4096
GOAL_OUTSIDE_PHYSICS = 0.20
"""largest share of a step that is not physics"""
GOAL_TRAINING = 0.60
"""least speed of training, as a share of that of `env.step` alone"""
GOAL_SUCCESS, GOAL_MPJPE = 0.05, 1.20
"""largest difference of success, and ratio of errors, between engines"""


def lines(folder: Path) -> Iterator[tuple[str, str, str, str]]:
    """(what, measured, goal, verdict); goals are of CUDA."""
    for row in read_rows(folder / "throughput.json"):
        yield from _speed(row)
    for row in read_rows(folder / "start.json"):
        for kind in ("cold", "warm"):
            if kind in row:
                yield f"{row['env']}: {kind} start", f"{row[kind]['total_s']:.1f} s", "", ""
    rows = read_rows(folder / "transfer.json")
    for row in rows:
        yield from _transfer(row, rows)


def _speed(row: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    what, is_goal = f"{row['env']}, {row['num_envs']}", row["num_envs"] == GOAL_ENVS and row["device"] == "cuda"
    rate, goal = row["env_steps_per_s"], GOALS.get(row["env"]) if is_goal else None
    yield f"{what}: env.step", f"{rate:,.0f} /s", *_against(f">= {goal:,} /s" if goal else "", rate >= (goal or 0))
    outside = 1.0 - row["profile"]["physics"]
    shares = sorted(((share, name) for name, share in row["profile"].items() if name != "physics"), reverse=True)
    largest = ", ".join(f"{name} {100 * share:.0f} %" for share, name in shares[:3])
    goal_text = f"<= {100 * GOAL_OUTSIDE_PHYSICS:.0f} %" if is_goal else ""
    verdict = _against(goal_text, outside <= GOAL_OUTSIDE_PHYSICS)
    yield f"{what}: all but physics", f"{100 * outside:.0f} % ({largest})", *verdict
    if row["training_samples_per_s"]:
        share = row["training_samples_per_s"] / rate
        goal_text = f">= {100 * GOAL_TRAINING:.0f} % of env.step" if is_goal else ""
        measured = f"{row['training_samples_per_s']:,.0f} /s ({100 * share:.0f} %)"
        yield f"{what}: training", measured, *_against(goal_text, share >= GOAL_TRAINING)
    yield f"{what}: memory", f"{row['kib_per_env']:.0f} KiB per environment, {row['used_mib']:.0f} MiB in use", "", ""


def _transfer(row: dict[str, Any], rows: list[dict[str, Any]]) -> Iterator[tuple[str, str, str, str]]:
    home = home_of(row, rows)
    what = f"{row['policy']} in {row['engine']} on {row['device']}"
    measured = f"{100 * row['success_rate']:.1f} %, {row['mpjpe_mm']:.1f} mm"
    if home is None or home is row:
        yield what, measured, "", ""
        return
    near = abs(row["success_rate"] - home["success_rate"]) <= GOAL_SUCCESS
    near &= row["mpjpe_mm"] <= GOAL_MPJPE * home["mpjpe_mm"]
    yield what, measured, *_against(f"within {100 * GOAL_SUCCESS:.0f} points, x {GOAL_MPJPE:g} of home", near)


def _against(goal: str, reached: bool) -> tuple[str, str]:
    return goal, "" if not goal else "yes" if reached else "NO"


def main() -> None:
    """Print."""
    folder = Path(sys.argv[1])
    table = Table("what", "measured", "goal", "reached", title=_title(folder), title_justify="left")
    for line in lines(folder):
        table.add_row(*line)
    Console(width=130).print(table)


def _title(folder: Path) -> str:
    rows = read_rows(folder / "throughput.json")
    if not rows:
        return "nothing was measured"
    packages = rows[-1]["packages"]
    named = ", ".join(f"{name} {packages[name]}" for name in ("mujoco-warp", "warp-lang", "torch") if name in packages)
    return f"{rows[-1]['device_name']}; {named}; commit {rows[-1]['commit']}"


if __name__ == "__main__":
    main()
