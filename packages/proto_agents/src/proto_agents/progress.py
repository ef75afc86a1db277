"""The line that a run shows: live on a terminal, now and then in a log file."""

import time

from rich.console import Console
from rich.live import Live
from rich.text import Text

__all__ = ["PLAIN_INTERVAL", "Progress", "count", "duration"]

PLAIN_INTERVAL = 10.0
"""Seconds between two lines where the output is not a terminal."""


class Progress:
    """One line, replaced in place on a terminal, printed every few seconds elsewhere. Used as a context manager."""

    def __init__(self, console: Console | None = None, *, enabled: bool = True) -> None:
        self.console = console or Console()
        self.enabled = enabled
        self._live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal and enabled else None
        self._last_print = -PLAIN_INTERVAL

    def __enter__(self) -> "Progress":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, line: str, *, force: bool = False) -> None:
        """Shows the present state. force: print even where the last line is recent."""
        if not self.enabled:
            return
        if self._live is not None:
            self._live.update(Text(line, no_wrap=True, overflow="ellipsis"), refresh=True)
        elif force or time.monotonic() - self._last_print >= PLAIN_INTERVAL:
            self._last_print = time.monotonic()
            print(line, flush=True)

    def say(self, message: str) -> None:
        """A message that stays, above the live line."""
        if not self.enabled:
            return
        if self._live is not None:
            self.console.print(message, markup=False, highlight=False)
        else:
            print(message, flush=True)


def duration(seconds: float) -> str:
    """Such as 42s, 7m05s or 3h20m."""
    seconds = int(seconds)
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60:02d}s"
    return f"{seconds // 3600}h{seconds % 3600 // 60:02d}m"


def count(number: float) -> str:
    """Such as 950, 65.5k or 1.50M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.2f}{letter}"
    return f"{number:.0f}"
