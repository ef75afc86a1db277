"""Files that appear complete or not at all, and archives that do not hold what they say."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

__all__ = ["check_archive", "complete_file"]


@contextmanager
def complete_file(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes the final name when the block ends without an error."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check_archive(path: str | Path) -> None:
    """Compare the sizes that the arrays of an `.npz` archive claim with the bytes that are there.

    numpy allocates what an array's header says before it reads any of it: some bytes could ask for all memory there is.

    Raises:
        ValueError: naming the array; zipfile and numpy have errors of their own for other damage.
    """
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.filename.endswith(".npy"):
                continue
            with archive.open(info) as member:
                version = np.lib.format.read_magic(member)
                if version == (1, 0):
                    shape, _, kind = np.lib.format.read_array_header_1_0(member)
                else:
                    shape, _, kind = np.lib.format.read_array_header_2_0(member)
            if math.prod(shape) * kind.itemsize > info.file_size and not kind.hasobject:
                name = info.filename.removesuffix(".npy")
                raise ValueError(f"array {name!r} is said to be {shape} of {kind}, but has {info.file_size} bytes")
