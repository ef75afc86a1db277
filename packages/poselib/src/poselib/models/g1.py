"""Unitree G1 with 29 degrees of freedom: 33 bodies, of which three are marks without mass, 33.3 kg.

Offsets, rest orientations, masses, ranges and efforts are the robot's published numbers (Unitree, BSD-3-Clause). The
geoms are capsules, boxes and balls of ours, placed to give each link its size and roughly its centre of mass; the soles
lie 35 mm below the ankles. Links that sit inside their neighbours do not collide.
"""

from __future__ import annotations

from poselib.models.description import (
    Body,
    Box,
    Capsule,
    CharacterModel,
    Cylinder,
    Geom,
    Hinge,
    Quaternion,
    Sphere,
    Vector,
)

__all__ = ["MODEL"]

_ARMATURE = 0.03
_HIP_LEAN = 0.0873386, 0.996179
"""sine and cosine of half the 10 degrees by which a thigh leans at rest"""


class _Side:
    """Links of one side; `y` is 1 on the left and -1 on the right, where everything is mirrored."""

    def __init__(self, name: str, y: float) -> None:
        self.name, self.y = name, y

    def capsule(self, radius: float, start: Vector, end: Vector) -> Capsule:
        (a, b, c), (d, e, f) = start, end
        return Capsule(radius, (a, self.y * b, c), (d, self.y * e, f))

    def roll(self, low: float, high: float) -> tuple[float, float]:
        """Range about x, given for the left."""
        return (low, high) if self.y > 0 else (-high, -low)

    def link(
        self,
        name: str,
        parent: str,
        offset: Vector,
        hinge: tuple[str, tuple[float, float], float],
        geom: Geom,
        mass: float,
        rotation: Quaternion = (0, 0, 0, 1),
        collides: bool = True,
    ) -> Body:
        axis, bounds, effort = hinge
        (px, py, pz), (x, y, z, w) = offset, rotation
        return Body(
            f"{self.name}_{name}_link",
            parent if parent in ("pelvis", "torso_link") else f"{self.name}_{parent}_link",
            (px, self.y * py, pz),
            (Hinge(f"{self.name}_{name}_joint", axis, bounds, _ARMATURE, effort),),
            (geom,),
            mass,
            (self.y * x, y, self.y * z, w),
            collides,
        )

    def leg(self) -> tuple[Body, ...]:
        sine, cosine = _HIP_LEAN
        link, capsule = self.link, self.capsule
        return (
            link(
                "hip_pitch",
                "pelvis",
                (0, 0.064452, -0.1027),
                ("y", (-145, 165), 88),
                capsule(0.04, (0, 0.04, -0.02), (0, 0.06, -0.03)),
                1.35,
            ),
            link(
                "hip_roll",
                "hip_pitch",
                (0, 0.052, -0.030465),
                ("x", self.roll(-30, 170), 88),
                capsule(0.045, (0.025, 0, -0.04), (0.03, 0, -0.11)),
                1.52,
                (0, -sine, 0, cosine),
            ),
            link(
                "hip_yaw",
                "hip_roll",
                (0.025001, 0, -0.12412),
                ("z", (-158, 158), 88),
                capsule(0.045, (-0.035, -0.005, -0.1), (-0.075, -0.005, -0.18)),
                1.702,
            ),
            link(
                "knee",
                "hip_yaw",
                (-0.078273, 0.0021489, -0.17734),
                ("y", (-5, 165), 139),
                capsule(0.04, (0.005, 0.002, -0.01), (0.005, 0.002, -0.24)),
                1.932,
                (0, sine, 0, cosine),
            ),
            link(
                "ankle_pitch",
                "knee",
                (0, -9.4445e-05, -0.30001),
                ("y", (-50, 30), 50),
                Sphere(0.015, (-0.006, 0, 0)),
                0.074,
                collides=False,
            ),
            link(
                "ankle_roll",
                "ankle_pitch",
                (0, 0, -0.017558),
                ("x", (-15, 15), 50),
                Box((0.095, 0.033, 0.0125), (0.038, 0, -0.0225)),
                0.608,
            ),
        )

    def arm(self, shoulder_y: float) -> tuple[Body, ...]:
        link, capsule = self.link, self.capsule
        hand = Body(f"{self.name}_rubber_hand", f"{self.name}_wrist_yaw_link", (0.12, 0, 0), (), ())
        return (
            link(
                "shoulder_pitch",
                "torso_link",
                (0.0039563, shoulder_y, 0.24778),
                ("y", (-177, 153), 25),
                capsule(0.033, (0, 0.025, -0.008), (0, 0.045, -0.015)),
                0.718,
                (0.139201, 1.38722e-05, -9.86868e-05, 0.990264),
            ),
            link(
                "shoulder_roll",
                "shoulder_pitch",
                (0, 0.038, -0.013831),
                ("x", self.roll(-91, 129), 25),
                capsule(0.03, (0, 0.006, -0.05), (0, 0.006, -0.075)),
                0.643,
                (-0.139172, 0, 0, 0.990268),
            ),
            link(
                "shoulder_yaw",
                "shoulder_roll",
                (0, 0.00624, -0.1032),
                ("z", (-150, 150), 25),
                capsule(0.032, (0.005, -0.002, -0.05), (0.015, -0.002, -0.085)),
                0.734,
            ),
            link(
                "elbow",
                "shoulder_yaw",
                (0.015783, 0, -0.080518),
                ("y", (-60, 120), 25),
                capsule(0.03, (0.04, 0.003, -0.01), (0.08, 0.003, -0.01)),
                0.6,
            ),
            link(
                "wrist_roll",
                "elbow",
                (0.1, 0.00188791, -0.01),
                ("x", (-113, 113), 25),
                capsule(0.025, (0.012, 0, 0), (0.022, 0, 0)),
                0.085445,
                collides=False,
            ),
            link(
                "wrist_pitch",
                "wrist_roll",
                (0.038, 0, 0),
                ("y", (-92.5, 92.5), 5),
                capsule(0.027, (0, 0, 0), (0.045, 0, 0)),
                0.48405,
            ),
            link(
                "wrist_yaw",
                "wrist_pitch",
                (0.046, 0, 0),
                ("z", (-92.5, 92.5), 5),
                capsule(0.032, (0.02, 0, 0), (0.125, 0, 0)),
                0.254576,
            ),
            hand,
        )


