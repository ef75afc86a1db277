"""Mixed precision: hidden layers computed in 16 bits while a policy learns.

Weights, their gradients, normalizers, losses and each network's last layer stay in 32 bits; only matrix products of the
hidden layers are in bfloat16 (8 bits of precision, the range of float32, so that no loss needs to be scaled). What acts
after training computes in 32 bits throughout.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

__all__ = ["OutputLinear", "Precision", "mixed_precision", "native_bfloat16"]

Precision = Literal["float32", "bfloat16", "auto"]
"""auto: bfloat16 on devices that multiply it natively, float32 on others, where it would be slower"""


def native_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies matrices of bfloat16 in hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # torch has no public question for it; a version without this one gets 32 bits.
    asked = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return device.type == "cpu" and asked is not None and bool(asked())


def mixed_precision(precision: Precision, device: torch.device) -> torch.autocast:
    """A context in which networks compute so; it can be entered again and again."""
    enabled = precision == "bfloat16" or (precision == "auto" and native_bfloat16(device))
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled)


class OutputLinear(nn.Linear):
    """A linear layer that computes in the precision of its weights, whatever is asked for around it.

    An action near 1, rounded to 8 bits, would be off by up to a fiftieth of the usual standard deviation of 0.1, and
    with it the probability ratios.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(..., in) to (..., out)."""
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.to(self.weight.dtype))
