"""Physical parameters of single environments, against MuJoCo itself."""

import math

import mujoco
import numpy as np
import pytest
import torch

from proto_envs.randomization.config import UNPERTURBED_VALUES
from proto_envs.simulators import UnsupportedError
from proto_envs.simulators.mujoco import MujocoSimulator
from proto_envs.testing import engine_outcomes
from proto_envs.testing.parameter_checks import PARAMETER_CHECKS

SECOND = torch.tensor([1])


def everywhere(simulator):
    return torch.arange(simulator.num_envs)


def test_every_parameter_of_the_engine_has_a_check(amp, make_simulator):
    assert make_simulator(amp, 1).capabilities.parameters == PARAMETER_CHECKS.keys()


@pytest.mark.parametrize("name", PARAMETER_CHECKS)
def test_what_is_called_unperturbed_is_what_the_engine_starts_with(amp, make_simulator, name):
    values = make_simulator(amp, 1).get_params(name)
    wanted = (
        [UNPERTURBED_VALUES[f"gravity.{axis}"] for axis in "xyz"] if name == "gravity" else UNPERTURBED_VALUES[name]
    )
    torch.testing.assert_close(values, torch.tensor(wanted).expand_as(values))


@pytest.mark.parametrize("name", PARAMETER_CHECKS)
def test_a_parameter_that_is_set_without_effect_fails_its_check(amp, name):
    class Deaf(MujocoSimulator):
        def set_params(self, parameter, ids, values):
            if parameter != name:
                super().set_params(parameter, ids, values)

    (outcome,) = engine_outcomes(Deaf, amp, checks=[f"parameter {name}"])
    assert outcome.status == "failed"


def test_masses_and_centres_are_those_that_mujoco_computes(amp, make_simulator, resting):
    simulator = make_simulator(amp, 3)
    bodies = amp.skeleton.num_bodies
    torso, hand = amp.skeleton.body_indices([amp.semantic["torso"], amp.semantic["right_hand"]])
    masses, offsets = torch.ones(1, bodies), torch.zeros(1, bodies, 3)
    masses[0, hand] = 4.0
    offsets[0, torso] = torch.tensor([0.03, -0.05, 0.02])
    simulator.set_params("mass", SECOND, masses)
    simulator.set_params("com_offset", SECOND, offsets)
    simulator.set_state(everywhere(simulator), resting(amp, 3))
    plain, changed = (simulator.batch.get_data(i) for i in (0, 1))
    for data in (plain, changed):
        mujoco.mj_forward(simulator.model if data is plain else simulator.batch.get_model(1), data)
    mass = simulator.model.body_mass[1:].copy()
    centres = plain.xipos[1:].copy()
    mass[hand] *= 4.0
    centres[torso] += offsets[0, torso].numpy()  # at rest the bodies' axes are the world's
    np.testing.assert_allclose(changed.subtree_com[1], mass @ centres / mass.sum(), atol=1e-6)
    np.testing.assert_allclose(simulator.batch.get_model(1).body_subtreemass[1], mass.sum(), rtol=1e-6)
    np.testing.assert_array_equal(plain.geom_xpos, changed.geom_xpos)  # what it collides with stays


def test_a_drive_pulls_with_its_own_stiffness(amp, make_simulator, resting):
    simulator = make_simulator(amp, 2, gravity=0.0, substeps=1)
    factors = torch.linspace(0.5, 2.0, amp.skeleton.num_dofs).unsqueeze(0)
    simulator.set_params("stiffness", SECOND, factors)
    simulator.set_state(everywhere(simulator), resting(amp, 2))
    simulator.step(torch.full((2, amp.skeleton.num_dofs), 0.01))
    forces = simulator.robot().dof_forces
    torch.testing.assert_close(forces[1], forces[0] * factors[0], rtol=1e-4, atol=1e-6)


