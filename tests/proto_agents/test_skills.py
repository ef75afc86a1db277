"""Latent skills: discriminator and encoder, when which latent counts, and that skills emerge."""

import copy
import itertools
import json

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from scipy import stats

from proto_agents.algorithms.discriminator_reward import DiscriminatorConfig
from proto_agents.algorithms.ppo import PPO, PPOConfig
from proto_agents.algorithms.skill_reward import DiversityLoss, SkillConfig, SkillReward
from proto_agents.checkpoint import load_tensors
from proto_agents.environment import TensorEnvironment
from proto_agents.models.actor_critic import ActorCriticConfig
from proto_agents.models.skills import (
    SkillDiscriminator,
    sample_latents,
)
from proto_agents.parsing import ConfigError, parse_dataclass
from proto_agents.runner import Runner, RunnerConfig
from proto_agents.skill_env import SkillEnv

SMALL = {"hidden_sizes": (32,), "minibatch_size": 128, "replay_size": 500, "replay_share": 0.2}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class Movers(gymnasium.vector.VectorEnv):
    """Points that move as fast as the action says, for 20 steps; experts go at 1 m/s, one way or the other."""

    def __init__(self, num_envs):
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        boxes = {"policy": gymnasium.spaces.Box(-9, 9, (1,)), "style": gymnasium.spaces.Box(-9, 9, (2,))}
        self.single_observation_space = gymnasium.spaces.Dict(boxes)
        self.single_action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.random = np.random.default_rng(0)

    def reset(self, *, seed=None, options=None):
        self.speed, self.age = np.zeros((self.num_envs, 2), np.float32), np.zeros(self.num_envs, int)
        return self.observe(), {}

    def observe(self):
        return {"policy": np.ones((self.num_envs, 1), np.float32), "style": self.speed.copy()}

    def step(self, actions):
        self.speed = np.stack([2.0 * np.clip(actions[:, 0], -1, 1), self.speed[:, 0]], axis=1).astype(np.float32)
        self.age += 1
        done, info = self.age >= 20, {}
        if done.any():
            info |= {"final_obs": self.observe(), "_final_obs": done}
            self.speed[done], self.age[done] = 0.0, 0
        return self.observe(), np.zeros(self.num_envs, np.float32), np.zeros_like(done), done, info

    def sample_style(self, count):
        way = self.random.choice([-1.0, 1.0], (count, 1))
        return np.repeat(way + self.random.normal(0.0, 0.1, (count, 1)), 2, axis=1).astype(np.float32)


# --- discriminator and encoder ---------------------------------------------------------------------------------------


def make_reward(skills=None, **given):
    settings = DiscriminatorConfig(**{"kind": "ase", **SMALL, **given})
    return SkillReward(2, Movers(1).sample_style, settings, skills or SkillConfig(size=3))


@pytest.mark.parametrize("encoder", ["shared", "own"])
@pytest.mark.parametrize("conditional", [False, True])
def test_a_gradient_step_is_that_of_the_whole_loss(encoder, conditional):
    """Gradients against those of a loss that is put together here, in float64, the penalty sample by sample."""
    if conditional and encoder == "shared":
        with pytest.raises(ConfigError, match=r"conditional needs skills\.encoder: own"):
            SkillConfig(conditional=True)
        return
    skills = SkillConfig(size=3, encoder=encoder, conditional=conditional, encoder_weight=0.7, uniformity_weight=0.4)
    style = make_reward(skills, learning_rate=0.0, gradient_penalty=2.0, weight_decay=0.0, logit_decay=0.0)
    features = torch.randn(3, 20, 2, generator=seeded(1))
    latents = torch.stack([sample_latents(20, 3, seeded(seed)) for seed in (2, 3, 4)])
    style._step(torch.cat([features, latents], dim=-1))

    model = copy.deepcopy(style.model).double()
    (expert, agent, past), (any_latent, latent, old) = features.double(), latents.double()

    def encode(x):
        return torch.nn.functional.normalize(model.encoder(model.network[:-1](x) if encoder == "shared" else x), dim=-1)

    def chance(x, z):
        return torch.sigmoid(model.network(torch.cat([x, z], dim=-1) if conditional else x)).squeeze(-1)

    known = encode(expert).detach()
    wrong = [chance(past, old)] + ([chance(expert, any_latent)] if conditional else [])
    loss = -0.5 * chance(expert, known).log().mean()
    loss = loss - 0.25 * ((1 - chance(agent, latent)).log().mean() + (1 - torch.cat(wrong)).log().mean())
    for x, z in zip(expert, known, strict=True):
        row = x.clone().requires_grad_()
        logit = model.network(torch.cat([row, z]) if conditional else row)
        (slope,) = torch.autograd.grad(logit, row, create_graph=True)
        loss = loss + 2.0 * slope.square().sum() / 20
    loss = loss - 0.7 * (encode(agent) * latent).sum(-1).mean()
    for group in (encode(agent), encode(expert)):
        pairs = torch.stack([(-(a - b).square().sum()).exp() for a, b in itertools.combinations(group, 2)])
        loss = loss + 0.5 * 0.4 * pairs.mean().log()
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    for found, wanted in zip(style.model.parameters(), gradients, strict=True):
        torch.testing.assert_close(found.grad.double(), wanted, rtol=1e-4, atol=1e-6)


