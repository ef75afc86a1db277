"""How fast the PPO update is, and how much memory it takes, beside rsl_rl's on the same work.

    uv run --with rsl-rl-lib python benchmarks/learner.py --threads 1 --output benchmarks/results/learner.json

Both learners get the same weights, rollout (observations, actions, values, rewards, ends), epochs, minibatches, loss
and fixed learning rate, and stop at nothing, so both take the same gradient steps. What each repeats: the value of the
last observations, advantages, all gradient steps. Of each size:

- fairness: one gradient step from the same weights on all samples (8192 at most); how far losses and gradients differ;
- speed: both update in turn in this process; samples per second (rollout over seconds of one update) by wall time and
  by the process's CPU time (which a busy machine leaves alone); ratios are ours to theirs, medians over rounds;
- memory: in a process each, how much the resident memory grows at most from before the learner and its rollout are made
  to after two updates.

What is not the same: rsl_rl draws an action in each forward pass and one order of samples for all epochs, and clips
the gradients of policy and value function apart; ours measures the KL divergence at every step. Its loss of values is
twice ours.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Protocol

import gymnasium
import numpy as np
import torch
import tyro
from engine_tables import provenance
from rich.console import Console
from rich.table import Table
from torch import Tensor

from proto_agents.algorithms.ppo import PPO, PPOConfig
from proto_agents.environment import Transition
from proto_agents.models.actor_critic import ActorCritic, ActorCriticConfig
from proto_agents.rollout import PolicyStep
from proto_envs.info import processor

try:
    from rsl_rl import algorithms as rsl_rl_algorithms
    from rsl_rl.models import MLPModel
    from rsl_rl.storage import RolloutStorage
    from tensordict import TensorDict
except ImportError as error:
    raise SystemExit(f"{error}; pip install rsl-rl-lib, or uv run --with rsl-rl-lib python {sys.argv[0]}") from None

LEARNING_RATE = 1e-5
"""small: nothing is learned from random rewards, and the policy should stay where the ratio is computed"""
VALUE_WEIGHT = 1.0
"""of rsl_rl's loss of values, the mean squared error"""
ENTROPY_WEIGHT = 0.005
STD = 0.2
"""of actions at the beginning; it is trained"""
CLIP, GAMMA, LAMBDA = 0.2, 0.99, 0.95
SEED = 0
"""of weights and rollouts"""
SAME = 1e-4
"""most that losses may differ by"""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What one update is given."""

    observation: int
    """numbers of an observation"""
    action: int
    """dimensions of an action"""
    num_envs: int
    """environments"""
    horizon: int
    """steps of each"""
    hidden_sizes: tuple[int, ...]
    """of the policy and of the value function"""
    epochs: int = 5
    """passes over the rollout"""
    minibatches: int = 4
    """per epoch"""
    activation: Literal["elu", "relu", "silu", "tanh"] = "elu"
    """between layers"""

    @property
    def samples(self) -> int:
        """Of a rollout."""
        return self.num_envs * self.horizon


WORKLOADS = {
    "tiny": Workload(observation=12, action=3, num_envs=16, horizon=4, hidden_sizes=(32, 32)),
    "amp": Workload(observation=450, action=28, num_envs=512, horizon=16, hidden_sizes=(256, 256)),
    "smpl": Workload(observation=720, action=69, num_envs=1024, horizon=16, hidden_sizes=(512, 256)),
    "large": Workload(observation=720, action=69, num_envs=4096, horizon=16, hidden_sizes=(1024, 512), epochs=1),
}
"""amp, smpl: robots of this project on two cores; large: as on a GPU, but one epoch; tiny: to see that it runs"""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What to measure."""

    sizes: tuple[str, ...] = ("amp", "smpl", "large")
    """names of workloads"""
    rounds: int = 9
    """updates of each learner, in turn, after one that is not counted"""
    threads: int = 0
    """of torch; 0 leaves its own choice"""
    device: str = "cpu"
    """of both learners; memory is measured on the CPU alone"""
    note: str = ""
    """what to say of the machine, kept with the result"""
    memory_of: Literal["", "ours", "rsl_rl"] = ""
    """measure nothing but this learner's memory, on the first size (what the processes are started with)"""
    output: str = ""
    """file to write the result to"""


