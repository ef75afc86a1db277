"""States in which a robot lies on the ground as it fell."""

from __future__ import annotations

from dataclasses import fields
from functools import lru_cache

import torch
from torch import Tensor

from poselib.kinematics import forward_kinematics
from poselib.rotations import quat_normalize
from proto_envs.context import ResetState
from proto_envs.robots import Robot
from proto_envs.simulators import SimulationSettings, make_simulator

__all__ = ["lying_states"]

_SECONDS = 2.5
"""for which a dropped robot is left alone"""
_LOW = 0.6
"""of the root's height in the default pose: who is higher after that does not lie"""


@lru_cache(maxsize=8)
def lying_states(robot: Robot, count: int, seed: int) -> ResetState:
    """Robots as they lie after a fall, at the origin, at rest.

    They are dropped limp, in random poses and orientations, in MuJoCo on the CPU whatever the engine of the
    environment; the same arguments give the same states.

    Args:
        robot: to drop.
        count: how many to drop; few of them may end up not lying, and are left out.
        seed: of poses and orientations.
    """
    generator = torch.Generator().manual_seed(seed)
    settings = SimulationSettings(control_hz=robot.control_hz, substeps=robot.substeps)
    simulator = make_simulator("mujoco", robot, count, settings)
    simulator.set_state(torch.arange(count), _in_the_air(robot, count, generator))
    broken = torch.zeros(count, dtype=torch.bool)
    for _ in range(round(_SECONDS / simulator.dt)):
        # Drives that are told to stay where they are let the joints give way.
        simulator.step(simulator.robot().dof_positions)
        broken |= simulator.unstable()
    state = simulator.robot()
    joints, rotation = state.dof_positions.clone(), state.body_rotations[:, 0].clone()
    position = state.body_positions[:, 0] * torch.tensor([0.0, 0.0, 1.0])
    simulator.close()
    lying = ~broken & (position[:, 2] < _LOW * robot.default_root_height)
    if not lying.any():
        raise RuntimeError(f"robot {robot.name}: none of {count} dropped robots came to lie; drop more of them")
    resting = ResetState(
        root_position=position,
        local_rotations=robot.skeleton.local_rotations_from_dofs(joints, rotation),
        dof_positions=joints,
        root_velocity=torch.zeros(count, 3),
        root_angular_velocity=torch.zeros(count, 3),
        dof_velocities=torch.zeros_like(joints),
    )
    return ResetState(*(getattr(resting, field.name)[lying] for field in fields(ResetState)))


def _in_the_air(robot: Robot, count: int, generator: torch.Generator) -> ResetState:
    """Random poses within half of each joint's range, turned any way, the lowest point just over the ground."""
    skeleton = robot.skeleton
    low, high = skeleton.dof_limits.unbind(-1)
    middle = 0.5 * (low + high)
    joints = middle + 0.5 * (high - low) * (torch.rand(count, skeleton.num_dofs, generator=generator) - 0.5)
    rotation = quat_normalize(torch.randn(count, 4, generator=generator))
    local_rotations = skeleton.local_rotations_from_dofs(joints, rotation)
    positions, rotations = forward_kinematics(skeleton, torch.zeros(count, 3), local_rotations)
    lowest: Tensor = robot.collision_points.lowest(positions, rotations).amin(-1)
    zeros = torch.zeros(count, 3)
    root_position = zeros.clone()
    root_position[:, 2] = 0.05 - lowest
    return ResetState(
        root_position=root_position,
        local_rotations=local_rotations,
        dof_positions=skeleton.dofs_from_local_rotations(local_rotations),
        root_velocity=zeros,
        root_angular_velocity=zeros,
        dof_velocities=torch.zeros_like(joints),
    )
