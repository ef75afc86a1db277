"""Learners: a configuration dataclass and a class each."""

from proto_agents.algorithms.ppo import PPO, PPOConfig

__all__ = ["PPO", "PPOConfig"]
