"""Meshes through trimesh, convex pieces through coacd, and points on surfaces."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from proto_envs.scenes.errors import SceneError

if TYPE_CHECKING:
    from proto_envs.scenes.shapes import Shape

__all__ = ["convex_pieces", "load_mesh", "require_trimesh", "surface_points"]

_INSTALL = 'pip install "proto-envs[scenes]"'
_CANDIDATES = 8
"""random points for each one that is kept"""


def require_trimesh() -> Any:  # noqa: ANN401 - trimesh has no types
    """The module trimesh.

    Raises:
        ImportError: with the command that installs it.
    """
    if importlib.util.find_spec("trimesh") is None:
        raise ImportError(f"meshes and points on surfaces need trimesh, which is not installed: {_INSTALL}")
    import trimesh

    return trimesh


@lru_cache(maxsize=256)
def load_mesh(file: str) -> Any:  # noqa: ANN401
    """All of a file as one mesh, in the file's units.

    Raises:
        SceneError: naming the file and what is wrong with it.
        ImportError: with the command that installs trimesh.
    """
    trimesh = require_trimesh()
    if not Path(file).is_file():
        raise SceneError(f"mesh {file}: there is no such file")
    try:
        mesh = trimesh.load(file, force="mesh")
    except Exception as error:  # its readers raise whatever they please
        raise SceneError(f"mesh {file}: trimesh cannot read it ({type(error).__name__}: {error})") from error
    vertices = np.asarray(getattr(mesh, "vertices", ()))
    if len(vertices) < 4 or len(mesh.faces) < 4:
        raise SceneError(f"mesh {file}: want a solid with at least 4 vertices and 4 triangles")
    if not np.isfinite(vertices).all() or np.linalg.matrix_rank(vertices - vertices[0], tol=1e-9) < 3:
        raise SceneError(f"mesh {file}: its vertices are not finite or lie in one plane")
    return mesh


@lru_cache(maxsize=256)
def convex_pieces(file: str, concavity: float) -> tuple[Any, ...]:
    """Convex meshes that together fill a mesh, in the file's units; the same each time.

    Raises:
        ImportError: with the command that installs coacd.
    """
    if importlib.util.find_spec("coacd") is None:
        raise ImportError(f"convex decomposition needs coacd, which is not installed: {_INSTALL}")
    coacd = importlib.import_module("coacd")
    trimesh, mesh = require_trimesh(), load_mesh(file)
    coacd.set_log_level("error")
    parts = coacd.run_coacd(coacd.Mesh(mesh.vertices, mesh.faces), threshold=concavity, seed=0)
    return tuple(trimesh.Trimesh(vertices, faces) for vertices, faces in parts)


def surface_points(shapes: Sequence[Shape], count: int, seed: int = 0) -> np.ndarray:
    """Points spread evenly over the outside of an object, (count, 3) m in its frame.

    Random points of all its surfaces, less those inside another part; of the rest one after the other that is farthest
    from those chosen before. The same seed gives the same points.
    """
    trimesh = require_trimesh()
    solid = trimesh.util.concatenate([shape.surface() for shape in shapes])
    found, faces = trimesh.sample.sample_surface(solid, _CANDIDATES * count, seed=seed)
    owner = np.repeat(np.arange(len(shapes)), [len(shape.surface().faces) for shape in shapes])[faces]
    hidden = np.zeros(len(found), dtype=bool)
    for index, shape in enumerate(shapes):
        hidden |= (owner != index) & shape.contains(found)
    points = found[~hidden]
    if len(points) < count:  # nearly all of it lies inside: take what there is
        points = found
    chosen = [0]
    distance = np.full(len(points), np.inf)
    for _ in range(count - 1):
        np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=-1), out=distance)
        chosen.append(int(distance.argmax()))
    return points[chosen]
