"""The engine and its worker over a stand-in for Isaac Gym, which cannot be had here, under a real Python 3.8."""

from __future__ import annotations

import ast
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest
import torch

from proto_envs.robots import ROBOTS, get_robot
from proto_envs.scenes import Box, Scene, SceneObject, SceneSet
from proto_envs.simulators import SimulationSettings, UnsupportedError, installed, isaacgym_link, make_simulator
from proto_envs.simulators.isaacgym import IsaacGymSimulator
from proto_envs.simulators.isaacgym_link import Link, WorkerError
from proto_envs.simulators.isaacgym_robot import IsaacGymRobot
from proto_envs.simulators.mjcf import JointLayout, physics_spec
from proto_envs.testing import check_engine
from proto_envs.testing import engine_outcomes as some
from proto_envs.testing.state_checks import STATE_CHECKS

WORKER = Path(isaacgym_link.__file__).with_name("isaacgym_worker.py")
STAND_IN = Path(__file__).with_name("isaacgym_stand_in")
ALLOWED = {"__future__", "isaacgym", "numpy", "torch", *sys.stdlib_module_names}


def _python38() -> str | None:
    """PROTO_PYTHON38, python3.8 on the path, or one of pyenv's; that it runs is tried."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    named = [os.environ.get("PROTO_PYTHON38"), shutil.which("python3.8"), *map(str, pyenv.glob("3.8*/bin/python"))]
    for program in filter(None, named):
        asked = subprocess.run([program, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True)
        if asked.stdout.strip() == b"(3, 8)":
            return program
    return None


@pytest.fixture(scope="module")
def python38() -> str:
    found = _python38()
    if found is None:
        pytest.skip("no Python 3.8: install one, or name it in PROTO_PYTHON38")
    return found


@pytest.fixture
def stand_in(python38: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """`stand_in(fault="", timeout="60")`: from now on engines start over it. No worker may be left at the end."""

    def take(fault: str = "", timeout: str = "60") -> None:
        monkeypatch.setenv("PROTO_ISAACGYM_PYTHON", python38)
        monkeypatch.setenv("PROTO_ISAACGYM_TIMEOUT", timeout)
        monkeypatch.setenv("PYTHONPATH", str(STAND_IN))
        monkeypatch.setenv("ISAACGYM_STAND_IN", fault)

    take()
    yield take
    assert workers() == []


@pytest.fixture
def make_gym(stand_in: Any) -> Iterator[Callable[..., IsaacGymSimulator]]:
    """`make_gym(robot, num_envs, **settings)`."""
    made = []

    def make(robot: Any, num_envs: int, **settings: Any) -> IsaacGymSimulator:
        simulator = IsaacGymSimulator(robot, num_envs, SimulationSettings(**{"device": "cpu", **settings}))
        made.append(simulator)
        return simulator

    yield make
    for simulator in made:
        simulator.close()


def workers() -> list[int]:
    """Processes of this one that run the worker."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and WORKER.name.encode() in status.with_name("cmdline").read_bytes():
                found.append(int(status.parent.name))
        except OSError:
            continue  # it has just ended
    return found


def on_cpu(robot: Any, num_envs: int, settings: SimulationSettings) -> IsaacGymSimulator:
    return IsaacGymSimulator(robot, num_envs, replace(settings, device="cpu"))


def describe(robot: Any) -> tuple[mujoco.MjModel, IsaacGymRobot]:
    model = physics_spec(robot, SimulationSettings()).compile()
    return model, IsaacGymRobot.of(robot, model, JointLayout.of(robot, model))


def everywhere(simulator: Any) -> torch.Tensor:
    return torch.arange(simulator.num_envs)


def still(simulator: Any) -> torch.Tensor:
    return torch.zeros(simulator.num_envs, len(simulator.robot().dof_positions[0]))


# --- the engine ------------------------------------------------------------------------------------------------------


def test_over_the_stand_in_it_passes_the_checks_of_engines(stand_in):
    moving = ("free fall", "push", "change of velocity", "parameter mass", "parameter stiffness", "parameter damping")
    measured = check_engine(on_cpu, get_robot("AMP"), checks=[*STATE_CHECKS, *moving])
    assert [name for name, error in measured.items() if math.isnan(error)] == ["determinism", "exact state"]


