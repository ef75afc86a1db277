"""Where episodes begin: at a moment of a clip, in the default pose, or in a state of a given list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

import torch
from torch import Tensor

from motionlib import MotionLib
from proto_envs.components.control import Control, ResetNoise
from proto_envs.context import ResetState
from proto_envs.robots import Robot

__all__ = ["StartStates", "default_state"]


def default_state(robot: Robot, count: int, device: torch.device) -> ResetState:
    """The robot at rest in its default pose, its soles on the ground at the origin, facing x."""
    skeleton = robot.skeleton
    joints = robot.default_dofs.to(device).repeat(count, 1)
    zeros = torch.zeros(count, 3, device=device)
    return ResetState(
        root_position=zeros + torch.tensor([0.0, 0.0, robot.default_root_height], device=device),
        local_rotations=skeleton.local_rotations_from_dofs(joints),
        dof_positions=joints,
        root_velocity=zeros,
        root_angular_velocity=zeros,
        dof_velocities=torch.zeros_like(joints),
    )


class StartStates(Control):
    """Puts robots where their episodes begin.

    With clips it is reference-state initialisation (DeepMimic): a clip by weight, a moment of it uniformly; a share of
    the episodes begins in one of `others` instead, uniformly.
    """

    def __init__(
        self,
        robot: Robot,
        num_envs: int,
        device: torch.device,
        motions: MotionLib | None,
        *,
        others: ResetState | None = None,
        others_share: float = 0.0,
        at_zero: bool = False,
        noise: ResetNoise | None = None,
    ) -> None:
        """Say where from.

        Args:
            robot: who begins.
            num_envs: N.
            device: of all tensors.
            motions: clips; without them all episodes begin in `others`.
            others: (S, ...) states beside the clips; the default pose if left out.
            others_share: of the episodes that begin in them although there are clips.
            at_zero: begin clips at their first frame.
            noise: on the start state.
        """
        self.motions = motions
        self.others = default_state(robot, 1, device) if others is None else others
        self.others_share = 1.0 if motions is None else others_share
        self.at_zero = at_zero
        self.noise = noise or ResetNoise()
        self.clips = torch.zeros(num_envs, dtype=torch.long, device=device)
        """(N,) clip that the last episode began in, if it did"""
        self.times = torch.zeros(num_envs, device=device)
        """(N,) s, moment of it"""
        self.from_clip = torch.zeros(num_envs, dtype=torch.bool, device=device)
        """(N,) whether it did"""
        self._skeleton = robot.skeleton
        self._ahead = self._draw(num_envs, torch.Generator(device=device))
        self._used = num_envs

    def reset(self, ids: Tensor, generator: torch.Generator) -> ResetState:
        """A start state for each of `ids`; N are drawn at a time, which costs little more than to draw a few."""
        if self._used + len(ids) > len(self.clips):
            self._ahead, self._used = self._draw(len(self.clips), generator), 0
        rows = slice(self._used, self._used + len(ids))
        self._used += len(ids)
        for name in ("clips", "times", "from_clip"):
            getattr(self, name)[ids] = self._ahead[name][rows]
        return ResetState(*(self._ahead[field.name][rows].clone() for field in fields(ResetState)))

    def forget(self) -> None:
        """Draw anew at the next reset."""
        self._used = len(self.clips)

    def _draw(self, count: int, generator: torch.Generator) -> dict[str, Tensor]:
        """`count` start states by field, and the moments of clips that they are."""

        def draw() -> Tensor:
            return torch.rand(count, generator=generator, device=self.clips.device)

        chosen = (draw() * len(self.others.root_position)).long()
        state = ResetState(*(getattr(self.others, field.name)[chosen] for field in fields(ResetState)))
        clips, times = torch.zeros_like(chosen), torch.zeros(count, device=chosen.device)
        from_clip = torch.zeros_like(chosen, dtype=torch.bool)
        if self.motions is not None and self.others_share < 1.0:
            clips = self.motions.sample_motions(count, generator)
            if not self.at_zero:
                times = self.motions.sample_times(clips, generator)
            from_clip = draw() >= self.others_share
            state = _choose(from_clip, _state_of(self.motions, clips, times), state)
        state = self.noise.apply(state, self._skeleton, generator)
        return {"clips": clips, "times": times, "from_clip": from_clip} | vars(state)

    def state_dict(self) -> dict[str, Tensor]:
        """Which moments episodes began at, and the states that were drawn ahead."""
        ahead = {f"ahead/{name}": value for name, value in self._ahead.items()}
        used = torch.tensor(self._used)
        return {"clips": self.clips, "times": self.times, "from_clip": self.from_clip, "used": used} | ahead

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore `state_dict`."""
        super().load_state_dict(state)
        self._used = int(state["used"])


def _state_of(motions: MotionLib, clips: Tensor, times: Tensor) -> ResetState:
    bodies = motions.get_body_state(clips, times)
    local_rotations, dof_velocities = motions.get_joint_state(clips, times)
    return ResetState(
        root_position=bodies.body_positions[:, 0],
        local_rotations=local_rotations,
        dof_positions=motions.skeleton.dofs_from_local_rotations(local_rotations),
        root_velocity=bodies.body_velocities[:, 0],
        root_angular_velocity=bodies.body_angular_velocities[:, 0],
        dof_velocities=dof_velocities,
    )


def _choose(mask: Tensor, first: ResetState, second: ResetState) -> ResetState:
    """Rows of `first` where `mask` (n,) holds, else of `second`."""

    def pick(name: str) -> Tensor:
        a, b = getattr(first, name), getattr(second, name)
        return torch.where(mask.view(-1, *[1] * (a.dim() - 1)), a, b)

    return ResetState(*(pick(field.name) for field in fields(ResetState)))
