"""The command `motionlib`: motion files of any format converted, checked, retargeted, packed and played.

Each command is a dataclass whose fields are its flags; `session` has what all share, `batch` runs many files at once.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Sequence
from functools import reduce
from typing import Annotated, Any

import tyro

from motionlib.cli.convert import Convert, Flip, Retarget
from motionlib.cli.datasets import Merge, Split
from motionlib.cli.inspecting import Inspect, List
from motionlib.cli.judging import Filter, Validate
from motionlib.cli.package import Package
from motionlib.cli.play import Play
from motionlib.cli.session import Command, Session, UsageError
from motionlib.cli.synth import Synth
from motionlib.motion import MotionError
from poselib.skeleton import SkeletonError

__all__ = ["COMMANDS", "main"]

_ABOUT = "Motion files of any format: convert, check, retarget, pack and play them."
COMMANDS: dict[str, type[Command]] = {
    each.__name__.lower(): each
    for each in (
        Convert,
        Package,
        Inspect,
        Validate,
        Retarget,
        Flip,
        Filter,
        Split,
        Merge,
        Synth,
        Play,
        List,
    )
}
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        0 when done, 1 if a file is wrong (or nothing came of a run, or `validate` found something), 2 if the command
        line is wrong, 130 when interrupted.
    """
    command = _parsed(sys.argv[1:] if arguments is None else list(arguments))
    session = Session(json=command.json, progress=getattr(command, "progress", False))
    try:
        return command.run(session)
    except UsageError as error:
        session.fail(f"{error} (see motionlib {type(command).__name__.lower()} --help)")
        return 2
    except (MotionError, SkeletonError, OSError) as error:
        session.fail(str(error))
        return 1
    except KeyboardInterrupt:
        session.fail("interrupted")
        return _INTERRUPTED


def _parsed(arguments: list[str]) -> Command:
    """The command with its flags; asks of tyro itself are the list of commands, and the help of each."""
    config = (tyro.conf.FlagCreatePairsOff,)
    if arguments and arguments[0] in COMMANDS:
        name, *flags = arguments
        return tyro.cli(COMMANDS[name], args=flags, prog=f"motionlib {name}", config=config)
    listed = [
        Annotated[each, tyro.conf.subcommand(name, description=(each.__doc__ or "").partition("\n")[0])]
        for name, each in COMMANDS.items()
    ]
    choice: Any = reduce(operator.or_, listed)
    return tyro.cli(choice, args=arguments, prog="motionlib", description=_ABOUT, config=config)
