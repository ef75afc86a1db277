"""The part of a terrain around a robot, for pictures: all of it would be too much to draw."""

from __future__ import annotations

import torch
from torch import Tensor

from proto_envs.terrain.height_field import Terrain

__all__ = ["TerrainWindow"]

_SIDE = 24.0
"""m"""


class TerrainWindow:
    """A square of the ground that goes along with a robot.

    Its middle moves by whole cells, and by metres at a time, so that neither ground nor checkers slide.
    """

    def __init__(self, terrain: Terrain) -> None:
        """Lie nowhere yet."""
        self._terrain = terrain
        self.cells = 2 * round(_SIDE / (2.0 * terrain.spacing))
        """along each side, an even number"""
        self.middle: Tensor | None = None
        """(2,) m"""

    def follow(self, place: Tensor) -> Tensor | None:
        """Vertices (cells + 1, cells + 1, 3) m, y first, where the window has moved to lie around `place` (2,)."""
        if self.middle is not None and (place - self.middle).abs().max() < _SIDE / 4:
            return None
        cell = self._terrain.spacing
        jump = cell * round(2.0 / cell)
        corner = -0.5 * torch.tensor(self._terrain.size)
        self.middle = middle = corner + jump * ((place - corner) / jump).round()
        line = cell * (torch.arange(self.cells + 1) - 0.5 * self.cells)
        y, x = torch.meshgrid(middle[1] + line, middle[0] + line, indexing="ij")
        return torch.stack([x, y, self._terrain.heights(torch.stack([x, y], dim=-1))], dim=-1)
