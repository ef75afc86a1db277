"""What a policy achieves: one full episode per environment with deterministic actions."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from proto_agents.environment import TensorEnvironment, Transition
from proto_agents.spaces import Observations

__all__ = [
    "POSITION_ERRORS",
    "STEP_LIMIT",
    "ClipResult",
    "EvaluationConfig",
    "EvaluationReport",
    "ExpectationResult",
    "MetricSummary",
    "Policy",
    "check_expectations",
    "episode_limit",
    "evaluate",
]

Policy = Callable[[Observations], Tensor]
"""Observations (num_envs, size) -> actions (num_envs, ...)."""

STEP_LIMIT = 10_000
"""Steps after which an evaluation without a time limit gives up on episodes that do not end."""

POSITION_ERRORS = ("mpjpe_mm", "mpjpe_root_relative_mm")


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How a policy is evaluated."""

    num_envs: int = 256
    """episodes, one per environment"""
    seconds: float | None = None
    """longest episode in simulated time; None: no limit but the environment's own"""
    steps: int | None = None
    """longest episode in control steps; goes before `seconds`"""
    seed: int = 1000
    """of the environments' reset; keep it apart from the training seed"""
    env: dict[str, Any] = field(default_factory=dict)
    """keyword arguments of the evaluation's environment, laid over those of the training environment"""


@dataclass(frozen=True, kw_only=True)
class MetricSummary:
    """One metric of the environment over the evaluation."""

    mean: float
    """mean over environments of each one's mean over its episode"""
    max: float
    """mean over environments of each one's maximum"""


@dataclass(frozen=True, kw_only=True)
class ClipResult:
    """The episodes that played one motion clip."""

    episodes: int
    """how many"""
    success_rate: float | None
    """share that never failed; None where the environment does not report failures"""
    mpjpe_mm: float | None
    """mean per-joint position error, mm"""
    mpjpe_root_relative_mm: float | None
    """the same with the root moved onto the reference's root, mm"""


@dataclass(frozen=True, kw_only=True)
class EvaluationReport:
    """Result of `evaluate`. Position errors are means over environments of each one's mean over its episode."""

    num_envs: int
    """episodes"""
    steps: int
    """steps of the longest episode"""
    seed: int
    """of the reset"""
    mean_return: float
    """sum of rewards, mean over episodes"""
    mean_episode_length: float
    """steps, mean over episodes"""
    survival_rate: float
    """share of episodes that the environment never terminated (time-outs count as survival); where an evaluation turns
    terminations off, as those of tracking do, it says nothing and `success_rate` does"""
    success_rate: float | None = None
    """share of episodes whose metric "failed" never was true; None where the environment has no such metric"""
    success_rate_max_error: float | None = None
    """the stricter one: share whose metric "failed_max_error" (any body too far, not just the mean) never was true"""
    mpjpe_mm: float | None = None
    """mean per-joint position error over whole episodes, mm"""
    mpjpe_mm_successful: float | None = None
    """of the successful episodes"""
    mpjpe_mm_failed: float | None = None
    """of the failed episodes"""
    mpjpe_mm_until_failure: float | None = None
    """over the steps up to and including the first failure"""
    mpjpe_root_relative_mm: float | None = None
    """the error with the root moved onto the reference's root, mm"""
    mpjpe_root_relative_mm_successful: float | None = None
    """of the successful episodes"""
    mpjpe_root_relative_mm_failed: float | None = None
    """of the failed episodes"""
    mpjpe_root_relative_mm_until_failure: float | None = None
    """over the steps up to and including the first failure"""
    metrics: dict[str, MetricSummary] = field(default_factory=dict)
    """every metric that the environment reports"""
    clips: dict[str, ClipResult] = field(default_factory=dict)
    """by name of the motion clip, where the environment plays clips"""
    failed_clips: tuple[str, ...] = ()
    """clips of which at least one episode failed"""

    def to_dict(self) -> dict[str, Any]:
        """Plain values only, for JSON."""
        return asdict(self)

    def values(self) -> dict[str, float]:
        """All single numbers by name: the fields that are known, then the means of the environment's metrics."""
        named = {f.name: getattr(self, f.name) for f in fields(self)}
        known = {name: float(value) for name, value in named.items() if isinstance(value, int | float)}
        return {name: summary.mean for name, summary in self.metrics.items()} | known


@dataclass(frozen=True, kw_only=True)
class ExpectationResult:
    """One line of an experiment's `expect:` against a report."""

    metric: str
    """name in `EvaluationReport.values`"""
    value: float | None
    """what was measured; None where the report lacks it"""
    low: float
    """least accepted value"""
    high: float
    """greatest accepted value"""

    @property
    def passed(self) -> bool:
        """Whether the value is known and within the bounds (NaN is not)."""
        return self.value is not None and self.low <= self.value <= self.high


def check_expectations(
    report: EvaluationReport, expect: Mapping[str, tuple[float, float]]
) -> tuple[ExpectationResult, ...]:
    """Compares a report with bounds; a metric that the report lacks counts as missed."""
    values = report.values()
    return tuple(
        ExpectationResult(metric=name, value=values.get(name), low=low, high=high)
        for name, (low, high) in expect.items()
    )


def episode_limit(env: VectorEnv, config: EvaluationConfig) -> int:
    """Steps after which an evaluation stops, from `steps`, or `seconds` and the environment's control rate."""
    if config.steps is not None:
        return config.steps
    if config.seconds is None:
        return STEP_LIMIT
    rate = getattr(env.unwrapped, "control_hz", None) or env.metadata.get("render_fps")
    if not rate:
        raise ValueError(
            "evaluation.seconds needs the environment's control rate (attribute control_hz or "
            'metadata["render_fps"]), which it does not give; set evaluation.steps instead'
        )
    return max(1, round(config.seconds * float(rate)))


