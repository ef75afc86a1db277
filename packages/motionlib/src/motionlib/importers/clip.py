"""Our own clips (`Motion.save`)."""

from __future__ import annotations

from pathlib import Path

from motionlib.motion import Motion

__all__ = ["FORMAT", "read", "recognizes"]

FORMAT = "motionlib .npz"


def recognizes(head: bytes) -> bool:
    """A zip archive."""
    return head.startswith(b"PK\x03\x04")


def read(path: Path) -> Motion:
    """Read the clip."""
    return Motion.load(path)
