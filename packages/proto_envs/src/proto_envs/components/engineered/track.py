"""Goals that lead a robot along a track, up to the line that it is to jump from."""

from __future__ import annotations

import torch
from torch import Tensor

from proto_envs.components.engineered.steering import ask_to_walk
from proto_envs.components.jumping import JumpTrack
from proto_envs.components.sparse_goals import EngineeredGoals, SparseShape
from proto_envs.context import Context
from proto_envs.goals import SparseGoal

__all__ = ["TrackGoals"]


class TrackGoals(EngineeredGoals):
    """Asks for the pelvis on the middle of the track a second ahead, facing along it; behind the line, for nothing."""

    def __init__(
        self,
        shape: SparseShape,
        num_envs: int,
        dt: float,
        device: torch.device,
        track: JumpTrack,
        *,
        line: float,
        speed: float = 4.0,
    ) -> None:
        """Say how fast.

        Args:
            shape: of the goals.
            num_envs: N.
            dt: s per control step.
            device: of the goals.
            track: where to run.
            line: m along the track, where it is jumped.
            speed: m/s (our choice).
        """
        super().__init__(shape, num_envs, dt, device)
        self._track, self._line, self._speed = track, line, speed

    def ask(self, context: Context, ids: Tensor | None) -> SparseGoal:
        """The pelvis on the track."""
        goal, track = self.nothing(context), self._track.track.rows(ids)
        root = context.state.body_positions[:, 0, :2]
        along = ((root - track.start) * track.direction).sum(-1)
        ahead = track.start + (along + self._speed).unsqueeze(-1) * track.direction
        yaw = torch.atan2(track.direction[:, 1], track.direction[:, 0])
        ask_to_walk(self, goal, context, ahead - root, yaw, where=along < self._line)
        return goal
