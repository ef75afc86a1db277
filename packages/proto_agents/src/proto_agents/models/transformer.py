"""A policy that reads its observation token by token.

Any environment may say how the vector that its policy sees splits into tokens, in an attribute

    observation_tokens: Mapping[str, indices]

with an entry for each kind of token: indices (T, F) into the group "policy", T tokens of that kind with F numbers each.
The first token of the first kind is the one that the action is read from: let it be the state of the body. Every number
must be in some token; it may be in several.

Each kind of token has its own multi-layer perceptron to the encoder's width; each token adds a learned vector, which
says its kind and its place. Encoder layers are those of torch, without dropout and with the norm first (Xiong et al.
2020), so that they train without warm-up. The first token's output goes through another perceptron to the action.
The tracker of ProtoMotions 1 is built so: one token for the state, one for each of 15 poses to come, one for the
terrain; width 512, 4 layers, 4 heads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from proto_agents.models.mlp import Activation, mlp

__all__ = ["ObservationTokens", "TransformerConfig", "TransformerPolicy", "encoder_layers"]

ObservationTokens = Mapping[str, Sequence[Sequence[int]] | Tensor]
"""What an environment's `observation_tokens` holds: indices (T, F) by kind of token"""


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """Sizes of the encoder; the defaults suit a CPU."""

    width: int = 64
    """numbers of each token inside"""
    layers: int = 2
    """of the encoder"""
    heads: int = 2
    """of each layer's attention; they share the width, which must be a multiple"""
    feedforward: int = 128
    """width of the hidden layer that follows each attention"""
    token_hidden_sizes: tuple[int, ...] = (128,)
    """widths of the hidden layers between a token's numbers and the encoder"""

    def __post_init__(self) -> None:
        """Refuse sizes that do not fit.

        Raises:
            ValueError: naming them.
        """
        sizes = {name: getattr(self, name) for name in ("width", "layers", "heads", "feedforward")}
        if wrong := {name: size for name, size in sizes.items() if size < 1}:
            raise ValueError(f"transformer: want sizes of at least 1, got {wrong}")
        if self.width % self.heads:
            raise ValueError(f"transformer: {self.heads} heads cannot share a width of {self.width}: want a multiple")


class TransformerPolicy(nn.Module):
    """Normalized observations (B, S) to the parameters of an action (B, A)."""

    def __init__(
        self,
        tokens: ObservationTokens,
        size: int,
        outputs: int,
        config: TransformerConfig,
        *,
        hidden_sizes: Sequence[int],
        activation: Activation = "elu",
        output_gain: float = 0.01,
        hidden_gain: float = 2.0**0.5,
        generator: torch.Generator | None = None,
    ) -> None:
        """Make the networks.

        Args:
            tokens: how the observation splits.
            size: S.
            outputs: A.
            config: sizes of the encoder.
            hidden_sizes: between the encoder's output and the action.
            activation: of the perceptrons.
            output_gain: of the last layer's initialisation.
            hidden_gain: of that of the perceptrons' other layers.
            generator: source of the initial weights (CPU).

        Raises:
            ValueError: for tokens that are none, naming them.
        """
        super().__init__()
        layout = {kind: _indices(kind, indices, size) for kind, indices in tokens.items()}
        if not layout:
            raise ValueError("observation_tokens is empty: name at least one kind of token")
        seen = torch.cat([indices.flatten() for indices in layout.values()]).unique()
        if len(seen) < size:
            unseen = sorted(set(range(size)) - set(seen.tolist()))
            raise ValueError(
                f"observation_tokens: {len(unseen)} of {size} numbers are in no token, such as {unseen[0]}"
            )
        self.shapes = tuple((int(indices.shape[0]), int(indices.shape[1])) for indices in layout.values())
        # One gather for all tokens; saved with the model, whose layout it is.
        self.indices: Tensor
        self.register_buffer("indices", torch.cat([indices.flatten() for indices in layout.values()]))
        self.embedders = nn.ModuleList(
            mlp((numbers, *config.token_hidden_sizes, config.width), activation, 1.0, generator, hidden_gain)
            for _, numbers in self.shapes
        )
        count = sum(number for number, _ in self.shapes)
        self.places = nn.Parameter(0.02 * torch.randn(count, config.width, generator=generator))
        self.layers = encoder_layers(config, generator)
        self.norm = nn.LayerNorm(config.width)
        self.head = mlp((config.width, *hidden_sizes, outputs), activation, output_gain, generator, hidden_gain)

    def forward(self, observation: Tensor) -> Tensor:
        """(B, S) to (B, A)."""
        numbers = observation.index_select(1, self.indices).split([t * f for t, f in self.shapes], dim=1)
        parts = [
            embed(part.unflatten(1, shape))
            for embed, part, shape in zip(self.embedders, numbers, self.shapes, strict=True)
        ]
        hidden = torch.cat(parts, dim=1) + self.places
        for layer in self.layers:
            hidden = layer(hidden)
        return self.head(self.norm(hidden[:, 0]))


def _indices(kind: str, indices: Any, size: int) -> Tensor:  # noqa: ANN401 - sequences, arrays or tensors
    table = torch.as_tensor(indices, dtype=torch.long, device="cpu")
    if table.dim() != 2 or not table.numel():
        raise ValueError(f"observation_tokens {kind!r}: want indices (tokens, numbers), got shape {tuple(table.shape)}")
    if bool((table < 0).any()) or bool((table >= size).any()):
        raise ValueError(f"observation_tokens {kind!r}: indices must lie in 0 ... {size - 1}")
    return table


def encoder_layers(config: TransformerConfig, generator: torch.Generator | None) -> nn.ModuleList:
    """Layers whose weights come from `generator`, although torch's own draw from the global one."""
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # Not nn.TransformerEncoder, which begins with as many copies of one layer.
        return nn.ModuleList(
            nn.TransformerEncoderLayer(
                config.width, config.heads, config.feedforward, dropout=0.0, batch_first=True, norm_first=True
            )
            for _ in range(config.layers)
        )
