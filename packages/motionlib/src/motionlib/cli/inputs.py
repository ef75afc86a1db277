"""What commands read: files, folders, data sets and samples, all as the items of one data set."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from motionlib.datasets import Dataset, MotionFile, Problem, SubMotion, merged
from motionlib.datasets.loading import cut
from motionlib.importers import importer_of, load_all, options_of
from motionlib.importers.axes import Axis
from motionlib.importers.bvh import Unit
from motionlib.importers.csv import RootRotation
from motionlib.motion import Motion, MotionError
from motionlib.samples import sample_path, sample_skeletons
from poselib import models
from poselib.skeleton import Skeleton

__all__ = ["Character", "Item", "Source", "dataset_of", "is_dataset", "items_of", "read_clips", "read_whole"]

if TYPE_CHECKING:
    Character = str
else:
    Character = Literal[tuple(models.MODELS)]

_YAML = (".yaml", ".yml")


@dataclass(frozen=True)
class Source:
    """What files do not say of themselves; formats that say it do not ask."""

    skeleton: str | None = None
    """built-in character or MJCF file (.xml), where bodies are not named"""
    fps: float | None = None
    """frames per second, in place of what the files say"""
    unit: Unit | None = None
    """of length (BVH, CSV: m or cm)"""
    angles: Literal["rad", "deg"] | None = None
    """of angles (CSV)"""
    root_rotation: RootRotation | None = None
    """how the root's rotation is written (CSV)"""
    up: Axis | None = None
    """which axis points up (BVH, ASF/AMC)"""
    forward: Axis | None = None
    """which axis the rest pose faces (BVH, ASF/AMC)"""
    skeleton_file: Path | None = None
    """the .asf file of .amc files"""

    def options(self) -> dict[str, object]:
        """What was given, as options of importers."""
        given: dict[str, object] = {f.name: getattr(self, f.name) for f in fields(self)}
        if self.skeleton is not None and self.skeleton.endswith(".xml"):
            given["skeleton"] = Skeleton.from_mjcf(Path(self.skeleton))
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class Item:
    """One file of a run."""

    file: MotionFile
    root: Path
    first: int
    """index of its first part in the data set"""
    source: Source

    @property
    def name(self) -> str:
        """As the data set has it."""
        return self.file.file

    @property
    def path(self) -> Path:
        """From the working folder."""
        return self.root / self.file.file

    @property
    def stem(self) -> PurePosixPath:
        """The name without its suffix, below a folder: without a drive and steps up."""
        path = PurePosixPath(self.file.file).with_suffix("")
        return PurePosixPath(*(part for part in path.parts if part not in ("/", "..")))


def is_dataset(path: Path) -> bool:
    """Whether it is a data set by its name."""
    return path.suffix.lower() in _YAML


def dataset_of(inputs: Sequence[Path], split: str | None = None) -> tuple[Dataset, tuple[Problem, ...]]:
    """One data set of files, folders, YAML files, and samples such as amp/walk.

    Returns:
        The data set, and what stands in it twice and was left out.

    Raises:
        MotionError: if something is not there, or the YAML is wrong.
    """
    found = [path if path.exists() else _sample(path) for path in inputs]
    plain = [path for path in found if path.is_file() and not is_dataset(path)]
    datasets = [Dataset.load(p) if is_dataset(p) else Dataset.of_folder(p) for p in found if p not in plain]
    if split is not None:
        datasets = [dataset.split(split) for dataset in datasets]
    if plain:
        unique = list(dict.fromkeys(path.resolve() for path in plain))
        datasets.append(Dataset.of_files(unique, root=os.path.commonpath([path.parent for path in unique])))
    return (datasets[0], ()) if len(datasets) == 1 else merged(datasets)


def _sample(path: Path) -> Path:
    if len(path.parts) == 2 and path.parts[0] in sample_skeletons():
        return sample_path(*path.parts)
    raise MotionError(f"no file or folder {path}")


def items_of(dataset: Dataset, source: Source) -> list[Item]:
    """The files of a data set."""
    items, first = [], 0
    for file in dataset.files:
        items.append(Item(file, dataset.root, first, source))
        first += len(file.sub_motions)
    return items


def read_whole(item: Item) -> list[Motion]:
    """All clips of a file, whatever parts the data set has of it, with the names that they have in it.

    Raises:
        MotionError: if it cannot be read.
    """
    importer = importer_of(item.path)
    options: Mapping[str, object] = {n: v for n, v in item.source.options().items() if n in options_of(importer)}
    motions = load_all(item.path, **options)
    fps = item.file.fps or item.source.fps
    return motions if fps is None else [replace(motion, fps=fps) for motion in motions]


def read_clips(item: Item) -> tuple[list[Motion], list[Problem]]:
    """The parts of a file that the data set lists, with their labels, and those that cannot be used.

    One clip is named after its file, several with "#" and a number.

    Raises:
        MotionError: if the file cannot be read.
    """
    motions, parts, stem = read_whole(item), item.file.sub_motions, str(item.stem)
    if len(motions) > 1:
        if parts != (SubMotion(),):
            raise MotionError(f"{item.path}: holds {len(motions)} clips, so that no parts can be cut from it")
        return [replace(motion, name=f"{stem}#{number}") for number, motion in enumerate(motions)], []
    clips, problems = [], []
    for number, part in enumerate(parts):
        try:
            clips.append(cut(motions[0], part, stem if len(parts) == 1 else f"{stem}#{number}"))
        except MotionError as error:
            problems.append(Problem(item.name, str(error), item.first + number))
    return clips, problems
