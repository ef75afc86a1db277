from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from proto_agents import PPO, ActorCriticConfig, PPOConfig
from proto_agents.environment import Transition

OBSERVATION, ACTION = Box(-np.inf, np.inf, (3,)), Box(-1, 1, (2,))
MODEL = ActorCriticConfig(hidden_sizes=(16,), critic_hidden_sizes=(16,))
CONFIG = PPOConfig(horizon=4, minibatch_size=64, epochs=3, kl_stop=None)
ENVS = 64


def one_step_episodes(learner, reward_of):
    """A full buffer of a bandit: every step is an episode, rewarded by the action alone.

    `reward_of` gives (N,), or (N, K) for a learner that values K parts.
    """
    buffer = learner.make_buffer(ENVS)
    generator = torch.Generator().manual_seed(learner.model.value_normalizer.count.int().item())
    yes, no = torch.ones(ENVS, dtype=torch.bool), torch.zeros(ENVS, dtype=torch.bool)
    for _ in range(learner.config.horizon):
        observations = {"policy": torch.randn(ENVS, 3, generator=generator)}
        step = learner.act(observations)
        reward = reward_of(step.action)
        transition = Transition(
            observations=observations,
            reward=reward if reward.dim() == 1 else reward.sum(-1),
            reward_parts=reward if reward.dim() > 1 else None,
            terminated=yes,
            truncated=no,
            valid=yes,
            outcome=observations,
            truncated_rows=torch.zeros(0, dtype=torch.long),
            truncated_observations={},
            metrics={},
            info={},
        )
        buffer.add(step, transition, step.value[:0])
    return buffer


def train(learner, updates, reward_of):
    results = []
    for _ in range(updates):
        buffer = one_step_episodes(learner, reward_of)
        results.append(
            learner.update(buffer, torch.zeros_like(buffer.value[0])) | {"reward": buffer.reward.mean().item()}
        )
    return results


def to_target(action):
    return -(action - 0.3).square().sum(-1)


def test_finds_the_best_action_of_a_bandit():
    learner = PPO(OBSERVATION, ACTION, CONFIG, MODEL)
    train(learner, 40, to_target)
    mean = learner.model.act_deterministic({"policy": torch.randn(200, 3)}).mean(0)
    torch.testing.assert_close(mean, torch.full((2,), 0.3), atol=0.05, rtol=0)


def test_finds_the_best_arm_of_a_discrete_bandit():
    learner = PPO(OBSERVATION, Discrete(3), replace(CONFIG, learning_rate=3e-3, schedule="fixed"), MODEL)
    train(learner, 20, lambda action: (action == 2).float())
    assert (learner.model.act_deterministic({"policy": torch.randn(100, 3)}) == 2).all()


def test_kl_beyond_the_stop_ends_the_update_before_its_step():
    learner = PPO(OBSERVATION, ACTION, replace(CONFIG, learning_rate=0.05, schedule="fixed", kl_stop=0.2), MODEL)
    result = train(learner, 1, to_target)[0]
    assert result["policy/gradient_steps"] < 12 and result["policy/kl"] > 0.05


def test_learning_rate_follows_the_kl_within_its_bounds():
    slow = PPO(OBSERVATION, ACTION, replace(CONFIG, learning_rate=1e-5, kl_target=1.0), MODEL)
    train(slow, 2, to_target)
    assert slow.learning_rate == pytest.approx(1e-5 * 1.5**2)
    assert slow.optimizer.param_groups[0]["lr"] == slow.learning_rate
    fast = PPO(OBSERVATION, ACTION, replace(CONFIG, learning_rate=2e-2, kl_target=1e-6), MODEL)
    train(fast, 1, to_target)
    assert fast.learning_rate == pytest.approx(2e-2 / 1.5)
    bounded = PPO(OBSERVATION, ACTION, replace(CONFIG, learning_rate=9e-3, kl_target=1e6), MODEL)
    train(bounded, 2, to_target)
    assert bounded.learning_rate == 1e-2


