"""Checks of physics: gravity, friction, weight, drives and pushes do what a formula says."""

from __future__ import annotations

import torch
from torch import Tensor

from poselib.rotations import angle_between, quat_apply
from proto_envs.simulators import SimulationSettings, Simulator
from proto_envs.terrain import FLAT, Terrain
from proto_envs.testing.bench import LYING, Bench, Bodies, Check, random_state, require, rest_state

__all__ = ["PHYSICS_CHECKS"]

_GRAVITY = 9.81  # m/s2


def _free_fall(bench: Bench) -> float:
    """In the air the root falls as gravity says: height after 10 steps."""
    height = 3.0
    with bench.engine(2) as simulator:
        bench.put(simulator, rest_state(bench.robot, 2, height))
        bench.run(simulator, 10)
        time, substep = 10 * simulator.dt, simulator.dt / SimulationSettings().substeps
        found = Bodies.read(simulator).positions[:, 0, 2]
    # Semi-implicit integration adds g·t·h/2 to the exact parabola.
    want = height - 0.5 * _GRAVITY * time * (time + substep)
    return float((found - want).abs().max())


def _pose_tracking(bench: Bench) -> float:
    """Drives reach a commanded pose without gravity, in 2 s: targets mean rotation vectors. Median of joints."""
    n, skeleton = 16, bench.robot.skeleton
    goal = skeleton.dofs_from_local_rotations(random_state(bench.robot, n, seed=4, size=0.6).local_rotations)
    with bench.engine(n, gravity=0.0) as simulator:
        bench.put(simulator, rest_state(bench.robot, n, 3.0))
        bench.run(simulator, 60, goal)
        reached = skeleton.local_rotations_from_dofs(Bodies.read(simulator).dof_positions)
    moved = sorted(set(skeleton.dof_bodies))
    return float(angle_between(skeleton.local_rotations_from_dofs(goal), reached)[:, moved].median())


def _weight(bench: Bench) -> float:
    """Lying still, the robot presses on the ground with its weight."""
    with bench.engine(2, contact_forces=True) as simulator:
        if not simulator.capabilities.contact_forces:
            bench.need("contact_forces")
        bench.put(simulator, rest_state(bench.robot, 2, 0.4))
        bench.run(simulator, 120)
        upward = torch.zeros(2)
        for _ in range(30):
            bench.run(simulator, 1)
            upward += simulator.robot().contact_forces[..., 2].sum(-1).cpu() / 30
    return float((upward / (float(bench.masses.sum()) * _GRAVITY) - 1.0).abs().max())


def _friction_slope(bench: Bench) -> float:
    """A lying robot slides on a slope steeper than friction, as fast as Coulomb says, and on no other."""
    bench.need("apply_force")
    friction, slopes, steps = 0.5, torch.tensor([0.4, 0.65]), 30
    with bench.engine(2, friction=friction) as simulator:
        bench.put(simulator, rest_state(bench.robot, 2, 0.15, LYING))
        bench.run(simulator, 30)  # it comes to rest on level ground
        before = Bodies.read(simulator).positions[:, 0, 0]
        for _ in range(steps):  # what gravity along the slope would do
            for body, mass in enumerate(bench.masses.tolist()):
                force = torch.zeros(2, 3, device=simulator.device)
                force[:, 0] = (slopes * mass * _GRAVITY).to(simulator.device)
                simulator.apply_force(body, force)
            bench.run(simulator, 1)
        slid = Bodies.read(simulator).positions[:, 0, 0] - before
        time = steps * simulator.dt
    want = 0.5 * _GRAVITY * float(slopes[1] - friction) * time**2
    require(abs(slid[0]) < 0.05, f"on a slope of 0.4 with friction 0.5 it slides {float(slid[0]):.3f} m")
    return float(abs(slid[1] / want - 1.0))


def _push(bench: Bench) -> float:
    """A push gives its impulse, to the named environment, once."""
    bench.need("apply_force")
    force = torch.tensor([[90.0, -60.0, 30.0], [0.0, 0.0, 0.0]])
    with bench.engine(2, gravity=0.0) as simulator:
        bench.put(simulator, rest_state(bench.robot, 2, 3.0))
        simulator.apply_force(bench.robot.skeleton.num_bodies // 2, force.to(simulator.device))
        errors = []
        for _ in range(3):
            bench.run(simulator, 1)
            impulse = force * simulator.dt
            errors.append((_momentum(bench, simulator) - impulse).norm(dim=-1).max() / impulse.norm())
    return float(torch.stack(errors).max())


def _momentum(bench: Bench, simulator: Simulator) -> Tensor:
    """(N, 3) kg m/s of whole robots."""
    found = Bodies.read(simulator)
    arms = quat_apply(found.rotations, bench.centres.expand_as(found.positions))
    velocities = found.velocities + torch.linalg.cross(found.angular_velocities, arms, dim=-1)
    return (bench.masses.unsqueeze(-1) * velocities).sum(1)


def _change_of_velocity(bench: Bench) -> float:
    """A robot whose velocity is changed goes on like one that was put there with it."""
    bench.need("apply_force")
    linear, angular = torch.tensor([0.5, -1.0, 0.8]), torch.tensor([0.6, 0.9, -1.2])
    state = rest_state(bench.robot, 2, 3.0)
    state.root_velocity[0], state.root_angular_velocity[0] = linear, angular
    only_second = torch.tensor([[0.0], [1.0]])
    with bench.engine(2, gravity=0.0) as simulator:
        bench.put(simulator, state)
        simulator.add_velocity(
            (only_second * linear).to(simulator.device), (only_second * angular).to(simulator.device)
        )
        bench.run(simulator, 3)
        first, second = Bodies.read(simulator).positions
    require((first[0, :2] - torch.tensor([0.05, -0.1])).norm() < 0.05, "a robot does not move as its state says")
    return float((first - second).norm(dim=-1).max())


def _height_field(bench: Bench) -> float:
    """A robot lies on a plateau as it lies on flat ground: difference of the roots' heights over the ground."""
    plateau, heights = torch.zeros(21, 21), []
    plateau[4:17, 4:17] = 0.3
    for terrain, height in ((FLAT, 0.0), (Terrain.from_grid(plateau, 0.5), 0.3)):
        with bench.engine(2, terrain=terrain) as simulator:
            bench.put(simulator, rest_state(bench.robot, 2, height + 0.3, LYING))
            bench.run(simulator, 45)
            heights.append(Bodies.read(simulator).positions[:, 0, 2] - height)
    return float((heights[1] - heights[0]).abs().max())


PHYSICS_CHECKS: dict[str, Check] = {
    "free fall": Check(_free_fall, 0.01),
    "pose tracking": Check(_pose_tracking, 0.02, "rad"),
    "weight at rest": Check(_weight, 0.05, "of the weight"),
    "friction slope": Check(_friction_slope, 0.15, "of the way"),
    "push": Check(_push, 0.05, "of the impulse"),
    "change of velocity": Check(_change_of_velocity, 1e-3),
    "height field": Check(_height_field, 0.03),
}
"""name to check"""
