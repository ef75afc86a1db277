"""proto-submit: a training run as a job of SLURM."""

import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import tyro

from proto_agents.checkpoint import write_atomically
from proto_agents.cli.train import TrainArguments, parse_arguments
from proto_agents.config import program_arguments, split_arguments
from proto_agents.parsing import ConfigError

DESCRIPTION = """Trains as a job of SLURM, on as many nodes and GPUs as you like.

proto-submit OVERLAYS... [FLAGS]: overlays and all flags but those below are proto-train's. Prints the script for
sbatch; with --submit it is submitted. A job that comes to its time limit saves and goes back into the queue, until the
run is done."""

OVERLAY = "opt/slurm_autoresume"


@dataclass(frozen=True)
class SubmitArguments:
    """Flags of proto-submit."""

    overlays: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """as proto-train takes them"""
    nodes: int = 1
    """machines"""
    gpus: int = 1
    """of each machine; 0: CPUs alone"""
    processes: int = 0
    """on each machine; 0: one for each GPU, or one"""
    cpus: int = 8
    """for each process"""
    time: str = "04:00:00"
    """limit of one stay on the machines, as sbatch takes it"""
    account: str = ""
    """who pays; empty: left to SLURM"""
    partition: str = ""
    """which machines; empty: left to SLURM"""
    option: tuple[str, ...] = ()
    """any other options of sbatch, such as qos=long mem=64G"""
    grace: int = 300
    """s before the time limit at which the run is told to save and end: longer than an iteration or an evaluation"""
    requeue: bool = True
    """whether the job goes back into the queue after that"""
    command: str = "proto-train"
    """how the machines call it, such as "uv run proto-train" """
    script: Path | None = None
    """write the script into this file instead of printing it"""
    submit: bool = False
    """give it to sbatch"""


OWN_FLAGS = frozenset(field.name for field in fields(SubmitArguments) if field.name != "overlays") | {"no-requeue"}


def job_script(options: SubmitArguments, words: Sequence[str], name: str) -> str:
    """The script of a job.

    Args:
        options: of the job.
        words: arguments of proto-train.
        name: of the job.
    """
    per_node = processes_per_node(options)
    settings = {
        "job-name": name,
        "nodes": options.nodes,
        "ntasks-per-node": per_node,
        "cpus-per-task": options.cpus,
        "gpus-per-node": options.gpus or "",
        "time": options.time,
        "account": options.account,
        "partition": options.partition,
        "output": "%x-%j.out",
        "open-mode": "append",
        "signal": f"USR1@{options.grace}",
    }
    lines = ["#!/bin/bash", *(f"#SBATCH --{key}={value}" for key, value in settings.items() if value != "")]
    lines += [f"#SBATCH --{option.removeprefix('--')}" for option in options.option]
    lines += ["#SBATCH --requeue" if options.requeue else "#SBATCH --no-requeue"]
    lines += [
        'export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
        "export MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))",
        f"export LOCAL_WORLD_SIZE={per_node} OMP_NUM_THREADS=${{OMP_NUM_THREADS:-{options.cpus}}}",
        "# Each task is a process of the training; signals reach it, as nothing stands between.",
        "start='RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS exec \"$@\"'",
        f'srun --kill-on-bad-exit=1 sh -c "$start" start {options.command} {shlex.join(words)}',
        "status=$?",
    ]
    if options.requeue:
        lines += [
            "if [ $status -eq 130 ]; then  # saved, but not done",
            '  scontrol requeue "$SLURM_JOB_ID"',
            "fi",
        ]
    return "\n".join([*lines, "exit $status"]) + "\n"


def processes_per_node(options: SubmitArguments) -> int:
    """Processes on each machine."""
    return options.processes or max(1, options.gpus)


def planned(options: SubmitArguments, flags: Sequence[str]) -> tuple[list[str], TrainArguments]:
    """Arguments of proto-train for the job, and what they mean.

    Raises:
        ConfigError: a mistake in them, or numbers that do not go together.
    """
    if min(options.nodes, options.cpus, options.grace) < 1 or min(options.gpus, options.processes) < 0:
        raise ConfigError("--nodes, --cpus and --grace must be at least 1, --gpus and --processes at least 0")
    for flag in flags:
        if flag.partition("=")[0] in ("--resume", "--estimate"):
            raise ConfigError(f"{flag}: a job goes on by itself with what is in its run folder, and is not estimated")
    words = [*options.overlays, OVERLAY, *flags]
    parsed = parse_arguments(words)
    total, number = options.nodes * processes_per_node(options), parsed.experiment.env.num_envs
    if number % total:
        raise ConfigError(f"env.num_envs {number} cannot be split over {total} processes")
    return words, parsed


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of proto-submit."""
    own, flags = split_arguments(program_arguments(arguments), OWN_FLAGS)
    options = tyro.cli(SubmitArguments, args=own, prog="proto-submit", description=DESCRIPTION)
    try:
        words, parsed = planned(options, flags)
        script = job_script(options, words, parsed.experiment.name)
        if options.script is not None:
            write_atomically(options.script, script)
        elif not options.submit:
            print(script, end="")
        if options.submit:
            sys.exit(subprocess.run(["sbatch"], input=script, text=True, check=False).returncode)
    except FileNotFoundError as error:
        sys.exit(f"proto-submit: {error.strerror}: {error.filename}; is this a machine of SLURM's?")
    except (ConfigError, OSError) as error:
        sys.exit(f"proto-submit: {error}")


if __name__ == "__main__":
    main()
