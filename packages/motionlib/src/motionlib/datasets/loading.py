"""From a data set's files to its clips, one after the other, past files that are broken."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal, get_args

from motionlib.datasets.entries import MotionFile, Problem, SubMotion
from motionlib.importers import load
from motionlib.motion import Motion, MotionError
from motionlib.processing.resampling import cropped

__all__ = ["Clip", "OnError", "cut", "iterate_clips", "log_problem", "read_clips"]

OnError = Literal["skip", "raise"]
"""What a broken file does: it is reported and left out, or it ends the reading."""

_LOG = logging.getLogger(__name__)
_OVERRUN = 0.1
"""s that a part may end after its file: data sets count frames at 20 or 30 per second, and round up"""


@dataclass(frozen=True, eq=False)
class Clip:
    """One part of a data set, read from its file."""

    motion: Motion
    """named after the file (with "#" and a number where it has several parts), with the part's labels"""
    file: MotionFile
    sub_motion: SubMotion
    index: int
    """of the part, counted through the data set"""

    @property
    def weight(self) -> float:
        """How often it is drawn against the others."""
        return self.file.weight * self.sub_motion.weight

    @property
    def goal(self) -> tuple[float, float] | None:
        """Seconds from the clip's first frame: from when to when its goal is reached."""
        if self.sub_motion.goal is None:
            return None
        start, end = (min(max(t - self.sub_motion.start, 0.0), self.motion.duration) for t in self.sub_motion.goal)
        return start, end


def iterate_clips(
    files: Iterable[MotionFile],
    root: Path,
    *,
    on_error: OnError,
    workers: int,
    report: Callable[[Problem], None] | None,
    options: Mapping[str, object] | None,
) -> Iterator[Clip]:
    """The clips of files in order; `Dataset.clips` says what the arguments mean."""
    if on_error not in get_args(OnError):
        raise MotionError(f"on_error must be one of {list(get_args(OnError))}, found {on_error!r}")
    if workers < 1:
        raise MotionError(f"want at least 1 worker, found {workers}")
    report = report or log_problem
    for results in _in_order(files, root, workers, options or {}):
        for result in results:
            if isinstance(result, Clip):
                yield result
            elif on_error == "raise":
                raise MotionError(str(result))
            else:
                report(result)


def log_problem(problem: Problem) -> None:
    """Say in the log, as a warning, what was skipped."""
    _LOG.warning("skipped %s", problem)


def _in_order(
    files: Iterable[MotionFile], root: Path, workers: int, options: Mapping[str, object]
) -> Iterator[list[Clip | Problem]]:
    """The results for each file, at most a few files ahead of what has been taken."""
    numbered = _numbered(files)
    if workers == 1:
        yield from (read_clips(file, root, first, options) for first, file in numbered)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="motionlib") as pool:
        waiting: deque[Future[list[Clip | Problem]]] = deque()
        try:
            for first, file in numbered:
                waiting.append(pool.submit(read_clips, file, root, first, options))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _numbered(files: Iterable[MotionFile]) -> Iterator[tuple[int, MotionFile]]:
    first = 0
    for file in files:
        yield first, file
        first += len(file.sub_motions)


def read_clips(
    file: MotionFile, root: Path, first: int, options: Mapping[str, object] | None = None
) -> list[Clip | Problem]:
    """The clips of one file, with the problem in the place of each part that cannot be used.

    Args:
        file: what the data set says of it.
        root: of the data set.
        first: index of its first part.
        options: of the importer, such as `skeleton`.
    """
    try:
        motion = load(root / file.file, **(options or {}))
        if file.fps is not None:
            motion = replace(motion, fps=file.fps)
    except Exception as error:  # one bad file of thousands must not end the reading, whatever is wrong with it
        return [Problem(file.file, _reason(error))]
    stem = PurePosixPath(file.file).with_suffix("").as_posix()
    results: list[Clip | Problem] = []
    for number, part in enumerate(file.sub_motions):
        name = stem if len(file.sub_motions) == 1 else f"{stem}#{number}"
        try:
            results.append(Clip(cut(motion, part, name), file, part, first + number))
        except MotionError as error:
            results.append(Problem(file.file, _reason(error), first + number))
    return results


def cut(motion: Motion, part: SubMotion, name: str) -> Motion:
    """A part of a file's motion, with its own labels if it has some.

    Args:
        motion: the whole file.
        part: may end a little after the file does.
        name: of the result.

    Raises:
        MotionError: if there is no such part of it.
    """
    motion = replace(motion, name=name, labels=part.labels or motion.labels)
    if part.is_whole:
        return motion
    end = part.end
    if end is not None and motion.duration < end <= motion.duration + _OVERRUN:
        end = motion.duration
    return cropped(motion, part.start, end)


def _reason(error: Exception) -> str:
    known = isinstance(error, MotionError | OSError)
    return str(error) if known else f"{type(error).__name__}: {error}"
