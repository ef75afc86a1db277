"""PPO and its descendants for any gymnasium vector environment."""

from proto_agents.algorithms.ppo import PPO, PPOConfig
from proto_agents.evaluation import EvaluationConfig, EvaluationReport, check_expectations, evaluate
from proto_agents.models.actor_critic import ActorCritic, ActorCriticConfig
from proto_agents.runner import Runner, RunnerConfig

__all__ = [
    "PPO",
    "ActorCritic",
    "ActorCriticConfig",
    "EvaluationConfig",
    "EvaluationReport",
    "PPOConfig",
    "Runner",
    "RunnerConfig",
    "check_expectations",
    "evaluate",
]
