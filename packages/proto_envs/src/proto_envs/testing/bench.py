"""What the checks of engines work with: fresh engines, states to put robots into, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import mujoco
import torch
from torch import Tensor

from poselib.kinematics import forward_kinematics, forward_velocities
from poselib.rotations import quat_from_exp_map
from proto_envs.context import ResetState
from proto_envs.robots import Robot
from proto_envs.simulators import Capabilities, SimulationSettings, Simulator, UnsupportedError

__all__ = [
    "LYING",
    "Bench",
    "Bodies",
    "Check",
    "ConformanceError",
    "EngineFactory",
    "NotOfferedError",
    "random_state",
    "require",
    "rest_state",
]

EngineFactory = Callable[[Robot, int, SimulationSettings], Simulator]
"""(robot, num_envs, settings) to a simulator"""

STANDING = 1.5
"""m, a root height from which no built-in robot touches the ground"""
LYING = (0.0, -(0.5**0.5), 0.0, 0.5**0.5)
"""on the back, head towards -x"""


class ConformanceError(AssertionError):
    """A contract is broken; the message says which."""


class NotOfferedError(Exception):
    """A check is about something that the engine says it does not do."""


def require(condition: Any, message: str) -> None:  # noqa: ANN401
    """Raise `ConformanceError` with `message` unless `condition` is true."""
    if not bool(condition):
        raise ConformanceError(message)


@dataclass(frozen=True)
class Check:
    """One rule that an engine keeps; the docstring of `measure` says which."""

    measure: Callable[[Bench], float]
    """gives the error that it finds; raises `NotOfferedError`, and `ConformanceError` for what is no number"""
    allowed: float = 0.0
    """largest error that passes"""
    unit: str = "m"
    """of the error; empty where there is none"""


@dataclass(frozen=True)
class Bodies:
    """Poses and velocities of all bodies of n robots, and their joints; on the CPU."""

    positions: Tensor
    """(n, B, 3) m"""
    rotations: Tensor
    """(n, B, 4)"""
    velocities: Tensor
    """(n, B, 3) m/s, of the bodies' origins"""
    angular_velocities: Tensor
    """(n, B, 3) rad/s"""
    dof_positions: Tensor
    """(n, D) rad"""
    dof_velocities: Tensor
    """(n, D) rad/s"""

    @classmethod
    def read(cls, simulator: Simulator) -> Bodies:
        """What an engine says now."""
        state = simulator.robot()
        names = ("body_positions", "body_rotations", "body_velocities", "body_angular_velocities")
        fields = [getattr(state, name) for name in (*names, "dof_positions", "dof_velocities")]
        return cls(*(field.detach().clone().cpu() for field in fields))

    @classmethod
    def of(cls, robot: Robot, state: ResetState) -> Bodies:
        """What a state means, by our own kinematics."""
        skeleton, local = robot.skeleton, state.local_rotations
        positions, rotations = forward_kinematics(skeleton, state.root_position, local)
        velocities, angular = forward_velocities(
            skeleton, positions, rotations, state.root_velocity, state.root_angular_velocity, state.dof_velocities
        )
        dofs = skeleton.dofs_from_local_rotations(local)
        return cls(positions, rotations, velocities, angular, dofs, state.dof_velocities)

    def of_joints(self, robot: Robot) -> Bodies:
        """What the root and the joints say of all bodies."""
        local = robot.skeleton.local_rotations_from_dofs(self.dof_positions, self.rotations[:, 0])
        root = (self.positions[:, 0], local, self.dof_positions, self.velocities[:, 0], self.angular_velocities[:, 0])
        return Bodies.of(robot, ResetState(*root, self.dof_velocities))


