"""The table of frame rates that ProtoMotions keeps beside AMASS: `{path: fps}` as YAML."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from motionlib.datasets.dataset import Dataset
from motionlib.datasets.yaml_files import read_yaml, write_yaml
from motionlib.motion import MotionError

__all__ = ["rate_table", "read_rates", "with_rates", "write_rates"]


def read_rates(path: str | Path) -> dict[str, float]:
    """Frames per second of each file.

    Raises:
        MotionError: if it is no mapping of paths to positive numbers, naming the entry.
    """
    table = read_yaml(Path(path))
    if not isinstance(table, dict):
        raise MotionError(f"{path}: want a mapping of paths to frames per second, found {type(table).__name__}")
    for file, fps in table.items():
        if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps < math.inf:
            raise MotionError(f"{path}: {file}: want a positive number of frames per second, found {fps!r}")
    return {str(file): float(fps) for file, fps in table.items()}


def write_rates(path: str | Path, rates: Mapping[str, float]) -> None:
    """Write what `read_rates` reads; it appears complete or not at all."""
    write_yaml(Path(path), dict(rates))


def rate_table(dataset: Dataset, workers: int = 1) -> dict[str, float]:
    """Frames per second of each file of a data set that can be read, as the file itself says."""
    plain = replace(dataset, files=tuple(replace(file, fps=None) for file in dataset.files))
    return {clip.file.file: clip.motion.fps for clip in plain.clips(workers=workers)}


def with_rates(dataset: Dataset, rates: Mapping[str, float]) -> Dataset:
    """The data set with the rates of a table, found by path, whatever the suffix; other files keep theirs."""
    known = {PurePosixPath(file).with_suffix("").as_posix(): fps for file, fps in rates.items()}
    files = (
        replace(file, fps=known.get(PurePosixPath(file.file).with_suffix("").as_posix(), file.fps))
        for file in dataset.files
    )
    return replace(dataset, files=tuple(files))
