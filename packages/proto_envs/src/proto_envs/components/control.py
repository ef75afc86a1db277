"""Controls, the only stateful parts of a task: they decide what the robot should do and say so in the context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from motionlib import BodyState, MotionLib
from poselib.rotations import quat_multiply
from poselib.skeleton import Skeleton
from proto_envs.context import ResetState

__all__ = ["Control", "MotionReference", "ResetNoise"]


class Control(Protocol):
    """Stateful task manager. `ids` are (n,) long; None stands for all environments."""

    def reset(self, ids: Tensor, generator: torch.Generator) -> ResetState | None:
        """Begin new episodes; returns the start state if this control decides it."""

    def step(self, generator: torch.Generator) -> None:
        """Advance by one control step."""

    def context(self, ids: Tensor | None) -> Mapping[str, Any]:
        """Fields of `Context` that this control fills in."""

    def finished(self) -> Tensor:
        """(N,) bool: nothing is left to do (end of a clip), which truncates the episode."""

    def episode_ended(self, ids: Tensor, failed: Tensor) -> None:
        """Learn how episodes ended; `failed` is (n,) bool."""

    def state_dict(self) -> dict[str, Tensor]:
        """Everything needed to go on exactly from here."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore `state_dict`."""


@dataclass(frozen=True)
class ResetNoise:
    """Standard deviations of normal noise on the state that an episode starts from."""

    joints: float = 0.0
    """rad, each joint coordinate"""
    root_velocity: float = 0.0
    """m/s, each axis"""
    joint_velocities: float = 0.0
    """rad/s, each joint coordinate"""

    def apply(self, state: ResetState, skeleton: Skeleton, generator: torch.Generator) -> ResetState:
        """A noisy copy of `state`; the same one where all deviations are 0."""
        if not (self.joints or self.root_velocity or self.joint_velocities):
            return state

        def draw(like: Tensor, deviation: float) -> Tensor:
            return deviation * torch.randn(like.shape, generator=generator, device=like.device)

        turn = skeleton.local_rotations_from_dofs(draw(state.dof_velocities, self.joints))
        return ResetState(
            root_position=state.root_position,
            local_rotations=quat_multiply(state.local_rotations, turn),
            root_velocity=state.root_velocity + draw(state.root_velocity, self.root_velocity),
            root_angular_velocity=state.root_angular_velocity,
            dof_velocities=state.dof_velocities + draw(state.dof_velocities, self.joint_velocities),
        )


class MotionReference:
    """Plays a clip of a motion library beside each robot: the reference it should imitate.

    Clips are drawn by weight times how often they failed of late, start times uniformly (reference-state
    initialisation, DeepMimic), so that hard clips are practised more.
    """

    def __init__(
        self,
        library: MotionLib,
        num_envs: int,
        dt: float,
        *,
        future_steps: tuple[int, ...] = (1,),
        start: str = "random",
        start_at_zero: float = 0.0,
        failure_weighting: bool = True,
        failure_rate_step: float = 0.05,
        failure_floor: float = 0.1,
        noise: ResetNoise | None = None,
    ) -> None:
        """Give every environment a clip; `reset` draws which.

        Args:
            library: the clips, on the environment's device.
            num_envs: N.
            dt: s per control step.
            future_steps: control steps ahead that `Context.future` shows.
            start: "random" phase, "zero", or "sequential": environment i plays clip i (modulo their number) from 0.
            start_at_zero: share of episodes that start at time 0 although `start` is "random".
            failure_weighting: draw clips by failure rate.
            failure_rate_step: weight of one episode in the running failure rate of its clip.
            failure_floor: added to the rate, so that solved clips are still practised.
            noise: on the robot's start state.

        Raises:
            ValueError: for an unknown `start`.
        """
        if start not in ("random", "zero", "sequential"):
            raise ValueError(f"start={start!r}: there are 'random', 'zero' and 'sequential'")
        device = library.device
        self.library = library
        self.dt = dt
        self.start = start
        self.start_at_zero = start_at_zero
        self.failure_weighting = failure_weighting
        self.failure_rate_step = failure_rate_step
        self.failure_floor = failure_floor
        self.noise = noise or ResetNoise()
        self.clips = torch.zeros(num_envs, dtype=torch.long, device=device)
        self.times = torch.zeros(num_envs, device=device)
        self.failure_rates = torch.full((library.num_motions,), 0.5, device=device)
        self._ahead = torch.tensor((0, *future_steps), device=device) * dt

    def reset(self, ids: Tensor, generator: torch.Generator) -> ResetState:
        """Draw clips and start times; the robot starts in the reference pose, give or take the noise."""
        if self.start == "sequential":
            clips = ids % self.library.num_motions
        else:
            weights = self.library.weights
            if self.failure_weighting:
                weights = weights * (self.failure_rates + self.failure_floor)
            clips = self.library.sample_motions(len(ids), generator, weights)
        times = self.library.sample_times(clips, generator)
        if self.start == "random":
            at_zero = torch.rand(len(ids), generator=generator, device=times.device) < self.start_at_zero
            times = times.masked_fill(at_zero, 0.0)
        else:
            times = torch.zeros_like(times)
        self.clips[ids], self.times[ids] = clips, times
        state = self.library.get_motion_state(clips, times)
        start = ResetState(
            root_position=state.body_positions[:, 0],
            local_rotations=state.local_rotations,
            root_velocity=state.body_velocities[:, 0],
            root_angular_velocity=state.body_angular_velocities[:, 0],
            dof_velocities=state.dof_velocities,
        )
        return self.noise.apply(start, self.library.skeleton, generator)

    def step(self, generator: torch.Generator) -> None:
        """Move the clips on."""
        self.times += self.dt

    def context(self, ids: Tensor | None) -> dict[str, BodyState]:
        """The reference now (`motion`) and at the future moments (`upcoming`)."""
        clips, times = (self.clips, self.times) if ids is None else (self.clips[ids], self.times[ids])
        moments = len(self._ahead)
        times = (times.unsqueeze(-1) + self._ahead).flatten()
        state = self.library.get_body_state(clips.repeat_interleave(moments), times)
        split = state.map(lambda field: field.unflatten(0, (len(clips), moments)))
        return {
            "motion": split.map(lambda field: field[:, 0]),
            "upcoming": split.map(lambda field: field[:, 1:]),
        }

    def joints_at(self, ahead: float) -> tuple[Tensor, Tensor]:
        """Local rotations (N, B, 4) and joint velocities (N, D) of the reference `ahead` s from now."""
        return self.library.get_joint_state(self.clips, self.times + ahead)

    def finished(self) -> Tensor:
        """True at the end of a clip that does not repeat."""
        ended = self.times + 0.5 * self.dt >= self.library.durations[self.clips]
        return ended & ~self.library.loops[self.clips]

    def episode_ended(self, ids: Tensor, failed: Tensor) -> None:
        """Move the failure rate of each clip towards the share of its episodes that failed."""
        size = self.failure_rates.shape
        count = torch.zeros(size, device=failed.device).index_add_(0, self.clips[ids], torch.ones_like(failed).float())
        failures = torch.zeros(size, device=failed.device).index_add_(0, self.clips[ids], failed.float())
        keep = (1.0 - self.failure_rate_step) ** count
        self.failure_rates.mul_(keep).add_((1.0 - keep) * failures / count.clamp_min(1.0))

    def state_dict(self) -> dict[str, Tensor]:
        """Clips, times and failure rates."""
        return {"clips": self.clips, "times": self.times, "failure_rates": self.failure_rates}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore `state_dict`."""
        for name, live in self.state_dict().items():
            live.copy_(state[name])
