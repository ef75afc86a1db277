"""A network that tells the motion of an agent from that of experts (AMP, Peng et al. 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from proto_agents.models.mlp import Activation, mlp
from proto_agents.models.normalization import RunningNormalizer

__all__ = ["Discriminator", "DiscriminatorLoss", "style_reward"]

_LEAST = 1e-4
"""least chance that is given to "not an expert": the reward is at most -log of it, 9.21"""


def style_reward(logits: Tensor) -> Tensor:
    """-log(1 - sigmoid(logit)), between 0 and 9.21: large where the discriminator takes an agent for an expert."""
    return -torch.log((1.0 - torch.sigmoid(logits)).clamp_min(_LEAST))


class DiscriminatorLoss:
    """The parts of the loss of one minibatch, each a scalar tensor."""

    def __init__(self, expert: Tensor, agent: Tensor, replay: Tensor | None) -> None:
        """Of logits (B,) of experts, of the agent, and of the agent as it was."""
        against = F.softplus(agent).mean()
        if replay is not None:
            against = 0.5 * (against + F.softplus(replay).mean())
        self.classification = 0.5 * (F.softplus(-expert).mean() + against)
        with torch.no_grad():
            self.expert_accuracy = (expert > 0).float().mean()
            self.agent_accuracy = (agent < 0).float().mean()


class Discriminator(nn.Module):
    """Features (B, F) to logits (B,), positive for experts. It normalizes features by running statistics of both."""

    def __init__(
        self,
        size: int,
        hidden_sizes: tuple[int, ...] = (512, 256),
        activation: Activation = "relu",
        clip: float = 5.0,
        generator: torch.Generator | None = None,
    ) -> None:
        """Make the network.

        Args:
            size: F.
            hidden_sizes: widths of the hidden layers.
            activation: between them.
            clip: bound of normalized features.
            generator: source of the initial weights (CPU).
        """
        super().__init__()
        self.size = size
        self.normalizer = RunningNormalizer((size,), clip)
        self.network = mlp((size, *hidden_sizes, 1), activation, 1.0, generator)

    def forward(self, features: Tensor) -> Tensor:
        """Logits of features as they come from the environment."""
        return self.logits(self.normalize(features))

    def normalize(self, features: Tensor) -> Tensor:
        """What the other methods call normalized."""
        return self.normalizer.normalize(features)

    def update_normalizer(self, features: Tensor) -> None:
        """Add features to the running statistics."""
        self.normalizer.update(features)

    def logits(self, normalized: Tensor) -> Tensor:
        """Logits of normalized features."""
        return self.network(self._judged(normalized)).squeeze(-1)

    def _judged(self, normalized: Tensor) -> Tensor:
        """The part that the network is shown."""
        return normalized

    def gradient_penalty(self, normalized: Tensor) -> Tensor:
        """Mean squared length of the logits' gradient by normalized features, to be trained on.

        With v the gradient by what the first layer W gives out, it is v W W' v': the features, far more than the
        layer is wide, are not gone through for each sample.
        """
        first = self.network[0]
        assert isinstance(first, nn.Linear)
        hidden = first(self._judged(normalized))
        (gradient,) = torch.autograd.grad(self.network[1:](hidden).sum(), hidden, create_graph=True)
        # No slice where it would change nothing: its gradient adds up in another order, so it rounds otherwise.
        whole = first.in_features == self.size
        weight = first.weight if whole else first.weight[:, : self.size]
        return ((gradient @ (weight @ weight.T)) * gradient).sum(-1).mean()

    def squared_weights(self) -> tuple[Tensor, Tensor]:
        """Sum of the squares of all weights (biases left out), and of those of the last layer alone."""
        weights = [layer.weight for layer in self.network if isinstance(layer, nn.Linear)]
        squares = [weight.square().sum() for weight in weights]
        return torch.stack(squares).sum(), squares[-1]
