import json
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import gymnasium
import pytest

from proto_agents import PPO, ActorCriticConfig, EvaluationConfig, PPOConfig, Runner, RunnerConfig
from proto_agents.cli import environments, train
from proto_agents.estimate import Estimate, estimate, evaluations_left, peak_memory

STEP = 0.01
"""s that a step of the slow environment takes"""


@pytest.fixture
def slow_env(point_env):
    class Slow(point_env):
        def step(self, actions):
            time.sleep(STEP)
            return super().step(actions)

    return Slow


def make_runner(folder, env, evaluation_env=None, evaluation=None, **settings):
    learner = PPO(
        env.single_observation_space,
        env.single_action_space,
        PPOConfig(horizon=8, minibatch_size=64, epochs=1),
        ActorCriticConfig(hidden_sizes=(8,), critic_hidden_sizes=(8,)),
    )
    config = RunnerConfig(run_dir=str(folder), logger="none", **settings)
    return Runner(env, learner, config, evaluation_env=evaluation_env, evaluation=evaluation, quiet=True)


def test_speed_and_time_are_those_of_the_environment_where_that_is_what_takes_long(slow_env, tmp_path):
    runner = make_runner(
        tmp_path / "run",
        slow_env(16),
        slow_env(4, limit=1e9),
        EvaluationConfig(steps=50),
        max_samples=128 * 100,
        evaluate_every=6400,
    )
    found = estimate(runner, seconds=0.0)
    ideal = 16 / STEP
    assert 0.1 * ideal < found.samples_per_second < ideal and found.rollout_share > 0.5
    assert found.samples_left == 12800 and found.iterations == 2 and found.evaluations == 2
    assert found.training_seconds == pytest.approx(12800 / found.samples_per_second)
    assert 2 * 50 * STEP <= found.evaluation_seconds < 10 * 2 * 50 * STEP
    assert found.hours == pytest.approx((found.training_seconds + found.evaluation_seconds) / 3600)
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize(
    "settings",
    [
        {"evaluate_every": 300},
        {"evaluate_every": 300, "evaluate_from": 500},
        {"evaluate_every": 0},
        {"evaluate_every": 64, "max_samples": 1000},
    ],
)
def test_as_many_evaluations_are_foretold_as_there_are(point_env, tmp_path, settings):
    settings = {"max_samples": 1024} | settings
    runner = make_runner(tmp_path, point_env(8), point_env(2), EvaluationConfig(steps=1), **settings)
    foretold = evaluations_left(runner)
    runner.run()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert foretold == sum("evaluation/mean_return" in line for line in lines) and evaluations_left(runner) == 0
    assert evaluations_left(make_runner(tmp_path, point_env(8), None, **settings)) == 0


def test_evaluations_without_a_known_end_are_not_counted_as_time(point_env, tmp_path):
    found = estimate(make_runner(tmp_path, point_env(2), point_env(2), max_samples=160), seconds=0.0)
    assert found.evaluation_seconds is None and found.evaluations == 1
    assert found.hours == pytest.approx(found.training_seconds / 3600)
    assert "1 evaluations of unknown length" in found.lines()[1]


def test_what_is_left_of_a_run_counts(point_env, tmp_path):
    make_runner(tmp_path, point_env(8), max_samples=640).run()
    runner = make_runner(tmp_path, point_env(8), max_samples=6400)
    runner.resume()
    assert estimate(runner, seconds=0.0).samples_left == 6400 - 640


@pytest.mark.skipif(sys.platform != "linux", reason="compares with Linux's own count")
def test_the_peak_of_memory_is_what_the_system_says():
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    assert peak_memory() == pytest.approx(1024 * int(status["VmHWM"].split()[0]), rel=0.05)


def test_what_is_said():
    found = Estimate(
        num_envs=4096,
        device="cuda:0",
        iterations=7,
        samples_per_second=50_000.0,
        rollout_share=0.7,
        samples_left=360_000_000,
        evaluations=20,
        evaluation_seconds=1200.0,
        memory=2_500_000_000,
        gpu_memory=640_000_000,
        gpu_in_use=12_000_000_000,
    )
    assert found.lines() == (
        "speed   50.00k samples/s: 4096 environments, learner on cuda:0; 70% rollout, 30% learning; 7 iterations",
        "time    2h20m to 360.00M more samples: 2h00m of training, 20 evaluations of 20m00s at most",
        "memory  2.5 GB at the peak of this process",
        "GPU     640 MB at the peak of torch, 12.0 GB in use by all programs",
    )
    assert len(replace(found, gpu_memory=None, gpu_in_use=None).lines()) == 3


@pytest.mark.parametrize("identifier", ["PointTest-v0", "CartPole-v1"])
def test_the_command_says_it_and_leaves_no_folder(tmp_path, monkeypatch, capsys, identifier):
    assert identifier in gymnasium.registry
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environments, "register_environments", lambda identifier: None)
    monkeypatch.setattr(train, "estimate", partial(estimate, seconds=0.0))
    flags = ["--env.id", identifier, "--env.num-envs", "4", "--algorithm.horizon", "8", "--evaluation.num-envs", "2"]
    with pytest.raises(SystemExit) as end:
        train.main([*flags, "--model.hidden-sizes", "8", "--runner.max-samples", "1000000", "--estimate"])
    assert end.value.code == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == ["speed", "time", "memory"]
    assert "to 1.00M more samples" in said[1] and "2 evaluations" in said[1]
    assert list(tmp_path.iterdir()) == []
