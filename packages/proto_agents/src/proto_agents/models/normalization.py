"""Running mean and variance of a stream of batches."""

import torch
from torch import Tensor, nn

from proto_agents import distributed

__all__ = ["VARIANCE_FLOOR", "RunningNormalizer"]

VARIANCE_FLOOR = 1e-5
"""Added to every variance: a feature that never moves is divided by 3e-3, not by zero."""


class RunningNormalizer(nn.Module):
    """Mean and variance over everything seen so far (Chan, Golub, LeVeque 1979), kept in float64.

    The statistics are buffers, so they travel in the model's state dict. They only change in `update`, where several
    processes that train together (`proto_agents.distributed`) pool their samples: theirs are the same to the last bit.
    """

    count: Tensor
    mean: Tensor
    m2: Tensor

    def __init__(self, shape: tuple[int, ...], clip: float | None = 5.0) -> None:
        """Starts as the identity. shape: of one sample; clip: bound of |normalized value|, None for no bound."""
        super().__init__()
        self.shape = tuple(shape)
        self.clip = clip
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(self.shape, dtype=torch.float64))
        self.register_buffer("m2", torch.zeros(self.shape, dtype=torch.float64))

    @property
    def variance(self) -> Tensor:
        """Population variance, `shape`, float64; one before the first update."""
        return torch.where(self.count > 0, self.m2 / self.count.clamp(min=1.0), torch.ones_like(self.m2))

    @property
    def std(self) -> Tensor:
        """Standard deviation that samples are divided by, `shape`, float64."""
        return (self.variance + VARIANCE_FLOOR).sqrt()

    @torch.no_grad()
    def update(self, batch: Tensor) -> None:
        """Adds a batch of samples, (..., *shape)."""
        flat = batch.reshape(-1, *self.shape)
        samples, batch_mean, batch_m2 = distributed.pooled_moments(flat.shape[0], *self._moments(flat))
        delta = batch_mean - self.mean
        total = (self.count + samples).clamp(min=1.0)
        self.mean.add_(delta * (samples / total))
        self.m2.add_(batch_m2 + delta.square() * (self.count * samples / total))
        self.count.add_(samples)

    def _moments(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Mean of samples (B, *shape) and the sum of their squared deviations from it, float64."""
        samples = flat.shape[0]
        if samples == 0:
            return torch.zeros_like(self.mean), torch.zeros_like(self.m2)
        # Sums around the present mean: one vectorised pass each, and no cancellation once the mean has settled.
        # The very first batch is centred on its own mean, which is exact.
        center = torch.where(self.count > 0, self.mean, flat.mean(dim=0, dtype=torch.float64)).to(flat.dtype)
        shifted = flat - center
        offset = shifted.mean(dim=0).double()
        m2 = shifted.square_().sum(dim=0).double() - samples * offset.square()
        return center.double() + offset, m2.clamp_(min=0.0)

    def normalize(self, value: Tensor) -> Tensor:
        """(value - mean) / std, clipped, float32. value: (..., *shape)."""
        normalized = (value - self.mean.float()).mul_(self.std.reciprocal().float())
        return normalized if self.clip is None else normalized.clamp_(-self.clip, self.clip)

    def denormalize(self, normalized: Tensor) -> Tensor:
        """The inverse of `normalize` (without the clip). normalized: (..., *shape)."""
        return normalized * self.std.float() + self.mean.float()
