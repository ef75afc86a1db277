"""Scenes as MuJoCo's engines take them: a body for each place, and a different scene in each environment of a batch.

How environments of one model get different scenes was measured on SMPL (128 environments, 1 thread, MuJoCo 4.0; 8
scenes of 2 held objects with 6 boxes each and 2 loose boxes; 305 µs of physics per environment and control step without
any):

- one body per place with as many geoms as any scene needs there, whose type, size, place and mass are fields of each
  environment: 390 µs, within the noise of one scene for all (380 µs);
- a compiled model per environment (`Batch.set_models`): 385 to 415 µs, but no other field can then be set per
  environment, which `set_params` lives on;
- all objects of all scenes in every environment, those of other scenes parked without contacts: 455 to 470 µs, and 6
  degrees of freedom more for each loose object of each scene.

So it is the first, and the values come from compiling one model per scene: whatever the compiler derives is right.
Held objects are mocap bodies and have no degrees of freedom: 4 of them cost 3 % of the physics. A loose box at rest
costs about 10 %, most of it for its four contacts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import mujoco
import mujoco.batch
import numpy as np
import torch
from torch import Tensor

from poselib.rotations import quat_apply, quat_apply_inverse, wxyz_from_xyzw, xyzw_from_wxyz
from proto_envs.context import ObjectState
from proto_envs.scenes import Box, Cylinder, Mesh, Scene, SceneBatch, SceneObject, Shape, Sphere
from proto_envs.scenes.tables import AWAY

__all__ = ["PlacedObjects", "add_meshes", "add_objects", "mesh_name", "set_scenes"]

_TYPES: dict[type[Any], mujoco.mjtGeom] = {
    Box: mujoco.mjtGeom.mjGEOM_BOX,
    Sphere: mujoco.mjtGeom.mjGEOM_SPHERE,
    Cylinder: mujoco.mjtGeom.mjGEOM_CYLINDER,
    Mesh: mujoco.mjtGeom.mjGEOM_MESH,
}
_Solid = tuple[Shape, int, float]
"""what an object is made of for an engine: solid, number of its convex piece, kg"""
_NOTHING = 1 << 10
"""bit of the contacts of a geom that is not there"""
_NEVER = -1e6
"""m, margin of a geom that is not there but must have the bits of others: margins add up"""
_SHAPE_OF_BVH = ("bvh_child", "bvh_depth", "bvh_nodeid")


def add_objects(
    spec: mujoco.MjSpec,
    batch: SceneBatch,
    scene: int,
    friction: float,
    watched: Sequence[str] = (),
    kind: str = "object",
    *,
    fixed_shapes: bool = False,
) -> None:
    """Add the objects of one scene to a physics model that is laid out for all of them.

    Args:
        spec: the model.
        batch: the scenes.
        scene: which of them.
        friction: sliding friction of objects that say nothing else.
        watched: bodies; a sensor is added for the force with which each of them pushes the object of each place.
        kind: word that the names of their bodies begin with.
        fixed_shapes: let each geom be of the same type in all scenes; places have more of them then, and those that a
            scene does not need never touch anything.
    """
    add_meshes(spec, batch.scenes)
    for place, thing in enumerate(batch.places[scene]):
        held = place < batch.num_held
        body = spec.worldbody.add_body(name=_body(kind, place), mocap=held)
        body.pos = (0.0, 0.0, AWAY) if thing is None else thing.position
        if thing is not None:
            body.quat = _wxyz(thing.rotation)
        if not held:
            joint = body.add_freejoint(name=_body(kind, place))
            # MuJoCo stores less of the inertia of a body whose centre of mass is its origin; but all environments have
            # one layout. A body with others below it is never one of these.
            body.add_body()
            if thing is None:
                # It weighs something, as every moving body must, and sinks by 10 micrometres a second.
                body.mass, body.inertia, body.explicitinertial = 1.0, (1.0, 1.0, 1.0), True
                joint.damping = [1e6, 0.0, 0.0]
        things = [row[place] for row in batch.places]
        slots = _slots(things, fixed_shapes)
        # What an object says of its own friction holds in all of its contacts; else the larger of the two counts.
        decides = any(t is not None and t.friction is not None for t in (things if fixed_shapes else [thing]))
        own = friction if thing is None or thing.friction is None else thing.friction
        for shape, solid in zip(slots, _in_slots(thing, slots), strict=True):
            geom = _add_nothing(body, shape, things) if solid is None else _add_solid(body, *solid)
            geom.priority, geom.friction = int(decides), (own, 0.005, 0.0001)
    force, netforce = 1 << int(mujoco.mjtConDataField.mjCONDATA_FORCE), 3
    for place in range(batch.num_objects if watched else 0):
        for name in watched:
            spec.add_sensor(
                name=f"contact_{_body(kind, place)}_{name}",
                type=mujoco.mjtSensor.mjSENS_CONTACT,
                objtype=mujoco.mjtObj.mjOBJ_BODY,
                objname=name,
                reftype=mujoco.mjtObj.mjOBJ_BODY,
                refname=_body(kind, place),
                intprm=[force, netforce, 1],
            )


def _body(kind: str, place: int) -> str:
    return f"{kind}_{place}"


def _wxyz(rotation: tuple[float, ...]) -> tuple[float, ...]:
    return (rotation[3], *rotation[:3])


def _solids(thing: SceneObject) -> list[_Solid]:
    solids: list[_Solid] = []
    for part, mass in zip(thing.parts, thing.part_masses, strict=True):
        pieces = len(part.pieces()) if isinstance(part, Mesh) else 1
        solids += [(part, piece, mass / pieces) for piece in range(pieces)]
    return solids


def _slots(things: Sequence[SceneObject | None], fixed_shapes: bool) -> list[type[Any] | None]:
    """The geoms of a place that `things` take in turn, with the shape that each must keep, or None for any shape."""
    shapes: list[list[type[Any]]]
    shapes = [[type(part) for part, _, _ in _solids(thing)] for thing in things if thing is not None]
    if not fixed_shapes:
        return [None] * max(map(len, shapes))
    return [shape for shape in _TYPES for _ in range(max(of_one.count(shape) for of_one in shapes))]


def _in_slots(thing: SceneObject | None, slots: Sequence[type[Any] | None]) -> list[_Solid | None]:
    """What stands in each slot: the first solid that suits it and stands in none before."""
    waiting = [] if thing is None else _solids(thing)
    result: list[_Solid | None] = []
    for shape in slots:
        suiting = (i for i, (part, _, _) in enumerate(waiting) if shape is None or type(part) is shape)
        index = next(suiting, None)
        result.append(None if index is None else waiting.pop(index))
    return result


def _add_nothing(body: mujoco.MjsBody, shape: type[Any] | None, things: Sequence[SceneObject | None]) -> Any:  # noqa: ANN401
    """A geom that touches nothing."""
    if shape is None:
        # Nothing else has this bit; with none at all the layout of collision trees would be another.
        kind = mujoco.mjtGeom.mjGEOM_SPHERE
        return body.add_geom(type=kind, size=(0.01, 0, 0), mass=0.0, contype=_NOTHING, conaffinity=0)
    geom = body.add_geom(type=_TYPES[shape], size=(0.01, 0.01, 0.01), mass=0.0, margin=_NEVER, condim=3)
    if shape is Mesh:
        solids = (solid for thing in things if thing is not None for solid in _solids(thing))
        geom.meshname = next(mesh_name(part, piece) for part, piece, _ in solids if isinstance(part, Mesh))
    return geom


def _add_solid(body: mujoco.MjsBody, part: Shape, piece: int, mass: float) -> Any:  # noqa: ANN401
    geom = body.add_geom(
        type=_TYPES[type(part)],
        pos=part.position,
        quat=_wxyz(part.rotation),
        mass=mass,
        contype=1,
        conaffinity=1,
        condim=3,
    )
    match part:
        case Box():
            geom.size = [0.5 * edge for edge in part.size]
        case Sphere():
            geom.size = (part.radius, 0, 0)
        case Cylinder():
            geom.size = (part.radius, 0.5 * part.height, 0)
        case Mesh():
            geom.meshname = mesh_name(part, piece)
    return geom


def mesh_name(mesh: Mesh, piece: int) -> str:
    """Name of a convex piece of a mesh among a model's assets."""
    return f"{mesh.file}:{mesh.scale:g}:{mesh.convex}:{mesh.concavity:g}:{piece}"


