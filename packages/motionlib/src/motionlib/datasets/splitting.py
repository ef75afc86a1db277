"""Splits that stay: whether a file belongs to the test part depends on its name alone.

The name's SHA-256 is a number in [0, 1) that no other file, no order and no seed changes; adding files to a data set
moves none from training to test. A mirrored clip goes where its original goes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from motionlib.datasets.entries import MotionFile
from motionlib.motion import MotionError
from motionlib.processing.mirroring import FLIPPED_SUFFIX

__all__ = ["chosen_split", "hash_share", "split_by_hash"]


def hash_share(file: str) -> float:
    """A number in [0, 1) of a file's path; its suffix and whether it is mirrored make no difference."""
    name = PurePosixPath(file).with_suffix("").as_posix().removesuffix(FLIPPED_SUFFIX)
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") / 2**48


def split_by_hash(files: Sequence[MotionFile], shares: Mapping[str, float]) -> dict[str, tuple[MotionFile, ...]]:
    """Divide files by the hashes of their names.

    Args:
        files: of a data set.
        shares: name of each part to its share, above 0 and 1 in all at most; what remains is in no part.

    Raises:
        MotionError: if the shares are none.
    """
    values = list(shares.values())
    if not values or not all(math.isfinite(v) and v > 0 for v in values) or math.fsum(values) > 1.0 + 1e-9:
        raise MotionError(f"shares must be above 0 and 1 in all at most, found {dict(shares)}")
    bounds = [math.fsum(values[: i + 1]) for i in range(len(values))]
    if math.isclose(bounds[-1], 1.0):
        bounds[-1] = 1.0
    parts: dict[str, list[MotionFile]] = {name: [] for name in shares}
    for file in files:
        share = hash_share(file.file)
        name = next((n for n, bound in zip(shares, bounds, strict=True) if share < bound), None)
        if name is not None:
            parts[name].append(file)
    return {name: tuple(part) for name, part in parts.items()}


def chosen_split(
    files: Sequence[MotionFile], splits: Mapping[str, float | tuple[str, ...]], name: str
) -> tuple[MotionFile, ...]:
    """The files of one of a data set's own splits, given as shares or as patterns of paths.

    Raises:
        MotionError: naming the splits there are.
    """
    if name not in splits:
        raise MotionError(f"no split {name!r} in this data set; it has {sorted(splits)}")
    chosen = splits[name]
    if isinstance(chosen, tuple):
        return tuple(file for file in files if any(fnmatchcase(file.file, pattern) for pattern in chosen))
    shares = {n: value for n, value in splits.items() if isinstance(value, float)}
    return split_by_hash(files, shares)[name]
