"""What a scene is: objects made of solids, where they stand, how they move, and the clips that belong to them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from poselib.rotations import quat_continuous, quat_normalize
from proto_envs.scenes.errors import SceneError, nearest
from proto_envs.scenes.shapes import Mesh, Pose, Shape, number, numbers

__all__ = ["CATEGORIES", "Mobility", "Scene", "SceneObject", "Trajectory"]

CATEGORIES = ("armchair", "straight_chair", "high_stool", "low_stool", "sofa", "table", "large_sofa")
"""kinds of furniture of the SAMP data set, in the order of the policy's seven numbers"""

Mobility = Literal["static", "kinematic", "dynamic"]
"""fixed where it stands; moved along a trajectory whatever it meets; or a loose body"""


@dataclass(frozen=True, eq=False)
class Trajectory:
    """The motion of an object: T poses at a fixed rate, in its scene's frame."""

    fps: float
    """poses per second"""
    positions: Tensor
    """(T, 3) m"""
    rotations: Tensor
    """(T, 4) xyzw, made unit and continuous"""

    def __post_init__(self) -> None:
        """Check shapes and numbers.

        Raises:
            SceneError: naming the field.
        """
        number("trajectory fps", self.fps, above=0.0)
        for name, size in (("positions", 3), ("rotations", 4)):
            try:
                array = torch.as_tensor(np.asarray(getattr(self, name), dtype=np.float32))
            except (TypeError, ValueError) as error:
                raise SceneError(f"trajectory {name}: want T rows of {size} numbers ({error})") from error
            if array.dim() != 2 or array.shape[1] != size or not len(array) or not torch.isfinite(array).all():
                raise SceneError(f"trajectory {name}: want (T, {size}) finite numbers, got shape {tuple(array.shape)}")
            object.__setattr__(self, name, array)
        if len(self.positions) != len(self.rotations):
            raise SceneError(f"trajectory: {len(self.positions)} positions but {len(self.rotations)} rotations")
        if ((self.rotations.norm(dim=-1) - 1.0).abs() > 0.05).any():
            raise SceneError("trajectory rotations: want unit quaternions xyzw")
        object.__setattr__(self, "rotations", quat_continuous(quat_normalize(self.rotations)))


@dataclass(frozen=True, kw_only=True, eq=False)
class SceneObject(Pose):
    """A rigid body made of one or several solids. Its position is in its scene's frame, z over the ground."""

    name: str
    parts: tuple[Shape, ...]
    """its solids, in its own frame; they may overlap"""
    mobility: Mobility = "static"
    density: float = 100.0
    """kg/m3; real furniture weighs some 50 to 700 for its solid parts"""
    mass: float | None = None
    """kg, instead of the density; shared among the parts by volume"""
    friction: float | None = None
    """sliding friction with whatever it touches; None: as on the ground"""
    category: str | None = None
    """one of `CATEGORIES`, or none of them"""
    seat: tuple[float, float, float] | None = None
    """m in its frame, middle of the surface to sit on; who sits faces along its x"""
    stands_on: str | None = None
    """object that it stands on: both rise by the same height where the ground is uneven; None: the ground"""
    trajectory: Trajectory | None = None
    """how it moves: a kinematic object follows it, a dynamic one starts on it (and is compared with it)"""
    color: tuple[float, float, float] = (0.55, 0.60, 0.70)
    """red, green, blue in [0, 1]"""

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            SceneError: naming the object and the field.
        """
        try:
            self._check()
        except SceneError as error:
            raise SceneError(f"object {self.name!r}: {error}") from None

    def _check(self) -> None:
        super().__post_init__()
        if not isinstance(self.name, str) or not self.name:
            raise SceneError(f"name: want a word, got {self.name!r}")
        if not isinstance(self.parts, tuple) or not self.parts or not all(isinstance(p, Shape) for p in self.parts):
            raise SceneError(f"parts: want a tuple of Box, Sphere, Cylinder or Mesh, got {self.parts!r}")
        if self.mobility not in get_args(Mobility):
            hint = nearest(self.mobility, get_args(Mobility))
            raise SceneError(f"mobility is {self.mobility!r}: {hint}there are {list(get_args(Mobility))}")
        if self.category is not None and self.category not in CATEGORIES:
            raise SceneError(
                f"category is {self.category!r}: {nearest(self.category, CATEGORIES)}there are {CATEGORIES}"
            )
        number("density", self.density, above=0.0)
        if self.mass is not None:
            number("mass", self.mass, above=0.0)
        if self.friction is not None and number("friction", self.friction) < 0.0:
            raise SceneError(f"friction: want a number of at least 0, got {self.friction}")
        object.__setattr__(self, "color", numbers("color", self.color, 3))
        if self.seat is not None:
            object.__setattr__(self, "seat", numbers("seat", self.seat, 3))
        if self.trajectory is not None and self.mobility == "static":
            raise SceneError("a static object has no trajectory: make it kinematic or dynamic")
        if self.trajectory is None and self.mobility == "kinematic":
            raise SceneError("a kinematic object needs a trajectory; one that stands still is static")

    @property
    def part_masses(self) -> tuple[float, ...]:
        """Masses of the parts, kg."""
        volumes = [part.volume for part in self.parts]
        density = self.density if self.mass is None else self.mass / math.fsum(volumes)
        return tuple(density * volume for volume in volumes)

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner (3,) in m of the box along its axes that just holds it, in its frame."""
        lows, highs = zip(*(part.bounds() for part in self.parts), strict=True)
        return np.min(lows, axis=0), np.max(highs, axis=0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """Objects that stand together."""

    name: str
    objects: tuple[SceneObject, ...]
    target: str | None = None
    """the object that a task is about; None: the first"""
    weight: float = 1.0
    """how often it is given to an environment, relative to the others"""
    motions: tuple[str, ...] = ()
    """clips that belong to it, by name: its environments play them alone; empty: all clips do"""

    def __post_init__(self) -> None:
        """Check that everything fits together.

        Raises:
            SceneError: naming the scene and what is wrong.
        """
        where, names = f"scene {self.name!r}", [thing.name for thing in self.objects]
        if not names:
            raise SceneError(f"{where}: want at least one object")
        if len(set(names)) != len(names):
            raise SceneError(f"{where}: every object needs a name of its own, got {names}")
        supports = ((f"object {thing.name!r}: stands_on", thing.stands_on) for thing in self.objects)
        for what, name in (("target", self.target), *supports):
            if name is not None and name not in names:
                raise SceneError(f"{where}: {what} is {name!r}: {nearest(name, names)}objects are {names}")
        for thing in self.objects:
            if self.support(thing) is None:
                raise SceneError(f"{where}: object {thing.name!r} stands on itself")
        try:
            if number("weight", self.weight) < 0.0:
                raise SceneError(f"weight: want a number of at least 0, got {self.weight}")
        except SceneError as error:
            raise SceneError(f"{where}: {error}") from None

    def support(self, thing: SceneObject) -> SceneObject | None:
        """The object at the bottom of those that `thing` stands on, maybe itself; None if there is no bottom."""
        by_name, seen = {each.name: each for each in self.objects}, set()
        while thing.stands_on is not None:
            if thing.name in seen:
                return None
            seen.add(thing.name)
            thing = by_name[thing.stands_on]
        return thing

    @property
    def target_object(self) -> SceneObject:
        """The object that a task is about."""
        return next(thing for thing in self.objects if self.target in (None, thing.name))

    @property
    def meshes(self) -> tuple[Mesh, ...]:
        """All of its parts that are meshes."""
        return tuple(part for thing in self.objects for part in thing.parts if isinstance(part, Mesh))
