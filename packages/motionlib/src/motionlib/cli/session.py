"""What every command has in common: what it says and where, and what it does with files that are broken."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Annotated, Protocol, TypeVar

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from motionlib.cli.batch import Failure, outcomes
from motionlib.cli.inputs import Source
from motionlib.datasets.entries import Problem
from motionlib.motion import MotionError

__all__ = [
    "BatchCommand",
    "Command",
    "ReadingCommand",
    "Session",
    "Task",
    "UsageError",
    "WritingCommand",
    "counted",
    "lasting",
]

_WIDE = 240
"""columns of a table that goes into a file or a pipe"""


class UsageError(Exception):
    """The command line asks for something that cannot be; exit code 2."""


class Task(Protocol):
    """What a worker is given; must be picklable."""

    @property
    def name(self) -> str:
        """The file, for messages."""
        ...


_Task = TypeVar("_Task", bound=Task)
_Result = TypeVar("_Result")
_Item = TypeVar("_Item")


@dataclass(frozen=True, kw_only=True)
class Command:
    """What all commands take."""

    json: bool = False
    """print one JSON object, as the last line of stdout"""

    def run(self, session: Session) -> int:
        """Do the work; returns the exit code."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class BatchCommand(Command):
    """What commands take that work on many files or clips."""

    workers: Annotated[int, tyro.conf.arg(aliases=["-j"])] = 1
    """processes that work at once"""
    strict: bool = False
    """stop at the first file that cannot be used, with exit code 1; without, it is reported and skipped"""
    progress: bool = False
    """show the progress bar even where stderr is no terminal"""

    def each(
        self, session: Session, work: Callable[[_Task], _Result], tasks: Sequence[_Task], what: str
    ) -> Iterator[tuple[_Task, _Result]]:
        """Tasks with their results, in order; those that fail are reported and left out.

        Raises:
            MotionError: with --strict, for the first that fails.
        """
        if self.workers < 1:
            raise UsageError(f"want at least 1 worker, found {self.workers}")
        with closing(outcomes(work, tasks, self.workers)) as results:
            for task, result in zip(tasks, session.track(results, len(tasks), what), strict=True):
                if isinstance(result, Failure):
                    self.report(session, Problem(task.name, result.reason))
                else:
                    yield task, result

    def report(self, session: Session, problem: Problem) -> None:
        """Say that something is skipped.

        Raises:
            MotionError: with --strict.
        """
        if self.strict:
            raise MotionError(str(problem))
        session.problem(problem)


@dataclass(frozen=True, kw_only=True)
class ReadingCommand(BatchCommand):
    """What commands take that read motion files."""

    source: Source = field(default_factory=Source)


@dataclass(frozen=True, kw_only=True)
class WritingCommand(BatchCommand):
    """What commands take that write files."""

    dry_run: bool = False
    """say what would be written, but write nothing; files are read, so that broken ones are found"""
    overwrite: bool = False
    """replace files that are there already"""


class Session:
    """One run of a command: results go to stdout, progress and complaints to stderr."""

    def __init__(self, *, json: bool = False, progress: bool = False) -> None:
        self.json = json
        self.problems: list[Problem] = []
        self._progress = progress
        self._out, self._err = _console(stderr=False), _console(stderr=True)

    def say(self, text: str) -> None:
        """One line of the result."""
        if not self.json:
            self._out.print(text, highlight=False, soft_wrap=True, markup=False)

    def table(self, titles: Mapping[str, bool], rows: Iterable[Sequence[str]]) -> None:
        """A table of the result.

        Args:
            titles: of the columns, and whether they are numbers.
            rows: texts for each column.
        """
        if self.json:
            return
        table = Table(box=None, header_style="bold")
        for title, is_number in titles.items():
            table.add_column(title, justify="right" if is_number else "left", no_wrap=True)
        for row in rows:
            table.add_row(*(text.replace("[", r"\[") for text in row))
        self._out.print(table)

    def result(self, content: Mapping[str, object]) -> None:
        """The result for programs, with what was skipped."""
        if self.json:
            skipped = [{"file": problem.file, "reason": problem.reason} for problem in self.problems]
            print(json.dumps({**content, "skipped": skipped}))

    def fail(self, reason: str) -> None:
        """Why there is no result; for programs too."""
        self.complain(reason)
        self.result({"error": reason})

    def problem(self, problem: Problem) -> None:
        """Something that is left out."""
        self.problems.append(problem)
        self.complain(f"skipped {problem}")

    def complain(self, text: str) -> None:
        """One line on stderr, with the program's name."""
        self.note(f"motionlib: {' '.join(text.split())}")

    def note(self, text: str) -> None:
        """One line on stderr."""
        self._err.print(text, highlight=False, soft_wrap=True, markup=False)

    def track(self, items: Iterable[_Item], total: int | None, what: str) -> Iterator[_Item]:
        """The items, with a progress bar on stderr if it is a terminal or the user asked for one."""
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        shown = self._progress or self._err.is_terminal
        with Progress(*columns, console=self._err, disable=not shown) as progress:
            yield from progress.track(items, total=total, description=what)


def counted(number: int, noun: str) -> str:
    """A number with its noun: "1 clip", "2 clips"."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def lasting(seconds: float) -> str:
    """A length of time: "12.3 s", from ten minutes on "1.25 h"."""
    return f"{seconds:.1f} s" if seconds < 600.0 else f"{seconds / 3600.0:.2f} h"


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else _WIDE)