def add_meshes(spec: mujoco.MjSpec, scenes: Sequence[Scene]) -> None:
    """Add the convex pieces of all meshes of all scenes to a model's assets."""
    added = set()
    for mesh in (mesh for scene in scenes for mesh in scene.meshes):
        for index, (vertices, triangles) in enumerate(mesh.pieces()):
            if (name := mesh_name(mesh, index)) in added:
                continue
            added.add(name)
            asset = spec.add_mesh(name=name, inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX)
            asset.uservert, asset.userface = vertices.ravel().tolist(), triangles.ravel().tolist()


def set_scenes(batch: mujoco.batch.Batch, models: Sequence[mujoco.MjModel], scenes: SceneBatch) -> None:
    """Give each environment of a batch the scene that is assigned to it.

    Args:
        batch: of the first model.
        models: one per scene.
        scenes: the assignment.
    """
    if len(models) == 1:
        return
    rows = scenes.assignment.numpy()
    for name, values in _differing(models).items():
        field = batch.expand(name)
        # Of the boxes around bodies and meshes a batch holds only the first, of bodies; those of meshes are all alike.
        field[:] = np.stack([value[: field.shape[1]] for value in values])[rows]
    if any(not np.array_equal(getattr(m, name), getattr(models[0], name)) for m in models for name in _SHAPE_OF_BVH):
        # The tree of bounding boxes over a body's geoms has one form for all environments; it saves little here.
        batch.expand("opt.disableflags")[:] |= int(mujoco.mjtDisableBit.mjDSBL_MIDPHASE)


