"""A character of the shape that betas give: joints where the model's regressor puts them, geoms where its skin is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from motionlib.motion import MotionError
from motionlib.shapes.body_models import BodyModel
from poselib import models
from poselib.models.description import Body, Box, Capsule, CharacterModel, Vector

__all__ = ["joint_positions", "shaped_character"]

_DENSITY = 985.0
"""kg/m3, of a human body with air in its lungs"""
_OURS = [2, 0, 1]
"""our x is the models' z, our y their x, our z their y"""
_LEAST_RADIUS = 0.004
"""m"""


def joint_positions(model: BodyModel, betas: Sequence[float] = ()) -> np.ndarray:
    """Joints of a shape at rest, `(J, 3)` m, in the model's order and axes (y up).

    Args:
        model: from `read_body_model`.
        betas: as many as are known; the others are 0.

    Raises:
        MotionError: for more betas than the model has directions, or one that is not finite.
    """
    return model.regressor @ _vertices(model, betas)


def shaped_character(model: BodyModel, betas: Sequence[float] = (), *, name: str | None = None) -> CharacterModel:
    """The built-in character with the model's joints, in the shape of somebody.

    Bodies, joints, limits and contact excludes are those of "smpl" or "smplx", so clips and policies fit by name. Each
    body's geom is fitted to the vertices that it moves most: a box around pelvis, head, hands and feet (so soles are
    where the skin is), a capsule along the bone elsewhere. Together they weigh as much as the skin's volume does.

    Args:
        model: from `read_body_model`. Jaw and eyes of SMPL-X go with the head.
        betas: as for `joint_positions`.
        name: of the character; built-in names are not allowed, since their geometry is known by name.

    Raises:
        MotionError: as `joint_positions`, for a name that is taken, or for a skin that encloses no volume.
    """
    name = name or f"{model.character}_shaped"
    if name in models.MODELS:
        raise MotionError(f"a shaped character needs a name of its own, {name!r} is built in")
    vertices = _vertices(model, betas)
    joints = model.regressor @ vertices
    template = models.character_model(model.character)
    owners = _owners(model, [body.name for body in template.bodies])
    index = {joint: i for i, joint in enumerate(model.joint_names)}

    bodies = []
    for body in template.bodies:
        joint = joints[index[body.name]]
        children = [joints[index[b.name]] - joint for b in template.bodies if b.parent == body.name]
        # The models turn about the pelvis as it lies in their own axes, see `importers/smpl_poses.py`.
        offset = joint if body.parent is None else (joint - joints[index[body.parent]])[_OURS]
        skin = (vertices[owners == index[body.name]] - joint)[:, _OURS]
        geom = _fit(body, skin, [child[_OURS] for child in children], offset)
        bodies.append(replace(body, offset=_vector(offset), geoms=(geom,)))
    mass = _DENSITY * _volume(model, vertices)
    total = sum(geom.volume for body in bodies for geom in body.geoms)
    weighed = tuple(replace(body, mass=mass * body.geoms[0].volume / total) for body in bodies)
    return CharacterModel(name, weighed, template.contact_excludes)


def _vertices(model: BodyModel, betas: Sequence[float]) -> np.ndarray:
    """(V, 3) m of a shape."""
    shape = np.asarray(betas, dtype=np.float64).reshape(-1)
    most = model.shape_directions.shape[-1]
    if len(shape) > most or not np.isfinite(shape).all():
        raise MotionError(f"{model.name}: want at most {most} betas, all finite, found {shape.tolist()}")
    return model.vertices + model.shape_directions[..., : len(shape)] @ shape


def _owners(model: BodyModel, bodies: list[str]) -> np.ndarray:
    """(V,) joint that moves each vertex most; joints without a body hand theirs to the parent."""
    weights = model.weights.copy()
    for joint in reversed(range(len(model.parents))):
        if model.joint_names[joint] not in bodies:
            weights[:, model.parents[joint]] += weights[:, joint]
            weights[:, joint] = 0.0
    return weights.argmax(axis=1)


def _fit(body: Body, skin: np.ndarray, children: list[np.ndarray], offset: np.ndarray) -> Box | Capsule:
    """One geom around vertices `(N, 3)` m in the body's frame; of the kind that the built-in character has."""
    if len(skin) < 2:  # nothing to go by: a small piece of the bone
        end = np.mean(children, axis=0) if children else 0.5 * offset
        return Capsule(max(0.2 * float(np.linalg.norm(end)), _LEAST_RADIUS), (0.0, 0.0, 0.0), _vector(0.5 * end))
    if isinstance(body.geoms[0], Box):
        low, high = skin.min(axis=0), skin.max(axis=0)
        half = np.maximum(0.5 * (high - low), _LEAST_RADIUS)
        return Box(_vector(half), _vector(0.5 * (low + high)))
    center = skin.mean(axis=0)
    bone = np.mean(children, axis=0) if children else offset  # a finger's tip goes on as its last bone did
    length = float(np.linalg.norm(bone))
    axis = bone / length if length > 1e-9 else np.array([0.0, 0.0, 1.0])
    along = (skin - center) @ axis
    radius = max(float(np.linalg.norm(skin - center - along[:, None] * axis, axis=1).mean()), _LEAST_RADIUS)
    low, high = float(along.min()) + radius, float(along.max()) - radius
    if low > high:  # as thick as long
        low = high = 0.5 * (low + high)
    return Capsule(radius, _vector(center + (low - 5e-4) * axis), _vector(center + (high + 5e-4) * axis))


def _volume(model: BodyModel, vertices: np.ndarray) -> float:
    """m3 that the skin encloses: the sum of the tetrahedra from the origin to its faces."""
    a, b, c = (vertices[model.faces[:, corner]] for corner in range(3))
    volume = abs(float((a * np.cross(b, c)).sum())) / 6.0
    if volume < 1e-6:
        raise MotionError(f"{model.name}: the faces enclose no volume ({volume:.3g} m3)")
    return volume


def _vector(values: np.ndarray) -> Vector:
    x, y, z = (float(value) for value in values)
    return x, y, z
