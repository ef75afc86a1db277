"""Small environments and engines that are closed after each test, and moments with random states."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest
import torch
from mujoco.batch import Batch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import proto_envs  # noqa: F401  registers the ids
from motionlib import BodyState, MotionLib
from poselib.rotations import quat_difference, quat_normalize
from proto_envs.context import Context, ResetState, RobotState
from proto_envs.robots import Robot, get_robot
from proto_envs.simulators import SimulationSettings, Simulator
from proto_envs.simulators import make_simulator as start_engine
from proto_envs.simulators.coordinates import Coordinates
from proto_envs.simulators.drives import DriveLaw
from proto_envs.simulators.mjcf import physics_spec
from proto_envs.simulators.mujoco import MujocoSimulator
from proto_envs.terrain import Terrain


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(params=["AMP", "SMPL"])
def robot(request: pytest.FixtureRequest) -> Robot:
    return get_robot(request.param)


@pytest.fixture
def amp() -> Robot:
    return get_robot("AMP")


@pytest.fixture
def smpl() -> Robot:
    return get_robot("SMPL")


@pytest.fixture
def make_env() -> Iterator[Callable[..., Any]]:
    """`make_env(num_envs, robot="AMP", name="Mimic", **keywords of make_vec)`: an environment of that task."""
    made = []

    def make(num_envs: int = 4, robot: str = "AMP", name: str = "Mimic", **keywords: Any) -> Any:
        env = gymnasium.make_vec(f"Proto{name}-{robot}-v0", num_envs=num_envs, **{"threads": 1, **keywords})
        made.append(env)
        return env

    yield make
    for env in made:
        env.close()


@pytest.fixture
def still() -> Callable[[Any], Tensor]:
    """`still(env)`: actions of zero."""
    return lambda env: torch.zeros(env.action_space.shape)


@pytest.fixture
def noisy() -> Callable[[Any, int], Tensor]:
    """`noisy(env, step)`: actions that make robots fall in different ways."""
    return lambda env, step: torch.rand(env.action_space.shape, generator=torch.Generator().manual_seed(step)) * 2 - 1


@pytest.fixture
def roll(noisy: Callable[[Any, int], Tensor]) -> Callable[..., list[Any]]:
    """`roll(env, steps, first=0)`: what that many noisy steps return, the first drawn from seed `first`."""
    return lambda env, steps, first=0: [env.step(noisy(env, first + k)) for k in range(steps)]


@pytest.fixture
def make_engine() -> Iterator[Callable[..., Any]]:
    """`make_engine(name, robot, num_envs, **settings)`, on the CPU."""
    made = []

    def make(name: str, robot: Robot, num_envs: int, **settings: Any) -> Simulator:
        given = {"threads": 1, "device": "cpu", **settings}
        made.append(start_engine(name, robot, num_envs, SimulationSettings(**given)))
        return made[-1]

    yield make
    for simulator in made:
        simulator.close()


@pytest.fixture
def make_simulator(make_engine: Callable[..., Any]) -> Callable[..., MujocoSimulator]:
    """`make_simulator(robot, num_envs, **settings)`: MuJoCo."""
    return partial(make_engine, "mujoco")


@pytest.fixture
def library() -> Callable[..., MotionLib]:
    """`library("walk", "kick", robot="amp")`: sample clips."""
    return lambda *names, robot="amp": MotionLib.from_samples(robot, names)


@pytest.fixture
def drawn() -> Callable[..., Tensor]:
    """`drawn(seed, *shape)`: normal numbers."""
    return lambda seed, *shape: torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def resting() -> Callable[..., ResetState]:
    """`resting(robot, num_envs, height=3.0, root_rotation=..., velocity=...)`: joints at zero."""

    def state(
        robot: Robot,
        num_envs: int,
        height: float = 3.0,
        root_rotation: tuple[float, ...] = (0.0, 0.0, 0.0, 1.0),
        velocity: tuple[float, ...] = (0.0, 0.0, 0.0),
    ) -> ResetState:
        skeleton = robot.skeleton
        joints = torch.zeros(num_envs, skeleton.num_dofs)
        return ResetState(
            root_position=torch.tensor([0.0, 0.0, height]).repeat(num_envs, 1),
            local_rotations=skeleton.local_rotations_from_dofs(joints, torch.tensor(root_rotation).repeat(num_envs, 1)),
            dof_positions=joints,
            root_velocity=torch.tensor(velocity).repeat(num_envs, 1),
            root_angular_velocity=torch.zeros(num_envs, 3),
            dof_velocities=joints,
        )

    return state


@pytest.fixture
def random_bodies(drawn: Callable[..., Tensor]) -> Callable[..., BodyState]:
    """`random_bodies(seed, *shape)`: a reference with fields (*shape, 3) and (*shape, 4), not of any skeleton."""

    def bodies(seed: int, *shape: int) -> BodyState:
        positions, velocities, angular = drawn(seed, 3, *shape, 3)
        rotations = quat_normalize(drawn(seed + 1, *shape, 4))
        return BodyState(positions, rotations, velocities, angular, drawn(seed + 2, *shape) > 0)

    return bodies


@pytest.fixture
def moment() -> Callable[..., Context]:
    """`moment(robot, bodies, motion=None, upcoming=None, joint_level={}, **fields)`: a context made by hand."""

    def make(
        robot: Robot,
        bodies: BodyState,
        motion: BodyState | None = None,
        upcoming: BodyState | None = None,
        joint_level: dict[str, Tensor] | None = None,
        **given: Any,
    ) -> Context:
        n, zeros = len(bodies.body_positions), torch.zeros(len(bodies.body_positions), robot.skeleton.num_dofs)
        state = RobotState(
            *(getattr(bodies, field.name) for field in fields(bodies)[:4]), read=(joint_level or {}).__getitem__
        )
        parts = {
            "steps": torch.full((n,), 100),
            "targets": zeros,
            "previous_targets": zeros,
            "ground_height": torch.zeros(n),
            **given,
        }
        return Context(robot=robot, dt=1 / 30, state=state, motion=motion, upcoming=upcoming, **parts)

    return make


_WAITS = {
    torch.ops.aten._local_scalar_dense.default: "item",
    torch.ops.aten.nonzero.default: "nonzero",
    torch.ops.aten.masked_select.default: "masked_select",
    torch.ops.aten._unique2.default: "unique",
    torch.ops.aten.equal.default: "equal",
    torch.ops.aten.repeat_interleave.Tensor: "repeat_interleave",
}
_INDEXING = (torch.ops.aten.index, torch.ops.aten.index_put, torch.ops.aten.index_put_)


class _WaitCounter(TorchDispatchMode):
    """Notes what would make the host wait for a GPU: values that are looked at, and sizes that depend on values."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _WAITS:
            self.found.append(_WAITS[func])
        if func.overloadpacket in _INDEXING and any(i is not None and i.dtype == torch.bool for i in args[1]):
            self.found.append("mask as index")
        return func(*args, **(kwargs or {}))


