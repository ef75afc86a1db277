"""Tests of the drives' law, against a clipped sum of spring and damper."""

import torch

from proto_envs.simulators.drives import DriveLaw


def clipped_sum(drives, away, velocities, stiffness=1.0, damping=1.0):
    kp, kd, effort = torch.tensor([(d.stiffness, d.damping, d.effort) for d in drives]).T
    return torch.clip(stiffness * kp * away - damping * kd * velocities, -effort, effort)


class Factors:
    """Stands for an engine's parameters."""

    def __init__(self, **values):
        self.values = values

    def changed(self, name):
        """Values that were set, or None."""
        return self.values.get(name)


def test_spring_and_damper_together_are_clipped_to_the_effort(robot, drawn):
    law, n = DriveLaw(robot, torch.device("cpu")), 64
    away, velocities = drawn(0, n, robot.skeleton.num_dofs), 10.0 * drawn(1, n, robot.skeleton.num_dofs)
    springs = law.stiffness * law.bounded(away, velocities)
    want = clipped_sum(robot.dof_drives, away, velocities)
    torch.testing.assert_close(law.torques(springs, velocities), want, rtol=1e-4, atol=1e-2)
    assert (want.abs() == law.effort).any() and (want.abs() < law.effort).any()


def test_what_the_effort_allows_is_left_alone(amp, drawn):
    law = DriveLaw(amp, torch.device("cpu"))
    away = 0.02 * drawn(0, 8, amp.skeleton.num_dofs)
    assert torch.equal(law.bounded(away, torch.zeros_like(away)), away)


def test_changed_gains_of_each_robot_count(amp, drawn):
    n, dofs = 4, amp.skeleton.num_dofs
    stiffness, damping = (0.5 + drawn(seed, n, dofs).abs().double() for seed in (2, 3))
    law = DriveLaw(amp, torch.device("cpu"), Factors(stiffness=stiffness, damping=damping))
    away, velocities = drawn(0, n, dofs), 10.0 * drawn(1, n, dofs)
    springs = law.stiffness * law.bounded(away, velocities)
    want = clipped_sum(amp.dof_drives, away, velocities, stiffness.float(), damping.float())
    torch.testing.assert_close(law.torques(springs, velocities), want, rtol=1e-4, atol=1e-2)
    some = torch.tensor([1, 3])
    torch.testing.assert_close(law.torques(springs[some], velocities[some], some), want[some], rtol=1e-4, atol=1e-2)
