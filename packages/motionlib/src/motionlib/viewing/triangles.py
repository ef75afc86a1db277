"""Solids as triangles, for the browser."""

from __future__ import annotations

from typing import Any

from motionlib.viewing.shapes import Shape

__all__ = ["triangles"]


def triangles(shape: Shape) -> Any:  # noqa: ANN401 - trimesh has no types
    """A shape as a mesh of trimesh, centred at the origin."""
    import trimesh

    a, b, c = shape.size
    match shape.kind:
        case "sphere":
            return trimesh.creation.icosphere(subdivisions=2, radius=a)
        case "capsule":
            mesh = trimesh.creation.capsule(height=2.0 * b, radius=a, count=(12, 12))
            mesh.apply_translation(-mesh.bounds.mean(axis=0))
            return mesh
        case "cylinder":
            return trimesh.creation.cylinder(radius=a, height=2.0 * b, sections=24)
        case _:
            return trimesh.creation.box(extents=(2.0 * a, 2.0 * b, 2.0 * c))
