"""What is missing or wrong in a model that is to become a robot: everything at once, each with what would be right."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

import mujoco

from poselib.anatomy import PARENTS
from proto_envs.robots.base import Drive
from proto_envs.robots.open_chain import robot_bodies, robot_joints

__all__ = ["ROLES", "RobotError", "RobotOptions", "problems_of_model", "problems_of_options"]

ROLES = ("head", "torso", "left_hand", "right_hand", "left_foot", "right_foot")
_SHAPES = ("sphere", "capsule", "cylinder", "box", "mesh")
_ActionMap = Literal["range", "pose", "effort"]
_OUTSIDE = 1e-3
"""rad by which a default angle may miss its range"""


class RobotError(ValueError):
    """A robot that cannot be made. `problems` holds one sentence for each thing that is missing or wrong."""

    def __init__(self, source: object, problems: Sequence[str]) -> None:
        """Name the source (a file) and what is wrong with it."""
        self.problems = tuple(problems)
        lines = "".join(f"\n  - {problem}" for problem in problems)
        super().__init__(f"{source}: {len(problems)} thing(s) to put right:{lines}")


@dataclass(frozen=True, kw_only=True)
class RobotOptions:
    """What a user may say about a robot beside its MJCF. What is left out is recognised or worked out."""

    name: str | None = None
    """of the robot; None: the file's"""
    feet: Sequence[str] | None = None
    """bodies that it stands on; None: those recognised"""
    semantic: Mapping[str, str] = field(default_factory=dict)
    """role (head, torso, left_hand, right_hand, left_foot, right_foot) to body, where it is not recognised"""
    key_bodies: Sequence[str] | None = None
    """bodies that style observations watch; None: hands and feet"""
    trackable: Sequence[str] | None = None
    """bodies that sparse goals may name; None: root, head, hands and feet"""
    contact_bodies: Sequence[str] | None = None
    """bodies that may touch the ground without it being a fall; None: the feet"""
    parts: Mapping[str, str] = field(default_factory=dict)
    """part of a person (`poselib.anatomy.PARENTS`) to body, where it is not recognised; for roles and retargeting"""
    default_pose: Mapping[str, float] = field(default_factory=dict)
    """rad by joint-name pattern; the others stand at 0, or at the end of their range that is nearest to it"""
    drives: Mapping[str, Drive] = field(default_factory=dict)
    """gains by joint-name pattern. Where none matches: the file's position actuators, or if it has none the rule of
    `gains.drives_by_rule`"""
    frequency: float = 4.0
    """Hz, of that rule"""
    damping_ratio: float = 1.0
    """of that rule"""
    action_map: _ActionMap = "pose"
    """as in `Robot`"""
    control_hz: float = 30.0
    """control steps per second"""
    substeps: int = 4
    """physics steps per control step"""


_POSITIVE = ("frequency", "damping_ratio", "control_hz", "substeps")


def _name(model: mujoco.MjModel, kind: str, index: int) -> str:
    return getattr(model, kind)(index).name


def problems_of_model(model: mujoco.MjModel) -> list[str]:
    """What of a compiled MJCF no engine of ours could simulate as a character."""
    kinds = mujoco.mjtJoint
    free = [j for j in range(model.njnt) if model.jnt_type[j] == kinds.mjJNT_FREE]
    bodies = robot_bodies(model)
    problems = []
    if not free:
        problems.append("no body has a free joint: put <freejoint/> into the robot's root body")
    if len(free) > 1:
        owners = [_name(model, "body", model.jnt_bodyid[j]) for j in free]
        problems.append(f"{len(free)} bodies have free joints ({owners}): leave the robot's root alone in the file")
    if bodies and abs(model.body_quat[bodies[0], 0]) < 1 - 1e-6:
        problems.append(
            f"root body {_name(model, 'body', bodies[0])!r} is turned: give it quat='1 0 0 0', facing x, z up"
        )
    unnamed = [
        f"{b} (below {_name(model, 'body', model.body_parentid[b])!r})" for b in bodies if not model.body(b).name
    ]
    if unnamed:
        problems.append(f"bodies without a name: {', '.join(unnamed)}; motions are matched to bodies by name")
    for joint in robot_joints(model, bodies):
        body = _name(model, "body", model.jnt_bodyid[joint])
        name = _name(model, "joint", joint)
        if not name:
            problems.append(f"a joint of body {body!r} has no name; degrees of freedom are matched by name")
        if model.jnt_type[joint] == kinds.mjJNT_SLIDE:
            problems.append(f"joint {name!r} slides: only hinges and balls are driven; make it a hinge or remove it")
        elif model.jnt_type[joint] == kinds.mjJNT_HINGE and abs(model.qpos0[model.jnt_qposadr[joint]]) > 1e-6:
            problems.append(
                f"joint {name!r} has ref={model.qpos0[model.jnt_qposadr[joint]]:.3g}: want angle 0 as drawn"
            )
    if bodies and not any(True for _ in robot_joints(model, bodies)):
        problems.append("no body but the root has a joint: there is nothing to control")
    if model.neq:
        names = [_name(model, "equality", e) or f"number {e}" for e in range(model.neq)]
        problems.append(f"equality constraints ({', '.join(names)}): a robot is an open chain; remove them")
    return problems + _shape_problems(model, bodies)


