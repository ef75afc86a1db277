"""A robot as Isaac Gym takes it: an MJCF in the few words that its importer knows, and numbers set after the import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as Xml

import mujoco
import numpy as np

from proto_envs.robots import Robot
from proto_envs.simulators.base import UnsupportedError
from proto_envs.simulators.mjcf import JointLayout

__all__ = ["IsaacGymRobot"]

_SHAPES = {
    mujoco.mjtGeom.mjGEOM_SPHERE: "sphere",
    mujoco.mjtGeom.mjGEOM_CAPSULE: "capsule",
    mujoco.mjtGeom.mjGEOM_CYLINDER: "cylinder",
    mujoco.mjtGeom.mjGEOM_BOX: "box",
}
_SPECK = 1e-4
"""kg of a body that weighs nothing, such as a head fixed to a torso that has its mass: to PhysX, 0 is infinite"""


@dataclass(frozen=True)
class IsaacGymRobot:
    """What Isaac Gym is told of a robot; B bodies, D degrees of freedom, in our order."""

    mjcf: str
    """tree, joints and shapes; each ball is three hinges about x, y and z, of which Isaac Gym makes one spherical joint
    whose coordinate is a rotation vector (nv-tlabs/ASE#30)"""
    stiffness: np.ndarray
    """(D,) N m/rad"""
    damping: np.ndarray
    """(D,) N m s/rad"""
    efforts: np.ndarray
    """(D,) N m"""
    armatures: np.ndarray
    """(D,) kg m2"""
    masses: np.ndarray
    """(B,) kg"""
    coms: np.ndarray
    """(B, 3) m, centres of mass in the bodies' frames"""
    inertias: np.ndarray
    """(B, 3, 3) kg m2 about them, along the bodies' axes"""

    @classmethod
    def of(cls, robot: Robot, model: mujoco.MjModel, layout: JointLayout) -> IsaacGymRobot:
        """Take everything from a compiled `physics_spec`.

        Raises:
            UnsupportedError: for a ball about other axes than x, y and z, or a shape that the engine does not make.
        """
        for name, joint in zip(robot.skeleton.body_names, robot.skeleton.joints, strict=True):
            if joint.kind == "ball" and not np.allclose(joint.axes, np.eye(3), atol=1e-4):
                raise UnsupportedError(
                    f"engine isaacgym has balls whose degrees of freedom are about x, y and z, in this order; those of "
                    f"body {name!r} are about {joint.axes}"
                )
        bodies, dofs = layout.bodies, robot.skeleton.num_dofs
        axes = np.stack([_matrix(quat) for quat in model.body_iquat[bodies]])
        masses, principal = _weighing(model, bodies)
        return cls(
            mjcf=_mjcf(robot, model, bodies),
            stiffness=model.actuator_gainprm[:dofs, 0],
            damping=model.dof_damping[layout.dof_qvel],
            efforts=model.actuator_forcerange[:dofs, 1],
            armatures=model.dof_armature[layout.dof_qvel],
            masses=masses,
            coms=model.body_ipos[bodies],
            inertias=np.einsum("bij,bj,bkj->bik", axes, principal, axes),
        )


def _weighing(model: mujoco.MjModel, bodies: slice) -> tuple[np.ndarray, np.ndarray]:
    """Masses (B,) and principal inertias (B, 3) of bodies that all weigh something."""
    return np.maximum(model.body_mass[bodies], _SPECK), np.maximum(model.body_inertia[bodies], _SPECK**2)


def _matrix(quat: np.ndarray) -> np.ndarray:
    result = np.zeros(9)
    mujoco.mju_quat2Mat(result, quat)
    return result.reshape(3, 3)


def _mjcf(robot: Robot, model: mujoco.MjModel, bodies: slice) -> str:
    skeleton = robot.skeleton
    masses, principal = _weighing(model, bodies)
    root = Xml.Element("mujoco", model=skeleton.name)
    Xml.SubElement(root, "compiler", angle="degree")
    world = Xml.SubElement(root, "worldbody")
    elements: list[Xml.Element] = []
    for index, (name, parent, joint) in enumerate(
        zip(skeleton.body_names, skeleton.parents, skeleton.joints, strict=True)
    ):
        id = bodies.start + index
        place = {"name": name, "pos": _text(model.body_pos[id]), "quat": _text(model.body_quat[id])}
        body = Xml.SubElement(world if parent < 0 else elements[parent], "body", place)
        elements.append(body)
        if parent < 0:
            Xml.SubElement(body, "freejoint", name="root")
        weight = {"mass": _text(masses[index : index + 1]), "diaginertia": _text(principal[index])}
        weight |= {"pos": _text(model.body_ipos[id]), "quat": _text(model.body_iquat[id])}
        Xml.SubElement(body, "inertial", weight)
        limits = _limits(model, model.body_jntadr[id]) if joint.names else {}
        for dof, axis in zip(joint.names, joint.axes, strict=True):
            hinge = {"name": dof, "type": "hinge", "pos": "0 0 0", "axis": _text(axis), **limits}
            Xml.SubElement(body, "joint", hinge)
        for geom in range(model.body_geomadr[id], model.body_geomadr[id] + model.body_geomnum[id]):
            if model.geom_contype[geom] or model.geom_conaffinity[geom]:
                Xml.SubElement(body, "geom", _geom(model, geom))
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode")


def _limits(model: mujoco.MjModel, joint: int) -> dict[str, str]:
    """A hinge's range; a ball's cone as the same range about each axis."""
    if not model.jnt_limited[joint]:
        return {"limited": "false"}
    low, high = np.degrees(model.jnt_range[joint])
    low = -high if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_BALL else low
    return {"limited": "true", "range": _text((low, high))}


def _geom(model: mujoco.MjModel, geom: int) -> dict[str, str]:
    kind, size, center = mujoco.mjtGeom(model.geom_type[geom]), model.geom_size[geom], model.geom_pos[geom]
    if kind not in _SHAPES:
        name = kind.name.removeprefix("mjGEOM_").lower()
        raise UnsupportedError(f"engine isaacgym has no shape {name!r}; it has {list(_SHAPES.values())}")
    shape = {"type": _SHAPES[kind], "density": "1000"}
    if kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        return {**shape, "size": _text(size[:1]), "pos": _text(center)}
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        return {**shape, "size": _text(size), "pos": _text(center), "quat": _text(model.geom_quat[geom])}
    along = size[1] * _matrix(model.geom_quat[geom])[:, 2]
    return {**shape, "size": _text(size[:1]), "fromto": _text((*(center - along), *(center + along)))}


def _text(numbers: Any) -> str:  # noqa: ANN401
    return " ".join(f"{number:.9g}" for number in numbers)
