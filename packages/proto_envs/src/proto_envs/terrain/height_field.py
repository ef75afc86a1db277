"""A terrain: heights on a grid, what lies between the grid's vertices, and where robots may start."""

from __future__ import annotations

import math
import os
import zipfile
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

__all__ = ["FLAT", "Terrain"]

_SPAWN_STRIDE = 5
"""vertices between neighbouring starting points"""
_MAX_VERTICES = 100_000_000


@dataclass(frozen=True, eq=False)
class Terrain:
    """A height field around the world's origin; beyond its edge the ground goes on at height 0.

    Cells are squares cut into two triangles along the diagonal from the corner with the least x and y to that with the
    greatest, as MuJoCo does; the ground is those triangles.
    """

    grid: Tensor
    """(X, Y) m, heights of the vertices, x first; 0 along the edge"""
    spacing: float
    """m between vertices"""
    spawn_points: Tensor
    """(S, 2) m, where robots may start, group by group"""
    spawn_starts: Tensor
    """(G + 1,) long, where each group begins among them; a group is what is drawn first, such as a tile"""
    tiles: tuple[tuple[str, ...], ...] = ()
    """kinds of its tiles, row by row (along x, by difficulty), column by column (along y); may be empty"""
    tile_size: float = 0.0
    """m, side of a tile; the tiles are centred on the origin"""

    @classmethod
    def from_grid(
        cls,
        grid: Tensor | np.ndarray,
        spacing: float,
        *,
        tiles: tuple[tuple[str, ...], ...] = (),
        tile_size: float = 0.0,
        walkable_slope: float = 0.9,
        walkable_radius: float = 0.3,
    ) -> Self:
        """A terrain from heights alone.

        Args:
            grid: (X, Y) m. If its edge is not 0 everywhere, a ring of vertices at height 0 is laid around it.
            spacing: m between vertices.
            tiles: kinds of its tiles; robots start on each as often as on any other.
            tile_size: m, side of a tile.
            walkable_slope: steepest rise over run within reach of a starting point.
            walkable_radius: m, that reach, along x and y.

        Raises:
            ValueError: for heights that are no grid of finite numbers, a spacing that is not positive, or if there is
                no place to start.
        """
        heights = torch.as_tensor(np.asarray(grid, dtype=np.float32))
        if heights.dim() != 2 or min(heights.shape) < 2 or heights.numel() > _MAX_VERTICES:
            raise ValueError(
                f"terrain: want at least 2 x 2 heights, at most {_MAX_VERTICES}, got {tuple(heights.shape)}"
            )
        if not torch.isfinite(heights).all():
            raise ValueError("terrain: some heights are NaN or infinite")
        if not 0.0 < spacing < math.inf:
            raise ValueError(f"terrain: spacing must be positive and finite, got {spacing}")
        if heights[[0, -1]].any() or heights[:, [0, -1]].any():
            heights = torch.nn.functional.pad(heights, (1, 1, 1, 1))
        walkable = _walkable(heights, spacing, walkable_slope, walkable_radius)
        points, starts = _spawns(
            walkable, heights.shape, spacing, (len(tiles), len(tiles[0])) if tiles else (0, 0), tile_size
        )
        if not len(points):
            raise ValueError(
                f"terrain: no place to start, everything is steeper than {walkable_slope} within {walkable_radius} m"
            )
        return cls(heights, float(spacing), points, starts, tiles, float(tile_size))

    @cached_property
    def is_flat(self) -> bool:
        """All heights are 0: engines take a plane, and nothing has to be moved onto the ground."""
        return not bool(self.grid.any())

    @property
    def size(self) -> tuple[float, float]:
        """Length along x and y, m."""
        return (self.grid.shape[0] - 1) * self.spacing, (self.grid.shape[1] - 1) * self.spacing

    def to(self, device: torch.device | str) -> Terrain:
        """The same terrain on another device."""
        if self.grid.device == torch.device(device):
            return self
        moved = (x.to(device) for x in (self.grid, self.spawn_points, self.spawn_starts))
        grid, points, starts = moved
        return replace(self, grid=grid, spawn_points=points, spawn_starts=starts)

    def heights(self, points: Tensor) -> Tensor:
        """Height of the ground in m, (...), below or above `points` (..., 2 or more) with x and y in m first.

        Exact on the triangles, up to the rounding of x and y: 1e-5 m times the slope, 100 m from the origin. A point
        that is not a number is at height 0.
        """
        if self.is_flat:
            return points.new_zeros(points.shape[:-1])
        columns = self.grid.shape[1]
        cell_x, x = self._cell(points[..., 0].flatten(), self.grid.shape[0])
        cell_y, y = self._cell(points[..., 1].flatten(), columns)
        corner = cell_x * columns + cell_y
        # Of the other two corners of the cell, that of the triangle in which the point lies.
        side = torch.where(x > y, columns, 1).to(corner.dtype)
        vertices = self.grid.view(-1)
        near, middle, far = (vertices.index_select(0, at) for at in (corner, corner + side, corner + (columns + 1)))
        height = near + torch.maximum(x, y) * (middle - near) + torch.minimum(x, y) * (far - middle)
        return height.view(points.shape[:-1])

    def _cell(self, coordinate: Tensor, vertices: int) -> tuple[Tensor, Tensor]:
        """Number of the cell, and where in it from 0 to 1, along one axis."""
        place = (coordinate / self.spacing).add_(0.5 * (vertices - 1)).nan_to_num_(0.0).clamp_(0.0, vertices - 1.0)
        cell = place.int().clamp_(max=vertices - 2)
        return cell, place.sub_(cell)

    def draw_spawns(self, count: int, generator: torch.Generator) -> Tensor:
        """Starting points (count, 2) m: first a group, then a point in it, both uniformly."""
        device = self.spawn_points.device
        chance = torch.rand(2, count, generator=generator, device=device)
        groups = len(self.spawn_starts) - 1
        group = (chance[0] * groups).long().clamp_max(groups - 1)
        first = self.spawn_starts[group]
        size = self.spawn_starts[group + 1] - first
        within = torch.minimum((chance[1] * size).long(), size - 1)
        return self.spawn_points[first + within]

    # --- files -------------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write an .npz without pickles; the file appears under its name when it is complete."""
        path = Path(path)
        partial = path.with_name(f".partial-{path.name}")
        with partial.open("wb") as file:
            np.savez_compressed(
                file,
                grid=self.grid.cpu().numpy(),
                spacing=np.float64(self.spacing),
                spawn_points=self.spawn_points.cpu().numpy(),
                spawn_starts=self.spawn_starts.cpu().numpy(),
                tiles=np.array(self.tiles, dtype=np.str_),
                tile_size=np.float64(self.tile_size),
            )
        os.replace(partial, path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote, or any .npz with the heights "grid" (X, Y) and the "spacing", both in m.

        Raises:
            ValueError: naming the file and what is wrong with it.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                parts = dict(file)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, TypeError) as error:
            raise ValueError(f"terrain {path}: cannot be read as an .npz of numbers ({error})") from error
        if missing := {"grid", "spacing"} - set(parts):
            raise ValueError(f"terrain {path}: lacks {sorted(missing)}; it has {sorted(parts)}")
        try:
            made = cls.from_grid(parts["grid"], float(parts["spacing"]))
            if not {"spawn_points", "spawn_starts", "tiles", "tile_size"} <= set(parts):
                return made
            return replace(
                made,
                spawn_points=_checked_spawns(parts["spawn_points"], parts["spawn_starts"]),
                spawn_starts=torch.from_numpy(parts["spawn_starts"]),
                tiles=tuple(tuple(map(str, row)) for row in parts["tiles"]),
                tile_size=float(parts["tile_size"]),
            )
        except (TypeError, ValueError) as error:
            raise ValueError(f"terrain {path}: {error}") from error


