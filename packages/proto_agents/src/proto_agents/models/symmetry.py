"""Mirror symmetry: networks that treat a situation and its mirror image alike, so that each sample teaches both sides.

Any environment may say what its mirror image is, in an attribute

    symmetry: Mapping[str, tuple[indices, signs]]

with an entry for "action" and for each group of observations ("policy" where they are one Box): the mirrored vector is
`signs * vector[indices]`. For a walking figure that exchanges left and right limbs and turns sideways numbers around.

With f and g the networks, and M_o and M_a the two mirrors, the policy is (f(o) + M_a f(M_o o)) / 2 and the value
(g(o) + g(M_o o)) / 2 (compare "NET" in Abdolhosseini et al. 2019, On Learning Symmetric Locomotion).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Mirror", "Symmetry"]

Symmetry = Mapping[str, tuple[Sequence[int] | Tensor, Sequence[float] | Tensor]]
"""What an environment's `symmetry` holds: indices and signs by name"""


class Mirror(nn.Module):
    """The mirror image of a vector; saved with the model. A new one changes nothing until it is told or loaded."""

    indices: Tensor
    signs: Tensor

    def __init__(self, size: int) -> None:
        """size: of the vectors."""
        super().__init__()
        self.register_buffer("indices", torch.arange(size))
        self.register_buffer("signs", torch.ones(size))

    def set(self, name: str, indices: Any, signs: Any) -> None:  # noqa: ANN401 - sequences, arrays or tensors
        """Take what the environment says of the vectors called `name`.

        Raises:
            ValueError: for numbers that are no mirror: it must have the right size, signs of 1 and -1, and give the
                vector back when applied twice.
        """
        indices, signs = torch.as_tensor(indices, dtype=torch.long), torch.as_tensor(signs, dtype=torch.float32)
        size = len(self.indices)
        if indices.shape != (size,) or signs.shape != (size,) or not bool((signs.abs() == 1.0).all()):
            raise ValueError(
                f"symmetry of {name!r}: want {size} indices and as many signs of 1 or -1, got shapes "
                f"{tuple(indices.shape)} and {tuple(signs.shape)}"
            )
        if bool((indices < 0).any()) or bool((indices >= size).any()):
            raise ValueError(f"symmetry of {name!r}: indices must lie in 0 ... {size - 1}")
        if not torch.equal(indices[indices], torch.arange(size)) or not torch.equal(signs * signs[indices], signs**2):
            raise ValueError(f"symmetry of {name!r}: the mirror image of the mirror image must be the vector itself")
        self.indices.copy_(indices)
        self.signs.copy_(signs)

    def forward(self, vectors: Tensor) -> Tensor:
        """(B, size) to (B, size)."""
        # Several times as fast as vectors[:, indices] * signs, forward and backward.
        return vectors.index_select(1, self.indices).mul_(self.signs)
