"""What a data set says of a motion file and of its parts."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MotionFile", "Problem", "SubMotion"]


@dataclass(frozen=True, kw_only=True)
class SubMotion:
    """A part of a file, or the whole of it."""

    start: float = 0.0
    """s from the file's first frame"""
    end: float | None = None
    """s from the file's first frame; None is the file's end"""
    labels: tuple[str, ...] = ()
    """descriptions in words, any number; without any, the file's own hold"""
    weight: float = 1.0
    """how often it is drawn against the others, not negative"""
    hml3d_id: int | None = None
    """number of the HumanML3D motion whose captions the labels are"""
    action_type: str = ""
    """what it does to an object, such as "Sit" (SAMP)"""
    object_category: str = ""
    """such as "Armchairs" (SAMP)"""
    supported_scenes: tuple[str, ...] = ()
    """ids of the scenes that it can be played in"""
    supported_objects: tuple[str, ...] = ()
    """ids of the objects that it can be played with"""
    ref_respawn_offset: float | None = None
    """m, how far above its reference a character starts in this part"""
    goal: tuple[float, float] | None = None
    """s from the file's first frame: from when to when the goal is reached (seated, lying, arrived)"""

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole file."""
        return self.start == 0.0 and self.end is None


@dataclass(frozen=True, kw_only=True)
class MotionFile:
    """One file of a data set."""

    file: str
    """path from the data set's root, with /, or absolute"""
    fps: float | None = None
    """frames per second, in place of what the file says of itself (some files are wrong); None leaves that"""
    weight: float = 1.0
    """multiplies the weights of the parts"""
    sub_motions: tuple[SubMotion, ...] = (SubMotion(),)
    """at least one"""


@dataclass(frozen=True)
class Problem:
    """Why something of a data set cannot be used."""

    file: str
    reason: str
    index: int | None = None
    """of the part, counted through the data set; None concerns the whole file"""

    def __str__(self) -> str:
        """One line."""
        return self.reason if self.file in self.reason else f"{self.file}: {self.reason}"
