"""Tests of policies that adapt a frozen one: what is trained, what stays, and that it learns a toy task."""

import pytest
import torch
from torch import nn

from proto_agents.algorithms.distillation import Distillation, DistillationConfig
from proto_agents.algorithms.ppo import PPO, PPOConfig
from proto_agents.checkpoint import policy_tensors
from proto_agents.models.actor_critic import ActorCriticConfig
from proto_agents.models.low_rank import adapt, adapted_size
from proto_agents.models.masked_mimic import MaskedMimicConfig, MaskedMimicModel
from proto_agents.models.mlp import mlp
from proto_agents.models.task_tokens import TaskTokenConfig, TaskTokenModel
from proto_agents.models.transformer import TransformerConfig
from proto_agents.noise_env import EpisodeNoiseEnv
from proto_agents.runner import Runner, RunnerConfig

FOUNDATION = MaskedMimicConfig(
    latent_size=4,
    transformer=TransformerConfig(width=16, layers=1, heads=2, feedforward=16, token_hidden_sizes=(16,)),
    head_hidden_sizes=(16,),
    decoder_hidden_sizes=(16,),
)
CRITIC = ActorCriticConfig(critic_hidden_sizes=(32,), std=0.3)


@pytest.fixture
def make_env(masked_point):
    """The toy as a task: the goal is shown apart, and nothing is asked of the foundation."""

    def make(num_envs, shown=0.0, length=10):
        return masked_point[0](num_envs, shown=shown, length=length, task=True)

    return make


@pytest.fixture
def make_model(make_env):
    """An adapted foundation."""
    env = make_env(2)
    spaces = (env.single_observation_space, env.single_action_space)

    def make(adaptation="token", **settings):
        foundation = MaskedMimicModel(*spaces, FOUNDATION, torch.Generator().manual_seed(3))
        # What a trained one has, that a fresh one has not: actions that depend on the latent.
        nn.init.normal_(foundation.decoder[-1].weight, generator=torch.Generator().manual_seed(4))
        nn.init.normal_(foundation.head[-1].weight, generator=torch.Generator().manual_seed(5))
        config = TaskTokenConfig(adaptation=adaptation, hidden_sizes=(16,), **settings)
        return TaskTokenModel(*spaces, foundation, config, CRITIC, torch.Generator().manual_seed(6))

    return make


@pytest.fixture
def train(make_env, tmp_path):
    """Trains a model on the toy."""

    def run(model, samples=2048):
        env = make_env(64)
        config = PPOConfig(horizon=8, minibatch_size=256, epochs=4, learning_rate=3e-3, kl_target=0.02, kl_stop=None)
        learner = PPO(env.single_observation_space, env.single_action_space, config, model=model)
        settings = RunnerConfig(max_samples=samples, run_dir=str(tmp_path / "run"), logger="none")
        Runner(env, learner, settings, quiet=True).run()

    return run


def policy_size(model):
    return sum(p.numel() for p in model.actor.parameters() if p.requires_grad)


@pytest.mark.parametrize(("goal", "size"), [(3, 198_400), (5, 198_912), (9, 199_936), (15, 201_472), (33, 206_080)])
def test_the_encoder_has_as_many_weights_as_in_the_paper(goal, size):
    encoder = mlp((goal, *TaskTokenConfig().hidden_sizes, 512))
    assert sum(p.numel() for p in encoder.parameters()) == size


def test_only_the_encoder_is_trained_and_all_else_stays_bit_for_bit(make_model, train):
    model = make_model()
    assert policy_size(model) == sum(p.numel() for p in model.actor.encoder.parameters())
    before = {name: value.clone() for name, value in model.actor.state_dict().items()}
    train(model)
    for name, value in model.actor.state_dict().items():
        stays = name.startswith("foundation.")
        assert torch.equal(value, before[name]) == stays, name


@pytest.mark.parametrize("adaptation", ["lora", "finetune"])
def test_other_adaptations_change_the_foundation(make_model, train, adaptation):
    model = make_model(adaptation)
    before = {name: value.clone() for name, value in model.actor.foundation.state_dict().items()}
    train(model)
    after = model.actor.foundation.state_dict()
    changed = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed and not any(name.startswith("normalizers.") for name in changed)
    if adaptation == "lora":
        assert all(name.endswith((".up", ".down")) for name in changed)


