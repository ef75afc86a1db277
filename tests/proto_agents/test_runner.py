import json
import os
import signal

import pytest
import torch
import yaml

from proto_agents import PPO, ActorCriticConfig, EvaluationConfig, PPOConfig, Runner, RunnerConfig
from proto_agents.checkpoint import CheckpointError, load_state, load_tensors
from proto_agents.environment import NonFiniteError
from proto_agents.runner import EpisodeStatistics

MODEL = ActorCriticConfig(hidden_sizes=(16,), critic_hidden_sizes=(16,))
ALGORITHM = PPOConfig(horizon=8, minibatch_size=32, epochs=2)
ITERATION = 8 * 8
"""samples"""


def make_runner(env, folder, iterations, evaluation_env=None, seed=0, **config):
    learner = PPO(env.single_observation_space, env.single_action_space, ALGORITHM, MODEL, seed=seed)
    settings = {"max_samples": iterations * ITERATION, "logger": "none", "run_dir": str(folder)} | config
    return Runner(
        env,
        learner,
        RunnerConfig(**settings),
        evaluation_env=evaluation_env,
        evaluation=EvaluationConfig(num_envs=8),
        quiet=True,
    )


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_run_learns_and_leaves_its_folder(point_env, tmp_path):
    folder = tmp_path / "run"
    result = make_runner(
        point_env(8), folder, 60, point_env(8), evaluate_every=20 * ITERATION, keep_every=30 * ITERATION
    ).run()
    assert not result.interrupted and result.samples == 60 * ITERATION
    rows = lines(folder)
    assert [row["iteration"] for row in rows] == list(range(1, 61))
    early = sum(row["episode/return"] for row in rows[3:10])
    assert sum(row["episode/return"] for row in rows[-7:]) > early + 1.0
    assert {"metrics/mpjpe_mm", "loss/policy", "policy/kl", "speed/samples_per_second"} <= rows[0].keys()
    assert [row["samples"] // ITERATION for row in rows if "evaluation/mean_return" in row] == [20, 40, 60]
    names = {path.name for path in folder.iterdir()}
    assert names == {"config.yaml", "metrics.jsonl", "last", "best", "step-1920", "step-3840"}
    assert load_state(folder / "last")["samples"] == 60 * ITERATION
    assert yaml.safe_load((folder / "config.yaml").read_text())["algorithm"]["horizon"] == 8


@pytest.mark.parametrize("groups", [False, True])
def test_resuming_is_exact(point_env, tmp_path, groups):
    whole = tmp_path / "whole"
    make_runner(point_env(8, groups=groups), whole, 6, point_env(8, groups=groups)).run()
    parts = tmp_path / "parts"
    make_runner(point_env(8, groups=groups), parts, 3, point_env(8, groups=groups)).run()
    second = make_runner(point_env(8, groups=groups), parts, 6, point_env(8, groups=groups), seed=77)
    second.resume()
    assert second.iteration == 3
    second.run()
    for file in ("model.safetensors", "trainer.safetensors"):
        expected, actual = load_tensors(whole / "last" / file), load_tensors(parts / "last" / file)
        assert expected.keys() == actual.keys()
        assert all(torch.equal(expected[name], actual[name]) for name in expected)
    kept = [{k: v for k, v in row.items() if not k.startswith("speed/")} for row in lines(parts)]
    wanted = [{k: v for k, v in row.items() if not k.startswith("speed/")} for row in lines(whole)]
    assert kept[3:] == [row for row in wanted if row["iteration"] > 3]


def test_without_a_saved_environment_a_run_resumes_with_fresh_episodes(point_env, tmp_path):
    make_runner(point_env(8), tmp_path, 2).run()
    runner = make_runner(point_env(5), tmp_path, 3)  # another number of environments cannot take the saved state
    runner.resume()
    runner.run()
    assert load_state(tmp_path / "last")["iteration"] == 4  # 40 samples an iteration now


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_checkpoint_that_resumes(point_env, tmp_path, number):
    class Signalling(point_env):
        def step(self, actions):
            if self.count == 20:
                os.kill(os.getpid(), number)
            return super().step(actions)

    handler = signal.getsignal(number)
    result = make_runner(Signalling(8), tmp_path, 100).run()
    assert result.interrupted and result.samples == 3 * ITERATION
    assert signal.getsignal(number) is handler
    resumed = make_runner(point_env(8), tmp_path, 5)
    resumed.resume()
    assert resumed.run().samples == 5 * ITERATION
    assert [row["iteration"] for row in lines(tmp_path)] == [1, 2, 3, 4, 5]


def test_lines_after_the_checkpoint_are_dropped_on_resume(point_env, tmp_path):
    make_runner(point_env(8), tmp_path, 3).run()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"samples": 100000, "iteration": 99}\n{"samp')
    runner = make_runner(point_env(8), tmp_path, 4)
    runner.resume()
    runner.run()
    assert [row["iteration"] for row in lines(tmp_path)] == [1, 2, 3, 4]


def test_best_keeps_the_best_evaluation(point_env, tmp_path):
    runner = make_runner(
        point_env(8), tmp_path, 8, point_env(8), evaluate_every=ITERATION, best_metric="mpjpe_mm", best_mode="min"
    )
    runner.run()
    errors = [row["evaluation/mpjpe_mm"] for row in lines(tmp_path)]
    state = load_state(tmp_path / "best")
    assert state["best"] == min(errors) == state["evaluation"]["mpjpe_mm"]
    assert state["iteration"] == errors.index(min(errors)) + 1


def test_nothing_is_evaluated_before_its_time(point_env, tmp_path):
    runner = make_runner(point_env(8), tmp_path, 8, point_env(8), evaluate_every=ITERATION, evaluate_from=5 * ITERATION)
    runner.run()
    evaluated = [row["iteration"] for row in lines(tmp_path) if "evaluation/mean_return" in row]
    assert evaluated == [5, 6, 7, 8]


def test_an_unknown_best_metric_lists_the_known_ones(point_env, tmp_path):
    with pytest.raises(ValueError, match=r"'succes' is not in the evaluation's report; it has .*success_rate"):
        make_runner(point_env(8), tmp_path, 1, point_env(8), best_metric="succes").run()


def test_non_finite_observations_stop_the_run(point_env, tmp_path):
    with pytest.raises(NonFiniteError, match="step 5 in environment 1"):
        make_runner(point_env(8, nan_at=5), tmp_path, 2).run()


def test_an_update_that_loses_the_weights_ends_the_run_and_leaves_last(point_env, tmp_path, monkeypatch):
    make_runner(point_env(), tmp_path / "run", 1).run()
    runner = make_runner(point_env(), tmp_path / "run", 3)
    runner.resume()
    update, name = runner.learner.update, next(name for name, _ in runner.learner.model.named_parameters())

    def diverge(*arguments):
        values = update(*arguments)
        runner.learner.model.get_parameter(name).data.view(-1)[0] = float("nan")
        return values

    monkeypatch.setattr(runner.learner, "update", diverge)
    before = (tmp_path / "run/last/model.safetensors").read_bytes()
    with pytest.raises(NonFiniteError, match=rf"NaN or infinite: {name}\."):
        runner.run()
    assert (tmp_path / "run/last/model.safetensors").read_bytes() == before
    assert not (tmp_path / "run/run.lock").exists()


def test_a_run_folder_that_cannot_be_written_is_refused(point_env, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"cannot write to the run folder .*file/run.*--runner\.run-dir"):
        make_runner(point_env(8), tmp_path / "file" / "run", 1)


def test_progress_is_plain_lines_where_there_is_no_terminal(point_env, tmp_path, capsys):
    runner = make_runner(point_env(8), tmp_path, 2, point_env(8))
    runner.progress.enabled = True
    runner.run()
    output = capsys.readouterr().out
    assert "iteration 2" in output and "success" in output and "\x1b" not in output


def test_episode_statistics_count_episodes_only_when_they_end():
    statistics = EpisodeStatistics(2, torch.device("cpu"))
    yes, no = torch.tensor(True), torch.tensor(False)
    statistics.add(torch.tensor([1.0, 5.0]), torch.stack((no, no)), torch.stack((yes, yes)))
    assert statistics.take() == {}
    statistics.add(torch.tensor([2.0, 5.0]), torch.stack((yes, no)), torch.stack((yes, yes)))
    assert statistics.take() == {"episode/return": 3.0, "episode/length": 2.0}
    assert statistics.returns.tolist() == [0.0, 10.0]
