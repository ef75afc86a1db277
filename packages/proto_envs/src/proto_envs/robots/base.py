"""What a robot is to a simulation: its model, drives, and which bodies mean what."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

import mujoco
import torch
from torch import Tensor

from poselib import models
from poselib.ground import CollisionPoints
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Robot:
    """A character with its drives. Everything else about it (tree, masses, limits) is read from its MJCF model."""

    name: str
    """as in environment ids: AMP, SMPL, ..."""
    model: str
    """name of the model in `poselib.models`; sample clips are looked up under the same name"""
    drives: Mapping[str, Drive]
    """by joint-name pattern; every degree of freedom must match exactly one"""
    feet: tuple[str, ...]
    """bodies that may touch the ground"""
    key_bodies: tuple[str, ...]
    """hands and feet: the bodies that style observations watch"""
    semantic: Mapping[str, str]
    """role (head, left_hand, right_foot, torso, ...) to body name"""
    ball_scale: float = 1.2
    """a ball joint's action of 1 means this times its largest limit, at most pi"""
    hinge_scale: float = 0.7
    """a hinge's action of 1 means this times its range, about the middle"""

    @cached_property
    def skeleton(self) -> Skeleton:
        """The kinematic tree, B bodies and D degrees of freedom."""
        return models.skeleton(self.model)

    @cached_property
    def collision_points(self) -> CollisionPoints:
        """The collision geometry as points with radii."""
        return models.collision_points(self.model)

    def spec(self) -> mujoco.MjSpec:
        """The bare character as a MuJoCo spec: hinges as in the MJCF, no drives, no floor."""
        return models.character_model(self.model).spec()

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
        """(D,) rad, the target that action 0 commands: 0 for balls, the middle of the range for hinges."""
        return self._action_map[0]

    @cached_property
    def action_scale(self) -> Tensor:
        """(D,) rad per unit of action."""
        return self._action_map[1]

    @cached_property
    def _action_map(self) -> tuple[Tensor, Tensor]:
        offset, scale = [], []
        for joint in self.skeleton.joints:
            for low, high in zip(joint.lower, joint.upper, strict=True):
                if joint.kind == "ball":
                    offset.append(0.0)
                    scale.append(min(self.ball_scale * max(map(abs, (*joint.lower, *joint.upper))), math.pi))
                else:
                    offset.append(0.5 * (low + high))
                    scale.append(self.hinge_scale * (high - low))
        return torch.tensor(offset), torch.tensor(scale)
