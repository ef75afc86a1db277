"""The engine for GPUs, on Warp's CPU device: the same kernels, the same captured graph."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import pytest
import torch

from proto_envs.context import ResetState
from proto_envs.robots import Robot, get_robot
from proto_envs.terrain import Terrain
from proto_envs.testing import check_engine

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(find_spec("mujoco_warp") is None, reason="pip install 'proto-envs[warp]'"),
]


@pytest.fixture
def make_warp(make_engine: Callable[..., Any]) -> Callable[..., Any]:
    """`make_warp(robot, num_envs, **settings)`."""
    return partial(make_engine, "mujoco_warp")


@pytest.fixture
def falling(drawn: Callable[..., torch.Tensor]) -> Callable[..., ResetState]:
    """`falling(robot, num_envs, height)`: bent and turning robots, which soon land.

    None begins inside the ground: how deep ones are pushed out is not the same in both engines.
    """

    def state(robot: Robot, num_envs: int, height: float = 1.05) -> ResetState:
        skeleton = robot.skeleton
        limits = skeleton.dof_limits
        joints = (0.3 * drawn(0, num_envs, skeleton.num_dofs)).clamp(0.8 * limits[:, 0], 0.8 * limits[:, 1])
        root = drawn(1, num_envs, 3) * 0.05
        root[:, 2] += height
        return ResetState(
            root_position=root,
            local_rotations=skeleton.local_rotations_from_dofs(joints),
            dof_positions=joints,
            root_velocity=0.5 * drawn(2, num_envs, 3) - torch.tensor([0.0, 0.0, 0.5]),
            root_angular_velocity=0.5 * drawn(3, num_envs, 3),
            dof_velocities=0.5 * drawn(4, num_envs, skeleton.num_dofs),
        )

    return state


def run(simulator: Any, state: ResetState, steps: int) -> list[torch.Tensor]:
    """Positions of the bodies after each step from a state, with targets that change."""
    simulator.set_state(torch.arange(simulator.num_envs), state)
    shape = state.dof_positions.shape
    found = []
    for step in range(steps):
        simulator.step(0.3 * torch.randn(shape, generator=torch.Generator().manual_seed(step)))
        found.append(simulator.robot().body_positions)
    return found


@pytest.mark.parametrize("name", ["AMP", "SMPL"])
def test_it_passes_every_check_of_engines(name: str):
    from proto_envs.simulators.mujoco_warp import MujocoWarpSimulator

    check_engine(MujocoWarpSimulator, get_robot(name))


@pytest.mark.parametrize("name", ["AMP", "SMPL"])
def test_it_does_what_mujoco_does(name: str, make_warp: Any, make_simulator: Any, falling: Any):
    robot = get_robot(name)
    state = falling(robot, 6)
    ours = make_warp(robot, 6, contact_forces=True)
    theirs = make_simulator(robot, 6, contact_forces=True)
    run(ours, state, 10)
    run(theirs, state, 10)
    a, b = ours.robot(), theirs.robot()
    assert (b.contact_forces != 0.0).any(), "no robot touches the ground, so this checks less than it says"
    for index in range(6):
        assert abs(ours.render_state(index) - theirs.render_state(index)).max() < 1e-4
    for field, tolerance in (
        ("body_positions", 1e-4),
        ("body_rotations", 1e-4),
        ("dof_positions", 1e-4),
        ("body_velocities", 2e-2),
        ("dof_velocities", 2e-2),
    ):
        torch.testing.assert_close(getattr(a, field), getattr(b, field), atol=tolerance, rtol=0, msg=field)
    torch.testing.assert_close(a.contact_forces.sum((1, 2)), b.contact_forces.sum((1, 2)), atol=5.0, rtol=0.05)


@pytest.mark.parametrize("name", ["AMP", "SMPL"])
def test_its_drives_obey_the_law_in_every_physics_step(name: str, check_drives: Any):
    check_drives("mujoco_warp", get_robot(name))


def test_nothing_waits_for_the_device(amp: Robot, make_warp: Any, falling: Any, count_waits: Any):
    simulator = make_warp(amp, 4, contact_forces=True)
    state, ids, some = falling(amp, 4), torch.arange(4), torch.tensor([0, 2])
    run(simulator, state, 3)  # compiled, captured
    simulator.set_params("friction", None, torch.ones(4))
    simulator.set_params("gravity", None, torch.full((4,), -9.81))
    few = ResetState(**{name: field[some] for name, field in vars(state).items()})
    with count_waits() as found:
        simulator.apply_force(0, torch.ones(4, 3))
        simulator.add_velocity(torch.ones(4, 3), torch.ones(4, 3))
        for _ in range(3):
            simulator.step(state.dof_positions)
            seen = simulator.robot()
            for field in ("dof_positions", "dof_velocities", "dof_forces", "contact_forces"):
                getattr(seen, field)
            simulator.unstable()
            simulator.set_params("friction", some, torch.ones(2))
            simulator.set_state(some, few)
            simulator.robot(some)
        simulator.set_state(ids, state)
    assert not found


def test_a_state_that_is_lost_is_reported_and_harms_nobody_else(amp: Robot, make_warp: Any, falling: Any):
    state = falling(amp, 4)
    alone, beside = make_warp(amp, 4), make_warp(amp, 4)
    for simulator in (alone, beside):
        run(simulator, state, 2)
    beside.add_velocity(torch.tensor([[0.0], [float("nan")], [0.0], [0.0]]).expand(4, 3), torch.zeros(4, 3))
    others, lost = torch.tensor([0, 2, 3]), torch.tensor([1])
    for simulator in (alone, beside):
        simulator.step(state.dof_positions)
    assert beside.unstable().tolist() == [False, True, False, False]
    assert not alone.unstable().any()
    assert torch.equal(alone.robot(others).body_positions, beside.robot(others).body_positions)
    few = ResetState(**{name: field[lost] for name, field in vars(state).items()})
    for simulator in (alone, beside):
        simulator.set_state(lost, few)
        simulator.step(state.dof_positions)
    assert not beside.unstable().any()
    assert torch.equal(alone.robot().body_positions, beside.robot().body_positions)


def test_too_many_contacts_are_told_once(amp: Robot, make_warp: Any, falling: Any, caplog: Any):
    simulator = make_warp(amp, 4, max_contacts=1)
    with caplog.at_level(logging.WARNING, logger="proto_envs.simulators.mujoco_warp"):
        run(simulator, falling(amp, 4, 0.9), 8)
    told = [record.getMessage() for record in caplog.records]
    assert sum("too many constraints in" in message and "max_contacts" in message for message in told) == 1
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="proto_envs.simulators.mujoco_warp"):
        run(make_warp(amp, 4), falling(amp, 4, 0.9), 8)
    assert not caplog.records


def test_dry_friction_in_joints_may_come_late(amp: Robot, make_warp: Any, falling: Any):
    """It needs more room for constraints; what was goes on, bit for bit where it is not set."""
    state = falling(amp, 2, 2.0)
    plain, late = make_warp(amp, 2), make_warp(amp, 2)
    for simulator in (plain, late):
        run(simulator, state, 3)
    late.set_params("joint_friction", torch.tensor([1]), torch.tensor([50.0]))
    for simulator in (plain, late):
        for _ in range(3):
            simulator.step(torch.zeros_like(state.dof_positions))
    found, wanted = late.robot().body_positions, plain.robot().body_positions
    torch.testing.assert_close(found[0], wanted[0], atol=1e-6, rtol=0)
    assert (found[1] - wanted[1]).abs().max() > 1e-3


def test_uneven_ground_carries_where_it_is(amp: Robot, make_warp: Any, falling: Any):
    """Robots that fell down lie on what the terrain says of itself."""
    heights = torch.zeros(21, 21)
    heights[5:16, 5:16] = 0.3 + 0.1 * torch.rand(11, 11, generator=torch.Generator().manual_seed(0))
    terrain = Terrain.from_grid(heights, 0.5)
    bodies = run(make_warp(amp, 4, terrain=terrain), falling(amp, 4, 1.5), 45)[-1]
    above = bodies[..., 2] - terrain.heights(bodies[..., :2].reshape(-1, 2)).view(4, -1)
    assert (terrain.heights(bodies[:, 0, :2]) > 0.2).all(), "a robot has left the uneven part"
    assert (above.amin(-1) > -0.02).all() and (above.amin(-1) < 0.2).all()


def test_an_environment_runs_on_it_and_resumes_exactly(check_engine_in_an_environment: Any):
    check_engine_in_an_environment("mujoco_warp")
