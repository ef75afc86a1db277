"""What an action means in radians."""

from __future__ import annotations

import math

import pytest
import torch

from proto_envs.components.actions import absolute_actions, absolute_targets
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


# --- the inverse -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["AMP", "SMPL", "G1"])
def test_the_inverse_finds_actions_that_command_the_same_targets(name: str):
    robot, cpu = get_robot(name), torch.device("cpu")
    drawn = 2.0 * torch.rand(256, robot.skeleton.num_dofs, generator=torch.Generator().manual_seed(0)) - 1.0
    targets = absolute_targets(robot, cpu)(drawn)
    actions = absolute_actions(robot, cpu)(targets)
    torch.testing.assert_close(absolute_targets(robot, cpu)(actions), targets, atol=2e-6, rtol=1e-6)
    uncut = targets == robot.action_offset + robot.action_scale * drawn
    torch.testing.assert_close(actions[uncut], drawn[uncut], atol=1e-6, rtol=1e-6)


def test_the_inverse_clamps_a_target_out_of_range_joint_by_joint():
    robot, cpu = get_robot("AMP"), torch.device("cpu")
    knee, elbow = (robot.skeleton.dof_names.index(name) for name in ("right_knee", "right_elbow"))
    targets = robot.action_offset.repeat(2, 1)
    targets[0, knee], targets[1, knee] = 4.0, -4.0
    targets[:, elbow] += 0.25 * robot.action_scale[elbow]
    wanted = torch.zeros(2, 28)
    wanted[:, knee], wanted[:, elbow] = torch.tensor([1.0, -1.0]), 0.25
    torch.testing.assert_close(absolute_actions(robot, cpu)(targets), wanted)
