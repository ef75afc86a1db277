"""The two action distributions. Small, because torch.distributions costs more than the networks on a CPU."""

import math
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["HALF_LOG_TWO_PI", "Categorical", "Distribution", "Gaussian"]

HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


class Distribution(Protocol):
    """What a learner asks of a policy's output."""

    @property
    def parameters(self) -> Tensor:
        """What a rollout stores to compute the KL divergence later, (B, P)."""

    def sample(self, generator: torch.Generator) -> Tensor:
        """Draws one action for each row."""

    def mode(self) -> Tensor:
        """The most probable action of each row."""

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-density (or log-probability) of an action, (B,)."""

    def entropy(self) -> Tensor:
        """Entropy in nats, (B,)."""

    def kl_from(self, old_parameters: Tensor, old_std: Tensor | None) -> Tensor:
        """KL(old || self) in nats, exact, (B,)."""


class Gaussian:
    """Independent normal distributions; mean (B, A), std (A,) shared by all rows."""

    def __init__(self, mean: Tensor, log_std: Tensor) -> None:
        self.mean = mean
        self.log_std = log_std

    @property
    def parameters(self) -> Tensor:
        """The mean, (B, A); the standard deviation does not depend on the row and is kept by the learner."""
        return self.mean

    def sample(self, generator: torch.Generator) -> Tensor:
        """(B, A)."""
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device, dtype=self.mean.dtype)
        return self.mean + noise * self.log_std.exp()

    def mode(self) -> Tensor:
        """(B, A)."""
        return self.mean

    def log_prob(self, action: Tensor) -> Tensor:
        """action: (B, A). Returns (B,)."""
        scaled = (action - self.mean) * (-self.log_std).exp()
        constant = self.log_std.sum() + self.log_std.numel() * HALF_LOG_TWO_PI
        return scaled.square().sum(dim=-1) * -0.5 - constant

    def entropy(self) -> Tensor:
        """(B,), the same for every row."""
        return (self.log_std + 0.5 + HALF_LOG_TWO_PI).sum().expand(self.mean.shape[0])

    def kl_from(self, old_parameters: Tensor, old_std: Tensor | None) -> Tensor:
        """old_parameters: mean (B, A), old_std (A,). Returns (B,)."""
        assert old_std is not None
        variance = (2.0 * self.log_std).exp()
        shared = (self.log_std - old_std.log() + old_std.square() / (2.0 * variance) - 0.5).sum()
        return ((old_parameters - self.mean).square() / (2.0 * variance)).sum(dim=-1) + shared


class Categorical:
    """One of K choices; logits (B, K)."""

    def __init__(self, logits: Tensor) -> None:
        self.log_probabilities = torch.log_softmax(logits, dim=-1)

    @property
    def parameters(self) -> Tensor:
        """Log-probabilities, (B, K)."""
        return self.log_probabilities

    def sample(self, generator: torch.Generator) -> Tensor:
        """(B,) long."""
        return torch.multinomial(self.log_probabilities.exp(), 1, generator=generator).squeeze(-1)

    def mode(self) -> Tensor:
        """(B,) long."""
        return self.log_probabilities.argmax(dim=-1)

    def log_prob(self, action: Tensor) -> Tensor:
        """action: (B,) long. Returns (B,)."""
        return self.log_probabilities.gather(-1, action.unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Tensor:
        """(B,)."""
        return -(self.log_probabilities.exp() * self.log_probabilities).sum(dim=-1)

    def kl_from(self, old_parameters: Tensor, old_std: Tensor | None) -> Tensor:
        """old_parameters: log-probabilities (B, K). Returns (B,)."""
        return (old_parameters.exp() * (old_parameters - self.log_probabilities)).sum(dim=-1)
