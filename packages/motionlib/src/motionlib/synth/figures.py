"""Which bodies of a built-in character do what in a walk, and the pose that joint angles give it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from motionlib.motion import MotionError
from poselib import models
from poselib.kinematics import forward_kinematics
from poselib.rotations import quat_from_angle_axis, quat_identity, quat_multiply
from poselib.skeleton import Skeleton

__all__ = ["FIGURES", "Figure", "Side", "figure"]

Axis = Literal["x", "y", "z"]
_AXES = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}


@dataclass(frozen=True)
class Side:
    """The limbs of one side, by body. A joint is one ball, or one to three hinges from parent to child."""

    sign: float
    """1 left, -1 right"""
    hip: tuple[str, ...]
    knee: str
    ankle: tuple[str, ...]
    """the last one is the foot, whose origin is taken for the ankle"""
    toe: str | None
    shoulder: tuple[str, ...]
    elbow: str


@dataclass(frozen=True)
class Figure:
    """A character's parts."""

    character: str
    left: Side
    right: Side
    spine: tuple[str, ...]
    """balls that share the turn of the trunk, or hinges"""
    neck: tuple[str, ...] = ()
    """balls that share what keeps the head level"""
    elbow_axis: Axis = "y"
    """about which a hanging forearm comes forward"""
    elbow_at_rest: float = 0.0
    """rad, flexion of the rest pose"""

    @cached_property
    def skeleton(self) -> Skeleton:
        """Of the character."""
        return models.skeleton(self.character)

    @cached_property
    def _rest(self) -> tuple[Tensor, Tensor]:
        local = quat_identity(self.skeleton.num_bodies, dtype=torch.float64)
        return forward_kinematics(self.skeleton, torch.zeros(3, dtype=torch.float64), local)

    @property
    def rest_positions(self) -> Tensor:
        """(B, 3) m, of the rest pose with the root at the origin, float64."""
        return self._rest[0]

    @property
    def rest_rotations(self) -> Tensor:
        """(B, 4), likewise."""
        return self._rest[1]

    @property
    def foot_tilt(self) -> float:
        """rad, how far the ankles turn to either side; 0 where they do not."""
        joints = [self.skeleton.joints[b] for b in self.skeleton.body_indices(self.left.ankle)]
        rolls = [(j.lower[d], j.upper[d]) for j in joints for d, axis in enumerate(j.axes) if abs(axis[0]) > 0.5]
        return min((min(-low, high) for low, high in rolls), default=0.0)

    def flexing(self, side: Side) -> str:
        """The body of a hip that swings forward and back."""
        joints = dict(zip(self.skeleton.body_names, self.skeleton.joints, strict=True))
        return next(b for b in side.hip if joints[b].kind == "ball" or joints[b].axes[0][1] == 1.0)

    def rest_angle(self, start: str, end: str) -> float:
        """rad, how far forward of straight down a bone points at rest; forward is positive."""
        a, b = self.skeleton.body_indices([start, end])
        bone = (self.rest_positions[b] - self.rest_positions[a]).tolist()
        return math.atan2(bone[0], -bone[2])

    def rest_bend(self, side: Side) -> float:
        """rad, of the knee in the rest pose."""
        return self.rest_angle(self.flexing(side), side.knee) - self.rest_angle(side.knee, side.ankle[-1])

    def reach(self, side: Side) -> float:
        """m, from hip to ankle with the knee as straight as it gets about y alone; legs may be bent to the side."""
        bodies = self.skeleton.body_indices([self.flexing(side), side.knee, side.ankle[-1]])
        thigh, shank = self.rest_positions[bodies].diff(dim=0)
        along = thigh[1] * shank[1] + thigh[[0, 2]].norm() * shank[[0, 2]].norm()
        return float((thigh.square().sum() + shank.square().sum() + 2.0 * along).sqrt())

    @cached_property
    def leg_length(self) -> float:
        """m, from the hips to the soles at rest."""
        hips = self.skeleton.body_indices([self.flexing(self.left), self.flexing(self.right)])
        soles = self.skeleton.body_indices([self.left.ankle[-1], self.right.ankle[-1]])
        lowest = models.collision_points(self.character).lowest(self.rest_positions, self.rest_rotations)
        return float(self.rest_positions[hips, 2].mean() - lowest[soles].mean())

    def pose(self, root: Tensor, joints: Mapping[tuple[str, ...], Mapping[str, Tensor]]) -> Tensor:
        """Local rotations `(M, B, 4)`.

        Args:
            root: `(M, 4)` orientation of the root.
            joints: for the bodies of a joint, angles `(M,)` in rad about x, y and z. A ball turns about y, then its own
                x, then its own z; balls in a row share the angles evenly; hinges take the angle about their own axis.
        """
        local = quat_identity(len(root), self.skeleton.num_bodies, dtype=torch.float64)
        local[:, 0] = root
        for bodies, angles in joints.items():
            indices = self.skeleton.body_indices(bodies)
            balls = [b for b in indices if self.skeleton.joints[b].kind == "ball"]
            for body in indices:
                joint = self.skeleton.joints[body]
                if joint.kind == "hinge":
                    axis = "xyz"[max(range(3), key=lambda i: abs(joint.axes[0][i]))]
                    if axis in angles:
                        local[:, body] = _turn(axis, angles[axis])
                    continue
                for axis in "yxz":
                    if axis in angles:
                        local[:, body] = quat_multiply(local[:, body], _turn(axis, angles[axis] / len(balls)))
        return local


