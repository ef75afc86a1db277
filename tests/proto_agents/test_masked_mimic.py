"""Tests of MaskedMimic's networks against torch's own distributions, and of what is hidden."""

import gymnasium
import numpy as np
import pytest
import torch

from proto_agents.models.masked_mimic import Latent, MaskedMimicConfig, MaskedMimicModel, kl_divergence
from proto_agents.models.transformer import TransformerConfig
from proto_agents.spaces import to_observations

SMALL = MaskedMimicConfig(
    latent_size=4,
    transformer=TransformerConfig(width=16, layers=1, heads=2, feedforward=16, token_hidden_sizes=(16,)),
    head_hidden_sizes=(16,),
    posterior_hidden_sizes=(16,),
    decoder_hidden_sizes=(16,),
)


@pytest.fixture
def env(masked_point):
    """A toy."""
    return masked_point[0](32)


@pytest.fixture
def model(env):
    """Made for the toy, with statistics."""
    made = MaskedMimicModel(env.single_observation_space, env.single_action_space, SMALL, torch.Generator())
    made.update_normalizers(observed(env))
    return made


def observed(env, seed=0):
    """Observations of all groups."""
    return to_observations(env.reset(seed=seed)[0], torch.device("cpu"))


def drawn_latent(seed):
    generator = torch.Generator().manual_seed(seed)
    return Latent(*(torch.randn(16, 4, generator=generator) for _ in range(2)))


def test_the_divergence_is_that_of_two_gaussians():
    first, second = drawn_latent(0), drawn_latent(1)
    normals = [torch.distributions.Normal(x.mean, (0.5 * x.log_variance).exp()) for x in (first, second)]
    want = torch.distributions.kl_divergence(*normals).sum(-1)
    torch.testing.assert_close(kl_divergence(first, second), want)
    assert torch.equal(kl_divergence(first, first), torch.zeros(16))


def test_the_posterior_adds_to_the_priors_mean(env, model):
    normalized = model.normalize(observed(env))
    prior = model.prior(normalized)
    own = model.expert(normalized["expert"])
    posterior = model.posterior(normalized, prior)
    torch.testing.assert_close(posterior.mean - prior.mean, own.mean)
    assert torch.equal(posterior.log_variance, own.log_variance)


def test_without_a_residual_prior_the_posterior_stands_alone(env):
    config = MaskedMimicConfig(**{**vars(SMALL), "residual": False})
    model = MaskedMimicModel(env.single_observation_space, env.single_action_space, config, torch.Generator())
    normalized = model.normalize(observed(env))
    prior = model.prior(normalized)
    assert torch.equal(model.posterior(normalized, prior).mean, model.expert(normalized["expert"]).mean)


def test_hidden_tokens_change_nothing(env, model):
    observations = observed(env)
    hidden = observations["sparse_poses_mask"].repeat_interleave(2, dim=1) == 0.0
    assert hidden.any() and not hidden.all()
    other = observations | {"sparse_poses": observations["sparse_poses"] + 100.0 * hidden}
    torch.testing.assert_close(model.act_deterministic(other), model.act_deterministic(observations))
    shown = observations | {"sparse_poses": observations["sparse_poses"] + 100.0 * ~hidden}
    assert (model.act_deterministic(shown) - model.act_deterministic(observations)).abs().max() > 1e-4


def test_normalizers_learn_from_tokens_that_count(env, model):
    observations = observed(env)
    seen = observations["sparse_poses"].unflatten(1, (3, 2))[observations["sparse_poses_mask"] > 0.0]
    np.testing.assert_allclose(model.normalizers["sparse_poses"].mean, seen.mean(0), atol=1e-6)
    assert seen.abs().max() < 50.0 / 3, "hidden ones are garbage"


def test_noise_draws_the_latent_and_the_mean_is_taken_without(env, model):
    observations = observed(env)
    torch.nn.init.normal_(model.decoder[-1].weight)
    quiet = observations | {"noise": torch.zeros(32, 4)}
    loud = observations | {"noise": torch.ones(32, 4)}
    generator = torch.Generator()
    torch.testing.assert_close(model.act(quiet, generator), model.act_deterministic(observations))
    assert (model.act(loud, generator) - model.act_deterministic(loud)).abs().max() > 1e-3


def test_groups_that_are_not_there_are_left_out_and_the_others_named(model):
    assert model.config.tokens == ("self", "sparse_poses")
    assert model.config.decoder_inputs == ("self",)


def test_a_model_without_an_expert_acts_but_has_no_posterior(env, model):
    space = gymnasium.spaces.Dict({k: v for k, v in env.single_observation_space.items() if k != "expert"})
    acting = MaskedMimicModel(space, env.single_action_space, SMALL, torch.Generator())
    observations = observed(env)
    assert acting.act_deterministic(observations).shape == (32, 1)
    with pytest.raises(RuntimeError, match="no group 'expert'"):
        acting.posterior(acting.normalize(observations), Latent(*torch.zeros(2, 32, 4)))


def test_the_first_token_must_always_be_there(env):
    config = MaskedMimicConfig(**{**vars(SMALL), "tokens": ("sparse_poses", "self")})
    with pytest.raises(ValueError, match="without a mask"):
        MaskedMimicModel(env.single_observation_space, env.single_action_space, config)


def test_masks_must_divide_their_tokens(env):
    boxes = dict(env.single_observation_space.items())
    boxes["sparse_poses_mask"] = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32)
    with pytest.raises(ValueError, match="6 numbers, which 4 tokens"):
        MaskedMimicModel(gymnasium.spaces.Dict(boxes), env.single_action_space, SMALL)


def test_initial_weights_follow_from_the_generator_alone(env):
    made = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(7)
        made.append(MaskedMimicModel(env.single_observation_space, env.single_action_space, SMALL, generator))
    states = [model.state_dict() for model in made]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
