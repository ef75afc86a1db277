"""A track with a line to jump from and a goal behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from poselib.rotations import heading_angle
from proto_envs.components.control import Control, Markers
from proto_envs.context import Context
from proto_envs.goals import JumpGoal

__all__ = ["JumpTrack"]


class JumpTrack(Control):
    """Lays a track before each robot at the start of its episode, straight on from where it faces."""

    def __init__(self, num_envs: int, device: torch.device, *, line: float, goal: float) -> None:
        """Say how long tracks are.

        Args:
            num_envs: N.
            device: of the tracks.
            line: m from the start to the line.
            goal: m from the start to the goal.
        """
        age = torch.zeros(num_envs, dtype=torch.long, device=device)
        x = torch.tensor([1.0, 0.0], device=device).repeat(num_envs, 1)
        self.track = JumpGoal(
            age=age,
            start=torch.zeros(num_envs, 2, device=device),
            direction=x,
            previous_distance=torch.full((num_envs,), goal, device=device),
        )
        self._line, self._goal = line, goal

    def begin(self, ids: Tensor, context: Context, generator: torch.Generator) -> None:
        """Lay tracks."""
        del generator
        yaw = heading_angle(context.state.body_rotations[:, 0])
        self.track.age[ids] = 0
        self.track.start[ids] = context.state.body_positions[:, 0, :2]
        self.track.direction[ids] = torch.stack([torch.cos(yaw), torch.sin(yaw)], dim=-1)
        self.track.previous_distance[ids] = self._goal

    def step(self, generator: torch.Generator) -> None:
        """Time goes on."""
        del generator
        self.track.age.add_(1)

    def observe(self, context: Context, generator: torch.Generator) -> None:
        """Remember how far the goal was."""
        del generator
        goal = self.track.start + self._goal * self.track.direction
        self.track.previous_distance.copy_((goal - context.state.body_positions[:, 0, :2]).norm(dim=-1))

    def context(self, ids: Tensor | None) -> Mapping[str, Any]:
        """The tracks."""
        return {"jump": self.track.rows(ids)}

    def markers(self) -> list[Markers]:
        """The line, across the track, and the goal."""
        x, y = self.track.direction.unbind(-1)
        across = torch.stack([-y, x, torch.zeros_like(x)], dim=-1).unsqueeze(1)
        ends = []
        for distance in (self._line, self._goal):
            place = self.track.start + distance * self.track.direction
            ends.append(torch.cat([place, torch.zeros_like(place[:, :1])], dim=-1).unsqueeze(1))
        return [
            Markers(ends[0] - 0.5 * across, (0.9, 0.2, 0.2, 0.9), 0.03, across),
            Markers(ends[1], (0.2, 0.8, 0.3, 0.9), 0.2),
        ]

    def state_dict(self) -> dict[str, Tensor]:
        """The tracks and how far the goal was."""
        return dict(vars(self.track))
