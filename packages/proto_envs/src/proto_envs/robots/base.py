"""What a robot is to a simulation: its model, drives, and which bodies mean what."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Literal

import mujoco
import torch
from torch import Tensor

from poselib import models
from poselib.ground import CollisionPoints
from poselib.kinematics import forward_kinematics
from poselib.skeleton import Skeleton

__all__ = ["Drive", "Robot"]


@dataclass(frozen=True)
class Drive:
    """A position-controlled joint: torque = stiffness · (target - position) - damping · velocity, clipped to effort."""

    stiffness: float
    """N m/rad"""
    damping: float
    """N m s/rad"""
    effort: float
    """N m, largest torque on each axis"""
    armature: float | None = None
    """kg m2, inertia of the motor as felt at the joint; None: the model's"""

    @classmethod
    def tuned(cls, armature: float, effort: float, *, frequency: float, damping_ratio: float) -> Drive:
        """Gains that make a motor alone, with nothing on it, an oscillator of `frequency` Hz (BeyondMimic's rule)."""
        omega = 2.0 * math.pi * frequency
        return cls(armature * omega**2, 2.0 * damping_ratio * armature * omega, effort, armature)

    def times(self, motors: int) -> Drive:
        """Several such motors on one joint."""
        armature = None if self.armature is None else motors * self.armature
        return Drive(motors * self.stiffness, motors * self.damping, motors * self.effort, armature)


