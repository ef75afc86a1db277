"""Our own clips (`Motion.save`)."""

from __future__ import annotations

from pathlib import Path

from motionlib.motion import Motion

__all__ = ["FORMAT", "SUFFIX", "write"]

FORMAT = "motionlib .npz"
SUFFIX = ".npz"


def write(motion: Motion, path: Path) -> None:
    """Write the clip with everything that it holds."""
    motion.save(path)
