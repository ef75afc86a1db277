"""Rewards of discriminators: their's formulas, its memory, and that an agent learns from them alone."""

import copy
import json
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from proto_agents.algorithms.discriminator_reward import DiscriminatorConfig, DiscriminatorReward, Replay
from proto_agents.algorithms.ppo import PPO, PPOConfig
from proto_agents.checkpoint import load_tensors
from proto_agents.environment import TensorEnvironment
from proto_agents.models.actor_critic import ActorCriticConfig
from proto_agents.models.discriminator import Discriminator, DiscriminatorLoss, style_reward
from proto_agents.runner import Runner, RunnerConfig

SMALL = {"hidden_sizes": (32,), "minibatch_size": 256, "replay_size": 500, "replay_share": 0.2}


class Slider(gymnasium.vector.VectorEnv):
    """Points that slide as fast as the action says, for 8 steps; experts slide at 1 m/s. No reward of its own."""

    def __init__(self, num_envs):
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space = gymnasium.spaces.Dict(
            {"policy": gymnasium.spaces.Box(-9, 9, (1,)), "style": gymnasium.spaces.Box(-9, 9, (2,))}
        )
        self.single_action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.random = np.random.default_rng(0)

    def reset(self, *, seed=None, options=None):
        if options:
            self.speed[options["reset_mask"]], self.age[options["reset_mask"]] = 0.0, 0
        else:
            self.speed, self.age = np.zeros((self.num_envs, 2), np.float32), np.zeros(self.num_envs, int)
        return self.observe(), {}

    def observe(self):
        return {"policy": np.ones((self.num_envs, 1), np.float32), "style": self.speed.copy()}

    def step(self, actions):
        self.speed = np.stack([2.0 * np.clip(actions[:, 0], -1, 1), self.speed[:, 0]], axis=1).astype(np.float32)
        self.age += 1
        done, info = self.age >= 8, {"metrics": {"speed": self.speed[:, 0].copy()}}
        if done.any():
            info |= {"final_obs": self.observe(), "_final_obs": done}
            self.speed[done], self.age[done] = 0.0, 0
        return self.observe(), np.zeros(self.num_envs, np.float32), np.zeros_like(done), done, info

    def sample_style(self, count):
        return np.repeat(self.random.normal(1.0, 0.05, (count, 1)), 2, axis=1).astype(np.float32)


def make_style(**given):
    return DiscriminatorReward(2, Slider(1).sample_style, DiscriminatorConfig(**{"kind": "amp", **SMALL, **given}))


# --- formulas --------------------------------------------------------------------------------------------------------


def test_rewards_are_those_of_amp():
    logits = torch.linspace(-20.0, 20.0, 41)
    chance = 1.0 / (1.0 + np.exp(-logits.numpy().astype(np.float64)))
    wanted = -np.log(np.maximum(1.0 - chance, 1e-4))
    np.testing.assert_allclose(style_reward(logits).numpy(), wanted, rtol=1e-3, atol=1e-5)
    assert style_reward(torch.tensor([100.0])).item() == pytest.approx(9.2103, abs=1e-3)


@pytest.mark.parametrize("with_replay", [False, True])
def test_the_loss_is_binary_cross_entropy_with_all_of_the_agents_weighing_as_much_as_the_experts(with_replay):
    expert, agent, replay = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    logits, labels = [expert, agent], [1.0, 0.0]
    loss = DiscriminatorLoss(expert, agent, replay if with_replay else None)
    entropies = [
        F.binary_cross_entropy_with_logits(rows, torch.full_like(rows, label))
        for rows, label in zip([*logits, replay], [*labels, 0.0], strict=True)
    ]
    against = 0.5 * (entropies[1] + entropies[2]) if with_replay else entropies[1]
    torch.testing.assert_close(loss.classification, 0.5 * (entropies[0] + against))
    assert loss.expert_accuracy == (expert > 0).float().mean()
    assert loss.agent_accuracy == (agent < 0).float().mean()


