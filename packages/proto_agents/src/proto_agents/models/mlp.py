"""Multi-layer perceptrons."""

import itertools
import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from proto_agents.models.precision import OutputLinear

__all__ = ["ACTIVATIONS", "Activation", "mlp"]

Activation = Literal["elu", "relu", "silu", "tanh"]

ACTIVATIONS: dict[str, type[nn.Module]] = {"elu": nn.ELU, "relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}


def mlp(
    sizes: Sequence[int],
    activation: Activation = "elu",
    output_gain: float = 1.0,
    generator: torch.Generator | None = None,
    hidden_gain: float = math.sqrt(2.0),
) -> nn.Sequential:
    """Linear layers with an activation between them, none after the last.

    Args:
        sizes: width of the input, of each hidden layer and of the output.
        activation: one of `ACTIVATIONS`.
        output_gain: gain of the last layer's orthogonal initialisation.
        generator: source of the initial weights (CPU).
        hidden_gain: gain of the other layers' orthogonal initialisation.
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"unknown activation {activation!r}; choose one of {', '.join(ACTIVATIONS)}")
    layers: list[nn.Module] = []
    for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        is_last = index == len(sizes) - 2
        # skip_init: the default initialisation would draw from torch's global generator.
        layer = nn.utils.skip_init(OutputLinear if is_last else nn.Linear, inputs, outputs)
        nn.init.orthogonal_(layer.weight, output_gain if is_last else hidden_gain, generator=generator)
        nn.init.zeros_(layer.bias)
        layers.append(layer)
        if not is_last:
            layers.append(ACTIVATIONS[activation]())
    return nn.Sequential(*layers)
