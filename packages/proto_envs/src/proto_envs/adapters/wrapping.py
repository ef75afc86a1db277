"""What the adapters share: which environments they take, and values in the form that a library wants."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from proto_envs.vector_env import ProtoVectorEnv

__all__ = ["mean_metrics", "missing_library", "state_and_policy", "to_numpy", "unwrapped_proto"]


def missing_library(library: str, extra: str) -> ImportError:
    """An error that says how to install what an adapter needs."""
    return ImportError(
        f'proto_envs.adapters.{extra.replace("-", "_")} needs {library}: pip install "proto-envs[{extra}]"'
    )


def unwrapped_proto(env: Any, library: str, mode: AutoresetMode = AutoresetMode.SAME_STEP) -> ProtoVectorEnv:  # noqa: ANN401
    """The environment itself, if a library can work with it.

    Args:
        env: made by `gymnasium.make_vec("Proto...-v0", ...)`.
        library: for messages.
        mode: the autoreset mode that the library counts on.

    Raises:
        TypeError: for anything but an environment of this project.
        ValueError: for another autoreset mode.
    """
    inner = getattr(env, "unwrapped", env)
    if not isinstance(inner, ProtoVectorEnv):
        raise TypeError(f"the {library} adapter wraps environments of proto_envs, got {type(env).__name__}")
    if inner.autoreset_mode is not mode:
        raise ValueError(
            f"{library} needs autoreset_mode=AutoresetMode.{mode.name}, and the environment has "
            f"{inner.autoreset_mode.name}: make it with that keyword"
        )
    return inner


def to_numpy(value: Any) -> Any:  # noqa: ANN401
    """The same without tensors: arrays instead, also within dicts. On the CPU nothing is copied."""
    if isinstance(value, dict):
        return {name: to_numpy(part) for name, part in value.items()}
    return value.cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)


def state_and_policy(observation: Any) -> tuple[Tensor | None, Tensor]:  # noqa: ANN401
    """The groups "critic" (None where there is none) and "policy" of an observation, flat or by group."""
    if isinstance(observation, dict):
        return observation.get("critic"), observation["policy"]
    return None, observation


def mean_metrics(info: dict[str, Any]) -> dict[str, Tensor]:
    """Means over all environments of what a step measured, each a tensor without dimensions on the device."""
    metrics = info["metrics"]
    if not metrics:
        return {}
    means = torch.stack([torch.as_tensor(value, dtype=torch.float32) for value in metrics.values()]).mean(-1)
    return dict(zip(metrics, means.unbind(), strict=True))
