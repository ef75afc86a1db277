"""Two processes that train one policy, next to one process with the same data."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from proto_agents import distributed
from proto_agents.checkpoint import load_state, load_tensors
from proto_agents.cli.environments import make_training_environment
from proto_agents.config import Experiment
from proto_agents.parsing import parse_dataclass
from proto_agents.rank_states import of_this_rank

SCRIPT = Path(__file__).with_name("two_ranks.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where processes have left what came of everything in `two_ranks`."""
    folder = tmp_path_factory.mktemp("ranks")
    done = subprocess.run([sys.executable, str(SCRIPT), str(folder)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def ranks(folder):
    return [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in range(2)]


def assert_equal(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("what", ["normalizer", "regression", "update"])
def test_two_processes_with_half_of_the_data_make_what_one_makes_of_all(folder, ranks, what):
    assert_equal(ranks[0][what], ranks[1][what])
    expected = torch.load(folder / "alone.pt")[what]
    assert expected.keys() == ranks[0][what].keys()
    for name, value in expected.items():
        torch.testing.assert_close(ranks[0][what][name].detach(), value.detach(), rtol=2e-4, atol=2e-6, msg=name)


@pytest.mark.parametrize("what", ["training", "style", "distillation"])
def test_networks_stay_the_same_to_the_last_bit(ranks, what):
    assert_equal(ranks[0][what]["model"], ranks[1][what]["model"])
    assert ranks[0][what]["rate"] == ranks[1][what]["rate"]


def test_each_process_has_its_own_episodes_and_memory(ranks):
    assert not torch.equal(ranks[0]["training"]["position"], ranks[1]["training"]["position"])
    assert not torch.equal(ranks[0]["style"]["replay"], ranks[1]["style"]["replay"])
    assert len(ranks[0]["style"]["replay"]) == 50  # half of what one process would remember


def test_samples_are_those_of_all_and_rank_0_alone_evaluates_and_writes(folder, ranks):
    rows = lines(folder / "training")
    assert [row["samples"] for row in rows] == [64 * (i + 1) for i in range(12)]
    assert [row["iteration"] for row in rows if "evaluation/mean_return" in row] == [2, 4, 6, 8, 10, 12]
    assert [rank["training"]["samples"] for rank in ranks] == [768, 768]
    assert ranks[0]["training"]["report"] is not None and ranks[1]["training"]["report"] is None
    # The rate has moved and updates have ended early, at the same step everywhere, or the networks would differ.
    assert len({row["policy/learning_rate"] for row in rows}) > 2
    assert min(row["policy/gradient_steps"] for row in rows) < 8
    assert load_state(folder / "training" / "last")["ranks"] == 2


def test_two_processes_go_on_exactly(ranks, folder):
    for rank in ranks:
        assert_equal(rank["resumed"]["whole"]["model"], rank["resumed"]["parts"]["model"])
        assert torch.equal(*rank["resumed"]["positions"])
    expected, actual = (load_tensors(folder / name / "last" / "trainer.safetensors") for name in ("whole", "parts"))
    assert_equal(expected, actual)
    assert "rank1/environment/env/position" in expected and "rank1/learner/optimizer/0/exp_avg" not in expected


def test_one_process_goes_on_with_what_two_began(folder):
    run = torch.load(folder / "one_goes_on.pt", weights_only=False)
    assert run["iteration"] == 6 and run["replay"] > 0
    assert run["samples"] == 8 * 64 and load_state(folder / "one_goes_on" / "last")["ranks"] == 1
    stored = load_tensors(folder / "whole" / "last" / "model.safetensors")
    assert_equal({name: value for name, value in run["model"].items() if name in stored}, stored)


def test_a_signal_to_one_process_ends_all_with_one_checkpoint(folder, ranks):
    assert [rank["interrupted"] for rank in ranks] == [{"samples": 3 * 64, "interrupted": True}] * 2
    assert load_state(folder / "interrupted" / "last")["iteration"] == 3


def test_decisions_are_made_together(ranks):
    for number, rank in enumerate(ranks):
        assert rank["agreements"] == {
            "any": True,
            "none": False,
            "from_main": "said by 0",
            "failed": "integer division or modulo by zero",
            "averaged": {"both": 0.5, "of 0": 7.0, "of 1": 7.0},
            "seed": 10 + 1_000_003 * number,
        }


@pytest.fixture
def as_rank(monkeypatch):
    """Has this process take itself for one of several, as long as they exchange nothing."""

    def pretend(rank, processes):
        monkeypatch.setattr(distributed, "rank", lambda: rank)
        monkeypatch.setattr(distributed, "world_size", lambda: processes)

    return pretend


def test_another_number_of_processes_shares_what_there_is(as_rank):
    mine = {"environment/x": torch.zeros(1), "episode/returns": torch.zeros(1), "learner/generator": torch.ones(4)}
    stored = {"learner/optimizer/0/step": torch.tensor(7.0), "discriminator/replay/samples": torch.zeros(2, 3), **mine}
    stored |= {f"rank1/{name}": tensor + 1.0 for name, tensor in mine.items()}
    stored["rank1/discriminator/replay/samples"] = torch.ones(2, 3)
    cpu, draws = torch.device("cpu"), []
    for rank, replay in ((0, 0.0), (1, 1.0), (2, 0.0)):
        as_rank(rank, 3)
        state = of_this_rank(stored, 2, 11, cpu)
        assert state.keys() == {"learner/optimizer/0/step", "discriminator/replay/samples", "learner/generator"}
        assert torch.equal(state["discriminator/replay/samples"], torch.full((2, 3), replay))
        generator = torch.Generator()
        generator.set_state(state["learner/generator"])
        draws.append(float(torch.rand(1, generator=generator)))
    assert len(set(draws)) == 3
    as_rank(1, 2)
    assert of_this_rank(stored, 2, 11, cpu)["environment/x"] == 1.0


def test_clips_are_shared_out_or_practised_by_all(as_rank):
    kind = {"id": "ProtoMimic-AMP-v0", "num_envs": 6, "motions": ["walk", "kick", "punch"], "kwargs": {"threads": 1}}
    as_rank(1, 2)
    sharded = make_training_environment(parse_dataclass(Experiment, {"env": kind | {"shard_motions": True}}, "test"))
    assert sharded.num_envs == 3 and sharded.clip_names == ("kick",)
    whole = make_training_environment(parse_dataclass(Experiment, {"env": kind}, "test"))
    assert whole.num_envs == 3 and whole.clip_names == ("walk", "kick", "punch")
    # What waits to be counted with the others' is part of the state of those that practise together.
    waiting = "control.reference.ended"
    assert waiting in whole.state_dict() and waiting not in sharded.state_dict()
    sharded.close()
    whole.close()


@pytest.mark.slow
def test_two_processes_learn_as_one_does_with_as_many_environments(tmp_path):
    done = subprocess.run([sys.executable, str(SCRIPT), str(tmp_path), "learning"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    two, one = (np.array(json.loads((tmp_path / f"returns-{number}.json").read_text())) for number in (2, 1))
    early = [row["episode/return"] for seed in range(8) for row in lines(tmp_path / f"1-{seed}")[1:3]]
    assert min(one.mean(), two.mean()) > np.mean(early) + 2.0  # both have learned
    error = np.hypot(one.std(ddof=1), two.std(ddof=1)) / np.sqrt(8)
    assert abs(one.mean() - two.mean()) < 3.0 * error
    assert not np.isin(two, one).any()
