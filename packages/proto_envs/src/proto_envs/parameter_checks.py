"""Checks that an engine's parameters do what they say; `proto_envs.testing.check_engine` runs them.

Each parameter is set in one of two environments. There it must do what physics says (a parabola, the angle of a slope,
momentum), or make the very robot that has it built in; the other environment must stay as it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from proto_envs.context import ResetState
from proto_envs.robots import Robot
from proto_envs.simulators import SimulationSettings, Simulator

__all__ = ["PARAMETER_CHECKS"]

_Make = Callable[[Robot, int, SimulationSettings], Simulator]
_LYING = (0.0, -math.sqrt(0.5), 0.0, math.sqrt(0.5))
"""on the back, head towards -x"""
_ONLY_SECOND = torch.tensor([1])


def _still(robot: Robot, height: float, rotation: tuple[float, ...] = (0.0, 0.0, 0.0, 1.0)) -> ResetState:
    """Two robots at rest, joints at 0."""
    skeleton = robot.skeleton
    joints, zeros = torch.zeros(2, skeleton.num_dofs), torch.zeros(2, 3)
    return ResetState(
        root_position=torch.tensor([0.0, 0.0, height]).repeat(2, 1),
        local_rotations=skeleton.local_rotations_from_dofs(joints, torch.tensor(rotation).repeat(2, 1)),
        dof_positions=joints,
        root_velocity=zeros,
        root_angular_velocity=zeros,
        dof_velocities=joints,
    )


def _start(
    make: _Make,
    robot: Robot,
    state: ResetState,
    *,
    name: str | None = None,
    value: Tensor | None = None,
    **settings: float,
) -> Simulator:
    """Two robots in a state, the second with a parameter set."""
    simulator = make(robot, 2, SimulationSettings(**settings))  # type: ignore[arg-type]
    if name is not None and value is not None:
        simulator.set_params(name, _ONLY_SECOND.to(simulator.device), value.to(simulator.device))
    simulator.set_state(torch.arange(2, device=simulator.device), state)
    return simulator


def _run(simulator: Simulator, steps: int, target: float = 0.0) -> Tensor:
    """Positions (2, B, 3) after some steps with all joints commanded to `target`; closes the simulator."""
    dofs = len(simulator.robot().dof_positions[0])
    for _ in range(steps):
        simulator.step(torch.full((2, dofs), target, device=simulator.device))
    positions = simulator.robot().body_positions.cpu()
    simulator.close()
    return positions


def _gravity(make: _Make, robot: Robot) -> float:
    """Under gravity g the way after t s is g t (t + substep) / 2, along all three axes."""
    gravity = torch.tensor([1.0, -2.0, -15.0])
    simulator = _start(make, robot, _still(robot, 3.0), name="gravity", value=gravity.unsqueeze(0))
    time, substep = 10 * simulator.dt, simulator.dt / SimulationSettings().substeps
    moved = _run(simulator, 10)[:, 0] - torch.tensor([0.0, 0.0, 3.0])
    want = torch.stack([torch.tensor([0.0, 0.0, -9.81]), gravity]) * 0.5 * time * (time + substep)
    return float((moved - want).norm(dim=-1).max() / want.norm(dim=-1).min())


def _friction(make: _Make, robot: Robot) -> float:
    """On a slope of 0.5 a lying robot with friction 1 stays, and one with 0.2 slides as Coulomb says."""
    angle, factor = math.atan(0.5), 0.2
    slope = 9.81 * torch.tensor([[math.sin(angle), 0.0, -math.cos(angle)]])
    simulator = _start(make, robot, _still(robot, 0.15, _LYING), name="friction", value=torch.tensor([factor]))
    targets = torch.zeros(2, robot.skeleton.num_dofs, device=simulator.device)
    for _ in range(30):  # settle on level ground
        simulator.step(targets)
    before = simulator.robot().body_positions[:, 0, 0].cpu()
    simulator.set_params("gravity", None, slope.repeat(2, 1).to(simulator.device))
    slid = _run(simulator, 30)[:, 0, 0] - before
    acceleration = 9.81 * (math.sin(angle) - factor * math.cos(angle))
    time = 30 * 1.0 / SimulationSettings().control_hz
    return float(max(abs(slid[0]), abs(slid[1] / (0.5 * acceleration * time**2) - 1.0)))


def _mass(make: _Make, robot: Robot) -> float:
    """The same push moves twice the mass half as far."""
    start = _still(robot, 3.0)
    simulator = _start(make, robot, start, name="mass", value=torch.tensor([2.0]), gravity=0.0)
    before = simulator.robot().body_positions.cpu()
    simulator.apply_force(0, torch.tensor([[300.0, 0.0, 0.0]]).repeat(2, 1).to(simulator.device))
    model = robot.spec().compile()
    masses = torch.tensor([model.body(name).mass[0] for name in robot.skeleton.body_names]).float()
    moved = ((_run(simulator, 30) - before)[..., 0] * masses).sum(-1) / masses.sum()
    return float(abs(moved[1] / moved[0] / 0.5 - 1.0))


def _com_offset(make: _Make, robot: Robot) -> float:
    """A push through a centre of mass that is moved aside turns the robot as one built so."""
    offset = torch.zeros(1, robot.skeleton.num_bodies, 3)
    offset[:, 0] = torch.tensor([0.02, 0.05, -0.03])
    spec = robot.spec()
    model = spec.compile()
    for name in robot.skeleton.body_names:
        body, compiled = spec.body(name), model.body(name)
        body.explicitinertial = True
        body.mass, body.inertia, body.iquat = compiled.mass[0], compiled.inertia, compiled.iquat
        moved = offset[0, robot.skeleton.body_names.index(name)].double().numpy()
        body.ipos = compiled.ipos + moved
    return _as_if_built(make, robot, replace(robot, own_model=spec), "com_offset", offset)


def _drives(name: str) -> Callable[[_Make, Robot], float]:
    """Drives with another factor are those of a robot whose drives have it."""

    def check(make: _Make, robot: Robot) -> float:
        drives = {key: replace(drive, **{name: 0.5 * getattr(drive, name)}) for key, drive in robot.drives.items()}
        return _as_if_built(make, robot, replace(robot, drives=drives), name, torch.tensor([0.5]))

    return check


def _armature(make: _Make, robot: Robot) -> float:
    """Joints with more armature are those of a robot whose joints have it."""
    spec = robot.spec()
    for joint in spec.joints:
        joint.armature = 10.0 * joint.armature
    drives = {
        key: drive if drive.armature is None else replace(drive, armature=10.0 * drive.armature)
        for key, drive in robot.drives.items()
    }
    built = replace(robot, drives=drives, own_model=spec)
    return _as_if_built(make, robot, built, "armature", torch.tensor([10.0]))


def _joint_friction(make: _Make, robot: Robot) -> float:
    """A joint that nothing drives stays where it is while the torque on it is below its dry friction."""
    drives = {key: replace(drive, stiffness=1.0, damping=0.0) for key, drive in robot.drives.items()}
    weak = replace(robot, drives=drives)
    simulator = _start(make, weak, _still(weak, 3.0), name="joint_friction", value=torch.tensor([5.0]), gravity=0.0)
    for _ in range(10):  # 0.3 N m
        simulator.step(torch.full((2, robot.skeleton.num_dofs), 0.3, device=simulator.device))
    turned = simulator.robot().dof_positions.abs().mean(-1).cpu()
    simulator.close()
    return float(turned[1] / turned[0])


def _as_if_built(make: _Make, robot: Robot, built: Robot, name: str, value: Tensor) -> float:
    """Distance after some pushed steps in the air between a parameter set and a robot built with it, m.

    Infinite if the parameter makes no difference, or one in the environment that it was not set in.
    """
    found = []
    for who, setting in ((robot, (name, value)), (built, (None, None))):
        simulator = _start(make, who, _still(who, 3.0), name=setting[0], value=setting[1])
        simulator.apply_force(0, torch.tensor([[0.0, 0.0, 500.0]]).repeat(2, 1).to(simulator.device))
        found.append(_run(simulator, 6, target=0.3))
    set_later, built_in = found
    plain = _run(_pushed(make, robot), 6, target=0.3)
    effect = float((built_in[1] - plain[1]).abs().max())
    untouched = torch.equal(set_later[0], plain[0])
    return float((set_later[1] - built_in[1]).norm(dim=-1).max()) if untouched and effect > 1e-3 else math.inf


def _pushed(make: _Make, robot: Robot) -> Simulator:
    simulator = _start(make, robot, _still(robot, 3.0))
    simulator.apply_force(0, torch.tensor([[0.0, 0.0, 500.0]]).repeat(2, 1).to(simulator.device))
    return simulator


PARAMETER_CHECKS: dict[str, tuple[Callable[[_Make, Robot], float], float]] = {
    "gravity": (_gravity, 0.01),
    "friction": (_friction, 0.1),
    "mass": (_mass, 0.05),
    "com_offset": (_com_offset, 1e-3),
    "stiffness": (_drives("stiffness"), 1e-3),
    "damping": (_drives("damping"), 1e-3),
    "armature": (_armature, 1e-3),
    "joint_friction": (_joint_friction, 0.05),
}
"""name of a parameter to its check, (engine factory, robot) -> error, and the largest error allowed"""
