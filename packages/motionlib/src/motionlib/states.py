"""What a library answers: the state of the reference at N moments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Self

from torch import Tensor

__all__ = ["BodyState", "MotionState"]


@dataclass(frozen=True, eq=False)
class BodyState:
    """The bodies of the reference at N moments; world frame, m, s, rad."""

    body_positions: Tensor
    """(N, B, 3)"""
    body_rotations: Tensor
    """(N, B, 4)"""
    body_velocities: Tensor
    """(N, B, 3)"""
    body_angular_velocities: Tensor
    """(N, B, 3)"""
    contacts: Tensor
    """(N, B) bool, bodies that rest on the ground"""

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The same state with `function` applied to every field, to reshape or select."""
        return type(self)(*(function(getattr(self, field.name)) for field in fields(self)))


@dataclass(frozen=True, eq=False)
class MotionState(BodyState):
    """Bodies and joints of the reference at N moments: B bodies, D degrees of freedom."""

    local_rotations: Tensor
    """(N, B, 4)"""
    dof_positions: Tensor
    """(N, D)"""
    dof_velocities: Tensor
    """(N, D)"""
