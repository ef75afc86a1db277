"""Leaving out recordings of people on things that are not there: the table that goes with PHC's copy of AMASS.

It names clips such as "0-CMU_01_01_01_poses" with an `issue` (sitting, airborne, stairs, table, corruption, ...) and,
for some, the frames at 30 per second in which it shows (`idxes`). A clip that only sits down or leaves the ground late
is good until then; the others are left out. Luo et al., Perpetual Humanoid Control, 2023.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from motionlib.datasets.dataset import Dataset
from motionlib.datasets.entries import MotionFile, Problem, SubMotion
from motionlib.datasets.joblib_files import read_joblib
from motionlib.motion import MotionError

__all__ = ["Occlusion", "occlusion_of", "read_occlusions", "without_occlusions"]

_FPS = 30.0
"""of the table's frames"""
_LATE = ("sitting", "airborne")
"""issues that leave the clip good until they begin"""
_FIRST_GOOD_FRAMES = 10
"""a clip that is good for fewer frames is left out"""


@dataclass(frozen=True)
class Occlusion:
    """What is wrong with one clip."""

    issue: str
    frames: tuple[int, ...] = ()
    """at 30 per second; none where the table does not say"""

    @property
    def good_until(self) -> float:
        """Seconds from the clip's start before which it can be used; 0 if it cannot."""
        late = self.issue in _LATE and self.frames and self.frames[0] >= _FIRST_GOOD_FRAMES
        return self.frames[0] / _FPS if late else 0.0


def read_occlusions(path: str | Path) -> dict[str, Occlusion]:
    """Read the table: JSON, or as joblib or pickle write it, of which nothing is run.

    Raises:
        MotionError: if it is missing, damaged, names anything that is no plain value, or is no such table.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            is_json = file.read(64).lstrip()[:1] == b"{"
        table = json.loads(path.read_bytes()) if is_json else read_joblib(path)
    except OSError as error:
        raise MotionError(f"no table of occlusions at {path} ({error.strerror})") from error
    except ValueError as error:
        if isinstance(error, MotionError):
            raise
        raise MotionError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(table, dict):
        raise MotionError(f"{path}: want a mapping of clip names, found {type(table).__name__}")
    return {str(key): _occlusion(value, f"{path}: {key}") for key, value in table.items()}


def _occlusion(entry: Any, where: str) -> Occlusion:  # noqa: ANN401
    if not isinstance(entry, dict) or not isinstance(entry.get("issue"), str):
        raise MotionError(f"{where}: want a mapping with an issue, found {entry!r:.80}")
    frames = entry.get("idxes")
    try:
        return Occlusion(entry["issue"], () if frames is None else tuple(int(frame) for frame in frames))
    except (TypeError, ValueError) as error:
        raise MotionError(f"{where}: idxes must be frame numbers, found {frames!r:.80}") from error


def occlusion_of(file: str, occlusions: Mapping[str, Occlusion]) -> Occlusion | None:
    """The entry for a file, whatever character's folder (`CMU-smpl`) or format it is of; None if it has none."""
    path = PurePosixPath(file)
    parts = [re.sub(r"[- ()]", "_", re.sub(r"-smplx?$", "", part)) for part in (*path.parts[:-1], path.stem)]
    # Below a root that holds more than AMASS, the key starts at one of the inner folders.
    for first in range(len(parts)):
        name = "_".join(parts[first:]).removesuffix("_flipped")
        for key in (f"0-{name}", name):
            if key in occlusions:
                return occlusions[key]
    return None


def without_occlusions(
    dataset: Dataset, occlusions: Mapping[str, Occlusion], *, min_seconds: float = 0.5
) -> tuple[Dataset, tuple[Problem, ...]]:
    """The data set without what the table rules out; parts that run into an issue end where it begins.

    Args:
        dataset: files that the table does not name are kept.
        occlusions: the table.
        min_seconds: parts that become shorter are left out.

    Returns:
        The data set and what was left out of it.
    """
    problems: list[Problem] = []

    def change(index: int, file: MotionFile, part: SubMotion) -> SubMotion | None:
        occlusion = occlusion_of(file.file, occlusions)
        if occlusion is None:
            return part
        end = occlusion.good_until if part.end is None else min(part.end, occlusion.good_until)
        if end - part.start >= max(min_seconds, 1.0 / _FPS):
            return replace(part, end=end)
        good = f"; it is good until {occlusion.good_until:.2f} s" if occlusion.good_until else ""
        problems.append(Problem(file.file, f"occlusion table: {occlusion.issue}{good}", index))
        return None

    return dataset.map_parts(change), tuple(problems)
