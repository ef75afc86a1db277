"""On a GPU, looking at a value waits for all work before: a step looks once, whatever the task and engine."""

from typing import Any

import gymnasium
import pytest
import torch

import proto_envs.border
import proto_envs.components.clip_goals
import proto_envs.vector_env
from proto_envs.simulators import SimulationSettings, make_simulator


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (proto_envs.border, proto_envs.vector_env, proto_envs.components.clip_goals):
        monkeypatch.setattr(module, "looking_is_free", lambda device: False)


@pytest.mark.parametrize(
    ("task", "mode"),
    [("Mimic", "same_step"), ("Mimic", "next_step"), ("Mimic", "disabled"), ("MaskedMimic", "same_step")],
)
def test_what_a_gpu_would_do_is_what_the_cpu_does(
    task: str, mode: str, make_env: Any, roll: Any, assert_equal: Any, request: pytest.FixtureRequest
):
    def make():
        return make_env(8, name=task, autoreset_mode=mode, motions="walk")

    env = make()
    env.reset(seed=0)
    wanted = roll(env, 30)
    request.getfixturevalue("as_on_a_gpu")
    other = make()
    other.reset(seed=0)
    for a, b in zip(wanted, roll(other, 30), strict=True):
        assert_equal(a, b)


_SENSES = {"observation": "groups", "foundation": {"conditioning": True}}


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize(
    ("task", "keywords"),
    [("Mimic", {}), ("Steering", {}), *((name, _SENSES) for name in ("Steering", "Strike", "LongJump"))],
)
def test_a_step_waits_once(task: str, keywords: dict[str, Any], count_waits: Any):
    env = gymnasium.make_vec(f"Proto{task}-AMP-v0", num_envs=4, motions="walk", threads=1, **keywords)
    env.reset(seed=0)
    with count_waits(arrays=False) as found:  # this engine's are arrays
        env.step(torch.zeros(env.action_space.shape))
    assert found == ["nonzero"]
    env.close()


def test_a_missing_engine_says_how_to_install_it(amp: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("proto_envs.simulators.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"mujoco_warp.*pip install 'proto-envs\[warp\]'"):
        make_simulator("mujoco_warp", amp, 1, SimulationSettings())


@pytest.mark.parametrize(
    ("device", "cuda", "installed", "wanted"),
    [
        ("auto", True, True, "mujoco_warp"),
        ("auto", True, False, "mujoco"),
        ("auto", False, True, "mujoco"),
        ("cpu", True, True, "mujoco"),
        ("cuda:1", True, True, "mujoco_warp"),
    ],
)
def test_auto_is_the_engine_that_suits(
    device: str, cuda: bool, installed: bool, wanted: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    monkeypatch.setattr("proto_envs.simulators.find_spec", lambda name: name if installed else None)
    assert proto_envs.simulators.fitting_engine(device) == wanted


def test_mujoco_is_an_engine_of_the_cpu(amp: Any):
    with pytest.raises(ValueError, match=r"engine mujoco runs on the CPU.*'cuda'.*mujoco_warp"):
        make_simulator("mujoco", amp, 1, SimulationSettings(device="cuda"))