def test_the_encoder_never_sees_the_latent_that_it_is_to_find():
    for model in (
        SkillDiscriminator(2, 3, (8,), generator=seeded()),
        SkillDiscriminator(2, 3, (8,), (8,), conditional=True, generator=seeded()),
    ):
        features = torch.randn(5, 2, generator=seeded(1))
        one, other = (torch.cat([features, sample_latents(5, 3, seeded(seed))], dim=-1) for seed in (2, 3))
        assert torch.equal(model.encoded(one), model.encoded(other))
        assert torch.equal(model(one), model(other)) == (not model.conditional)
        model.update_normalizer(one)
        assert torch.equal(model.normalize(one)[:, 2:], one[:, 2:]) and model.normalizer.mean.shape == (2,)
    with pytest.raises(ValueError, match="cannot share its layers with the encoder"):
        SkillDiscriminator(2, 3, conditional=True)


# --- when is which latent --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_observations_hold_the_latent_of_the_next_action_and_info_that_of_the_last(point_env, mode):
    """Latents change when their time is over and when an episode begins, and at no other moment."""
    hold = (3, 5)
    env = SkillEnv(point_env(6, mode, groups=True, limit=0.9), 4, hold, seed=1)
    stream = TensorEnvironment(env)
    observations = stream.reset(seed=2)
    shown, ages, lengths, ends = observations["policy"][:, 3:], torch.zeros(6), [], 0
    for _ in range(120):
        assert torch.equal(observations["critic"][:, 3:], shown) and torch.equal(shown, env.latents)
        transition = stream.step(torch.full((6, 1), 0.3))
        played, done = transition.info["latent"], transition.terminated | transition.truncated
        assert torch.equal(played, shown)
        assert torch.equal(transition.outcome["policy"][done, 3:], played[done])
        assert torch.equal(transition.truncated_observations["critic"][:, 3:], played[transition.truncated_rows])
        observations, before = transition.observations, shown
        shown = observations["policy"][:, 3:]
        ages += transition.valid
        changed = (shown != before).any(-1)
        begins = ~transition.valid if mode == AutoresetMode.NEXT_STEP else done
        assert changed[begins].all()
        assert not (changed & done & ~begins).any()
        lengths += ages[changed & ~begins].tolist()
        ages = torch.where(changed, 0.0, ages)
        ends += int(done.sum())
        assert (ages <= hold[1]).all()
    assert ends > 10 and set(lengths) == {3.0, 4.0, 5.0}


def test_times_of_latents_are_uniform():
    env = SkillEnv(Movers(1000), 4, (1, 150), seed=0)
    env.reset(seed=0)
    assert env.remaining.min() >= 1 and env.remaining.max() == 150
    assert stats.kstest(env.remaining.double().numpy() - 0.5, stats.uniform(0, 150).cdf).pvalue > 1e-3


class Revealer(gymnasium.vector.VectorEnv):
    """The action is the latent, as the learner below sees it; the style shown after a step is that action.

    So whatever is rewarded or learned with another latent than the one that was played shows.
    """

    def __init__(self, num_envs):
        self.num_envs, self.metadata = num_envs, {"autoreset_mode": AutoresetMode.SAME_STEP}
        boxes = {"policy": gymnasium.spaces.Box(-9, 9, (1,)), "style": gymnasium.spaces.Box(-9, 9, (3,))}
        self.single_observation_space = gymnasium.spaces.Dict(boxes)
        self.single_action_space = gymnasium.spaces.Box(-1.0, 1.0, (3,))
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(self, *, seed=None, options=None):
        self.age = torch.arange(self.num_envs) % 7
        return {"policy": torch.ones(self.num_envs, 1), "style": torch.zeros(self.num_envs, 3)}, {}

    def step(self, actions):
        self.age = self.age + 1
        done = self.age >= 7
        self.age = torch.where(done, 0, self.age)
        last = {"policy": torch.ones(self.num_envs, 1), "style": actions.clone()}
        shown = last | {"style": torch.where(done.unsqueeze(-1), 0.0, actions)}
        never, nothing = torch.zeros_like(done), torch.zeros(self.num_envs)
        return shown, nothing, never, done, {"final_obs": last, "_final_obs": done}


