"""What a person may set while robots move: numbers and choices that a control shows, and obeys."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

__all__ = ["Dial", "Menu", "Settings", "angle_dial", "wishes"]

Settings = Mapping[str, "float | str"]
"""name of a `Dial` or `Menu` to what was set; what is not in it is left to the task"""


@dataclass(frozen=True, kw_only=True)
class Dial:
    """A number to set."""

    name: str
    unit: str = ""
    low: float
    high: float
    step: float
    start: float
    """where it stands before it is touched; until then the task decides"""
    role: Literal["", "turn", "pace"] = ""
    """what keys change it: "turn" left and right, and it goes around; "pace" up and down"""

    def moved(self, value: float, steps: float) -> float:
        """`value` moved by some `step`s, within the range; an angle goes on at the other end."""
        moved = value + steps * self.step
        if self.role == "turn":
            span = self.high - self.low
            return self.low + (moved - self.low) % span
        return min(max(moved, self.low), self.high)


@dataclass(frozen=True, kw_only=True)
class Menu:
    """One of several words to choose."""

    name: str
    options: tuple[str, ...]
    start: str


def angle_dial(name: str, role: Literal["", "turn"] = "") -> Dial:
    """A direction, in degrees to the left of the world's x axis."""
    return Dial(name=name, unit="°", low=-180.0, high=180.0, step=5.0, start=0.0, role=role)


def wishes(dials: Sequence[Dial | Menu], settings: Settings, device: torch.device) -> Tensor:
    """(K,) the numbers that were set, of the K dials among `dials` in their order; NaN: not set."""
    numbers = [settings.get(dial.name, math.nan) for dial in dials if isinstance(dial, Dial)]
    return torch.tensor([float(number) for number in numbers], device=device)