def test_robots_of_hinges_pass_them_too(stand_in):
    check_engine(on_cpu, get_robot("G1"), checks=["order of bodies and joints", "one moment"])


def test_drives_go_where_they_are_told_and_robots_stand_apart(make_gym, resting, amp, drawn):
    simulator = make_gym(amp, 3, gravity=0.0)
    simulator.set_state(everywhere(simulator), resting(amp, 3))
    targets = 0.3 * drawn(0, 3, amp.skeleton.num_dofs)
    for _ in range(40):
        simulator.step(targets)
    state = simulator.robot()
    assert (state.dof_positions - targets).abs().max() < 1e-3
    assert (state.body_positions[:, 0] - torch.tensor([0.0, 0.0, 3.0])).abs().max() < 1e-5
    assert state.dof_forces.abs().max() < 1.0, "where a joint is at its target, its drive is at rest"
    root = simulator._link.arrays["root"]
    assert torch.pdist(root[:, :2]).min() >= 5.0, "in Isaac Gym's world they have places of their own"


def test_what_lies_on_the_ground_presses_on_it_with_its_weight(make_gym, resting, amp):
    simulator = make_gym(amp, 2, contact_forces=True)
    simulator.set_state(everywhere(simulator), resting(amp, 2, height=0.8))
    simulator.set_state(torch.tensor([1]), resting(amp, 1, height=3.0))
    for _ in range(8):
        simulator.step(still(simulator))
    upward = simulator.robot().contact_forces[..., 2].sum(-1)
    mass = float(amp.spec().compile().body_mass.sum())
    assert upward.tolist() == pytest.approx([9.81 * mass, 0.0], rel=1e-3)


def test_an_environment_runs_on_it(stand_in):
    env = gymnasium.make_vec("ProtoMimic-AMP-v0", num_envs=2, motions="walk", backend="isaacgym", device="cpu")
    observation, _ = env.reset(seed=0)
    for _ in range(3):
        observation, reward, *_ = env.step(torch.zeros(env.action_space.shape))
    assert torch.isfinite(observation).all() and (reward > 0.0).all()
    env.close()


def test_states_that_are_not_finite_are_told_of_and_a_reset_heals_them(make_gym, resting, amp):
    simulator = make_gym(amp, 2)
    simulator._link.arrays["root"][1, 7] = float("nan")
    simulator.step(still(simulator))
    assert simulator.unstable().tolist() == [False, True]
    simulator.set_state(torch.tensor([1]), resting(amp, 1))
    simulator.step(still(simulator))
    assert not simulator.unstable().any()


@pytest.mark.parametrize(
    ("settings", "message"), [({"terrain": "plateau"}, "no terrain"), ({"scenes": "scenes"}, "no objects")]
)
def test_what_it_lacks_it_refuses_without_a_worker(stand_in, amp, plateau, settings, message):
    scene = Scene(name="box", objects=(SceneObject(name="box", parts=(Box(size=(1.0, 1.0, 1.0)),)),))
    known = {"plateau": plateau(0.5), "scenes": SceneSet((scene,), "sequential").batch(1)}
    with pytest.raises(UnsupportedError, match=f"engine isaacgym has .*{message}"):
        make_simulator("isaacgym", amp, 1, SimulationSettings(**{k: known[v] for k, v in settings.items()}))


def test_the_guide_shows_how_to_check_it(stand_in, monkeypatch, capsys):
    monkeypatch.setattr("proto_envs.testing.engine_outcomes", lambda _, robot: some(on_cpu, robot, checks=["protocol"]))
    guide = (Path(__file__).parents[2] / "docs" / "isaac.md").read_text(encoding="utf-8")
    exec(re.findall("```python\n(.*?)```", guide, re.DOTALL)[0], {})
    assert capsys.readouterr().out.startswith("protocol: passed")