def test_the_critic_keeps_its_own_learning_rate():
    learner = PPO(OBSERVATION, ACTION, replace(CONFIG, critic_learning_rate=7e-4, kl_target=1e6), MODEL)
    train(learner, 2, to_target)
    assert learner.optimizer.param_groups[1]["lr"] == 7e-4 != learner.optimizer.param_groups[0]["lr"]


def test_the_first_gradient_step_sees_the_policy_that_acted():
    learner = PPO(OBSERVATION, ACTION, replace(CONFIG, epochs=1, minibatch_size=ENVS * 4), MODEL)
    result = train(learner, 1, to_target)[0]
    assert result["policy/kl"] == pytest.approx(0.0, abs=1e-6) and result["policy/clip_fraction"] == 0.0


def test_the_bounds_loss_pulls_means_back():
    def far_means(coefficient):
        learner = PPO(OBSERVATION, ACTION, replace(CONFIG, bounds_coefficient=coefficient), MODEL)
        with torch.no_grad():
            learner.model.actor[-1].bias.fill_(2.0)
        train(learner, 15, lambda action: torch.zeros(ENVS))
        return learner.model.act_deterministic({"policy": torch.zeros(1, 3)}).max().item()

    assert far_means(10.0) < far_means(0.0) - 0.05


@pytest.mark.parametrize(
    "change",
    [
        {"value_clip": 0.2},
        {"entropy_coefficient": 0.01},
        {"normalize_advantages": False},
        {"normalize_values": False},
        {"schedule": "fixed"},
        {"minibatch_size": 10_000},
        {"minibatch_size": 100},
    ],
)
def test_every_option_trains(change):
    learner = PPO(OBSERVATION, ACTION, replace(CONFIG, **change), replace(MODEL, learn_std=True))
    results = train(learner, 8, to_target)
    assert results[-1]["reward"] > results[0]["reward"]
    assert all(np.isfinite(value) for value in results[-1].values())


