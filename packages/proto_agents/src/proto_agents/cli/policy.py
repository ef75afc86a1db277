"""Brings a trained policy back."""

from pathlib import Path

from gymnasium.vector import VectorEnv

from proto_agents.algorithms.ppo import PPO
from proto_agents.checkpoint import load_model
from proto_agents.cli.environments import learner_device, observation_tokens
from proto_agents.config import Experiment


def load_policy(experiment: Experiment, env: VectorEnv, checkpoint: Path) -> PPO:
    """A learner with a checkpoint's weights, for an environment like the one it was trained in."""
    device = learner_device(experiment, env)
    learner = PPO(
        env.single_observation_space,
        env.single_action_space,
        experiment.algorithm,
        experiment.model,
        device=device,
        tokens=observation_tokens(experiment, env),
    )
    load_model(learner.model, checkpoint, policy_only=True)
    return learner
