"""Runs of a sweep as processes, some at a time."""

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import Literal

from proto_agents.cli.sweep_runs import SweepRun
from proto_agents.distributed import cpu_shares
from proto_agents.interruption import Interruption
from proto_agents.progress import Progress, duration

Outcome = Literal["finished", "failed", "interrupted", "not started"]

LOG = "output.log"
"""in each run folder, what proto-train said"""
_POLL = 0.2
"""s between looks at the processes"""


def run_all(runs: Sequence[SweepRun], jobs: int, progress: Progress) -> tuple[dict[SweepRun, Outcome], bool]:
    """Begins or goes on with every run that is not finished, `jobs` at a time; a failed one does not stop the others.

    The first SIGINT or SIGTERM asks the running ones to save and end, and begins no more; a second SIGINT kills them.

    Returns:
        How each run ended, and whether a signal ended them.
    """
    outcomes: dict[SweepRun, Outcome] = {run: "finished" for run in runs if run.state() == "finished"}
    waiting = deque(run for run in runs if run not in outcomes)
    if outcomes:
        progress.say(f"{len(outcomes)} of {len(runs)} runs are finished already")
    free = deque(cpu_shares(jobs))
    running: dict[SweepRun, _Job] = {}
    with Interruption() as interruption:
        try:
            while running or (waiting and not interruption.requested):
                while waiting and free and not interruption.requested:
                    run = waiting.popleft()
                    how = "goes on" if run.state() == "interrupted" else "starts"
                    progress.say(f"{len(runs) - len(waiting)}/{len(runs)}  {run.title} {how}: {run.folder / LOG}")
                    running[run] = _Job(run, free.popleft())
                for run, job in list(running.items()):
                    if interruption.requested:
                        job.stop()
                    if (outcome := job.outcome()) is not None:
                        del running[run]
                        free.append(job.cpus)
                        outcomes[run] = outcome
                        progress.say(f"{run.title} {outcome} after {duration(job.seconds())}{job.complaint(outcome)}")
                time.sleep(_POLL)
        finally:
            for job in running.values():
                job.process.kill()
    outcomes |= dict.fromkeys(waiting, "not started")
    return {run: outcomes[run] for run in runs}, interruption.requested


class _Job:
    """A run's process."""

    def __init__(self, run: SweepRun, cpus: tuple[int, ...]) -> None:
        """Start it on these CPUs; none: on all."""
        self.run, self.cpus = run, cpus
        self.started = time.monotonic()
        self.stopped = False
        command = [sys.executable, "-m", "proto_agents.cli.train", *run.command()]
        run.folder.mkdir(parents=True, exist_ok=True)
        if run.state() == "new":  # what it left is no run, but proto-train would take it for one
            (run.folder / "config.yaml").unlink(missing_ok=True)
        threads = {"OMP_NUM_THREADS": str(len(cpus))} if cpus else {}
        with (run.folder / LOG).open("ab") as log:
            # A session of its own: Ctrl-C on the terminal reaches us alone, and we tell it what to do.
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=threads | os.environ,
            )
        if cpus:  # torch and the engine make as many threads as there are CPUs for them, and have not begun to
            os.sched_setaffinity(self.process.pid, cpus)

    def stop(self) -> None:
        """Ask it, once, to save a checkpoint and end."""
        if not self.stopped:
            self.stopped = True
            self.process.terminate()

    def outcome(self) -> Outcome | None:
        """How it ended; None while it runs. A run that misses what it expects ends with 1, and is finished."""
        if self.process.poll() is None:
            return None
        if self.run.state() == "finished":
            return "finished"
        return "interrupted" if self.stopped or self.process.returncode == 130 else "failed"

    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.started

    def complaint(self, outcome: Outcome) -> str:
        """The last that a failed run said."""
        if outcome != "failed":
            return ""
        lines = (self.run.folder / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f" (exit code {self.process.returncode}): {lines[-1] if lines else 'it said nothing'}"