def test_the_gradient_penalty_is_the_mean_square_of_each_samples_gradient():
    model = Discriminator(5, (16, 8), generator=torch.Generator().manual_seed(1))
    inputs = torch.randn(7, 5, generator=torch.Generator().manual_seed(2))
    squares = []
    for row in inputs.double():
        network = Discriminator(5, (16, 8)).double()
        network.load_state_dict(model.state_dict())
        ends = [network.network(row + sign * 1e-6 * axis) for axis in torch.eye(5).double() for sign in (1, -1)]
        gradient = torch.stack([(a - b) / 2e-6 for a, b in zip(ends[::2], ends[1::2], strict=True)])
        squares.append(gradient.square().sum())
    torch.testing.assert_close(model.gradient_penalty(inputs).double(), torch.stack(squares).mean(), rtol=1e-4, atol=0)


def test_the_gradient_penalty_flattens_the_discriminator():
    steep, flat = make_style(gradient_penalty=0.0, learning_rate=1e-3), make_style(learning_rate=1e-3)
    for style in (steep, flat):
        for _ in range(20):
            style._seen.append(torch.randn(256, 2, generator=style.generator) * 0.3)
            style.update()
    expert = torch.full((1, 2), 1.0)
    slopes = [style.model.gradient_penalty(style.model.normalizer.normalize(expert)) for style in (steep, flat)]
    assert slopes[1] < 0.5 * slopes[0]