class Bench:
    """Makes the engines of one suite of checks, and keeps what several of its checks look at."""

    def __init__(self, make: EngineFactory, robot: Robot) -> None:
        """Take an engine and a robot."""
        self._make = make
        self.robot = robot

    @contextmanager
    def engine(self, num_envs: int, *, robot: Robot | None = None, **settings: Any) -> Iterator[Simulator]:  # noqa: ANN401
        """A fresh engine with fields of `SimulationSettings`, closed at the end.

        Raises:
            NotOfferedError: if the engine refuses the settings.
        """
        try:
            simulator = self._make(robot or self.robot, num_envs, SimulationSettings(**settings))
        except UnsupportedError as error:
            if not settings:
                raise
            raise NotOfferedError(str(error)) from error
        try:
            yield simulator
        finally:
            simulator.close()

    @cached_property
    def capabilities(self) -> Capabilities:
        """What the engine says that it can do, where nothing special is asked for."""
        with self.engine(2) as simulator:
            return simulator.capabilities

    def need(self, capability: str) -> None:
        """Leave out a check of what the engine does not offer.

        Raises:
            NotOfferedError: naming it.
        """
        if not getattr(self.capabilities, capability):
            raise NotOfferedError(f"capabilities.{capability} is false")

    @cached_property
    def model(self) -> mujoco.MjModel:
        """The bare robot, compiled."""
        return self.robot.spec().compile()

    @cached_property
    def masses(self) -> Tensor:
        """(B,) kg."""
        return torch.tensor([self.model.body(name).mass[0] for name in self.robot.skeleton.body_names]).float()

    @cached_property
    def centres(self) -> Tensor:
        """(B, 3) m, centres of mass in the bodies' frames."""
        return torch.tensor([self.model.body(name).ipos.tolist() for name in self.robot.skeleton.body_names])

    @cached_property
    def set_and_found(self) -> tuple[Bodies, Bodies]:
        """Random states of four robots as they were set, and as the engine then reports them."""
        state = random_state(self.robot, 4, seed=1)
        with self.engine(4) as simulator:
            self.put(simulator, state)
            return Bodies.of(self.robot, state), Bodies.read(simulator)

    @cached_property
    def after_steps(self) -> Bodies:
        """Four robots after some steps without gravity."""
        with self.engine(4, gravity=0.0) as simulator:
            self.put(simulator, random_state(self.robot, 4, seed=8))
            targets = random_state(self.robot, 4, seed=9, size=0.3).dof_positions
            self.run(simulator, 5, targets)
            return Bodies.read(simulator)

    def put(self, simulator: Simulator, state: ResetState, ids: Tensor | None = None) -> None:
        """Put robots `ids`, or all, into a state whose tensors are on the CPU."""
        chosen = torch.arange(simulator.num_envs) if ids is None else ids
        moved = replace(state, **{name: field.to(simulator.device) for name, field in vars(state).items()})
        simulator.set_state(chosen.to(simulator.device), moved)

    def run(self, simulator: Simulator, steps: int, targets: Tensor | float = 0.0) -> None:
        """Some control steps towards joint targets (N, D), or one for all joints."""
        shape = (simulator.num_envs, self.robot.skeleton.num_dofs)
        commanded = torch.as_tensor(targets, dtype=torch.float32).expand(shape).contiguous().to(simulator.device)
        for _ in range(steps):
            simulator.step(commanded)


def random_state(robot: Robot, n: int, seed: int, *, height: float = STANDING, size: float = 0.5) -> ResetState:
    """Moving robots with joints drawn within their limits.

    Args:
        robot: whose state.
        n: how many.
        seed: of the draw.
        height: m, of the roots, on average.
        size: rad, standard deviation of joints.
    """
    skeleton, generator = robot.skeleton, torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    limits = skeleton.dof_limits
    dofs = (size * draw(n, skeleton.num_dofs)).clamp(0.8 * limits[:, 0], 0.8 * limits[:, 1])
    root = draw(n, 3) * 0.1 + torch.tensor([0.0, 0.0, height])
    return ResetState(
        root_position=root,
        local_rotations=skeleton.local_rotations_from_dofs(dofs, quat_from_exp_map(0.3 * draw(n, 3))),
        dof_positions=dofs,
        root_velocity=draw(n, 3),
        root_angular_velocity=draw(n, 3),
        dof_velocities=draw(n, skeleton.num_dofs),
    )


def rest_state(robot: Robot, n: int, height: float, rotation: tuple[float, ...] = (0.0, 0.0, 0.0, 1.0)) -> ResetState:
    """Robots at rest at the origin, joints at 0, roots at `height` m and turned by `rotation`."""
    skeleton = robot.skeleton
    joints = torch.zeros(n, skeleton.num_dofs)
    return ResetState(
        root_position=torch.tensor([0.0, 0.0, height]).repeat(n, 1),
        local_rotations=skeleton.local_rotations_from_dofs(joints, torch.tensor(rotation).repeat(n, 1)),
        dof_positions=joints,
        root_velocity=torch.zeros(n, 3),
        root_angular_velocity=torch.zeros(n, 3),
        dof_velocities=torch.zeros_like(joints),
    )
