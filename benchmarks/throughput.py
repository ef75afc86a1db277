"""How fast an environment steps in any engine, beside the physics, by number of environments; and where the time goes.

    uv run python benchmarks/throughput.py --env ProtoMimic-AMP-v0 --num-envs 1024 --json
    uv run python benchmarks/throughput.py --num-envs 64 256 1024 4096 --no-train        # is the cost per step flat?
    uv run python benchmarks/throughput.py --backend mujoco_warp --device cuda --num-envs 1024 4096 16384

Rates are control steps of all environments per second. Of each number of environments everything is measured in one run
in turn (physics, env, training, physics, ...), so that a busy machine slows them alike; medians are reported:

- physics: MuJoCo: `mujoco.batch` alone, one call of all substeps, no observation, set-points recorded from the
  environment. Other engines: `Simulator.step` inside the environment's step;
- env: `env.step`, with resets as they come;
- training: rollout and PPO update together (left out with --no-train);
- profile: share of each section in `env.step` (`sections.py`).

With --output, rows are added to a file of them; the last line with --json is one JSON object, or a list of them.
"""

from __future__ import annotations

import ctypes
import gc
import json
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
import torch
import tyro
from engine_tables import merge_row, provenance
from gymnasium.vector import AutoresetMode
from physics_alone import PhysicsAlone, env_seconds_per_step, gentle_actions, record
from rich.console import Console
from rich.table import Table
from sections import SECTIONS, profile, settle

import proto_envs  # noqa: F401 - registers the ids
from proto_agents.algorithms.ppo import PPO, PPOConfig
from proto_agents.runner import Runner, RunnerConfig
from proto_envs.info import processor
from proto_envs.simulators.mujoco import MujocoSimulator, cpu_count
from proto_envs.vector_env import ProtoVectorEnv

KEYS = ("env", "engine", "device", "num_envs")
"""what tells rows of a file apart"""
KIB, MIB = 2.0**10, 2.0**20
_WIDTH = 170
"""characters of a line of the table"""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What to measure."""

    env: str = "ProtoMimic-AMP-v0"
    """environment id"""
    backend: str = "auto"
    """engine"""
    device: str = "auto"
    """where a GPU engine runs"""
    num_envs: tuple[int, ...] = (1024,)
    """environments stepped together; several: one after the other"""
    steps: int = 20
    """control steps per measurement"""
    rounds: int = 5
    """measurements of each kind, in turn"""
    motions: str = "walk"
    """clip"""
    action: str = "absolute"
    """action map of the task"""
    rewards: str = "v3"
    """reward set of the task"""
    threads: int = 0
    """physics threads of a CPU engine; 0 takes all CPUs"""
    train: bool = True
    """also measure rollout and learning together"""
    minibatch_size: int = 0
    """of the training; 0: PPO's own on the CPU, a fourth of each rollout on a GPU"""
    json: bool = False
    """print the result as one JSON line at the end"""
    output: str = ""
    """file to add the rows to"""


def main(args: Arguments) -> None:
    """Measure and print."""
    rows = []
    _make(args, 2).close()  # what is loaded or compiled once belongs to no row
    for num_envs in args.num_envs:
        row = measure(num_envs, args)
        rows.append(row)
        if args.output:
            merge_row(Path(args.output), row, KEYS)
        print(f"{args.env}, {row['engine']}, {num_envs}: {row['env_steps_per_s']:.0f} steps/s", flush=True)
    show(rows, Console(width=_WIDTH))
    if len(rows) > 1:
        costs = [1e6 / row["env_steps_per_s"] for row in rows]
        spread = 100 * (max(costs) / min(costs) - 1)
        print("us per environment-step: " + ", ".join(f"{cost:.1f}" for cost in costs) + f"; spread {spread:.0f} %")
    if args.json:
        print(json.dumps(rows[0] if len(rows) == 1 else rows))


def measure(num_envs: int, args: Arguments) -> dict[str, Any]:
    """One row."""
    before = _used_bytes(args.device)
    start = time.perf_counter()
    env = _make(args, num_envs)
    made = time.perf_counter() - start
    actions = gentle_actions(env, args.steps)
    env_seconds_per_step(env, actions[:3])  # what is compiled or allocated once
    first = time.perf_counter() - start - made
    env_seconds_per_step(env, actions)
    used = _used_bytes(str(env.device)) - before
    times, sections = _rounds(env, actions, args)
    seconds = {name: statistics.median(values) for name, values in times.items() if values}
    ratios = [p / e for p, e in zip(times["physics"], times["env"], strict=True)]
    total = sum(sections.values())
    row: dict[str, Any] = {
        "env": args.env,
        "engine": env.simulator.capabilities.name,
        "device": env.device.type,
        "device_name": _device_name(env.device),
        "num_envs": num_envs,
        "physics_steps_per_s": round(num_envs / seconds["physics"], 1),
        "env_steps_per_s": round(num_envs / seconds["env"], 1),
        "env_over_physics": round(statistics.median(ratios), 4),
        "env_over_physics_rounds": [round(ratio, 4) for ratio in ratios],
        "training_samples_per_s": round(num_envs / seconds["training"], 1) if "training" in seconds else None,
        "profile": {name: round(sections[name] / total, 4) for name in SECTIONS},
        "make_s": round(made, 2),
        "first_steps_s": round(first, 2),
        "kib_per_env": round(used / KIB / num_envs, 2),
        **_engine_memory(env, used),
        "used_mib": round(_used_bytes(str(env.device)) / MIB, 1),
        "substeps": env.robot.substeps,
        "settings": asdict(args),
        **provenance(),
    }
    env.close()
    del env
    gc.collect()
    return row


