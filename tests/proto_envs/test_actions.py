"""What an action means in radians."""

from __future__ import annotations

import math

import pytest
import torch

from proto_envs.components.actions import absolute_targets
from proto_envs.robots import get_robot


@pytest.mark.parametrize("name", ["AMP", "SMPL"])
def test_no_ball_joint_is_ever_commanded_beyond_half_a_turn(name: str):
    robot = get_robot(name)
    action = absolute_targets(robot, torch.device("cpu"))
    dofs = robot.skeleton.num_dofs
    extreme = torch.cat([torch.ones(1, dofs), -torch.ones(1, dofs), 2 * torch.rand(64, dofs) - 1])
    targets = action(extreme)
    lengths = targets[:, torch.tensor(robot.skeleton.ball_dofs)].norm(dim=-1)
    assert lengths.max() <= math.pi + 1e-5


def test_small_actions_are_offset_plus_scale_times_action():
    robot = get_robot("AMP")
    action = 0.1 * torch.randn(8, 28, generator=torch.Generator().manual_seed(0))
    expected = robot.action_offset + robot.action_scale * action
    torch.testing.assert_close(absolute_targets(robot, torch.device("cpu"))(action), expected)


def test_a_hinge_spans_its_range_about_the_middle():
    robot = get_robot("AMP")
    knee = robot.skeleton.dof_names.index("right_knee")
    ends = absolute_targets(robot, torch.device("cpu"))(torch.tensor([[-1.0], [0.0], [1.0]]).expand(3, 28))[:, knee]
    assert torch.allclose(torch.rad2deg(ends), torch.tensor([80 - 112.0, 80.0, 80 + 112.0]), atol=1e-3)
