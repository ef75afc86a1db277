"""Newton on Warp's CPU device, beside MuJoCo."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh

from proto_envs.context import ResetState
from proto_envs.robots import Robot, get_robot
from proto_envs.scenes import Box, Mesh, Scene, SceneObject, SceneSet, Sphere
from proto_envs.testing import check_engine
from proto_envs.testing.states import mixed_states

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(
        find_spec("newton") is None or find_spec("mujoco_warp") is None, reason="pip install 'proto-envs[newton]'"
    ),
]


@pytest.fixture
def make_newton(make_engine: Callable[..., Any]) -> Callable[..., Any]:
    """`make_newton(robot, num_envs, **settings)`."""
    return partial(make_engine, "newton")


def apart(ours: Any, theirs: Any, state: ResetState, targets: torch.Tensor, steps: int) -> np.ndarray:
    """(N, nq) distances of the coordinates of two engines after some steps from a state."""
    ids = torch.arange(ours.num_envs)
    for simulator in (ours, theirs):
        simulator.set_state(ids, state)
        for _ in range(steps):
            simulator.step(targets)
    return np.abs([ours.render_state(i) - theirs.render_state(i) for i in ids.tolist()])


@pytest.mark.parametrize("name", ["AMP", "SMPL"])
def test_it_passes_every_check_of_engines(name: str):
    from proto_envs.simulators.newton import NewtonSimulator

    check_engine(NewtonSimulator, get_robot(name))


@pytest.mark.parametrize("name", ["AMP", "SMPL", "SMPLX", "SwordShield", "H1", "H1Hands", "G1"])
def test_it_does_what_mujoco_does(name: str, make_newton: Any, make_simulator: Any):
    robot = get_robot(name)
    state = mixed_states(robot, 3)
    ours, theirs = make_newton(robot, 3, contact_forces=True), make_simulator(robot, 3, contact_forces=True)
    distances = apart(ours, theirs, state, robot.default_dofs.expand(3, -1), 15)
    assert np.median(distances) < 1e-6
    a, b = ours.robot(), theirs.robot()
    assert (b.contact_forces != 0.0).any(), "no robot touches the ground, so this checks less than it says"
    for field, tolerance in (("body_positions", 1e-6), ("body_velocities", 1e-4), ("dof_velocities", 1e-4)):
        assert (getattr(a, field) - getattr(b, field)).abs().median() < tolerance, field


@pytest.mark.parametrize("name", ["AMP", "SMPL"])
def test_its_drives_obey_the_law_in_every_physics_step(name: str, check_drives: Any):
    check_drives("newton", get_robot(name))


def test_limits_of_ball_joints_hold(amp: Robot, make_newton: Any, make_simulator: Any, resting: Any):
    """Newton knows none; they are given to the solver beside it, and stay when other properties are set."""
    state = resting(amp, 2)
    targets = torch.ones(2, amp.skeleton.num_dofs)
    simulators = [make(amp, 2, gravity=0.0) for make in (make_newton, make_simulator)]
    free = make_newton(amp, 2, gravity=0.0)
    free.set_params("damping", None, torch.ones(2))
    free._solver.mjw_model.jnt_limited_ball_adr = free._solver.mjw_model.jnt_limited_ball_adr[:0]
    for simulator in simulators:
        simulator.set_params("damping", None, torch.ones(2))
    assert apart(*simulators, state, targets, 20).max() < 1e-4
    assert apart(free, simulators[1], state, targets, 20).max() > 0.05


def test_each_environment_has_its_own_scene(amp: Robot, make_newton: Any, make_simulator: Any, tmp_path: Path):
    """Boxes, a ball and a mesh, held and loose; what another scene has meets nothing here."""
    trimesh.creation.cylinder(radius=0.3, height=0.4).export(tmp_path / "drum.obj")
    drum = SceneObject(
        name="drum", parts=(Mesh(file=str(tmp_path / "drum.obj")),), mobility="dynamic", position=(2.0, 0.0, 0.2)
    )
    bench = SceneObject(name="bench", parts=(Box(size=(0.5, 2.0, 0.3), position=(0.0, 0.0, 0.15)),))
    ball = SceneObject(name="ball", parts=(Sphere(radius=0.2),), mobility="dynamic", position=(2.0, 0.5, 0.7))
    scenes = SceneSet((Scene(name="sport", objects=(drum,)), Scene(name="park", objects=(bench, ball))), "sequential")
    given = {"scenes": scenes.batch(4), "object_forces": True, "contact_forces": True}
    ours, theirs = make_newton(amp, 4, **given), make_simulator(amp, 4, **given)
    state = mixed_states(amp, 4)
    state.root_position[:, 2] += 0.4  # above the bench
    apart(ours, theirs, state, amp.default_dofs.expand(4, -1), 20)
    a, b = ours.objects(), theirs.objects()
    torch.testing.assert_close(a.positions, b.positions, atol=2e-3, rtol=0)
    assert ours.robot().body_positions.isfinite().all()
    assert (ours.robot().body_positions - theirs.robot().body_positions).abs().median() < 1e-5
    assert a.robot_forces is not None and b.robot_forces is not None
    torch.testing.assert_close(a.robot_forces.sum(2), b.robot_forces.sum(2), atol=20.0, rtol=0.1)
    assert (b.robot_forces != 0.0).any(), "no robot touches an object, so this checks less than it says"


def test_nothing_waits_for_the_device(amp: Robot, make_newton: Any, count_waits: Any):
    simulator = make_newton(amp, 3, contact_forces=True)
    state, ids, some = mixed_states(amp, 3), torch.arange(3), torch.tensor([0, 2])
    few = ResetState(**{name: field[some] for name, field in vars(state).items()})
    simulator.set_state(ids, state)
    for _ in range(3):  # compiled, captured
        simulator.step(state.dof_positions)
    with count_waits() as found:
        simulator.apply_force(0, torch.ones(3, 3))
        simulator.add_velocity(torch.ones(3, 3), torch.ones(3, 3))
        for _ in range(2):
            simulator.step(state.dof_positions)
            seen = simulator.robot()
            for field in ("dof_positions", "dof_velocities", "dof_forces", "contact_forces"):
                getattr(seen, field)
            simulator.unstable()
            simulator.set_state(some, few)
            simulator.robot(some)
    assert not found


def test_too_many_contacts_are_told_once(amp: Robot, make_newton: Any, caplog: Any):
    state, targets = mixed_states(amp, 3), amp.default_dofs.expand(3, -1)
    for room, times in ((1, 1), (0, 0)):
        simulator = make_newton(amp, 3, max_contacts=room)
        simulator.set_state(torch.arange(3), state)
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="proto_envs.simulators.newton"):
            for _ in range(20):
                simulator.step(targets)
        assert sum("too many constraints in" in record.getMessage() for record in caplog.records) == times
        assert len(caplog.records) == times


def test_an_environment_runs_on_it_and_resumes_exactly(check_engine_in_an_environment: Any):
    check_engine_in_an_environment("newton")
