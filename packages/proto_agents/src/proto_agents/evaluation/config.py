"""How a policy is evaluated."""

from dataclasses import dataclass, field
from typing import Any

from gymnasium.vector import VectorEnv

__all__ = ["STEP_LIMIT", "EvaluationConfig", "episode_limit"]

STEP_LIMIT = 10_000
"""Steps after which an evaluation without a time limit gives up on episodes that do not end."""


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How a policy is evaluated."""

    num_envs: int = 256
    """episodes of each seed, one per environment"""
    seconds: float | None = None
    """longest episode in simulated time; None: no limit but the environment's own"""
    steps: int | None = None
    """longest episode in control steps; goes before `seconds`"""
    seed: int = 1000
    """of the environments' reset; keep it apart from the training seed"""
    seeds: int = 1
    """how many evaluations are made, with seed, seed + 1, ...; numbers are over the episodes of all of them"""
    env: dict[str, Any] = field(default_factory=dict)
    """keyword arguments of the evaluation's environment, laid over those of the training environment"""

    def __post_init__(self) -> None:
        """Refuses an evaluation without a seed.

        Raises:
            ValueError: naming the field.
        """
        if self.seeds < 1:
            raise ValueError(f"evaluation.seeds must be at least 1, got {self.seeds}")


def episode_limit(env: VectorEnv, config: EvaluationConfig) -> int:
    """Steps after which an evaluation stops, from `steps`, or `seconds` and the environment's control rate."""
    if config.steps is not None:
        return config.steps
    if config.seconds is None:
        return STEP_LIMIT
    rate = getattr(env.unwrapped, "control_hz", None) or env.metadata.get("render_fps")
    if not rate:
        raise ValueError(
            "evaluation.seconds needs the environment's control rate (attribute control_hz or "
            'metadata["render_fps"]), which it does not give; set evaluation.steps instead'
        )
    return max(1, round(config.seconds * float(rate)))