def test_a_gradient_step_is_that_of_the_whole_loss():
    """Gradients against those of a loss that is put together here, the penalty sample by sample."""
    weights = {"gradient_penalty": 3.0, "weight_decay": 0.02, "logit_decay": 0.3}
    style = make_style(learning_rate=0.0, **weights)
    generator = torch.Generator().manual_seed(3)
    agent, replay = torch.randn(2, 30, 2, generator=generator)
    experts = torch.as_tensor(Slider(1).sample_style(30))
    style._step(torch.stack([experts, agent, replay]))

    model = copy.deepcopy(style.model).double()
    expert, present, past = experts.double(), agent.double(), replay.double()
    chances = [torch.sigmoid(model.network(part)).squeeze(-1) for part in (expert, present, past)]
    loss = -0.5 * chances[0].log().mean() - 0.25 * ((1 - chances[1]).log().mean() + (1 - chances[2]).log().mean())
    slopes = [torch.autograd.functional.jacobian(model.network, row, create_graph=True) for row in expert]
    loss = loss + 3.0 * sum(slope.square().sum() for slope in slopes) / 30
    matrices = [model.network[0].weight, model.network[2].weight]
    loss = loss + 0.02 * sum(matrix.square().sum() for matrix in matrices) + 0.3 * matrices[1].square().sum()
    gradients = torch.autograd.grad(loss, list(model.network.parameters()))
    for found, wanted in zip(style.model.network.parameters(), gradients, strict=True):
        torch.testing.assert_close(found.grad.double(), wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("activation", ["relu", "elu", "tanh"])
def test_training_on_the_gradient_penalty_is_right_for_every_activation(activation):
    """Against the gradient of each sample's gradient by its features, and how that changes the weights."""
    model = Discriminator(6, (9, 5), activation, generator=torch.Generator().manual_seed(4)).double()
    inputs = torch.randn(11, 6, generator=torch.Generator().manual_seed(5)).double()
    found = torch.autograd.grad(model.gradient_penalty(inputs), list(model.network.parameters()), allow_unused=True)
    rows = inputs.clone().requires_grad_()
    (slopes,) = torch.autograd.grad(model.logits(rows).sum(), rows, create_graph=True)
    wanted = torch.autograd.grad(slopes.square().sum(-1).mean(), list(model.network.parameters()), allow_unused=True)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(
            *(torch.zeros(1) if each is None else each for each in (one, other)),
            rtol=1e-9,
            atol=1e-12,
            check_dtype=False,
        )


def test_an_update_trains_on_fresh_samples_of_experts_and_of_all_that_was_seen():
    """Each gradient step on others, as many of experts as of the agent, scaled by the statistics of both."""
    style, drawn, steps = make_style(minibatch_size=50, gradient_steps=3), [], []
    sample, step = style._sample, style._step
    style._sample = lambda count: drawn.append(sample(count)) or drawn[-1]
    style._step = lambda samples: steps.append(samples) or step(samples)
    seen = 6.0 * torch.rand(4000, 2, generator=torch.Generator().manual_seed(6)) - 2.0
    style._seen.extend(seen.chunk(4))
    style.update()
    assert [len(part) for part in drawn] == [150] and [part.shape for part in steps] == [(2, 50, 2)] * 3
    normalize = style.model.normalizer.normalize
    assert torch.equal(torch.cat([part[0] for part in steps]), normalize(torch.as_tensor(drawn[0])))
    agent = torch.cat([part[1] for part in steps])
    distance = torch.cdist(agent, normalize(seen), compute_mode="donot_use_mm_for_euclid_dist").min(dim=1)
    assert distance.values.max() < 1e-6 and len(distance.indices.unique()) > 130 and distance.indices.max() > 3000
    both = torch.cat([agent, torch.cat([part[0] for part in steps])])
    assert both.mean(0).abs().max() < 1e-5 and (both.std(0, correction=0) - 1.0).abs().max() < 1e-3


# --- differences -----------------------------------------------------------------------------------------------------


def test_not_being_away_is_the_expert_of_a_differential_discriminator():
    style = DiscriminatorReward(
        3, config=DiscriminatorConfig(kind="add", learning_rate=3e-3, gradient_penalty=0.1, **SMALL)
    )
    assert style.group == "difference" and not style.experts(4).any()
    for _ in range(60):
        style._seen.append(torch.tensor([1.0, 5.0, 0.1]) * (2.0 + torch.randn(256, 3, generator=style.generator)))
        style.update()
    assert style.model.normalizer.normalize(torch.zeros(1, 3)).abs().max() < 1e-6
    away = torch.tensor([1.0, 5.0, 0.1]) * torch.linspace(0.0, 3.0, 7).unsqueeze(1)
    rewards = style_reward(style.model(away))
    assert (rewards.diff() < 0.0).all() and rewards[0] > 2.0 * rewards[-1]


def test_the_penalty_is_taken_where_the_differences_are():
    away, style = torch.randn(256, 3) + 2.0, DiscriminatorReward(3, config=DiscriminatorConfig(kind="add", **SMALL))
    style._seen.append(away)
    style.update()
    seen = style.model.normalizer.normalize(away[:64])
    wanted = style.model.gradient_penalty(seen)
    samples = torch.stack([torch.zeros_like(seen), seen])
    torch.testing.assert_close(style._step(samples)["discriminator/gradient_penalty"], wanted)


def test_amp_without_samples_is_refused():
    with pytest.raises(ValueError, match="AMP needs samples of experts"):
        DiscriminatorReward(3, config=DiscriminatorConfig(kind="amp"))


# --- memory ----------------------------------------------------------------------------------------------------------


def test_a_full_memory_forgets_the_oldest():
    replay, generator = Replay(4, 1, torch.device("cpu")), torch.Generator().manual_seed(0)
    replay.add(torch.arange(3.0).unsqueeze(1))
    assert len(replay) == 3 and set(replay.draw(100, generator).flatten().tolist()) == {0.0, 1.0, 2.0}
    replay.add(torch.arange(3.0, 9.0).unsqueeze(1))
    assert len(replay) == 4 and set(replay.draw(200, generator).flatten().tolist()) == {5.0, 6.0, 7.0, 8.0}


def test_of_more_than_a_memory_holds_the_latest_stay():
    replay, generator = Replay(4, 1, torch.device("cpu")), torch.Generator().manual_seed(0)
    for first in (0.0, 10.0):
        replay.add(first + torch.arange(10.0).unsqueeze(1))
        assert set(replay.draw(200, generator).flatten().tolist()) == {first + rest for rest in (6.0, 7.0, 8.0, 9.0)}


def test_what_is_remembered_is_of_rollouts_before():
    style, drawn = make_style(replay_share=1.0), []
    draw = style.replay.draw
    style.replay.draw = lambda count, generator: drawn.append(draw(count, generator)) or drawn[-1]
    for rollout in (1.0, 2.0, 3.0):
        style._seen.append(torch.full((100, 2), rollout))
        style.update()
        assert {value for part in drawn for value in part.flatten().tolist()} == {1.0, 2.0, 3.0} - {
            later for later in (1.0, 2.0, 3.0) if later >= rollout
        }
        drawn.clear()


def test_of_what_is_seen_the_asked_share_is_remembered():
    style = make_style(replay_size=100_000, replay_share=0.3, gradient_steps=1)
    style._seen.append(torch.randn(20_000, 2))
    style.update()
    assert len(style.replay) == pytest.approx(6000, rel=0.1)


def test_it_goes_on_exactly_where_it_was_saved():
    style, other = make_style(), make_style()
    for each in (style, other):
        each._sample = lambda count: torch.ones(count, 2)
    style._seen.append(torch.randn(400, 2))
    style.update()
    other.load_state_dict({name: value.clone() for name, value in style.state_dict().items()})
    seen = torch.randn(400, 2)
    values = []
    for each in (style, other):
        each._seen.append(seen)
        values.append(each.update())
    assert values[0] == values[1]
    assert torch.equal(style.model(seen), other.model(seen))


# --- in a run --------------------------------------------------------------------------------------------------------


def test_it_sees_where_a_step_led_to_and_not_the_episode_after():
    env = TensorEnvironment(Slider(3))
    env.reset()
    for _ in range(8):
        transition = env.step(torch.full((3, 1), 0.25))
    assert transition.truncated.all()
    assert transition.outcome["style"].tolist() == [[0.5, 0.5]] * 3
    assert transition.observations["style"].tolist() == [[0.0, 0.0]] * 3
    style = make_style(task_weight=2.0, reward_weight=3.0)
    shaped, ended = style.shape(transition)
    assert ended is None and not shaped.terminated.any()
    reward = style_reward(style.model(torch.tensor([[0.5, 0.5]]))).item()
    torch.testing.assert_close(shaped.reward, torch.full((3,), 3.0 * reward))
    assert torch.equal(style._seen[0], transition.outcome["style"])


def test_whoever_is_poor_for_too_long_begins_anew(tmp_path):
    """Poor is what is slow: after 3 slow steps in a row, not before, and not where the episode ends anyway."""
    env = Slider(2)
    learner = PPO(env.single_observation_space, env.single_action_space, PPOConfig(horizon=7))
    style = make_style(poor_reward=0.5, poor_steps=3)
    style.model.forward = lambda features: torch.where(features[:, 0] > 0.9, 10.0, -10.0)
    runner = Runner(env, learner, RunnerConfig(run_dir=str(tmp_path / "run")), discriminator=style, quiet=True)
    runner.env.reset()
    ages, terminated = [], []
    for speed in (0.0, 0.0, 0.5, 0.0, 0.0, 0.0):
        transition = runner._reward(runner.env.step(torch.tensor([[speed], [0.5]])))
        ages.append(env.age.tolist())
        terminated.append(transition.terminated.tolist())
    assert ages == [[1, 1], [2, 2], [3, 3], [4, 4], [5, 5], [0, 6]]
    assert terminated == [[False, False]] * 5 + [[True, False]]
    assert transition.outcome["style"][0].tolist() == [0.0, 0.0]
    assert not style._poor.any()


def test_samples_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"sample_style\(1\) gave \(1, 2\), want \(1, 5\)"):
        DiscriminatorReward(5, Slider(1).sample_style)


