import json

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from proto_agents.evaluation import (
    EpisodeRecord,
    EvaluationConfig,
    check_expectations,
    episode_limit,
    evaluate,
    summarize,
)


class Scripted(VectorEnv):
    """Three environments whose numbers are tables (steps, envs); each ends where `ends` says and starts over."""

    errors = torch.tensor([[10.0, 20.0, 30.0], [30.0, 40.0, 90.0], [50.0, 900.0, 60.0], [70.0, 900.0, 900.0]])
    failed = torch.tensor([[0, 0, 0], [0, 0, 1], [0, 0, 0], [0, 1, 0]]).bool()
    terminated = torch.tensor([[0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]]).bool()
    truncated = torch.tensor([[0, 0, 0], [0, 0, 0], [0, 0, 1], [1, 0, 0]]).bool()
    clip_names = ("walk", "run")
    control_hz = 2.0

    def __init__(self, metrics=True):
        self.num_envs, self.metrics, self.t = 3, metrics, 0
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space = gymnasium.spaces.Box(-1, 1, (1,))
        self.single_action_space = gymnasium.spaces.Box(-1, 1, (1,))
        self.observation_space = batch_space(self.single_observation_space, 3)
        self.action_space = batch_space(self.single_action_space, 3)

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return torch.zeros(3, 1), {}

    def step(self, actions):
        t, self.t = self.t, self.t + 1
        info = {"final_obs": torch.zeros(3, 1)}
        if self.metrics:
            info["metrics"] = {"mpjpe_mm": self.errors[t], "failed": self.failed[t]}
            info["clip"] = torch.tensor([0, 1, 0])
        return torch.zeros(3, 1), torch.ones(3), self.terminated[t], self.truncated[t], info


def policy(observations):
    return torch.zeros(3, 1)


def test_a_report_by_hand():
    report = evaluate(Scripted(), policy, EvaluationConfig(seed=9))
    # Environment 0: 10 30 50 70, time-out. 1: 20 40, terminated. 2: 30 90 60, failed at its second step, time-out.
    assert report.mean_return == report.mean_episode_length == 3.0 and report.steps == 4 and report.seed == 9
    assert report.survival_rate == pytest.approx(2 / 3)
    assert report.success_rate == pytest.approx(2 / 3)  # what happens after the first episode does not count
    assert report.mpjpe_mm == pytest.approx((40 + 30 + 60) / 3)
    assert report.mpjpe_mm_successful == pytest.approx(35) and report.mpjpe_mm_failed == pytest.approx(60)
    assert report.mpjpe_mm_until_failure == pytest.approx((40 + 30 + 60) / 3)
    assert report.mpjpe_root_relative_mm is None
    assert report.metrics["mpjpe_mm"].max == pytest.approx((70 + 40 + 90) / 3)
    walk, run = report.clips["walk"], report.clips["run"]
    assert (walk.episodes, walk.success_rate, walk.mpjpe_mm) == (2, 0.5, pytest.approx(50))
    assert (run.episodes, run.success_rate, run.mpjpe_mm) == (1, 1.0, pytest.approx(30))
    assert report.failed_clips == ("walk",)
    assert report.clips_tracked == 1 and report.values()["clips_tracked"] == 1.0
    json.dumps(report.to_dict(), allow_nan=False)


def test_a_clip_is_tracked_if_nine_in_ten_of_its_episodes_succeed():
    clips = torch.arange(2).repeat_interleave(20)
    succeeded = torch.ones(40, dtype=torch.bool)
    succeeded[[0, 1, 20, 21, 22]] = False  # 18 of 20, and 17 of 20
    columns = {"success_rate": succeeded, "mean_return": torch.zeros(40), "mean_episode_length": torch.ones(40)}
    columns["survival_rate"] = succeeded
    record = EpisodeRecord(seed=0, columns=columns, metrics={}, maxima={}, numbers={}, clips=clips)
    report = summarize([record], ("walk", "run"))
    assert report.clips_tracked == 1 and report.failed_clips == ("walk", "run")


def test_errors_until_the_first_failure_leave_out_what_follows():
    class FailsEarly(Scripted):
        failed = torch.tensor([[0, 1, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]]).bool()

    report = evaluate(FailsEarly(), policy)
    assert report.mpjpe_mm_until_failure == pytest.approx((40 + 20 + 60) / 3)


def test_an_evaluation_stops_at_its_limit():
    report = evaluate(Scripted(), policy, EvaluationConfig(seconds=0.5))
    assert report.steps == 1 and report.survival_rate == 1.0
    assert evaluate(Scripted(), policy, EvaluationConfig(seconds=9, steps=2)).steps == 2


def test_foreign_environments_give_return_and_length_only():
    env = gymnasium.make_vec("CartPole-v1", num_envs=3, vectorization_mode="sync")
    report = evaluate(env, lambda observations: torch.ones(3, dtype=torch.long))
    assert 5 < report.mean_return == report.mean_episode_length < 15
    assert report.survival_rate == 0.0 and report.success_rate is None and report.mpjpe_mm is None
    assert set(report.values()) == {
        "num_envs",
        "steps",
        "seed",
        "mean_return",
        "mean_episode_length",
        "survival_rate",
    }


def test_a_limit_in_seconds_needs_a_control_rate():
    env = gymnasium.make_vec("CartPole-v1", num_envs=1, vectorization_mode="sync")
    assert episode_limit(env, EvaluationConfig(seconds=2)) == 100
    env.metadata = {}
    with pytest.raises(ValueError, match="control rate"):
        episode_limit(env, EvaluationConfig(seconds=2))


def test_expectations():
    report = evaluate(Scripted(), policy)
    results = check_expectations(
        report, {"success_rate": (0.5, 1), "mpjpe_mm": (0, 40), "unknown": (0, 1), "failed": (0, 1)}
    )
    assert [result.passed for result in results] == [True, False, False, True]
    assert results[2].value is None


def test_the_same_seed_gives_the_same_report(point_env):
    env = point_env(8)
    reports = [evaluate(env, lambda o: torch.zeros(8, 1), EvaluationConfig(seed=s)) for s in (1, 1, 2)]
    assert reports[0] == reports[1] != reports[2]
    assert np.isfinite(reports[0].mpjpe_mm)
