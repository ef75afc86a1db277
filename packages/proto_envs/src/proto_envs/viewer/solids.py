"""Robots, objects and ground as triangles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
import torch

from motionlib.viewing.shapes import geom_shapes
from motionlib.viewing.triangles import triangles
from poselib.rotations import matrix_from_quat, xyzw_from_wxyz
from proto_envs.robots import Robot
from proto_envs.scenes import SceneObject
from proto_envs.simulators.base import SimulationSettings
from proto_envs.simulators.mjcf import physics_spec

__all__ = ["Solid", "body_solids", "ground_lines", "ground_solid", "object_solid"]


@dataclass(frozen=True, eq=False)
class Solid:
    """Triangles in the frame of what they belong to."""

    vertices: np.ndarray
    """(V, 3) m"""
    faces: np.ndarray
    """(F, 3) indices of vertices"""

    @classmethod
    def joined(cls, parts: Sequence[Solid]) -> Solid:
        """Several solids as one."""
        first = np.cumsum([0, *(len(part.vertices) for part in parts)])
        faces = [part.faces + start for part, start in zip(parts, first, strict=False)]
        return cls(np.concatenate([part.vertices for part in parts]), np.concatenate(faces))


def body_solids(robot: Robot) -> dict[int, Solid]:
    """What MuJoCo shows of each body of a robot, by the body's number; bodies without geometry are left out."""
    names, model = robot.skeleton.body_names, physics_spec(robot, SimulationSettings()).compile()
    parts: dict[int, list[Solid]] = {}
    for shape in geom_shapes(model, names):
        mesh = triangles(shape)
        placed = _placed(mesh.vertices, torch.from_numpy(shape.rotation), shape.position)
        parts.setdefault(shape.body, []).append(Solid(placed, np.asarray(mesh.faces)))
    for body, solid in _meshes(model, names):
        parts.setdefault(body, []).append(solid)
    return {body: Solid.joined(solids) for body, solids in sorted(parts.items())}


def _meshes(model: mujoco.MjModel, names: Sequence[str]) -> list[tuple[int, Solid]]:
    """Geoms that are meshes or ellipsoids, which a clip's characters have none of."""
    found = []
    for geom in range(model.ngeom):
        kind, body = model.geom_type[geom], model.body(model.geom_bodyid[geom]).name
        if body not in names or model.geom_group[geom] > 2:
            continue
        if kind == mujoco.mjtGeom.mjGEOM_MESH:
            mesh = model.mesh(model.geom_dataid[geom])
            vertices = model.mesh_vert[mesh.vertadr[0] : mesh.vertadr[0] + mesh.vertnum[0]]
            faces = model.mesh_face[mesh.faceadr[0] : mesh.faceadr[0] + mesh.facenum[0]]
        elif kind == mujoco.mjtGeom.mjGEOM_ELLIPSOID:
            vertices, faces = _unit_ball()
            vertices = vertices * model.geom_size[geom]
        else:
            continue
        rotation = xyzw_from_wxyz(torch.from_numpy(model.geom_quat[geom].copy()))
        found.append((names.index(body), Solid(_placed(vertices, rotation, model.geom_pos[geom]), faces.copy())))
    return found


def _unit_ball() -> tuple[np.ndarray, np.ndarray]:
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions=2)
    return np.asarray(ball.vertices), np.asarray(ball.faces)


def _placed(vertices: np.ndarray, rotation: torch.Tensor, position: np.ndarray) -> np.ndarray:
    return np.asarray(vertices) @ matrix_from_quat(rotation.double()).numpy().T + position


def object_solid(thing: SceneObject) -> Solid:
    """All parts of an object, in the object's frame."""
    surfaces: list[Any] = [part.surface() for part in thing.parts]
    return Solid.joined([Solid(np.asarray(mesh.vertices), np.asarray(mesh.faces)) for mesh in surfaces])


def ground_solid(vertices: torch.Tensor) -> Solid:
    """A height field with vertices (Y, X, 3), y first, as triangles cut like the terrain's."""
    rows, columns = vertices.shape[:2]
    corner = (torch.arange(rows - 1).unsqueeze(1) * columns + torch.arange(columns - 1)).flatten()
    across = corner + columns + 1
    faces = torch.cat(
        [torch.stack([corner, corner + 1, across], dim=-1), torch.stack([corner, across, corner + columns], dim=-1)]
    )
    return Solid(vertices.flatten(0, 1).numpy(), faces.numpy())


def ground_lines(vertices: torch.Tensor, spacing: float) -> np.ndarray:
    """A grid of lines on a height field with vertices (Y, X, 3), (K, 2, 3) m, about `spacing` m apart."""
    every = max(1, round(spacing / float(vertices[0, 1, 0] - vertices[0, 0, 0])))
    raised = vertices + vertices.new_tensor([0.0, 0.0, 0.01])
    both = raised[::every], raised[:, ::every].transpose(0, 1)
    return torch.cat([torch.stack([lines[:, :-1], lines[:, 1:]], dim=2).flatten(0, 1) for lines in both]).numpy()
