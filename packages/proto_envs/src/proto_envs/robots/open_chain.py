"""Any compiled MuJoCo character as a plain tree in the project's form, and nothing else of the model it stands in."""

from __future__ import annotations

from collections.abc import Iterator

import mujoco
import numpy as np

__all__ = ["LINK_SUFFIX", "open_chain", "robot_bodies", "robot_joints"]

LINK_SUFFIX = "_0{}"
"""what the name of a body is given for the n-th of the links that stand in front of it"""
_SPECK = 1e-6
"""kg and kg m2 of a link without geometry; engines want every moving body to weigh something"""

Vector = np.ndarray
_HINGE, _BALL = mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_BALL


def robot_bodies(model: mujoco.MjModel) -> list[int]:
    """Ids of the first body with a free joint and of all below it, depth first; none without a free joint."""
    free = [int(model.jnt_bodyid[j]) for j in range(model.njnt) if model.jnt_type[j] == mujoco.mjtJoint.mjJNT_FREE]
    below: list[int] = free[:1]
    for body in range(model.nbody):
        if body not in below and int(model.body_parentid[body]) in below:
            below.append(body)
    return below


def robot_joints(model: mujoco.MjModel, bodies: list[int]) -> Iterator[int]:
    """Ids of the joints of these bodies but the free ones."""
    for body in bodies:
        for joint in range(model.body_jntadr[body], model.body_jntadr[body] + model.body_jntnum[body]):
            if model.jnt_type[joint] != mujoco.mjtJoint.mjJNT_FREE:
                yield joint


def open_chain(model: mujoco.MjModel, name: str) -> mujoco.MjSpec:
    """The character alone, with every joint at its body's origin and no body with two hinges.

    What is left out: the world, actuators, sensors, tendons, cameras, lights, keyframes, springs and damping of joints,
    materials. Masses and inertias are the compiled ones. A body whose joint sits elsewhere gets its origin there. Two
    hinges on one body, or three that are no ball, become a row of links: the last one is the body, those before it
    weigh nothing and are named after it ("thigh_01"). Three hinges about orthogonal axes through one point stay.

    Args:
        model: compiled; its bodies and joints have names, and its joints are free, balls and hinges.
        name: of the new model.
    """
    spec = mujoco.MjSpec()
    spec.modelname = name
    spec.compiler.degree = False
    handles: dict[int, mujoco.MjsBody] = {}
    origins: dict[int, Vector] = {0: np.zeros(3)}
    ids = robot_bodies(model)
    for body in ids:
        parent = int(model.body_parentid[body])
        handle = handles.get(parent, spec.worldbody)
        place = model.body_pos[body] - (origins[parent] if body != ids[0] else 0.0)
        turn = model.body_quat[body].copy()
        origin = np.zeros(3)  # of the link in the body's own frame as it was
        rows = _rows(model, list(robot_joints(model, [body])))
        for number, row in enumerate(rows, start=1):
            anchor = model.jnt_pos[row[0]]
            place = place + _rotated(turn, anchor - origin)
            last = number == len(rows)
            handle = handle.add_body(
                name=model.body(body).name + ("" if last else LINK_SUFFIX.format(number)), pos=place, quat=turn
            )
            _add_joints(model, row, handle)
            if not last:
                handle.explicitinertial = True
                handle.mass, handle.inertia = _SPECK, (_SPECK,) * 3
            place, turn, origin = np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0]), anchor
        if not rows:
            handle = handle.add_body(name=model.body(body).name, pos=place, quat=turn)
        if body == ids[0]:
            handle.add_freejoint(name="root")
        handles[body], origins[body] = handle, origin
        _add_matter(model, body, spec, handle, origin)
        if len(rows) > 1 and body != ids[0]:  # a body and its parent do not collide; links between would end that
            spec.add_exclude(bodyname1=handles[parent].name, bodyname2=handle.name)
    for signature in model.exclude_signature:
        first, second = int(signature) >> 16, int(signature) & 0xFFFF
        if first in handles and second in handles:
            spec.add_exclude(bodyname1=handles[first].name, bodyname2=handles[second].name)
    return spec


def _rows(model: mujoco.MjModel, joints: list[int]) -> list[list[int]]:
    """Joints of one body by the link that they move: all by one if they are a ball, else one each."""
    if len(joints) == 3 and all(model.jnt_type[j] == _HINGE for j in joints):
        axes, anchors = model.jnt_axis[joints], model.jnt_pos[joints]
        if np.allclose(axes @ axes.T, np.eye(3), atol=1e-4) and np.allclose(anchors, anchors[0], atol=1e-6):
            return [joints]
    return [[joint] for joint in joints]


def _add_joints(model: mujoco.MjModel, joints: list[int], handle: mujoco.MjsBody) -> None:
    for joint in joints:
        handle.add_joint(
            name=model.joint(joint).name,
            type=_BALL if model.jnt_type[joint] == _BALL else _HINGE,
            axis=model.jnt_axis[joint],
            range=model.jnt_range[joint],
            limited=int(model.jnt_limited[joint]),
            armature=float(model.dof_armature[model.jnt_dofadr[joint]]),
        )


def _add_matter(model: mujoco.MjModel, body: int, spec: mujoco.MjSpec, handle: mujoco.MjsBody, origin: Vector) -> None:
    if model.body_mass[body] > 0:
        handle.explicitinertial = True
        handle.mass, handle.inertia = float(model.body_mass[body]), model.body_inertia[body]
        handle.ipos, handle.iquat = model.body_ipos[body] - origin, model.body_iquat[body]
    for geom in range(model.body_geomadr[body], model.body_geomadr[body] + model.body_geomnum[body]):
        added = handle.add_geom(
            type=mujoco.mjtGeom(int(model.geom_type[geom])),
            size=model.geom_size[geom],
            pos=model.geom_pos[geom] - origin,
            quat=model.geom_quat[geom],
            contype=int(model.geom_contype[geom]),
            conaffinity=int(model.geom_conaffinity[geom]),
            group=int(model.geom_group[geom]),
            rgba=model.geom_rgba[geom],
        )
        if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_MESH:
            added.meshname = _mesh(model, int(model.geom_dataid[geom]), spec)


def _mesh(model: mujoco.MjModel, mesh: int, spec: mujoco.MjSpec) -> str:
    """The name of the mesh in the new model, which gets it when first asked for."""
    name = f"mesh_{mesh}"
    if spec.mesh(name) is None:
        points, faces = (
            table[start : start + count]
            for table, start, count in (
                (model.mesh_vert, model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]),
                (model.mesh_face, model.mesh_faceadr[mesh], model.mesh_facenum[mesh]),
            )
        )
        added = spec.add_mesh(name=name, uservert=points.flatten().tolist(), userface=faces.flatten().tolist())
        added.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL  # open meshes have no volume
    return name


def _rotated(quat: Vector, vector: Vector) -> Vector:
    result = np.empty(3)
    mujoco.mju_rotVecQuat(result, vector, quat)
    return result
