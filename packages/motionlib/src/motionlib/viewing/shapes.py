"""What a character looks like: a few primitive solids fixed to its bodies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import mujoco
import numpy as np

from motionlib.motion import Motion
from motionlib.processing.retargeting import character_of, skeleton_of
from poselib import models
from poselib.skeleton import Skeleton

__all__ = ["Kind", "Shape", "geom_shapes", "shapes_of"]

Kind = Literal["sphere", "capsule", "cylinder", "box"]

_KINDS: dict[int, Kind] = {
    int(mujoco.mjtGeom.mjGEOM_SPHERE): "sphere",
    int(mujoco.mjtGeom.mjGEOM_CAPSULE): "capsule",
    int(mujoco.mjtGeom.mjGEOM_CYLINDER): "cylinder",
    int(mujoco.mjtGeom.mjGEOM_BOX): "box",
}
_BONE = 0.12
"""radius of a bone in lengths of it, where a character has no geometry of its own"""
_BONE_RADII = (0.008, 0.05)
"""m, the thinnest and the thickest bone"""


@dataclass(frozen=True, eq=False)
class Shape:
    """A solid fixed to a body."""

    kind: Kind
    body: int
    size: tuple[float, float, float]
    """m: sphere radius; capsule and cylinder radius and half length (along z); box half sizes"""
    position: np.ndarray
    """(3,) m, centre in the body's frame"""
    rotation: np.ndarray
    """(4,) xyzw, in the body's frame"""


def shapes_of(motion: Motion) -> tuple[Skeleton, tuple[Shape, ...]]:
    """Skeleton and solids of the character of a clip: a built-in one's own geometry, bones for any other."""
    character, skeleton = character_of(motion), skeleton_of(motion)
    return skeleton, _bones(skeleton) if character is None else _built_in(character)


@lru_cache
def _built_in(character: str) -> tuple[Shape, ...]:
    model = models.character_model(character).spec().compile()
    return geom_shapes(model, models.skeleton(character).body_names)


def geom_shapes(model: mujoco.MjModel, body_names: Sequence[str]) -> tuple[Shape, ...]:
    """The solids of a MuJoCo model that are fixed to some bodies, numbered as in `body_names`.

    Left out: what is no solid of a kind that `Shape` knows, and groups that MuJoCo does not show by itself (3 to 5).
    """
    shapes = []
    for geom in range(model.ngeom):
        kind, body = _KINDS.get(int(model.geom_type[geom])), model.body(model.geom_bodyid[geom]).name
        if kind is None or body not in body_names or model.geom_group[geom] > 2:
            continue
        w, x, y, z = model.geom_quat[geom]
        shapes.append(
            Shape(
                kind=kind,
                body=body_names.index(body),
                size=tuple(model.geom_size[geom].tolist()),
                position=model.geom_pos[geom].copy(),
                rotation=np.array([x, y, z, w]),
            )
        )
    return tuple(shapes)


def _bones(skeleton: Skeleton) -> tuple[Shape, ...]:
    """A capsule from each body to each child, a ball where there is no child."""
    shapes = []
    for body, parent in enumerate(skeleton.parents):
        bone = skeleton.offsets[body].numpy().astype(float)
        length = float(np.linalg.norm(bone))
        radius = float(np.clip(_BONE * length, *_BONE_RADII))
        if parent >= 0 and length > 2.0 * radius:
            half = (radius, 0.5 * length - radius, 0.0)
            shapes.append(Shape("capsule", parent, half, 0.5 * bone, _from_z(bone / length)))
        if body not in skeleton.parents:
            shapes.append(Shape("sphere", body, (1.2 * radius, 0.0, 0.0), np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0])))
    return tuple(shapes)


def _from_z(direction: np.ndarray) -> np.ndarray:
    """Quaternion (4,) xyzw that turns the z axis into a unit vector."""
    x, y, z = direction
    if z < -1.0 + 1e-9:
        return np.array([1.0, 0.0, 0.0, 0.0])
    quaternion = np.array([-y, x, 0.0, 1.0 + z])
    return quaternion / np.linalg.norm(quaternion)
