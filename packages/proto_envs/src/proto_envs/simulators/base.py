"""What an environment asks of a physics engine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from proto_envs.context import ObjectState, ResetState, RobotState
from proto_envs.scenes import SceneBatch
from proto_envs.terrain import FLAT, Terrain

__all__ = ["Capabilities", "SimulationSettings", "Simulator", "UnsupportedError", "diverged"]


_LARGEST = 1e10
"""MuJoCo's bound (mjMAXVAL) of coordinates and velocities: what is larger has diverged"""


class UnsupportedError(NotImplementedError):
    """An engine was asked for something that its `capabilities` do not have; the message names both."""


@dataclass(frozen=True, kw_only=True)
class SimulationSettings:
    """How a control step is simulated."""

    control_hz: float = 30.0
    """control steps per second"""
    substeps: int = 4
    """physics steps per control step; 4 at 30 Hz make 120 Hz"""
    friction: float = 1.0
    """sliding friction of ground and robot"""
    gravity: float = -9.81
    """m/s2"""
    self_collision: bool = False
    """let the robot's bodies collide with each other"""
    contact_forces: bool = False
    """measure the ground's force on each body; costs about 3 % on the CPU"""
    device: str = "auto"
    """where a GPU engine runs: "cuda", "cuda:1", "cpu"; "auto" is CUDA where there is some"""
    max_contacts: int = 0
    """contacts of an environment that a GPU engine makes room for; 0: what its robot and objects may need"""
    threads: int = 0
    """physics threads of a CPU engine; 0 takes all CPUs this process may use"""
    terrain: Terrain = FLAT
    """the ground"""
    scenes: SceneBatch | None = None
    """objects beside each robot, of as many environments as there are"""
    projectiles: SceneBatch | None = None
    """loose objects that can be thrown, beside those of the scenes; one scene for all environments"""
    object_forces: bool = False
    """measure the force of each body on each object"""

    def __post_init__(self) -> None:
        """Refuse numbers that no engine can work with.

        Raises:
            TypeError, ValueError: naming the field.
        """
        for name, lowest, whole in (
            ("substeps", 1, True),
            ("threads", 0, True),
            ("max_contacts", 0, True),
            ("friction", 0.0, False),
        ):
            _require_number(name, getattr(self, name), whole=whole)
            if not getattr(self, name) >= lowest:
                raise ValueError(f"{name} must be at least {lowest}, got {getattr(self, name)}")
        _require_number("control_hz", self.control_hz)
        if not 0.0 < self.control_hz < math.inf:
            raise ValueError(f"control_hz must be positive and finite, got {self.control_hz}")


def _require_number(name: str, value: object, *, whole: bool = False) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral if whole else Real):
        raise TypeError(f"{name} must be a {'whole ' if whole else ''}number, got {value!r}")


@dataclass(frozen=True)
class Capabilities:
    """What an engine can do."""

    name: str
    parameters: frozenset[str] = frozenset()
    """names that `set_params` takes"""
    contact_forces: bool = False
    apply_force: bool = False
    """robots can be pushed, by `apply_force` and `add_velocity`"""
    scenes: bool = False
    """objects can stand beside the robots, and different ones in each environment"""
    deterministic: bool = False
    """same inputs, same machine: bit-equal results"""
    state_dict: bool = False
    """can save and restore its exact state"""


class Simulator(Protocol):
    """N copies of a robot, each alone on the same ground, stepped together.

    Conventions are the project's (xyzw, z up, depth-first order, rotation-vector ball coordinates); an engine that
    speaks otherwise converts in its own file. `ids` are (n,) long and sorted; None stands for all.
    """

    num_envs: int
    device: torch.device
    dt: float
    """s per control step"""
    terrain: Terrain
    """the ground, as `SimulationSettings.terrain` said"""
    scenes: SceneBatch | None
    """what stands beside the robots, as `SimulationSettings.scenes` said"""
    capabilities: Capabilities

    def step(self, targets: Tensor) -> None:
        """Simulate one control step towards joint targets (N, D) rad."""

    def robot(self, ids: Tensor | None = None) -> RobotState:
        """State of the robots after the last step or reset, in new tensors."""

    def set_state(self, ids: Tensor, state: ResetState) -> None:
        """Put robots into a state; all others stay as they are, bit for bit."""

    def objects(self, ids: Tensor | None = None) -> ObjectState:
        """State of the O objects, in new tensors."""

    def set_objects(self, ids: Tensor | None, state: ObjectState, *, held_only: bool = False) -> None:
        """Put the objects of environments `ids` into a state; all else stays as it is, bit for bit.

        With `held_only` the loose ones stay as they are too. Held ones stay where they are put until they are put
        elsewhere; their velocities are what `objects` reports, and move nothing.
        """

    def projectiles(self) -> ObjectState:
        """State of the K projectiles, in new tensors."""

    def throw(self, chosen: Tensor, state: ObjectState) -> None:
        """Put the projectiles that `chosen` (N, K) bool says into a state; all others stay as they are, bit for bit."""

    def unstable(self) -> Tensor:
        """(N,) bool: the last step left numbers that are not finite or that the engine warned about."""

    def set_params(self, name: str, ids: Tensor | None, values: Tensor) -> None:
        """Change a physical parameter of environments `ids`, one of `capabilities.parameters`.

        It holds until it is set again, through resets, and is part of `state_dict`. Factors and offsets are against
        the model; (n,) values hold for all bodies or degrees of freedom alike.

        Args:
            name: "gravity" (n, 3) m/s2, or (n,) along z; "friction" (n,) factor of every surface's; "mass" (n,) or
                (n, B) factor, inertia goes along; "com_offset" (n, B, 3) m in the bodies' frames; "stiffness",
                "damping" and "armature" (n,) or (n, D) factors; "joint_friction" (n,) or (n, D) N m, added to the
                model's. Those of a ball's three degrees of freedom act along the axes of its body.
            ids: (n,); None for all.
            values: shaped as `name` says.
        """

    def get_params(self, name: str) -> Tensor:
        """What holds now, set or not: (N, ...) with every axis that `set_params` says, in a new tensor."""

    def add_velocity(self, linear: Tensor, angular: Tensor) -> None:
        """Change the velocity of whole robots by (N, 3) m/s and rad/s, world; their joints keep theirs."""

    def apply_force(self, body: int, force: Tensor) -> None:
        """Push a body with a world force (N, 3) in N during the next control step."""

    def render_state(self, index: int) -> np.ndarray:
        """Generalised positions (nq,) of one environment, for the renderer's MuJoCo model."""

    def state_dict(self) -> dict[str, Tensor]:
        """The exact state, if `capabilities.state_dict`."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore `state_dict`."""

    def close(self) -> None:
        """Free what the engine holds."""


def diverged(*numbers: Tensor) -> Tensor:
    """(N,) bool: some of an environment's numbers (N, ...) are not finite, or larger than any that physics has."""
    # NaN is no smaller than anything.
    sane = [(part.flatten(1).abs() < _LARGEST).all(-1) for part in numbers]
    return ~torch.stack(sane).all(0)
