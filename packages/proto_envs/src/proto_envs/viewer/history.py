"""What was measured of late, for plots."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping

import numpy as np

__all__ = ["History"]

_TOTAL = "reward"
_TERM = "reward/"


class History:
    """The last steps of one environment: its reward, the terms of that, and metrics."""

    def __init__(self, length: int = 300) -> None:
        """Remember that many steps."""
        self._length = length
        self.forget()

    def forget(self) -> None:
        """Begin with nothing."""
        self._times: deque[float] = deque(maxlen=self._length)
        self._values: dict[str, deque[float]] = {}

    def add(self, time: float, reward: float, metrics: Mapping[str, float]) -> None:
        """Remember a step, `time` s after the viewer began; what is not finite counts as 0."""
        missing = len(self._times)
        self._times.append(time)
        for name, value in {_TOTAL: reward, **metrics}.items():
            fresh = deque([0.0] * missing, maxlen=self._length)
            self._values.setdefault(name, fresh).append(value if math.isfinite(value) else 0.0)

    @property
    def terms(self) -> tuple[str, ...]:
        """The reward and its terms."""
        return tuple(name for name in self._values if name == _TOTAL or name.startswith(_TERM))

    @property
    def metrics(self) -> tuple[str, ...]:
        """All that is no reward."""
        return tuple(name for name in self._values if name not in self.terms)

    def series(self, names: tuple[str, ...]) -> tuple[np.ndarray, ...]:
        """Times (T,) s, and the values (T,) of each name."""
        return (np.array(self._times), *(np.array(self._values[name]) for name in names))

    def __len__(self) -> int:
        return len(self._times)
