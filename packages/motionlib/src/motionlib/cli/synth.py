"""The command synth: an endless library of walking clips without a recording, hence without a licence."""

from __future__ import annotations

import itertools
import math
import random
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from motionlib.cli.batch import Fields, packed_up, unpacked
from motionlib.cli.inputs import Character
from motionlib.cli.session import Session, UsageError, WritingCommand
from motionlib.cli.writing import ExportFormat, Total, Written
from motionlib.exporters import exporter_of
from motionlib.motion import MotionError
from motionlib.packed import PackedWriter
from motionlib.synth import synthesize_walk
from poselib import models

__all__ = ["Synth"]

_DRAWN = 10
"""clips if something is drawn and no number is given"""


@dataclass(frozen=True, kw_only=True)
class Synth(WritingCommand):
    """Make walking clips at any speed and turn rate from published joint curves; loops with feet that stand.

    A value is a number (1.2), a range to draw from (0.8..2.0), or a range with a step (0.8..2.0:0.2), all of whose
    values are taken. The same seed gives the same clips; go on with --seed 10 after ten of them.

    motionlib synth walks/ --speed 0.8..2.0 --turn -0.5..0.5 --count 100
    """

    output: Annotated[Path, tyro.conf.Positional]
    """folder to write to; a .safetensors file packs the clips, any other file name takes just one"""
    character: Annotated[Character, tyro.conf.arg(aliases=["--robot"])] = "amp"
    """built-in character"""
    speed: str = "1.2"
    """m/s"""
    turn: str = "0"
    """rad/s to the left"""
    count: int | None = None
    """clips for each combination of steps; 1 if left out, or 10 if speed or turn are drawn"""
    seed: int = 0
    """of the first clip; each following has the next"""
    styles: bool = True
    """let each clip have a way of walking of its own; without, all walk like the average"""
    seconds: float = 10.0
    """length, rounded to whole strides"""
    fps: float = 30.0
    """frames per second"""
    format: ExportFormat | None = None
    """of what is written; else by the suffix of OUTPUT, and ours (.npz) in a folder"""

    def run(self, session: Session) -> int:
        """Write the clips."""
        tasks = self._tasks()
        packs, is_folder = self.output.suffix == ".safetensors", self._is_folder
        if not is_folder:
            if self.output.exists() and not self.overwrite:
                raise MotionError(f"{self.output} is there already; --overwrite replaces it")
            if not self.output.parent.is_dir():
                raise MotionError(f"{self.output}: no folder {self.output.parent}")
            if len(tasks) > 1 and not packs:
                raise UsageError(f"{len(tasks)} clips need a folder or a .safetensors file, {self.output} is neither")
        exporter = exporter_of(
            "" if is_folder else self.output, self.format or ("clip" if is_folder or packs else None)
        )
        total = Total(self.dry_run)
        targets = {task: self.output / f"{task.name}{exporter.SUFFIX}" if is_folder else self.output for task in tasks}
        if is_folder and not self.overwrite:
            total.existing += [str(target) for target in targets.values() if target.exists()]
            tasks = [task for task in tasks if not targets[task].exists()]
        if self.dry_run:
            for task in tasks:
                session.say(f"would write {task.name}")
                total.add(Written((str(targets[task]),), seconds=self.seconds))
            return total.finish(session, self.output)
        with ExitStack() as stack:
            writer: PackedWriter | None = None
            for task, content in self.each(session, walk, tasks, "walking"):
                motion = unpacked(content)
                if packs:
                    writer = writer or stack.enter_context(PackedWriter(self.output, models.skeleton(self.character)))
                    writer.add(motion)
                else:
                    targets[task].parent.mkdir(parents=True, exist_ok=True)
                    exporter.write(motion, targets[task])
                path = f"{self.output}#{task.name}" if packs else str(targets[task])
                total.add(Written((path,), frames=motion.num_frames, seconds=motion.duration))
        return total.finish(session, self.output)

    @property
    def _is_folder(self) -> bool:
        return not self.output.suffix or self.output.is_dir()

    def _tasks(self) -> list[WalkTask]:
        speed, turn = Span.of("speed", self.speed), Span.of("turn", self.turn)
        count = self.count if self.count is not None else _DRAWN if speed.is_drawn or turn.is_drawn else 1
        if count < 1:
            raise UsageError(f"--count must be at least 1, found {count}")
        tasks = []
        for number, (v, w, _) in enumerate(itertools.product(speed.values(), turn.values(), range(count))):
            seed = self.seed + number
            draw = random.Random(seed)
            v, w = (draw.uniform(*value) if isinstance(value, tuple) else value for value in (v, w))
            name = f"walk_{seed:05d}_{v:.2f}_{w:+.2f}"
            style = seed if self.styles else None
            tasks.append(WalkTask(name, self.character, v, w, style, self.seconds, self.fps))
        return tasks


@dataclass(frozen=True)
class WalkTask:
    """One clip to make."""

    name: str
    character: str
    speed: float
    turn: float
    seed: int | None
    seconds: float
    fps: float


def walk(task: WalkTask) -> Fields:
    """Make it.

    Raises:
        MotionError: if this character cannot walk so.
    """
    motion = synthesize_walk(task.character, task.speed, task.turn, duration=task.seconds, fps=task.fps, seed=task.seed)
    return packed_up(replace(motion, name=task.name))


@dataclass(frozen=True)
class Span:
    """What a number on the command line may be."""

    low: float
    high: float
    step: float | None = None

    @classmethod
    def of(cls, flag: str, text: str) -> Span:
        """Read 1.2, 0.8..2.0 or 0.8..2.0:0.2."""
        ends, _, step = text.partition(":")
        low, dots, high = ends.partition("..")
        try:
            span = cls(float(low), float(high) if dots else float(low), float(step) if ":" in text else None)
        except ValueError:
            span = cls(math.nan, math.nan)
        if not (math.isfinite(span.low) and span.low <= span.high < math.inf and (span.step is None or span.step > 0)):
            raise UsageError(
                f"--{flag} is a number, a range 0.8..2.0 or a range with a step 0.8..2.0:0.2, not {text!r}"
            )
        return span

    @property
    def is_drawn(self) -> bool:
        """Whether it is a range without a step."""
        return self.step is None and self.low < self.high

    def values(self) -> list[float | tuple[float, float]]:
        """Each value of a range with steps; one range to draw from."""
        if self.is_drawn:
            return [(self.low, self.high)]
        if self.step is None:
            return [self.low]
        steps = math.floor((self.high - self.low) / self.step + 1e-9)
        return [self.low + i * self.step for i in range(steps + 1)]
