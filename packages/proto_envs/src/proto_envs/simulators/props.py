"""Loose rigid bodies beside the robot, made of blocks, and how MuJoCo's engines are told of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np

__all__ = ["Block", "Prop", "PropLayout", "add_props"]

_COLOR = (0.55, 0.60, 0.70, 1.0)


@dataclass(frozen=True)
class Block:
    """A box of a prop."""

    size: tuple[float, float, float]
    """m along x, y and z"""
    center: tuple[float, float, float]
    """m in the prop's frame"""


@dataclass(frozen=True)
class Prop:
    """A rigid body that stands, falls and is pushed."""

    name: str
    blocks: tuple[Block, ...]
    density: float
    """kg/m3"""


def add_props(spec: mujoco.MjSpec, props: Sequence[Prop], friction: float, watched: Sequence[str]) -> None:
    """Add props to a physics model, and sensors of the force with which each of the `watched` bodies pushes each."""
    for prop in props:
        body = spec.worldbody.add_body(name=prop.name)
        body.add_freejoint(name=prop.name)
        for block in prop.blocks:
            body.add_geom(
                type=mujoco.mjtGeom.mjGEOM_BOX,
                size=[0.5 * edge for edge in block.size],
                pos=block.center,
                density=prop.density,
                contype=1,
                conaffinity=1,
                condim=3,
                friction=(friction, 0.005, 0.0001),
                rgba=_COLOR,
            )
        force, netforce = 1 << int(mujoco.mjtConDataField.mjCONDATA_FORCE), 3
        for name in watched:
            spec.add_sensor(
                name=f"contact_{prop.name}_{name}",
                type=mujoco.mjtSensor.mjSENS_CONTACT,
                objtype=mujoco.mjtObj.mjOBJ_BODY,
                objname=name,
                reftype=mujoco.mjtObj.mjOBJ_BODY,
                refname=prop.name,
                intprm=[force, netforce, 1],
            )


@dataclass(frozen=True)
class PropLayout:
    """Where O props stand in the state vectors of a compiled model."""

    qpos: np.ndarray
    """(O, 7) addresses of position and wxyz orientation"""
    qvel: np.ndarray
    """(O, 6) of velocity (world) and angular velocity (body frame)"""

    @classmethod
    def of(cls, props: Sequence[Prop], model: mujoco.MjModel) -> PropLayout:
        """Read the addresses."""
        joints = [model.joint(prop.name).id for prop in props]
        qpos = model.jnt_qposadr[joints].reshape(-1, 1) + np.arange(7)
        qvel = model.jnt_dofadr[joints].reshape(-1, 1) + np.arange(6)
        return cls(qpos.astype(np.int64), qvel.astype(np.int64))
