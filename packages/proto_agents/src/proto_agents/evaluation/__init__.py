"""What a policy achieves: one full episode per environment with deterministic actions."""

from collections.abc import Sequence

import torch
from gymnasium.vector import VectorEnv

from proto_agents.environment import TensorEnvironment
from proto_agents.evaluation.config import STEP_LIMIT, EvaluationConfig, episode_limit
from proto_agents.evaluation.episodes import TRACKING_ERRORS, EpisodeRecord, Evaluator, Policy, play
from proto_agents.evaluation.expectations import ExpectationResult, check_expectations
from proto_agents.evaluation.report import ClipResult, EvaluationReport, MetricSummary, summarize

__all__ = [
    "STEP_LIMIT",
    "TRACKING_ERRORS",
    "ClipResult",
    "EpisodeRecord",
    "EvaluationConfig",
    "EvaluationReport",
    "Evaluator",
    "ExpectationResult",
    "MetricSummary",
    "Policy",
    "check_expectations",
    "episode_limit",
    "evaluate",
    "play",
    "summarize",
]


def evaluate(
    env: VectorEnv,
    policy: Policy,
    config: EvaluationConfig | None = None,
    device: str | torch.device | None = None,
    *,
    evaluators: Sequence[Evaluator] = (),
    intervals: bool = False,
) -> EvaluationReport:
    """Plays one episode in each environment from `reset(seed)`, for each seed, and sums it up.

    Args:
        env: any gymnasium vector environment. It keeps stepping where episodes have ended; those steps do not count.
        policy: usually `model.act_deterministic`.
        config: seeds and limits; `num_envs` and `env` are for whoever makes the environment.
        device: of the policy; None: where the environment's tensors are.
        evaluators: watch the episodes and add numbers of their own.
        intervals: also say how sure each number is.
    """
    config = config or EvaluationConfig()
    limit = episode_limit(env, config)
    stream = TensorEnvironment(env, device)
    seeds = range(config.seed, config.seed + config.seeds)
    records = [play(stream, policy, seed, limit, evaluators) for seed in seeds]
    return summarize(records, getattr(env.unwrapped, "clip_names", None), intervals=intervals)
