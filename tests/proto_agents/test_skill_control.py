"""A controller of skills: what a step of several is, that the skills stay as they are, and that a task is learned."""

import copy
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
import yaml
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from proto_agents.algorithms.ppo import PPO, PPOConfig
from proto_agents.checkpoint import CheckpointError, load_tensors, save_checkpoint
from proto_agents.cli.environments import with_skills
from proto_agents.config import load_experiment
from proto_agents.environment import TensorEnvironment
from proto_agents.models.actor_critic import ActorCritic, ActorCriticConfig
from proto_agents.parsing import ConfigError, plain
from proto_agents.runner import Runner, RunnerConfig
from proto_agents.skill_control import SkillControlEnv, frozen_policy
from proto_agents.skill_env import SkillEnv

NETWORKS = ActorCriticConfig(hidden_sizes=(8,), critic_hidden_sizes=(8,), output_gain=1.0)


class Clock(gymnasium.vector.VectorEnv):
    """Tells the age of its episodes, rewards it, and ends them at the ages given; remembers all actions."""

    def __init__(self, lengths, mode=AutoresetMode.SAME_STEP, fails=False, goal=True):
        self.lengths, self.num_envs, self.fails, self.goal = torch.tensor(lengths), len(lengths), fails, goal
        self.metadata = {"autoreset_mode": mode, "render_fps": 30}
        sizes = {"policy": 3, "goal": 1} if goal else {"policy": 2}
        boxes = {name: gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32) for name, size in sizes.items()}
        self.single_observation_space = gymnasium.spaces.Dict(boxes)
        self.single_action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.actions, self.starts, self.control_hz, self.max_episode_length = [], [], 30.0, 12
        self.age = torch.zeros(self.num_envs)

    def observe(self):
        own, goal = torch.stack([self.age, torch.full_like(self.age, 7.0)], dim=-1), self.age.unsqueeze(-1)
        return {"policy": torch.cat([own, goal], dim=-1), "goal": goal} if self.goal else {"policy": own}

    def begin(self, mask):
        self.starts.append((len(self.actions), mask.nonzero().flatten().tolist()))
        self.age = torch.where(mask, 0.0, self.age)

    def reset(self, *, seed=None, options=None):
        self.begin(options["reset_mask"] if options else torch.ones(self.num_envs, dtype=torch.bool))
        return self.observe(), {}

    def step(self, actions):
        self.actions.append(actions.clone())
        self.age = self.age + 1
        done, reward = self.age >= self.lengths, self.age.clone()
        info = {
            "metrics": {
                "age": self.age.clone(),
                "three": self.age == 3,
                "odd": torch.where(self.age % 2 == 1, 1.0, torch.nan),
            }
        }
        if self.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP and done.any():
            info |= {"final_obs": self.observe(), "_final_obs": done}
            self.begin(done)
        never = torch.zeros_like(done)
        return self.observe(), reward, done if self.fails else never, never if self.fails else done, info


