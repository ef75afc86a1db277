from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch

from proto_agents import PPO, ActorCritic, ActorCriticConfig, PPOConfig
from proto_agents.checkpoint import load_model, save_checkpoint
from proto_agents.cli.environments import mirror_image
from proto_agents.parsing import ConfigError

OBSERVATION = gymnasium.spaces.Box(-np.inf, np.inf, (5,), np.float32)
ACTION = gymnasium.spaces.Box(-1.0, 1.0, (3,), np.float32)
CONFIG = ActorCriticConfig(hidden_sizes=(16,), critic_hidden_sizes=(16,), output_gain=1.0, symmetric=True)
SYMMETRY = {"policy": ([1, 0, 2, 3, 4], [1, 1, -1, 1, -1]), "action": ([1, 0, 2], [-1, -1, 1])}


def model(symmetry=SYMMETRY, config=CONFIG):
    return ActorCritic(OBSERVATION, ACTION, config, torch.Generator().manual_seed(0), symmetry)


def image(name, vectors):
    indices, signs = SYMMETRY[name]
    return vectors[:, indices] * torch.tensor(signs, dtype=torch.float32)


def observations():
    return 3.0 * torch.randn(40, 5, generator=torch.Generator().manual_seed(1)) + torch.tensor(
        [1.0, -2.0, 0.5, 3.0, 2.0]
    )


def test_a_symmetric_policy_does_the_mirrored_thing_in_the_mirrored_situation():
    network, here = model(), observations()
    network.update_normalizers({"policy": here})
    there = image("policy", here)
    action = network.act_deterministic({"policy": here})
    torch.testing.assert_close(network.act_deterministic({"policy": there}), image("action", action))
    torch.testing.assert_close(network.value({"policy": there}), network.value({"policy": here}))
    assert action.std(dim=0).min() > 0.01
    plain = model(config=replace(CONFIG, symmetric=False))
    plain.update_normalizers({"policy": here})
    other = image("action", plain.act_deterministic({"policy": here}))
    assert not torch.allclose(plain.act_deterministic({"policy": there}), other, atol=1e-2)


def test_so_is_the_value_of_each_part_of_a_reward():
    here = observations()
    parts = ActorCritic(OBSERVATION, ACTION, CONFIG, torch.Generator().manual_seed(0), SYMMETRY, reward_parts=2)
    value = parts.value({"policy": here})
    assert value.shape == (40, 2) and not torch.allclose(value[:, 0], value[:, 1])
    torch.testing.assert_close(parts.value({"policy": image("policy", here)}), value)


def test_training_keeps_it_symmetric_also_its_standard_deviation():
    learner = PPO(OBSERVATION, ACTION, PPOConfig(horizon=4), replace(CONFIG, learn_std=True), symmetry=SYMMETRY)
    learner.model.log_std.data.copy_(torch.tensor([-1.0, -2.0, -3.0]))
    std = learner.model.std
    assert std[0] == std[1] == pytest.approx(np.exp(-1.5)) and std[2] == pytest.approx(np.exp(-3.0))
    here = observations()
    optimizer = torch.optim.Adam(learner.model.parameters(), 1e-2)
    for _ in range(5):
        optimizer.zero_grad()
        learner.model.distribution({"policy": here}).log_prob(torch.ones(40, 3)).mean().neg().backward()
        optimizer.step()
    mean = learner.model.distribution({"policy": here}).mode()
    torch.testing.assert_close(
        learner.model.distribution({"policy": image("policy", here)}).mode(), image("action", mean)
    )


def test_the_mirror_travels_with_the_weights(tmp_path):
    network = model()
    save_checkpoint(tmp_path / "last", network.state_dict(), {}, {"samples": 0})
    again = model(symmetry=None)
    load_model(again, tmp_path / "last", policy_only=True)
    torch.testing.assert_close(
        again.act_deterministic({"policy": observations()}), network.act_deterministic({"policy": observations()})
    )


@pytest.mark.parametrize(
    ("symmetry", "message"),
    [
        ({"policy": SYMMETRY["policy"]}, "lacks 'action'"),
        (SYMMETRY | {"action": ([0, 1], [1, 1])}, "want 3 indices"),
        (SYMMETRY | {"action": ([0, 1, 2], [1, 2, 1])}, "signs of 1 or -1"),
        (SYMMETRY | {"action": ([1, 2, 0], [1, 1, 1])}, "the vector itself"),
        (SYMMETRY | {"action": ([1, 0, 2], [1, -1, 1])}, "the vector itself"),
        (SYMMETRY | {"action": ([0, 1, 7], [1, 1, 1])}, r"0 \.\.\. 2"),
    ],
)
def test_what_is_no_mirror_is_refused(symmetry, message):
    with pytest.raises(ValueError, match=message):
        model(symmetry)


def test_discrete_actions_have_no_mirror_image():
    with pytest.raises(ValueError, match="Box"):
        ActorCritic(OBSERVATION, gymnasium.spaces.Discrete(2), CONFIG, symmetry=SYMMETRY)


def test_an_environment_that_says_nothing_of_a_mirror_is_named():
    with pytest.raises(ConfigError, match="CartPole-v1 has no mirror image"):
        mirror_image(gymnasium.make_vec("CartPole-v1", num_envs=1))