def _shape_problems(model: mujoco.MjModel, bodies: list[int]) -> list[str]:
    collides = [
        g
        for g in range(model.ngeom)
        if model.geom_bodyid[g] in bodies and (model.geom_contype[g] or model.geom_conaffinity[g])
    ]
    if bodies and not collides:
        return ["no geom of the robot collides (contype and conaffinity are 0): it would sink through the ground"]
    problems = []
    for geom in collides:
        shape = mujoco.mjtGeom(int(model.geom_type[geom])).name.removeprefix("mjGEOM_").lower()
        if shape not in _SHAPES:
            name = _name(model, "geom", geom) or f"number {geom}"
            body = _name(model, "body", model.geom_bodyid[geom])
            problems.append(f"geom {name!r} of body {body!r} is of type {shape}; want one of {', '.join(_SHAPES)}")
    return problems


def problems_of_options(model: mujoco.MjModel, options: RobotOptions, given_drives: Iterable[str]) -> list[str]:
    """What of a user's options does not fit the model.

    Args:
        model: compiled MJCF.
        options: to check.
        given_drives: degrees of freedom that the MJCF itself has gains for.
    """
    bodies = [_name(model, "body", b) for b in robot_bodies(model)]
    problems = []
    for what in ("feet", "key_bodies", "trackable", "contact_bodies"):
        names = getattr(options, what)
        if isinstance(names, str) or not (names is None or all(isinstance(name, str) for name in names)):
            problems.append(f"{what}={names!r}: want a list of names of bodies")
        elif names is not None:
            problems += [_unknown(what, name, "body", bodies) for name in names if name not in bodies]
            problems += [f"{what} is empty: name at least one body"] * (not names)
    for what, keys in (("semantic", ROLES), ("parts", tuple(PARENTS))):
        table: Mapping[str, str] = getattr(options, what)
        problems += [
            _unknown(what, key, "role" if what == "semantic" else "part", keys) for key in table if key not in keys
        ]
        problems += [_unknown(f"{what}[{key!r}]", n, "body", bodies) for key, n in table.items() if n not in bodies]
    limits = _limits(model)
    problems += _pose_problems(limits, options.default_pose)
    problems += _drive_problems(list(limits), options.drives, list(given_drives))
    for name in _POSITIVE:
        value = getattr(options, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            problems.append(f"{name}={value!r}: want a positive number")
    if options.action_map not in get_args(_ActionMap):
        problems.append(f"action_map={options.action_map!r}: there are {list(get_args(_ActionMap))}")
    return problems


def _unknown(what: str, name: object, kind: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{what}: there is no {kind} {name!r}; {hint}there are {list(known)}"


def _limits(model: mujoco.MjModel) -> dict[str, tuple[float, float]]:
    """Range in rad of each degree of freedom."""
    limits: dict[str, tuple[float, float]] = {}
    for joint in robot_joints(model, robot_bodies(model)):
        name, limited = _name(model, "joint", joint), bool(model.jnt_limited[joint])
        low, high = map(float, model.jnt_range[joint]) if limited else (-math.pi, math.pi)
        if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_BALL:
            limits |= {f"{name}_{axis}": (-high, high) for axis in "xyz"}
        else:
            limits[name] = (low, high)
    return limits


def _pose_problems(limits: Mapping[str, tuple[float, float]], pose: Mapping[str, Any]) -> list[str]:
    problems = []
    for pattern, angle in pose.items():
        if isinstance(angle, bool) or not isinstance(angle, (int, float)) or not math.isfinite(angle):
            problems.append(f"default_pose[{pattern!r}]={angle!r}: want an angle in rad")
            continue
        hits = [name for name in limits if fnmatchcase(name, pattern)]
        if not hits:
            problems.append(_unknown("default_pose", pattern, "joint", list(limits)))
        for name in hits:
            low, high = limits[name]
            if not low - _OUTSIDE <= angle <= high + _OUTSIDE:
                problems.append(
                    f"default_pose: joint {name!r} at {angle:.3g} rad is outside its range {low:.3g} to {high:.3g}"
                )
    return problems


def _drive_problems(dofs: Sequence[str], drives: Mapping[str, Any], given: Sequence[str]) -> list[str]:
    problems = [_unknown("drives", p, "joint", dofs) for p in drives if not any(fnmatchcase(d, p) for d in dofs)]
    for pattern, drive in drives.items():
        if not isinstance(drive, Drive):
            problems.append(f"drives[{pattern!r}]={drive!r}: want stiffness, damping and effort")
        elif not (drive.stiffness > 0 and drive.damping > 0 and drive.effort > 0):
            problems.append(f"drives[{pattern!r}]: stiffness, damping and effort must be positive, got {drive}")
    for dof in dofs:
        hits = [pattern for pattern in drives if fnmatchcase(dof, pattern)]
        if len(hits) > 1:
            problems.append(f"drives: joint {dof!r} matches {hits}; want one pattern for each")
    without = [d for d in dofs if d not in given and not any(fnmatchcase(d, p) for p in drives)]
    if given and without:
        problems.append(
            f"joints {without} have no position actuator, though others have: add <position joint=... kp=...> for them,"
            " or give drives={pattern: Drive(stiffness, damping, effort)}"
        )
    return problems