class Learner(Protocol):
    """Either of the two."""

    def update(self) -> dict[str, float]:
        """All of an update; returns the means of the losses "policy", "value" (mean squared error) and "entropy"."""

    def gradients(self) -> Tensor:
        """Of the last gradient step, flat: first the policy's layers, then the value function's."""


class Ours:
    """This project's PPO with a full rollout."""

    def __init__(self, work: Workload, device: str, max_gradient_norm: float = 1.0) -> None:
        """Make it, and fill its rollout."""
        config = PPOConfig(
            horizon=work.horizon,
            minibatch_size=work.samples // work.minibatches,
            epochs=work.epochs,
            learning_rate=LEARNING_RATE,
            schedule="fixed",
            kl_stop=None,
            clip=CLIP,
            gamma=GAMMA,
            gae_lambda=LAMBDA,
            entropy_coefficient=ENTROPY_WEIGHT,
            value_coefficient=2.0 * VALUE_WEIGHT,
            max_gradient_norm=max_gradient_norm,
            normalize_values=False,
        )
        self.ppo = PPO(*_spaces(work), config, _model(work), seed=SEED, device=device)
        self.buffer = self.ppo.make_buffer(work.num_envs)
        nobody = torch.zeros(0, dtype=torch.long, device=device)
        for observation, noise, reward, terminated in _draws(work, device):
            never = torch.zeros_like(terminated)
            transition = Transition(
                observations={},
                reward=reward,
                terminated=terminated,
                truncated=never,
                valid=~never,
                outcome={},
                truncated_rows=nobody,
                truncated_observations={},
                metrics={},
                info={},
            )
            self.buffer.add(self._act(observation, noise), transition, torch.zeros(0, device=device))
            self.last = observation

    @torch.no_grad()
    def _act(self, observation: Tensor, noise: Tensor) -> PolicyStep:
        """As `PPO.act`, for observations that are normalized already and noise that is drawn."""
        normalized = {"policy": observation}
        distribution = self.ppo.model.distribution(normalized)
        action = distribution.mode() + STD * noise
        return PolicyStep(
            action=action,
            log_prob=distribution.log_prob(action),
            value=self.ppo.model.normalized_value(normalized),
            parameters=distribution.parameters,
            normalized=normalized,
        )

    def update(self) -> dict[str, float]:
        """See `Learner`."""
        result = self.ppo.update(self.buffer, self.ppo.value({"policy": self.last}))
        losses = result["loss/policy"], 2.0 * result["loss/value"], result["policy/entropy"]
        return dict(zip(("policy", "value", "entropy"), losses, strict=True))

    def gradients(self) -> Tensor:
        """See `Learner`."""
        return _gradients(self.ppo.model.actor, self.ppo.model.critic)


class Theirs:
    """rsl_rl's PPO with the weights and the rollout of ours."""

    def __init__(self, work: Workload, device: str, max_gradient_norm: float = 1.0) -> None:
        """Make it, and fill its rollout."""
        observation = torch.zeros(work.num_envs, work.observation, device=device)
        example = TensorDict({"policy": observation}, batch_size=[work.num_envs])
        groups = {"actor": ["policy"], "critic": ["policy"]}
        hidden = list(work.hidden_sizes)
        gaussian = {
            "class_name": "rsl_rl.modules.distribution:GaussianDistribution",
            "init_std": STD,
            "std_type": "log",
        }
        actor = MLPModel(example, groups, "actor", work.action, hidden, work.activation, distribution_cfg=gaussian)
        critic = MLPModel(example, groups, "critic", 1, hidden, work.activation)
        ours = ActorCritic(*_spaces(work), _model(work), torch.Generator().manual_seed(SEED))
        actor.mlp.load_state_dict(ours.actor.state_dict())
        critic.mlp.load_state_dict(ours.critic.state_dict())
        storage = RolloutStorage("rl", work.num_envs, work.horizon, example, (work.action,), device)
        self.ppo = rsl_rl_algorithms.PPO(
            actor,
            critic,
            storage,
            num_learning_epochs=work.epochs,
            num_mini_batches=work.minibatches,
            clip_param=CLIP,
            gamma=GAMMA,
            lam=LAMBDA,
            value_loss_coef=VALUE_WEIGHT,
            entropy_coef=ENTROPY_WEIGHT,
            learning_rate=LEARNING_RATE,
            max_grad_norm=max_gradient_norm,
            use_clipped_value_loss=False,
            schedule="fixed",
            device=device,
        )
        for observation, noise, reward, terminated in _draws(work, device):
            self.last = TensorDict({"policy": observation}, batch_size=[work.num_envs])
            storage.add_transition(self._act(self.last, noise, reward, terminated))

    @torch.no_grad()
    def _act(self, observation: TensorDict, noise: Tensor, reward: Tensor, done: Tensor) -> RolloutStorage.Transition:
        """As `act` and `process_env_step` of rsl_rl's PPO, for noise that is drawn."""
        ppo, transition = self.ppo, RolloutStorage.Transition()
        ppo.actor(observation, stochastic_output=True)
        transition.actions = ppo.actor.output_mean + STD * noise
        transition.values = ppo.critic(observation)
        transition.actions_log_prob = ppo.actor.get_output_log_prob(transition.actions)
        transition.distribution_params = ppo.actor.output_distribution_params
        transition.observations, transition.rewards, transition.dones = observation, reward, done
        return transition

    def update(self) -> dict[str, float]:
        """See `Learner`."""
        self.ppo.compute_returns(self.last)
        result = self.ppo.update()
        return {"policy": result["surrogate"], "value": result["value"], "entropy": result["entropy"]}

    def gradients(self) -> Tensor:
        """See `Learner`."""
        return _gradients(self.ppo.actor.mlp, self.ppo.critic.mlp)


