import gymnasium
import numpy as np
import pytest
import scipy.linalg
import torch
from gymnasium.vector.utils import batch_space

from proto_agents.cli.evaluate import evaluators_for
from proto_agents.evaluation import EvaluationConfig, evaluate
from proto_agents.evaluation.style import MotionFeatures, StyleEvaluator, coverage, frechet_distance, matches


class Sliders(gymnasium.vector.VectorEnv):
    """Not ours: arrays, NEXT_STEP. Experts of the clip "slow" move at 1 m/s, of "fast" at 3 m/s, 0.1 m/s give or take.

    An action is the speed. The first ten steps of an episode show an expert's motion.
    """

    style_clips = ("slow", "fast")

    def __init__(self, num_envs, length=40):
        self.num_envs, self.length = num_envs, length
        self.metadata = {"autoreset_mode": gymnasium.vector.AutoresetMode.NEXT_STEP}
        box = gymnasium.spaces.Box(-9.0, 9.0, (3,), np.float32)
        self.single_observation_space = gymnasium.spaces.Dict({"policy": box, "style": box})
        self.single_action_space = gymnasium.spaces.Box(-5.0, 5.0, (1,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.random = np.random.default_rng(0)

    def show(self, speed):
        noise = 0.1 * self.random.standard_normal((len(speed), 2))
        style = np.stack([speed, noise[:, 0], noise[:, 1]], axis=1).astype(np.float32)
        return {"policy": np.zeros((len(speed), 3), np.float32), "style": style}

    def reset(self, *, seed=None, options=None):
        self.random, self.steps = np.random.default_rng(seed), 0
        return self.show(np.ones(self.num_envs)), {}

    def step(self, actions):
        self.steps += 1
        speed = actions[:, 0] if self.steps > 10 else np.ones(self.num_envs)
        ends = np.full(self.num_envs, self.steps >= self.length)
        return self.show(speed), np.zeros(self.num_envs), np.zeros(self.num_envs, bool), ends, {}

    def sample_style(self, count, clips=None):
        chosen = self.random.integers(0, 2, count) if clips is None else np.asarray(clips)
        speed = np.where(chosen == 0, 1.0, 3.0) + 0.1 * self.random.standard_normal(count)
        return self.show(speed)["style"]


def judged(speeds, num_envs=64):
    """Numbers of an agent whose environments move at the speeds, give or take the experts' noise."""
    env = Sliders(num_envs)
    generator = torch.Generator().manual_seed(3)
    wanted = torch.tensor(speeds).repeat(num_envs // len(speeds)).unsqueeze(1)

    def policy(observations):
        return wanted + 0.1 * torch.randn(num_envs, 1, generator=generator)

    evaluators = evaluators_for(env, seed=5)
    return evaluate(env, policy, EvaluationConfig(seed=7), evaluators=evaluators).values()


def test_frechet_distance_against_a_square_root_of_matrices():
    random = np.random.default_rng(0)
    one = random.standard_normal((300, 6)) @ random.standard_normal((6, 6))
    two = random.standard_normal((200, 6)) @ random.standard_normal((6, 6)) + 0.5
    first, second = np.cov(one.T), np.cov(two.T)
    cross = scipy.linalg.sqrtm(first @ second).real
    want = ((one.mean(0) - two.mean(0)) ** 2).sum() + np.trace(first + second - 2.0 * cross)
    assert frechet_distance(torch.tensor(one), torch.tensor(two)) == pytest.approx(want, rel=1e-8)
    assert frechet_distance(torch.tensor(one), torch.tensor(one)) == pytest.approx(0.0, abs=1e-9)
    flat = torch.cat([torch.tensor(one), torch.zeros(300, 1)], dim=1)  # a direction in which nothing happens
    assert frechet_distance(flat, flat + 2.0) == pytest.approx(28.0)


def test_coverage_against_loops():
    generator = torch.Generator().manual_seed(1)
    experts, agents = (torch.randn(n, 3, generator=generator) for n in (40, 30))
    covered = 0
    for i, expert in enumerate(experts):
        others = sorted(float((expert - e).norm()) for j, e in enumerate(experts) if j != i)
        covered += any(float((expert - a).norm()) <= others[4] for a in agents)
    assert coverage(experts, agents) == pytest.approx(covered / 40) and 0.3 < covered / 40 < 1.0
    assert coverage(experts, experts) == 1.0 and coverage(experts, agents + 50.0) == 0.0
    nearest, distance = matches(experts, agents)
    for a, n, d in zip(agents, nearest, distance, strict=True):
        every = (experts - a).norm(dim=1)
        assert every.argmin() == n and every.min() == pytest.approx(float(d), rel=1e-4)


def test_features_keep_the_distances_of_experts_and_see_what_experts_never_do():
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(2, 30, generator=generator)
    experts = torch.randn(4000, 2, generator=generator) @ mixing  # two ways to vary, thirty features
    features = MotionFeatures.fit(experts)
    seen = features(experts)
    assert seen.shape == (4000, 3) and seen[:, -1].max() < 1e-4
    assert 0.5 < seen.var(0).sum() <= 1.0  # the unit is the experts' own spread, half of the features vary less
    # A direction that no expert goes in shows in the last feature alone.
    away = torch.linalg.svd((mixing / experts.std(0)).double(), full_matrices=True).Vh[-1] * experts.std(0)
    odd = features(experts[:100] + away) - seen[:100]
    assert odd[:, -1].min() > 0.1 and odd[:, :-1].abs().max() < 0.05


def test_an_agent_that_moves_like_the_experts_is_told_from_others():
    alike, slow, wild = judged([1.0, 3.0]), judged([1.0]), judged([5.0])
    floor = alike["style_frechet_of_clips"]
    assert alike["style_frechet"] < 0.01 and floor < 0.01
    assert 0.2 < slow["style_frechet"] < wild["style_frechet"]
    assert alike["style_coverage"] > 0.9 > 0.6 > slow["style_coverage"] > 0.4 and wild["style_coverage"] < 0.1
    assert alike["style_matched"] > 0.9 and slow["style_matched"] == pytest.approx(0.5, abs=0.1)
    assert alike["style_distance"] < 0.1 < 0.5 < wild["style_distance"]
    assert alike["style_samples"] == 64 * 30  # the first ten steps show the expert's past, not the agent's doing
    assert slow["style_match/slow"] == 1.0 and slow["style_match/fast"] == 0.0 and slow["style_clips_matched"] == 0.5
    assert alike["style_match/slow"] == pytest.approx(0.5, abs=0.02) and alike["style_clips_matched"] == 1.0


def test_the_distance_is_the_exact_one_between_gaussians_where_nothing_is_left_out():
    """All of one spread: experts N(0, 1), agents N(1, 1) in one of 3 features; the unit is a third of a variance."""
    generator = torch.Generator().manual_seed(0)
    evaluator = StyleEvaluator(lambda count: torch.randn(count, 3, generator=generator))
    agents = torch.randn(20000, 3, generator=generator) + torch.tensor([1.0, 0.0, 0.0])
    assert frechet_distance(evaluator.experts, evaluator.features(agents)) == pytest.approx(1 / 3, rel=0.06)


def test_short_episodes_and_environments_without_style_give_no_numbers():
    env = Sliders(4, length=8)
    report = evaluate(env, lambda o: torch.ones(4, 1), EvaluationConfig(), evaluators=evaluators_for(env))
    assert not report.numbers
    assert evaluators_for(gymnasium.make_vec("CartPole-v1", num_envs=1)) == []


def test_few_of_very_many_samples_are_kept(monkeypatch):
    from proto_agents.evaluation import style

    monkeypatch.setattr(style, "_KEPT", 500)
    env = Sliders(16, length=400)
    evaluators = evaluators_for(env, seed=5)
    found = evaluate(env, lambda o: torch.ones(16, 1), EvaluationConfig(), evaluators=evaluators).numbers
    assert 200 < found["style_samples"] <= 500 and evaluators[0].every > 4
