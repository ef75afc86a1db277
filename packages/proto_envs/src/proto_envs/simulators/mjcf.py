"""A robot's physics model, as MuJoCo's engines take it: ball joints with position drives, ground, contact sensors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np

from proto_envs.robots import Drive, Robot
from proto_envs.simulators.base import SimulationSettings
from proto_envs.simulators.drives import add_drive, give_back_damping
from proto_envs.simulators.objects import add_objects
from proto_envs.terrain import FLAT, Terrain

__all__ = ["GROUND", "PROJECTILE", "JointLayout", "add_ground", "add_height_field", "physics_spec"]

PROJECTILE = "projectile"
"""word that the names of projectiles begin with"""
GROUND = "floor"
"""name of the ground: of the plane, or of the fixed body, the geom and the asset of a height field"""
_FAR, _DEEP = 1000.0, 5.0
"""m, end of the level ground around a height field, and half its thickness"""
_BELOW_PITS = 1.0
"""m that the ground reaches below the lowest point of a height field"""


def physics_spec(
    robot: Robot, settings: SimulationSettings, scene: int = 0, *, fixed_shapes: bool = False
) -> mujoco.MjSpec:
    """The robot on a floor, with the objects of one of the scenes if there are any, ready to compile.

    Where the robot's MJCF stacks three hinges, one ball joint with three position actuators takes their place
    (gear along the hinges' axes; MuJoCo's actuator length is then the rotation vector's component). The first D
    actuators are the drives, in the order of the degrees of freedom; what follows them is told in `drives`.

    Args:
        robot: that is simulated.
        settings: rates, ground, sensors, scenes.
        scene: which of the scenes.
        fixed_shapes: lay objects out for an engine whose geoms are of one type in all environments.
    """
    spec = robot.spec()
    spec.option.timestep = 1.0 / (settings.control_hz * settings.substeps)
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_EULER
    spec.option.gravity = (0.0, 0.0, settings.gravity)
    # MuJoCo would silently put a diverged simulation back to its start; the environment must hear of it instead.
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    for geom in spec.geoms:
        if geom.contype or geom.conaffinity:  # others are for looks, or sit inside their neighbours
            geom.contype, geom.conaffinity = 1, int(settings.self_collision)
        geom.condim = 3
        geom.friction = (settings.friction, 0.005, 0.0001)
    dof, driven = 0, []
    for index, joint in enumerate(robot.skeleton.joints):
        drives = robot.dof_drives[dof : dof + len(joint.names)]
        dof += len(joint.names)
        if joint.names:
            target = _make_joint(spec, spec.body(robot.skeleton.body_names[index]), joint.kind, drives)
            axes = joint.axes if joint.kind == "ball" else ((1.0, 0.0, 0.0),)
            driven += [(name, target, axis, drive) for name, axis, drive in zip(joint.names, axes, drives, strict=True)]
    for add in (add_drive, give_back_damping):
        for name, target, axis, drive in driven:
            add(spec, name, target, axis, drive)
    add_ground(spec, settings.friction, settings.terrain)
    if settings.contact_forces:
        for body in robot.skeleton.body_names:
            _add_contact_sensor(spec, body, settings.terrain.is_flat)
    if settings.scenes is not None:
        watched = robot.skeleton.body_names if settings.object_forces else ()
        add_objects(spec, settings.scenes, scene, settings.friction, watched, fixed_shapes=fixed_shapes)
    if settings.projectiles is not None:
        add_objects(spec, settings.projectiles, 0, settings.friction, kind=PROJECTILE)
    return spec


def _make_joint(spec: mujoco.MjSpec, body: mujoco.MjsBody, kind: str, drives: tuple[Drive, ...]) -> str:
    """Turn a body's joints into the one that is driven; returns its name."""
    joints = list(body.joints)
    target = joints[0].name
    if kind == "ball":
        if len({d.damping for d in drives}) > 1:
            raise ValueError(f"body {body.name!r}: the three axes of a ball joint share one damping, got {drives}")
        armature = max(joint.armature for joint in joints)
        # The cone that holds the box of the three hinges' ranges; targets are bounded per axis, the joint by the cone.
        # A ball that is one in the MJCF already keeps its own.
        cone = math.hypot(*(max(map(abs, joint.range)) if int(joint.limited) else math.pi for joint in joints))
        for joint in joints:
            spec.delete(joint)
        target = body.name
        joints = [body.add_joint(name=target, type=mujoco.mjtJoint.mjJNT_BALL, armature=armature)]
        joints[0].limited = int(cone < math.pi)
        joints[0].range = (0.0, min(cone, math.pi))
    joints[0].damping = [drives[0].damping, 0.0, 0.0]
    joints[0].actfrclimited = mujoco.mjtLimited.mjLIMITED_FALSE  # the drive has the limit
    if drives[0].armature is not None:
        joints[0].armature = drives[0].armature
    return target


def add_ground(spec: mujoco.MjSpec, friction: float, terrain: Terrain = FLAT) -> None:
    """Add the ground; geoms of contype 1 collide with it.

    It is a plane of the world. Or it is a fixed body with a height field, cut down to where heights are not 0, and four
    bodies with a block each around it, whose tops are level at height 0: feet meet a block nearly as fast as a plane,
    and blocks in bodies of their own are soon out of question for a robot far away.
    """
    surface: dict[str, Any] = {"contype": 1, "conaffinity": 1, "condim": 3, "friction": (friction, 0.005, 0.0001)}
    if terrain.is_flat:
        spec.worldbody.add_geom(name=GROUND, type=mujoco.mjtGeom.mjGEOM_PLANE, size=(0, 0, 0.05), **surface)
        return
    grid, spacing = terrain.grid.cpu().numpy(), terrain.spacing
    # One ring of vertices at height 0 stays around those that are not; the whole grid has such a ring.
    (x0, x1), (y0, y1) = ((np.flatnonzero(grid.any(axis=k))[[0, -1]] + (-1, 1)).tolist() for k in (1, 0))
    uneven = grid[x0 : x1 + 1, y0 : y1 + 1]
    add_height_field(spec, uneven, spacing)
    left, right = ((x - 0.5 * (grid.shape[0] - 1)) * spacing for x in (x0, x1))
    back, front = ((y - 0.5 * (grid.shape[1] - 1)) * spacing for y in (y0, y1))
    body = spec.worldbody.add_body(name=GROUND)
    middle = (0.5 * (left + right), 0.5 * (back + front), float(uneven.min()))
    body.add_geom(name=GROUND, type=mujoco.mjtGeom.mjGEOM_HFIELD, hfieldname=GROUND, pos=middle, **surface)
    for name, (x_low, x_high), (y_low, y_high) in (
        ("left", (-_FAR, left), (-_FAR, _FAR)),
        ("right", (right, _FAR), (-_FAR, _FAR)),
        ("back", (left, right), (-_FAR, back)),
        ("front", (left, right), (front, _FAR)),
    ):
        block = body.add_body(pos=(0.5 * (x_low + x_high), 0.5 * (y_low + y_high), -_DEEP))
        size = (0.5 * (x_high - x_low), 0.5 * (y_high - y_low), _DEEP)
        block.add_geom(name=f"{GROUND}_{name}", type=mujoco.mjtGeom.mjGEOM_BOX, size=size, mass=0.0, **surface)


def add_height_field(spec: mujoco.MjSpec, heights: np.ndarray, spacing: float) -> None:
    """Add heights (X, Y) in m as the asset `GROUND`; its geom belongs at the height of the lowest of them."""
    rows, columns = heights.shape
    # MuJoCo's rows go along y, and it maps whatever numbers it gets onto 0 to 1.
    data = np.ascontiguousarray(heights.T, dtype=np.float32)
    field = spec.add_hfield(name=GROUND, content_type="image/vnd.mujoco.hfield", file=f"{GROUND}.hfield")
    spec.assets[field.file] = np.array([columns, rows], dtype=np.int32).tobytes() + data.tobytes()
    range_ = float(data.max() - data.min())
    field.size = (0.5 * (rows - 1) * spacing, 0.5 * (columns - 1) * spacing, range_, _BELOW_PITS)


def _add_contact_sensor(spec: mujoco.MjSpec, body: str, ground_is_geom: bool) -> None:
    force, netforce = 1 << int(mujoco.mjtConDataField.mjCONDATA_FORCE), 3
    spec.add_sensor(
        name=f"contact_{body}",
        type=mujoco.mjtSensor.mjSENS_CONTACT,
        objtype=mujoco.mjtObj.mjOBJ_BODY,
        objname=body,
        reftype=mujoco.mjtObj.mjOBJ_GEOM if ground_is_geom else mujoco.mjtObj.mjOBJ_XBODY,  # with the bodies below it
        refname=GROUND,
        intprm=[force, netforce, 1],
    )


@dataclass(frozen=True)
class JointLayout:
    """Where a robot's joints stand in the state vectors of a compiled physics model."""

    hinge_dofs: np.ndarray
    """(H,) degrees of freedom (ours) that are hinges"""
    hinge_qpos: np.ndarray
    """(H,) their addresses in qpos"""
    ball_bodies: np.ndarray
    """(J,) indices of bodies (ours) that hang on ball joints"""
    ball_dofs: np.ndarray
    """(J, 3) their degrees of freedom (ours)"""
    ball_qpos: np.ndarray
    """(J, 4) addresses of their quaternions (wxyz) in qpos"""
    dof_qvel: np.ndarray
    """(D,) address in qvel of each degree of freedom; a ball's three stand in x, y, z order of the body's frame"""
    bodies: slice
    """the robot's bodies among the model's"""

    @classmethod
    def of(cls, robot: Robot, model: mujoco.MjModel) -> JointLayout:
        """Read the addresses of a compiled `physics_spec`."""
        skeleton = robot.skeleton
        first = model.body(skeleton.body_names[0]).id
        names = tuple(model.body(first + i).name for i in range(skeleton.num_bodies))
        if names != skeleton.body_names:
            raise AssertionError(f"MuJoCo ordered the bodies {names}, the skeleton {skeleton.body_names}")
        hinge_dofs, hinge_qpos, ball_bodies, ball_dofs, ball_qpos = [], [], [], [], []
        dof_qvel: list[int] = []
        dof = 0
        for body, joint in enumerate(skeleton.joints):
            if not joint.names:
                continue
            mj_joint = model.body_jntadr[first + body]
            qpos, qvel = model.jnt_qposadr[mj_joint], model.jnt_dofadr[mj_joint]
            if joint.kind == "hinge":
                hinge_dofs.append(dof)
                hinge_qpos.append(qpos)
            else:
                ball_bodies.append(body)
                ball_dofs.append([dof, dof + 1, dof + 2])
                ball_qpos.append(range(qpos, qpos + 4))
            dof_qvel += range(qvel, qvel + len(joint.names))
            dof += len(joint.names)
        return cls(
            hinge_dofs=np.array(hinge_dofs, dtype=np.int64),
            hinge_qpos=np.array(hinge_qpos, dtype=np.int64),
            ball_bodies=np.array(ball_bodies, dtype=np.int64),
            ball_dofs=np.array(ball_dofs, dtype=np.int64).reshape(-1, 3),
            ball_qpos=np.array(ball_qpos, dtype=np.int64).reshape(-1, 4),
            dof_qvel=np.array(dof_qvel, dtype=np.int64),
            bodies=slice(first, first + skeleton.num_bodies),
        )