SIDES: dict[str, type[Ours] | type[Theirs]] = {"ours": Ours, "rsl_rl": Theirs}


def main(args: Arguments) -> None:
    """Measure and print."""
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.memory_of:
        print(json.dumps(grown_mib(WORKLOADS[args.sizes[0]], args.memory_of)))
        return
    rows = []
    for name in args.sizes:
        rows.append({"size": name, **measure(name, args)})
        print(f"{name}: {rows[-1]['speed_ratio']:.2f}", flush=True)
    _show(rows, Console(width=150))
    here = provenance()
    here["packages"] |= {"rsl-rl-lib": version("rsl-rl-lib"), "tensordict": version("tensordict")}
    result = {
        "rows": rows,
        "threads": torch.get_num_threads(),
        "processor": processor() if args.device == "cpu" else torch.cuda.get_device_name(),
        "settings": {name: value for name, value in asdict(args).items() if name not in ("output", "memory_of")},
        **here,
    }
    if args.output:
        Path(args.output).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result))


def measure(name: str, args: Arguments) -> dict[str, Any]:
    """One row."""
    work = WORKLOADS[name]
    differences = _differences(work, args.device)
    learners: dict[str, Learner] = {side: make(work, args.device) for side, make in SIDES.items()}
    wall: dict[str, list[float]] = {side: [] for side in learners}
    cpu: dict[str, list[float]] = {side: [] for side in learners}
    for number in range(-1, args.rounds):
        # Who goes first changes, so that neither always finds the caches as the other left them.
        for side in list(learners)[:: 1 if number % 2 else -1]:
            seconds = _seconds(learners[side], args.device)
            if number >= 0:
                wall[side].append(seconds[0])
                cpu[side].append(seconds[1])
    speed = [theirs / ours for ours, theirs in zip(wall["ours"], wall["rsl_rl"], strict=True)]
    cpu_speed = [theirs / ours for ours, theirs in zip(cpu["ours"], cpu["rsl_rl"], strict=True)]
    row: dict[str, Any] = {
        "workload": asdict(work),
        "samples": work.samples,
        "speed_ratio": round(statistics.median(speed), 3),
        "speed_ratio_rounds": [round(ratio, 3) for ratio in speed],
        "cpu_speed_ratio": round(statistics.median(cpu_speed), 3),
        "cpu_speed_ratio_rounds": [round(ratio, 3) for ratio in cpu_speed],
        "samples_per_s": {side: round(work.samples / statistics.median(each)) for side, each in wall.items()},
        "samples_per_cpu_s": {side: round(work.samples / statistics.median(each)) for side, each in cpu.items()},
        **differences,
    }
    if args.device == "cpu":
        row["memory_mib"] = memory = {side: _memory(name, side, args) for side in SIDES}
        row["memory_ratio"] = round(memory["ours"] / max(memory["rsl_rl"], 0.1), 3)
    return row