def _walkable(grid: Tensor, spacing: float, slope: float, radius: float) -> Tensor:
    """At every fifth vertex along x and y: no edge within `radius` of it is steeper than `slope`."""
    steep = torch.zeros_like(grid)
    along_x = (grid.diff(dim=0).abs() > slope * spacing).float()
    along_y = (grid.diff(dim=1).abs() > slope * spacing).float()
    for edges, first, second in ((along_x, steep[:-1], steep[1:]), (along_y, steep[:, :-1], steep[:, 1:])):
        torch.maximum(first, edges, out=first)
        torch.maximum(second, edges, out=second)
    reach = max(1, round(radius / spacing))
    return max_pool2d(steep[None], 2 * reach + 1, stride=_SPAWN_STRIDE, padding=reach)[0] == 0


def _spawns(
    walkable: Tensor, shape: tuple[int, ...], spacing: float, layout: tuple[int, int], tile_size: float
) -> tuple[Tensor, Tensor]:
    """Starting points (S, 2), tile by tile, and where each tile's begin (G + 1,). Tiles without any are left out."""
    points = (_SPAWN_STRIDE * walkable.nonzero() - 0.5 * (torch.tensor(shape) - 1)) * spacing
    if not all(layout):
        return points, torch.tensor([0, len(points)])
    rows, columns = layout
    place = torch.floor(points / tile_size + 0.5 * torch.tensor(layout)).long()
    inside = ((place >= 0) & (place < torch.tensor(layout))).all(-1)
    points, place = points[inside], place[inside]
    tile = place[:, 0] * columns + place[:, 1]
    order = torch.argsort(tile, stable=True)
    counts = torch.bincount(tile, minlength=rows * columns)
    counts = counts[counts > 0]
    return points[order], torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)])


def _checked_spawns(points: np.ndarray, starts: np.ndarray) -> Tensor:
    groups = starts.ndim == 1 and starts.dtype == np.int64 and len(starts) > 1 and bool((np.diff(starts) > 0).all())
    if not groups or points.ndim != 2 or points.shape != (starts[-1], 2) or starts[0] != 0:
        raise ValueError(
            "spawn_points must be (S, 2) and spawn_starts (G + 1,) int64 growing from 0 to S, got"
            f" {points.shape} and {starts.shape} {starts.dtype}"
        )
    return torch.from_numpy(np.asarray(points, dtype=np.float32))


FLAT = Terrain(torch.zeros(2, 2), 1.0, torch.zeros(1, 2), torch.tensor([0, 1]))
"""level ground at height 0; robots start at the origin"""
