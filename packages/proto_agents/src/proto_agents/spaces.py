"""Observations as trainers see them: a dictionary of groups, each a flat float tensor (num_envs, size)."""

from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

__all__ = ["Observations", "observation_sizes", "select", "to_observations"]

Observations = dict[str, Tensor]
"""Group name -> (num_envs, size) float32. "policy" is always there; a flat Box is the group "policy"."""


def observation_sizes(space: gymnasium.Space) -> dict[str, int]:
    """Size of each group of an environment's single observation space.

    Raises:
        TypeError: the space is neither a Box nor a Dict of Boxes.
        ValueError: a Dict without the group "policy".
    """
    if isinstance(space, gymnasium.spaces.Box):
        return {"policy": int(np.prod(space.shape))}
    if not isinstance(space, gymnasium.spaces.Dict):
        raise TypeError(f"the observation space must be a Box or a Dict of Boxes, not {space}")
    if "policy" not in space.spaces:
        raise ValueError(f'the observation space needs a group "policy"; it has {", ".join(space.spaces)}')
    for name, group in space.spaces.items():
        if not isinstance(group, gymnasium.spaces.Box):
            raise TypeError(f'the observation group "{name}" must be a Box, not {group}')
    return {name: int(np.prod(group.shape)) for name, group in space.spaces.items() if group.shape is not None}


def to_observations(value: Any, device: torch.device) -> Observations:  # noqa: ANN401 - foreign environments
    """Converts what an environment returned (tensor, array, or dictionary of them) to flat float32 groups."""
    groups = value if isinstance(value, dict) else {"policy": value}
    return {name: _flatten(torch.as_tensor(group, device=device)) for name, group in groups.items()}


def _flatten(value: Tensor) -> Tensor:
    value = value if value.dtype == torch.float32 else value.float()
    return value if value.ndim == 2 else value.reshape(value.shape[0], -1)


def select(observations: Observations, rows: Tensor) -> Observations:
    """The same groups for some environments only. rows: (K,) long."""
    return {name: group[rows] for name, group in observations.items()}
