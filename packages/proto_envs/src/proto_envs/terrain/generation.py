"""Terrains from numbers: which kinds, how many tiles, how difficult."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from proto_envs.terrain.height_field import FLAT, Terrain
from proto_envs.terrain.kinds import KINDS

__all__ = ["PRESETS", "TerrainConfig", "TerrainLike", "generate", "make_terrain"]


def _complex() -> dict[str, float]:
    return {
        "smooth_slope": 0.2,
        "rough_slope": 0.1,
        "stairs_up": 0.1,
        "stairs_down": 0.1,
        "discrete": 0.05,
        "flat": 0.45,
    }


@dataclass(frozen=True, kw_only=True)
class TerrainConfig:
    """A map of square tiles: rows grow more difficult along x, each column along y is of one kind."""

    proportions: Mapping[str, float] = field(default_factory=_complex)
    """share of the columns by kind, one of `proto_envs.terrain.kinds.KINDS`; need not add up to 1"""
    levels: int = 10
    """rows; row i of n has difficulty i / n"""
    columns: int = 10
    """columns; every kind with a share gets one, as far as there are enough"""
    tile_size: float = 20.0
    """m, side of a tile"""
    border: float = 10.0
    """m of level ground around the tiles; beyond it the ground goes on level without end"""
    spacing: float = 0.1
    """m between vertices; finer ones cost time, see docs/terrain.md"""
    seed: int = 0
    """of noise, boxes, stones and poles"""
    walkable_slope: float = 0.9
    """steepest rise over run near a starting point"""
    walkable_radius: float = 0.3
    """m, what counts as near"""

    def __post_init__(self) -> None:
        """Refuse numbers that make no terrain.

        Raises:
            ValueError: naming the field.
        """
        for kind, share in self.proportions.items():
            if kind not in KINDS:
                near = difflib.get_close_matches(kind, KINDS, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise ValueError(f"terrain proportions: no kind {kind!r}: {hint}there are {list(KINDS)}")
            if not 0.0 <= share < math.inf:
                raise ValueError(f"terrain proportions: the share of {kind} must be at least 0, got {share}")
        if not sum(self.proportions.values()) > 0:
            raise ValueError("terrain proportions: at least one kind must have a share")
        for name, lowest in (("levels", 1), ("columns", 1), ("seed", 0)):
            if not getattr(self, name) >= lowest:
                raise ValueError(f"terrain {name} must be at least {lowest}, got {getattr(self, name)}")
        for name, least in (("tile_size", 6.0), ("border", 0.0), ("walkable_slope", 0.0), ("walkable_radius", 0.0)):
            if not least <= getattr(self, name) < math.inf:
                raise ValueError(f"terrain {name} must be at least {least} and finite, got {getattr(self, name)}")
        if not 0.02 <= self.spacing <= 0.5:
            raise ValueError(f"terrain spacing must be from 0.02 to 0.5 m, got {self.spacing}")


PRESETS = {
    "complex": TerrainConfig(),
    "harsh": TerrainConfig(
        proportions={"smooth_slope": 0.3, "rough_slope": 0.25, "stairs_up": 0.2, "stairs_down": 0.2, "discrete": 0.05}
    ),
}
"""by name: the mixture that ProtoMotions trains on, and the one without flat ground that Task Tokens is tested on"""

TerrainLike = str | Path | Mapping[str, Any] | TerrainConfig | Terrain
""""flat", a preset's name, a file of `Terrain.save`, fields of `TerrainConfig`, the dataclass, or a terrain"""


def generate(config: TerrainConfig) -> Terrain:
    """Build a terrain; the same configuration gives the same heights, bit for bit.

    Each tile draws from its own stream, so that it stays the same when rows or columns are added.
    """
    cells, border = round(config.tile_size / config.spacing), round(config.border / config.spacing)
    kinds = _kinds_of_columns(config.proportions, config.columns)
    size = (config.levels * cells + 2 * border + 1, config.columns * cells + 2 * border + 1)
    grid = np.zeros(size, dtype=np.float32)
    for row in range(config.levels):
        for column, kind in enumerate(kinds):
            random = np.random.default_rng([config.seed, row, column])
            x, y = border + row * cells, border + column * cells
            tile = KINDS[kind](cells, config.spacing, row / config.levels, random)
            grid[x : x + cells + 1, y : y + cells + 1] = tile
    return Terrain.from_grid(
        grid,
        config.spacing,
        tiles=(tuple(kinds),) * config.levels,
        tile_size=cells * config.spacing,
        walkable_slope=config.walkable_slope,
        walkable_radius=config.walkable_radius,
    )


def _kinds_of_columns(proportions: Mapping[str, float], columns: int) -> list[str]:
    """Kind of each column: largest remainders, kinds that would get none first."""
    kinds = [kind for kind in KINDS if proportions.get(kind, 0.0) > 0.0]
    total = sum(proportions[kind] for kind in kinds)
    quotas = {kind: columns * proportions[kind] / total for kind in kinds}
    # A hair more than the quota, so that 0.1 x 10 columns is one column however it is rounded.
    counts = {kind: math.floor(quota + 1e-9) for kind, quota in quotas.items()}
    left = sorted(kinds, key=lambda kind: (counts[kind] > 0, counts[kind] - quotas[kind]))
    for kind in left[: columns - sum(counts.values())]:
        counts[kind] += 1
    return [kind for kind in kinds for _ in range(counts[kind])]


def make_terrain(terrain: TerrainLike) -> Terrain:
    """The terrain that the keyword `terrain=` means.

    Raises:
        TypeError: for something that is none of `TerrainLike`, or an unknown field.
        ValueError: for an unknown name, a missing file, or numbers that make no terrain.
    """
    match terrain:
        case Terrain():
            return terrain
        case TerrainConfig():
            return generate(terrain)
        case Mapping():
            return generate(_configured(terrain))
        case "flat":
            return FLAT
        case str() if terrain in PRESETS:
            return generate(PRESETS[terrain])
        case str() | Path():
            return _from_file(terrain)
    raise TypeError(f"terrain={terrain!r}: want a name, a file, a mapping, a TerrainConfig or a Terrain")


def _configured(fields: Mapping[str, Any]) -> TerrainConfig:
    valid = {f.name: f.type for f in dataclasses.fields(TerrainConfig)}
    for key, value in fields.items():
        if key not in valid:
            near = difflib.get_close_matches(str(key), valid, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise TypeError(f"terrain has no field {key!r}: {hint}valid are {sorted(valid)}")
        numbers = list(value.values()) if isinstance(value, Mapping) else [value]
        kinds = (int,) if valid[key] == "int" else (int, float)
        wrong = isinstance(value, Mapping) != (key == "proportions")
        if wrong or any(isinstance(number, bool) or not isinstance(number, kinds) for number in numbers):
            raise TypeError(f"terrain: field {key!r} wants {valid[key]}, got {value!r}")
    return TerrainConfig(**fields)


def _from_file(path: str | Path) -> Terrain:
    if Path(path).is_file():
        return Terrain.load(path)
    names = ["flat", *PRESETS]
    near = difflib.get_close_matches(str(path), names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"terrain={str(path)!r}: {hint}there is no such file, and the names are {names}")
