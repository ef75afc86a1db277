"""Latents on the sphere, rewards and losses of skills against slow references."""

import itertools
import math

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from scipy import stats

from proto_agents.algorithms.ppo import PPO, PPOConfig
from proto_agents.algorithms.skill_reward import DiversityLoss, SkillConfig
from proto_agents.environment import TensorEnvironment
from proto_agents.models.actor_critic import ActorCriticConfig
from proto_agents.models.skills import (
    diversity_loss,
    encoder_loss,
    sample_latents,
    skill_reward,
    uniformity_loss,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# --- the sphere ------------------------------------------------------------------------------------------------------


def test_latents_are_uniform_over_the_whole_sphere():
    """A coordinate x of a uniform point in R^D has (x + 1) / 2 ~ Beta((D - 1) / 2, (D - 1) / 2), in any direction."""
    latents = sample_latents(20_000, 6, seeded())
    assert latents.norm(dim=-1).sub(1.0).abs().max() < 1e-6
    directions = torch.nn.functional.normalize(torch.randn(5, 6, generator=seeded(1)), dim=-1)
    for projected in (latents @ torch.cat([torch.eye(6), directions]).T).T:
        assert stats.kstest((projected.numpy() + 1.0) / 2.0, stats.beta(2.5, 2.5).cdf).pvalue > 1e-3


def test_latents_are_in_every_orthant_equally_often():
    signs = (sample_latents(16_000, 4, seeded()) > 0).long()
    counts = torch.bincount((signs * torch.tensor([1, 2, 4, 8])).sum(-1), minlength=16)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


# --- rewards and losses ----------------------------------------------------------------------------------------------


def test_rewards_and_losses_of_the_encoder_are_those_of_slow_loops():
    latents, encoded = sample_latents(9, 5, seeded(1)), sample_latents(9, 5, seeded(2))
    dots = [sum(float(a) * float(b) for a, b in zip(z, q, strict=True)) for z, q in zip(latents, encoded, strict=True)]
    np.testing.assert_allclose(skill_reward(latents, encoded), [(dot + 1.0) / 2.0 for dot in dots], atol=1e-6)
    assert encoder_loss(latents, encoded).item() == pytest.approx(-sum(dots) / 9, abs=1e-6)
    assert skill_reward(latents, latents).tolist() == pytest.approx([1.0] * 9)
    assert skill_reward(latents, -latents).tolist() == pytest.approx([0.0] * 9, abs=1e-6)


def test_uniformity_is_that_of_all_pairs():
    encoded = sample_latents(7, 5, seeded())
    pairs = [math.exp(-float((a - b).square().sum())) for a, b in itertools.combinations(encoded, 2)]
    assert uniformity_loss(encoded).item() == pytest.approx(math.log(sum(pairs) / len(pairs)), abs=1e-5)
    assert uniformity_loss(encoded[:1].expand(7, 5)).item() == pytest.approx(0.0, abs=1e-5)
    assert uniformity_loss(encoded) < uniformity_loss(torch.nn.functional.normalize(encoded + 1.0, dim=-1))


def test_diversity_is_that_of_a_slow_loop():
    mean, other = 1.5 * torch.randn(2, 8, 3, generator=seeded())
    latents, others = sample_latents(8, 4, seeded(1)), sample_latents(8, 4, seeded(2))
    terms = []
    for a, b, z, w in zip(mean.tolist(), other.tolist(), latents.tolist(), others.tolist(), strict=True):
        apart = sum((min(1, max(-1, x)) - min(1, max(-1, y))) ** 2 for x, y in zip(a, b, strict=True)) / 3
        distance = 0.5 - 0.5 * sum(x * y for x, y in zip(z, w, strict=True))
        terms.append((1.0 - apart / (distance + 1e-5)) ** 2)
    assert diversity_loss(mean, other, latents, others).item() == pytest.approx(sum(terms) / 8, rel=1e-4)


def test_the_diversity_loss_compares_the_same_situations_under_fresh_latents():
    """Against the model asked by hand; and its gradient makes other latents act otherwise."""
    space = gymnasium.spaces.Dict({"policy": gymnasium.spaces.Box(-9, 9, (6,))})
    config = ActorCriticConfig(hidden_sizes=(16,), critic_hidden_sizes=(16,), output_gain=0.5)
    learner = PPO(space, gymnasium.spaces.Box(-1, 1, (2,)), None, config)
    states, latents = torch.randn(50, 2, generator=seeded(3)), sample_latents(50, 4, seeded(4))
    seen = {"policy": torch.cat([states, 2.0 * latents], dim=-1)}  # of unit variance, as normalized ones are
    distribution = learner.model.distribution(seen)
    loss = DiversityLoss(SkillConfig(size=4, diversity_weight=0.3))
    found = loss(learner.model, seen, distribution, seeded(5))
    others = sample_latents(50, 4, seeded(5))
    elsewhere = learner.model.actor(torch.cat([states, 2.0 * others], dim=-1))
    wanted = 0.3 * diversity_loss(distribution.parameters, elsewhere, latents, others)
    assert list(found) == ["loss/diversity"]
    torch.testing.assert_close(found["loss/diversity"], wanted)
    found["loss/diversity"].backward()
    assert learner.model.actor[0].weight.grad[:, 2:].abs().sum() > 0.0


def test_a_further_loss_is_part_of_what_ppo_minimizes():
    """Only the further loss speaks of the policy here: without advantage, it alone moves the policy."""
    space, box = gymnasium.spaces.Box(-9, 9, (3,)), gymnasium.spaces.Box(-1, 1, (2,))

    def pull(model, observations, distribution, generator):
        return {"loss/pull": (distribution.parameters - 0.5).square().mean()}

    means = []
    for extra in (None, pull):
        config = PPOConfig(horizon=4, minibatch_size=32, learning_rate=1e-2, kl_stop=None, normalize_advantages=False)
        learner = PPO(space, box, config, ActorCriticConfig(hidden_sizes=(8,)), auxiliary_loss=extra)
        buffer = learner.make_buffer(16)
        env = TensorEnvironment(Still(16))
        observations = env.reset()
        for _ in range(4):
            step = learner.act(observations)
            transition = env.step(step.action)
            buffer.add(step, transition, learner.value(transition.truncated_observations))
        buffer.value.zero_(), buffer.next_value.zero_()
        values = learner.update(buffer, torch.zeros(16))
        means.append(learner.model.act_deterministic(observations).mean().item())
        assert ("loss/pull" in values) == (extra is not None)
    assert means[1] > means[0] + 0.02


class Still(gymnasium.vector.VectorEnv):
    """Nothing ever happens, and nothing is worth anything."""

    def __init__(self, num_envs):
        self.num_envs, self.metadata = num_envs, {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space, self.single_action_space = (
            gymnasium.spaces.Box(-9, 9, (3,)),
            gymnasium.spaces.Box(-1, 1, (2,)),
        )

    def reset(self, *, seed=None, options=None):
        return torch.ones(self.num_envs, 3), {}

    def step(self, actions):
        never = torch.zeros(self.num_envs, dtype=torch.bool)
        return torch.ones(self.num_envs, 3), torch.zeros(self.num_envs), never, never, {}
