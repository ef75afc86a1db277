"""What a run will take, measured on this machine before it starts: speed, time and memory.

The iterations are real ones of the experiment itself: environments, networks, learner, discriminator, evaluation. They
are those of the run's beginning, when episodes are short and an update may stop early.
"""

import sys
import time
from dataclasses import dataclass, replace

import torch

from proto_agents import distributed
from proto_agents.evaluation import STEP_LIMIT, episode_limit, evaluate
from proto_agents.progress import count, duration
from proto_agents.runner import Runner

__all__ = ["Estimate", "estimate", "evaluations_left", "peak_memory"]

EVALUATION_STEPS = 16
"""of an evaluation that are timed"""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a run will take."""

    num_envs: int
    """environments"""
    device: str
    """of the learner"""
    iterations: int
    """that were timed"""
    samples_per_second: float
    """environment steps, all environments together, with everything that is learned from them"""
    rollout_share: float
    """of the time that goes into acting and stepping; the rest is learning"""
    samples_left: int
    """to the run's budget"""
    evaluations: int
    """to come"""
    evaluation_seconds: float | None
    """s that all evaluations take at most; None: their episodes have no known end"""
    memory: int | None
    """bytes, peak of the process in main memory; None: the system does not say"""
    gpu_memory: int | None
    """bytes, peak of what torch's allocator held on the GPU; None: the learner is not on one"""
    gpu_in_use: int | None
    """bytes in use on that GPU by everything: torch, the physics engine, other programs; None as above"""

    @property
    def training_seconds(self) -> float:
        """To the budget, evaluations left out, s."""
        return self.samples_left / self.samples_per_second

    @property
    def hours(self) -> float:
        """To the end of the run, evaluations included where their time is known, h."""
        return (self.training_seconds + (self.evaluation_seconds or 0.0)) / 3600.0

    def lines(self) -> tuple[str, ...]:
        """To be read."""
        share = f"{self.rollout_share:.0%} rollout, {1.0 - self.rollout_share:.0%} learning"
        times = f"{duration(self.training_seconds)} of training"
        if self.evaluations:
            known = self.evaluation_seconds is not None
            times += f", {self.evaluations} evaluations"
            times += f" of {duration(self.evaluation_seconds or 0.0)} at most" if known else " of unknown length"
        memory = "unknown" if self.memory is None else f"{_size(self.memory)} at the peak of this process"
        lines = [
            f"speed   {count(self.samples_per_second)} samples/s: {self.num_envs} environments, learner on "
            f"{self.device}; {share}; {self.iterations} iterations",
            f"time    {duration(3600.0 * self.hours)} to {count(self.samples_left)} more samples: {times}",
            f"memory  {memory}",
        ]
        if self.gpu_memory is not None and self.gpu_in_use is not None:
            torch_peak, everyone = _size(self.gpu_memory), _size(self.gpu_in_use)
            lines.append(f"GPU     {torch_peak} at the peak of torch, {everyone} in use by all programs")
        return tuple(lines)


def estimate(runner: Runner, seconds: float = 10.0) -> Estimate:
    """Measures a run. The runner has trained a little afterwards: throw it away.

    Args:
        runner: of the experiment, not started or just resumed; nothing is written into its folder.
        seconds: to measure for; at least two iterations after one that is not timed.
    """
    left = max(0, runner.config.max_samples - runner.samples)
    evaluations = evaluations_left(runner)
    buffer = runner.learner.make_buffer(runner.env.num_envs)
    runner.iterate(buffer)  # allocates, compiles
    rollout, total, iterations = 0.0, 0.0, 0
    while iterations < 2 or distributed.any_rank(total < seconds):
        clock = time.monotonic()
        values = runner.iterate(buffer)
        taken = time.monotonic() - clock
        rollout += taken * values["speed/rollout_share"]
        total += taken
        iterations += 1
    one = _evaluation_seconds(runner) if evaluations else 0.0
    device = runner.learner.device
    on_gpu = device.type == "cuda"
    free, size = torch.cuda.mem_get_info(device) if on_gpu else (0, 0)
    return Estimate(
        num_envs=runner.num_envs,
        device=str(device),
        iterations=iterations,
        samples_per_second=iterations * buffer.horizon * runner.num_envs / total,
        rollout_share=rollout / total,
        samples_left=left,
        evaluations=evaluations,
        evaluation_seconds=None if one is None else evaluations * one,
        memory=peak_memory(),
        gpu_memory=torch.cuda.max_memory_reserved(device) if on_gpu else None,
        gpu_in_use=size - free if on_gpu else None,
    )


def evaluations_left(runner: Runner) -> int:
    """How often the run is still evaluated, from where it stands."""
    config, iteration = runner.config, runner.learner.config.horizon * runner.num_envs
    if runner.evaluation_env is None:
        return 0
    number, samples = 0, runner.samples
    while samples < config.max_samples:
        before, samples = samples, samples + iteration
        crossed = config.evaluate_every > 0 and samples // config.evaluate_every > before // config.evaluate_every
        number += (crossed and samples >= config.evaluate_from) or samples >= config.max_samples
    return number


def peak_memory() -> int | None:
    """Bytes of main memory that this process held at its peak; None where the system does not say (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # KiB everywhere but there


def _evaluation_seconds(runner: Runner) -> float | None:
    """Time of one evaluation if no episode ends before its time; None where nothing bounds an episode."""
    env, settings = runner.evaluation_env, runner.evaluation
    assert env is not None
    longest = getattr(env.unwrapped, "max_episode_length", None)
    if longest is None and env.spec is not None:
        longest = env.spec.max_episode_steps
    steps = min(episode_limit(env, settings), longest or STEP_LIMIT)
    if steps >= STEP_LIMIT:
        return None
    policy, device = runner.learner.model.act_deterministic, runner.learner.device
    evaluate(env, policy, replace(settings, steps=1), device)  # compiles
    timed = min(steps, EVALUATION_STEPS)
    clock = time.monotonic()
    played = evaluate(env, policy, replace(settings, steps=timed), device).steps
    return steps * (time.monotonic() - clock) / max(played, 1)


def _size(number: float) -> str:
    """Such as 640 MB or 12.3 GB."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"
