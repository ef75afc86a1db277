"""What the runner asks of a learner, whatever it learns from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from proto_agents.environment import Transition
from proto_agents.spaces import Observations

__all__ = ["Buffer", "Learner", "Policy", "Step"]


class Policy(Protocol):
    """Networks that act."""

    @property
    def config(self) -> Any:  # noqa: ANN401 - a dataclass of its own
        """Sizes of the networks, a dataclass."""

    def act_deterministic(self, observations: Observations) -> Tensor:
        """The most usual actions, (N, A) float or (N,) long."""

    def state_dict(self) -> Mapping[str, Tensor]:
        """Weights and running statistics."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Weights."""


class Step(Protocol):
    """What a learner did with the observations of one step."""

    @property
    def action(self) -> Tensor:
        """(N, A) float or (N,) long."""


class Buffer(Protocol):
    """The experience between two updates."""

    horizon: int

    def clear(self) -> None:
        """Makes it empty."""

    def add(self, step: Any, transition: Transition, truncated_value: Tensor) -> None:  # noqa: ANN401 - its own steps
        """Stores one step of all environments, what came of it, and the values (K,) of observations cut off by time."""


class Learner(Protocol):
    """Acts, and improves its model from what came of it."""

    device: torch.device
    config: Any
    reward_parts: tuple[str, ...]
    """names of the parts of the reward that are valued apart; none: the reward is one whole, or not looked at"""
    progress: float
    """share of the run that is done, told by the runner before each update"""
    learning_rate: float

    @property
    def model(self) -> Policy:
        """The networks, an `nn.Module`."""

    def make_buffer(self, num_envs: int) -> Buffer:
        """A buffer for one rollout."""

    def act(self, observations: Observations) -> Step:
        """Actions for a training step."""

    def value(self, observations: Observations) -> Tensor:
        """Value in units of reward, (B,), or (B, K) of K parts; zeros for a learner without values."""

    def update(self, buffer: Any, last_value: Tensor) -> dict[str, float]:  # noqa: ANN401 - its own buffer
        """Improves the model from a full rollout; returns what to log."""

    def state_dict(self) -> dict[str, Tensor]:
        """Everything but the model that the next update depends on, as a flat dictionary of tensors."""

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores `state_dict`."""