def policy(seen=4, actions=1):
    space = gymnasium.spaces.Box(-np.inf, np.inf, (seen,))
    model = ActorCritic(space, gymnasium.spaces.Box(-1, 1, (actions,)), NETWORKS, torch.Generator().manual_seed(0))
    return model.requires_grad_(False)


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.DISABLED])
@pytest.mark.parametrize("fails", [False, True])
def test_a_step_is_several_and_ends_with_the_episode(mode, fails):
    """Episodes of 12 steps in one environment, of 7 in the other, five steps at a time."""
    clock = Clock([12, 7], mode, fails)
    stream = TensorEnvironment(SkillControlEnv(clock, policy(), 2, 5))
    stream.reset(seed=0)
    ages, rewards, ends, three, odd = [], [], [], [], []
    for _ in range(4):
        transition = stream.step(torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
        ages.append(transition.observations["goal"].flatten().tolist())
        rewards.append(transition.reward.tolist())
        done = transition.terminated if fails else transition.truncated
        assert not (transition.truncated if fails else transition.terminated).any()
        ends.append(
            [age if end else None for age, end in zip(transition.outcome["goal"].flatten().tolist(), done, strict=True)]
        )
        three.append(transition.metrics["three"].tolist())
        odd.append(transition.metrics["odd"].tolist())
        assert transition.outcome["goal"][~done].tolist() == transition.observations["goal"][~done].tolist()
    # Who ends within a step begins anew with the next one.
    assert ages == [[5, 5], [10, 0], [0, 5], [5, 0]]
    assert ends == [[None, None], [None, 7], [12, None], [None, 7]]
    wanted = [[15, 15], [40, 6 + 7], [11 + 12, 15], [15, 6 + 7]]
    np.testing.assert_allclose(rewards, np.array(wanted) / 5, rtol=1e-6)
    assert three == [[True, True], [False, False], [False, True], [True, False]]
    assert odd == [[1, 1]] * 4  # means of what was measured
    torch.testing.assert_close(transition.metrics["age"], torch.tensor([3.0, 6.5]))
    assert clock.starts[-1] == (20, [1])


def test_a_skill_is_held_for_all_control_steps_and_only_its_direction_counts():
    clock, model = Clock([100, 100, 100]), policy(4)
    env = SkillControlEnv(clock, model, 2, 4)
    env.reset(seed=0)
    directions = torch.nn.functional.normalize(torch.randn(3, 2, generator=torch.Generator().manual_seed(1)), dim=-1)
    for length in (0.01, 30.0):
        age = clock.age.clone()
        clock.actions.clear()
        env.step((length * directions).numpy())
        for step, action in enumerate(clock.actions):
            own = torch.stack([age + step, torch.full((3,), 7.0)], dim=-1)
            wanted = model.act_deterministic({"policy": torch.cat([own, directions], dim=-1)})
            torch.testing.assert_close(action, wanted)
        assert len(clock.actions) == 4
    assert torch.isfinite(env.step(torch.zeros(3, 2))[1]).all()


def test_it_is_a_vector_environment_of_its_own_pace():
    env = SkillControlEnv(Clock([12, 7]), policy(), 2, 5)
    assert env.control_hz == 6.0 and env.max_episode_length == 3 and env.metadata["render_fps"] == 6.0
    assert env.action_space.shape == (2, 2) and env.unwrapped is env and env.num_envs == 2
    assert env.lengths.tolist() == [12, 7]  # what it does not know is the inner environment's
    observation, info = env.reset(seed=1)
    assert {name: group.shape for name, group in observation.items()} == {"policy": (2, 3), "goal": (2, 1)}
    assert info == {}
    observation, _ = env.reset(options={"reset_mask": torch.tensor([True, False])})
    assert observation["goal"].flatten().tolist() == [0.0, 0.0]


def test_what_it_cannot_do_it_says():
    with pytest.raises(ValueError, match="NEXT_STEP environment"):
        SkillControlEnv(Clock([5], AutoresetMode.NEXT_STEP), policy(), 2)
    with pytest.raises(ValueError, match='was shown 3 numbers; the group "policy" has 2 without the goal'):
        SkillControlEnv(Clock([5]), policy(5), 2)


class Speeds(Clock):
    """Goes as fast as the action says; 1 m/s is what is wanted, whatever the goal says."""

    def step(self, actions):
        observation, _, terminated, truncated, info = super().step(actions)
        speed = 2.0 * actions[:, 0].clamp(-1, 1)
        return observation, 1.0 - (speed - 1.0).abs(), terminated, truncated, info | {"metrics": {"speed": speed}}


def test_a_task_is_learned_by_choosing_skills_which_stay_bit_for_bit(tmp_path):
    model = policy(4)
    before = copy.deepcopy(model.state_dict())
    env = SkillControlEnv(Speeds([20] * 64), model, 2, 5)
    learner = PPO(
        env.single_observation_space,
        env.single_action_space,
        PPOConfig(horizon=4, minibatch_size=128, epochs=4, learning_rate=3e-3, kl_target=0.02, gamma=0.5),
        ActorCriticConfig(hidden_sizes=(16,), critic_hidden_sizes=(16,), std=0.2),
    )
    config = RunnerConfig(run_dir=str(tmp_path), max_samples=4 * 64 * 40, logger="none")
    runner = Runner(env, learner, config, quiet=True)
    buffer, rewards = learner.make_buffer(64), []
    for _ in range(40):
        runner.iterate(buffer)
        rewards.append(buffer.reward.mean().item())
    assert np.mean(rewards[-5:]) > np.mean(rewards[:3]) + 0.2
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in model.parameters())