def test_setting_a_factor_twice_is_setting_it_once(amp, make_simulator):
    simulator = make_simulator(amp, 2)
    for _ in range(2):
        simulator.set_params("mass", None, torch.tensor([2.0, 3.0]))
    total = [simulator.batch.expand("body_mass")[i].sum() / simulator.model.body_mass.sum() for i in range(2)]
    np.testing.assert_allclose(total, [2.0, 3.0], rtol=1e-6)
    assert simulator.get_params("mass").shape == (2, amp.skeleton.num_bodies)


def test_parameters_go_with_the_state_and_leave_with_it(amp, make_simulator, resting):
    first, second = make_simulator(amp, 2), make_simulator(amp, 2)
    for simulator in (first, second):
        simulator.set_state(everywhere(simulator), resting(amp, 2, height=0.9))
    clean = first.state_dict()
    first.set_params("gravity", SECOND, torch.tensor([-15.0]))
    first.set_params("mass", None, torch.tensor([2.0, 0.5]))
    second.load_state_dict(first.state_dict())
    targets = torch.zeros(2, amp.skeleton.num_dofs)
    for _ in range(8):
        first.step(targets)
        second.step(targets)
    assert torch.equal(first.state_dict()["state"], second.state_dict()["state"])
    second.load_state_dict(clean)
    fresh = make_simulator(amp, 2)
    fresh.load_state_dict(clean)
    for _ in range(8):
        second.step(targets)
        fresh.step(targets)
    torch.testing.assert_close(second.robot().body_positions, fresh.robot().body_positions, rtol=0, atol=1e-6)


def test_a_change_of_velocity_moves_the_whole_figure(amp, make_simulator, resting):
    turned = (0.0, 0.0, math.sin(0.7), math.cos(0.7))
    simulator = make_simulator(amp, 2, gravity=0.0)
    simulator.set_state(everywhere(simulator), resting(amp, 2, root_rotation=turned, velocity=(0.1, 0.2, 0.3)))
    still = torch.zeros(2, 3)
    linear, angular = still.clone(), still.clone()
    linear[1], angular[1] = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.3, -0.4, 0.8])
    simulator.add_velocity(linear, angular)
    simulator.set_params("friction", None, torch.ones(2))
    data = simulator.batch.get_data(1)
    mujoco.mj_forward(simulator.model, data)
    velocity = np.zeros(6)
    for name in amp.skeleton.body_names:
        body = simulator.model.body(name).id
        mujoco.mj_objectVelocity(simulator.model, data, mujoco.mjtObj.mjOBJ_XBODY, body, velocity, 0)
        arm = data.xpos[body] - data.xpos[1]
        np.testing.assert_allclose(velocity[:3], angular[1], atol=1e-6)
        want = np.array([0.1, 0.2, 0.3]) + linear[1].numpy() + np.cross(angular[1].numpy(), arm)
        np.testing.assert_allclose(velocity[3:], want, atol=1e-6)
    for _ in range(3):
        simulator.step(torch.zeros(2, amp.skeleton.num_dofs))
    torch.testing.assert_close(simulator.robot().body_velocities[0, 0], torch.tensor([0.1, 0.2, 0.3]))


@pytest.mark.parametrize(
    ("name", "values", "error", "message"),
    [
        ("masses", torch.ones(1), UnsupportedError, r"'masses'.*'mass'"),
        ("mass", torch.ones(1, 3), ValueError, r"'mass': want shape \(1, 15\), got \(1, 3\)"),
        ("com_offset", torch.ones(1), ValueError, r"'com_offset': want shape \(1, 15, 3\), got \(1,\)"),
        ("gravity", torch.ones(2), ValueError, r"'gravity': want shape \(1, 3\), got \(2, 3\)"),
    ],
)
def test_a_wrong_name_or_shape_is_refused(amp, make_simulator, name, values, error, message):
    with pytest.raises(error, match=message):
        make_simulator(amp, 2).set_params(name, SECOND, values)
