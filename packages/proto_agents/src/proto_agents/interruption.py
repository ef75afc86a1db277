"""Signals that let a run end in order."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from proto_agents import distributed

__all__ = ["Interruption"]

_SIGNALS = tuple(signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))


class Interruption:
    """Turns SIGINT, SIGTERM and SIGUSR1 into a request; a second SIGINT acts as usual. A context manager.

    Whoever sends one of the others sends it again, or another, before it kills: SLURM does at a time limit.
    """

    def __init__(self) -> None:
        self.requested = False
        self.name = ""
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():  # Python allows handlers only there
            for number in _SIGNALS:
                self._previous[number] = signal.signal(number, self._request)
        return self

    def requested_anywhere(self) -> bool:
        """Whether this process or one that trains with it was told to end; then all of them are."""
        anywhere = distributed.any_rank(self.requested)
        if anywhere:  # never set to false: a signal may have come since
            self.requested = True
        return anywhere

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self.name = signal.Signals(number).name
        if number == signal.SIGINT:
            signal.signal(number, self._previous.pop(signal.SIGINT))

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