def _differing(models: Sequence[mujoco.MjModel]) -> Mapping[str, list[np.ndarray]]:
    """Values per model of the fields in which they differ."""
    found = {}
    for name in sorted(mujoco.batch.MODEL_FIELDS):
        values = [np.asarray(getattr(model, name)) for model in models if hasattr(model, name)]
        if any(not np.array_equal(values[0], other) for other in values[1:]):
            found[name] = values
    return found


class PlacedObjects:
    """The objects of all environments: where they are in an engine's rows of state."""

    def __init__(
        self,
        model: mujoco.MjModel,
        rows: tuple[Tensor, Tensor, tuple[Tensor, Tensor]],
        scenes: SceneBatch | None,
        watched: int = 0,
        kind: str = "object",
    ) -> None:
        """Find them.

        Args:
            model: with the objects.
            rows: live qpos (N, nq), qvel (N, nv), and positions (N, M, 3) and rotations (N, M, 4) of mocap bodies.
            scenes: what stands there; None: nothing.
            watched: bodies whose forces on the objects are measured.
            kind: as `add_objects` was told.
        """
        held, count = (0, 0) if scenes is None else (scenes.num_held, scenes.num_objects)
        self._qpos, self._qvel, (position, rotation) = rows
        n, device = len(self._qpos), self._qpos.device
        self._held = held
        joints = [model.joint(_body(kind, place)).id for place in range(held, count)]
        self._qpos_columns, self._qvel_columns = (
            torch.as_tensor(first[joints].reshape(-1, 1) + np.arange(size), dtype=torch.long, device=device)
            for first, size in ((model.jnt_qposadr, 7), (model.jnt_dofadr, 6))
        )
        # Robots have no mocap bodies, so that these are the held objects in their order.
        self._position, self._rotation = position[:, :held], rotation[:, :held]
        self._velocity = torch.zeros(n, held, 6, device=device)
        """of held objects: m/s, rad/s, world"""
        self.forces = torch.zeros(n, count, watched, 3, device=device)
        """N, of each watched body on each object in the last substep"""

    def state(self, ids: Tensor | None) -> ObjectState:
        """State of the O objects, in new tensors."""
        rows = slice(None) if ids is None else ids
        qpos = self._qpos[rows].float()[:, self._qpos_columns]
        qvel = self._qvel[rows].float()[:, self._qvel_columns]
        held = self._velocity[rows]
        loose_rotations = xyzw_from_wxyz(qpos[..., 3:])
        turning = quat_apply(loose_rotations, qvel[..., 3:])
        held_rotations = xyzw_from_wxyz(self._rotation[rows].float())
        return ObjectState(
            positions=torch.cat([self._position[rows].float(), qpos[..., :3]], dim=1),
            rotations=torch.cat([held_rotations, loose_rotations], dim=1),
            velocities=torch.cat([held[..., :3], qvel[..., :3]], dim=1),
            angular_velocities=torch.cat([held[..., 3:], turning], dim=1),
            robot_forces=self.forces[rows].clone() if self.forces.shape[2] else None,
        )

    def put(self, ids: Tensor | None, state: ObjectState, *, held_only: bool = False) -> None:
        """Put the objects of environments `ids` into a state, with `held_only` only those that are held."""
        rows, h, precision = slice(None) if ids is None else ids, self._held, self._qpos.dtype
        self._position[rows] = state.positions[:, :h].to(precision)
        self._rotation[rows] = wxyz_from_xyzw(state.rotations[:, :h]).to(precision)
        self._velocity[rows] = torch.cat([state.velocities, state.angular_velocities], dim=-1)[:, :h]
        if held_only:
            return
        rotations = state.rotations[:, h:]
        turned = quat_apply_inverse(rotations, state.angular_velocities[:, h:])
        every = torch.arange(len(self._qpos), device=self._qpos.device) if ids is None else ids
        index = every.view(-1, 1, 1)
        self._qpos[index, self._qpos_columns] = torch.cat(
            [state.positions[:, h:], wxyz_from_xyzw(rotations)], dim=-1
        ).to(precision)
        self._qvel[index, self._qvel_columns] = torch.cat([state.velocities[:, h:], turned], dim=-1).to(precision)
        self.forces[rows] = 0.0

    def put_where(self, chosen: Tensor, state: ObjectState) -> None:
        """Put the objects that `chosen` (N, O) bool says into a state; only where all are loose."""
        turned = quat_apply_inverse(state.rotations, state.angular_velocities)
        for live, columns, parts in (
            (self._qpos, self._qpos_columns, (state.positions, wxyz_from_xyzw(state.rotations))),
            (self._qvel, self._qvel_columns, (state.velocities, turned)),
        ):
            new = torch.cat(parts, dim=-1).to(live.dtype)
            live[:, columns] = torch.where(chosen.unsqueeze(-1), new, live[:, columns])

    def forget(self, ids: Tensor | slice) -> None:
        """No velocities of held objects and no forces any more."""
        self._velocity[ids] = 0.0
        self.forces[ids] = 0.0

    def state_dict(self) -> dict[str, Tensor]:
        """What the engine's own state lacks."""
        return {"held_velocity": self._velocity} if self._held else {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore `state_dict`."""
        for name, live in self.state_dict().items():
            live.copy_(state[name])
