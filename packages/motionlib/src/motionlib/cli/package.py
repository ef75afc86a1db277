"""The command package: many clips into one memory-mapped file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from motionlib.cli.batch import Fields, packed_up, unpacked
from motionlib.cli.inputs import Character, Item, dataset_of, items_of, read_whole
from motionlib.cli.session import ReadingCommand, Session, UsageError, WritingCommand, counted, lasting
from motionlib.cli.writing import Change, split_paths
from motionlib.datasets import Problem, SubMotion
from motionlib.embeddings import Encoder, sentence_transformer
from motionlib.motion import Motion, MotionError
from motionlib.packed import PackedWriter
from motionlib.processing import HeightFix, character_of, skeleton_of
from motionlib.sub_motions import SubMotions

__all__ = ["Package"]


@dataclass(frozen=True, kw_only=True)
class Package(ReadingCommand, WritingCommand):
    """Pack clips into one .safetensors file: what MotionLib.open reads, at once whatever its size.

    motionlib package dataset.yaml library.safetensors --character smpl --fps 30 --workers 8
    """

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="INPUT [INPUT ...] OUTPUT")]
    """files, folders, YAML data sets (with parts, captions and weights) or samples; last, the .safetensors file"""
    character: Annotated[Character | None, tyro.conf.arg(aliases=["--robot"])] = None
    """built-in character to retarget to; else all clips must be of the first one's"""
    ik: bool = True
    """put feet, floor and joint limits right after retargeting"""
    fps: float | None = None
    """frames per second to resample to"""
    split: str | None = None
    """take this split of the data sets alone"""
    height_fix: HeightFix = "lift"
    """put clips on the ground: frames that sink are lifted, clips moved by their lowest point, or left as they are"""
    loop_blend: float = 0.25
    """s on either side of the seam over which a loop is bent to close"""
    text_model: str | None = None
    """store embeddings of the captions by this sentence-transformers model, such as all-MiniLM-L6-v2"""

    def run(self, session: Session) -> int:
        """Write the library."""
        inputs, output = split_paths(self.paths)
        if output.suffix != ".safetensors":
            raise UsageError(f"a packed library is a .safetensors file, not {output}")
        if not output.parent.is_dir():
            raise MotionError(f"{output}: no folder {output.parent}")
        if output.exists() and not self.overwrite:
            raise MotionError(f"{output} is there already; --overwrite replaces it")
        encoder = None if self.text_model is None or self.dry_run else sentence_transformer(self.text_model)
        dataset, duplicates = dataset_of(inputs, self.split)
        for problem in duplicates:
            self.report(session, problem)
        change = Change() if self.dry_run else Change(character=self.character, ik=self.ik, fps=self.fps)
        tasks = [PackTask(item, change) for item in items_of(dataset, self.source)]
        total: dict[str, float] = dict.fromkeys(("clips", "parts", "frames", "seconds"), 0.0)
        with ExitStack() as stack:
            writer: PackedWriter | None = None
            first: Motion | None = None
            for task, motion, parts in self._clips(session, tasks):
                try:
                    self._check_character(motion, first)
                    if not self.dry_run:
                        writer = writer or stack.enter_context(self._writer(output, motion, encoder))
                        writer.add(motion, task.item.file.weight, parts)
                except MotionError as error:
                    self.report(session, Problem(task.name, str(error)))
                    continue
                first = first or motion
                more: tuple[float, ...] = (1, max(len(parts), 1), motion.num_frames, motion.duration)
                total = {name: value + new for (name, value), new in zip(total.items(), more, strict=True)}
            if not total["clips"]:
                raise MotionError(f"{output}: not written, since there is no clip for it")
        return self._finish(session, output, total)

    def _check_character(self, motion: Motion, first: Motion | None) -> None:
        if self.character is not None:
            return  # a dry run has not retargeted it
        own = character_of(motion)
        if first is not None and set(first.body_names) != set(motion.body_names):
            raise MotionError(
                f"it is of {own or 'no built-in character'}, the library, by its first clip {first.name!r}, of "
                f"{character_of(first) or 'another'}: --character retargets all to one"
            )
        if self.height_fix != "none" and own is None:
            raise MotionError(
                "it is of no built-in character, so that nothing is known of its feet: --character retargets it, "
                "--height-fix none packs it as it is"
            )

    def _writer(self, output: Path, motion: Motion, encoder: Encoder | None) -> PackedWriter:
        """For the character of a clip."""
        return PackedWriter(
            output, skeleton_of(motion), height_fix=self.height_fix, loop_blend=self.loop_blend, encoder=encoder
        )

    def _clips(
        self, session: Session, tasks: Sequence[PackTask]
    ) -> Iterator[tuple[PackTask, Motion, tuple[SubMotion, ...]]]:
        """Clips that can be used, with their parts."""
        for task, prepared in self.each(session, prepare, tasks, "packing"):
            for problem in prepared.problems:
                self.report(session, problem)
            for content in prepared.clips:
                yield task, unpacked(content), prepared.parts

    def _finish(self, session: Session, output: Path, total: Mapping[str, float]) -> int:
        written = "would be packed" if self.dry_run else "packed"
        text = f"{counted(int(total['clips']), 'clip')} ({lasting(total['seconds'])}) {written} into {output}"
        size = None if self.dry_run else output.stat().st_size
        text += "" if size is None else f", {size / 1e6:.1f} MB"
        session.say(text + (f", {len(session.problems)} skipped" if session.problems else ""))
        counts = {name: int(value) for name, value in total.items() if name != "seconds"}
        session.result(
            {"written": [str(output)], **counts, "seconds": total["seconds"], "bytes": size, "dry_run": self.dry_run}
        )
        return 0


@dataclass(frozen=True)
class PackTask:
    """One file of a library."""

    item: Item
    change: Change

    @property
    def name(self) -> str:
        """The file, for messages."""
        return self.item.name


@dataclass(frozen=True)
class Prepared:
    """The clips of a file."""

    clips: tuple[Fields, ...]
    parts: tuple[SubMotion, ...]
    problems: tuple[Problem, ...]


def prepare(task: PackTask) -> Prepared:
    """Read a file and change its clips; parts that lie outside of it are left out.

    Raises:
        MotionError: if the file cannot be read or changed, or no part is left.
    """
    item = task.item
    motions, stem = read_whole(item), str(item.stem)
    parts, problems = item.file.sub_motions, []
    if parts == (SubMotion(),):
        parts = ()
    elif len(motions) > 1:
        raise MotionError(f"{item.path}: holds {len(motions)} clips, so that no parts can be cut from it")
    usable = []
    for number, part in enumerate(parts):
        try:
            SubMotions.of(motions, [1.0], [[part]])
            usable.append(part)
        except MotionError as error:
            problems.append(Problem(item.name, str(error), item.first + number))
    if problems and not usable:
        raise MotionError(problems[0].reason)
    clips = []
    for number, motion in enumerate(motions):
        name = stem if len(motions) == 1 else f"{stem}#{number}"
        clips.append(packed_up(replace(task.change.apply(motion)[0], name=name)))
    return Prepared(tuple(clips), tuple(usable), tuple(problems))
