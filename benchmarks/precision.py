"""How much faster PPO acts and updates with hidden layers in bfloat16, beside float32, in one run.

    OMP_NUM_THREADS=1 uv run python benchmarks/precision.py --output benchmarks/results/precision.json

Both learn from the same random rollouts, in turn; ratios are float32's seconds over bfloat16's, medians over rounds.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path

import gymnasium
import numpy as np
import torch
import tyro
from engine_tables import provenance

from proto_agents.algorithms.ppo import PPO, PPOConfig
from proto_agents.environment import Transition
from proto_agents.models.actor_critic import ActorCriticConfig
from proto_agents.models.precision import Precision, native_bfloat16

SIZES = {"amp": (450, 28, 512, (256, 256)), "smpl": (720, 69, 1024, (512, 256))}
"""numbers of observation and action, environments, hidden layers"""


def play(learner: PPO, observation_size: int, num_envs: int) -> dict[str, float]:
    """Seconds of acting through a rollout and of the update from it."""
    source = torch.Generator().manual_seed(0)
    buffer, acting = learner.make_buffer(num_envs), 0.0
    never = torch.zeros(num_envs, dtype=torch.bool)
    for _ in range(buffer.horizon):
        observations = {"policy": torch.randn(num_envs, observation_size, generator=source)}
        start = time.perf_counter()
        step = learner.act(observations)
        acting += time.perf_counter() - start
        transition = Transition(
            observations=observations,
            outcome=observations,
            reward=torch.randn(num_envs, generator=source),
            terminated=never,
            truncated=never,
            valid=~never,
            truncated_rows=torch.zeros(0, dtype=torch.long),
            truncated_observations={"policy": torch.zeros(0, observation_size)},
            metrics={},
            info={},
        )
        buffer.add(step, transition, torch.zeros(0))
    start = time.perf_counter()
    learner.update(buffer, torch.zeros(num_envs))
    return {"act": acting, "update": time.perf_counter() - start}


def measure(size: str, rounds: int) -> dict[str, float]:
    """Ratios of one size."""
    observation_size, action_size, num_envs, hidden = SIZES[size]
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (observation_size,))
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (action_size,))
    networks = ActorCriticConfig(hidden_sizes=hidden, critic_hidden_sizes=hidden)
    kinds: tuple[Precision, ...] = ("float32", "bfloat16")
    learners = {
        # Nothing is to be learned, and no update is to end before its last gradient step.
        kind: PPO(observation_space, action_space, PPOConfig(precision=kind, kl_stop=None, schedule="fixed"), networks)
        for kind in kinds
    }
    ratios: dict[str, list[float]] = {"act": [], "update": []}
    for round_number in range(rounds + 1):
        seconds = {kind: play(learner, observation_size, num_envs) for kind, learner in learners.items()}
        if round_number:  # the first warms up
            for part, values in ratios.items():
                values.append(seconds["float32"][part] / seconds["bfloat16"][part])
    return {part: round(statistics.median(values), 2) for part, values in ratios.items()}


def main(output: Path | None = None, rounds: int = 5) -> None:
    """Measure all sizes.

    Args:
        output: JSON file to be written.
        rounds: of each size, after one that warms up.
    """
    native = native_bfloat16(torch.device("cpu"))
    result = {
        "threads": torch.get_num_threads(),
        "native_bfloat16": native,
        "faster": {size: measure(size, rounds) for size in SIZES},
        **provenance(),
    }
    print(json.dumps(result, indent=2))
    if output is not None:
        output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    tyro.cli(main)
