"""A data set: which files, which parts of them, what each part shows, and how often it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from motionlib.datasets.entries import MotionFile, Problem, SubMotion
from motionlib.datasets.loading import Clip, OnError, iterate_clips
from motionlib.datasets.splitting import chosen_split
from motionlib.datasets.yaml_files import Splits, read_files, write_files
from motionlib.motion import Motion, MotionError

__all__ = ["Dataset"]


@dataclass(frozen=True)
class Dataset:
    """Motion files and their parts. Having one touches no motion file; `clips` and `motions` read them."""

    files: tuple[MotionFile, ...]
    root: Path = Path()
    """folder that the files' paths start from"""
    splits: Splits = field(default_factory=dict)
    """parts of the data set by name: a share of the files, or patterns of their paths"""

    # --- files -------------------------------------------------------------------------------------------------------

    @classmethod
    def load(cls, path: str | Path, root: str | Path | None = None) -> Dataset:
        """Read a YAML file, ours or one of ProtoMotions 1 to 3; `motionlib.datasets.yaml_files` says what it may hold.

        Args:
            path: the YAML file.
            root: folder of the motion files; the YAML file's own if left out.

        Raises:
            MotionError: naming the file, the entry, the key, and what would be right.
        """
        path = Path(path)
        folder = path.parent if root is None else Path(root)
        files, splits = read_files(path, folder)
        return cls(files, folder, splits)

    @classmethod
    def of_files(cls, paths: Iterable[str | Path], root: str | Path = ".") -> Dataset:
        """Whole files of weight 1.

        Args:
            paths: from the working folder, or absolute.
            root: folder that the stored paths start from; files outside of it are stored with their absolute path.
        """
        folder = Path(root).resolve()
        absolute = [Path(path).resolve() for path in paths]
        names = [(p.relative_to(folder) if p.is_relative_to(folder) else p).as_posix() for p in absolute]
        return cls(tuple(MotionFile(file=name) for name in names), Path(root))

    @classmethod
    def of_folder(cls, folder: str | Path, pattern: str = "**/*") -> Dataset:
        """All files below a folder that fit a pattern, by name; hidden ones, texts and tables of data sets left out.

        Raises:
            MotionError: if there is no such folder or no file.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise MotionError(f"no folder at {folder}")
        paths = [p.relative_to(folder) for p in sorted(folder.glob(pattern)) if p.is_file()]
        names = [
            p.as_posix()
            for p in paths
            if not any(part.startswith(".") for part in p.parts) and p.suffix.lower() not in (".yaml", ".yml", ".md")
        ]
        if not names:
            raise MotionError(f"{folder}: no file fits {pattern!r}")
        return cls(tuple(MotionFile(file=name) for name in names), folder)

    def save(self, path: str | Path) -> None:
        """Write a YAML file that `load` reads, and ProtoMotions too; it appears complete or not at all."""
        write_files(Path(path), self.files, self.splits)

    # --- what is in it -----------------------------------------------------------------------------------------------

    @property
    def num_clips(self) -> int:
        """Parts of all files."""
        return sum(len(file.sub_motions) for file in self.files)

    def parts(self) -> Iterator[tuple[int, MotionFile, SubMotion]]:
        """Every part with its index and its file, in order."""
        pairs = ((file, part) for file in self.files for part in file.sub_motions)
        yield from ((index, file, part) for index, (file, part) in enumerate(pairs))

    def clips(
        self,
        root: str | Path | None = None,
        *,
        on_error: OnError = "skip",
        workers: int = 1,
        report: Callable[[Problem], None] | None = None,
        options: Mapping[str, object] | None = None,
    ) -> Iterator[Clip]:
        """Read the parts one after the other; only a few files are in memory at a time.

        Args:
            root: folder of the files, if another than the data set's.
            on_error: "skip" reports what cannot be used and goes on, "raise" ends the reading.
            workers: threads that read ahead.
            report: takes what was skipped; without it, it goes to the log as a warning.
            options: what the files do not say, for the importers, such as `{"skeleton": "g1"}`.

        Raises:
            MotionError: with on_error="raise", for the first part that cannot be used.
        """
        folder = self.root if root is None else Path(root)
        return iterate_clips(self.files, folder, on_error=on_error, workers=workers, report=report, options=options)

    def motions(
        self,
        root: str | Path | None = None,
        *,
        on_error: OnError = "skip",
        workers: int = 1,
        report: Callable[[Problem], None] | None = None,
        options: Mapping[str, object] | None = None,
    ) -> Iterator[Motion]:
        """The motions of `clips`, with the parts' labels."""
        clips = self.clips(root, on_error=on_error, workers=workers, report=report, options=options)
        return (clip.motion for clip in clips)

    # --- other data sets ---------------------------------------------------------------------------------------------

    def split(self, name: str) -> Dataset:
        """The files of one of the data set's own splits.

        Raises:
            MotionError: naming the splits there are.
        """
        return replace(self, files=chosen_split(self.files, self.splits, name), splits={})

    def whole_files(self) -> Dataset:
        """The same files, each as a single part: clip n of the result is all of `files[n]`.

        For what keeps a file once and its parts as times in it, such as a packed library.
        """
        return replace(self, files=tuple(replace(file, sub_motions=(SubMotion(),)) for file in self.files))

    def map_parts(self, change: Callable[[int, MotionFile, SubMotion], SubMotion | None]) -> Dataset:
        """The data set with every part changed, or left out where `change` returns None.

        Args:
            change: takes the index, the file and the part.
        """
        kept: dict[int, list[SubMotion]] = {number: [] for number in range(len(self.files))}
        index = 0
        for number, file in enumerate(self.files):
            for part in file.sub_motions:
                if (changed := change(index, file, part)) is not None:
                    kept[number].append(changed)
                index += 1
        files = (replace(self.files[number], sub_motions=tuple(parts)) for number, parts in kept.items() if parts)
        return replace(self, files=tuple(files))

    def without(self, problems: Collection[Problem]) -> Dataset:
        """The data set without what has a problem: whole files, or single parts."""
        files = {problem.file for problem in problems if problem.index is None}
        indices = {problem.index for problem in problems}
        return self.map_parts(lambda index, file, part: None if file.file in files or index in indices else part)
