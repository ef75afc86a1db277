"""Plays one episode in each environment and keeps what each of them gave."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from proto_agents.environment import TensorEnvironment, Transition
from proto_agents.spaces import Observations

__all__ = ["TRACKING_ERRORS", "EpisodeRecord", "Evaluator", "Policy", "play"]

Policy = Callable[[Observations], Tensor]
"""Observations (num_envs, size) -> actions (num_envs, ...)."""

TRACKING_ERRORS = (
    "mpjpe_mm",
    "mpjpe_root_relative_mm",
    "mpjpe_procrustes_mm",
    "velocity_error_mm",
    "acceleration_error_mm",
)
"""Metrics that are also taken over the steps up to the first failure, and over successful and failed episodes apart."""


SLOWEST = 0.1
"""m/s; an episode whose mean speed is lower went nowhere, and has no energy per metre"""


class Evaluator(Protocol):
    """Watches the episodes of an evaluation and adds numbers to its report; `evaluate` takes a list of them."""

    def begin(self, env: TensorEnvironment, observations: Observations) -> None:
        """A new evaluation has begun: the environments were reset and showed `observations`."""

    def step(self, transition: Transition, active: Tensor) -> None:
        """One step.

        Args:
            transition: what it gave; `transition.outcome` is what it led to, also where an episode ended.
            active: (N,) bool, the environments that are in their first episode. The others do not count.
        """

    def numbers(self) -> Mapping[str, float | Tensor]:
        """What the evaluation gave, by name: a tensor (N,) has a number of each episode, NaN where it has none.

        Yes or no in a bool tensor is reported as a share. A float is of the whole evaluation.
        """


@dataclass(frozen=True, kw_only=True, eq=False)
class EpisodeRecord:
    """What the N episodes of one seed gave."""

    seed: int
    """of the reset"""
    columns: Mapping[str, Tensor]
    """(N,) by name, one number of each episode: float64 with NaN where it has none, or bool"""
    metrics: Mapping[str, Tensor]
    """(N,) float64, mean of each metric of the environment over each episode; NaN where it had none at any moment"""
    maxima: Mapping[str, Tensor]
    """(N,) float64, the greatest value of each metric in each episode"""
    numbers: Mapping[str, float]
    """of all episodes together"""
    clips: Tensor | None
    """(N,) long, clip that each episode played, where the environment plays clips"""


def play(
    env: TensorEnvironment, policy: Policy, seed: int, limit: int, evaluators: Sequence[Evaluator] = ()
) -> EpisodeRecord:
    """Plays one episode in each environment from `reset(seed)`, of at most `limit` steps.

    The environment keeps stepping where episodes have ended; those steps do not count.
    """
    observations = env.reset(seed=seed)
    tally = _Tally(env.num_envs, env.device)
    for evaluator in evaluators:
        evaluator.begin(env, observations)
    for _ in range(limit):
        transition = env.step(policy(observations))
        observations = transition.observations
        active = tally.active & transition.valid
        for evaluator in evaluators:
            evaluator.step(transition, active)
        tally.add(transition)
        if not bool(tally.active.any()):
            break
    given = {name: number for evaluator in evaluators for name, number in evaluator.numbers().items()}
    return tally.record(seed, given)


class _Tally:
    """Sums over the first episode of each environment."""

    def __init__(self, num_envs: int, device: torch.device) -> None:
        def zeros(dtype: torch.dtype = torch.float64) -> Tensor:
            return torch.zeros(num_envs, dtype=dtype, device=device)

        self.active = ~zeros(torch.bool)
        self.returns, self.lengths = zeros(), zeros()
        self.terminated, self.failed = zeros(torch.bool), zeros(torch.bool)
        self.has_failures = False
        self.totals: dict[str, _Total] = {}
        self.until_failure: dict[str, _Total] = {}
        self.clips: Tensor | None = None

    def add(self, transition: Transition) -> None:
        active = self.active & transition.valid
        before_failure = active & ~self.failed
        if self.clips is None and "clip" in transition.info:
            self.clips = torch.as_tensor(transition.info["clip"], device=self.active.device).clone()
        self.returns += torch.where(active, transition.reward, 0.0)
        self.lengths += active
        self.terminated |= active & transition.terminated
        for name, metric in transition.metrics.items():
            value = metric.double()
            self.totals.setdefault(name, _Total(value)).add(value, active)
            if name in TRACKING_ERRORS:
                self.until_failure.setdefault(name, _Total(value)).add(value, before_failure)
        if "failed" in transition.metrics:
            self.has_failures = True
            self.failed |= active & transition.metrics["failed"].bool()
        self.active &= ~(transition.terminated | transition.truncated)

    def record(self, seed: int, given: Mapping[str, float | Tensor]) -> EpisodeRecord:
        columns = {
            "mean_return": self.returns,
            "mean_episode_length": self.lengths,
            "survival_rate": ~self.terminated,
        }
        metrics = {name: total.mean() for name, total in self.totals.items()}
        if self.has_failures:
            columns["success_rate"] = ~self.failed
        if "failed_max_error" in self.totals:
            columns["success_rate_max_error"] = self.totals["failed_max_error"].maximum < 0.5
        for name in TRACKING_ERRORS:
            if name not in metrics:
                continue
            columns[name] = metrics[name]
            if self.has_failures:
                columns[f"{name}_successful"] = metrics[name].masked_fill(self.failed, torch.nan)
                columns[f"{name}_failed"] = metrics[name].masked_fill(~self.failed, torch.nan)
                columns[f"{name}_until_failure"] = self.until_failure[name].mean()
        if {"power_w", "speed_mps"} <= metrics.keys():
            moves = metrics["speed_mps"] >= SLOWEST
            columns["energy_per_metre_j"] = torch.where(moves, metrics["power_w"] / metrics["speed_mps"], torch.nan)
        columns |= {name: number for name, number in given.items() if isinstance(number, Tensor)}
        return EpisodeRecord(
            seed=seed,
            columns=columns,
            metrics=metrics,
            maxima={name: total.maximum for name, total in self.totals.items()},
            numbers={name: float(number) for name, number in given.items() if not isinstance(number, Tensor)},
            clips=self.clips,
        )


class _Total:
    """Sum and greatest of a metric in each episode; moments at which it is NaN, as it is where it has no meaning, do
    not count.
    """  # noqa: D205

    def __init__(self, like: Tensor) -> None:
        self.sum, self.count = torch.zeros_like(like), torch.zeros_like(like)
        self.maximum = torch.full_like(like, -torch.inf)

    def add(self, value: Tensor, chosen: Tensor) -> None:
        """value: (N,) float64; chosen: (N,) bool."""
        counts = chosen & ~value.isnan()
        self.sum += torch.where(counts, value, 0.0)
        self.count += counts
        self.maximum = torch.where(counts, torch.maximum(self.maximum, value), self.maximum)

    def mean(self) -> Tensor:
        """(N,), NaN where nothing counted."""
        return torch.where(self.count > 0, self.sum / self.count, torch.nan)
