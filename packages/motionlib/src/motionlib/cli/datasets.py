"""Commands on data sets: split and merge."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import tyro

from motionlib.cli.inputs import dataset_of, is_dataset
from motionlib.cli.session import Command, Session, UsageError, counted
from motionlib.cli.writing import split_paths
from motionlib.datasets import Dataset, merged, split_by_hash
from motionlib.library import MotionLib
from motionlib.motion import MotionError
from motionlib.packed import PackedWriter

__all__ = ["Merge", "Split", "moved"]

_PACKED = ".safetensors"


def moved(dataset: Dataset, root: Path) -> Dataset:
    """The same files, with paths that start from another folder."""
    return merged([replace(dataset, splits={})], root)[0]


@dataclass(frozen=True, kw_only=True)
class Split(Command):
    """Split a data set into one YAML file each for training, testing...

    Where a file goes depends on its name alone (below the folder or the data set's root): adding files moves none, and
    mirrored clips go with their originals.

    motionlib split clips/ splits/ --shares train=0.9 test=0.1
    """

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="INPUT [INPUT ...] OUTPUT")]
    """folders, files or YAML data sets; last, the folder to write to"""
    shares: tuple[str, ...] = field(default=())
    """such as train=0.9 test=0.1; the data set's own splits if left out, and that if it has none"""
    dry_run: bool = False
    """say what would be written, but write nothing"""
    overwrite: bool = False
    """replace files that are there already"""

    def run(self, session: Session) -> int:
        """Write the data sets."""
        inputs, output = split_paths(self.paths)
        if output.suffix and not output.is_dir():
            raise UsageError(f"want a folder to write the splits to, found {output}")
        dataset, duplicates = dataset_of(inputs)
        for problem in duplicates:
            session.problem(problem)
        parts = self._parts(dataset)
        targets = {name: output / f"{name}.yaml" for name in parts}
        if there := [str(path) for path in targets.values() if path.exists() and not self.overwrite]:
            raise MotionError(f"{', '.join(there)} is there already; --overwrite replaces it")
        if empty := [name for name, part in parts.items() if not part.files]:
            session.complain(f"no file falls into {', '.join(empty)}: the data set is too small for such shares")
        if not self.dry_run:
            output.mkdir(parents=True, exist_ok=True)
            for name, part in parts.items():
                moved(part, output).save(targets[name])
        for name, part in parts.items():
            text = f"{counted(len(part.files), 'file')} ({counted(part.num_clips, 'clip')})"
            session.say(f"{targets[name]}: {text}{', not written' if self.dry_run else ''}")
        sizes = {name: {"path": str(targets[name]), "files": len(part.files)} for name, part in parts.items()}
        session.result({"splits": sizes, "dry_run": self.dry_run})
        return 0

    def _parts(self, dataset: Dataset) -> Mapping[str, Dataset]:
        if not self.shares and dataset.splits:
            return {name: dataset.split(name) for name in dataset.splits}
        shares = _shares(self.shares or ("train=0.9", "test=0.1"))
        files = split_by_hash(dataset.files, shares)
        return {name: replace(dataset, files=part, splits={}) for name, part in files.items()}


def _shares(texts: Sequence[str]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            shares[name] = float(number)
        except ValueError:
            shares[name] = math.nan
        if not name or Path(name).name != name or not 0.0 < shares[name] <= 1.0:
            raise UsageError(f"a share is written like train=0.9, found {text!r}")
    return shares


@dataclass(frozen=True, kw_only=True)
class Merge(Command):
    """Join data sets into one YAML file, or packed libraries into one.

    motionlib merge cmu.yaml mine/ all.yaml

    motionlib merge part1.safetensors part2.safetensors all.safetensors
    """

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="INPUT [INPUT ...] OUTPUT")]
    """YAML data sets, folders and files, or packed libraries; last, the .yaml or .safetensors file to write"""
    dry_run: bool = False
    """say what would be written, but write nothing"""
    overwrite: bool = False
    """replace the output if it is there already"""

    def run(self, session: Session) -> int:
        """Write the result."""
        inputs, output = split_paths(self.paths)
        if output.suffix != _PACKED and not is_dataset(output):
            raise UsageError(f"want a .yaml or {_PACKED} file to write, found {output}")
        if output.exists() and not self.overwrite:
            raise MotionError(f"{output} is there already; --overwrite replaces it")
        if output.suffix == _PACKED:
            clips = self._libraries(inputs, output)
            files = len(inputs)
        else:
            dataset, duplicates = dataset_of(inputs)
            for problem in duplicates:
                session.problem(problem)
            clips, files = dataset.num_clips, len(dataset.files)
            if not self.dry_run:
                moved(dataset, output.parent).save(output)
        written = "would be written to" if self.dry_run else "written to"
        session.say(f"{counted(clips, 'clip')} of {counted(files, 'file')} {written} {output}")
        session.result({"written": [str(output)], "clips": clips, "files": files, "dry_run": self.dry_run})
        return 0

    def _libraries(self, inputs: Sequence[Path], output: Path) -> int:
        libraries = [MotionLib.open(path) for path in inputs]
        with ExitStack() as stack:
            if not self.dry_run:
                writer = stack.enter_context(PackedWriter(output, libraries[0].skeleton))
                for library in libraries:
                    writer.add_library(library)
        return sum(library.num_motions for library in libraries)
