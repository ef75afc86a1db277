"""A sweep as a shell script, to be run elsewhere."""

import shlex
from collections.abc import Sequence

from proto_agents.cli.sweep_runs import SweepRun


def shell_script(runs: Sequence[SweepRun], command: str) -> str:
    """A POSIX shell script that does the runs one after the other, and ends with 1 where one failed."""
    lines = ["#!/bin/sh", f"# {command}", "status=0", *_function(""), *map(_call, runs), "exit $status"]
    return "\n".join(lines) + "\n"


def slurm_script(runs: Sequence[SweepRun], command: str, name: str, jobs: int) -> str:
    """A script for sbatch: an array with a task for each run, `jobs` at a time.

    Two minutes before their time is up, runs get SIGTERM, at which they save; submitted again, they go on.
    """
    cases = [f"  {number}) {_call(run)} ;;" for number, run in enumerate(runs)]
    lines = ["#!/bin/sh", f"#SBATCH --job-name={name}", f"#SBATCH --array=0-{len(runs) - 1}%{jobs}"]
    lines += ["#SBATCH --signal=B:TERM@120", f"# {command}", *_function("exec ")]
    return "\n".join([*lines, 'case "$SLURM_ARRAY_TASK_ID" in', *cases, "esac"]) + "\n"


def _function(start: str) -> list[str]:
    """`run FOLDER "FLAGS WHEN IT GOES ON" ARGUMENTS...`. start: before each command."""
    return [
        "run() {",
        "  folder=$1 flags=$2",
        "  shift 2",
        '  if [ -d "$folder/last" ]; then',
        f'    {start}proto-train --resume "$folder" $flags || status=1',
        "  else",
        f'    {start}proto-train "$@" --runner.run-dir "$folder" || status=1',
        "  fi",
        "}",
    ]


def _call(run: SweepRun) -> str:
    return shlex.join(["run", str(run.folder), " ".join(run.resume_flags()), *run.arguments])