@pytest.mark.parametrize("separate_critic", [False, True])
def test_latent_timing_of_action_reward_training_and_value(tmp_path, separate_critic):
    """Through the runner: one that acts by its latent, known by its action, is rewarded fully at every single step."""
    env = SkillEnv(Revealer(8), 3, (1, 4), seed=0)
    config = DiscriminatorConfig(
        kind="ase", **SMALL, task_weight=0.0, reward_weight=0.0, separate_critic=separate_critic
    )
    spaces, settings = (env.single_observation_space, env.single_action_space), PPOConfig(horizon=9, gamma=0.5)
    learner = PPO(*spaces, settings, reward_parts=config.reward_parts)
    style = SkillReward(3, lambda count: sample_latents(count, 3, seeded()), config, SkillConfig(size=3))
    style.model.encode = lambda features: features  # whose motion is z is known as z
    latent_of, act = (lambda observations: observations["policy"][:, 1:]), learner.act

    def act_by_latent(observations):
        step = act(observations)
        seen.append(latent_of(observations).clone())
        return PolicyStepWith(step, latent_of(observations))

    def value_of(observations):
        """Names the latent that it is asked about."""
        value = observations["policy"] @ torch.tensor([0.0, 1.0, 10.0, 100.0])
        return torch.stack([0 * value, 0 * value, value], dim=-1) if separate_critic else value

    seen, learner.act, learner.value = [], act_by_latent, value_of
    runner = Runner(env, learner, RunnerConfig(run_dir=str(tmp_path)), discriminator=style, quiet=True)
    runner.observations = runner.env.reset(seed=0)
    buffer = learner.make_buffer(8)
    runner._collect(buffer)
    reward = buffer.reward[..., -1] if separate_critic else buffer.reward
    torch.testing.assert_close(reward, torch.full((9, 8), 0.5))
    rows = torch.stack(style._seen)
    torch.testing.assert_close(rows[..., 3:], torch.stack(seen))  # what encoder and discriminator learn from
    torch.testing.assert_close(rows[..., :3], rows[..., 3:])
    torch.testing.assert_close(buffer.action, torch.stack(seen))
    last = latent_of(runner.observations)
    buffer.batch(value_of(runner.observations), 0.5, 0.95)
    following = torch.cat([torch.stack(seen[1:]), last.unsqueeze(0)])
    followed_by = torch.where(buffer.truncated.unsqueeze(-1), torch.stack(seen), following)
    found = buffer.next_value[..., -1] if separate_critic else buffer.next_value
    torch.testing.assert_close(found, followed_by @ torch.tensor([1.0, 10.0, 100.0]))
    changed = (following != torch.stack(seen)).any(-1)
    assert buffer.truncated.any() and (changed & ~buffer.truncated).any()
    # The update trains on what was acted on: the same latent, up to the statistics of the moment.
    normalized = torch.nn.functional.normalize(buffer.observations["policy"][3:, :, 1:], dim=-1)
    assert (normalized * torch.stack(seen)[3:]).sum(-1).min() > 0.8


def PolicyStepWith(step, action):  # noqa: N802 - stands for the dataclass
    """The step with the action and the value that name the latent."""
    value = action @ torch.tensor([1.0, 10.0, 100.0])
    values = torch.stack([0 * value, 0 * value, value], dim=-1) if step.value.dim() > 1 else value
    return type(step)(**{**vars(step), "action": action, "value": values})


def test_commanded_latents_stay(point_env):
    env = SkillEnv(point_env(3, groups=True), 4, (1, 2))
    env.reset(seed=0)
    latents = sample_latents(3, 4, seeded(9))
    shown = env.command(latents, 5)["policy"][:, 3:]
    for _ in range(5):
        assert torch.equal(shown, latents)
        shown = env.step(torch.zeros(3, 1))[0]["policy"][:, 3:]
    assert (shown != latents).any(-1).all()


# --- in a run --------------------------------------------------------------------------------------------------------


