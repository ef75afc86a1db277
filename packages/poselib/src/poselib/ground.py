"""Where a character meets the floor: the lowest point of its collision geometry, height correction, contact labels."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
import torch
from torch import Tensor

from poselib.rotations import quat_apply
from poselib.skeleton import Skeleton

__all__ = ["CollisionPoints", "contact_labels", "height_offset"]


@dataclass(frozen=True, eq=False)
class CollisionPoints:
    """Points with a radius, fixed to bodies, whose lowest one is the lowest point of the geometry.

    A sphere is one point, a capsule two, a box its eight corners, a mesh its vertices, all exact; a cylinder has 16 on
    each rim, which is exact to 2 % of its radius.
    """

    bodies: list[int]
    points: Tensor
    """(P, 3) m in the body's frame"""
    radii: Tensor
    """(P,) m"""
    num_bodies: int

    @classmethod
    def from_spec(cls, spec: mujoco.MjSpec, skeleton: Skeleton) -> CollisionPoints:
        """Collect the geometry of a character's model; geoms of bodies outside `skeleton` are ignored."""
        model = spec.copy().compile()
        bodies: list[int] = []
        points: list[np.ndarray] = []
        radii: list[float] = []
        for g in range(model.ngeom):
            name = model.body(int(model.geom_bodyid[g])).name
            if name not in skeleton.body_names or not (model.geom_contype[g] or model.geom_conaffinity[g]):
                continue
            local, radius = _points(model, g)
            rotation = np.empty(9)
            mujoco.mju_quat2Mat(rotation, model.geom_quat[g])
            points.append(local @ rotation.reshape(3, 3).T + model.geom_pos[g])
            bodies += [skeleton.body_names.index(name)] * len(local)
            radii += [radius] * len(local)
        table = np.concatenate(points) if points else np.zeros((0, 3))
        return cls(bodies, torch.tensor(table, dtype=torch.float32), torch.tensor(radii), skeleton.num_bodies)

    def lowest(self, positions: Tensor, rotations: Tensor) -> Tensor:
        """Height `(..., B)` in m of each body's lowest point; +inf for a body without geometry.

        Args:
            positions: `(..., B, 3)` m, world.
            rotations: `(..., B, 4)`, world.
        """
        bodies = torch.tensor(self.bodies, dtype=torch.long, device=positions.device)
        offset = quat_apply(rotations.index_select(-2, bodies), self.points.to(positions))
        heights = positions[..., 2].index_select(-1, bodies) + offset[..., 2] - self.radii.to(positions)
        result = heights.new_full((*positions.shape[:-2], self.num_bodies), torch.inf)
        return result.scatter_reduce(-1, bodies.expand(heights.shape), heights, "amin")


def _points(model: mujoco.MjModel, geom: int) -> tuple[np.ndarray, float]:
    kind, size = mujoco.mjtGeom(model.geom_type[geom]), model.geom_size[geom]
    match kind:
        case mujoco.mjtGeom.mjGEOM_SPHERE:
            return np.zeros((1, 3)), float(size[0])
        case mujoco.mjtGeom.mjGEOM_CAPSULE:
            return np.array([[0, 0, -size[1]], [0, 0, size[1]]]), float(size[0])
        case mujoco.mjtGeom.mjGEOM_BOX:
            return np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T * size, 0.0
        case mujoco.mjtGeom.mjGEOM_CYLINDER:
            angle = np.arange(16) * (2 * np.pi / 16)
            rim = np.stack([size[0] * np.cos(angle), size[0] * np.sin(angle)], axis=-1)
            return np.concatenate([np.insert(rim, 2, z, axis=-1) for z in (-size[1], size[1])]), 0.0
        case mujoco.mjtGeom.mjGEOM_MESH:
            mesh = model.geom_dataid[geom]
            start = model.mesh_vertadr[mesh]
            return model.mesh_vert[start : start + model.mesh_vertnum[mesh]].astype(float), 0.0
    raise ValueError(f"geom {model.geom(geom).name!r}: no lowest point for a {kind.name}")


def height_offset(lowest: Tensor, quantile: float = 0.0) -> float:
    """How far to lower a clip, in m, so that its lowest points touch z = 0.

    Args:
        lowest: `(T, B)` m, from `CollisionPoints.lowest`.
        quantile: 0 takes the lowest point of the whole clip (nothing ends below the ground); a small share such as 0.1
            forgives frames in which noise of the recording sinks.
    """
    return float(torch.quantile(lowest.amin(dim=-1), quantile))


def contact_labels(
    positions: Tensor, velocities: Tensor, *, max_speed: float = 0.15, max_height: float = 0.1
) -> Tensor:
    """Bodies that rest on the ground: slow and low, `(..., B)` bool. Thresholds as in ProtoMotions 3's data tools.

    Args:
        positions: `(..., B, 3)` m, body origins over flat ground.
        velocities: `(..., B, 3)` m/s.
        max_speed: m/s.
        max_height: m.
    """
    return (velocities.norm(dim=-1) < max_speed) & (positions[..., 2] < max_height)