@dataclass(frozen=True, kw_only=True, eq=False)
class Robot:
    """A character with its drives. Everything else about it (tree, masses, limits) is read from its MJCF model."""

    name: str
    """as in environment ids: AMP, SMPL, ..."""
    model: str
    """name of the model: one of `poselib.models`, or that of `own_model`"""
    drives: Mapping[str, Drive]
    """by joint-name pattern; every degree of freedom must match exactly one"""
    feet: tuple[str, ...]
    """bodies that the robot stands on"""
    key_bodies: tuple[str, ...]
    """hands and feet: the bodies that style observations watch"""
    semantic: Mapping[str, str]
    """role (head, torso, left_hand, right_hand, left_foot, right_foot) to body name"""
    trackable: tuple[str, ...] = ()
    """bodies that MaskedMimic's goals may name; empty: the root, head, hands and feet of `semantic`"""
    contact_bodies: tuple[str, ...] = ()
    """bodies that may touch the ground without it being a fall; empty: the feet"""
    default_pose: Mapping[str, float] = field(default_factory=dict)
    """rad by joint-name pattern; joints that no pattern matches stand at 0"""
    action_map: Literal["range", "pose", "effort"] = "range"
    """what actions in [-1, 1] mean as targets. range: the whole range of each joint, about the middle of a hinge and
    the rest of a ball (AMP, ProtoMotions). pose: the whole range, about the default pose. effort: from the default pose
    as far as the drive pulls with its whole effort there (BeyondMimic, whose scale is a quarter of that: its actions
    are unbounded with a standard deviation near 1, ours end at 1)"""
    ball_scale: float = 1.2
    """a ball joint's action of 1 means this times its largest limit, at most pi"""
    hinge_scale: float = 0.7
    """a hinge's action of 1 means this times twice the way to its farther limit: the range, where 0 is its middle"""
    control_hz: float = 30.0
    """control steps per second"""
    substeps: int = 4
    """physics steps per control step; the tables of the engines (PhysX 60 Hz in 2 substeps, Newton 120 Hz) say the same
    rate"""
    parts: Mapping[str, str] = field(default_factory=dict)
    """part of a person to body name, where `poselib.anatomy` does not recognise it; for retargeting"""
    own_model: mujoco.MjSpec | None = None
    """the model of a robot that is not built in (`proto_envs.robots.from_mjcf`)"""

    @cached_property
    def skeleton(self) -> Skeleton:
        """The kinematic tree, B bodies and D degrees of freedom."""
        return models.skeleton(self.model) if self.own_model is None else Skeleton.from_mjcf(self.spec())

    @cached_property
    def collision_points(self) -> CollisionPoints:
        """The collision geometry as points with radii."""
        if self.own_model is None:
            return models.collision_points(self.model)
        return CollisionPoints.from_spec(self.spec(), self.skeleton)

    def spec(self) -> mujoco.MjSpec:
        """The bare character as a MuJoCo spec: hinges as in the MJCF, no drives, no floor."""
        return models.character_model(self.model).spec() if self.own_model is None else self.own_model.copy()

    # --- bodies ------------------------------------------------------------------------------------------------------

    @property
    def trackable_bodies(self) -> tuple[str, ...]:
        """Bodies that MaskedMimic's goals may name, in depth-first order."""
        wanted = self.trackable or (self.skeleton.body_names[0], *(self.semantic[role] for role in _TRACKED))
        return tuple(name for name in self.skeleton.body_names if name in wanted)

    @property
    def contacts_allowed(self) -> tuple[str, ...]:
        """Bodies that may touch the ground without it being a fall."""
        return self.contact_bodies or self.feet

    # --- the default pose --------------------------------------------------------------------------------------------

    @cached_property
    def default_dofs(self) -> Tensor:
        """(D,) rad, joint coordinates of the default pose."""
        return torch.tensor([self._default(name) for name in self.skeleton.dof_names])

    def _default(self, dof: str) -> float:
        return next((angle for pattern, angle in self.default_pose.items() if fnmatchcase(dof, pattern)), 0.0)

    @cached_property
    def default_root_height(self) -> float:
        """m, height of the root's origin at which the robot in its default pose just stands on flat ground."""
        local = self.skeleton.local_rotations_from_dofs(self.default_dofs)
        positions, rotations = forward_kinematics(self.skeleton, torch.zeros(3), local)
        return -float(self.collision_points.lowest(positions, rotations).min())

    # --- drives and actions ------------------------------------------------------------------------------------------

    @cached_property
    def dof_drives(self) -> tuple[Drive, ...]:
        """One drive per degree of freedom.

        Raises:
            ValueError: for a degree of freedom that no pattern, or more than one, matches.
        """
        drives = []
        for name in self.skeleton.dof_names:
            hits = [pattern for pattern in self.drives if fnmatchcase(name, pattern)]
            if len(hits) != 1:
                raise ValueError(f"robot {self.name}: joint {name!r} must match one drive pattern, matches {hits}")
            drives.append(self.drives[hits[0]])
        return tuple(drives)

    @cached_property
    def damping_ratio(self) -> Tensor:
        """(D,) s, damping / stiffness: how far a drive lags behind a moving target."""
        return torch.tensor([d.damping / d.stiffness for d in self.dof_drives])

    @cached_property
    def action_offset(self) -> Tensor:
        """(D,) rad, the target that action 0 commands."""
        return self._middle if self.action_map == "range" else self.default_dofs

    @cached_property
    def action_scale(self) -> Tensor:
        """(D,) rad per unit of action."""
        if self.action_map == "effort":
            return torch.tensor([drive.effort / drive.stiffness for drive in self.dof_drives])
        scale, zeros = [], iter(self.action_offset.tolist())
        for joint in self.skeleton.joints:
            offsets = [next(zeros) for _ in joint.names]
            if joint.kind == "ball":
                widest = max(map(abs, (*joint.lower, *joint.upper)))
                scale += 3 * [min(self.ball_scale * widest, math.pi)]
            for zero, low, high in zip(offsets, joint.lower, joint.upper, strict=True) if joint.kind == "hinge" else ():
                scale.append(2.0 * self.hinge_scale * max(high - zero, zero - low))
        return torch.tensor(scale)

    @property
    def _middle(self) -> Tensor:
        """(D,) rad: 0 for balls, the middle of the range for hinges."""
        joints = self.skeleton.joints
        pairs = [(j.kind, low, high) for j in joints for low, high in zip(j.lower, j.upper, strict=True)]
        return torch.tensor([0.0 if kind == "ball" else 0.5 * (low + high) for kind, low, high in pairs])


_TRACKED = ("head", "left_hand", "right_hand", "left_foot", "right_foot")