# --- from checkpoints ------------------------------------------------------------------------------------------------


def save_run(folder, kind, env):
    experiment = load_experiment([], {"discriminator": {"kind": kind}, "skills": {"size": 2}})
    experiment = replace(experiment, model=NETWORKS)
    model = PPO(env.single_observation_space, env.single_action_space, None, NETWORKS, seed=3).model
    save_checkpoint(folder / "last", model.state_dict(), {}, {"samples": 0})
    (folder / "config.yaml").write_text(yaml.safe_dump(plain(experiment)))
    return model


def test_the_skills_are_those_of_a_checkpoint(tmp_path, point_env):
    """A controller's observations, actions and policy are found from the run's name alone."""
    model = save_run(tmp_path / "taught", "ase", SkillEnv(Clock([9, 9], goal=False), 2))
    experiment = load_experiment([], {"skills": {"controller": str(tmp_path / "taught"), "controller_steps": 3}})
    env = with_skills(experiment, Clock([9, 9]))
    assert isinstance(env, SkillControlEnv) and (env.steps, env.latent_size) == (3, 2)
    shown = torch.randn(5, 4)
    assert torch.equal(env.model.act_deterministic({"policy": shown}), model.act_deterministic({"policy": shown}))
    assert not any(parameter.requires_grad for parameter in env.model.parameters())

    save_run(tmp_path / "other", "amp", Clock([9]))
    wrong = load_experiment([], {"skills": {"controller": str(tmp_path / "other")}})
    with pytest.raises(ConfigError, match=r"has no skills: it was trained with discriminator\.kind amp"):
        with_skills(wrong, Clock([9]))
    save_run(tmp_path / "large", "ase", SkillEnv(point_env(2, groups=True), 2))
    with pytest.raises(ConfigError, match="cannot play in"):
        with_skills(load_experiment([], {"skills": {"controller": str(tmp_path / "large")}}), Clock([9]))
    with pytest.raises(CheckpointError, match="is not a folder"):
        with_skills(load_experiment([], {"skills": {"controller": str(tmp_path / "none")}}), Clock([9]))
    with pytest.raises(CheckpointError, match="does not fit"):
        frozen_policy(tmp_path / "taught" / "last", NETWORKS, gymnasium.spaces.Box(-1, 1, (3,)))


def test_resuming_goes_on_exactly(tmp_path, point_env):
    def make(folder, iterations):
        env = SkillControlEnv(point_env(8, groups=True), policy(3 + 2), 2, 3)
        spaces = env.single_observation_space, env.single_action_space
        learner = PPO(*spaces, PPOConfig(horizon=4, minibatch_size=16, epochs=2), NETWORKS)
        settings = RunnerConfig(run_dir=str(folder), max_samples=32 * iterations, logger="none")
        return Runner(env, learner, settings, quiet=True)

    make(tmp_path / "whole", 6).run()
    make(tmp_path / "parts", 3).run()
    runner = make(tmp_path / "parts", 6)
    runner.resume()
    runner.run()
    for name in ("model", "trainer"):
        whole, parts = (load_tensors(tmp_path / f / "last" / f"{name}.safetensors") for f in ("whole", "parts"))
        assert whole.keys() == parts.keys() and all(torch.equal(whole[key], parts[key]) for key in whole)
