"""Running mean and variance of a stream of batches."""

import torch
from torch import Tensor, nn

__all__ = ["VARIANCE_FLOOR", "RunningNormalizer"]

VARIANCE_FLOOR = 1e-5
"""Added to every variance: a feature that never moves is divided by 3e-3, not by zero."""


class RunningNormalizer(nn.Module):
    """Mean and variance over everything seen so far (Chan, Golub, LeVeque 1979), kept in float64.

    The statistics are buffers, so they travel in the model's state dict. They only change in `update`.
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
        samples = flat.shape[0]
        if samples == 0:
            return
        # Sums around the present mean: one vectorised pass each, and no cancellation once the mean has settled.
        # The very first batch is centred on its own mean, which is exact.
        center = torch.where(self.count > 0, self.mean, flat.mean(dim=0, dtype=torch.float64)).to(flat.dtype)
        shifted = flat - center
        offset = shifted.mean(dim=0).double()
        batch_mean = center.double() + offset
        batch_m2 = shifted.square_().sum(dim=0).double() - samples * offset.square()
        delta = batch_mean - self.mean
        total = self.count + samples
        self.mean.add_(delta * (samples / total))
        self.m2.add_(batch_m2.clamp_(min=0.0) + delta.square() * (self.count * samples / total))
        self.count.copy_(total)

    def normalize(self, value: Tensor) -> Tensor:
        """(value - mean) / std, clipped, float32. value: (..., *shape)."""
        normalized = (value - self.mean.float()).mul_(self.std.reciprocal().float())
        return normalized if self.clip is None else normalized.clamp_(-self.clip, self.clip)

    def denormalize(self, normalized: Tensor) -> Tensor:
        """The inverse of `normalize` (without the clip). normalized: (..., *shape)."""
        return normalized * self.std.float() + self.mean.float()
