"""The solids that objects are made of. Sizes in m; each stands somewhere in its object's frame."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from poselib.rotations import matrix_from_quat
from proto_envs.scenes.errors import SceneError
from proto_envs.scenes.meshes import convex_pieces, load_mesh, require_trimesh

__all__ = ["Box", "Cylinder", "Mesh", "Pose", "Shape", "Sphere"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Pose:
    """Where something is in the frame of what it belongs to."""

    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """m"""
    rotation: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 1.0)
    """quaternion xyzw, made unit"""

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            SceneError: naming the field.
        """
        position, rotation = numbers("position", self.position, 3), numbers("rotation", self.rotation, 4)
        length = math.sqrt(sum(x * x for x in rotation))
        if abs(length - 1.0) > 0.05:
            raise SceneError(f"rotation: want a unit quaternion xyzw, got {list(rotation)} of length {length:.3g}")
        object.__setattr__(self, "position", position)
        object.__setattr__(self, "rotation", tuple(x / length for x in rotation))

    @property
    def matrix(self) -> np.ndarray:
        """(3, 3), columns are the axes."""
        return matrix_from_quat(torch.tensor(self.rotation, dtype=torch.float64)).numpy()

    def outward(self, points: np.ndarray) -> np.ndarray:
        """Points (K, 3) of this frame in that of the whole."""
        return points @ self.matrix.T + np.array(self.position)

    def inward(self, points: np.ndarray) -> np.ndarray:
        """Points (K, 3) of the whole in this frame."""
        return (points - np.array(self.position)) @ self.matrix


