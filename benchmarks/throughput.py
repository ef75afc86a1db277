"""How fast an environment steps, beside the physics alone with the same model, actions and threads.

    uv run python benchmarks/throughput.py --env ProtoMimic-AMP-v0 --num-envs 1024 --json

Three rates, all in control steps of all environments per second and measured in one run in turn (physics, env,
training, physics, ...), so that a busy machine slows them alike; medians are reported:

- physics: `mujoco.batch` alone, one call of all substeps, no observation, set-points recorded from the environment;
- env: `env.step`, with resets as they come;
- training: rollout and PPO update together (left out with --no-train).

The last line with --json is one JSON object.
"""

from __future__ import annotations

import ctypes
import gc
import json
import resource
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium
import tyro
from gymnasium.vector import AutoresetMode
from physics_alone import PhysicsAlone, env_seconds_per_step, gentle_actions, record, versions

import proto_envs  # noqa: F401 - registers the ids
from proto_agents.algorithms.ppo import PPO, PPOConfig
from proto_agents.runner import Runner, RunnerConfig
from proto_envs.simulators.mujoco import MujocoSimulator
from proto_envs.vector_env import ProtoVectorEnv


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What to measure."""

    env: str = "ProtoMimic-AMP-v0"
    """environment id"""
    num_envs: int = 1024
    """environments stepped together"""
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
    """physics threads; 0 takes all CPUs"""
    train: bool = True
    """also measure rollout and learning together"""
    json: bool = False
    """print the result as one JSON line at the end"""
    output: str = ""
    """file to write the JSON to"""


def main(args: Arguments) -> None:
    """Measure and print."""
    recording = record(lambda mode: _make(args, mode), args.steps)
    before = _resident_kib()
    env = _make(args)
    simulator = env.simulator
    assert isinstance(simulator, MujocoSimulator)
    actions = gentle_actions(env, args.steps)
    env_seconds_per_step(env, actions)
    engine_memory = simulator.batch.state.nbytes / 1024
    memory = _resident_kib() - before - engine_memory
    physics = PhysicsAlone(env, recording)
    runner = _runner(env) if args.train else None
    times: dict[str, list[float]] = {"physics": [], "env": [], "training": []}
    for _ in range(args.rounds):
        times["physics"].append(physics.seconds_per_step())
        times["env"].append(env_seconds_per_step(env, actions))
        if runner is not None:
            times["training"].append(_training_seconds_per_step(runner))
    rates = {name: args.num_envs / statistics.median(values) for name, values in times.items() if values}
    ratios = [p / e for p, e in zip(times["physics"], times["env"], strict=True)]
    result: dict[str, Any] = {
        "env": args.env,
        "num_envs": args.num_envs,
        "physics_steps_per_s": round(rates["physics"], 1),
        "env_steps_per_s": round(rates["env"], 1),
        "env_over_physics": round(statistics.median(ratios), 4),
        "env_over_physics_rounds": [round(r, 4) for r in ratios],
        "training_samples_per_s": round(rates["training"], 1) if "training" in rates else None,
        "kib_per_env_beyond_engine": round(memory / args.num_envs, 2),
        "engine_kib_per_env": round(engine_memory / args.num_envs, 2),
        "substeps": simulator.substeps,
        "threads": simulator.batch.nthread,
        "settings": asdict(args),
        **versions(),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }
    _print_table(result)
    if args.output:
        Path(args.output).write_text(json.dumps(result, indent=2) + "\n")
    if args.json:
        print(json.dumps(result))


def _make(args: Arguments, mode: AutoresetMode = AutoresetMode.SAME_STEP) -> ProtoVectorEnv:
    env = gymnasium.make_vec(
        args.env,
        num_envs=args.num_envs,
        motions=args.motions,
        threads=args.threads,
        task={"action": args.action, "rewards": args.rewards},
        autoreset_mode=mode,
    )
    assert isinstance(env, ProtoVectorEnv)
    env.reset(seed=0)
    return env


def _runner(env: ProtoVectorEnv) -> Runner:
    learner = PPO(env.single_observation_space, env.single_action_space, PPOConfig())
    folder = tempfile.mkdtemp(prefix="throughput-")
    return Runner(env, learner, RunnerConfig(logger="none", run_dir=folder), quiet=True)


def _training_seconds_per_step(runner: Runner) -> float:
    buffer = runner.learner.make_buffer(runner.env.num_envs)
    start = time.perf_counter()
    runner.iterate(buffer)
    return (time.perf_counter() - start) / buffer.horizon


def _resident_kib() -> float:
    """Resident memory now, with freed pages given back first, so that only what is held counts."""
    gc.collect()
    if hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return float(line.split()[1])
    raise RuntimeError("no VmRSS in /proc/self/status")


def _print_table(result: dict[str, Any]) -> None:
    for key in (
        *("env", "num_envs", "physics_steps_per_s", "env_steps_per_s", "env_over_physics", "training_samples_per_s"),
        *("kib_per_env_beyond_engine", "engine_kib_per_env", "substeps", "threads", "commit"),
    ):
        print(f"{key:28} {result[key]}")


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
