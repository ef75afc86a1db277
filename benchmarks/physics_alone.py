"""The engine alone, doing the very work that it does in an environment, and what else the benchmarks share."""

from __future__ import annotations

import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from mujoco.batch import Batch
from sections import settle

from proto_envs.simulators.mujoco import MujocoSimulator
from proto_envs.simulators.objects import set_scenes
from proto_envs.vector_env import ProtoVectorEnv

__all__ = ["PhysicsAlone", "Recording", "env_seconds_per_step", "gentle_actions", "record", "versions"]


def gentle_actions(env: ProtoVectorEnv, steps: int) -> list[torch.Tensor]:
    """Small random actions, the same each time."""
    generator = torch.Generator().manual_seed(0)
    shape = (env.num_envs, env.robot.skeleton.num_dofs)
    return [(0.1 * torch.randn(shape, generator=generator)).to(env.device) for _ in range(steps)]


def env_seconds_per_step(env: ProtoVectorEnv, actions: list[torch.Tensor]) -> float:
    """Seconds of `env.step` on average, from a reset on, with resets as they come."""
    env.reset(seed=0)
    settle(env.device)
    start = time.perf_counter()
    for action in actions:
        env.step(action)
    settle(env.device)
    return (time.perf_counter() - start) / len(actions)


@dataclass(frozen=True)
class Recording:
    """Real steps, so that the physics alone can repeat them."""

    controls: list[np.ndarray]
    """set-points (N, nu) of each step"""
    states: list[np.ndarray]
    """states (N, ...) before each step"""


def record(make: Callable[[AutoresetMode], ProtoVectorEnv], steps: int) -> Recording:
    """What the engine is given in `steps` steps of the environment that `make` makes."""
    env = make(AutoresetMode.DISABLED)
    env.reset(seed=0)
    batch = _simulator(env).batch
    controls, states = [], []
    for action in gentle_actions(env, steps):
        states.append(batch.state.copy())
        _, _, terminated, truncated, _ = env.step(action)
        controls.append(batch.bind("ctrl").copy())
        if (done := terminated | truncated).any():
            env.reset(options={"reset_mask": done})
    env.close()
    return Recording(controls, states)


class PhysicsAlone:
    """The engine without anything around it: no stage for observations, no fields bound but the set-points."""

    def __init__(self, env: ProtoVectorEnv, recording: Recording) -> None:
        """Make another engine like that of `env`."""
        simulator = _simulator(env)
        self._batch = Batch(simulator.model, simulator.num_envs, simulator.batch.nthread)
        if simulator.scenes is not None:
            set_scenes(self._batch, simulator.models, simulator.scenes)
        self._ctrl = self._batch.bind("ctrl")
        self._substeps = simulator.substeps
        self._recording = recording

    def seconds_per_step(self) -> float:
        """Seconds of a control step on average."""
        total = 0.0
        for control, state in zip(self._recording.controls, self._recording.states, strict=True):
            self._batch.state[:] = state
            start = time.perf_counter()
            self._ctrl[:] = control
            self._batch.step(nstep=self._substeps)
            total += time.perf_counter() - start
        return total / len(self._recording.controls)


def _simulator(env: ProtoVectorEnv) -> MujocoSimulator:
    assert isinstance(env.simulator, MujocoSimulator)
    return env.simulator


def versions() -> dict[str, str]:
    """What was measured on what."""
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "mujoco": mujoco.__version__,
        "torch": torch.__version__,
        "gymnasium": gymnasium.__version__,
        "python": platform.python_version(),
        "processor": platform.processor() or platform.machine(),
        "commit": found.stdout.strip() or "unknown",
    }
