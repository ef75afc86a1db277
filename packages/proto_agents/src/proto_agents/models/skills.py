"""Latent skills: points on a sphere, the encoder that finds them in motion, and what it is trained on (ASE).

A latent z is uniform over the whole unit sphere in R^D. (A normalized draw from the unit cube covers only the orthant
of positive numbers; a normalized Gaussian has no direction that it prefers.) Losses are those of Peng et al. 2022, ASE:
Large-Scale Reusable Adversarial Skill Embeddings, unless it says otherwise.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from proto_agents.models.discriminator import Discriminator
from proto_agents.models.mlp import mlp

__all__ = [
    "SkillDiscriminator",
    "diversity_loss",
    "encoder_loss",
    "sample_latents",
    "skill_reward",
    "uniformity_loss",
]


def sample_latents(count: int, size: int, generator: torch.Generator) -> Tensor:
    """(count, size) points, uniform over the unit sphere; on the generator's device."""
    return F.normalize(torch.randn(count, size, generator=generator, device=generator.device), dim=-1)


def skill_reward(latents: Tensor, encoded: Tensor) -> Tensor:
    """How well a skill is known again, in [0, 1]: (z.q + 1) / 2, ASE's log-likelihood moved to be positive.

    Args:
        latents: (B, D), what was played.
        encoded: (B, D), what the encoder makes of it.
    """
    return 0.5 * ((latents * encoded).sum(-1) + 1.0)


def encoder_loss(latents: Tensor, encoded: Tensor) -> Tensor:
    """Negative log-likelihood of the latents under a von Mises-Fisher distribution around `encoded`: -z.q."""
    return -(latents * encoded).sum(-1).mean()


def uniformity_loss(encoded: Tensor) -> Tensor:
    """Log mean exp(-|q_i - q_j|^2) over all pairs of different rows (Wang and Isola 2020, with t = 1).

    It is 0 where all are the same, and the lower the more evenly they lie on the sphere. encoded: (B, D), B > 1.
    """
    count = len(encoded)
    pairs = torch.exp(2.0 * (encoded @ encoded.T) - 2.0)  # |a - b|^2 = 2 - 2 a.b on the sphere
    return ((pairs.sum() - pairs.diagonal().sum()) / (count * (count - 1))).log()


def diversity_loss(mean: Tensor, other_mean: Tensor, latents: Tensor, other_latents: Tensor) -> Tensor:
    """Other latents should make the policy act otherwise, in proportion.

    Args:
        mean: (B, A), the policy's mean action under `latents`; it counts within +-1.
        other_mean: (B, A), in the same situations under `other_latents`.
        latents: (B, D).
        other_latents: (B, D).
    """
    apart = (mean.clamp(-1.0, 1.0) - other_mean.clamp(-1.0, 1.0)).square().mean(-1)
    distance = 0.5 - 0.5 * (latents * other_latents).sum(-1)
    return (1.0 - apart / (distance + 1e-5)).square().mean()


class SkillDiscriminator(Discriminator):
    """A discriminator with an encoder of skills. It takes rows (B, F + D) of features and of the latent beside them.

    The encoder sees the features alone. It is a layer on the discriminator's last hidden one, or, with hidden layers of
    its own, another network. The discriminator sees the latent only where it is `conditional`.
    """

    def __init__(
        self,
        size: int,
        latent_size: int,
        hidden_sizes: tuple[int, ...] = (512, 256),
        encoder_hidden_sizes: tuple[int, ...] | None = None,
        conditional: bool = False,
        clip: float = 5.0,
        generator: torch.Generator | None = None,
    ) -> None:
        """Make the networks.

        Args:
            size: F.
            latent_size: D.
            hidden_sizes: widths of the discriminator's hidden layers.
            encoder_hidden_sizes: of the encoder's own; None: it shares those of the discriminator.
            conditional: whether the discriminator judges features together with a latent.
            clip: bound of normalized features.
            generator: source of the initial weights (CPU).

        Raises:
            ValueError: for an encoder that would be shown the latent which it is to find.
        """
        if conditional and encoder_hidden_sizes is None:
            raise ValueError("a discriminator that sees the latent cannot share its layers with the encoder of latents")
        super().__init__(size, hidden_sizes, clip=clip, generator=generator)
        self.conditional = conditional
        if conditional:
            self.network = mlp((size + latent_size, *hidden_sizes, 1), "relu", 1.0, generator)
        own = encoder_hidden_sizes
        encoder = (hidden_sizes[-1], latent_size) if own is None else (size, *own, latent_size)
        self.shares = own is None
        self.encoder = mlp(encoder, "relu", 1.0, generator)

    def normalize(self, rows: Tensor) -> Tensor:
        """Rows (B, F + D) with their features normalized."""
        features, latents = rows.tensor_split([self.size], dim=-1)
        return torch.cat([self.normalizer.normalize(features), latents], dim=-1)

    def update_normalizer(self, rows: Tensor) -> None:
        """Add the features of rows (B, F + D) to the running statistics."""
        self.normalizer.update(rows[:, : self.size])

    def encode(self, features: Tensor) -> Tensor:
        """Latents (B, D) on the sphere, of features (B, F) as they come from the environment."""
        return self.encoded(self.normalizer.normalize(features))

    def encoded(self, normalized: Tensor) -> Tensor:
        """Latents (B, D) on the sphere, of normalized features (B, F) or rows (B, F + D)."""
        features = normalized[..., : self.size]
        return F.normalize(self.encoder(self.network[:-1](features) if self.shares else features), dim=-1)

    def _judged(self, normalized: Tensor) -> Tensor:
        return normalized if self.conditional else normalized[..., : self.size]
