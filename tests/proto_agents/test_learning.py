"""Whole runs on environments that we did not write."""

import gymnasium
import pytest
import torch

from proto_agents import PPO, ActorCriticConfig, EvaluationConfig, PPOConfig, Runner, RunnerConfig, evaluate

MODEL = ActorCriticConfig(hidden_sizes=(64, 64), critic_hidden_sizes=(64, 64))


def train(identifier, folder, samples, num_envs, algorithm, model=MODEL):
    """Trains; returns the mean return before and after."""
    env = gymnasium.make_vec(identifier, num_envs=num_envs, vectorization_mode="sync")
    learner = PPO(env.single_observation_space, env.single_action_space, algorithm, model)
    test_env = gymnasium.make_vec(identifier, num_envs=8, vectorization_mode="sync")
    settings = EvaluationConfig(num_envs=8)
    before = evaluate(test_env, learner.model.act_deterministic, settings).mean_return
    config = RunnerConfig(max_samples=samples, logger="none", run_dir=str(folder))
    Runner(env, learner, config, quiet=True).run()
    after = evaluate(test_env, learner.model.act_deterministic, settings).mean_return
    env.close()
    test_env.close()
    return before, after


def test_cartpole_is_learned(tmp_path):
    algorithm = PPOConfig(
        horizon=64, minibatch_size=256, epochs=8, gamma=0.99, learning_rate=2e-3, kl_target=0.02, kl_stop=None
    )
    _, after = train("CartPole-v1", tmp_path, 25_000, 16, algorithm)
    assert after >= 150.0


PENDULUM = PPOConfig(horizon=128, minibatch_size=256, epochs=8, gamma=0.99, kl_target=0.02, learning_rate=1e-3)


def test_a_mujoco_task_trains(tmp_path):
    before, after = train("InvertedPendulum-v5", tmp_path, 1024, 4, PENDULUM)
    assert before > 0.0 and after > 0.0 and torch.isfinite(torch.tensor(after))


@pytest.mark.slow
def test_inverted_pendulum_is_learned(tmp_path):
    model = ActorCriticConfig(hidden_sizes=(64, 64), critic_hidden_sizes=(64, 64), std=0.5)
    before, after = train("InvertedPendulum-v5", tmp_path, 40_000, 8, PENDULUM, model)
    assert after > max(300.0, 3.0 * before)
