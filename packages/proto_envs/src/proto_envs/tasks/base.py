"""What a task is: a frozen dataclass of numbers that builds its components."""

from __future__ import annotations

import dataclasses
import difflib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch

from motionlib import MotionLib
from proto_envs.components.terms import Components
from proto_envs.robots import Robot

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


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """A task with its numbers; subclasses add fields and say what they are made of."""

    episode_seconds: float = 10.0
    """s, after which an episode is truncated"""
    grace_steps: int = 5
    """steps after a reset in which no termination counts and some penalties are off"""

    @abstractmethod
    def components(self, setup: Setup) -> Components:
        """Build observations, rewards, terminations, metrics and controls."""

    @property
    def needs_contact_forces(self) -> bool:
        """Whether some component reads contact forces, which cost time to measure."""
        return False

    @classmethod
    def configured(cls, overrides: Mapping[str, Any]) -> Self:
        """The task with some fields replaced.

        Raises:
            TypeError: for an unknown field, naming the nearest and all valid ones, or a value of the wrong type.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for key, value in overrides.items():
            if key not in fields:
                near = difflib.get_close_matches(key, fields, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise TypeError(f"task {cls.__name__} has no field {key!r}: {hint}valid are {sorted(fields)}")
            _check_type(cls.__name__, key, value, fields[key].default)
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in overrides.items()}
        return cls(**values)


def _check_type(task: str, key: str, value: Any, default: Any) -> None:  # noqa: ANN401
    numeric = isinstance(default, float) and isinstance(value, (int, float)) and not isinstance(value, bool)
    sequence = isinstance(default, tuple) and isinstance(value, (list, tuple))
    if default is None or value is None or numeric or sequence or type(value) is type(default):
        return
    raise TypeError(f"task {task}: field {key!r} wants {type(default).__name__} such as {default!r}, got {value!r}")
