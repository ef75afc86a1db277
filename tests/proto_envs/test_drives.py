"""Tests of the drives' law: that of a clipped sum of spring and damper, also within MuJoCo's steps."""

import math

import torch

from poselib.rotations import angle_between
from proto_envs.simulators.drives import DriveLaw


def everywhere(simulator):
    return torch.arange(simulator.num_envs)


def test_spring_and_damper_together_are_clipped_to_the_effort(robot, drawn):
    law, n = DriveLaw(robot, torch.device("cpu")), 64
    away, velocities = drawn(0, n, robot.skeleton.num_dofs), 10.0 * drawn(1, n, robot.skeleton.num_dofs)
    kp, kd, effort = torch.tensor([(d.stiffness, d.damping, d.effort) for d in robot.dof_drives]).T
    want = torch.clip(kp * away - kd * velocities, -effort, effort)
    torch.testing.assert_close(law.torques(away, velocities), want)
    assert (want.abs() == effort).any() and (want.abs() < effort).any()
    half = torch.clip(0.5 * kp * away - 2.0 * kd * velocities, -effort, effort)
    torch.testing.assert_close(law.torques(away, velocities, 0.5 * kp, 2.0 * kd), half)


def test_mujocos_drives_obey_the_law_in_every_physics_step(robot, check_drives):
    check_drives("mujoco", robot)


def test_a_drive_may_turn_its_joint_faster_than_effort_over_damping(amp, make_simulator, resting):
    simulator = make_simulator(amp, 1, gravity=0.0)
    simulator.set_state(everywhere(simulator), resting(amp, 1, height=2.0))
    knee = amp.skeleton.dof_names.index("right_knee")
    drive, targets = amp.dof_drives[knee], torch.zeros(1, amp.skeleton.num_dofs)
    targets[0, knee] = 2.5
    fastest = 0.0
    for _ in range(8):
        simulator.step(targets)
        fastest = max(fastest, float(simulator.robot().dof_velocities[0, knee]))
    assert fastest > 2.0 * drive.effort / drive.damping


def test_limbs_come_to_rest_where_efforts_are_small(amp, make_simulator, resting, drawn):
    """A clipped torque, held for a physics step, must not throw light limbs to and fro."""
    n, skeleton = 16, amp.skeleton
    simulator = make_simulator(amp, n, gravity=0.0)
    simulator.set_state(everywhere(simulator), resting(amp, n, height=2.0))
    axes = drawn(0, n, 8, 3)
    targets = torch.zeros(n, skeleton.num_dofs)
    angles = 0.9 * math.pi * torch.rand(n, 8, 1, generator=torch.Generator().manual_seed(1))
    targets[:, torch.tensor(skeleton.ball_dofs)] = axes / axes.norm(dim=-1, keepdim=True) * angles
    for _ in range(60):
        simulator.step(targets)
        assert not simulator.unstable().any()
    state = simulator.robot()
    reached = skeleton.local_rotations_from_dofs(state.dof_positions)
    error = angle_between(reached, skeleton.local_rotations_from_dofs(targets))[:, 1:]
    assert math.degrees(error.median()) < 2.0
    assert (state.dof_velocities.abs() < 1.0).float().mean() > 0.9
