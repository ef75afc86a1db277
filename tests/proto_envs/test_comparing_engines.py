"""States that engines are compared from, and when one has lost its state; MuJoCo says where the ground begins."""

import mujoco
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from proto_envs.robots import ROBOTS, get_robot
from proto_envs.simulators.base import diverged
from proto_envs.testing.states import mixed_states


@pytest.mark.parametrize("name", list(ROBOTS))
def test_robots_stand_fall_and_lie_and_none_is_in_the_ground(name, make_simulator):
    robot = get_robot(name)
    state = mixed_states(robot, 9)
    simulator = make_simulator(robot, 9)
    simulator.set_state(torch.arange(9), state)
    upright = Rotation.from_quat(simulator.robot().body_rotations[:, 0].numpy()).apply([0.0, 0.0, 1.0])[:, 2]
    assert (upright[0::3] > 0.99).all() and (abs(upright[2::3]) < 0.01).all()
    assert (upright[1::3] < 0.99).any()
    assert not state.root_velocity[0::3].any() and state.root_velocity[1::3].abs().amin() > 0.0
    deepest = []
    for index in range(9):
        data = simulator.batch.get_data(index)
        mujoco.mj_forward(simulator.model, data)
        deepest.append(min([0.0, *(contact.dist for contact in data.contact)]))
    assert min(deepest) > -1e-4
    assert max(deepest[1::3]) == 0.0


def test_the_same_seed_gives_the_same_states(amp):
    first, again, other = (mixed_states(amp, 3, seed) for seed in (0, 0, 1))
    assert torch.equal(first.dof_positions, again.dof_positions)
    assert not torch.equal(first.dof_positions, other.dof_positions)


@pytest.mark.parametrize(("number", "lost"), [(np.nan, True), (np.inf, True), (-1e11, True), (1e9, False)])
def test_what_is_not_finite_or_too_large_is_lost(number, lost):
    positions, velocities = torch.zeros(3, 4), torch.zeros(3, 2, 5)
    velocities[1, 1, 2] = number
    assert diverged(positions, velocities).tolist() == [False, lost, False]
    assert diverged(velocities.flatten(1), positions).tolist() == [False, lost, False]
