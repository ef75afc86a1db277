"""Many files through one function, in as many processes as wanted; what fails takes nothing else with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
import torch

from motionlib.motion import Motion, MotionError

__all__ = ["Failure", "Fields", "outcomes", "packed_up", "reason_of", "unpacked"]

_AHEAD = 4
"""tasks per worker that are begun before the first of them is taken"""
_DIED = "its worker process died (killed from outside, or out of memory)"

Fields = dict[str, Any]
"""of a motion, with arrays for tensors: torch would send those through shared memory, one open file for each"""

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Failure:
    """What stands in the place of a result."""

    reason: str


def outcomes(
    work: Callable[[_Task], _Result], tasks: Sequence[_Task], workers: int = 1
) -> Generator[_Result | Failure, None, None]:
    """The result of each task in order, or why there is none.

    Args:
        work: any error of it is a `Failure`. With several workers it must be a function of a module, and tasks and
            results picklable.
        tasks: a few are begun before the first result is taken.
        workers: processes, started anew ("spawn"): none inherits threads or open files.
    """
    if workers == 1 or len(tasks) <= 1:
        yield from (_attempt(work, task) for task in tasks)
        return
    left = deque(tasks)
    while left:
        # A worker that dies breaks its whole pool; what was under way is tried again.
        suspects: list[tuple[_Task, Future[_Result | Failure]]] = []
        yield from _pooled(work, left, min(workers, len(left)), suspects)
        yield from _one_by_one(work, suspects)


def _attempt(work: Callable[[_Task], _Result], task: _Task) -> _Result | Failure:
    try:
        return work(task)
    except Exception as error:  # one bad file of thousands must not end the run, whatever is wrong with it
        return Failure(reason_of(error))


def _attempt_in_worker(work: Callable[[_Task], _Result], task: _Task) -> _Result | Failure:
    try:
        return _attempt(work, task)
    except SystemExit:  # on SIGTERM, when half-written files are gone; the pool would take it for a result
        os._exit(1)


def reason_of(error: Exception) -> str:
    """One line; errors of other kinds than ours with their type."""
    text = str(error) if isinstance(error, MotionError | OSError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())


def _pooled(
    work: Callable[[_Task], _Result],
    left: deque[_Task],
    workers: int,
    suspects: list[tuple[_Task, Future[_Result | Failure]]],
) -> Iterator[_Result | Failure]:
    """Results until nothing is left, or until a worker dies: then `suspects` gets what was under way, in order."""
    under_way: deque[tuple[_Task, Future[_Result | Failure]]] = deque()
    others = multiprocessing.active_children()
    pool = _pool(workers)
    try:
        while left or under_way:
            while left and len(under_way) < _AHEAD * workers:
                under_way.append((left[0], pool.submit(_attempt_in_worker, work, left[0])))
                left.popleft()
            result = under_way[0][1].result()
            under_way.popleft()
            yield result
    except BrokenProcessPool:
        suspects += under_way
    except BaseException:  # interrupted, or nobody wants the rest: what is under way need not be finished
        for child in multiprocessing.active_children():
            if child not in others:
                child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _one_by_one(
    work: Callable[[_Task], _Result], suspects: Sequence[tuple[_Task, Future[_Result | Failure]]]
) -> Iterator[_Result | Failure]:
    """Results of what was under way, no two tasks at once, so that only the guilty one is lost."""
    pool = _pool(1)
    try:
        for task, future in suspects:
            if future.done() and not future.cancelled() and future.exception() is None:
                yield future.result()
                continue
            try:
                yield pool.submit(_attempt_in_worker, work, task).result()
            except BrokenProcessPool:
                yield Failure(_DIED)
                pool.shutdown()
                pool = _pool(1)
    finally:
        pool.shutdown(cancel_futures=True)


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start_worker)


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, tidy up when it ends the worker, and use one thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    torch.set_num_threads(1)


def packed_up(motion: Motion) -> Fields:
    """A motion for its way from one process to another."""
    values = {field.name: getattr(motion, field.name) for field in fields(motion)}
    return {name: value.numpy() if isinstance(value, torch.Tensor) else value for name, value in values.items()}


def unpacked(content: Mapping[str, Any]) -> Motion:
    """The motion after it."""
    values: Fields = {n: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for n, v in content.items()}
    return Motion(**values)
