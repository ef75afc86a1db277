"""States to compare engines from."""

from __future__ import annotations

import torch

from poselib.kinematics import forward_kinematics
from poselib.rotations import quat_from_exp_map
from proto_envs.context import ResetState
from proto_envs.robots import Robot

__all__ = ["mixed_states"]

_CLEARANCE = (0.005, 0.2, 0.01)
"""m, the lowest point of standing, falling and lying robots above the ground"""
_BENT = (0.05, 0.3, 0.2)
"""rad, standard deviation of their joints about the default pose"""


def mixed_states(robot: Robot, count: int, seed: int = 0) -> ResetState:
    """Robots that stand, that fall, and that lie on their backs, in turn, on the CPU.

    None begins inside the ground: how deep ones are pushed out is not the same in all engines.

    Args:
        robot: whose limits and collision geometry matter.
        count: n.
        seed: of the draw.
    """
    generator, skeleton = torch.Generator().manual_seed(seed), robot.skeleton

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(count, *shape, generator=generator)

    kind = torch.arange(count) % 3
    falls = (kind == 1).float().unsqueeze(-1)
    low, high = (0.8 * skeleton.dof_limits).unbind(-1)
    bent = torch.tensor(_BENT)[kind].unsqueeze(-1) * draw(skeleton.num_dofs)
    upright = quat_from_exp_map(falls * 0.3 * draw(3))
    lying = torch.tensor([0.0, -(0.5**0.5), 0.0, 0.5**0.5])
    root_rotation = torch.where((kind == 2).unsqueeze(-1), lying, upright)
    local = skeleton.local_rotations_from_dofs((robot.default_dofs + bent).clamp(low, high), root_rotation)
    root = torch.zeros(count, 3)
    lowest = robot.collision_points.lowest(*forward_kinematics(skeleton, root, local))
    root[:, 2] = torch.tensor(_CLEARANCE)[kind] - lowest.view(count, -1).amin(-1)
    return ResetState(
        root_position=root,
        local_rotations=local,
        dof_positions=skeleton.dofs_from_local_rotations(local),
        root_velocity=falls * 0.5 * draw(3),
        root_angular_velocity=falls * 0.5 * draw(3),
        dof_velocities=falls * 0.5 * draw(skeleton.num_dofs),
    )
