import gymnasium
import numpy as np
import pytest
import torch

from proto_agents.checkpoint import (
    CheckpointError,
    find_checkpoint,
    load_model,
    load_state,
    load_tensors,
    save_checkpoint,
)
from proto_agents.models import ActorCritic, ActorCriticConfig

CONFIG = ActorCriticConfig(hidden_sizes=(4,), critic_hidden_sizes=(4,))
ACTION = gymnasium.spaces.Box(-1, 1, (2,))


def make_model(size=3):
    return ActorCritic(gymnasium.spaces.Box(-np.inf, np.inf, (size,)), ACTION, CONFIG)


@pytest.fixture
def saved(tmp_path):
    model = make_model()
    save_checkpoint(tmp_path / "last", model.state_dict(), {"x": torch.ones(2)}, {"samples": 5})
    return tmp_path / "last", model


def test_what_is_saved_is_loaded(saved):
    folder, model = saved
    other = make_model()
    other.normalizers["policy"].update(torch.randn(4, 3))
    load_model(other, folder)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())
    state = load_state(folder)
    assert state["samples"] == 5 and state["versions"]["torch"]
    assert sorted(path.name for path in folder.parent.iterdir()) == ["last"]


def test_saving_again_replaces(saved):
    folder, model = saved
    save_checkpoint(folder, model.state_dict(), {}, {"samples": 6})
    assert load_state(folder)["samples"] == 6


def test_tensors_that_share_memory_can_be_saved(tmp_path):
    base = torch.arange(6.0)
    save_checkpoint(tmp_path / "last", {"a": base, "b": base[2:4], "c": base.reshape(2, 3).T}, {}, {})
    assert torch.equal(load_tensors(tmp_path / "last" / "model.safetensors")["c"], base.reshape(2, 3).T)


@pytest.mark.parametrize("size", [0, 5, 100, -8])
def test_a_cut_off_file_is_named(saved, size):
    folder, _ = saved
    path = folder / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:size])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged or cut off \(\d+ bytes\)"):
        load_model(make_model(), folder)


def test_another_environment_is_named(saved):
    folder, _ = saved
    expected = r"does not fit .*normalizers\.policy\.mean is \(3,\) in the checkpoint but \(9,\) here"
    with pytest.raises(CheckpointError, match=expected):
        load_model(make_model(9), folder)


def test_missing_files_are_named(saved, tmp_path):
    folder, _ = saved
    with pytest.raises(CheckpointError, match="nowhere is not a folder"):
        find_checkpoint(tmp_path / "nowhere")
    (folder / "state.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"state\.json is not valid JSON"):
        load_state(folder)
    (folder / "state.json").unlink()
    with pytest.raises(CheckpointError, match=r"state\.json is missing"):
        load_state(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"expected best or last with model\.safetensors; found last"):
        find_checkpoint(tmp_path)


def test_a_newer_layout_is_refused(saved):
    folder, _ = saved
    (folder / "state.json").write_text('{"format": 2}')
    with pytest.raises(CheckpointError, match="format 2; this version reads format 1"):
        load_state(folder)


def test_best_goes_before_last_and_a_folder_is_itself(saved, tmp_path):
    folder, model = saved
    assert find_checkpoint(tmp_path) == folder
    save_checkpoint(tmp_path / "best", model.state_dict(), {}, {})
    assert find_checkpoint(tmp_path) == tmp_path / "best"
    assert find_checkpoint(tmp_path, ("last",)) == folder == find_checkpoint(folder)


def test_a_crash_between_the_renames_loses_nothing(saved, tmp_path):
    folder, _ = saved
    folder.rename(tmp_path / ".last.old")
    assert find_checkpoint(tmp_path) == folder