def _turn(axis: str, angle: Tensor) -> Tensor:
    return quat_from_angle_axis(angle, torch.tensor(_AXES[axis], dtype=angle.dtype).expand(*angle.shape, 3))


def _amp_side(name: str, sign: float) -> Side:
    return Side(
        sign, (f"{name}_thigh",), f"{name}_shin", (f"{name}_foot",), None, (f"{name}_upper_arm",), f"{name}_lower_arm"
    )


def _smpl_side(name: str, sign: float) -> Side:
    return Side(
        sign,
        (f"{name}_Hip",),
        f"{name}_Knee",
        (f"{name}_Ankle",),
        f"{name}_Toe",
        (f"{name}_Shoulder",),
        f"{name}_Elbow",
    )


def _unitree_side(name: str, sign: float, hip: tuple[str, ...], ankle: tuple[str, ...]) -> Side:
    return Side(
        sign,
        tuple(f"{name}_hip_{part}_link" for part in hip),
        f"{name}_knee_link",
        tuple(f"{name}_{part}_link" for part in ankle),
        None,
        tuple(f"{name}_shoulder_{part}_link" for part in ("pitch", "roll", "yaw")),
        f"{name}_elbow_link",
    )


def _amp(character: str) -> Figure:
    return Figure(character, _amp_side("left", 1.0), _amp_side("right", -1.0), ("torso",), ("head",))


def _smpl(character: str) -> Figure:
    sides = _smpl_side("L", 1.0), _smpl_side("R", -1.0)
    return Figure(character, *sides, ("Torso", "Spine", "Chest"), ("Neck", "Head"), elbow_axis="z")


def _unitree(character: str, spine: tuple[str, ...], hip: tuple[str, ...], ankle: tuple[str, ...]) -> Figure:
    left, right = _unitree_side("left", 1.0, hip, ankle), _unitree_side("right", -1.0, hip, ankle)
    return Figure(character, left, right, spine, elbow_at_rest=0.5 * math.pi)


_H1 = ("torso_link",), ("yaw", "roll", "pitch"), ("ankle",)
_G1 = (
    ("waist_yaw_link", "waist_roll_link", "torso_link"),
    ("pitch", "roll", "yaw"),
    ("ankle_pitch", "ankle_roll"),
)
FIGURES = {
    each.character: each
    for each in (
        _amp("amp"),
        _amp("sword_shield"),
        _smpl("smpl"),
        _smpl("smplx"),
        _unitree("h1", *_H1),
        _unitree("h1_hands", *_H1),
        _unitree("g1", *_G1),
    )
}
"""by name of the character"""


def figure(character: str) -> Figure:
    """The parts of a built-in character.

    Raises:
        MotionError: listing the characters that can walk.
    """
    if character not in FIGURES:
        raise MotionError(f"no walk for character {character!r}; there is one for {sorted(FIGURES)}")
    return FIGURES[character]
