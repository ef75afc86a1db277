"""How a built-in character is written down: a table of bodies, joints and primitive geoms, and the MJCF made of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import mujoco

__all__ = [
    "Body",
    "Box",
    "Capsule",
    "CharacterModel",
    "Cylinder",
    "Geom",
    "Hinge",
    "Quaternion",
    "Sphere",
    "Vector",
    "three_hinges",
]

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]

_WATER = 1000.0
"""kg/m3"""


@dataclass(frozen=True)
class Sphere:
    """A ball of `radius` m at `position` m, filled at `density` kg/m3."""

    radius: float
    position: Vector
    density: float = _WATER

    @property
    def volume(self) -> float:
        """m3."""
        return 4.0 / 3.0 * math.pi * self.radius**3

    def add_to(self, body: mujoco.MjsBody) -> mujoco.MjsGeom:
        """Add the geom to a body of a spec."""
        return body.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=(self.radius, 0, 0), pos=self.position)


@dataclass(frozen=True)
class Capsule:
    """A cylinder with round ends of `radius` m whose axis runs `start` to `end` (m), filled at `density` kg/m3."""

    radius: float
    start: Vector
    end: Vector
    density: float = _WATER

    @property
    def volume(self) -> float:
        """m3."""
        length = math.dist(self.start, self.end)
        return math.pi * self.radius**2 * (length + 4.0 / 3.0 * self.radius)

    def add_to(self, body: mujoco.MjsBody) -> mujoco.MjsGeom:
        """Add the geom to a body of a spec."""
        return body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_CAPSULE, size=(self.radius, 0, 0), fromto=(*self.start, *self.end)
        )


@dataclass(frozen=True)
class Cylinder:
    """A cylinder with flat ends of `radius` m whose axis runs `start` to `end` (m), filled at `density` kg/m3."""

    radius: float
    start: Vector
    end: Vector
    density: float = _WATER

    @property
    def volume(self) -> float:
        """m3."""
        return math.pi * self.radius**2 * math.dist(self.start, self.end)

    def add_to(self, body: mujoco.MjsBody) -> mujoco.MjsGeom:
        """Add the geom to a body of a spec."""
        return body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_CYLINDER, size=(self.radius, 0, 0), fromto=(*self.start, *self.end)
        )


@dataclass(frozen=True)
class Box:
    """An upright box of half sizes `half` m at `position` m, filled at `density` kg/m3."""

    half: Vector
    position: Vector
    density: float = _WATER

    @property
    def volume(self) -> float:
        """m3."""
        return 8.0 * self.half[0] * self.half[1] * self.half[2]

    def add_to(self, body: mujoco.MjsBody) -> mujoco.MjsGeom:
        """Add the geom to a body of a spec."""
        return body.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=self.half, pos=self.position)


Geom = Sphere | Capsule | Cylinder | Box


@dataclass(frozen=True)
class Hinge:
    """One degree of freedom at the body's origin."""

    name: str
    axis: str
    """"x", "y" or "z" of the body's frame"""
    range: tuple[float, float]
    """degrees"""
    armature: float = 0.02
    """kg m2, inertia of the drive as felt at the joint"""
    effort: float | None = None
    """N m, the largest torque of a real robot's motor; None where the drive decides"""


def three_hinges(
    name: str, x: tuple[float, float], y: tuple[float, float], z: tuple[float, float], armature: float = 0.02
) -> tuple[Hinge, Hinge, Hinge]:
    """A ball joint as MJCF humanoids write it: hinges `name_x`, `name_y`, `name_z` with ranges in degrees."""
    return (
        Hinge(f"{name}_x", "x", x, armature),
        Hinge(f"{name}_y", "y", y, armature),
        Hinge(f"{name}_z", "z", z, armature),
    )


@dataclass(frozen=True)
class Body:
    """One rigid body: where it hangs, how it moves, what it is made of."""

    name: str
    parent: str | None
    offset: Vector
    """m, in the parent's frame"""
    joints: tuple[Hinge, ...]
    geoms: tuple[Geom, ...]
    mass: float | None = None
    """kg; scales the densities of the geoms, so that they keep their proportions. None: as the geoms weigh"""
    rotation: Quaternion = (0.0, 0.0, 0.0, 1.0)
    """xyzw, orientation in the parent's frame at rest"""
    collides: bool = True
    """False: the geoms only give mass, as of a link that sits inside its neighbours"""

    @property
    def density_scale(self) -> float:
        """What the geoms' densities are multiplied with."""
        if self.mass is None:
            return 1.0
        return self.mass / sum(geom.density * geom.volume for geom in self.geoms)


@dataclass(frozen=True)
class CharacterModel:
    """A character as a table. Bodies stand in depth-first order; the first one is the root and floats freely."""

    name: str
    bodies: tuple[Body, ...]
    contact_excludes: tuple[tuple[str, str], ...] = ()
    """pairs of bodies that overlap by construction and must not collide"""

    def spec(self) -> mujoco.MjSpec:
        """The character alone (no floor, no actuators) as a MuJoCo spec; `spec().to_xml()` gives plain MJCF."""
        spec = mujoco.MjSpec()
        spec.modelname = self.name
        spec.compiler.degree = False
        handles: dict[str | None, mujoco.MjsBody] = {None: spec.worldbody}
        for row in self.bodies:
            x, y, z, w = row.rotation
            body = handles[row.parent].add_body(name=row.name, pos=row.offset, quat=(w, x, y, z))
            handles[row.name] = body
            if row.parent is None:
                body.add_freejoint(name="root")
            for hinge in row.joints:
                joint = body.add_joint(
                    name=hinge.name,
                    type=mujoco.mjtJoint.mjJNT_HINGE,
                    axis=tuple(float(hinge.axis == a) for a in "xyz"),
                    range=tuple(math.radians(bound) for bound in hinge.range),
                    limited=mujoco.mjtLimited.mjLIMITED_TRUE,
                    armature=hinge.armature,
                )
                if hinge.effort is not None:
                    joint.actfrclimited = mujoco.mjtLimited.mjLIMITED_TRUE
                    joint.actfrcrange = (-hinge.effort, hinge.effort)
            for geom in row.geoms:
                added = geom.add_to(body)
                added.density = geom.density * row.density_scale
                if not row.collides:
                    added.contype = added.conaffinity = 0
        for first, second in self.contact_excludes:
            spec.add_exclude(bodyname1=first, bodyname2=second)
        return spec
