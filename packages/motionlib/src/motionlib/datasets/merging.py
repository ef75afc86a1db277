"""Several data sets as one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from motionlib.datasets.dataset import Dataset
from motionlib.datasets.entries import MotionFile, Problem
from motionlib.motion import MotionError

__all__ = ["merged"]


def merged(datasets: Sequence[Dataset], root: str | Path | None = None) -> tuple[Dataset, tuple[Problem, ...]]:
    """All files of several data sets, in order; indices are counted anew.

    A file that occurs again with other parts brings those; parts that were there before are left out and reported.

    Args:
        datasets: at least one. Their own splits are dropped, since a share of one is no share of all.
        root: of the result; the first one's if left out. Paths are rewritten to start from it.

    Returns:
        The data set and what was left out of it.

    Raises:
        MotionError: if there is no data set.
    """
    if not datasets:
        raise MotionError("want at least one data set to merge")
    folder = datasets[0].root if root is None else Path(root)
    files: dict[str, MotionFile] = {}
    duplicates = []
    for dataset in datasets:
        for file in dataset.files:
            path = _path_from(folder, dataset.root, file.file)
            known = files.get(path)
            if known is None:
                files[path] = replace(file, file=path)
                continue
            new = tuple(part for part in file.sub_motions if part not in known.sub_motions)
            again = len(file.sub_motions) - len(new)
            if again:
                duplicates.append(Problem(path, f"{again} of its {len(file.sub_motions)} parts were there before"))
            if new and (file.fps, file.weight) != (known.fps, known.weight):
                told = f"fps {file.fps}, weight {file.weight:g} and before fps {known.fps}, weight {known.weight:g}"
                raise MotionError(f"{path}: the data sets do not agree on it: {told}")
            files[path] = replace(known, sub_motions=known.sub_motions + new)
    return Dataset(tuple(files.values()), folder), tuple(duplicates)


def _path_from(folder: Path, root: Path, file: str) -> str:
    """The file's path from another folder; the same text where the two are the same."""
    if folder == root:
        return file
    return Path(os.path.relpath(root / file, folder)).as_posix()
