"""Our own clips (`Motion.save`)."""

from __future__ import annotations

from pathlib import Path

from motionlib.importers.archives import ZIP_MAGIC, array_names
from motionlib.motion import Motion

__all__ = ["FORMAT", "read", "recognizes", "recognizes_file"]

FORMAT = "motionlib .npz"


def recognizes(head: bytes) -> bool:
    """A zip archive."""
    return head.startswith(ZIP_MAGIC)


def recognizes_file(path: Path) -> bool:
    """It says of itself that it is of a format."""
    return {"format", "version"} <= array_names(path)


def read(path: Path) -> Motion:
    """Read the clip."""
    return Motion.load(path)
