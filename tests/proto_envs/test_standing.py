"""Each built-in robot in its default pose, held by its drives alone, and the checks of engines on all of them."""

import pytest
import torch

from poselib.kinematics import forward_kinematics
from proto_envs.context import ResetState
from proto_envs.robots import ROBOTS, get_robot
from proto_envs.simulators.mujoco import MujocoSimulator
from proto_envs.testing import check_engine

HEIGHTS = {"AMP": 0.88, "AMP36": 0.88, "SMPL": 0.95, "SMPLX": 0.95, "SwordShield": 0.88, "H1": 1.0, "H1Hands": 1.0}
HEIGHTS |= {"G1": 0.76}
"""m at which other projects put the roots down, a little above the ground (G1: BeyondMimic)"""


def put_down(robot):
    pose, zeros = robot.default_dofs[None], torch.zeros(1, 3)
    return ResetState(
        root_position=torch.tensor([[0.0, 0.0, robot.default_root_height]]),
        local_rotations=robot.skeleton.local_rotations_from_dofs(pose),
        dof_positions=pose,
        root_velocity=zeros,
        root_angular_velocity=zeros,
        dof_velocities=torch.zeros_like(pose),
    )


@pytest.mark.parametrize("name", ROBOTS)
def test_the_default_pose_stands_on_the_ground_within_the_limits(name):
    robot = get_robot(name)
    low, high = robot.skeleton.dof_limits.unbind(-1)
    assert ((robot.default_dofs >= low) & (robot.default_dofs <= high)).all()
    state = put_down(robot)
    positions, rotations = forward_kinematics(robot.skeleton, state.root_position, state.local_rotations)
    lowest = robot.collision_points.lowest(positions, rotations)[0]
    feet = robot.skeleton.body_indices(robot.feet)
    assert float(lowest.min()) == pytest.approx(0.0, abs=1e-6)
    assert int(lowest.argmin()) in feet
    assert robot.default_root_height == pytest.approx(HEIGHTS[name], abs=0.025)


@pytest.mark.parametrize("name", ROBOTS)
def test_held_in_its_default_pose_a_robot_keeps_its_feet_on_the_ground_for_a_second(name, make_simulator):
    """G1's and H1's ankles are weaker than their weight: they lean by then and fall later, as the real ones would."""
    robot = get_robot(name)
    simulator = make_simulator(robot, 1, control_hz=robot.control_hz, substeps=robot.substeps, contact_forces=True)
    simulator.set_state(torch.tensor([0]), put_down(robot))
    feet = robot.skeleton.body_indices(robot.feet)
    others = [body for body in range(robot.skeleton.num_bodies) if body not in feet]
    for _ in range(round(robot.control_hz)):
        simulator.step(robot.default_dofs[None])
        forces = simulator.robot().contact_forces[0].norm(dim=-1)
        assert float(forces[feet].sum()) > 0
        assert not forces[others].any(), "only the feet touch"
    state = simulator.robot()
    assert not simulator.unstable().any()
    assert float(state.body_positions[0, 0, 2]) > 0.9 * robot.default_root_height
    weak = name in ("H1", "H1Hands", "G1")
    upright = 1.0 - 2.0 * state.body_rotations[0, 0, :2].square().sum()
    assert float(upright) > (0.9 if weak else 0.99)
    if not weak:
        assert float((state.dof_positions - robot.default_dofs).abs().max()) < 0.05


@pytest.mark.parametrize("name", ["H1", "G1"])
def test_engines_pass_their_checks_on_robots_of_hinges(name):
    results = check_engine(MujocoSimulator, get_robot(name))
    assert results["pose tracking"] < 0.002


@pytest.mark.parametrize("name", ["AMP36", "SMPLX", "SwordShield", "H1Hands"])
def test_engines_read_back_the_states_of_the_others(name):
    assert check_engine(MujocoSimulator, get_robot(name), checks=["state round trip"])["state round trip"] < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", ROBOTS)
def test_engines_pass_their_checks_on_every_robot(name):
    check_engine(MujocoSimulator, get_robot(name))