# --- the robot -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ROBOTS)
def test_the_mjcf_for_isaac_gym_is_the_robot_in_plain_words(name):
    robot = get_robot(name)
    model, described = describe(robot)
    plain = mujoco.MjModel.from_xml_string(described.mjcf)
    joints = [plain.joint(i).name for i in range(1, plain.njnt)]
    assert joints == list(robot.skeleton.dof_names)
    assert [plain.body(i).name for i in range(1, plain.nbody)] == list(robot.skeleton.body_names)
    np.testing.assert_allclose(plain.body_pos[1:], model.body_pos[1:], atol=1e-6)
    np.testing.assert_allclose(plain.body_quat[1:], model.body_quat[1:], atol=1e-6)
    kept = (model.geom_contype > 0) & (model.geom_bodyid > 0)
    np.testing.assert_allclose(plain.body_mass[1:], described.masses, rtol=1e-6)
    for field in ("geom_type", "geom_size", "geom_pos"):
        np.testing.assert_allclose(getattr(plain, field), getattr(model, field)[kept], atol=1e-6)
    hinges = model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE
    for id in np.flatnonzero(hinges & (model.jnt_limited > 0)):
        np.testing.assert_allclose(plain.joint(model.joint(id).name).range, model.jnt_range[id], atol=1e-6)


def test_inertias_are_about_the_centres_of_mass_along_the_bodies_axes(smpl):
    model, described = describe(smpl)
    assert described.masses.sum() == pytest.approx(63.31, abs=0.01)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)  # in the model's own pose all bodies' axes are the world's
    turn = data.ximat[1:].reshape(-1, 3, 3)
    want = turn @ (model.body_inertia[1:, :, None] * turn.transpose(0, 2, 1))
    np.testing.assert_allclose(described.inertias, want, atol=1e-9)


def test_balls_about_other_axes_are_refused(amp):
    spec = amp.spec()
    first, second, _ = spec.body("torso").joints
    first.axis, second.axis = (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)
    with pytest.raises(UnsupportedError, match=r"about x, y and z.*'torso'"):
        describe(replace(amp, own_model=spec))


def test_shapes_that_the_importer_may_not_know_are_refused(amp):
    spec = amp.spec()
    spec.body("head").add_geom(type=mujoco.mjtGeom.mjGEOM_ELLIPSOID, size=(0.1, 0.1, 0.2))
    with pytest.raises(UnsupportedError, match=r"no shape 'ellipsoid'; it has \['sphere', 'capsule'"):
        describe(replace(amp, own_model=spec))


# --- the worker ------------------------------------------------------------------------------------------------------


def test_the_worker_is_python_3_8_and_imports_nothing_of_ours():
    tree = ast.parse(WORKER.read_text(encoding="utf-8"), feature_version=(3, 8))
    imported = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imported += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert {str(name).partition(".")[0] for name in imported} <= ALLOWED


def test_an_error_in_the_worker_comes_with_its_traceback(make_gym, stand_in, amp):
    stand_in("raise")
    simulator = make_gym(amp, 1)
    with pytest.raises(WorkerError, match=r"(?s)failed in 'step'.*in simulate.*RuntimeError: .* on purpose"):
        simulator.step(still(simulator))
    assert len(workers()) == 1, "it goes on after an error"
    for _ in range(2):
        simulator.close()
        assert workers() == []


def test_a_worker_that_dies_is_told_of_with_its_last_words(make_gym, stand_in, amp):
    stand_in("die")
    simulator = make_gym(amp, 1)
    with pytest.raises(WorkerError, match=r"(?s)ended in 'step' with code 7; it said:.*dies on purpose"):
        simulator.step(still(simulator))
    assert workers() == []


def test_a_worker_that_hangs_is_ended(make_gym, stand_in, amp):
    stand_in("hang", timeout="2")
    simulator = make_gym(amp, 1)
    with pytest.raises(WorkerError, match=r"did not answer 'step' for 2 s \(PROTO_ISAACGYM_TIMEOUT\)"):
        simulator.step(still(simulator))
    assert workers() == []


@pytest.mark.parametrize(
    ("fault", "message"), [("none", "could not make a simulation"), ("shuffle", r"has the bodies \['left_foot'.*want")]
)
def test_what_fails_at_the_start_leaves_no_worker(stand_in, amp, fault, message):
    stand_in(fault)
    with pytest.raises(WorkerError, match=rf"(?s)failed in 'start'.*{message}.*it said:\nstand-in"):
        IsaacGymSimulator(amp, 1, SimulationSettings(device="cpu"))
    assert workers() == []


