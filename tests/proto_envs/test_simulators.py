import math
import weakref

import mujoco
import numpy as np
import pytest
import torch

from poselib.rotations import angle_between
from proto_envs.simulators import UnsupportedError
from proto_envs.simulators import make_simulator as start_engine
from proto_envs.simulators.base import SimulationSettings
from proto_envs.simulators.mujoco import MujocoSimulator
from proto_envs.testing import ENGINE_CHECKS, check_engine

LYING = (0.0, -math.sqrt(0.5), 0.0, math.sqrt(0.5))


def everywhere(simulator):
    return torch.arange(simulator.num_envs)


def plain_data(simulator, index):
    """A stand-alone MjData in the state of one environment."""
    data = mujoco.MjData(simulator.model)
    data.qpos[:] = simulator.batch.bind("qpos")[index]
    data.qvel[:] = simulator.batch.bind("qvel")[index]
    return data


def momentum(simulator, index):
    """(3,) kg m/s of the whole figure, by MuJoCo."""
    data = plain_data(simulator, index)
    mujoco.mj_forward(simulator.model, data)
    mujoco.mj_subtreeVel(simulator.model, data)
    return data.subtree_linvel[1] * simulator.model.body_subtreemass[1]


# --- against MuJoCo itself -------------------------------------------------------------------------------------------


def test_the_engine_passes_every_conformance_check(robot):
    measured = check_engine(MujocoSimulator, robot)
    assert measured.keys() == ENGINE_CHECKS.keys()
    assert not any(math.isnan(value) for value in measured.values()), "a check was skipped"


def test_stepping_is_bit_equal_to_a_loop_of_mj_step(robot, make_simulator, resting, drawn):
    simulator = make_simulator(robot, 3)
    simulator.set_state(everywhere(simulator), resting(robot, 3, height=0.9, velocity=(0.5, 0.2, 0.0)))
    datas, touched = [plain_data(simulator, i) for i in range(3)], False
    for step in range(12):
        simulator.step(0.3 * drawn(step, 3, robot.skeleton.num_dofs))
        for i, data in enumerate(datas):
            data.ctrl[:] = simulator.batch.bind("ctrl")[i]
            for _ in range(4):
                mujoco.mj_step(simulator.model, data)
            np.testing.assert_array_equal(simulator.batch.bind("qpos")[i], data.qpos)
            np.testing.assert_array_equal(simulator.batch.bind("qvel")[i], data.qvel)
            touched |= data.ncon > 0
    assert touched, "the floor must take part"


@pytest.mark.parametrize("robot", ["AMP", "SMPL", "SwordShield", "H1Hands", "G1"], indirect=True)
def test_body_states_are_those_that_mujoco_computes(robot, make_simulator, resting, drawn):
    simulator = make_simulator(robot, 2)
    simulator.set_state(everywhere(simulator), resting(robot, 2, height=0.9, velocity=(0.5, 0.2, 0.0)))
    for step in range(8):
        simulator.step(0.5 * drawn(step, 2, robot.skeleton.num_dofs))
    state = simulator.robot()
    for i in range(2):
        data, velocity = plain_data(simulator, i), np.zeros(6)
        mujoco.mj_forward(simulator.model, data)
        for b, name in enumerate(robot.skeleton.body_names):
            body = simulator.model.body(name).id
            np.testing.assert_allclose(state.body_positions[i, b], data.xpos[body], atol=1e-6)
            np.testing.assert_allclose(state.body_rotations[i, b], np.roll(data.xquat[body], -1), atol=1e-6)
            mujoco.mj_objectVelocity(simulator.model, data, mujoco.mjtObj.mjOBJ_XBODY, body, velocity, 0)
            np.testing.assert_allclose(state.body_angular_velocities[i, b], velocity[:3], atol=2e-5)
            np.testing.assert_allclose(state.body_velocities[i, b], velocity[3:], atol=2e-5)


def test_drive_forces_stay_within_their_effort_and_reach_it(robot, make_simulator, resting):
    simulator = make_simulator(robot, 1, gravity=0.0, substeps=1)
    simulator.set_state(everywhere(simulator), resting(robot, 1))
    simulator.step(torch.ones(1, robot.skeleton.num_dofs))
    effort = torch.tensor([drive.effort for drive in robot.dof_drives])
    forces = simulator.robot().dof_forces[0].abs()
    assert (forces <= effort * (1 + 1e-6)).all()
    assert (forces > 0.99 * effort).any()


