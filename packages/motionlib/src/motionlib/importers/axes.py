"""World axes of other programs, taken to ours (x forward, y left, z up), told by the names and places of the joints."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from motionlib.motion import MotionError

__all__ = ["Axis", "WorldAxes", "choose_axes", "guess_axes"]

Axis = Literal["x", "-x", "y", "-y", "z", "-z"]
"""a direction of the other program's world"""

_AXES: dict[str, tuple[float, float, float]] = {
    "x": (1.0, 0.0, 0.0),
    "-x": (-1.0, 0.0, 0.0),
    "y": (0.0, 1.0, 0.0),
    "-y": (0.0, -1.0, 0.0),
    "z": (0.0, 0.0, 1.0),
    "-z": (0.0, 0.0, -1.0),
}
_CLEAR = 0.8
"""share of a direction's length along one axis, from which on it counts as that axis"""
_WORDS = (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT"))
_LETTER = re.compile(r"^[lL](?=[A-Za-z_.\- ])|(?<=[_.\- ])[lL](?=$|[_.\- ])")
"""an l for left: first in a name (lfemur, L_Hip), or alone between separators (thigh.L, Bip01 L Thigh)"""


@dataclass(frozen=True)
class WorldAxes:
    """Which of the other program's axes point up and forward. Changing them to ours is exact: numbers only move."""

    up: Axis = "y"
    forward: Axis = "z"

    def __post_init__(self) -> None:
        """Refuse unknown axes and two along one line."""
        for axis in (self.up, self.forward):
            if axis not in _AXES:
                raise MotionError(f"no axis {axis!r}; there are {list(_AXES)}")
        if self.up[-1] == self.forward[-1]:
            raise MotionError(f"the axes up ({self.up}) and forward ({self.forward}) must differ")

    def matrix(self) -> Tensor:
        """(3, 3) float64; times a vector of theirs it is the same vector in ours."""
        up, forward = (torch.tensor(_AXES[axis], dtype=torch.float64) for axis in (self.up, self.forward))
        return torch.stack([forward, torch.linalg.cross(up, forward), up])

    def vectors(self, vectors: Tensor) -> Tensor:
        """Vectors `(..., 3)` in our axes."""
        return vectors @ self.matrix().T.to(vectors)

    def quats(self, quats: Tensor) -> Tensor:
        """Rotations `(..., 4)` in our axes."""
        return torch.cat([self.vectors(quats[..., :3]), quats[..., 3:]], dim=-1)


def choose_axes(
    names: Sequence[str], parents: Sequence[int], offsets: Tensor, up: Axis | None, forward: Axis | None
) -> WorldAxes:
    """The axes that were asked for; what was not (None) is guessed from the rest pose.

    Args:
        names: of the B joints.
        parents: index of each joint's parent, which stands before it; -1 for the root.
        offsets: `(B, 3)` of each joint in its parent's frame.
        up: see `WorldAxes`.
        forward: likewise.
    """
    positions = [[0.0, 0.0, 0.0]]
    for parent, offset in zip(parents[1:], offsets[1:].tolist(), strict=True):
        positions.append([a + b for a, b in zip(positions[parent], offset, strict=True)])
    guess = guess_axes(names, torch.tensor(positions, dtype=torch.float64))
    if up is None or up == guess.up:
        return WorldAxes(guess.up, forward or guess.forward)
    return WorldAxes(up, forward or ("-y" if up[-1] == "z" else "z"))


def guess_axes(names: Sequence[str], positions: Tensor) -> WorldAxes:
    """The axes in which a rest pose stands, seen by its heads, feet, left and right.

    Where the names or the pose do not tell (bones that all lie along one axis at rest), y is up and z is forward, as in
    most motion capture; z up goes with -y forward, as Blender writes it.

    Args:
        names: of the B joints.
        positions: `(B, 3)` in the rest pose.
    """
    size = float((positions.amax(0) - positions.amin(0)).max())
    lowered = [name.lower() for name in names]
    heads = [i for i, name in enumerate(lowered) if "head" in name]
    feet = [i for i, name in enumerate(lowered) if "foot" in name or "ankle" in name or "toe" in name]
    up = _clear_axis(positions[heads].mean(0) - positions[feet].mean(0), 0.5 * size) if heads and feet else None
    if up is None:
        return WorldAxes()
    pairs = list(_left_right(names))
    if pairs:
        across = torch.stack([positions[left] - positions[right] for left, right in pairs]).mean(0)
        left_axis = _clear_axis(across, 0.02 * size)
        if left_axis is not None and left_axis[-1] != up[-1]:
            forward = torch.linalg.cross(torch.tensor(_AXES[left_axis]), torch.tensor(_AXES[up]))
            return WorldAxes(up, _clear_axis(forward, 0.0) or "x")
    return WorldAxes(up, "-y" if up[-1] == "z" else "z")


def _clear_axis(direction: Tensor, shortest: float) -> Axis | None:
    """The axis that a direction lies along; None if none is near or it is too short to tell."""
    length = float(direction.norm())
    index = int(direction.abs().argmax())
    if not length > shortest or abs(float(direction[index])) < _CLEAR * length:
        return None
    axes: tuple[tuple[Axis, Axis], ...] = (("x", "-x"), ("y", "-y"), ("z", "-z"))
    return axes[index][int(direction[index] < 0)]


def _left_right(names: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Indices of pairs of joints whose names differ in the side alone."""
    index = {name: i for i, name in enumerate(names)}
    for name, i in index.items():
        partners = [name.replace(left, right) for left, right in _WORDS]
        partners.append(_LETTER.sub(lambda match: "R" if match[0] == "L" else "r", name))
        yield from ((i, index[partner]) for partner in partners if partner != name and partner in index)