def evaluate(
    env: VectorEnv,
    policy: Policy,
    config: EvaluationConfig | None = None,
    device: str | torch.device | None = None,
) -> EvaluationReport:
    """Plays one episode in each environment from `reset(seed)` and sums it up.

    Args:
        env: any gymnasium vector environment. It keeps stepping where episodes have ended; those steps do not count.
        policy: usually `model.act_deterministic`.
        config: seed and limits; `num_envs` and `env` are for whoever makes the environment.
        device: of the policy; None: where the environment's tensors are.
    """
    config = config or EvaluationConfig()
    limit = episode_limit(env, config)
    stream = TensorEnvironment(env, device)
    observations = stream.reset(seed=config.seed)
    tally = _Tally(stream.num_envs, stream.device)
    for _ in range(limit):
        transition = stream.step(policy(observations))
        observations = transition.observations
        tally.add(transition)
        if not bool(tally.active.any()):
            break
    clip_names = getattr(env.unwrapped, "clip_names", None)
    return tally.report(config.seed, tuple(clip_names) if clip_names is not None else None)


class _Tally:
    """Sums over the first episode of each environment."""

    def __init__(self, num_envs: int, device: torch.device) -> None:
        def zeros(dtype: torch.dtype = torch.float64) -> Tensor:
            return torch.zeros(num_envs, dtype=dtype, device=device)

        self.active = ~zeros(torch.bool)
        self.returns, self.lengths, self.lengths_until_failure = zeros(), zeros(), zeros()
        self.terminated, self.failed = zeros(torch.bool), zeros(torch.bool)
        self.has_failures = False
        self.sums: dict[str, Tensor] = {}
        self.maxima: dict[str, Tensor] = {}
        self.sums_until_failure: dict[str, Tensor] = {}
        self.clip: Tensor | None = None

    def add(self, transition: Transition) -> None:
        active = self.active & transition.valid
        before_failure = active & ~self.failed
        if self.clip is None and "clip" in transition.info:
            self.clip = torch.as_tensor(transition.info["clip"], device=self.active.device).clone()
        self.returns += torch.where(active, transition.reward, 0.0)
        self.lengths += active
        self.lengths_until_failure += before_failure
        self.terminated |= active & transition.terminated
        for name, metric in transition.metrics.items():
            value = metric.double()
            if name not in self.sums:
                self.sums[name] = torch.zeros_like(value)
                self.sums_until_failure[name] = torch.zeros_like(value)
                self.maxima[name] = torch.full_like(value, -torch.inf)
            self.sums[name] += torch.where(active, value, 0.0)
            self.sums_until_failure[name] += torch.where(before_failure, value, 0.0)
            self.maxima[name] = torch.where(active, torch.maximum(self.maxima[name], value), self.maxima[name])
        if "failed" in transition.metrics:
            self.has_failures = True
            self.failed |= active & transition.metrics["failed"].bool()
        self.active &= ~(transition.terminated | transition.truncated)

    def report(self, seed: int, clip_names: tuple[str, ...] | None) -> EvaluationReport:
        means = {name: total / self.lengths.clamp(min=1.0) for name, total in self.sums.items()}
        everyone = torch.ones_like(self.failed)
        errors: dict[str, float | None] = {}
        for name in POSITION_ERRORS:
            if name not in means:
                continue
            errors[name] = _mean(means[name], everyone)
            if self.has_failures:
                until = self.sums_until_failure[name] / self.lengths_until_failure.clamp(min=1.0)
                errors[f"{name}_successful"] = _mean(means[name], ~self.failed)
                errors[f"{name}_failed"] = _mean(means[name], self.failed)
                errors[f"{name}_until_failure"] = _mean(until, everyone)
        clips = self._clips(means, clip_names)
        return EvaluationReport(
            num_envs=self.failed.numel(),
            steps=int(self.lengths.max().item()),
            seed=seed,
            mean_return=self.returns.mean().item(),
            mean_episode_length=self.lengths.mean().item(),
            survival_rate=1.0 - self.terminated.double().mean().item(),
            success_rate=1.0 - self.failed.double().mean().item() if self.has_failures else None,
            success_rate_max_error=self._never("failed_max_error"),
            metrics={
                name: MetricSummary(mean=mean.mean().item(), max=self.maxima[name].mean().item())
                for name, mean in means.items()
            },
            clips=clips,
            failed_clips=tuple(n for n, c in clips.items() if c.success_rate is not None and c.success_rate < 1.0),
            **errors,
        )

    def _never(self, name: str) -> float | None:
        """Share of episodes in which a yes-or-no metric never was true; None where there is no such metric."""
        return (self.maxima[name] < 0.5).double().mean().item() if name in self.maxima else None

    def _clips(self, means: dict[str, Tensor], clip_names: tuple[str, ...] | None) -> dict[str, ClipResult]:
        if self.clip is None:
            return {}
        results = {}
        for clip in self.clip.unique().tolist():
            chosen = self.clip == clip
            name = clip_names[clip] if clip_names is not None else str(clip)
            results[name] = ClipResult(
                episodes=int(chosen.sum().item()),
                success_rate=1.0 - self.failed[chosen].double().mean().item() if self.has_failures else None,
                mpjpe_mm=_mean(means["mpjpe_mm"], chosen) if "mpjpe_mm" in means else None,
                mpjpe_root_relative_mm=(
                    _mean(means["mpjpe_root_relative_mm"], chosen) if "mpjpe_root_relative_mm" in means else None
                ),
            )
        return results


def _mean(value: Tensor, chosen: Tensor) -> float | None:
    """Mean over the chosen environments; None where there is none."""
    return value[chosen].mean().item() if bool(chosen.any()) else None
