"""What a task is: a frozen dataclass of numbers that builds its components."""

from __future__ import annotations

import dataclasses
import difflib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any, ClassVar, Literal, Self, Union, get_args, get_origin, get_type_hints

import torch

from motionlib import MotionLib
from proto_envs.components.ground import height_map
from proto_envs.components.terms import Components, Kernel
from proto_envs.robots import Robot
from proto_envs.scenes import Scene, SceneBatch
from proto_envs.terrain.ground import Ground

__all__ = ["Setup", "Task"]


@dataclass(frozen=True)
class Setup:
    """The environment that a task is built for."""

    robot: Robot
    num_envs: int
    dt: float
    """s per control step"""
    device: torch.device
    motions: MotionLib | None
    ground: Ground
    """what the robots stand on; references are put onto it by `Ground.lifted`"""
    uneven: bool = False
    """the environment is made for uneven ground, although this one may be flat, as an evaluation can ask for"""
    scenes: SceneBatch | None = None
    """what stands beside the robots"""


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """A task with its numbers; subclasses add fields and say what they are made of."""

    episode_seconds: float = 10.0
    """s, after which an episode is truncated"""
    grace_steps: int = 5
    """steps after a reset in which no termination counts and some penalties are off"""

    see_ground: bool | None = None
    """whether the policy sees the heights around the robot; None: where the environment is made for uneven ground"""

    clips: ClassVar[tuple[str, ...]] = ("walk",)
    """samples whose motions the task takes unless told otherwise"""
    takes_scenes: ClassVar[bool] = False
    """whether scenes may be given with `scenes=`"""

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense.

        Raises:
            ValueError: naming the field.
        """
        task = f"task {type(self).__name__}"
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            numbers = [number for number in (value if isinstance(value, tuple) else (value,)) if _is_number(number)]
            if not all(0.0 <= number < math.inf for number in numbers):
                raise ValueError(f"{task}: {entry.name} must be finite and not negative, got {value}")
            if entry.name.endswith("_share") and not value <= 1.0:
                raise ValueError(f"{task}: {entry.name} must be in [0, 1], got {value}")
        if not self.episode_seconds > 0:
            raise ValueError(f"{task}: episode_seconds must be positive, got {self.episode_seconds}")

    @abstractmethod
    def components(self, setup: Setup) -> Components:
        """Build observations, rewards, terminations, metrics and controls."""

    def ground_observations(self, setup: Setup) -> tuple[Kernel, ...]:
        """What the policy sees of the ground: a height map, or nothing."""
        seen = setup.uneven if self.see_ground is None else self.see_ground
        return (height_map,) if seen else ()

    @property
    def needs_contact_forces(self) -> bool:
        """Whether some component reads contact forces, which cost time to measure."""
        return False

    @property
    def needs_object_forces(self) -> bool:
        """Whether some component reads the forces of the robot on objects, which cost time to measure."""
        return False

    @property
    def scenes(self) -> tuple[Scene, ...]:
        """What stands beside the robots unless the environment is given scenes."""
        return ()

    @classmethod
    def configured(cls, overrides: Mapping[str, Any]) -> Self:
        """The task with some fields replaced.

        Raises:
            TypeError: for an unknown field, naming the nearest and all valid ones, or a value of the wrong type.
            ValueError: for a value that is not among those the field lists.
        """
        if not isinstance(overrides, Mapping):
            raise TypeError(f"task={overrides!r}: want a mapping of fields of {cls.__name__} to values")
        types = get_type_hints(cls)
        fields = [field.name for field in dataclasses.fields(cls)]
        for key, value in overrides.items():
            if key not in fields:
                near = difflib.get_close_matches(key, fields, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise TypeError(f"task {cls.__name__} has no field {key!r}: {hint}valid are {sorted(fields)}")
            _check_value(f"task {cls.__name__}: field {key!r}", value, types[key])
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in overrides.items()}
        return cls(**values)


def _is_number(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_value(what: str, value: Any, wanted: Any) -> None:  # noqa: ANN401
    if _fits(value, wanted):
        return
    if get_origin(wanted) is Literal and isinstance(value, str):
        raise ValueError(f"{what} is {value!r}; there are {list(get_args(wanted))}")
    raise TypeError(f"{what} wants {wanted.__name__ if isinstance(wanted, type) else wanted}, got {value!r}")


def _fits(value: Any, wanted: Any) -> bool:  # noqa: ANN401
    """Whether a value, maybe from YAML, suits an annotation: a list does for a tuple, a whole number for a float."""
    origin, parts = get_origin(wanted), get_args(wanted)
    if origin is Literal:
        return value in parts
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            return False
        wants = parts[:1] * len(value) if parts[-1] is Ellipsis else parts
        return len(wants) == len(value) and all(map(_fits, value, wants))
    if isinstance(value, bool):
        return wanted is bool
    return isinstance(value, (int, float) if wanted is float else origin or wanted)
