"""Low-rank adaptation (LoRA, Hu et al. 2021): frozen weights that learn by a product of two thin matrices."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

__all__ = ["LowRank", "adapt", "adapted_size"]


class LowRank(nn.Module):
    """Adds up · down to a weight; up is 0 at first, so that nothing changes."""

    def __init__(self, weight: Tensor, rank: int, generator: torch.Generator | None = None) -> None:
        """Make the two matrices.

        Args:
            weight: (O, I) of the layer.
            rank: r, width of both.
            generator: source of the initial numbers (CPU).
        """
        super().__init__()
        outputs, inputs = weight.shape
        self.down = nn.Parameter(torch.randn(rank, inputs, generator=generator) / inputs**0.5)
        self.up = nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """(O, I)."""
        return weight + self.up @ self.down


def adapt(module: nn.Module, rank: int, generator: torch.Generator | None = None) -> None:
    """Gives every matrix in `module` a low-rank addition that is trained in its stead; all else is frozen."""
    module.requires_grad_(False)
    for owner, name, weight in _matrices(module):
        parametrize.register_parametrization(owner, name, LowRank(weight, rank, generator))


def adapted_size(module: nn.Module, rank: int) -> int:
    """How many numbers `adapt` would train."""
    return sum(rank * sum(weight.shape) for _, _, weight in _matrices(module))


def _matrices(module: nn.Module) -> list[tuple[nn.Module, str, Tensor]]:
    """Owner and name of all weights of linear layers and of attention."""
    return [
        (owner, name, weight)
        for owner in module.modules()
        for name, weight in owner.named_parameters(recurse=False)
        if weight.dim() == 2 and name.endswith("weight")
    ]