def test_a_discriminator_without_training_needs_saying_so():
    with pytest.raises(ValueError, match="gradient_steps must be at least 1; without training: trained: false"):
        make_style(gradient_steps=0)


def make_runner(folder, env, iterations=50, **given):
    settings = {"kind": "amp", "gradient_steps": 4, "learning_rate": 1e-3, "task_weight": 0.0}
    config = DiscriminatorConfig(**SMALL, **settings, **given)
    learner = PPO(
        env.single_observation_space,
        env.single_action_space,
        PPOConfig(horizon=8, minibatch_size=256, epochs=4, kl_target=0.02, kl_stop=None, gamma=0.5),
        ActorCriticConfig(hidden_sizes=(16,), critic_hidden_sizes=(16,), std=0.15),
        reward_parts=config.reward_parts,
    )
    style = DiscriminatorReward(2, env.sample_style, config)
    settings = RunnerConfig(run_dir=str(folder), max_samples=iterations * 8 * env.num_envs, logger="none")
    return Runner(env, learner, settings, discriminator=style, quiet=True)


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("separate_critic", [False, True])
@pytest.mark.parametrize("trained", [True, False])
def test_an_agent_learns_a_style_from_samples_alone(tmp_path, trained, separate_critic):
    """And from a discriminator that is not trained it learns nothing of it."""
    runner = make_runner(tmp_path, Slider(64), trained=trained, separate_critic=separate_critic)
    as_made = copy.deepcopy(runner.discriminator.state_dict())
    runner.run()
    values = lines(tmp_path)
    assert values[0]["metrics/speed"] == pytest.approx(0.0, abs=0.1)
    assert (abs(np.mean([value["metrics/speed"] for value in values[-25:]]) - 1.0) < 0.15) == trained
    assert ("loss/value_discriminator" in values[0]) == separate_critic
    now = runner.discriminator.state_dict()
    if trained:
        assert values[-1]["discriminator/agent_accuracy"] < 0.95
    else:
        assert all(torch.equal(value, as_made[name]) for name, value in now.items())
        assert not any(name.startswith("discriminator/") for name in values[-1])
        assert values[-1]["metrics/discriminator_reward"] > 0.0  # random, not none