def make_runner(folder, env, iterations, skills, **given):
    features = env.single_observation_space["style"]
    config = DiscriminatorConfig(**{"kind": "ase", **SMALL, "task_weight": 0.0, "gradient_steps": 4, **given})
    layered = SkillEnv(env, skills.size, skills.hold, seed=3)
    learner = PPO(
        layered.single_observation_space,
        layered.single_action_space,
        PPOConfig(horizon=8, minibatch_size=256, epochs=4, kl_target=0.02, kl_stop=None, gamma=0.5),
        ActorCriticConfig(hidden_sizes=(32,), critic_hidden_sizes=(16,), std=0.15),
        reward_parts=config.reward_parts,
        auxiliary_loss=DiversityLoss(skills),
    )
    sample = env.sample_style if hasattr(env, "sample_style") else lambda count: torch.ones(count, *features.shape)
    style = SkillReward(features.shape[0], sample, config, skills)
    settings = RunnerConfig(run_dir=str(folder), max_samples=iterations * 8 * env.num_envs, logger="none")
    return Runner(layered, learner, settings, discriminator=style, quiet=True)


@pytest.mark.parametrize("conditional", [False, True])
def test_skills_emerge_and_are_told_from_the_motion(tmp_path, conditional):
    """Experts go one way or the other; so do the skills, and the encoder finds them again, above chance."""
    skills = SkillConfig(size=2, hold=(4, 12), encoder="own" if conditional else "shared", conditional=conditional)
    runner = make_runner(tmp_path, Movers(64), 40, skills, learning_rate=2e-3)
    runner.run()
    latents = sample_latents(64, 2, seeded(8))
    env = runner.env
    runner.env.env.reset(seed=5)
    observations = runner.env.env.command(latents, 1000)
    for _ in range(6):
        transition = env.step(runner.learner.model.act_deterministic(observations))
        observations = transition.observations
    speed = transition.outcome["style"][:, 0]
    assert (speed > 0.4).float().mean() > 0.1 and (speed < -0.4).float().mean() > 0.1
    found = runner.discriminator.model.encode(transition.outcome["style"])
    guessed = (found @ latents.T).argsort(dim=-1, descending=True)  # of 64 latents; by chance at place 32 on average
    place = (guessed == torch.arange(64).unsqueeze(-1)).float().argmax(-1).float().mean()
    assert place < 24.0
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["metrics/skill_reward"] > 0.6 > lines[0]["metrics/skill_reward"]
    assert {"skills/encoder_loss", "skills/uniformity_loss", "loss/diversity"} <= lines[-1].keys()


def test_resuming_goes_on_exactly(tmp_path, point_env):
    skills = SkillConfig(size=3, hold=(1, 6))

    def make(folder, iterations):
        env = point_env(8, groups=True)
        boxes = env.single_observation_space.spaces
        env.single_observation_space = gymnasium.spaces.Dict({"policy": boxes["policy"], "style": boxes["critic"]})
        observe = env._observe
        env._observe = lambda: {"policy": (seen := observe())["policy"], "style": seen["critic"]}
        return make_runner(folder, env, iterations, skills, separate_critic=True)

    for folder, iterations in (("whole", 6), ("parts", 3)):
        make(tmp_path / folder, iterations).run()
    runner = make(tmp_path / "parts", 6)
    runner.resume()
    runner.run()
    for name in ("model", "trainer"):
        whole, parts = (load_tensors(tmp_path / f / "last" / f"{name}.safetensors") for f in ("whole", "parts"))
        assert whole.keys() == parts.keys() and all(torch.equal(whole[key], parts[key]) for key in whole)
    assert "environment/env/latents" in whole and "environment/env/inner/env/position" in whole


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"discriminator": {"kind": "ase"}, "skills": {"controller": "runs/x"}}, "leave one out"),
        ({"discriminator": {"kind": "ase"}, "model": {"symmetric": True}}, "kind ase needs model.symmetric: false"),
        ({"skills": {"controller": "x"}, "model": {"symmetric": True}}, "controller needs model.symmetric: false"),
        ({"discriminator": {"kind": "ase", "trained": False}}, "an untrained encoder finds no skills"),
        ({"skills": {"hold": [5, 2]}}, "skills.hold must grow"),
        ({"skills": {"hold": [0, 2]}}, "skills.hold must grow from at least 1"),
        ({"skills": {"size": 1}}, "skills.size must be at least 2"),
        ({"skills": {"controller_steps": 0}}, "controller_steps must be at least 1"),
    ],
)
def test_nonsense_is_refused(settings, message):
    from proto_agents.config import Experiment

    with pytest.raises(ConfigError, match=message):
        parse_dataclass(Experiment, settings, "a test")
