"""Checks that an engine's parameters do what they say.

Each parameter is set in one of two environments. There it must do what physics says (a parabola, the angle of a slope,
momentum), or make the very robot that has it built in; the other environment must stay as it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from proto_envs.context import ResetState
from proto_envs.robots import Robot
from proto_envs.simulators import SimulationSettings, Simulator
from proto_envs.testing.bench import LYING, Bench, Bodies, Check, NotOfferedError, require, rest_state

__all__ = ["PARAMETER_CHECKS"]

_IN_THE_AIR = 3.0
"""m, height of a root that meets nothing while a check lasts"""


@contextmanager
def _started(
    bench: Bench,
    state: ResetState,
    name: str = "",
    value: Tensor | None = None,
    **settings: Any,  # noqa: ANN401
) -> Iterator[Simulator]:
    """Two robots in a state, the second with a parameter set."""
    with bench.engine(2, **settings) as simulator:
        if value is not None:
            simulator.set_params(name, torch.tensor([1], device=simulator.device), value.to(simulator.device))
        bench.put(simulator, state)
        yield simulator


def _offered(bench: Bench, *names: str) -> None:
    for name in names:
        if name not in bench.capabilities.parameters:
            raise NotOfferedError(f"{name!r} is not among capabilities.parameters")


def _gravity(bench: Bench) -> float:
    """Under gravity g the way after t s is g t (t + substep) / 2, along all three axes."""
    _offered(bench, "gravity")
    gravity = torch.tensor([1.0, -2.0, -15.0])
    start = rest_state(bench.robot, 2, _IN_THE_AIR)
    with _started(bench, start, "gravity", gravity.unsqueeze(0)) as simulator:
        bench.run(simulator, 10)
        time, substep = 10 * simulator.dt, simulator.dt / SimulationSettings().substeps
        moved = Bodies.read(simulator).positions[:, 0] - start.root_position
    want = torch.stack([torch.tensor([0.0, 0.0, -9.81]), gravity]) * 0.5 * time * (time + substep)
    return float((moved - want).norm(dim=-1).max() / want.norm(dim=-1).min())


def _friction(bench: Bench) -> float:
    """On a slope of 0.5 a lying robot with friction 1 stays, and one with 0.2 slides as Coulomb says."""
    _offered(bench, "friction", "gravity")
    angle, factor = math.atan(0.5), 0.2
    slope = 9.81 * torch.tensor([math.sin(angle), 0.0, -math.cos(angle)])
    with _started(bench, rest_state(bench.robot, 2, 0.15, LYING), "friction", torch.tensor([factor])) as simulator:
        bench.run(simulator, 30)  # settle on level ground
        before = Bodies.read(simulator).positions[:, 0, 0]
        simulator.set_params("gravity", None, slope.repeat(2, 1).to(simulator.device))
        bench.run(simulator, 30)
        slid = Bodies.read(simulator).positions[:, 0, 0] - before
        time = 30 * simulator.dt
    acceleration = 9.81 * (math.sin(angle) - factor * math.cos(angle))
    require(abs(slid[0]) <= 0.1, f"with friction 1 it slides {float(slid[0]):.3f} m down a slope of 0.5")
    return float(abs(slid[1] / (0.5 * acceleration * time**2) - 1.0))


def _mass(bench: Bench) -> float:
    """The same push moves twice the mass half as far."""
    _offered(bench, "mass")
    bench.need("apply_force")
    start = rest_state(bench.robot, 2, _IN_THE_AIR)
    with _started(bench, start, "mass", torch.tensor([2.0]), gravity=0.0) as simulator:
        before = Bodies.read(simulator).positions
        simulator.apply_force(0, torch.tensor([[300.0, 0.0, 0.0]]).repeat(2, 1).to(simulator.device))
        bench.run(simulator, 30)
        moved = ((Bodies.read(simulator).positions - before)[..., 0] * bench.masses).sum(-1)
    return float(abs(moved[1] / moved[0] / 0.5 - 1.0))


def _com_offset(bench: Bench) -> float:
    """A push through a centre of mass that is moved aside turns the robot as one built so."""
    robot = bench.robot
    offset = torch.zeros(1, robot.skeleton.num_bodies, 3)
    offset[:, 0] = torch.tensor([0.02, 0.05, -0.03])
    spec = robot.spec()
    for index, name in enumerate(robot.skeleton.body_names):
        body, compiled = spec.body(name), bench.model.body(name)
        body.explicitinertial = True
        body.mass, body.inertia, body.iquat = compiled.mass[0], compiled.inertia, compiled.iquat
        body.ipos = compiled.ipos + offset[0, index].double().numpy()
    return _as_if_built(bench, replace(robot, own_model=spec), "com_offset", offset)


def _drives(name: str) -> Callable[[Bench], float]:
    def check(bench: Bench) -> float:
        """Drives with another factor are those of a robot whose drives have it."""
        robot = bench.robot
        drives = {key: replace(drive, **{name: 0.5 * getattr(drive, name)}) for key, drive in robot.drives.items()}
        return _as_if_built(bench, replace(robot, drives=drives), name, torch.tensor([0.5]))

    return check


def _armature(bench: Bench) -> float:
    """Joints with more armature are those of a robot whose joints have it."""
    spec = bench.robot.spec()
    for joint in spec.joints:
        joint.armature = 10.0 * joint.armature
    drives = {
        key: drive if drive.armature is None else replace(drive, armature=10.0 * drive.armature)
        for key, drive in bench.robot.drives.items()
    }
    built = replace(bench.robot, drives=drives, own_model=spec)
    return _as_if_built(bench, built, "armature", torch.tensor([10.0]))


def _joint_friction(bench: Bench) -> float:
    """A joint that nothing drives stays where it is while the torque on it is below its dry friction."""
    _offered(bench, "joint_friction")
    drives = {key: replace(drive, stiffness=1.0, damping=0.0) for key, drive in bench.robot.drives.items()}
    weak = replace(bench.robot, drives=drives)
    start, value = rest_state(weak, 2, _IN_THE_AIR), torch.tensor([5.0])
    with _started(bench, start, "joint_friction", value, robot=weak, gravity=0.0) as simulator:
        bench.run(simulator, 10, 0.3)  # rad, that is 0.3 N m
        turned = Bodies.read(simulator).dof_positions.abs().mean(-1)
    require(turned[0] > 1e-3, "without dry friction 0.3 N m do not turn a joint")
    return float(turned[1] / turned[0])


def _as_if_built(bench: Bench, built: Robot, name: str, value: Tensor) -> float:
    """Distance after some pushed steps in the air between a parameter set and a robot built with it, m."""
    _offered(bench, name)
    bench.need("apply_force")
    plain = _pushed(bench, bench.robot)
    set_later, built_in = _pushed(bench, bench.robot, name, value), _pushed(bench, built)
    effect = float((built_in[1] - plain[1]).abs().max())
    require(effect > 1e-3, f"a robot built so moves like any other ({effect:.1e} m): the check cannot tell")
    spread = float((set_later[0] - plain[0]).abs().max())
    allowed = 0.0 if bench.capabilities.deterministic else 1e-5
    require(spread <= allowed, f"it moves the robot in which it was not set by {spread:.1e} m")
    return float((set_later[1] - built_in[1]).norm(dim=-1).max())


def _pushed(bench: Bench, robot: Robot, name: str = "", value: Tensor | None = None) -> Tensor:
    """(2, B, 3) m, bodies after a push upwards and some steps with all joints commanded to 0.3 rad."""
    with _started(bench, rest_state(robot, 2, _IN_THE_AIR), name, value, robot=robot) as simulator:
        simulator.apply_force(0, torch.tensor([[0.0, 0.0, 500.0]]).repeat(2, 1).to(simulator.device))
        bench.run(simulator, 6, 0.3)
        return Bodies.read(simulator).positions


PARAMETER_CHECKS: dict[str, Check] = {
    "gravity": Check(_gravity, 0.01, "of the way"),
    "friction": Check(_friction, 0.1, "of the way"),
    "mass": Check(_mass, 0.05, "of the way"),
    "com_offset": Check(_com_offset, 1e-3),
    "stiffness": Check(_drives("stiffness"), 1e-3),
    "damping": Check(_drives("damping"), 1e-3),
    "armature": Check(_armature, 1e-3),
    "joint_friction": Check(_joint_friction, 0.05, "of the turn without"),
}
"""name of a parameter to its check"""
