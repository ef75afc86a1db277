"""The loop that steps a session as fast as it should go, and shows it."""

from __future__ import annotations

import time
from typing import Protocol

from proto_envs.viewer.session import Session

__all__ = ["Display", "run"]

_PICTURES = 1.0 / 45.0
"""s between two pictures, at least: more would keep the page from answering"""
_IDLE = 1.0 / 60.0
"""s to wait for a person while everything stands still"""
_BEHIND = 0.1
"""s that a slow machine may lag and catch up; beyond that, time is lost"""


class Display(Protocol):
    """Where a session is shown."""

    def is_open(self) -> bool:
        """False once the person has closed it."""

    def show(self) -> None:
        """Show the session as it is now."""


def run(session: Session, display: Display, seconds: float | None = None) -> None:
    """Step and show until the display is closed, the session is, or `seconds` of wall time are over."""
    begin = due = time.monotonic()
    shown, stale = -1.0, True
    while display.is_open() and not session.closed and (seconds is None or time.monotonic() - begin < seconds):
        stale |= session.tick()
        now = time.monotonic()
        if stale and now - shown >= _PICTURES:
            display.show()
            shown, stale = now, False
        due = max(due + (_IDLE if session.paused else session.dt / session.speed), now - _BEHIND)
        time.sleep(max(0.0, due - time.monotonic()))
