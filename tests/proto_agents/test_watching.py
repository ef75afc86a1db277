"""proto-play live: checkpoints that change, agents without one, and what it says when it cannot."""

import os
import shutil
import time
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from proto_agents.checkpoint import load_tensors, save_checkpoint
from proto_agents.cli import play, watching
from proto_agents.cli.environments import find_run, make_environment

pytest.importorskip("proto_envs.viewer")
PRETRAINED = Path(str(files("proto_agents"))) / "pretrained" / "walk-smpl"
ENV = {"motions": "walk", "threads": 1}


@pytest.fixture(autouse=True)
def _threads():
    """Watching sets them for the whole process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def run_folder(tmp_path):
    """A run with the checkpoints last/ and step-20/, of which the latter does nothing."""
    folder = tmp_path / "run"
    shutil.copytree(PRETRAINED, folder / "last")
    shutil.copy(PRETRAINED / "config.yaml", folder / "config.yaml")
    idle = {name: torch.zeros_like(value) for name, value in load_tensors(PRETRAINED / "model.safetensors").items()}
    save_checkpoint(folder / "step-20", idle, {"x": torch.zeros(1)}, {"samples": 20})
    return folder


@pytest.fixture
def agent(run_folder):
    """Who acts as last/ does, and an observation."""
    experiment, checkpoint = find_run(str(run_folder))
    env = make_environment(experiment, 2, ENV)
    observation, _ = env.reset(seed=0)
    yield watching.CheckpointAgent(experiment, env, checkpoint), observation
    env.close()


def run(*arguments):
    """Exit code, as a shell would see it."""
    try:
        play.main(list(arguments))
    except SystemExit as end:
        return end.code or 0
    return 0


def test_the_checkpoints_of_a_run_are_chosen_in_order(agent, run_folder):
    acting, observation = agent
    assert acting.choices == ("last", "step-20") and acting.chosen == "last"
    shutil.copytree(run_folder / "last", run_folder / "step-100")
    shutil.copytree(run_folder / "last", run_folder / "best")
    shutil.copytree(run_folder / "last", run_folder / ".last.new")
    assert acting.choices == ("best", "last", "step-20", "step-100")
    walks = acting.act(observation)
    acting.choose("step-20")
    assert acting.chosen == "step-20" and walks.abs().max() > 0 and not acting.act(observation).any()


def test_a_checkpoint_that_training_has_replaced_is_loaded_anew(agent, run_folder):
    acting, observation = agent
    before = acting.act(observation)
    assert not acting.refresh()
    shutil.rmtree(run_folder / "last")
    assert not acting.refresh(), "gone for a moment, while it is replaced"
    shutil.copytree(run_folder / "step-20", run_folder / "last")
    later = time.time() + 10
    os.utime(run_folder / "last" / "model.safetensors", (later, later))
    assert acting.refresh() and not acting.refresh()
    assert before.any() and not acting.act(observation).any()


def test_a_damaged_checkpoint_is_told_once_and_the_policy_stays(agent, run_folder):
    from proto_envs.viewer import ViewerError

    acting, observation = agent
    before = acting.act(observation)
    (run_folder / "last" / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(ViewerError, match="damaged or cut off"):
        acting.refresh()
    assert not acting.refresh() and torch.equal(acting.act(observation), before)
    with pytest.raises(ViewerError, match="is missing"):
        acting.choose("step-7")
    assert acting.chosen == "last"


def test_a_policy_that_stands_alone_has_no_others_beside_it():
    experiment, checkpoint = find_run("pretrained/walk-smpl")
    env = make_environment(experiment, 1, ENV)
    assert watching.CheckpointAgent(experiment, env, checkpoint).choices == ("walk-smpl",)
    env.close()


@pytest.mark.parametrize("what", [("pretrained/walk-smpl",), ("ProtoSteering-AMP-v0", "--agent", "random")])
def test_it_opens_a_page_and_ends_after_a_time(what, capsys, tmp_path, monkeypatch):
    pytest.importorskip("viser")
    pytest.importorskip("trimesh")
    monkeypatch.chdir(tmp_path)
    flags = ("--seconds", "0.5", "--num-envs", "1", "--port", str(19960 + os.getpid() % 30), "--env.threads", "1")
    assert run(*what, *flags) == 0
    assert "look at http://127.0.0.1:" in capsys.readouterr().out


def test_an_id_is_filmed_too(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    end = run("ProtoMimic-AMP-v0", "--agent", "reference", "--video", "a.mp4", "--seconds", "0.1", "--env.threads", "1")
    if end != 0 and ("OpenGL" in str(end) or "imageio" in str(end) or "rendering failed" in str(end)):
        pytest.skip(str(end))
    assert end == 0 and (tmp_path / "a.mp4").stat().st_size > 500
    assert "3 frames of ProtoMimic-AMP-v0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ProtoMimik-AMP-v0",), "nearest: ProtoMimic-AMP"),
        (("nowhere",), "nowhere is not a folder"),
        (("ProtoReach-AMP-v0", "--agent", "reference"), "task Reach plays no clip"),
        (("ProtoReach-AMP-v0", "--agent", "reference", "--video", "a.mp4"), "task Reach plays no clip"),
        (("CartPole-v1",), "the viewer shows the environments of proto-envs"),
    ],
)
def test_mistakes_end_with_a_sentence(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert message in str(run(*arguments))


def test_a_window_without_a_display_is_refused(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert "leave out --window" in str(run("ProtoMimic-AMP-v0", "--window", "--num-envs", "1"))
