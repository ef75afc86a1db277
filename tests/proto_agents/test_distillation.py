"""Tests of MaskedMimic's learner: it learns a toy from its teacher, and its parts are what the docstrings say."""

import numpy as np
import pytest
import torch

from proto_agents.algorithms.distillation import Distillation, DistillationConfig
from proto_agents.evaluation import EvaluationConfig, evaluate
from proto_agents.models.masked_mimic import MaskedMimicConfig
from proto_agents.models.transformer import TransformerConfig
from proto_agents.noise_env import EpisodeNoiseEnv
from proto_agents.runner import Runner, RunnerConfig

MODEL = MaskedMimicConfig(
    latent_size=4,
    transformer=TransformerConfig(width=16, layers=1, heads=2, feedforward=32, token_hidden_sizes=(32,)),
    head_hidden_sizes=(32,),
    posterior_hidden_sizes=(32,),
    decoder_hidden_sizes=(32,),
)
CONFIG = DistillationConfig(horizon=8, minibatch_size=128, learning_rate=3e-3, epochs=4, kl_ramp=(0.3, 0.7))


@pytest.fixture
def make_env(masked_point):
    """The toy."""
    return masked_point[0]


@pytest.fixture
def make_learner(masked_point):
    """A student of the toy's teacher."""

    def make(env, config=CONFIG, seed=0):
        spaces = (env.single_observation_space, env.single_action_space)
        return Distillation(*spaces, config, MODEL, teacher=masked_point[1], seed=seed)

    return make


@pytest.fixture
def run(make_env, make_learner):
    """A student and its run, not yet begun."""

    def make(folder, samples, seed=0):
        env = EpisodeNoiseEnv(make_env(64), MODEL.latent_size, seed=seed)
        learner = make_learner(env, seed=seed)
        config = RunnerConfig(max_samples=samples, run_dir=str(folder / "run"), logger="none", seed=seed)
        return learner, Runner(env, learner, config, quiet=True)

    return make


def mean_error(env, learner):
    """Where the policy is in the mean over an episode, from the goal."""
    found = evaluate(env, learner.model.act_deterministic, EvaluationConfig(steps=18, seed=5), torch.device("cpu"))
    return found.metrics["error"].mean


def test_a_student_learns_to_go_where_it_is_asked_and_to_ignore_what_is_hidden(tmp_path, make_env, run):
    learner, runner = run(tmp_path, 25_000)
    before = mean_error(make_env(256, shown=0.7, length=20), learner)
    runner.run()
    told, blind = (mean_error(make_env(256, shown=shown, length=20), learner) for shown in (0.7, 0.0))
    assert told < 0.5 * before
    assert blind > 2.0 * told, "who is told nothing cannot know"


def test_the_weight_of_the_divergence_grows_linearly(make_env, make_learner):
    learner = make_learner(make_env(2))
    weights = []
    for progress in (0.0, 0.3, 0.5, 0.7, 1.0):
        learner.progress = progress
        weights.append(learner.kl_weight)
    np.testing.assert_allclose(weights, [1e-4, 1e-4, 5.05e-3, 1e-2, 1e-2], rtol=1e-6)


def test_the_loss_is_imitation_and_weighted_divergence(masked_point, make_learner):
    env = EpisodeNoiseEnv(masked_point[0](16), MODEL.latent_size)
    learner = make_learner(env)
    observations, _ = env.reset(seed=0)
    step = learner.act(observations)
    torch.testing.assert_close(step.label, masked_point[1](observations))
    loss, parts = learner.loss(step.normalized, step.label)
    torch.testing.assert_close(parts["loss/imitation"], (step.action - step.label).square().mean())
    torch.testing.assert_close(loss, parts["loss/imitation"] + 1e-4 * parts["loss/kl"])


def test_rollouts_by_the_prior_do_not_look_at_the_expert(make_env, make_learner):
    env = make_env(16)
    learner = make_learner(env, DistillationConfig(rollout="prior"))
    observations, _ = env.reset(seed=0)
    learner.model.update_normalizers(observations)
    step = learner.act(observations)
    torch.testing.assert_close(step.action, learner.model.act_deterministic(observations))


def test_noise_stays_for_an_episode_and_its_last_observation_has_it(make_env):
    env = EpisodeNoiseEnv(make_env(8, length=4), 3)
    observations, _ = env.reset(seed=1)
    before = observations["noise"]
    changed = torch.zeros(8, dtype=torch.bool)
    for _ in range(12):
        observations, _, _, truncated, info = env.step(torch.zeros(8, 1))
        torch.testing.assert_close(info["final_obs"]["noise"], before)
        same = (observations["noise"] == before).all(-1)
        assert torch.equal(same, ~truncated)
        before, changed = observations["noise"], changed | truncated
    assert changed.all()
    again, _ = env.reset(seed=1)
    first, _ = EpisodeNoiseEnv(make_env(8, length=4), 3).reset(seed=1)
    assert torch.equal(again["noise"], first["noise"])


def test_a_group_of_that_name_is_refused(make_env):
    with pytest.raises(ValueError, match="'noise'"):
        EpisodeNoiseEnv(EpisodeNoiseEnv(make_env(2), 3), 3)


def test_a_run_that_is_resumed_goes_on_as_if_it_had_not_stopped(tmp_path, run):
    learner, runner = run(tmp_path / "whole", 2048)
    runner.run()
    half, first = run(tmp_path / "halves", 1024)
    first.run()
    again, second = run(tmp_path / "halves", 2048)
    second.resume()
    # The toy cannot be saved, so its episodes start anew: what is equal is what does not depend on them.
    assert second.samples == 1024 and second.iteration == 2
    for name, value in half.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name])
    assert torch.equal(half.generator.get_state(), again.generator.get_state())
    assert learner.model.state_dict().keys() == again.model.state_dict().keys()


def test_a_student_without_a_teacher_does_not_learn(make_env):
    env = make_env(2)
    learner = Distillation(env.single_observation_space, env.single_action_space, CONFIG, MODEL)
    with pytest.raises(RuntimeError, match="without a teacher"):
        learner.act(env.reset()[0])


def test_a_ramp_that_falls_is_refused():
    with pytest.raises(ValueError, match="kl_ramp"):
        DistillationConfig(kl_ramp=(0.5, 0.2))
