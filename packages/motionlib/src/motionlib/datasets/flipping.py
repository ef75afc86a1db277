"""A data set as a mirror shows it: mirrored clips as files of their own, with mirrored captions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath

from motionlib.datasets.dataset import Dataset
from motionlib.datasets.entries import MotionFile, Problem, SubMotion
from motionlib.datasets.loading import OnError, log_problem, read_clips
from motionlib.motion import MotionError
from motionlib.processing.captions import flip_caption
from motionlib.processing.mirroring import FLIPPED_SUFFIX, mirrored
from poselib.skeleton import Skeleton

__all__ = ["flipped_dataset", "flipped_file"]


def flipped_file(file: MotionFile) -> MotionFile:
    """What a data set says of the mirrored file: `<name>_flipped.npz`, at its own rate, with flipped captions."""
    path = PurePosixPath(file.file)
    parts = tuple(
        replace(part, labels=tuple(flip_caption(label) for label in part.labels)) for part in file.sub_motions
    )
    return replace(
        file, file=path.with_name(f"{path.stem}{FLIPPED_SUFFIX}.npz").as_posix(), fps=None, sub_motions=parts
    )


def flipped_dataset(
    dataset: Dataset,
    root: str | Path,
    *,
    skeleton: Skeleton | None = None,
    on_error: OnError = "skip",
    workers: int = 1,
    report: Callable[[Problem], None] | None = None,
    options: Mapping[str, object] | None = None,
) -> Dataset:
    """Write the mirrored files and return their data set.

    Ids of scenes and objects are kept as they are: whether a mirrored clip fits them is for the scenes to say.

    Args:
        dataset: its files are read, whole.
        root: folder to write to, under the files' own paths.
        skeleton: of all clips, see `mirrored`.
        on_error: "skip" reports files that cannot be read or mirrored and goes on, "raise" ends with the first.
        workers: threads.
        report: takes what was skipped; without it, it goes to the log as a warning.
        options: for the importers.

    Raises:
        MotionError: with on_error="raise".
    """
    folder = Path(root)
    files = []
    with ThreadPoolExecutor(workers, thread_name_prefix="motionlib") as pool:
        for result in pool.map(lambda file: _flip(file, dataset.root, folder, skeleton, options), dataset.files):
            if isinstance(result, MotionFile):
                files.append(result)
            elif on_error == "raise":
                raise MotionError(str(result))
            else:
                (report or log_problem)(result)
    return Dataset(tuple(files), folder, dataset.splits)


def _flip(
    file: MotionFile, source: Path, target: Path, skeleton: Skeleton | None, options: Mapping[str, object] | None
) -> MotionFile | Problem:
    path = PurePosixPath(file.file)
    if path.is_absolute() or ".." in path.parts:
        return Problem(file.file, "lies outside of the data set's root, so that it has no place in another folder")
    (clip,) = read_clips(replace(file, sub_motions=(SubMotion(),)), source, 0, options)
    if isinstance(clip, Problem):
        return Problem(file.file, clip.reason)
    flipped = flipped_file(file)
    try:
        motion = mirrored(clip.motion, skeleton)
        (target / flipped.file).parent.mkdir(parents=True, exist_ok=True)
        motion.save(target / flipped.file)
    except (MotionError, OSError) as error:
        return Problem(file.file, str(error))
    return flipped
