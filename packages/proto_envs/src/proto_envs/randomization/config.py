"""What is perturbed and by how much: frozen dataclasses that read from YAML."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from proto_envs.randomization.ranges import Range, Vector

__all__ = ["UNPERTURBED_VALUES", "Noise", "Projectiles", "Pushes", "Randomization"]


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Noise added to every number at every step; in YAML also `0.02`, the size of normal noise."""

    size: float
    """standard deviation of normal noise, largest amount of uniform noise; in the unit of what it is added to"""
    distribution: Literal["normal", "uniform"] = "normal"

    def __post_init__(self) -> None:
        """Refuse a size that is none.

        Raises:
            ValueError: saying it.
        """
        if not 0.0 <= self.size < math.inf:
            raise ValueError(f"size must be finite and not negative, got {self.size}")
        if self.distribution not in ("normal", "uniform"):
            raise ValueError(f"distribution is {self.distribution!r}; there are ['normal', 'uniform']")


@dataclass(frozen=True, kw_only=True)
class Pushes:
    """Pushes at random moments, of the whole robot by a change of its velocity, of one body by a force, or both."""

    interval: Range = Range(1.0, 3.0)  # noqa: RUF009  (it is immutable)
    """s from one push to the next, and from the start of an episode to the first"""
    velocity: Vector | None = None
    """m/s added to the velocity of the whole robot, world axes"""
    angular_velocity: Vector | None = None
    """rad/s added to the angular velocity of the whole robot, world axes"""
    force: Range | None = None
    """N, horizontal, in any direction"""
    duration: float = 0.1
    """s that the force lasts, rounded to control steps, at least one: the momentum is force times duration"""
    body: str = ""
    """that the force acts on at its centre of mass, by name or role (such as torso); empty: the root"""

    def __post_init__(self) -> None:
        """Refuse pushes that push nothing or never.

        Raises:
            ValueError: naming the field.
        """
        if self.velocity is None and self.angular_velocity is None and self.force is None:
            raise ValueError("there must be a velocity, an angular_velocity or a force")
        if not self.interval.low > 0.0:
            raise ValueError(f"interval must be above 0 s, got {self.interval.low}")
        if not 0.0 < self.duration < math.inf:
            raise ValueError(f"duration must be above 0 s and finite, got {self.duration}")
        _require_each_time(self)


@dataclass(frozen=True, kw_only=True)
class Projectiles:
    """Boxes thrown at the robot (numbers of ProtoMotions 3, but for the speed: its 30 to 40 m/s knock anyone over)."""

    count: int = 3
    """boxes per environment, thrown in turn"""
    interval: Range = Range(1.0, 3.0)  # noqa: RUF009  (it is immutable)
    """s from one throw to the next, and from the start of an episode to the first"""
    speed: Range = Range(5.0, 10.0)  # noqa: RUF009
    """m/s along the straight way; what gravity and the robot's own speed change is aimed off for"""
    distance: Range = Range(4.0, 5.0)  # noqa: RUF009
    """m on the ground from the robot's root to where a box comes from, any direction"""
    height: Range = Range(-0.65, 1.1)  # noqa: RUF009
    """m, where it comes from against the root; never lower than its own size over the ground"""
    spread: float = 0.1
    """m, standard deviation of the aim about the root along each axis"""
    half_size: tuple[float, float] = (0.05, 0.15)
    """m, half the edge of the smallest and the largest box; the others are between them, evenly"""
    density: float = 500.0
    """kg/m3"""
    lifetime: float = 2.0
    """s after which a thrown box is taken away, at most 5"""

    def __post_init__(self) -> None:
        """Refuse boxes that cannot be thrown.

        Raises:
            ValueError: naming the field.
        """
        if not 1 <= self.count <= 32:
            raise ValueError(f"count must be from 1 to 32, got {self.count}")
        for name in ("interval", "speed", "distance"):
            if not getattr(self, name).low > 0.0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name).low}")
        if not 0.0 < self.half_size[0] <= self.half_size[1] < math.inf:
            raise ValueError(f"half_size must be above 0, the smaller first, got {self.half_size}")
        for name, least, most in (("spread", 0.0, 10.0), ("density", 1.0, 1e5), ("lifetime", 0.01, 5.0)):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be from {least:g} to {most:g}, got {getattr(self, name)}")
        _require_each_time(self)


