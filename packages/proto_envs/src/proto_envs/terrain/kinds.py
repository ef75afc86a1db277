"""The eight kinds of terrain tile: (cells, spacing, difficulty, generator) to heights in m at (cells + 1)² vertices.

Every tile is 0 along its rim, so that tiles of any kinds join, and ends in a platform in its middle. The shapes and
numbers are those of ProtoMotions, which took them from legged_gym. Walls are ramps one cell wide: a height field has
no vertical faces.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["KINDS", "Kind"]

Kind = Callable[[int, float, float, np.random.Generator], np.ndarray]
"""(cells along each side, m per cell, difficulty in [0, 1), source of chance) to (cells + 1, cells + 1) heights"""

_PLATFORM = 3.0
"""m, side of the level square in the middle"""


def smooth_slope(cells: int, spacing: float, difficulty: float, random: np.random.Generator) -> np.ndarray:
    """A pyramid with slope 0.4 d."""
    inset = _inset(cells) * spacing
    return 0.4 * difficulty * np.minimum(inset, 0.5 * (cells * spacing - _PLATFORM))


def rough_slope(cells: int, spacing: float, difficulty: float, random: np.random.Generator) -> np.ndarray:
    """The same pyramid with noise: -0.1 to 0.1 m in steps of 0.025 m, every 0.2 m, linear in between."""
    every = _in_cells(0.2, spacing)
    coarse = 0.025 * random.integers(-4, 5, size=(cells // every + 2, cells // every + 2))
    at, known = np.arange(cells + 1), every * np.arange(len(coarse))
    along_x = np.stack([np.interp(at, known, column) for column in coarse.T], axis=1)
    noise = np.stack([np.interp(at, known, row) for row in along_x], axis=0)
    return smooth_slope(cells, spacing, difficulty, random) + np.where(_inset(cells) > 0, noise, 0.0)


def stairs_up(cells: int, spacing: float, difficulty: float, random: np.random.Generator) -> np.ndarray:
    """Steps 0.31 m wide and 0.05 + 0.175 d m high, up to the platform; whole cells wide, so 0.3 m at 0.1 m per cell."""
    width = _in_cells(0.31, spacing)
    steps = (cells - _in_cells(_PLATFORM, spacing)) // (2 * width)
    return (0.05 + 0.175 * difficulty) * np.minimum(_inset(cells) // width, steps)


def stairs_down(cells: int, spacing: float, difficulty: float, random: np.random.Generator) -> np.ndarray:
    """The same stairs into a pit."""
    return -stairs_up(cells, spacing, difficulty, random)


def discrete(cells: int, spacing: float, difficulty: float, random: np.random.Generator) -> np.ndarray:
    """40 rectangles with sides of 1 to 2 m, raised or sunk by h or h / 2, where h = 0.025 + 0.15 d m."""
    heights, height = np.zeros((cells + 1, cells + 1)), 0.025 + 0.15 * difficulty
    shortest, longest = _in_cells(1.0, spacing), _in_cells(2.0, spacing)
    for level in random.choice([-1.0, -0.5, 0.5, 1.0], size=40):
        length, width = random.integers(shortest, longest + 1, size=2)
        x, y = random.integers(1, cells - length), random.integers(1, cells - width)
        heights[x : x + length + 1, y : y + width + 1] = level * height
    return _with_platform(heights, spacing)


def stepping_stones(cells: int, spacing: float, difficulty: float, random: np.random.Generator) -> np.ndarray:
    """Stones with sides of 2 - 1.8 d m between cracks 1 m deep, each row of stones shifted against the next.

    The floor of a crack is 0.1 m wide, less one cell, and its walls take a cell on either side.
    """
    stone, crack = _in_cells(2.0 - 1.8 * difficulty, spacing), _in_cells(0.1, spacing)
    period = stone + 1 + crack
    at = np.arange(cells + 1)
    heights = np.zeros((cells + 1, cells + 1))
    for start in range(0, cells + 1, period):
        shift = int(random.integers(period))
        heights[start : start + stone + 1, (at + shift) % period > stone] = -1.0
        heights[start + stone + 1 : start + period] = -1.0
    heights[_inset(cells) == 0] = 0.0
    return _with_platform(heights, spacing)


def poles(cells: int, spacing: float, difficulty: float, random: np.random.Generator) -> np.ndarray:
    """Poles 2 m tall, one cell wide at the top, each somewhere in its own square with a side of 4 - 2.5 d m."""
    side = _in_cells(4.0 - 2.5 * difficulty, spacing)
    heights = np.zeros((cells + 1, cells + 1))
    for x in range(1, cells - side, side):
        for y in range(1, cells - side, side):
            dx, dy = random.integers(0, side - 1, size=2)
            heights[x + dx : x + dx + 2, y + dy : y + dy + 2] = 2.0
    return _with_platform(heights, spacing)


def flat(cells: int, spacing: float, difficulty: float, random: np.random.Generator) -> np.ndarray:
    """Height 0."""
    return np.zeros((cells + 1, cells + 1))


KINDS: dict[str, Kind] = {
    function.__name__: function
    for function in (smooth_slope, rough_slope, stairs_up, stairs_down, discrete, stepping_stones, poles, flat)
}
"""by name"""


def _inset(cells: int) -> np.ndarray:
    """Cells between each vertex and the nearest rim."""
    line = np.minimum(np.arange(cells + 1), cells - np.arange(cells + 1))
    return np.minimum(line[:, None], line[None, :])


def _in_cells(length: float, spacing: float) -> int:
    return max(1, round(length / spacing))


def _with_platform(heights: np.ndarray, spacing: float) -> np.ndarray:
    cells = len(heights) - 1
    heights[_inset(cells) * spacing >= 0.5 * (cells * spacing - _PLATFORM)] = 0.0
    return heights
