"""MuJoCo's physics models as Newton takes them: MJCF, and what its reader leaves out."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree

import mujoco
import numpy as np
import warp as wp

__all__ = ["limited_balls", "read_into"]

_TINY = 1e-3
"""m, size of a geom that touches nothing"""
_APART, _ABOVE = 100.0, 1000.0
"""m, from one such geom to the next, and height above a body that is away"""


def read_into(builder: Any, spec: mujoco.MjSpec, model: mujoco.MjModel, held: int) -> None:  # noqa: ANN401
    """Fill a builder of Newton with what one environment has.

    Args:
        builder: a new `newton.ModelBuilder`.
        spec: a `physics_spec` with fixed shapes, compiled; it is altered.
        model: it, compiled.
        held: Newton's flag of bodies that are put where they are.
    """
    spec.option.disableflags &= ~int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)  # Newton never resets by itself
    _hide_placeholders(spec, model)
    builder.default_shape_cfg.gap = builder.rigid_gap = 0.0  # MuJoCo has none
    with TemporaryDirectory() as folder:
        builder.add_mjcf(_document(spec, Path(folder)), ctrl_direct=True, parse_sites=False, parse_visuals=False)
    for joint in limited_balls(model):
        low, high = model.jnt_range[joint].tolist()
        dofs = slice(model.jnt_dofadr[joint], model.jnt_dofadr[joint] + 3)
        builder.joint_limit_lower[dofs], builder.joint_limit_upper[dofs] = [low] * 3, [high] * 3
    builder.joint_damping[:] = model.dof_damping.tolist()  # those of free joints are left out
    for body in range(1, model.nbody):
        _weigh(builder, model, body)
        if model.body_mocapid[body] >= 0:
            builder.body_flags[body - 1] = held


def _weigh(builder: Any, model: mujoco.MjModel, body: int) -> None:  # noqa: ANN401
    """Give a body the inertia that MuJoCo compiled: of what was not made from geoms, MJCF may tell nothing."""
    axes = np.empty(9)
    mujoco.mju_quat2Mat(axes, model.body_iquat[body])
    turned = axes.reshape(3, 3)
    builder.body_mass[body - 1] = float(model.body_mass[body])
    builder.body_com[body - 1] = wp.vec3(*model.body_ipos[body])
    builder.body_inertia[body - 1] = wp.mat33(*(turned * model.body_inertia[body] @ turned.T).ravel())


def _hide_placeholders(spec: mujoco.MjSpec, model: mujoco.MjModel) -> None:
    """Let geoms that stand for what only other scenes have touch nothing, where margins are not heeded."""
    for body in spec.bodies:
        if all(geom.margin >= 0.0 for geom in body.geoms):
            continue
        number = model.body(body.name).id
        inside = [at for geom, at in zip(body.geoms, _geom_positions(model, number), strict=True) if geom.margin >= 0.0]
        for geom in body.geoms:
            if geom.margin >= 0.0:
                continue
            if geom.type == mujoco.mjtGeom.mjGEOM_MESH:
                spec.delete(geom)  # of these alone, worlds may have different numbers
                continue
            # Within the first solid, or where nothing else of the world is; bodies without any solid never turn.
            geom.pos = inside[0] if inside else (_APART * number, 0.0, _ABOVE)
            geom.size, geom.margin = (_TINY, _TINY, _TINY), 0.0


def _geom_positions(model: mujoco.MjModel, body: int) -> np.ndarray:
    first = model.body_geomadr[body]
    return model.geom_pos[first : first + model.body_geomnum[body]]


def limited_balls(model: mujoco.MjModel) -> np.ndarray:
    """Ball joints with a limit, of which Newton passes on how far they turn, but not that this is a limit."""
    return np.flatnonzero(model.jnt_limited & (model.jnt_type == mujoco.mjtJoint.mjJNT_BALL))


def _document(spec: mujoco.MjSpec, folder: Path) -> str:
    """The model as MJCF, with its height field in a folder and as large as Newton wants to be told."""
    root = ElementTree.fromstring(spec.to_xml())
    for field in root.iter("hfield"):
        name = field.attrib["file"]
        data = spec.assets[name]
        (folder / name).write_bytes(data)
        rows, columns = np.frombuffer(data, dtype=np.int32, count=2)
        field.attrib.update(file=str(folder / name), nrow=str(rows), ncol=str(columns))
    return ElementTree.tostring(root, encoding="unicode")
