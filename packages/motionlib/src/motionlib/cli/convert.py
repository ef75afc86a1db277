"""Commands that make clips of clips: convert, retarget, flip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated

import tyro

from motionlib.cli.inputs import Character, is_dataset
from motionlib.cli.package import Package
from motionlib.cli.session import ReadingCommand, Session, WritingCommand
from motionlib.cli.writing import Change, ExportFormat, outputs_of, write_all
from motionlib.datasets import Dataset, flipped_file
from motionlib.motion import MotionError
from motionlib.processing import RetargetReport
from motionlib.processing.mirroring import FLIPPED_SUFFIX

__all__ = ["Convert", "Flip", "Paths", "Retarget"]

Paths = Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="INPUT [INPUT ...] OUTPUT")]


@dataclass(frozen=True, kw_only=True)
class Convert(ReadingCommand, WritingCommand):
    """Convert motion files of any known format, one or thousands, to another format or character.

    motionlib convert walk.bvh walk.npz

    motionlib convert CMU/ clips/ --character smpl --fps 30 --workers 8
    """

    paths: Paths
    """files, folders, YAML data sets or samples (amp/walk); last, the file or folder to write; .safetensors packs"""
    character: Annotated[Character | None, tyro.conf.arg(aliases=["--robot"])] = None
    """built-in character to retarget to"""
    ik: bool = True
    """put feet, floor and joint limits right after retargeting; without, rotations are carried over as they are"""
    fps: float | None = None
    """frames per second to resample to"""
    format: ExportFormat | None = None
    """of what is written; else by the suffix of OUTPUT, and ours (.npz) in a folder"""

    def run(self, session: Session) -> int:
        """Write the clips."""
        if self.paths and self.paths[-1].suffix == ".safetensors":
            shared = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "format"}
            return Package(**shared).run(session)
        outputs = outputs_of(self.paths, self.source, self.format)
        change = Change(character=self.character, ik=self.ik, fps=self.fps)
        total, _ = write_all(self, session, outputs, change, "converting")
        return total.finish(session, self.paths[-1])


@dataclass(frozen=True, kw_only=True)
class Retarget(ReadingCommand, WritingCommand):
    """Carry clips over to another character and say how good they are there.

    Clips of that very character are cleaned: feet that stand do not slide, nothing sinks into the ground, joints keep
    to their limits.

    motionlib retarget amp/run run_on_g1.npz --character g1
    """

    paths: Paths
    """files, folders, YAML data sets or samples (amp/walk); last, the file or folder to write"""
    character: Annotated[Character, tyro.conf.arg(aliases=["--robot"])]
    """built-in character to retarget to"""
    ik: bool = True
    """put feet, floor and joint limits right; without, rotations are carried over as they are"""
    fps: float | None = None
    """frames per second to resample to"""
    format: ExportFormat | None = None
    """of what is written; else by the suffix of OUTPUT, and ours (.npz) in a folder"""

    def run(self, session: Session) -> int:
        """Write the clips, print the table."""
        outputs = outputs_of(self.paths, self.source, self.format)
        change = Change(character=self.character, ik=self.ik, measure=True, fps=self.fps)
        total, _ = write_all(self, session, outputs, change, "retargeting")
        if total.reports:
            session.table(_TITLES, [_row(name, report) for name, report in total.reports.items()])
        quality = {
            name: {stage: getattr(report, stage).as_dict() for stage in ("source", "transferred", "result")}
            for name, report in total.reports.items()
        }
        return total.finish(session, self.paths[-1], quality=quality)


_TITLES: Mapping[str, bool] = {
    "clip": False,
    "foot slide mm/s": True,
    "sunk mm (worst)": True,
    "at limits %": True,
    "jerk m/s3": True,
    "off key points mm": True,
}


def _row(name: str, report: RetargetReport) -> tuple[str, ...]:
    """Source → result."""
    before, after = report.source, report.result
    return (
        name,
        f"{before.foot_slide:.0f} → {after.foot_slide:.0f}",
        f"{before.penetration_max:.0f} → {after.penetration_max:.0f}",
        f"{100 * before.limit_share:.1f} → {100 * after.limit_share:.1f}",
        f"{before.jerk:.0f} → {after.jerk:.0f}",
        "" if after.key_point_error is None else f"{after.key_point_error:.0f}",
    )


@dataclass(frozen=True, kw_only=True)
class Flip(ReadingCommand, WritingCommand):
    """Mirror clips left to right, with their captions; in a folder their names end with "_flipped".

    Of a YAML data set, whole files are mirrored and a data set of them is written beside them.

    motionlib flip amp/kick kick_flipped.npz
    """

    paths: Paths
    """files, folders, YAML data sets or samples (amp/walk); last, the file or folder to write"""
    format: ExportFormat | None = None
    """of what is written; else by the suffix of OUTPUT, and ours (.npz) in a folder"""

    def run(self, session: Session) -> int:
        """Write the clips, and the data set if one was read."""
        outputs = outputs_of(self.paths, self.source, self.format, FLIPPED_SUFFIX)
        output = self.paths[-1]
        listed = next((path for path in self.paths[:-1] if is_dataset(path)), None)
        table = None if listed is None else output / f"{listed.stem}{FLIPPED_SUFFIX}.yaml"
        if table is not None and table.exists() and not self.overwrite:
            raise MotionError(f"{table} is there already; --overwrite replaces it")
        total, complete = write_all(self, session, outputs, Change(mirror=True), "mirroring", whole=True)
        if table is not None and complete:
            target = dict(zip((file.file for file in outputs.dataset.files), outputs.targets, strict=True))
            files = [
                replace(flipped_file(item.file), file=target[item.name].relative_to(output).as_posix())
                for item in complete
            ]
            session.say(f"data set {'would go' if self.dry_run else 'goes'} to {table}")
            if not self.dry_run:
                Dataset(tuple(files), output, outputs.dataset.splits).save(table)
        more = {} if table is None else {"dataset": str(table)}
        return total.finish(session, output, **more)
