"""Clips that no body of flesh or steel can follow: what is wrong, where, and when.

Default limits are those of ProtoMotions 3's filter of motions; the self-penetration limits those of its own filter.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import mujoco
import numpy as np
import torch
from torch import Tensor

from motionlib.motion import Motion, MotionError
from motionlib.processing.retargeting import character_of
from poselib import models
from poselib.kinematics import forward_kinematics
from poselib.rotations import angle_between, wxyz_from_xyzw
from poselib.skeleton import Skeleton

__all__ = ["Finding", "FindingKind", "Limits", "check_motion", "self_penetration"]

FindingKind = Literal["below_ground", "fast_body", "fast_joint", "airborne", "self_penetration"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a clip may do; None switches a check off."""

    min_height: float | None = -0.05
    """m, lowest height of a body's origin"""
    max_body_speed: float | None = 15.0
    """m/s between two frames, of a body's origin"""
    max_joint_speed: float | None = 40.0
    """rad/s between two frames, of a body against its parent"""
    airborne_height: float = 0.2
    """m above the lowest point of the clip, from which the lowest body's origin counts as in the air"""
    max_airborne: float | None = 1.0
    """s in the air without a break"""
    max_penetration: float | None = 0.05
    """m, how deep two parts of the character may sink into each other beyond what they do in its rest pose"""
    long_penetration: float = 0.03
    """m, how deep for longer"""
    max_long_penetration: float = 1.0
    """s without a break deeper than `long_penetration`"""


@dataclass(frozen=True)
class Finding:
    """One way in which a clip breaks a limit, over one span of time."""

    kind: FindingKind
    where: str
    """body, joint or pair of bodies that is farthest beyond the limit"""
    start: float
    """s from the clip's first frame"""
    end: float
    value: float
    """the worst, in the limit's unit"""
    limit: float

    def __str__(self) -> str:
        """One line."""
        text, unit = _TEXTS[self.kind]
        return (
            f"{self.where} {text} {self.value:.3g} {unit}, limit {self.limit:g} {unit}, "
            f"from {self.start:.2f} to {self.end:.2f} s"
        )


_TEXTS: dict[FindingKind, tuple[str, str]] = {
    "below_ground": ("is below the ground at", "m"),
    "fast_body": ("moves at", "m/s"),
    "fast_joint": ("turns at", "rad/s"),
    "airborne": ("is in the air for", "s"),
    "self_penetration": ("sink into each other by", "m"),
}


def check_motion(
    motion: Motion,
    skeleton: Skeleton | None = None,
    limits: Limits | None = None,
    spec: mujoco.MjSpec | None = None,
) -> tuple[Finding, ...]:
    """Everything in a clip that breaks a limit, by kind and then in order of time; nothing for a clip that is good.

    Args:
        motion: on the ground, z = 0.
        skeleton: of the character; that of the built-in character with the clip's bodies if left out.
        limits: the defaults if left out.
        spec: the character's model, for self-penetration; known for built-in characters. Without one that check is
            left out.

    Raises:
        MotionError: if the clip does not fit the skeleton, or is of no built-in character and none is given.
    """
    limits = limits or Limits()
    character = character_of(motion)
    if skeleton is None:
        if character is None:
            raise MotionError(f"clip {motion.name!r} is of no built-in character: pass its skeleton")
        skeleton = models.skeleton(character)
    motion = motion.for_skeleton(skeleton)
    positions, _ = forward_kinematics(skeleton, motion.root_positions.double(), motion.local_rotations.double())
    findings = _below_ground(motion, positions, limits)
    findings += _fast_bodies(motion, positions, limits)
    findings += _fast_joints(motion, limits)
    findings += _airborne(motion, positions, limits)
    if limits.max_penetration is not None and (spec is not None or character is not None):
        findings += self_penetration(motion, skeleton, spec, limits)
    return tuple(findings)


# --- the checks ------------------------------------------------------------------------------------------------------


def _below_ground(motion: Motion, positions: Tensor, limits: Limits) -> list[Finding]:
    if limits.min_height is None:
        return []
    return _findings("below_ground", motion, -positions[..., 2], -limits.min_height, motion.body_names, sign=-1.0)


def _fast_bodies(motion: Motion, positions: Tensor, limits: Limits) -> list[Finding]:
    if limits.max_body_speed is None:
        return []
    speeds = positions.diff(dim=0).norm(dim=-1) * motion.fps
    return _findings("fast_body", motion, speeds, limits.max_body_speed, motion.body_names)


def _fast_joints(motion: Motion, limits: Limits) -> list[Finding]:
    if limits.max_joint_speed is None:
        return []
    local = motion.local_rotations[:, 1:].double()
    speeds = angle_between(local[:-1], local[1:]) * motion.fps
    return _findings("fast_joint", motion, speeds, limits.max_joint_speed, motion.body_names[1:])


def _airborne(motion: Motion, positions: Tensor, limits: Limits) -> list[Finding]:
    if limits.max_airborne is None:
        return []
    heights, bodies = positions[..., 2].min(dim=-1)
    findings = []
    for first, last in _runs(heights - heights.min() > limits.airborne_height):
        seconds = (last - first + 1) / motion.fps
        if seconds >= limits.max_airborne:
            body = motion.body_names[int(bodies[first + heights[first : last + 1].argmax()])]
            start, end = first / motion.fps, last / motion.fps
            findings.append(Finding("airborne", body, start, end, seconds, limits.max_airborne))
    return findings