def _rounds(
    env: ProtoVectorEnv, actions: list[torch.Tensor], args: Arguments
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds per step of each kind in each round, and by section."""
    alone = None
    if isinstance(env.simulator, MujocoSimulator):
        alone = PhysicsAlone(env, record(lambda mode: _make(args, env.num_envs, mode), args.steps))
    runner = _runner(env, args) if args.train else None
    times: dict[str, list[float]] = {"physics": [], "env": [], "training": []}
    profiles = []
    for _ in range(args.rounds):
        profiles.append(profile(env, actions))
        times["physics"].append(profiles[-1]["physics"] if alone is None else alone.seconds_per_step())
        times["env"].append(env_seconds_per_step(env, actions))
        if runner is not None:
            times["training"].append(_training_seconds_per_step(runner))
    return times, {name: statistics.median(each[name] for each in profiles) for name in SECTIONS}


def _make(args: Arguments, num_envs: int, mode: AutoresetMode = AutoresetMode.SAME_STEP) -> ProtoVectorEnv:
    env = gymnasium.make_vec(
        args.env,
        num_envs=num_envs,
        backend=args.backend,
        device=args.device,
        motions=args.motions,
        threads=args.threads,
        task={"action": args.action, "rewards": args.rewards},
        autoreset_mode=mode,
    )
    assert isinstance(env, ProtoVectorEnv)
    env.reset(seed=0)
    return env


def _runner(env: ProtoVectorEnv, args: Arguments) -> Runner:
    config = PPOConfig()
    size = config.horizon * env.num_envs // 4 if env.device.type == "cuda" else config.minibatch_size
    config = replace(config, minibatch_size=args.minibatch_size or size)
    learner = PPO(env.single_observation_space, env.single_action_space, config, device=env.device)
    folder = tempfile.mkdtemp(prefix="throughput-")
    return Runner(env, learner, RunnerConfig(logger="none", run_dir=folder), quiet=True)


def _training_seconds_per_step(runner: Runner) -> float:
    buffer = runner.learner.make_buffer(runner.env.num_envs)
    settle(runner.learner.device)
    start = time.perf_counter()
    runner.iterate(buffer)
    settle(runner.learner.device)
    return (time.perf_counter() - start) / buffer.horizon


def _used_bytes(device: str) -> float:
    """Memory in use now, with freed parts given back first: of the GPU, or of this process."""
    gc.collect()
    if torch.cuda.is_available() and device != "cpu":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        free, total = torch.cuda.mem_get_info()
        return total - free
    if hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return float(line.split()[1]) * KIB
    raise RuntimeError("no VmRSS in /proc/self/status")


def _engine_memory(env: ProtoVectorEnv, used: float) -> dict[str, float]:
    """What of the memory is MuJoCo's state; other engines do not tell."""
    if not isinstance(env.simulator, MujocoSimulator):
        return {}
    own = float(env.simulator.batch.state.nbytes)
    return {
        "engine_kib_per_env": round(own / KIB / env.num_envs, 2),
        "kib_per_env_beyond_engine": round((used - own) / KIB / env.num_envs, 2),
        "threads": env.simulator.batch.nthread,
    }


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{processor()}, {cpu_count()} CPUs"


def show(rows: list[dict[str, Any]], console: Console) -> None:
    """A table for people: rates, and shares of `env.step`."""
    table = Table("env", "engine", "envs", "physics/s", "env/s", "ratio", "training/s", "KiB/env", *SECTIONS)
    for row in rows:
        trained = row["training_samples_per_s"]
        cells = [row["env"].removeprefix("Proto").removesuffix("-v0"), f"{row['engine']}, {row['device']}"]
        cells += [str(row["num_envs"]), f"{row['physics_steps_per_s']:.0f}", f"{row['env_steps_per_s']:.0f}"]
        cells += [f"{row['env_over_physics']:.2f}", "" if trained is None else f"{trained:.0f}"]
        cells += [f"{row['kib_per_env']:.0f}", *(f"{100 * row['profile'][name]:.0f} %" for name in SECTIONS)]
        table.add_row(*cells)
    console.print(table)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