def test_without_adaptation_there_is_the_foundation_alone(make_env, make_model):
    env, model = make_env(32), make_model("none")
    observations, _ = env.reset(seed=0)
    model.update_normalizers(observations)
    torch.testing.assert_close(
        model.act_deterministic(observations), model.actor.foundation.act_deterministic(observations)
    )
    assert policy_size(model) == 0


def test_low_rank_additions_change_nothing_at_first_and_are_as_many_as_said():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True, norm_first=True)
    tokens = torch.randn(4, 3, 16)
    before, size = layer(tokens), adapted_size(layer, 2)
    adapt(layer, 2)
    torch.testing.assert_close(layer(tokens), before)
    assert sum(p.numel() for p in layer.parameters() if p.requires_grad) == size
    assert size == 2 * ((48 + 16) + (16 + 16) + (32 + 16) + (16 + 32))


def test_low_rank_additions_are_the_product():
    linear = nn.Linear(5, 3)
    weight = linear.weight.detach().clone()
    adapt(linear, 2)
    part = linear.parametrizations["weight"][0]
    nn.init.normal_(part.up)
    torch.testing.assert_close(linear.weight, weight + part.up @ part.down)


def test_a_token_makes_a_policy_do_what_it_is_not_asked_in_its_own_words(masked_point, make_env, train, tmp_path):
    def distance(policy):
        env = make_env(256, length=30)
        observations, _ = env.reset(seed=9)
        for _ in range(12):
            observations, _, _, _, info = env.step(policy.act_deterministic(observations))
        return float(info["metrics"]["error"].mean())

    school = EpisodeNoiseEnv(masked_point[0](64), FOUNDATION.latent_size)
    spaces = (school.single_observation_space, school.single_action_space)
    config = DistillationConfig(horizon=8, minibatch_size=128, epochs=4, learning_rate=3e-3, kl_ramp=(0.3, 0.7))
    student = Distillation(*spaces, config, FOUNDATION, teacher=masked_point[1])
    settings = RunnerConfig(max_samples=20_000, run_dir=str(tmp_path / "student"), logger="none")
    Runner(school, student, settings, quiet=True).run()

    env = make_env(2)
    spaces = (env.single_observation_space, env.single_action_space)
    foundation = MaskedMimicModel(*spaces, FOUNDATION)
    foundation.load_state_dict(policy_tensors(student.model.state_dict()))
    before = distance(foundation)
    model = TaskTokenModel(*spaces, foundation, TaskTokenConfig(hidden_sizes=(16,)), CRITIC, torch.Generator())
    train(model, 40_000)
    assert distance(model) < 0.5 * before


def test_a_rollout_keeps_embedded_tokens_where_they_cannot_change(make_env, make_model):
    observations, _ = make_env(4).reset(seed=0)
    frozen, tuned = make_model(), make_model("finetune")
    assert "foundation_tokens" in frozen.normalize(observations)
    assert "foundation_tokens" not in tuned.normalize(observations)
    torch.testing.assert_close(
        frozen.distribution(frozen.normalize(observations)).mode(),
        tuned.distribution(tuned.normalize(observations)).mode(),
    )


def test_kinds_of_tokens_may_be_shown_for_conditioning_by_hand(make_env, make_model):
    env = make_env(32, shown=1.0)
    observations, _ = env.reset(seed=0)
    plain, told = make_model(), make_model(tokens=("self", "sparse_poses"))
    moved = observations | {"sparse_poses": observations["sparse_poses"] + 1.0}
    torch.testing.assert_close(plain.act_deterministic(moved), plain.act_deterministic(observations))
    assert (told.act_deterministic(moved) - told.act_deterministic(observations)).abs().max() > 1e-4


def test_a_goal_that_is_not_shown_and_a_missing_state_are_refused(make_model):
    with pytest.raises(ValueError, match=r"task_tokens.goal \['target'\]"):
        make_model(goal=("target",))
    with pytest.raises(ValueError, match="must hold 'self'"):
        make_model(tokens=("sparse_poses",))