def _differences(work: Workload, device: str) -> dict[str, float]:
    """How far apart both are after one step on all samples: the largest of the losses, and of the gradients relatively.

    Raises:
        RuntimeError: if that is more than rounding, and the comparison would be of different work.
    """
    whole = replace(work, num_envs=min(work.num_envs, 8192 // work.horizon), epochs=1, minibatches=1)
    ours, theirs = (make(whole, device, max_gradient_norm=1e9) for make in SIDES.values())
    losses, others = ours.update(), theirs.update()
    loss = max(abs(losses[part] - others[part]) / max(1.0, abs(others[part])) for part in losses)
    gradient = float((ours.gradients() - theirs.gradients()).norm() / theirs.gradients().norm())
    if loss > SAME or gradient > SAME + 1.0 / whole.samples:  # theirs divides advantages by sqrt(B / (B - 1)) more
        raise RuntimeError(f"not the same step: losses differ by {loss:.1e}, gradients by {gradient:.1e}")
    return {"loss_difference": float(f"{loss:.1e}"), "gradient_difference": float(f"{gradient:.1e}")}


def _seconds(learner: Learner, device: str) -> tuple[float, float]:
    """Of one update: wall time, the process's CPU time."""
    wall, cpu = time.perf_counter(), time.process_time()
    learner.update()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu


def _memory(name: str, side: str, args: Arguments) -> float:
    """MiB, of a fresh process."""
    command = [sys.executable, __file__, "--sizes", name, "--memory-of", side, "--threads", str(args.threads)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(json.loads(output.splitlines()[-1]))


def grown_mib(work: Workload, side: str) -> float:
    """How much the most memory that this process ever held exceeds what it held before the learner was made."""
    SIDES[side](WORKLOADS["tiny"], "cpu").update()  # what is loaded at the first use
    before = _resident_mib("VmRSS")
    learner = SIDES[side](work, "cpu")
    for _ in range(2):
        learner.update()
    return round(_resident_mib("VmHWM") - before, 1)


def _resident_mib(kind: str) -> float:
    """Memory of this process: VmRSS now, VmHWM the most so far (getrusage would count the parent's at the start)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(float(line.split()[1]) / 1024.0 for line in status if line.startswith(kind))


def _spaces(work: Workload) -> tuple[gymnasium.spaces.Box, gymnasium.spaces.Box]:
    """Of a single observation and action."""
    observation = gymnasium.spaces.Box(-np.inf, np.inf, (work.observation,), np.float32)
    return observation, gymnasium.spaces.Box(-1.0, 1.0, (work.action,), np.float32)


def _model(work: Workload) -> ActorCriticConfig:
    sizes = work.hidden_sizes
    return ActorCriticConfig(
        hidden_sizes=sizes, critic_hidden_sizes=sizes, activation=work.activation, std=STD, learn_std=True
    )


def _draws(work: Workload, device: str) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Observations (N, O), noise of actions (N, A), rewards (N,) and failures (N,) of each step; the same each time."""
    draw = torch.Generator().manual_seed(SEED)
    for _ in range(work.horizon):
        observation = torch.randn(work.num_envs, work.observation, generator=draw)
        noise = torch.randn(work.num_envs, work.action, generator=draw)
        reward = torch.randn(work.num_envs, generator=draw)
        terminated = torch.rand(work.num_envs, generator=draw) < 0.02
        yield observation.to(device), noise.to(device), reward.to(device), terminated.to(device)


def _gradients(*networks: torch.nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for network in networks for p in network.parameters() if p.grad is not None])


def _show(rows: list[dict[str, Any]], console: Console) -> None:
    """A table for people."""
    columns = "size", "samples/s", "rsl_rl's", "ratio", "spread", "by CPU time", "spread", "MiB", "rsl_rl's", "ratio"
    table = Table(*columns)
    for row in rows:
        memory = row.get("memory_mib", {})
        rounds = row["speed_ratio_rounds"], row["cpu_speed_ratio_rounds"]
        spreads = [f"{min(each):.2f} to {max(each):.2f}" for each in rounds]
        cells = [row["size"], *(f"{rate:,}" for rate in row["samples_per_s"].values())]
        cells += [f"{row['speed_ratio']:.2f}", spreads[0], f"{row['cpu_speed_ratio']:.2f}", spreads[1]]
        cells += [*(f"{value:.0f}" for value in memory.values()), f"{row['memory_ratio']:.2f}"] if memory else []
        table.add_row(*cells)
    console.print(table)


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
