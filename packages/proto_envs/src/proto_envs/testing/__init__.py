"""Checks that any vector environment, and any engine, must pass. Public: use them on your own."""

from proto_envs.testing.bench import ConformanceError
from proto_envs.testing.suite import ENGINE_CHECKS, Allowance, Outcome, check_engine, engine_outcomes
from proto_envs.testing.vector_envs import check_vector_env

__all__ = [
    "ENGINE_CHECKS",
    "Allowance",
    "ConformanceError",
    "Outcome",
    "check_engine",
    "check_vector_env",
    "engine_outcomes",
]
