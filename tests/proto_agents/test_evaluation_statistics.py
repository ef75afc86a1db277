"""Several seeds, intervals of confidence, moments without a value, and what an evaluation asks of environments."""

import json
import math

import numpy as np
import pytest
import scipy.stats
import torch

from proto_agents.cli.environments import make_evaluation_environment, of_whole_clips
from proto_agents.config import EnvironmentConfig, Experiment
from proto_agents.evaluation import EvaluationConfig, evaluate
from proto_agents.evaluation.episodes import EpisodeRecord, _Tally
from proto_agents.evaluation.report import summarize
from proto_agents.evaluation.statistics import interval_of_mean, interval_of_seeds, interval_of_share, mean_of
from proto_agents.parsing import ConfigError


def test_the_interval_of_a_share_is_wilsons():
    share, n, z = 0.9, 40, scipy.stats.norm.ppf(0.975)
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    assert interval_of_share(torch.arange(n) < 36) == pytest.approx((middle - reach, middle + reach))
    low, high = interval_of_share(torch.ones(100, dtype=torch.bool))
    assert 0.95 < low < 0.97 and high == pytest.approx(1.0)  # a hundred of a hundred is not certainty


def test_the_bootstrap_holds_the_true_mean_19_times_of_20():
    generator = torch.Generator().manual_seed(0)
    held = 0
    for _ in range(60):
        column = torch.rand(80, generator=generator).double()
        low, high = interval_of_mean(column)
        held += low <= 0.5 <= high
    assert 52 <= held <= 60
    normal = scipy.stats.norm.interval(0.95, column.mean(), column.std() / math.sqrt(80))
    assert (low, high) == pytest.approx(normal, abs=0.015)
    with_gaps = torch.cat([column, torch.full((30,), torch.nan, dtype=torch.float64)])
    assert interval_of_mean(with_gaps) == (low, high) and mean_of(with_gaps) == pytest.approx(column.mean().item())
    assert interval_of_mean(torch.tensor([3.0])) is None and interval_of_mean(torch.tensor([3.0, 3.0])) == (3.0, 3.0)
    assert mean_of(torch.tensor([torch.nan])) is None


def test_the_interval_over_seeds_is_students():
    values = [1.0, 2.0, 4.0]
    want = scipy.stats.t.interval(0.95, 2, loc=np.mean(values), scale=scipy.stats.sem(values))
    assert interval_of_seeds(values) == pytest.approx(want) and interval_of_seeds([1.0]) is None


class Watch:
    """An evaluator: the position that each episode began at, whether it was positive, and how many did."""

    def begin(self, env, observations):
        self.first = observations["policy"][:, 0].clone()
        self.steps = 0

    def step(self, transition, active):
        self.steps += int(active.sum())

    def numbers(self):
        return {"first": self.first.double(), "right": self.first > 0, "steps_counted": float(self.steps)}


def test_several_seeds_are_pooled_and_told_apart(point_env):
    env = point_env(8)
    policy, watch = (lambda o: torch.zeros(8, 1)), Watch()
    report = evaluate(env, policy, EvaluationConfig(seed=3, seeds=3), evaluators=[watch], intervals=True)
    alone = [evaluate(env, policy, EvaluationConfig(seed=s), evaluators=[watch]) for s in (3, 4, 5)]
    assert report.seeds == (3, 4, 5) and report.seed == 3 and report.num_envs == 8
    assert alone[0].per_seed == {} and alone[0].intervals == {} and alone[0].seeds == (3,)
    for name in ("mpjpe_mm", "mean_return", "success_rate", "first", "right", "steps_counted"):
        each = [one.values()[name] for one in alone]
        assert report.per_seed[name] == pytest.approx(each)
        assert report.values()[name] == pytest.approx(np.mean(each))
        low, high = report.intervals[name]
        assert low <= report.values()[name] <= high and (name == "steps_counted" or high - low > 0)
    assert report.clips["even"].episodes == 12
    json.dumps(report.to_dict(), allow_nan=False)
    with pytest.raises(ValueError, match="at least 1"):
        EvaluationConfig(seeds=0)


def test_moments_without_a_value_do_not_count_and_energy_needs_motion():
    tally = _Tally(2, torch.device("cpu"))
    numbers = {
        "jerk_mps3": [[torch.nan, torch.nan], [4.0, torch.nan], [8.0, torch.nan]],
        "power_w": [[300.0, 200.0]] * 3,
        "speed_mps": [[1.5, 0.0]] * 3,
    }
    never = torch.zeros(2, dtype=torch.bool)
    for step in range(3):
        metrics = {name: torch.tensor(rows[step]) for name, rows in numbers.items()}
        given = {"valid": ~never, "reward": torch.ones(2), "terminated": never, "truncated": never}
        tally.add(type("Transition", (), {**given, "metrics": metrics, "info": {}}))
    record = tally.record(0, {})
    assert record.metrics["jerk_mps3"][0] == 6.0 and record.metrics["jerk_mps3"][1].isnan()
    assert record.columns["energy_per_metre_j"][0] == 200.0 and record.columns["energy_per_metre_j"][1].isnan()
    report = summarize([record], intervals=True)
    assert report.metrics["jerk_mps3"].mean == 6.0 and report.metrics["jerk_mps3"].max == 8.0
    json.dumps(report.to_dict(), allow_nan=False)
    assert isinstance(record, EpisodeRecord)


def test_whole_clips_are_played_from_their_first_frame_to_their_own_end():
    pytest.importorskip("proto_envs")
    env = EnvironmentConfig(id="ProtoMimic-AMP-v0", motions=("walk", "kick", "getup_faceup"), kwargs={"threads": 1})
    experiment = Experiment(env=env, evaluation=EvaluationConfig(num_envs=1, env={"task": {"episode_seconds": 2.0}}))
    whole = of_whole_clips(experiment)
    made = make_evaluation_environment(whole)
    try:
        actions = torch.zeros(made.action_space.shape)
        report = evaluate(made, lambda o: actions, whole.evaluation)
        seconds = made.unwrapped.components.controls["reference"].library.durations
    finally:
        made.close()
    assert set(report.clips) == {"walk", "kick", "getup_faceup"} and report.num_envs == 3
    kick, getup = (round(30 * float(s)) for s in seconds[1:])
    walk = math.floor(30 * (float(seconds[2]) + 1.0) + 0.5)  # a clip that repeats
    assert report.mean_episode_length == pytest.approx((walk + kick + getup) / 3, abs=1.0)
    assert report.success_rate < 1.0 and report.survival_rate == 1.0  # on to the end after a failure
    assert "speed_ratio" in report.metrics  # in detail, without being told to
    with pytest.raises(ConfigError, match="plays none"):
        of_whole_clips(Experiment(env=EnvironmentConfig(id="CartPole-v1")))
