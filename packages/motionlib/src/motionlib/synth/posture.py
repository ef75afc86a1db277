"""The pose of a walking figure at each phase of the stride, from the published curves; the arms are ours."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from motionlib.synth.curves import GaitCurves
from motionlib.synth.figures import Figure, Side
from poselib.rotations import quat_from_euler

__all__ = ["WalkStyle", "foot_pitch", "posture"]

_NEUTRAL_TILT = math.radians(11.5)
"""rad; the pelvis' anatomical axis leans forward by this much when its body is upright"""


@dataclass(frozen=True)
class WalkStyle:
    """How a walk differs from the average one."""

    arm_swing: float = 1.0
    """times the usual"""
    sway: float = 1.0
    """times the usual turns and tilts of pelvis and trunk"""
    stride: float = 1.0
    """times the usual length; the cadence makes up for it"""
    step_width: float | None = None
    """m between the ankles; None: as the hips' curves give it"""
    toe_out: float = math.radians(6.0)
    """rad"""
    elbow: float = 0.0
    """rad, by which the elbows are bent more than usual"""

    @classmethod
    def random(cls, seed: int) -> WalkStyle:
        """Somebody's walk: the same for the same seed."""
        draw = torch.randn(5, generator=torch.Generator().manual_seed(seed)).clamp(-2, 2).tolist()
        usual = cls()
        return replace(
            usual,
            arm_swing=1.0 + 0.2 * draw[0],
            sway=1.0 + 0.15 * draw[1],
            stride=1.0 + 0.03 * draw[2],
            toe_out=usual.toe_out + math.radians(2.5) * draw[3],
            elbow=math.radians(5.0) * draw[4],
        )


def foot_pitch(curves: GaitCurves, phase: Tensor) -> Tensor:
    """How far the toes point up, `(M,)` rad, level while the sole rests on the ground.

    The mean curves put a resting sole within 2 or 3 degrees of level; what is left is taken out.
    """
    angles = curves.at(phase)
    pitch = angles["hip_flexion"] - angles["pelvis_tilt"] - angles["knee_flexion"] + angles["ankle_dorsiflexion"]
    return pitch * pitch**4 / (pitch**4 + math.radians(3.5) ** 4)


def posture(figure: Figure, curves: GaitCurves, style: WalkStyle, speed: float, phase: Tensor) -> Tensor:
    """Local rotations `(M, B, 4)`, float64; the root faces along the path.

    Args:
        figure: who walks.
        curves: of the speed.
        style: see there.
        speed: v / sqrt(g x leg length), for the arms.
        phase: `(M,)` of the left leg.
    """
    left = curves.at(phase)
    tilt = left["pelvis_tilt"] - _NEUTRAL_TILT
    turn, lift = -style.sway * left["pelvis_rotation"], style.sway * left["pelvis_obliquity"]
    root = quat_from_euler("ZYX", torch.stack([turn, tilt, lift], dim=-1))
    trunk_turn = -style.sway * left["thorax_rotation"] - turn
    trunk_lift = style.sway * left["thorax_obliquity"] - lift
    joints: dict[tuple[str, ...], dict[str, Tensor]] = {
        figure.spine: {"y": -tilt, "x": trunk_lift, "z": trunk_turn},
        figure.neck: {"x": -(trunk_lift + lift), "z": -(trunk_turn + turn)},
    }
    for side, own in ((figure.left, phase), (figure.right, phase + 0.5)):
        joints |= _leg(figure, side, curves.at(own)) | _arm(figure, side, style, speed, own)
    return figure.pose(root, joints)


def _leg(figure: Figure, side: Side, angles: dict[str, Tensor]) -> dict[tuple[str, ...], dict[str, Tensor]]:
    """Published angles are between bones; joint coordinates count from the rest pose, whose legs are a little bent."""
    thigh = figure.rest_angle(figure.flexing(side), side.knee)
    shank = thigh - figure.rest_bend(side)
    return {
        side.hip: {
            "y": -(angles["hip_flexion"] - _NEUTRAL_TILT - thigh),
            "x": -side.sign * angles["hip_adduction"],
            "z": -side.sign * angles["hip_rotation"],
        },
        (side.knee,): {"y": angles["knee_flexion"] - figure.rest_bend(side)},
        side.ankle: {"y": -(angles["ankle_dorsiflexion"] + shank)},
    }


def _arm(
    figure: Figure, side: Side, style: WalkStyle, speed: float, phase: Tensor
) -> dict[tuple[str, ...], dict[str, Tensor]]:
    """Arms swing against the leg of their side, further and with more bent elbows the faster the walk."""
    start, end = figure.skeleton.body_indices([side.shoulder[0], side.elbow])
    bone = (figure.rest_positions[end] - figure.rest_positions[start]).tolist()
    raised = math.atan2(bone[2], side.sign * bone[1]) if abs(bone[1]) > abs(bone[2]) else -0.5 * math.pi
    hanging = -0.5 * math.pi + math.radians(8.0) - raised
    swing = style.arm_swing * math.radians(6.0 + 24.0 * speed)
    forward = -torch.cos(2.0 * math.pi * (phase - 0.03))
    flexion = math.radians(16.0 + 20.0 * speed) + style.elbow + 0.5 * swing * (forward + 0.2)
    elbow = {
        "y": figure.elbow_at_rest - flexion,
        "z": -side.sign * flexion,
    }
    return {
        side.shoulder: {
            "y": math.radians(5.0) - swing * forward,
            "x": torch.full_like(phase, side.sign * hanging),
        },
        (side.elbow,): {figure.elbow_axis: elbow[figure.elbow_axis]},
    }
