"""What tasks ask of a robot at one moment, as typed tensors: world frame, SI, one row per robot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Self

from torch import Tensor

__all__ = ["Goal", "JumpGoal", "PathGoal", "ReachGoal", "SparseGoal", "SteeringGoal"]


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


@dataclass(frozen=True, eq=False)
class SparseGoal:
    """Parts of a few poses to come, words, an object: what MaskedMimic's policy is asked for. All else is free.

    T slots hold one pose each, of the C bodies that goals may name and of the root's motion. The mask says what of it
    is asked for; what it hides has no meaning.
    """

    wait: Tensor
    """(N, T) long, control steps until the pose is due"""
    positions: Tensor
    """(N, T, C, 3) m"""
    rotations: Tensor
    """(N, T, C, 4)"""
    velocities: Tensor
    """(N, T, 2) m/s of the root on the ground"""
    headings: Tensor
    """(N, T) rad, yaw of the root"""
    mask: Tensor
    """(N, T, C + 1, 2) bool: of each body its position and its rotation; of the root's motion, the last row, its
    velocity and its heading"""
    text: Tensor
    """(N, E) embedding of a sentence"""
    text_shown: Tensor
    """(N,) bool"""
    object_shown: Tensor
    """(N,) bool, whether the scene's object is to be used"""

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The same goal with `function` applied to every field, to select or copy."""
        return type(self)(*(function(getattr(self, field.name)) for field in fields(self)))