def test_results_do_not_depend_on_the_number_of_threads(amp, make_simulator, resting, drawn):
    finals = []
    for threads in (1, 2):
        simulator = make_simulator(amp, 5, threads=threads)
        simulator.set_state(everywhere(simulator), resting(amp, 5, height=0.9))
        for step in range(10):
            simulator.step(0.3 * drawn(step, 5, amp.skeleton.num_dofs))
        finals.append(simulator.state_dict()["state"])
    assert torch.equal(*finals)


# --- drives ----------------------------------------------------------------------------------------------------------


def test_ball_drives_reach_targets_up_to_almost_half_a_turn(smpl, make_simulator, resting, drawn):
    n = 8
    simulator = make_simulator(smpl, n, gravity=0.0)
    simulator.set_state(everywhere(simulator), resting(smpl, n))
    axes = drawn(0, n, smpl.skeleton.num_dofs // 3, 3)
    angles = 0.95 * math.pi * torch.rand(axes.shape[:2], generator=torch.Generator().manual_seed(1))
    targets = (axes / axes.norm(dim=-1, keepdim=True) * angles.unsqueeze(-1)).flatten(1)
    for _ in range(45):
        simulator.step(targets)
        assert not simulator.unstable().any()
    skeleton = smpl.skeleton
    reached = skeleton.local_rotations_from_dofs(simulator.robot().dof_positions)
    error = angle_between(reached, skeleton.local_rotations_from_dofs(targets))[:, 1:]
    assert math.degrees(error.median()) < 2.0


# --- parameters, pushes, sensors -------------------------------------------------------------------------------------


def test_friction_changes_in_the_named_environment_alone(amp, make_simulator, resting):
    simulator = make_simulator(amp, 3)
    simulator.set_params("friction", torch.tensor([1]), torch.tensor([0.05]))
    simulator.set_state(everywhere(simulator), resting(amp, 3, height=0.15, root_rotation=LYING, velocity=(2, 0, 0)))
    start = simulator.robot().body_positions[:, 0, 0]
    for _ in range(24):
        simulator.step(torch.zeros(3, amp.skeleton.num_dofs))
    slid = simulator.robot().body_positions[:, 0, 0] - start
    # Coulomb: with 1.0 it stops after v²/2µg = 0.2 m; with 0.05 it has gone vt - µgt²/2 = 1.44 m after 0.8 s.
    assert slid[0] == slid[2] and slid[0] < 0.5
    assert slid[1] == pytest.approx(1.44, abs=0.15)


def test_mass_scales_the_figure_in_the_named_environment_alone(amp, make_simulator, resting):
    simulator = make_simulator(amp, 3, gravity=0.0)
    simulator.set_params("mass", torch.tensor([1]), torch.tensor([2.0]))
    simulator.set_state(everywhere(simulator), resting(amp, 3))
    before = simulator.robot().body_positions
    simulator.apply_force(0, torch.tensor([[300.0, 0.0, 0.0]]).repeat(3, 1))
    targets = torch.zeros(3, amp.skeleton.num_dofs)
    for _ in range(30):
        simulator.step(targets)
    masses = torch.tensor(simulator.model.body_mass[1:]).float().unsqueeze(-1)
    moved = ((simulator.robot().body_positions - before) * masses).sum(1)[:, 0] / masses.sum()
    assert moved[0] == moved[2] > 0.1
    assert moved[1] == pytest.approx(0.5 * float(moved[0]), rel=0.05)


def test_a_push_gives_its_impulse_once(amp, make_simulator, resting):
    simulator = make_simulator(amp, 2, gravity=0.0)
    simulator.set_state(everywhere(simulator), resting(amp, 2))
    simulator.apply_force(3, torch.tensor([[90.0, -60.0, 30.0], [0.0, 0.0, 0.0]]))
    targets = torch.zeros(2, amp.skeleton.num_dofs)
    for _ in range(3):
        simulator.step(targets)
        np.testing.assert_allclose(momentum(simulator, 0), np.array([90.0, -60.0, 30.0]) / 30, atol=0.05)
        np.testing.assert_allclose(momentum(simulator, 1), 0.0, atol=1e-6)


def test_a_push_that_waits_when_the_state_is_saved_still_ends_after_one_step(amp, make_simulator, resting):
    first, second = make_simulator(amp, 1, gravity=0.0), make_simulator(amp, 1, gravity=0.0)
    first.set_state(torch.tensor([0]), resting(amp, 1))
    first.apply_force(0, torch.tensor([[300.0, 0.0, 0.0]]))
    second.load_state_dict(first.state_dict())
    for _ in range(3):
        for simulator in (first, second):
            simulator.step(torch.zeros(1, amp.skeleton.num_dofs))
        assert torch.equal(first.robot().body_positions, second.robot().body_positions)


def test_an_unknown_parameter_lists_the_known_ones(amp, make_simulator):
    with pytest.raises(UnsupportedError, match=r"'frictoin'.*'friction', 'gravity'.*'mass'"):
        make_simulator(amp, 1).set_params("frictoin", None, torch.ones(1))


def test_contact_forces_that_are_off_are_a_clear_error(amp, make_simulator):
    with pytest.raises(UnsupportedError, match=r"contact forces are off.*SimulationSettings\.contact_forces"):
        _ = make_simulator(amp, 1).robot().contact_forces


def test_only_bodies_on_the_ground_feel_contact_forces(amp, make_simulator, resting):
    simulator = make_simulator(amp, 2, contact_forces=True)
    simulator.set_state(everywhere(simulator), resting(amp, 2, height=0.91))
    simulator.set_state(torch.tensor([1]), resting(amp, 1, height=3.0))
    for _ in range(4):
        simulator.step(torch.zeros(2, amp.skeleton.num_dofs))
    forces = simulator.robot().contact_forces
    feet = amp.skeleton.body_indices(amp.feet)
    assert (forces[0, feet, 2] > 100).all()
    forces[0, feet] = 0
    assert (forces == 0).all()


# --- errors ----------------------------------------------------------------------------------------------------------


def test_an_unknown_engine_lists_the_engines(amp):
    with pytest.raises(ValueError, match=r"no engine 'mujocco'.*'auto'.*'mujoco'"):
        start_engine("mujocco", amp, 1, SimulationSettings())


@pytest.mark.parametrize(
    "wrong", [{"control_hz": 0.0}, {"control_hz": -30.0}, {"substeps": 0}, {"threads": -1}, {"friction": -0.1}]
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SimulationSettings(**wrong)


def test_a_state_of_another_size_is_refused_and_changes_nothing(amp, make_simulator):
    simulator = make_simulator(amp, 2)
    before = simulator.state_dict()["state"]
    with pytest.raises(ValueError, match=r"want shape \(2, \d+\), got \(3, \d+\)"):
        simulator.load_state_dict(make_simulator(amp, 3).state_dict())
    assert torch.equal(simulator.state_dict()["state"], before)


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e12])
def test_a_diverged_environment_is_reported_each_time_and_a_reset_heals_it(amp, make_simulator, resting, bad):
    simulator = make_simulator(amp, 3)
    simulator.set_state(everywhere(simulator), resting(amp, 3))
    targets = torch.zeros(3, amp.skeleton.num_dofs)
    simulator.batch.bind("qvel")[1] = bad
    simulator.step(targets)
    assert simulator.unstable().tolist() == [False, True, False]
    simulator.set_state(torch.tensor([1]), resting(amp, 1))
    assert not simulator.unstable().any()
    simulator.step(targets)
    assert not simulator.unstable().any()
    assert torch.isfinite(simulator.robot().body_positions).all()
    simulator.batch.bind("qvel")[1:] = bad
    simulator.step(targets)
    assert simulator.unstable().tolist() == [False, True, True]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_divergence_is_logged_and_writes_no_file(amp, make_simulator, tmp_path, monkeypatch, caplog, capfd, threads):
    monkeypatch.chdir(tmp_path)
    simulator = make_simulator(amp, 4, threads=threads)
    simulator.batch.bind("qvel")[[0, 2]] = math.nan
    with caplog.at_level("INFO", logger="proto_envs"):
        simulator.step(torch.zeros(4, amp.skeleton.num_dofs))
    assert simulator.unstable().tolist() == [True, False, True, False]
    assert "simulation is unstable" in caplog.text
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_closing_frees_the_engine_and_may_be_repeated(amp):
    simulator = MujocoSimulator(amp, 1, SimulationSettings(threads=1))
    batch = weakref.ref(simulator.batch)
    simulator.close()
    assert batch() is None
    simulator.close()
