"""How a built-in character is written down: a table of bodies, joints and primitive geoms, and the MJCF made of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import mujoco

__all__ = ["Body", "Box", "Capsule", "CharacterModel", "Hinge", "Sphere", "three_hinges"]

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Sphere:
    """A ball of `radius` m at `position` m, filled at `density` kg/m3."""

    radius: float
    position: Vector
    density: float

    def add_to(self, body: mujoco.MjsBody) -> None:
        """Add the geom to a body of a spec."""
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_SPHERE, size=(self.radius, 0, 0), pos=self.position, density=self.density
        )


@dataclass(frozen=True)
class Capsule:
    """A cylinder with round ends of `radius` m whose axis runs `start` to `end` (m), filled at `density` kg/m3."""

    radius: float
    start: Vector
    end: Vector
    density: float

    def add_to(self, body: mujoco.MjsBody) -> None:
        """Add the geom to a body of a spec."""
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_CAPSULE,
            size=(self.radius, 0, 0),
            fromto=(*self.start, *self.end),
            density=self.density,
        )


@dataclass(frozen=True)
class Box:
    """An upright box of half sizes `half` m at `position` m, filled at `density` kg/m3."""

    half: Vector
    position: Vector
    density: float

    def add_to(self, body: mujoco.MjsBody) -> None:
        """Add the geom to a body of a spec."""
        body.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, size=self.half, pos=self.position, density=self.density)


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
    geoms: tuple[Sphere | Capsule | Box, ...]


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
            body = handles[row.parent].add_body(name=row.name, pos=row.offset)
            handles[row.name] = body
            if row.parent is None:
                body.add_freejoint(name="root")
            for hinge in row.joints:
                body.add_joint(
                    name=hinge.name,
                    type=mujoco.mjtJoint.mjJNT_HINGE,
                    axis=tuple(float(hinge.axis == a) for a in "xyz"),
                    range=tuple(math.radians(bound) for bound in hinge.range),
                    limited=mujoco.mjtLimited.mjLIMITED_TRUE,
                    armature=hinge.armature,
                )
            for geom in row.geoms:
                geom.add_to(body)
        for first, second in self.contact_excludes:
            spec.add_exclude(bodyname1=first, bodyname2=second)
        return spec
