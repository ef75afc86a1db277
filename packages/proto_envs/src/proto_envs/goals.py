"""What tasks ask of a robot at one moment, as typed tensors: world frame, SI, one row per robot."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

from torch import Tensor

__all__ = ["Goal", "JumpGoal", "PathGoal", "ReachGoal", "SteeringGoal"]


@dataclass(frozen=True, eq=False)
class Goal:
    """A goal; all fields are tensors whose first dimension is the robots'."""

    age: Tensor
    """(N,) long, control steps since the goal was given"""

    def rows(self, ids: Tensor | None) -> Self:
        """The same goal of some robots; None stands for all of them."""
        return self if ids is None else type(self)(*(getattr(self, field.name)[ids] for field in fields(self)))


@dataclass(frozen=True, eq=False)
class SteeringGoal(Goal):
    """Move this way, this fast; where the task says so, face that way."""

    direction: Tensor
    """(N, 2) unit vector on the ground"""
    speed: Tensor
    """(N,) m/s"""
    facing: Tensor
    """(N, 2) unit vector on the ground"""


@dataclass(frozen=True, eq=False)
class PathGoal(Goal):
    """Keep the head on a point that moves along a path."""

    now: Tensor
    """(N, 3) m, where the head should be; z is its height above the ground"""
    ahead: Tensor
    """(N, S, 3) m, the samples of the path that the policy sees, from `now` on"""


@dataclass(frozen=True, eq=False)
class ReachGoal(Goal):
    """Bring the hand to a point."""

    target: Tensor
    """(N, 3) m"""


@dataclass(frozen=True, eq=False)
class JumpGoal(Goal):
    """Run along a track and jump from a line on it."""

    start: Tensor
    """(N, 2) m, beginning of the track"""
    direction: Tensor
    """(N, 2) unit vector along the track"""
    previous_distance: Tensor
    """(N,) m between root and goal a control step ago"""
