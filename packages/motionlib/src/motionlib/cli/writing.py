"""Clips from files to files: read, change, write. What convert, retarget and flip share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Literal

from motionlib.cli.batch import reason_of
from motionlib.cli.inputs import Item, Source, dataset_of, is_dataset, items_of, read_clips, read_whole
from motionlib.cli.session import Session, UsageError, WritingCommand, counted, lasting
from motionlib.datasets import Dataset, Problem
from motionlib.exporters import exporter_of, save
from motionlib.motion import Motion, MotionError
from motionlib.processing import RetargetReport, mirrored, resampled, retargeted, retargeted_with_report

__all__ = [
    "Change",
    "ClipTask",
    "ExportFormat",
    "Outputs",
    "Total",
    "Written",
    "outputs_of",
    "split_paths",
    "write_all",
]

ExportFormat = Literal["clip", "bvh", "csv", "protomotions", "beyondmimic"]
"""short names of exporters"""


@dataclass(frozen=True)
class Change:
    """What is done to a clip, in this order."""

    mirror: bool = False
    character: str | None = None
    ik: bool = True
    measure: bool = False
    """work out the quality before and after retargeting; clips of that very character are cleaned"""
    fps: float | None = None

    def apply(self, motion: Motion) -> tuple[Motion, RetargetReport | None]:
        """The clip after it, and how good retargeting was if that is asked for.

        Raises:
            MotionError: if it cannot be done to this clip.
        """
        report = None
        if self.mirror:
            motion = mirrored(motion)
        if self.character is not None and self.measure:
            motion, report = retargeted_with_report(motion, self.character, ik=self.ik)
        elif self.character is not None:
            motion = retargeted(motion, self.character, ik=self.ik)
        if self.fps is not None:
            motion = resampled(motion, self.fps)
        return motion, report


@dataclass(frozen=True)
class ClipTask:
    """One file to read and what to make of it."""

    item: Item
    target: Path
    """of the clip; where there are several, each gets a number"""
    format: str
    change: Change
    whole: bool
    """take the whole file, whatever parts a data set has of it"""
    overwrite: bool
    dry_run: bool

    @property
    def name(self) -> str:
        """The file, for messages."""
        return self.item.name


@dataclass(frozen=True)
class Written:
    """What became of a file."""

    paths: tuple[str, ...] = ()
    existing: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    frames: int = 0
    seconds: float = 0.0
    reports: tuple[tuple[str, RetargetReport], ...] = ()
    """of clips by name"""


def write_clips(task: ClipTask) -> Written:
    """Read a file, change its clips, write them.

    Raises:
        MotionError: if the file cannot be read.
    """
    if task.target.exists() and not task.overwrite:
        return Written(existing=(str(task.target),))
    problems: list[Problem] = []
    if task.whole or (len(task.item.file.sub_motions) == 1 and task.item.file.sub_motions[0].is_whole):
        motions = read_whole(task.item)
        labels = task.item.file.sub_motions[0].labels if not task.whole else ()
        motions = [replace(motion, labels=labels or motion.labels) for motion in motions]
    else:
        motions, problems = read_clips(task.item)
    result = Written(problems=tuple(problems))
    for number, motion in enumerate(motions):
        target = task.target
        if len(motions) > 1 or (len(task.item.file.sub_motions) > 1 and not task.whole):
            target = target.with_name(f"{target.stem}-{number}{target.suffix}")
        result = _with_clip(result, task, motion, target)
    return result


def _with_clip(result: Written, task: ClipTask, motion: Motion, target: Path) -> Written:
    if target.exists() and not task.overwrite:
        return replace(result, existing=(*result.existing, str(target)))
    try:
        if not task.dry_run:
            motion, report = task.change.apply(motion)
            target.parent.mkdir(parents=True, exist_ok=True)
            save(motion, target, task.format)
            if report is not None:
                result = replace(result, reports=(*result.reports, (motion.name, report)))
    except (MotionError, OSError) as error:
        return replace(result, problems=(*result.problems, Problem(task.name, reason_of(error))))
    frames, seconds = result.frames + motion.num_frames, result.seconds + motion.duration
    return replace(result, paths=(*result.paths, str(target)), frames=frames, seconds=seconds)


# --- where to --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outputs:
    """Files to read, and where what is made of each goes."""

    dataset: Dataset
    duplicates: tuple[Problem, ...]
    items: tuple[Item, ...]
    targets: tuple[Path, ...]
    """for each file of the data set"""
    format: str
    is_folder: bool


def split_paths(paths: Sequence[Path]) -> tuple[tuple[Path, ...], Path]:
    """Inputs and the output, which comes last.

    Raises:
        UsageError: if one of them is missing.
    """
    if len(paths) < 2:
        raise UsageError("want at least one input and, last, the output")
    return tuple(paths[:-1]), paths[-1]


def outputs_of(paths: Sequence[Path], source: Source, format: str | None, ending: str = "") -> Outputs:
    """Read the command line as `cp` does: one file into a file, anything else into a folder.

    Args:
        paths: inputs, then the output.
        source: what the inputs do not say.
        format: short name of an export format; by the output's suffix if left out, ours for a folder.
        ending: what the names of outputs in a folder end with.

    Raises:
        UsageError: if several inputs should go into one file.
        MotionError: if an input is missing, no format fits, or two inputs would become one file.
    """
    inputs, output = split_paths(paths)
    dataset, duplicates = dataset_of(inputs)
    items = tuple(items_of(dataset, source))
    one_file = len(inputs) == 1 and not inputs[0].is_dir() and not is_dataset(inputs[0])
    if one_file and output.suffix and not output.is_dir():
        exporter = exporter_of(output, format)
        if not output.parent.is_dir():
            raise MotionError(f"{output}: no folder {output.parent}")
        return Outputs(dataset, duplicates, items, (output,), _short(exporter), False)
    if output.suffix and not output.is_dir():
        raise UsageError(f"several clips need a folder to go to, and {output} is named like a file")
    if output.is_file():
        raise MotionError(f"{output} is a file, where a folder is wanted")
    exporter = exporter_of("", format or "clip")
    names = [item.stem.with_name(f"{item.stem.name}{ending}{exporter.SUFFIX}") for item in items]
    targets = tuple(output / name for name in names)
    _check_distinct(dataset, targets)
    return Outputs(dataset, duplicates, items, targets, _short(exporter), True)


def _short(exporter: ModuleType) -> str:
    return exporter.__name__.rpartition(".")[2]


def _check_distinct(dataset: Dataset, targets: Sequence[Path]) -> None:
    known: dict[Path, str] = {}
    for file, target in zip(dataset.files, targets, strict=True):
        if target in known:
            raise MotionError(f"{known[target]} and {file.file} would both become {target}: convert them apart")
        known[target] = file.file


# --- all of them -----------------------------------------------------------------------------------------------------


@dataclass
class Total:
    """What a run wrote."""

    dry_run: bool
    paths: list[str] = field(default_factory=list)
    existing: list[str] = field(default_factory=list)
    frames: int = 0
    seconds: float = 0.0
    reports: dict[str, RetargetReport] = field(default_factory=dict)

    def add(self, written: Written) -> None:
        """Count a file."""
        self.paths += written.paths
        self.existing += written.existing
        self.frames += written.frames
        self.seconds += written.seconds
        self.reports |= dict(written.reports)

    def finish(self, session: Session, where: Path, **more: object) -> int:
        """Say what was done; the exit code is 1 if there were problems and nothing came of it."""
        what = "would be written" if self.dry_run else "written"
        parts = [f"{counted(len(self.paths), 'clip')} ({lasting(self.seconds)}) {what} to {where}"]
        if self.existing:
            parts.append(f"{len(self.existing)} already there (--overwrite replaces them)")
        if session.problems:
            parts.append(f"{len(session.problems)} skipped")
        session.say(", ".join(parts))
        counts = {"clips": len(self.paths), "frames": self.frames, "seconds": round(self.seconds, 6)}
        content = {"written": self.paths, "existing": self.existing, **counts, "dry_run": self.dry_run, **more}
        session.result(content)
        return int(bool(session.problems) and not self.paths and not self.existing)


def write_all(
    command: WritingCommand,
    session: Session,
    outputs: Outputs,
    change: Change,
    what: str,
    *,
    whole: bool = False,
) -> tuple[Total, list[Item]]:
    """Write every clip; returns what was written, and the files of which all is there.

    Raises:
        MotionError: if the one output is there already, or with --strict.
    """
    if not outputs.is_folder and outputs.targets[0].exists() and not command.overwrite:
        raise MotionError(f"{outputs.targets[0]} is there already; --overwrite replaces it")
    for problem in outputs.duplicates:
        command.report(session, problem)
    tasks = [
        ClipTask(item, target, outputs.format, change, whole, command.overwrite, command.dry_run)
        for item, target in zip(outputs.items, outputs.targets, strict=True)
    ]
    total, complete = Total(command.dry_run), []
    for task, written in command.each(session, write_clips, tasks, what):
        total.add(written)
        for problem in written.problems:
            command.report(session, problem)
        for path in written.paths if command.dry_run else ():
            session.say(f"would write {path}")
        if not written.problems:
            complete.append(task.item)
    return total, complete
