"""Intervals of confidence."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["CONFIDENCE", "Interval", "interval_of_mean", "interval_of_seeds", "interval_of_share", "mean_of"]

CONFIDENCE = 0.95
"""Share of such intervals that hold what they are about."""

_RESAMPLES = 2000

Interval = tuple[float, float]
"""Least and greatest value."""


def mean_of(column: Tensor) -> float | None:
    """Mean of a number of each episode, (N,) float with NaN where there is none, or bool; None where nobody has one."""
    if column.dtype == torch.bool:
        return column.double().mean().item()
    known = column[~column.isnan()]
    return known.double().mean().item() if len(known) else None


def interval_of_share(column: Tensor) -> Interval:
    """Wilson's score interval of the share of episodes that are true. column: (N,) bool."""
    from scipy.stats import binomtest

    found = binomtest(int(column.sum()), column.numel()).proportion_ci(CONFIDENCE, method="wilson")
    return float(found.low), float(found.high)


def interval_of_mean(column: Tensor) -> Interval | None:
    """Bootstrap interval of the mean over episodes: percentiles of the means of resampled episodes.

    Args:
        column: (N,) float, NaN where an episode has none; those are left out.

    Returns:
        None for fewer than two episodes. The same numbers give the same interval.
    """
    from scipy.stats import bootstrap

    known = column[~column.isnan()].double().cpu().numpy()
    if len(known) < 2:
        return None
    if np.ptp(known) == 0.0:
        return float(known[0]), float(known[0])
    found = bootstrap(
        (known,), np.mean, n_resamples=_RESAMPLES, confidence_level=CONFIDENCE, method="percentile", rng=0, batch=200
    ).confidence_interval
    return float(found.low), float(found.high)


def interval_of_seeds(values: Sequence[float]) -> Interval | None:
    """Student's interval of the mean of a number that each seed has one of; None for fewer than two of them."""
    from scipy.stats import t

    if len(values) < 2:
        return None
    middle, error = float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))
    reach = error * float(t.ppf(0.5 + 0.5 * CONFIDENCE, len(values) - 1))
    return middle - reach, middle + reach