def _findings(
    kind: FindingKind, motion: Motion, values: Tensor, limit: float, names: tuple[str, ...], sign: float = 1.0
) -> list[Finding]:
    """One finding per span in which any column of `values` (T or T - 1, N) is above the limit.

    Values of steps between two frames are those of both frames.
    """
    findings = []
    step = int(len(values) < motion.num_frames)
    for first, last in _runs((values > limit).any(dim=-1)):
        worst, columns = values[first : last + 1].max(dim=-1)
        row = int(worst.argmax())
        start, end = first / motion.fps, (last + step) / motion.fps
        findings.append(Finding(kind, names[int(columns[row])], start, end, sign * float(worst[row]), sign * limit))
    return findings


def _runs(mask: Tensor) -> list[tuple[int, int]]:
    """First and last index of each run of True."""
    edges = torch.nn.functional.pad(mask.int(), (1, 1)).diff()
    starts, ends = torch.nonzero(edges == 1).flatten().tolist(), torch.nonzero(edges == -1).flatten().tolist()
    return [(first, last - 1) for first, last in zip(starts, ends, strict=True)]


# --- self-penetration ------------------------------------------------------------------------------------------------


def self_penetration(
    motion: Motion, skeleton: Skeleton, spec: mujoco.MjSpec | None = None, limits: Limits | None = None
) -> list[Finding]:
    """Spans in which parts of the character sink into each other, by MuJoCo's collision detection.

    Pairs of bodies that the model excludes, and neighbours in the tree, do not count; what overlaps in the rest pose
    counts from there.

    Args:
        motion: matched with the skeleton by name.
        skeleton: of the character.
        spec: its model; that of the built-in character of the skeleton's name if left out.
        limits: those of penetration are used.

    Raises:
        MotionError: if the model is not known, or lacks a body of the skeleton.
    """
    limits = limits or Limits()
    motion = motion.for_skeleton(skeleton)
    if spec is None and skeleton.name not in models.MODELS:
        raise MotionError(f"skeleton {skeleton.name!r} is no built-in character: pass its model")
    model = _built_in_model(skeleton.name) if spec is None else _ball_model(spec)
    depths = _depths(model, motion, skeleton)
    names = tuple(depths)
    if not names:
        return []
    values = torch.tensor(np.stack([depths[name] for name in names], axis=1))
    deep = limits.max_penetration if limits.max_penetration is not None else float("inf")
    findings = _findings("self_penetration", motion, values, deep, names)
    for first, last in _runs((values > limits.long_penetration).any(dim=-1)):
        if (last - first) / motion.fps > limits.max_long_penetration:
            worst, columns = values[first : last + 1].max(dim=-1)
            row = int(worst.argmax())
            span = first / motion.fps, last / motion.fps
            if float(worst[row]) <= deep:  # the others are found already
                pair, depth = names[int(columns[row])], float(worst[row])
                findings.append(Finding("self_penetration", pair, *span, depth, limits.long_penetration))
    return findings


@cache
def _built_in_model(name: str) -> mujoco.MjModel:
    return _ball_model(models.character_model(name).spec())


def _ball_model(spec: mujoco.MjSpec) -> mujoco.MjModel:
    """The model with a ball joint in the place of hinges, so that local rotations are its coordinates."""
    spec = spec.copy()
    for body in spec.bodies[1:]:
        hinges = [joint for joint in body.joints if joint.type == mujoco.mjtJoint.mjJNT_HINGE]
        for joint in hinges:
            spec.delete(joint)
        if hinges:
            body.add_joint(name=f"{body.name} ball", type=mujoco.mjtJoint.mjJNT_BALL)
    return spec.compile()


def _depths(model: mujoco.MjModel, motion: Motion, skeleton: Skeleton) -> dict[str, np.ndarray]:
    """For each pair of bodies that ever touch: how deep they are in each other beyond the rest pose, (T,) m."""
    data = mujoco.MjData(model)
    try:
        addresses = [
            (body, int(model.jnt_qposadr[model.body(name).jntadr[0]]))
            for body, name in enumerate(skeleton.body_names)
            if model.body(name).jntnum[0]
        ]
    except KeyError as error:
        raise MotionError(f"the model of skeleton {skeleton.name!r} lacks a body: {error}") from error
    quaternions = wxyz_from_xyzw(motion.local_rotations.double()).numpy()
    roots = motion.root_positions.double().numpy()
    rest = _touching(model, data)
    depths: dict[str, np.ndarray] = {}
    for frame in range(motion.num_frames):
        for body, address in addresses:
            if body == 0:
                data.qpos[address : address + 3] = roots[frame]
                address += 3
            data.qpos[address : address + 4] = quaternions[frame, body]
        for pair, depth in _touching(model, data).items():
            beyond = depth - rest.get(pair, 0.0)
            depths.setdefault(pair, np.zeros(motion.num_frames))[frame] = max(beyond, 0.0)
    return depths


def _touching(model: mujoco.MjModel, data: mujoco.MjData) -> dict[str, float]:
    """Pairs of bodies that touch in a pose, with their depth in m."""
    mujoco.mj_kinematics(model, data)
    mujoco.mj_comPos(model, data)
    mujoco.mj_collision(model, data)
    found: dict[str, float] = {}
    bodies = model.geom_bodyid[data.contact.geom]
    for (first, second), distance in zip(bodies.tolist(), data.contact.dist.tolist(), strict=True):
        if first and second:  # body 0 is the world
            pair = f"{model.body(first).name} and {model.body(second).name}"
            found[pair] = max(found.get(pair, 0.0), -distance)
    return found