@pytest.fixture
def count_waits(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """`with count_waits() as found:` lists by name what would wait for a GPU; `arrays=False`: but for `numpy()`."""

    @contextmanager
    def count(*, arrays: bool = True) -> Iterator[list[str]]:
        with _WaitCounter() as counter, monkeypatch.context() as patch:

            def noted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
                return lambda *given, **named: counter.found.append(name) or call(*given, **named)

            for name in ("tolist", "cpu", *(("numpy",) if arrays else ())):
                patch.setattr(Tensor, name, noted(name, getattr(Tensor, name)))
            yield counter.found

    return count


@pytest.fixture
def plateau() -> Callable[[float], Terrain]:
    """`plateau(height)`: level ground at a height, 200 m wide."""
    return lambda height: Terrain.from_grid(torch.full((101, 101), height), 2.0)


@pytest.fixture
def assert_equal() -> Callable[[Any, Any], None]:
    """Bit-equality of nested dicts and tuples of tensors and arrays, NaN equal to NaN."""

    def check(a: Any, b: Any) -> None:
        assert type(a) is type(b)
        if isinstance(a, dict):
            assert a.keys() == b.keys()
            for key in a:
                check(a[key], b[key])
        elif isinstance(a, tuple):
            assert len(a) == len(b)
            for x, y in zip(a, b, strict=True):
                check(x, y)
        else:
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b))

    return check


