"""Several clips on one clock and one floor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from motionlib.motion import Motion, MotionError
from motionlib.processing.resampling import poses_at, repeated
from motionlib.processing.retargeting import character_of
from motionlib.viewing.shapes import Shape, shapes_of
from poselib.anatomy import Anatomy, AnatomyError, anatomy_of
from poselib.kinematics import forward_kinematics
from poselib.rotations import quat_apply, quat_multiply
from poselib.skeleton import Skeleton

__all__ = ["Actor", "Replay"]

_WORST = 0.3
"""m, the error that is painted fully red"""
_SHORTEST = 1e-6


@dataclass(frozen=True, eq=False)
class Actor:
    """One clip on the common clock: F frames of B bodies, G solids."""

    name: str
    shapes: tuple[Shape, ...]
    positions: np.ndarray
    """(F, G, 3) m, centres of the solids in the world"""
    rotations: np.ndarray
    """(F, G, 4) xyzw"""
    roots: np.ndarray
    """(F, 3) m"""
    errors: np.ndarray | None
    """(F, G) m, distance of each solid's body part from the first clip's; None where there is nothing to compare"""

    def colors(self, frame: int, plain: tuple[float, float, float]) -> np.ndarray:
        """(G, 3) in [0, 1]: from green (no error) to red (30 cm), or `plain` without errors."""
        if self.errors is None:
            return np.tile(np.array(plain), (len(self.shapes), 1))
        share = np.clip(self.errors[frame] / _WORST, 0.0, 1.0)[:, None]
        return (1.0 - share) * np.array([0.35, 0.75, 0.35]) + share * np.array([0.90, 0.20, 0.15])


class Replay:
    """Clips beside each other, each from its first frame on; loops go on until the longest clip ends."""

    def __init__(
        self,
        motions: Sequence[Motion],
        *,
        seconds: float | None = None,
        fps: float | None = None,
        spacing: float = 1.5,
        compare: bool = False,
    ) -> None:
        """Work out all poses.

        Args:
            motions: at least one; each on a character of its own.
            seconds: how long to play; the longest clip if left out.
            fps: frames per second; the highest of the clips' rates if left out, but at most 60.
            spacing: m from one clip to the next, along y.
            compare: paint all but the first clip by the distance of their body parts from the first clip's, with the
                pelvis of both moved onto each other.

        Raises:
            MotionError: for no clips, a length or rate that is not positive, or clips that cannot be compared.
        """
        if not motions:
            raise MotionError("nothing to play: want at least one clip")
        longest = max(motion.duration for motion in motions)
        self.fps = min(max(motion.fps for motion in motions), 60.0) if fps is None else fps
        self.seconds = longest if seconds is None else seconds
        if not (self.fps > 0 and self.seconds > 0):
            raise MotionError(f"want a positive length and rate, found {self.seconds} s at {self.fps} fps")
        self.times = torch.arange(max(round(self.seconds * self.fps), 1)) / self.fps
        first: _Compared | None = None
        actors = []
        names = _names(motions)
        for index, motion in enumerate(motions):
            skeleton, shapes = shapes_of(motion)
            positions, rotations = _world(motion.for_skeleton(skeleton), skeleton, self.times)
            errors = None
            if compare:
                mine = _Compared.of(motion, skeleton, positions, rotations)
                errors = None if first is None else mine.distances(first)
                first = first or mine
            start = positions[:1, :1] * torch.tensor([1.0, 1.0, 0.0])
            aside = torch.tensor([0.0, (0.5 * (len(motions) - 1) - index) * spacing, 0.0])
            actors.append(_actor(names[index], shapes, positions - start + aside, rotations, errors))
        self.actors = tuple(actors)

    @property
    def num_frames(self) -> int:
        """F."""
        return len(self.times)


def _names(motions: Sequence[Motion]) -> list[str]:
    """Names to tell the clips apart by: with their character, or a number, where a name stands twice."""
    names = [motion.name for motion in motions]
    if len(set(names)) < len(names):
        names = [f"{motion.name} ({character_of(motion) or 'bones'})" for motion in motions]
    if len(set(names)) < len(names):
        names = [f"{index + 1}: {name}" for index, name in enumerate(names)]
    return names


def _world(motion: Motion, skeleton: Skeleton, times: Tensor) -> tuple[Tensor, Tensor]:
    """World poses (F, B, 3) and (F, B, 4) at `times`; a wrapped clip goes on."""
    if motion.loop == "wrap":
        motion = repeated(motion, max(math.ceil(float(times[-1]) / max(motion.duration, _SHORTEST)), 1))
    return forward_kinematics(skeleton, *poses_at(motion, times))


def _actor(name: str, shapes: tuple[Shape, ...], positions: Tensor, rotations: Tensor, errors: Tensor | None) -> Actor:
    bodies = torch.tensor([shape.body for shape in shapes])
    inside = torch.tensor(np.stack([shape.position for shape in shapes])).float()
    turned = torch.tensor(np.stack([shape.rotation for shape in shapes])).float()
    at, body_rotations = positions[:, bodies], rotations[:, bodies]
    return Actor(
        name=name,
        shapes=shapes,
        positions=(at + quat_apply(body_rotations, inside.expand_as(at))).numpy(),
        rotations=quat_multiply(body_rotations, turned.expand_as(body_rotations)).numpy(),
        roots=positions[:, 0].numpy(),
        errors=None if errors is None else errors[:, bodies].numpy(),
    )


@dataclass(frozen=True, eq=False)
class _Compared:
    """A clip's body parts, with the pelvis at the origin."""

    name: str
    anatomy: Anatomy
    parts: dict[str, Tensor]

    @classmethod
    def of(cls, motion: Motion, skeleton: Skeleton, positions: Tensor, rotations: Tensor) -> _Compared:
        try:
            anatomy = anatomy_of(skeleton, poses=motion.for_skeleton(skeleton).local_rotations)
        except AnatomyError as error:
            raise MotionError(f"clip {motion.name!r} cannot be compared: {error}") from error
        joints, _ = anatomy.poses(positions, rotations)
        return cls(motion.name, anatomy, {name: joint - joints["pelvis"] for name, joint in joints.items()})

    def distances(self, other: _Compared) -> Tensor:
        """(F, B) m; a body without a part of its own shares that of the nearest body above it."""
        names = {self.anatomy.parts[name].body: name for name in self.parts if name in other.parts}
        columns: list[Tensor] = []
        for body, parent in enumerate(self.anatomy.skeleton.parents):
            if body in names:
                name = names[body]
                columns.append((self.parts[name] - other.parts[name]).norm(dim=-1))
            else:
                columns.append(columns[parent] if parent >= 0 else torch.zeros(len(self.parts["pelvis"])))
        return torch.stack(columns, dim=-1)
