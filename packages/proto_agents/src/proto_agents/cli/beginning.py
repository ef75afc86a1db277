"""Where a run begins: in a new folder, or from last/ of the same run that was broken off."""

import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

from proto_agents.checkpoint import CheckpointError, find_checkpoint, make_folder, write_atomically
from proto_agents.cli.environments import find_run
from proto_agents.cli.learners import completed
from proto_agents.config import Experiment, decisive_settings, with_run_folder
from proto_agents.parsing import ConfigError, flat

__all__ = ["LAUNCH_FILE", "begin", "difference"]

LAUNCH_FILE = ".launch"
"""in a run folder, which launch of torchrun made it"""


def begin(experiment: Experiment, resume: Path | None = None) -> tuple[Experiment, Path | None]:
    """Chooses the run folder, and whether to go on with what is there.

    That is so for `--resume`; with `runner.auto_resume`; and where `torchrun` starts its processes anew because one of
    them has died, in the folder that they had.

    Args:
        experiment: that is to be run.
        resume: run folder to go on with, which is done.

    Returns:
        The experiment with its run folder, and the folder to go on with; None to begin.

    Raises:
        ConfigError: the folder holds another run.
        CheckpointError: the folder cannot be written.
    """
    if resume is not None:
        return experiment, resume
    known = _known_folder(experiment)
    if known is None:
        begun = with_run_folder(experiment)
    elif _has_checkpoint(known):
        stored, _ = find_run(str(known), ("last",))
        if differs := difference(stored, experiment):
            raise ConfigError(f"{known} holds a run with other settings: {differs}; choose another --runner.run-dir")
        # The stored experiment is complete; what may differ between the two is in `runner`.
        return replace(stored, runner=replace(experiment.runner, run_dir=str(known))), known
    else:
        begun = replace(experiment, runner=replace(experiment.runner, run_dir=str(known)))
    if (launch := _launch()) is not None:
        folder = Path(begun.runner.run_dir)
        make_folder(folder)
        write_atomically(folder / LAUNCH_FILE, launch)
    return begun, None


def difference(stored: Experiment, wanted: Experiment) -> str | None:
    """A setting by which a stored run is another one than that which is wanted, in words; None: it is the same.

    Lengths may differ, and what results do not depend on.
    """
    there, here = _comparable(stored), _comparable(completed(wanted))
    for key in sorted(there.keys() | here.keys()):
        if there.get(key) != here.get(key):
            return f"{key} is {there.get(key)!r} there, not {here.get(key)!r}"
    return None


def _known_folder(experiment: Experiment) -> Path | None:
    """The folder that may hold this run already; None where a new one is wanted."""
    asked = experiment.runner.run_dir
    default = Path(asked) if asked else Path("runs") / experiment.name
    if experiment.runner.auto_resume:
        return default
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) == 0:
        return None
    folders = [default] if asked else sorted(default.parent.glob(f"{default.name}*"))
    return next((folder for folder in folders if _made_by(folder) == _launch()), None)


def _launch() -> str | None:
    """What stays the same when torchrun starts its processes anew; None: it did not start us."""
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    # Without a rendezvous of its own, every launch is called "none": there it is the launching process that stays.
    return f"{socket.gethostname()} {os.getppid()}" if name == "none" else name


def _made_by(folder: Path) -> str | None:
    file = folder / LAUNCH_FILE
    return file.read_text(encoding="utf-8") if file.is_file() else None


def _has_checkpoint(folder: Path) -> bool:
    try:
        find_checkpoint(folder, ("last",))
    except CheckpointError:
        return False
    return True


def _comparable(experiment: Experiment) -> dict[str, Any]:
    """What must be the same for a run to go on, by dotted key."""
    settings = decisive_settings(experiment)
    del settings["runner"]["max_samples"]
    if experiment.model.kind == "masked_mimic":  # its networks write what they found out of the environment into it
        del settings["masked_mimic"]
    return flat(settings)
