"""Motion files of other projects: one file per format, found by what the file holds, not by how it is called.

To add a format, write `importers/<format>.py` with `FORMAT`, `recognizes(head)` and `read(path) -> Motion`, and add it
to `IMPORTERS`.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from motionlib.importers import clip, deepmimic
from motionlib.motion import Motion, MotionError

__all__ = ["IMPORTERS", "load"]

IMPORTERS: tuple[ModuleType, ...] = (clip, deepmimic)

_HEAD_BYTES = 65536


def load(path: str | Path) -> Motion:
    """Read a motion file of any known format.

    Raises:
        MotionError: if there is no such file, no importer recognizes it, or it is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise MotionError(f"no motion file at {path}")
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    for importer in IMPORTERS:
        if importer.recognizes(head):
            return importer.read(path)
    known = ", ".join(importer.FORMAT for importer in IMPORTERS)
    raise MotionError(f"{path}: none of the known motion formats ({known})")