@dataclass(frozen=True, kw_only=True)
class Shape(Pose, ABC):
    """A solid at a place in its object."""

    @property
    @abstractmethod
    def volume(self) -> float:
        """m3."""

    @abstractmethod
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner (3,) in m of the box along the object's axes that just holds it."""

    @abstractmethod
    def contains(self, points: np.ndarray) -> np.ndarray:
        """(K,) bool, which points (K, 3) of the object's frame lie inside."""

    @abstractmethod
    def _solid(self) -> Any:  # noqa: ANN401 - trimesh has no types
        """The solid as a mesh of trimesh in its own frame."""

    def surface(self) -> Any:  # noqa: ANN401 - trimesh has no types
        """The solid as a mesh of trimesh in the object's frame.

        Raises:
            ImportError: with the command that installs trimesh.
        """
        require_trimesh()
        solid = self._solid().copy()
        transform = np.eye(4)
        transform[:3, :3], transform[:3, 3] = self.matrix, self.position
        solid.apply_transform(transform)
        return solid

    def _around(self, half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        middle = np.array(self.position)
        return middle - half, middle + half


@dataclass(frozen=True, kw_only=True)
class Box(Shape):
    """A block."""

    size: tuple[float, float, float]
    """m along its x, y and z"""

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            SceneError: naming the field.
        """
        super().__post_init__()
        object.__setattr__(self, "size", numbers("size", self.size, 3, above=0.0))

    @property
    def volume(self) -> float:
        """m3."""
        return math.prod(self.size)

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The box around it."""
        return self._around(np.abs(self.matrix) @ (0.5 * np.array(self.size)))

    def contains(self, points: np.ndarray) -> np.ndarray:
        """(K,) bool."""
        return (np.abs(self.inward(points)) < 0.5 * np.array(self.size)).all(axis=-1)

    def _solid(self) -> Any:  # noqa: ANN401
        return require_trimesh().creation.box(extents=self.size)


@dataclass(frozen=True, kw_only=True)
class Sphere(Shape):
    """A ball."""

    radius: float
    """m"""

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            SceneError: naming the field.
        """
        super().__post_init__()
        object.__setattr__(self, "radius", number("radius", self.radius, above=0.0))

    @property
    def volume(self) -> float:
        """m3."""
        return 4.0 / 3.0 * math.pi * self.radius**3

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The box around it."""
        return self._around(np.full(3, self.radius))

    def contains(self, points: np.ndarray) -> np.ndarray:
        """(K,) bool."""
        return np.linalg.norm(points - np.array(self.position), axis=-1) < self.radius

    def _solid(self) -> Any:  # noqa: ANN401
        return require_trimesh().creation.icosphere(subdivisions=3, radius=self.radius)


@dataclass(frozen=True, kw_only=True)
class Cylinder(Shape):
    """A round post along its own z."""

    radius: float
    """m"""
    height: float
    """m"""

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            SceneError: naming the field.
        """
        super().__post_init__()
        for name in ("radius", "height"):
            object.__setattr__(self, name, number(name, getattr(self, name), above=0.0))

    @property
    def volume(self) -> float:
        """m3."""
        return math.pi * self.radius**2 * self.height

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The box around it."""
        along = np.abs(self.matrix[:, 2])
        return self._around(0.5 * self.height * along + self.radius * np.sqrt(np.clip(1.0 - along**2, 0.0, None)))

    def contains(self, points: np.ndarray) -> np.ndarray:
        """(K,) bool."""
        local = self.inward(points)
        return (np.hypot(local[:, 0], local[:, 1]) < self.radius) & (np.abs(local[:, 2]) < 0.5 * self.height)

    def _solid(self) -> Any:  # noqa: ANN401
        return require_trimesh().creation.cylinder(radius=self.radius, height=self.height, sections=48)


@dataclass(frozen=True, kw_only=True)
class Mesh(Shape):
    """A solid from a file that trimesh reads: .obj, .stl, .ply, .glb, ... Engines collide with convex pieces of it."""

    file: str
    """a path; in YAML seen from the YAML file"""
    scale: float = 1.0
    """m per unit of the file"""
    convex: Literal["hull", "decompose"] = "hull"
    """collide with its convex hull, or with convex pieces that fill it more closely (by coacd)"""
    concavity: float = 0.05
    """how far a piece may be from convex, of the mesh's size; smaller makes more pieces"""

    def __post_init__(self) -> None:
        """Check the numbers and read the file.

        Raises:
            SceneError: naming the field, or the file and what is wrong with it.
        """
        super().__post_init__()
        object.__setattr__(self, "scale", number("scale", self.scale, above=0.0))
        object.__setattr__(self, "concavity", number("concavity", self.concavity, above=0.0))
        if self.convex not in ("hull", "decompose"):
            raise SceneError(f"convex is {self.convex!r}; there are 'hull' and 'decompose'")
        if not isinstance(self.file, (str, Path)):
            raise SceneError(f"file: want a path, got {self.file!r}")
        object.__setattr__(self, "file", str(self.file))
        load_mesh(self.file)

    @property
    def volume(self) -> float:
        """m3, of its pieces."""
        return float(sum(abs(piece.volume) for piece in self._pieces())) * self.scale**3

    def pieces(self) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """Vertices (V, 3) in m, in the mesh's own frame, and triangles (F, 3) of each piece to collide with."""
        return tuple((np.asarray(p.vertices) * self.scale, np.asarray(p.faces)) for p in self._pieces())

    def _pieces(self) -> tuple[Any, ...]:
        return (load_mesh(self.file),) if self.convex == "hull" else convex_pieces(self.file, self.concavity)

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The box around it."""
        vertices = self.outward(np.asarray(load_mesh(self.file).vertices) * self.scale)
        return vertices.min(axis=0), vertices.max(axis=0)

    def contains(self, points: np.ndarray) -> np.ndarray:
        """False, (K,): other parts' points inside a mesh count as surface."""
        return np.zeros(len(points), dtype=bool)

    def _solid(self) -> Any:  # noqa: ANN401
        solid = load_mesh(self.file).copy()
        solid.apply_scale(self.scale)
        return solid


# --- checks ----------------------------------------------------------------------------------------------------------


def number(name: str, value: Any, *, above: float = -math.inf) -> float:  # noqa: ANN401
    """A finite number greater than `above`.

    Raises:
        SceneError: naming the field.
    """
    wanted = "a finite number" if above == -math.inf else f"a finite number above {above:g}"
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not above < value < math.inf:
        raise SceneError(f"{name}: want {wanted}, got {value!r}")
    return float(value)


def numbers(name: str, values: Any, count: int, *, above: float = -math.inf) -> tuple[Any, ...]:  # noqa: ANN401
    """`count` finite numbers greater than `above`, as a tuple.

    Raises:
        SceneError: naming the field.
    """
    if not isinstance(values, (list, tuple)) or len(values) != count:
        raise SceneError(f"{name}: want {count} numbers, got {values!r}")
    return tuple(number(f"{name}[{i}]", value, above=above) for i, value in enumerate(values))