def test_the_same_seed_gives_the_same_bits():
    weights = []
    for _ in range(2):
        learner = PPO(OBSERVATION, ACTION, CONFIG, MODEL, seed=5)
        train(learner, 2, to_target)
        weights.append(learner.model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_restored_learner_goes_on_exactly():
    whole = PPO(OBSERVATION, ACTION, CONFIG, MODEL, seed=1)
    train(whole, 4, to_target)
    first = PPO(OBSERVATION, ACTION, CONFIG, MODEL, seed=1)
    train(first, 2, to_target)
    second = PPO(OBSERVATION, ACTION, CONFIG, MODEL, seed=99)
    second.model.load_state_dict(first.model.state_dict())
    second.load_state_dict({name: value.clone() for name, value in first.state_dict().items()})
    train(second, 2, to_target)
    state, expected = second.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_annealing_lowers_the_learning_rate_over_the_last_share_of_the_run():
    learner = PPO(
        Box(-1, 1, (3,)),
        Box(-1, 1, (2,)),
        PPOConfig(learning_rate=1e-3, anneal=0.4, critic_learning_rate=2e-3),
    )
    rates = []
    for progress in (0.0, 0.6, 0.8, 1.0):
        learner.progress = progress
        learner._apply_learning_rate()
        rates.append([group["lr"] for group in learner.optimizer.param_groups])
    assert rates == [pytest.approx([1e-3 * f, 2e-3 * f]) for f in (1.0, 1.0, 0.5, 0.05)]


# --- rewards in parts ------------------------------------------------------------------------------------------------

PARTS = ("task", "style")


def small_and_large(action):
    """Two rewards of very different size: one for the first dimension, one for the second."""
    first, second = (-(action - 0.3).square()).unbind(-1)
    return torch.stack((first, 1000.0 * second + 500.0), dim=-1)


def test_each_part_has_a_value_in_units_of_its_own():
    learner = PPO(OBSERVATION, ACTION, replace(CONFIG, critic_learning_rate=3e-3), MODEL, reward_parts=PARTS)
    result = train(learner, 40, small_and_large)[-1]
    action = learner.model.act({"policy": torch.zeros(4000, 3)}, torch.Generator().manual_seed(0))
    expected = small_and_large(action).mean(0)
    value = learner.value({"policy": torch.zeros(1, 3)})
    assert value.shape == (1, 2)
    std = learner.model.value_normalizer.std
    assert std.shape == (2,) and std[1] > 500.0 * std[0]
    assert ((value[0] - expected).abs() < 0.3 * std).all()
    assert result["loss/value"] == pytest.approx(result["loss/value_task"] + result["loss/value_style"], rel=1e-4)
    assert {"value/explained_variance", "value/explained_variance_task"} <= result.keys()
    assert result["reward"] == pytest.approx(0.5 * float(expected.sum()), rel=0.1)  # the mean over both parts


@pytest.mark.parametrize("value_clip", [None, 0.1])
def test_the_losses_of_parts_against_a_slow_reference(value_clip):
    """One gradient step over the whole batch; each loss from numbers, sample by sample."""
    config = replace(CONFIG, epochs=1, minibatch_size=ENVS * 4, value_clip=value_clip, value_coefficient=0.7)
    learner = PPO(OBSERVATION, ACTION, config, MODEL, reward_parts=PARTS)
    train(learner, 2, small_and_large)
    buffer = one_step_episodes(learner, small_and_large)
    batch = buffer.batch(torch.zeros(ENVS, 2), config.gamma, config.gae_lambda)
    advantages, rows = [], torch.arange(len(batch.advantage))
    for reward, value, found in zip(
        buffer.reward.flatten(0, 1), buffer.value.flatten(0, 1), batch.advantage, strict=True
    ):
        total = sum((reward - value).tolist())
        assert found.item() == pytest.approx(total, rel=1e-4, abs=1e-3)
        advantages.append(total)
    normalizer, losses = learner.model.value_normalizer, []
    mean, std = normalizer.mean.tolist(), normalizer.std.tolist()
    old = normalizer.normalize(batch.value) - 0.3
    now = learner.model.normalized_value(batch.observations)
    for part in range(2):
        errors = []
        for sample in rows.tolist():
            target = (batch.returns[sample, part].item() - mean[part]) / std[part]
            error = (now[sample, part].item() - target) ** 2
            if value_clip is not None:
                before = old[sample, part].item()
                bounded = before + min(max(now[sample, part].item() - before, -value_clip), value_clip)
                error = max(error, (bounded - target) ** 2)
            errors.append(error)
        losses.append(0.5 * sum(errors) / len(errors))
    target = normalizer.normalize(batch.returns)
    loss, parts = learner._loss(batch, rows, torch.tensor(advantages), old, target, learner.model.std)
    assert parts["loss/value_task"].item() == pytest.approx(losses[0], rel=1e-3)
    assert parts["loss/value_style"].item() == pytest.approx(losses[1], rel=1e-3)
    assert loss.item() == pytest.approx(parts["loss/policy"].item() + 0.7 * sum(losses), rel=1e-3)


def test_one_part_is_the_whole():
    """The same bits, and the same names and shapes as ever: checkpoints of whole rewards go on to load."""
    learners = [PPO(OBSERVATION, ACTION, CONFIG, MODEL, reward_parts=parts) for parts in ((), ("only",))]
    results = [train(learner, 3, to_target) for learner in learners]
    assert results[0] == results[1]
    whole, part = (learner.model.state_dict() for learner in learners)
    assert all(torch.equal(whole[name], part[name]) for name in whole)
    assert whole["value_normalizer.mean"].shape == () and whole["critic.2.weight"].shape == (1, 16)