@dataclass(frozen=True, kw_only=True)
class Randomization:
    """All perturbations of an environment; what is left out stays as the model says.

    Where a field takes a range or a mapping, a range draws one number for the whole robot, and a mapping of names to
    ranges one for each part by itself: `mass: [0.8, 1.2]`, `mass: {right_hand: 3}`, `stiffness: {"*": [0.9, 1.1]}`.
    Names are those of bodies (of joints for the drives), roles such as torso, or patterns; the last that fits holds.
    """

    gravity: Range | Vector | None = None
    """m/s2, along z, or along x, y and z; -9.81 is Earth's"""
    friction: Range | None = None
    """factor of the sliding friction of robot, ground and objects, which is 1 unless a scene says otherwise"""
    mass: Range | Mapping[str, Range] | None = None
    """factor of the mass and inertia of bodies"""
    com_offset: Mapping[str, Vector] = field(default_factory=dict)
    """m by which a body's centre of mass is moved, along its own axes; by body, role or pattern"""
    stiffness: Range | Mapping[str, Range] | None = None
    """factor of the drives' stiffness (kp)"""
    damping: Range | Mapping[str, Range] | None = None
    """factor of the drives' damping (kd)"""
    armature: Range | Mapping[str, Range] | None = None
    """factor of the inertia that motors add to joints"""
    joint_friction: Range | Mapping[str, Range] | None = None
    """N m of dry friction in joints, beside the model's"""
    pushes: Pushes | None = None
    projectiles: Projectiles | None = None
    action_noise: Noise | None = None
    """rad, on the joint targets on their way to the drives"""
    action_delay: Range | None = None
    """control steps that joint targets take to the drives, whole numbers"""
    observation_noise: Mapping[str, Noise] = field(default_factory=dict)
    """by group (policy, critic, style, ...) or by kernel of a group (policy/proprioception)"""
    observation_delay: Range | None = None
    """control steps that observations take to the policy, whole numbers, all groups alike"""
    terrain: str | Mapping[str, Any] | None = None
    """ground in place of the one that the environment is made for: what `terrain=` takes, but for objects. What the
    policy sees keeps its size"""

    def __post_init__(self) -> None:
        """Refuse numbers that no world has.

        Raises:
            ValueError: naming the field.
        """
        for name, least in _LOWEST.items():
            value = getattr(self, name)
            for part, drawn in value.items() if isinstance(value, Mapping) else ((None, value),):
                what = name if part is None else f"{name}.{part}"
                if drawn is not None and not drawn.low >= least:
                    raise ValueError(f"{what} must be at least {least:g}, got {drawn.low}")
        for name in ("action_delay", "observation_delay"):
            delay = getattr(self, name)
            if delay is None:
                continue
            if not (float(delay.low).is_integer() and float(delay.high).is_integer() and delay.high <= _LONGEST_DELAY):
                raise ValueError(f"{name} wants whole control steps up to {_LONGEST_DELAY}, got {_show(delay)}")
            if delay.distribution != "uniform":
                raise ValueError(f"{name} can only be uniform, got {delay.distribution}")


UNPERTURBED_VALUES: Mapping[str, float] = {
    "gravity": -9.81,
    "gravity.x": 0.0,
    "gravity.y": 0.0,
    "gravity.z": -9.81,
    "friction": 1.0,
    "mass": 1.0,
    "com_offset": 0.0,
    "stiffness": 1.0,
    "damping": 1.0,
    "armature": 1.0,
    "joint_friction": 0.0,
    "action_noise": 0.0,
    "action_delay": 0.0,
    "observation_noise": 0.0,
    "observation_delay": 0.0,
}
"""What each of these is where it is left out; in its unit, for the whole and for its parts alike."""

_LOWEST = {
    "friction": 0.0,
    "mass": 1e-3,
    "stiffness": 0.0,
    "damping": 0.0,
    "armature": 0.0,
    "joint_friction": 0.0,
    "action_delay": 0.0,
    "observation_delay": 0.0,
}
_LONGEST_DELAY = 100


def _require_each_time(config: Pushes | Projectiles) -> None:
    """What is drawn for each push or throw cannot be drawn once."""
    for entry in fields(config):
        value = getattr(config, entry.name)
        for axis in value.axes if isinstance(value, Vector) else (value,):
            if isinstance(axis, Range) and axis.when != "reset":
                raise ValueError(f"{entry.name} is drawn each time anew; when: {axis.when} is not possible")


def _show(drawn: Range) -> str:
    return f"{drawn.low:g}" if drawn.low == drawn.high else f"{drawn.low:g} to {drawn.high:g}"
