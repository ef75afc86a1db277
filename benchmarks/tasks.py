"""How fast every environment id steps, beside its physics alone, on terrain and with objects.

    uv run python benchmarks/tasks.py --ids ProtoMimic-SMPL-v0 ProtoStrike-AMP-v0
    uv run python benchmarks/tasks.py --output benchmarks/results/tasks.json   # all of them

Rates are control steps of all environments per second. Of each id everything is measured in one run in turn (physics,
flat, terrain, objects, physics, ...), so that a busy machine slows them alike; medians are reported:

- physics: `mujoco.batch` alone doing the same work on flat ground (`physics_alone.py`);
- env: `env.step` with resets as they come; `ratio` is env over physics;
- terrain: `env.step` on `terrain="complex"` over that on flat ground;
- objects: `env.step` with four objects, two of them loose, over that without; tasks that take scenes only.
"""

from __future__ import annotations

import gc
import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import tyro
from gymnasium.vector import AutoresetMode
from physics_alone import PhysicsAlone, env_seconds_per_step, gentle_actions, record, versions

from proto_envs.factory import task_class
from proto_envs.registration import environment_ids
from proto_envs.scenes import Box, Scene, SceneObject
from proto_envs.vector_env import ProtoVectorEnv

OBJECTS = Scene(
    name="four boxes",
    objects=tuple(
        SceneObject(name=f"box {i}", parts=(Box(size=(0.4, 0.4, 0.4)),), mobility=mobility, position=(x, y, 0.2))
        for i, (mobility, x, y) in enumerate(
            [("static", 1.5, 0.0), ("static", -1.5, 0.0), ("dynamic", 0.0, 1.5), ("dynamic", 0.0, -1.5)]
        )
    ),
)
"""boxes 1.5 m around where an episode begins"""
COLUMNS = ("id", "observation", "physics_steps_per_s", "env_steps_per_s", "ratio", "terrain", "objects")


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What to measure."""

    ids: tuple[str, ...] = ()
    """environment ids; none: all"""
    num_envs: int = 512
    """environments stepped together"""
    steps: int = 20
    """control steps per measurement"""
    rounds: int = 5
    """measurements of each kind, in turn"""
    threads: int = 0
    """physics threads; 0 takes all CPUs"""
    json: bool = False
    """print the result as one JSON line at the end"""
    output: str = ""
    """file to write the JSON to"""


def main(args: Arguments) -> None:
    """Measure and print, row by row."""
    ids = args.ids or environment_ids()
    print(" ".join(_cells(COLUMNS)), flush=True)
    result = {"settings": asdict(args), **versions(), "rows": []}
    for name in ids:
        row = measure(name, args)
        print(" ".join(_cells([row[column] for column in COLUMNS])), flush=True)
        result["rows"].append(row)
        if args.output:
            Path(args.output).write_text(json.dumps(result, indent=2) + "\n")
    if args.json:
        print(json.dumps(result))


def measure(name: str, args: Arguments) -> dict[str, Any]:
    """One row of the table."""
    worlds = {"env": {}, "terrain": {"terrain": "complex"}}
    if task_class(name.removeprefix("Proto").partition("-")[0]).takes_scenes:
        worlds["objects"] = {"scenes": OBJECTS}
    recording = record(partial(_make, name, args), args.steps)
    envs = {world: _make(name, args, **keywords) for world, keywords in worlds.items()}
    actions = gentle_actions(envs["env"], args.steps)
    physics = PhysicsAlone(envs["env"], recording)
    for env in envs.values():  # what is done once only
        env_seconds_per_step(env, actions[:3])
    times: dict[str, list[float]] = {kind: [] for kind in ("physics", *envs)}
    for _ in range(args.rounds):
        times["physics"].append(physics.seconds_per_step())
        for world, env in envs.items():
            times[world].append(env_seconds_per_step(env, actions))
    row = {
        "id": name,
        "observation": envs["env"].single_observation_space.shape[0],
        "physics_steps_per_s": round(args.num_envs / statistics.median(times["physics"]), 1),
        "env_steps_per_s": round(args.num_envs / statistics.median(times["env"]), 1),
        "ratio": _over(times["physics"], times["env"]),
        "terrain": _over(times["env"], times["terrain"]),
        "objects": _over(times["env"], times["objects"]) if "objects" in times else None,
    }
    for env in envs.values():
        env.close()
    gc.collect()
    return row


def _make(name: str, args: Arguments, mode: AutoresetMode = AutoresetMode.SAME_STEP, **world: object) -> ProtoVectorEnv:
    env = gymnasium.make_vec(name, num_envs=args.num_envs, threads=args.threads, autoreset_mode=mode, **world)
    assert isinstance(env, ProtoVectorEnv)
    return env


def _over(first: Sequence[float], second: Sequence[float]) -> float:
    """Median ratio of what was measured in the same round."""
    return round(statistics.median(a / b for a, b in zip(first, second, strict=True)), 3)


def _cells(values: Sequence[Any]) -> list[str]:
    widths = (28, 11, 19, 15, 6, 7, 7)
    return [
        f"{'-' if v is None else v!s:{'<' if i == 0 else '>'}{w}}"
        for i, (v, w) in enumerate(zip(values, widths, strict=True))
    ]


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
