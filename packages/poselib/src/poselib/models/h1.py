"""Unitree H1: 20 bodies, 19 degrees of freedom, 51.4 kg; and with two bodies more that mark the hands.

Offsets, rest orientations, masses, ranges and efforts are the robot's published numbers (Unitree, BSD-3-Clause). The
geoms are capsules, boxes and balls of ours, placed to give each link its size and roughly its centre of mass. The robot
stands on plates 30 mm wide and 300 mm long, whose undersides lie 70 mm below the ankles.
"""

from __future__ import annotations

from poselib.models.description import Body, Box, Capsule, CharacterModel, Hinge, Sphere

__all__ = ["MODEL", "MODEL_WITH_HANDS"]

_ARMATURE = 0.1
"""kg m2, our estimate for geared motors; the published model leaves it out"""
_TILT = (0.216438, 0.976296)
"""sine and cosine of half the 25 degrees by which a shoulder leans"""


def _hinge(name: str, axis: str, low: float, high: float, effort: float) -> Hinge:
    return Hinge(f"{name}_joint", axis, (low, high), _ARMATURE, effort)


def _leg(side: str, y: float) -> tuple[Body, ...]:
    return (
        Body(
            f"{side}_hip_yaw_link",
            "pelvis",
            (0, y * 0.0875, -0.1742),
            (_hinge(f"{side}_hip_yaw", "z", -24.64, 24.64, 200),),
            (Capsule(0.055, (-0.05, 0, 0), (0, 0, 0.03)),),
            2.244,
        ),
        Body(
            f"{side}_hip_roll_link",
            f"{side}_hip_yaw_link",
            (0.039468, 0, 0),
            (_hinge(f"{side}_hip_roll", "x", -24.64, 24.64, 200),),
            (Sphere(0.06, (-0.006, y * -0.003, 0)),),
            2.232,
        ),
        Body(
            f"{side}_hip_pitch_link",
            f"{side}_hip_roll_link",
            (0, y * 0.11536, 0),
            (_hinge(f"{side}_hip_pitch", "y", -89.95, 89.95, 200),),
            # The motors sit at the hip, so its ball is denser.
            (
                Sphere(0.06, (0, y * -0.035, 0), 5000),
                Capsule(0.055, (0, y * -0.02, -0.03), (0, y * -0.01, -0.34), 1000),
            ),
            4.152,
        ),
        Body(
            f"{side}_knee_link",
            f"{side}_hip_pitch_link",
            (0, 0, -0.4),
            (_hinge(f"{side}_knee", "y", -14.9, 117.46, 300),),
            (Capsule(0.045, (0, y * -0.005, -0.01), (0, y * -0.005, -0.28)),),
            1.721,
        ),
        Body(
            f"{side}_ankle_link",
            f"{side}_knee_link",
            (0, 0, -0.4),
            (_hinge(f"{side}_ankle", "y", -49.85, 29.79, 40),),
            (Box((0.15, 0.015, 0.02), (0.05, 0, -0.05)),),
            0.446,
        ),
    )


def _arm(side: str, y: float, hands: bool) -> tuple[Body, ...]:
    sine, cosine = _TILT
    roll = (-19.48, 178.19) if y > 0 else (-178.19, 19.48)
    yaw = (-74.48, 254.97) if y > 0 else (-254.97, 74.48)
    hand = Body(f"{side}_arm_end_effector", f"{side}_elbow_link", (0.2605, 0, -0.0185), (), ())
    links = (
        Body(
            f"{side}_shoulder_pitch_link",
            "torso_link",
            (0.0055, y * 0.15535, 0.42999),
            (_hinge(f"{side}_shoulder_pitch", "y", -164.44, 164.44, 40),),
            (Capsule(0.04, (0, y * 0.04, -0.008), (0.005, y * 0.07, -0.02)),),
            1.033,
            (y * sine, 0, 0, cosine),
        ),
        Body(
            f"{side}_shoulder_roll_link",
            f"{side}_shoulder_pitch_link",
            (-0.0055, y * 0.0565, -0.0165),
            (_hinge(f"{side}_shoulder_roll", "x", *roll, 40),),
            (Capsule(0.042, (0, 0, -0.06), (0, 0, -0.11)),),
            0.793,
            (y * -sine, 0, 0, cosine),
        ),
        Body(
            f"{side}_shoulder_yaw_link",
            f"{side}_shoulder_roll_link",
            (0, 0, -0.1343),
            (_hinge(f"{side}_shoulder_yaw", "z", *yaw, 18),),
            (Capsule(0.03, (0.01, 0, -0.1), (0.016, 0, -0.21)),),
            0.839,
        ),
        Body(
            f"{side}_elbow_link",
            f"{side}_shoulder_yaw_link",
            (0.0185, 0, -0.198),
            (_hinge(f"{side}_elbow", "y", -71.62, 149.54, 18),),
            (Capsule(0.032, (0.03, 0, -0.0158), (0.284, 0, -0.0158)),),
            0.669,
        ),
    )
    return (*links, hand) if hands else links


def _bodies(hands: bool) -> tuple[Body, ...]:
    return (
        Body("pelvis", None, (0, 0, 1.1), (), (Box((0.065, 0.13, 0.042), (0, 0, -0.043)),), 5.39),
        *_leg("left", 1),
        *_leg("right", -1),
        Body(
            "torso_link",
            "pelvis",
            (0, 0, 0),
            (_hinge("torso", "z", -134.65, 134.65, 200),),
            # A light head on a trunk that carries the battery.
            (Box((0.075, 0.14, 0.19), (0, 0, 0.2), 1000), Capsule(0.08, (0.02, 0, 0.56), (0.02, 0, 0.67), 100)),
            17.789,
        ),
        *_arm("left", 1, hands),
        *_arm("right", -1, hands),
    )


# The motors of a hip are nested.
_EXCLUDES = tuple((f"{side}_hip_yaw_link", f"{side}_hip_pitch_link") for side in ("left", "right"))

MODEL = CharacterModel("h1", _bodies(hands=False), _EXCLUDES)
MODEL_WITH_HANDS = CharacterModel("h1_hands", _bodies(hands=True), _EXCLUDES)
