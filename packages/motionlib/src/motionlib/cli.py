"""The command `motionlib`: list the sample clips, look into a motion file, convert one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.table import Table

from motionlib.importers import load
from motionlib.motion import Motion, MotionError
from motionlib.processing.retargeting import character_of, retargeted
from motionlib.samples import sample_names, sample_path, sample_skeletons

__all__ = ["main"]


@dataclass(frozen=True)
class List:
    """List the clips that come with the package; `motionlib info` tells more of one."""

    skeleton: str | None = None
    """only those of this character, such as amp"""

    def run(self, console: Console) -> None:
        """Print the table."""
        skeletons = sample_skeletons() if self.skeleton is None else [self.skeleton]
        motions = [(s, Motion.load(sample_path(s, name))) for s in skeletons for name in sample_names(s)]
        table = Table(box=None, header_style="bold")
        for title in ("name", "skeleton"):
            table.add_column(title, no_wrap=True)
        for title in ("frames", "fps", "seconds"):
            table.add_column(title, justify="right", no_wrap=True)
        table.add_column("loop", no_wrap=True)
        table.add_column("path m", justify="right", no_wrap=True)
        table.add_column("licence", no_wrap=True)
        for skeleton, motion in motions:
            row = (f"{motion.num_frames}", f"{motion.fps:.4g}", f"{motion.duration:.2f}", motion.loop)
            table.add_row(motion.name, skeleton, *row, f"{motion.path_length:.2f}", motion.license.partition(",")[0])
        console.print(table)


@dataclass(frozen=True)
class Info:
    """Say what a motion file of any known format holds."""

    file: Annotated[Path, tyro.conf.Positional]
    """the motion file"""

    def run(self, console: Console) -> None:
        """Print one line per fact."""
        motion = load(self.file)
        heights = motion.root_positions[:, 2]
        facts = {
            "name": motion.name,
            "skeleton": character_of(motion) or "none of the built-in ones",
            "frames": f"{motion.num_frames} at {motion.fps:.6g} per second, {motion.duration:.3f} s",
            "loop": motion.loop,
            "path": f"{motion.path_length:.2f} m over the ground, height {heights.min():.2f} to {heights.max():.2f} m",
            "labels": ", ".join(motion.labels),
            "source": motion.source,
            "licence": motion.license,
            "bodies": f"{len(motion.body_names)}: {', '.join(motion.body_names)}",
        }
        for name, fact in facts.items():
            console.print(f"{name:10s} {fact}", highlight=False, soft_wrap=True, markup=False)


@dataclass(frozen=True)
class Convert:
    """Convert a motion file to a clip of ours (.npz), on another character if asked."""

    source: Annotated[Path, tyro.conf.Positional]
    """the motion file to read"""
    output: Annotated[Path, tyro.conf.Positional]
    """the .npz file to write"""
    skeleton: Literal["amp", "smpl"] | None = None
    """character to retarget the clip to"""

    def run(self, console: Console) -> None:
        """Write the clip."""
        motion = load(self.source)
        if self.skeleton is not None:
            motion = retargeted(motion, self.skeleton)
        motion.save(self.output)
        text = f"{self.output}: {motion.num_frames} frames, {len(motion.body_names)} bodies, {motion.duration:.2f} s"
        console.print(text, highlight=False, soft_wrap=True, markup=False)


Command = (
    Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Info, tyro.conf.subcommand("info")]
    | Annotated[Convert, tyro.conf.subcommand("convert")]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 = done, 1 = a file is wrong, 2 = the command line is wrong."""
    command: List | Info | Convert = tyro.cli(Command, args=arguments, prog="motionlib", description=__doc__)
    try:
        command.run(Console())
    except (MotionError, OSError) as error:
        print(f"motionlib: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
