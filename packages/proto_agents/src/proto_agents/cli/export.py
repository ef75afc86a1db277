"""proto-export: a trained policy as a small folder of its own."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from proto_agents.checkpoint import CheckpointError
from proto_agents.cli.environments import find_run
from proto_agents.config import program_arguments
from proto_agents.export import export_policy
from proto_agents.parsing import ConfigError


@dataclass(frozen=True)
class ExportArguments:
    """Writes what acting needs of a trained policy; proto-eval and proto-play take the new folder like a run."""

    run: Annotated[str, tyro.conf.Positional]
    """run folder (best/, else last/) or checkpoint folder"""
    output: Annotated[Path, tyro.conf.Positional]
    """folder to make"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of proto-export."""
    options = tyro.cli(ExportArguments, args=program_arguments(arguments), prog="proto-export")
    try:
        experiment, checkpoint = find_run(options.run)
        export_policy(experiment, checkpoint, options.output)
    except (CheckpointError, ConfigError) as error:
        sys.exit(f"proto-export: {error}")
    print(f"wrote {options.output} from {checkpoint}")


if __name__ == "__main__":
    main()