def test_an_interpreter_without_isaac_gym_says_so(stand_in, amp, monkeypatch):
    monkeypatch.delenv("PYTHONPATH")
    with pytest.raises(WorkerError, match=r"(?s)ended in 'start' with code 1.*No module named 'isaacgym'"):
        IsaacGymSimulator(amp, 1, SimulationSettings(device="cpu"))


def test_a_hanging_worker_ends_with_the_other_side(make_gym, stand_in, amp):
    stand_in("hang")
    simulator = make_gym(amp, 1)
    request = {"id": 2, "call": "step", "arguments": {"pushed": False}}
    simulator._link._socket.sendall(json.dumps(request).encode() + b"\n")
    time.sleep(0.2)
    assert len(workers()) == 1
    simulator._link._socket.close()  # as the end of this process would
    assert simulator._link._process.wait(timeout=10.0) == 1


def test_the_answer_to_an_interrupted_call_is_not_taken_for_that_to_the_next(make_gym, amp):
    simulator = make_gym(amp, 1)
    calls = ({"id": 998 + i, "call": "nonsense", "arguments": {}} for i in range(2))
    simulator._link._socket.sendall(b"".join(json.dumps(call).encode() + b"\n" for call in calls))
    simulator.step(still(simulator))


@pytest.mark.parametrize(("named", "message"), [(None, "is not set"), ("/no/python", "='/no/python' is no program")])
def test_without_an_interpreter_it_says_which_variable_names_one(amp, monkeypatch, named, message):
    monkeypatch.delenv("PROTO_ISAACGYM_PYTHON", raising=False)
    if named:
        monkeypatch.setenv("PROTO_ISAACGYM_PYTHON", named)
    assert not installed("isaacgym")
    with pytest.raises(ImportError, match=rf"Python 3\.8.*PROTO_ISAACGYM_PYTHON {message}|{message}"):
        make_simulator("isaacgym", amp, 1, SimulationSettings(device="cpu"))


def test_arrays_of_all_types_are_shared(stand_in):
    link = Link({"a": ((3,), torch.uint8), "b": ((2, 5), torch.float32), "c": ((4,), torch.int32)})
    assert [offset % 64 for *_, offset in link.layout] == [0, 0, 0]
    assert {name: tuple(array.shape) for name, array in link.arrays.items()} == {"a": (3,), "b": (2, 5), "c": (4,)}
    link.close()


# --- the calls -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_calls_are_those_of_the_published_stubs(tmp_path):
    """`pip install isaacgym-stubs==1.1rc4 mypy`."""
    pytest.importorskip("mypy")
    try:
        stub = next(path.locate() for path in files("isaacgym-stubs") or () if path.name == "gymapi.pyi")
    except PackageNotFoundError:
        pytest.skip("pip install isaacgym-stubs==1.1rc4")
    folder = tmp_path / "isaacgym"
    folder.mkdir()
    # As published it does not parse: a field is called `lambda`.
    (folder / "gymapi.pyi").write_text(Path(str(stub)).read_text().replace("def lambda(", "def lambda_("))
    untyped = (
        "from typing import Any\ndef wrap_tensor(tensor: Any) -> Any: ...\ndef unwrap_tensor(tensor: Any) -> Any: ..."
    )
    (folder / "gymtorch.pyi").write_text(untyped)
    (folder / "__init__.pyi").touch()
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    source = WORKER.read_text()
    good.write_text(source)
    bad.write_text(source.replace("gym.simulate(sim)", "gym.simulat(sim)").replace("plane.normal", "plane.norm"))
    options = ["--config-file=", "--follow-imports=skip", "--ignore-missing-imports", f"--cache-dir={tmp_path}/cache"]
    found = subprocess.run(
        [sys.executable, "-m", "mypy", *options, str(good), str(bad)],
        capture_output=True,
        text=True,
        env={**os.environ, "MYPYPATH": str(tmp_path)},
    ).stdout
    assert "good.py" not in found
    assert '"Gym" has no attribute "simulat"' in found and '"PlaneParams" has no attribute "norm' in found
