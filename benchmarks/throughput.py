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
import platform
import resource
import statistics
import subprocess
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
import torch
import tyro
from gymnasium.vector import AutoresetMode
from mujoco.batch import Batch

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
    controls, states = _record(args)
    before = _resident_kib()
    env = _make(args)
    simulator = env.simulator
    assert isinstance(simulator, MujocoSimulator)
    actions = _actions(env, args.steps)
    _env_seconds_per_step(env, actions)
    engine_memory = simulator.batch.state.nbytes / 1024
    memory = _resident_kib() - before - engine_memory
    physics = _PhysicsAlone(simulator, controls, states)
    runner = _runner(env) if args.train else None
    times: dict[str, list[float]] = {"physics": [], "env": [], "training": []}
    for _ in range(args.rounds):
        times["physics"].append(physics.seconds_per_step())
        times["env"].append(_env_seconds_per_step(env, actions))
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
        "mujoco": mujoco.__version__,
        "torch": torch.__version__,
        "gymnasium": gymnasium.__version__,
        "python": platform.python_version(),
        "processor": platform.processor() or platform.machine(),
        "commit": _commit(),
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


def _actions(env: ProtoVectorEnv, steps: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (env.num_envs, env.robot.skeleton.num_dofs)
    return [0.1 * torch.randn(shape, generator=generator) for _ in range(steps)]


def _record(args: Arguments) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Set-points and starting states of real steps, so that physics alone does the very same work, step by step."""
    env = _make(args, AutoresetMode.DISABLED)
    simulator = env.simulator
    assert isinstance(simulator, MujocoSimulator)
    controls, states = [], []
    for action in _actions(env, args.steps):
        states.append(simulator.batch.state.copy())
        _, _, terminated, truncated, _ = env.step(action)
        controls.append(simulator.batch.bind("ctrl").copy())
        if (done := terminated | truncated).any():
            env.reset(options={"reset_mask": done})
    env.close()
    return controls, states


class _PhysicsAlone:
    """The engine without anything around it: no stage for observations, no fields bound but the set-points."""

    def __init__(self, simulator: MujocoSimulator, controls: list[np.ndarray], states: list[np.ndarray]) -> None:
        self.batch = Batch(simulator.model, simulator.num_envs, simulator.batch.nthread)
        self.ctrl = self.batch.bind("ctrl")
        self.substeps = simulator.substeps
        self.controls, self.states = controls, states

    def seconds_per_step(self) -> float:
        total = 0.0
        for control, state in zip(self.controls, self.states, strict=True):
            self.batch.state[:] = state
            start = time.perf_counter()
            self.ctrl[:] = control
            self.batch.step(nstep=self.substeps)
            total += time.perf_counter() - start
        return total / len(self.controls)


def _env_seconds_per_step(env: ProtoVectorEnv, actions: list[torch.Tensor]) -> float:
    env.reset(seed=0)
    start = time.perf_counter()
    for action in actions:
        env.step(action)
    return (time.perf_counter() - start) / len(actions)


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


def _commit() -> str:
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or "unknown"


def _print_table(result: dict[str, Any]) -> None:
    for key in (
        *("env", "num_envs", "physics_steps_per_s", "env_steps_per_s", "env_over_physics", "training_samples_per_s"),
        *("kib_per_env_beyond_engine", "engine_kib_per_env", "substeps", "threads", "commit"),
    ):
        print(f"{key:28} {result[key]}")


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
