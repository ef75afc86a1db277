"""Numbers that are drawn: one for each environment."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

__all__ = ["Range", "Vector"]

_CUT = 2.0
"""standard deviations at which a normal distribution ends"""


@dataclass(frozen=True)
class Range:
    """A number between two bounds; in YAML also `3` (always 3) or `[1, 3]` (uniform)."""

    low: float
    high: float
    distribution: Literal["uniform", "log_uniform", "normal"] = "uniform"
    """uniform; uniform in the logarithm; or normal about the middle, both bounds two standard deviations away, beyond
    which nothing is drawn"""
    when: Literal["reset", "start"] = "reset"
    """draw anew for each episode, or once, when the environment is made or reset with a seed"""

    def __post_init__(self) -> None:
        """Refuse bounds between which nothing can be drawn.

        Raises:
            ValueError: saying which.
        """
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise ValueError(f"wants finite bounds, the lower one first, got {self.low} and {self.high}")
        for name, valid in (("distribution", ("uniform", "log_uniform", "normal")), ("when", ("reset", "start"))):
            if getattr(self, name) not in valid:
                raise ValueError(f"{name} is {getattr(self, name)!r}; there are {list(valid)}")
        if self.distribution == "log_uniform" and not self.low > 0.0:
            raise ValueError(f"wants bounds above 0 to be log_uniform, got {self.low} and {self.high}")

    @property
    def varies(self) -> bool:
        """Whether it is drawn anew for each episode."""
        return self.when == "reset" and self.low < self.high

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """(count,) numbers, on the generator's device."""
        if self.low == self.high:
            return torch.full((count,), self.low, device=generator.device)
        uniform = torch.rand(count, generator=generator, device=generator.device)
        match self.distribution:
            case "uniform":
                drawn = self.low + (self.high - self.low) * uniform
            case "log_uniform":
                drawn = self.low * torch.exp(uniform * math.log(self.high / self.low))
            case "normal":
                within = math.erf(_CUT / math.sqrt(2.0))  # share of a normal distribution inside the cut
                deviations = math.sqrt(2.0) * torch.erfinv(within * (2.0 * uniform - 1.0))
                drawn = 0.5 * (self.low + self.high) + 0.5 * (self.high - self.low) / _CUT * deviations
        return drawn.clamp(self.low, self.high)  # rounding must not lead out of the range

    def draw_steps(self, count: int, generator: torch.Generator) -> Tensor:
        """(count,) long, whole numbers from the lower to the upper bound, all alike probable."""
        uniform = torch.rand(count, generator=generator, device=generator.device)
        drawn = self.low + torch.floor((self.high - self.low + 1.0) * uniform)
        return drawn.clamp_max(self.high).long()


_ZERO = Range(0.0, 0.0)


@dataclass(frozen=True)
class Vector:
    """Three numbers, each drawn by itself."""

    x: Range = _ZERO
    y: Range = _ZERO
    z: Range = _ZERO

    @property
    def axes(self) -> tuple[Range, Range, Range]:
        """x, y and z."""
        return self.x, self.y, self.z

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, 3)."""
        return torch.stack([axis.draw(count, generator) for axis in self.axes], dim=-1)