# --- with a critic of its own ----------------------------------------------------------------------------------------


def test_rewards_come_in_weighted_parts_where_the_critic_values_them_apart():
    env = TensorEnvironment(Slider(3))
    env.reset()
    transition = replace(env.step(torch.full((3, 1), 0.25)), reward=torch.tensor([1.0, 2.0, 3.0]))
    whole, _ = make_style(task_weight=2.0, reward_weight=3.0).shape(transition)
    style = make_style(task_weight=2.0, reward_weight=3.0, separate_critic=True)
    apart, _ = style.shape(transition)
    assert whole.reward_parts is None and torch.equal(whole.reward, apart.reward)
    random = 3.0 * style_reward(style.model(transition.outcome["style"]))
    torch.testing.assert_close(apart.reward_parts, torch.stack([2.0 * transition.reward, random], dim=-1))
    torch.testing.assert_close(apart.reward_parts.sum(-1), apart.reward)


def test_a_learner_that_values_other_parts_is_refused(tmp_path):
    env = Slider(4)
    learner = PPO(env.single_observation_space, env.single_action_space)
    style = make_style(separate_critic=True)
    with pytest.raises(
        ValueError, match=r"values reward parts \(\), but rewards come with \('task', 'discriminator'\)"
    ):
        Runner(env, learner, RunnerConfig(run_dir=str(tmp_path)), discriminator=style)


def test_resuming_with_a_critic_for_each_part_goes_on_exactly(tmp_path, point_env):
    def make(folder, iterations):
        env = point_env(8, groups=True)
        config = DiscriminatorConfig(kind="amp", **SMALL, separate_critic=True)
        spaces = env.single_observation_space, env.single_action_space
        learner = PPO(
            *spaces,
            PPOConfig(horizon=8, minibatch_size=32, epochs=2),
            ActorCriticConfig(hidden_sizes=(8,), critic_hidden_sizes=(8,)),
            reward_parts=config.reward_parts,
        )
        style = DiscriminatorReward(3, lambda count: torch.ones(count, 3), config)
        style.group = "critic"  # the toy's second group stands in
        settings = RunnerConfig(run_dir=str(folder), max_samples=64 * iterations, logger="none")
        return Runner(env, learner, settings, discriminator=style, quiet=True)

    make(tmp_path / "whole", 6).run()
    make(tmp_path / "parts", 3).run()
    runner = make(tmp_path / "parts", 6)
    runner.resume()
    runner.run()
    for name in ("model", "trainer"):
        whole, parts = (load_tensors(tmp_path / f / "last" / f"{name}.safetensors") for f in ("whole", "parts"))
        assert whole.keys() == parts.keys() and all(torch.equal(whole[key], parts[key]) for key in whole)
    assert whole["learner/optimizer/0/exp_avg"].any()