def _waist(axis: str, name: str, bound: float, effort: float) -> tuple[Hinge]:
    return (Hinge(f"waist_{name}_joint", axis, (-bound, bound), _ARMATURE, effort),)


_LEFT, _RIGHT = _Side("left", 1.0), _Side("right", -1.0)

MODEL = CharacterModel(
    name="g1",
    bodies=(
        Body("pelvis", None, (0, 0, 0.793), (), (Box((0.045, 0.06, 0.065), (0, 0, -0.076)),), 3.813),
        Body("head", "pelvis", (0, 0, 0.4), (), ()),
        *_LEFT.leg(),
        *_RIGHT.leg(),
        Body(
            "waist_yaw_link",
            "pelvis",
            (0, 0, 0),
            _waist("z", "yaw", 150, 88),
            (Cylinder(0.04, (0, 0, 0), (0, 0, 0.036)),),
            0.214,
            collides=False,
        ),
        Body(
            "waist_roll_link",
            "waist_yaw_link",
            (-0.0039635, 0, 0.044),
            _waist("x", "roll", 29.79, 50),
            (Sphere(0.012, (0, 0, 0)),),
            0.086,
            collides=False,
        ),
        Body(
            "torso_link",
            "waist_roll_link",
            (0, 0, 0),
            _waist("y", "pitch", 29.79, 50),
            # A light head on a trunk that carries the battery.
            (Box((0.065, 0.09, 0.14), (0.003, 0, 0.17), 1000), Capsule(0.065, (0.003, 0, 0.4), (0.003, 0, 0.46), 150)),
            7.818,
        ),
        *_LEFT.arm(0.10022),
        *_RIGHT.arm(0.10021),
    ),
)
