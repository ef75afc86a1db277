"""Genesis on the CPU, beside MuJoCo. Its scenes share one process, as kernels that are loaded once serve them all."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any

import mujoco
import numpy as np
import pytest
import torch

from poselib.rotations import matrix_from_quat, quat_apply, quat_from_exp_map
from proto_envs.context import ResetState
from proto_envs.robots import Robot, get_robot
from proto_envs.scenes import make_scenes
from proto_envs.simulators import SimulationSettings, UnsupportedError
from proto_envs.simulators import make_simulator as start_engine
from proto_envs.terrain import Terrain
from proto_envs.testing import ENGINE_CHECKS, check_engine
from proto_envs.testing.states import mixed_states

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(find_spec("genesis") is None, reason="pip install 'proto-envs[genesis]'"),
]


@pytest.fixture
def make_genesis(make_engine: Callable[..., Any]) -> Callable[..., Any]:
    """`make_genesis(robot, num_envs, **settings)`."""
    return partial(make_engine, "genesis")


def run(simulator: Any, robot: Robot, steps: int, first: int = 0) -> None:
    """Some steps with targets about the default pose that change."""
    shape = (simulator.num_envs, robot.skeleton.num_dofs)
    for step in range(first, first + steps):
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(step))
        simulator.step(robot.default_dofs + 0.3 * noise)


def distance(ours: Any, theirs: Any) -> torch.Tensor:
    """(N, nq), between the generalised positions of two engines."""
    rows = [abs(ours.render_state(index) - theirs.render_state(index)) for index in range(ours.num_envs)]
    return torch.from_numpy(np.stack(rows))


# --- against MuJoCo --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "checks"),
    [("AMP", list(ENGINE_CHECKS)), ("SMPL", [name for name in ENGINE_CHECKS if not name.startswith("parameter")])],
)
def test_it_passes_every_check_of_engines(name: str, checks: list[str]):
    from proto_envs.simulators.genesis import GenesisSimulator

    def make(robot: Robot, num_envs: int, settings: SimulationSettings) -> Any:
        return GenesisSimulator(robot, num_envs, replace(settings, device="cpu"))

    check_engine(make, get_robot(name), checks=checks)


@pytest.mark.parametrize("name", ["AMP", "SMPL", "G1", "H1"])
def test_it_moves_as_mujoco_does(name: str, make_genesis: Any, make_simulator: Any):
    """Until something lies on the ground to rounding; then as near as two ways to find contacts allow."""
    robot = get_robot(name)
    settings = {"control_hz": robot.control_hz, "substeps": robot.substeps, "contact_forces": True}
    ours, theirs = make_genesis(robot, 6, **settings), make_simulator(robot, 6, **settings)
    for simulator in (ours, theirs):
        simulator.set_state(torch.arange(6), mixed_states(robot, 6))
        run(simulator, robot, 2)
    a, b = ours.robot(), theirs.robot()
    stands = [0, 3]
    assert (b.contact_forces[stands] != 0.0).any(), "no robot touches the ground, so this checks less than it says"
    assert distance(ours, theirs).median() < 1e-6
    for field, tolerance in (("body_positions", 1e-5), ("dof_forces", 1e-2), ("contact_forces", 0.5)):
        torch.testing.assert_close(getattr(a, field)[stands], getattr(b, field)[stands], atol=tolerance, rtol=1e-3)
    for simulator in (ours, theirs):
        run(simulator, robot, 48, first=2)
    assert distance(ours, theirs).median() < 2e-2
    assert not ours.unstable().any()


@pytest.mark.parametrize("name", ["AMP", "SMPL"])
def test_its_drives_obey_the_law_in_every_physics_step(name: str, check_drives: Any):
    check_drives("genesis", get_robot(name))


def test_balls_may_have_any_axes(amp: Robot, make_genesis: Any, make_simulator: Any):
    spec = amp.spec()
    turn = matrix_from_quat(quat_from_exp_map(torch.tensor([0.4, -0.7, 0.5]))).numpy()
    for joint in spec.body("right_thigh").joints:
        joint.axis = turn @ joint.axis
    robot = replace(amp, own_model=spec)
    ours, theirs = make_genesis(robot, 3, gravity=0.0), make_simulator(robot, 3, gravity=0.0)
    for simulator in (ours, theirs):
        simulator.set_state(torch.arange(3), mixed_states(robot, 3))
        run(simulator, robot, 1)
    assert distance(ours, theirs).median() < 1e-6
    torch.testing.assert_close(ours.robot().dof_forces, theirs.robot().dof_forces, atol=1e-2, rtol=1e-3)


def test_uneven_ground_is_the_terrains(amp: Robot, make_genesis: Any, drawn: Any):
    """A ball lies on the triangles that the terrain says of itself, pits and all, and on level ground beyond it."""
    heights = torch.zeros(41, 31)
    heights[1:-1, 1:-1] = 0.25 * drawn(0, 39, 29).clamp(-1.0, 1.0)
    terrain = Terrain.from_grid(heights, 1.0, walkable_slope=10.0)
    spec = amp.spec()
    ball, *others = (geom for body in spec.bodies for geom in body.geoms)
    for geom in others:
        geom.contype = geom.conaffinity = 0
    robot = replace(amp, own_model=spec)
    simulator = make_genesis(robot, 8, terrain=terrain, contact_forces=True)
    places = torch.cat([drawn(1, 7, 2) * 5.0, torch.tensor([[19.0, 40.0]])])
    simulator.set_state(torch.arange(8), resting_at(robot, places, terrain.heights(places) + 0.3))
    around = torch.cartesian_prod(*2 * [torch.linspace(-0.2, 0.2, 81)])
    touched = torch.zeros(8, dtype=torch.bool)
    for _ in range(20):
        simulator.step(torch.zeros(8, robot.skeleton.num_dofs))
        found = simulator.robot()
        middle = torch.tensor(ball.pos, dtype=torch.float32)
        middle = found.body_positions[:, 0] + quat_apply(found.body_rotations[:, 0], middle.expand(8, 3))
        level = middle[:, None, :2] + around
        surface = torch.cat([level, terrain.heights(level).unsqueeze(-1)], dim=-1)
        gap = (surface - middle.unsqueeze(1)).norm(dim=-1).amin(-1) - float(ball.size[0])
        carried = found.contact_forces[:, 0].norm(dim=-1) > 20.0
        assert (gap[carried].abs() < 0.02).all() and (gap > -0.03).all()
        touched |= carried
    assert touched.all()


def resting_at(robot: Robot, places: torch.Tensor, heights: torch.Tensor) -> ResetState:
    """Robots at rest, joints at 0."""
    n, joints = len(places), torch.zeros(len(places), robot.skeleton.num_dofs)
    return ResetState(
        root_position=torch.cat([places, heights.unsqueeze(-1)], dim=-1),
        local_rotations=robot.skeleton.local_rotations_from_dofs(joints),
        dof_positions=joints,
        root_velocity=torch.zeros(n, 3),
        root_angular_velocity=torch.zeros(n, 3),
        dof_velocities=torch.zeros_like(joints),
    )


# --- what is its own -------------------------------------------------------------------------------------------------


def test_bodies_that_touch_each_other_feel_no_ground(amp: Robot, make_genesis: Any, drawn: Any):
    crossed = 1.5 * drawn(0, 4, amp.skeleton.num_dofs).clamp(-1.0, 1.0)
    positions = []
    for self_collision in (False, True):
        simulator = make_genesis(amp, 4, self_collision=self_collision, contact_forces=True, gravity=0.0)
        simulator.set_state(torch.arange(4), resting_at(amp, torch.zeros(4, 2), torch.full((4,), 3.0)))
        for _ in range(10):
            simulator.step(crossed)
            assert not simulator.robot().contact_forces.any()
        positions.append(simulator.robot().body_positions)
    assert (positions[0] - positions[1]).abs().max() > 0.01, "nothing has touched, so this checks nothing"


def test_a_state_of_another_size_is_refused_and_changes_nothing(amp: Robot, make_genesis: Any):
    simulator = make_genesis(amp, 2)
    simulator.set_state(torch.arange(2), mixed_states(amp, 2))
    run(simulator, amp, 2)
    before = simulator.state_dict()
    with pytest.raises(ValueError, match=r"simulation state 'genesis\..*': want shape \(.*\), got \(.*\)"):
        simulator.load_state_dict(make_genesis(amp, 3).state_dict())
    after = simulator.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_push_that_waits_when_the_state_is_saved_still_ends_after_one_step(
    amp: Robot, make_genesis: Any, resting: Any
):
    first, second = make_genesis(amp, 1, gravity=0.0), make_genesis(amp, 1, gravity=0.0)
    first.set_state(torch.tensor([0]), resting(amp, 1))
    first.apply_force(0, torch.tensor([[300.0, 0.0, 0.0]]))
    second.load_state_dict(first.state_dict())
    for _ in range(3):
        for simulator in (first, second):
            simulator.step(torch.zeros(1, amp.skeleton.num_dofs))
        assert torch.equal(first.robot().body_positions, second.robot().body_positions)
    assert first.robot().body_velocities[0, 0, 0] > 0.05


def test_objects_are_refused_before_anything_is_built(amp: Robot):
    began = time.monotonic()
    with pytest.raises(UnsupportedError, match=r"engine genesis .*objects"):
        start_engine("genesis", amp, 2, SimulationSettings(scenes=make_scenes("chair").batch(2)))
    assert time.monotonic() - began < 60.0


def test_a_second_device_in_one_process_is_refused(amp: Robot, make_genesis: Any):
    make_genesis(amp, 1)
    with pytest.raises(RuntimeError, match=r"runs in this process on cpu with float64, and not on 'cuda'"):
        make_genesis(amp, 1, device="cuda")


def test_meshes_go_along(amp: Robot, make_genesis: Any, make_simulator: Any):
    """Feet that are boxes as meshes stand as boxes do."""
    spec = amp.spec()
    for name in amp.feet:
        box = spec.body(name).geoms[0]
        box.contype = box.conaffinity = 0
        if spec.mesh("foot") is None:
            corners = torch.cartesian_prod(*(torch.tensor([-half, half]) for half in box.size))
            spec.add_mesh(name="foot", uservert=corners.flatten().tolist())
        spec.body(name).add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname="foot", pos=box.pos, mass=0.0)
    robot = replace(amp, own_model=spec)
    simulators = make_genesis(robot, 1), make_genesis(amp, 1), make_simulator(robot, 1)
    for simulator in simulators:
        height = torch.tensor([amp.default_root_height + 0.02])
        simulator.set_state(torch.tensor([0]), resting_at(amp, torch.zeros(1, 2), height))
        for _ in range(15):
            simulator.step(torch.zeros(1, amp.skeleton.num_dofs))
    meshes, boxes, theirs = (simulator.robot().body_positions for simulator in simulators)
    torch.testing.assert_close(meshes, boxes, atol=0.01, rtol=0)
    torch.testing.assert_close(meshes, theirs, atol=0.01, rtol=0)


def test_nothing_waits_for_the_device(amp: Robot, make_genesis: Any, count_waits: Any):
    """Of what our side of the engine does; what Genesis' kernels do on CUDA, this does not see."""
    simulator = make_genesis(amp, 4, contact_forces=True)
    state, some = mixed_states(amp, 4), torch.tensor([0, 2])
    few = ResetState(**{name: field[some] for name, field in vars(state).items()})
    simulator.set_state(torch.arange(4), state)
    with count_waits() as found:
        simulator.apply_force(0, torch.ones(4, 3))
        simulator.add_velocity(torch.ones(4, 3), torch.ones(4, 3))
        for _ in range(2):
            simulator.step(state.dof_positions)
            seen = simulator.robot()
            for field in ("dof_positions", "dof_velocities", "dof_forces", "contact_forces"):
                getattr(seen, field)
            simulator.unstable()
            for name in ("friction", "gravity", "stiffness", "mass"):
                simulator.set_params(name, some, torch.ones(2))
            simulator.set_state(some, few)
            simulator.robot(some)
    assert not found


# --- in an environment -----------------------------------------------------------------------------------------------


def test_an_environment_runs_on_it_and_resumes_exactly(check_engine_in_an_environment: Any):
    check_engine_in_an_environment("genesis")
