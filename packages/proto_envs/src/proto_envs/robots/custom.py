"""Robots that are not ours: from any MJCF, or from a YAML file that names one."""

from __future__ import annotations

import difflib
import glob
from collections.abc import Mapping
from dataclasses import fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import mujoco
import yaml

from poselib.anatomy import AnatomyError, anatomy_of
from poselib.skeleton import Skeleton, SkeletonError
from proto_envs.robots.base import Drive, Robot
from proto_envs.robots.gains import drives_by_rule, position_drives, torque_limits
from proto_envs.robots.open_chain import open_chain
from proto_envs.robots.validation import ROLES, RobotError, RobotOptions, problems_of_model, problems_of_options

__all__ = ["RobotError", "RobotOptions", "from_mjcf", "from_yaml"]

_PART_OF_ROLE = {
    "head": ("head", "chest"),
    "torso": ("chest",),
    **{f"{side}_hand": (f"{side}_wrist", f"{side}_elbow") for side in ("left", "right")},
    **{f"{side}_foot": (f"{side}_ankle",) for side in ("left", "right")},
}
"""where each role is looked for among the parts of a person; without hands an arm ends in the forearm"""
_ENDS = ("right_hand", "left_hand", "right_foot", "left_foot")
_TABLES = ("semantic", "parts", "default_pose", "drives")


def from_mjcf(path: str | Path, options: RobotOptions | None = None) -> Robot:
    """A robot from an MJCF file of a character with one free root; `docs/robots.md` shows one from start to end.

    Bodies that play a part (feet, hands, head) are recognised by name and by place in the tree where they can be. Of
    the file only the character itself is taken over (`open_chain.open_chain`).

    Args:
        path: of the MJCF.
        options: what else there is to say about it.

    Raises:
        RobotError: listing everything that is missing or wrong.
    """
    path, options = Path(path), options or RobotOptions()
    model = _compiled(path)
    tuning = {"frequency": options.frequency, "damping_ratio": options.damping_ratio}
    given = position_drives(model, frequency=1.0, damping_ratio=1.0)
    if problems := problems_of_model(model) + problems_of_options(model, options, given):
        raise RobotError(path, problems)
    name = options.name or path.stem
    spec = open_chain(model, f"{name} of {path.name}")
    try:
        skeleton = Skeleton.from_mjcf(spec)
    except SkeletonError as error:
        raise RobotError(path, [str(error)]) from error
    roles = _roles(path, skeleton, options)
    feet = tuple(options.feet or (roles["left_foot"], roles["right_foot"]))
    found = position_drives(model, **tuning) or drives_by_rule(
        spec, skeleton, feet, efforts=torque_limits(model), **tuning
    )
    return Robot(
        name=name,
        model=spec.modelname,
        drives=_drives(skeleton, found, options.drives),
        feet=feet,
        key_bodies=tuple(options.key_bodies or (roles[role] for role in _ENDS)),
        semantic=roles,
        trackable=tuple(options.trackable or ()),
        contact_bodies=tuple(options.contact_bodies or ()),
        default_pose=_pose(skeleton, options.default_pose),
        action_map=options.action_map,
        control_hz=options.control_hz,
        substeps=options.substeps,
        parts=dict(options.parts),
        own_model=spec,
    )


def from_yaml(path: str | Path) -> Robot:
    """A robot from a YAML file: `mjcf: PATH` (seen from the YAML file) and the fields of `RobotOptions`.

    Drives are written as `{stiffness: 100, damping: 10, effort: 50}`.

    Raises:
        RobotError: listing everything that is missing or wrong.
    """
    path = Path(path)
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RobotError(path, [f"cannot be read as YAML: {error}"]) from error
    known = ["mjcf", *(field.name for field in fields(RobotOptions))]
    if not isinstance(table, dict) or not isinstance(table.get("mjcf"), str):
        raise RobotError(path, [f"want a mapping with the key 'mjcf' (the MJCF file); keys are {known}"])
    problems = [_unknown_key(key, known) for key in table if key not in known]
    for keys, kind, what in ((_TABLES, dict, "a mapping"), (("name", "action_map"), str, "a string")):
        problems += [f"{k}: want {what}, got {table[k]!r}" for k in keys if not isinstance(table.get(k, kind()), kind)]
    drives = table.get("drives", {})
    for pattern, numbers in drives.items() if isinstance(drives, dict) else ():
        try:
            drives[pattern] = Drive(**{key: float(value) for key, value in numbers.items()})
        except (TypeError, ValueError, AttributeError):
            problems.append(
                f"drives[{pattern!r}]={numbers!r}: want numbers for stiffness, damping, effort (and armature)"
            )
    if problems:
        raise RobotError(path, problems)
    settings: dict[str, Any] = {key: value for key, value in table.items() if key != "mjcf"}
    return from_mjcf(path.parent / table["mjcf"], RobotOptions(**{"name": path.stem, **settings}))


def _unknown_key(key: object, known: list[str]) -> str:
    near = difflib.get_close_matches(str(key), known, n=1)
    return f"unknown key {key!r}: {f'did you mean {near[0]!r}? ' if near else ''}keys are {known}"


def _compiled(path: Path) -> mujoco.MjModel:
    if not path.is_file():
        raise RobotError(path, ["there is no such file"])
    try:
        return mujoco.MjSpec.from_file(str(path)).compile()
    except ValueError as error:
        raise RobotError(path, [f"MuJoCo cannot compile it: {error}"]) from error


def _roles(path: Path, skeleton: Skeleton, options: RobotOptions) -> dict[str, str]:
    """Body of each role: the given one, or the recognised one."""
    roles, reason = dict(options.semantic), ""
    try:
        anatomy = anatomy_of(skeleton, bodies=options.parts)
        for role, parts in _PART_OF_ROLE.items():
            if found := [anatomy.parts[part].body for part in parts if part in anatomy.parts]:
                roles.setdefault(role, skeleton.body_names[found[0]])
    except AnatomyError as error:
        reason = f" ({error})"
    if missing := [role for role in ROLES if role not in roles]:
        bodies = list(skeleton.body_names)
        raise RobotError(
            path,
            [f"no body recognised as {r}{reason}: give semantic={{{r!r}: body}}; bodies are {bodies}" for r in missing],
        )
    return {role: roles[role] for role in ROLES}


def _pose(skeleton: Skeleton, given: Mapping[str, float]) -> dict[str, float]:
    """Angle of each degree of freedom: the given one, or 0, or what the range allows nearest to that."""
    pose = {}
    for dof, (low, high) in zip(skeleton.dof_names, skeleton.dof_limits.tolist(), strict=True):
        angle = next((a for pattern, a in given.items() if fnmatchcase(dof, pattern)), min(max(0.0, low), high))
        if angle:
            pose[glob.escape(dof)] = float(angle)
    return pose


def _drives(skeleton: Skeleton, found: Mapping[str, Drive], given: Mapping[str, Drive]) -> dict[str, Drive]:
    """One drive per degree of freedom, under its own name; given ones go first."""
    drives = {
        dof: next((drive for pattern, drive in given.items() if fnmatchcase(dof, pattern)), None) or found[dof]
        for dof in skeleton.dof_names
    }
    for ball in skeleton.ball_dofs:
        names = [skeleton.dof_names[dof] for dof in ball]
        damping = max(drives[name].damping for name in names)  # the three axes of a ball share one
        drives |= {name: replace(drives[name], damping=damping) for name in names}
    return {glob.escape(dof): drive for dof, drive in drives.items()}