@pytest.fixture
def check_engine_in_an_environment(make_env: Any, roll: Any, assert_equal: Any) -> Callable[[str], None]:
    """`check_engine_in_an_environment(backend)`: it runs, and goes on exactly where it was saved."""

    def check(backend: str) -> None:
        env = make_env(backend=backend, device="cpu", motions="walk")
        assert env.unwrapped.simulator.capabilities.name == backend
        env.reset(seed=0)
        roll(env, 12)
        saved = env.unwrapped.state_dict()
        wanted = roll(env, 5, first=12)
        other = make_env(backend=backend, device="cpu", motions="walk")
        other.reset(seed=1)
        other.unwrapped.load_state_dict(saved)
        for a, b in zip(wanted, roll(other, 5, first=12), strict=True):
            assert_equal(a, b)
        assert all(torch.isfinite(step[0]).all() for step in wanted)

    return check


def _turns(robot: Robot, positions: Tensor, targets: Tensor) -> Tensor:
    """(n, D) rad from where joints are to where they should be, those of balls along the shortest way."""
    now, wanted = (robot.skeleton.local_rotations_from_dofs(dofs) for dofs in (positions, targets))
    return robot.skeleton.dofs_from_local_rotations(quat_difference(now, wanted))


def _driven(
    robot: Robot, gains: dict[str, Tensor], state: ResetState, targets: Tensor, steps: int, dt: float
) -> Tensor:
    """(n, D) rad where the drives' law alone takes joints in the air: plain torques in steps that are tiny."""
    spec, tiny = physics_spec(robot, SimulationSettings(gravity=0.0)), 1e-4
    spec.option.timestep = tiny
    for actuator in spec.actuators:
        spec.delete(actuator)
    for joint in spec.joints:
        joint.damping = [0.0, 0.0, 0.0]
    model = spec.compile()
    coordinates, law = Coordinates(robot, model, torch.device("cpu")), DriveLaw(robot, torch.device("cpu"))
    batch = Batch(model, len(state.dof_positions), 1)
    qpos, qvel, torques = (torch.from_numpy(batch.bind(name)) for name in ("qpos", "qvel", "qfrc_applied"))
    batch.reset(stage=mujoco.mjtStage.mjSTAGE_NONE.value)
    coordinates.write(state, qpos, qvel)
    for _ in range(steps):
        positions = coordinates.dof_positions(qpos)
        setpoints = positions + _turns(robot, positions, targets)
        for _ in range(round(dt / tiny)):
            away = setpoints - coordinates.dof_positions(qpos)
            forces = law.torques(away, coordinates.dof_velocities(qvel), **gains)
            torques[:, coordinates.layout.dof_qvel] = forces.double()
            batch.step(nstep=1)
    return coordinates.dof_positions(qpos)


@pytest.fixture
def check_drives(make_engine: Any, resting: Any, drawn: Any) -> Callable[[str, Robot], None]:
    """`check_drives(backend, robot)`: in each physics step drives exert what their law says, and joints move by it.

    Every other robot has drives of half the stiffness, with 0.7 of the damping.
    """

    def check(backend: str, robot: Robot) -> None:
        n, dofs = 4, robot.skeleton.num_dofs
        law, state = DriveLaw(robot, torch.device("cpu")), resting(robot, n, height=2.0)
        factors = {"stiffness": torch.tensor([1.0, 0.5, 1.0, 0.5]), "damping": torch.tensor([1.0, 0.7, 1.0, 0.7])}
        gains = {name: factor.unsqueeze(-1) * getattr(law, name) for name, factor in factors.items()}
        low, high = 0.8 * robot.skeleton.dof_limits.T
        commands = [(0.7 * drawn(seed, n, dofs)).clamp(low, high) for seed in range(6)]

        def start(**settings: Any) -> Simulator:
            simulator = make_engine(backend, robot, n, gravity=0.0, **settings)
            for name, factor in factors.items():
                simulator.set_params(name, None, factor)
            simulator.set_state(torch.arange(n), state)
            return simulator

        simulator, clipped = start(substeps=1), 0
        for command in commands:
            before = simulator.robot()
            want = law.torques(_turns(robot, before.dof_positions, command), before.dof_velocities, **gains)
            simulator.step(command)
            torch.testing.assert_close(simulator.robot().dof_forces, want, rtol=1e-3, atol=5e-2)
            clipped += int((want.abs() >= law.effort).sum())
        assert clipped, "no effort is reached, so this checks less than it says"
        simulator = start(control_hz=125.0, substeps=16)
        for _ in range(6):
            simulator.step(commands[0])
        wanted = _driven(robot, gains, state, commands[0], 6, simulator.dt)
        distances = (simulator.robot().dof_positions - wanted).abs()
        assert distances.max() < 0.02 and distances.median() < 1e-3

    return check
