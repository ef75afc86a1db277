"""Clips as files of other programs: one module per format.

To add a format, write `exporters/<format>.py` with `FORMAT`, `SUFFIX` and `write(motion, path)`, and add it to
`EXPORTERS`. The module's name is the format's short name.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from motionlib.exporters import beyondmimic, bvh, clip, csv, protomotions
from motionlib.motion import Motion, MotionError

__all__ = ["EXPORTERS", "exporter_of", "save"]

EXPORTERS: tuple[ModuleType, ...] = (clip, bvh, csv, protomotions, beyondmimic)
"""where two share a suffix, the first is what `save` takes for it"""


def exporter_of(path: str | Path, format: str | None = None) -> ModuleType:
    """The exporter for a file.

    Args:
        path: its suffix chooses unless `format` does.
        format: short name of an exporter, such as "bvh".

    Raises:
        MotionError: if there is no such format, naming those there are.
    """
    names = [exporter.__name__.rpartition(".")[2] for exporter in EXPORTERS]
    if format is not None:
        if format not in names:
            raise MotionError(f"no export format {format!r}; there are {names}")
        return EXPORTERS[names.index(format)]
    suffix = Path(path).suffix
    found = [exporter for exporter in EXPORTERS if suffix.lower() == exporter.SUFFIX]
    if not found:
        known = ", ".join(f"{name} ({exporter.SUFFIX})" for name, exporter in zip(names, EXPORTERS, strict=True))
        raise MotionError(f"{path}: no export format has the suffix {suffix!r}; there are {known}")
    return found[0]


def save(motion: Motion, path: str | Path, format: str | None = None) -> None:
    """Write a clip to a file. The file appears complete or not at all.

    Args:
        motion: the clip.
        path: where to; its suffix chooses the format unless `format` does.
        format: short name of an exporter, such as "bvh".

    Raises:
        MotionError: if there is no such format, or the clip cannot be written in it.
    """
    exporter_of(path, format).write(motion, Path(path))
