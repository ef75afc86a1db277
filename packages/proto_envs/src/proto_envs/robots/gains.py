"""Drives of a robot whose gains nobody has given: those of its MJCF's position actuators, or a rule."""

from __future__ import annotations

import math
from collections.abc import Sequence

import mujoco
import numpy as np
import torch

from poselib.skeleton import Skeleton
from proto_envs.robots.base import Drive

__all__ = ["drives_by_rule", "position_drives", "torque_limits"]

_REACH = 0.5
"""rad off its target at which a drive of unknown strength gives its whole effort"""
_MARGIN = 2.0
"""times the stiffness at which an upright robot would be in balance on a joint of its legs"""
_JOINT = (int(mujoco.mjtTrn.mjTRN_JOINT), int(mujoco.mjtTrn.mjTRN_JOINTINPARENT))


def _actuators(model: mujoco.MjModel, joint: int) -> list[int]:
    """Actuators that act on a joint directly."""
    return [a for a in range(model.nu) if model.actuator_trntype[a] in _JOINT and model.actuator_trnid[a, 0] == joint]


def _is_position(model: mujoco.MjModel, actuator: int) -> bool:
    affine = model.actuator_biastype[actuator] == mujoco.mjtBias.mjBIAS_AFFINE
    return bool(affine and model.actuator_gainprm[actuator, 0] > 0 and model.actuator_biasprm[actuator, 1] < 0)


def position_drives(model: mujoco.MjModel, *, damping_ratio: float, frequency: float) -> dict[str, Drive]:
    """Drive of each hinge that has a position actuator.

    Damping is the actuator's (`kv`) and the joint's together; where there is none, a drive of `frequency` Hz would be
    damped by `damping_ratio`. Gears count: a gear g makes stiffness g2 times as high.
    """
    drives = {}
    for joint in range(model.njnt):
        found = [a for a in _actuators(model, joint) if _is_position(model, a)]
        if model.jnt_type[joint] != mujoco.mjtJoint.mjJNT_HINGE or not found:
            continue
        actuator = found[0]
        gear = abs(float(model.actuator_gear[actuator, 0]))
        stiffness = gear**2 * float(model.actuator_gainprm[actuator, 0])
        damping = gear**2 * -float(model.actuator_biasprm[actuator, 2])
        damping += float(model.dof_damping[model.jnt_dofadr[joint]])
        effort = _torque_limit(model, joint) or _REACH * stiffness
        drives[model.joint(joint).name] = Drive(
            stiffness, damping or _damping(stiffness, damping_ratio, frequency), effort
        )
    return drives


def torque_limits(model: mujoco.MjModel) -> dict[str, float]:
    """Largest torque in N m of each hinge for which the MJCF says one: by its actuator's or its own range."""
    limits = {model.joint(joint).name: _torque_limit(model, joint) for joint in range(model.njnt)}
    return {name: limit for name, limit in limits.items() if limit is not None}


def _torque_limit(model: mujoco.MjModel, joint: int) -> float | None:
    found = []
    if model.jnt_actfrclimited[joint]:
        found.append(np.abs(model.jnt_actfrcrange[joint]).max())
    for actuator in _actuators(model, joint):
        gear = abs(model.actuator_gear[actuator, 0])
        if model.actuator_forcelimited[actuator]:
            found.append(gear * np.abs(model.actuator_forcerange[actuator]).max())
        elif model.actuator_ctrllimited[actuator] and not _is_position(model, actuator):
            widest = np.abs(model.actuator_ctrlrange[actuator]).max()
            found.append(gear * abs(model.actuator_gainprm[actuator, 0]) * widest)
    return float(min(found)) if found else None


def drives_by_rule(
    spec: mujoco.MjSpec,
    skeleton: Skeleton,
    feet: Sequence[str],
    *,
    frequency: float,
    damping_ratio: float,
    efforts: dict[str, float],
) -> dict[str, Drive]:
    """Gains from inertia and weight, one drive per degree of freedom.

    A joint moves its motor and the two halves of the robot against each other, floating, with all other joints stiff:
    that is the inertia I it feels. Its stiffness I w2 lets them swing at `frequency` Hz. A joint of a leg also
    carries the rest of the robot; there stiffness is at least twice that at which the robot, upright on all feet, would
    stay in balance: 2 m g h / legs, with the centre of mass of what is above the joint h higher. Damping is
    2 `damping_ratio` / w of the stiffness. The three axes of a ball share the largest.

    Args:
        spec: of hinges, as `open_chain` gives it.
        skeleton: of that spec.
        feet: bodies that the robot stands on.
        frequency: Hz.
        damping_ratio: 1 is critical damping of a joint that nothing else holds.
        efforts: N m by degree of freedom; where there is none, half a radian off the target asks for all of it.
    """
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    inertia = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, data, inertia)
    root = inertia[:6]
    yielding = (root * np.linalg.solve(root[:, :6], root)).sum(axis=0)  # what the floating root gives way
    omega = 2.0 * math.pi * frequency
    stiffness: dict[str, float] = {}
    for body, joint in enumerate(skeleton.joints):
        if not joint.names:
            continue
        mj_body = model.body(skeleton.body_names[body]).id
        first = int(model.body_dofadr[mj_body])
        felt = inertia.diagonal()[first : first + len(joint.names)] - yielding[first : first + len(joint.names)]
        wanted = np.maximum(felt * omega**2, _load(model, data, skeleton, body, feet, joint.axes))
        stiffness |= dict.fromkeys(joint.names, float(wanted.max()))
    return {
        name: Drive(value, _damping(value, damping_ratio, frequency), efforts.get(name, _REACH * value))
        for name, value in stiffness.items()
    }


def _load(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    skeleton: Skeleton,
    body: int,
    feet: Sequence[str],
    axes: Sequence[tuple[float, float, float]],
) -> np.ndarray:
    """Stiffness in N m/rad about each axis that what a joint of a leg carries asks for; zero for other joints."""
    above = {foot: _path(skeleton, foot) for foot in skeleton.body_indices(list(feet))}
    legs = [path for foot, path in above.items() if not set(path[1:]) & set(above)]
    if not any(body in path for path in above.values()):
        return np.zeros(len(axes))
    mj_body = model.body(skeleton.body_names[body]).id
    total, part = model.body_subtreemass[1], model.body_subtreemass[mj_body]
    carried = total - part
    middle = (total * data.subtree_com[1] - part * data.subtree_com[mj_body]) / carried
    arm = max(float(middle[2] - data.xpos[mj_body, 2]), 0.0)
    turned = torch.tensor(axes, dtype=torch.float64).numpy() @ data.xmat[mj_body].reshape(3, 3).T
    level = 1.0 - turned[:, 2] ** 2  # weight does not turn what stands on a vertical axis
    return _MARGIN * carried * -model.opt.gravity[2] * arm / len(legs) * level


def _path(skeleton: Skeleton, body: int) -> list[int]:
    path = [body]
    while skeleton.parents[path[-1]] >= 0:
        path.append(skeleton.parents[path[-1]])
    return path


def _damping(stiffness: float, damping_ratio: float, frequency: float) -> float:
    return 2.0 * damping_ratio / (2.0 * math.pi * frequency) * stiffness
