import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary

from proto_agents.models import ActorCritic, ActorCriticConfig, mlp

CONFIG = ActorCriticConfig(hidden_sizes=(8,), critic_hidden_sizes=(8,))
FLAT, ACTION = Box(-np.inf, np.inf, (5,)), Box(-1, 1, (2,))


def test_flat_observations_share_one_normalizer():
    model = ActorCritic(FLAT, ACTION, CONFIG)
    assert model.groups == ("policy",) and list(model.normalizers) == ["policy"]


def test_critic_group_feeds_the_value_only():
    model = ActorCritic(Dict({"policy": FLAT, "critic": Box(-1, 1, (7,)), "style": FLAT}), ACTION, CONFIG)
    observations = {"policy": torch.randn(3, 5), "critic": torch.randn(3, 7), "style": torch.randn(3, 5)}
    changed = observations | {"critic": torch.randn(3, 7)}
    assert torch.equal(model.act_deterministic(observations), model.act_deterministic(changed))
    assert not torch.equal(model.value(observations), model.value(changed))
    model.update_normalizers(observations)
    assert set(model.normalizers) == {"policy", "critic"}


def test_evaluate_agrees_with_torch_distributions():
    model = ActorCritic(FLAT, ACTION, CONFIG)
    observations = {"policy": torch.randn(64, 5)}
    model.update_normalizers({"policy": torch.randn(100, 5) * 3})
    action = model.act(observations, torch.Generator().manual_seed(0))
    log_prob, entropy, value = model.evaluate(observations, action)
    oracle = torch.distributions.Normal(model.act_deterministic(observations), 0.1)
    torch.testing.assert_close(log_prob, oracle.log_prob(action).sum(-1))
    torch.testing.assert_close(entropy, oracle.entropy().sum(-1))
    torch.testing.assert_close(value, model.value(observations))


def test_a_fresh_policy_acts_close_to_zero():
    model = ActorCritic(FLAT, ACTION)
    assert model.act_deterministic({"policy": torch.randn(50, 5)}).abs().max() < 0.1


def test_discrete_actions_are_integers_in_range():
    model = ActorCritic(FLAT, Discrete(3), CONFIG)
    action = model.act({"policy": torch.randn(100, 5)}, torch.Generator())
    assert action.dtype == torch.long and set(action.tolist()) == {0, 1, 2} and model.std is None


def test_the_generator_alone_decides_the_weights():
    state = torch.get_rng_state()
    first = ActorCritic(FLAT, ACTION, CONFIG, torch.Generator().manual_seed(3)).state_dict()
    second = ActorCritic(FLAT, ACTION, CONFIG, torch.Generator().manual_seed(3)).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("learn", [True, False])
def test_std_is_trained_only_on_request(learn):
    model = ActorCritic(FLAT, ACTION, ActorCriticConfig(learn_std=learn))
    assert model.log_std.requires_grad is learn
    torch.testing.assert_close(model.std, torch.full((2,), 0.1))


def test_unusable_spaces_and_names_are_refused():
    with pytest.raises(TypeError, match="action space must be Box or Discrete"):
        ActorCritic(FLAT, MultiBinary(2))
    with pytest.raises(ValueError, match='needs a group "policy"; it has state'):
        ActorCritic(Dict({"state": FLAT}), ACTION)
    with pytest.raises(TypeError, match="must be a Box or a Dict"):
        ActorCritic(Discrete(3), ACTION)
    with pytest.raises(ValueError, match="unknown activation 'gelu'"):
        mlp((1, 2, 3), "gelu")
    with pytest.raises(ValueError, match="std must be positive"):
        ActorCritic(FLAT, ACTION, ActorCriticConfig(std=0.0))
