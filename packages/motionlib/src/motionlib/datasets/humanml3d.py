"""HumanML3D: captions of AMASS clips, as a data set.

Guo et al., Generating Diverse and Natural 3D Human Motions from Text, 2022. `index.csv` has a line per motion,
`source_path,start_frame,end_frame,new_name`: which frames of which AMASS file, at 20 per second. `texts/<new_name>.txt`
has a line per caption, `caption#tokens#start#end`: what the motion shows from `start` to `end` seconds, all of it if
both are 0 (or nan).

Two things about its frames are not in the table. Frame n is frame n k of the AMASS file, k = floor(its rate / 20), so
the true rate is only near 20 where k does not divide. And in five data sets a few seconds at the start do not count.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from motionlib.datasets.dataset import Dataset
from motionlib.datasets.entries import MotionFile, Problem, SubMotion
from motionlib.motion import MotionError

__all__ = ["HumanML3DMotion", "captions_of", "humanml3d", "read_index"]

_FPS = 20
_LEAD_FRAMES = {
    "Eyes_Japan_Dataset": 60,
    "MPI_HDM05": 60,
    "TotalCapture": 20,
    "MPI_Limits": 20,
    "Transitions_mocap": 10,
}
"""frames at 20 per second before frame 0, by data set"""
_SMPLX_FOLDERS = {
    "SSM_synced": "SSM",
    "MPI_HDM05": "HDM05",
    "MPI_mosh": "MoSh",
    "MPI_Limits": "PosePrior",
    "TCD_handMocap": "TCDHands",
    "Transitions_mocap": "Transitions",
    "DFaust_67": "DFaust",
    "BioMotionLab_NTroje": "BMLrub",
    "Eyes_Japan_Dataset": "EyesJapanDataset",
}
"""names of the data sets in AMASS for SMPL-X, where they differ"""


@dataclass(frozen=True)
class HumanML3DMotion:
    """One line of the index."""

    name: str
    """such as "000012" """
    source: str
    """path of the AMASS file below its root, without a suffix"""
    first: int
    """frame at 20 per second, counted after the lead"""
    last: int
    lead: int
    """frames at 20 per second at the start of the file that do not count"""

    def span(self, fps: float | None) -> tuple[float, float]:
        """Start and end in s of the AMASS file, whose own rate is `fps` (a multiple of 20 if unknown)."""
        rate = _FPS if fps is None else fps / max(int(fps / _FPS), 1)
        return (self.lead + self.first) / rate, (self.lead + self.last) / rate


def humanml3d(
    index: str | Path,
    texts: str | Path,
    root: str | Path,
    *,
    names: Collection[str] | None = None,
    rates: Mapping[str, float] | None = None,
    suffix: str = ".npz",
    layout: Literal["smplh", "smplx"] = "smplh",
    min_seconds: float = 0.5,
    max_seconds: float = math.inf,
) -> tuple[Dataset, tuple[Problem, ...]]:
    """The captioned parts of AMASS.

    Captions of the whole motion are the labels of one part; captions of a stretch of it are those of a part of their
    own. Mirrored motions (names with M) are left to `motionlib.datasets.flipping`, which mirrors the captions right.

    Args:
        index: `index.csv`.
        texts: the folder `texts`.
        root: of AMASS; whether its files are there is seen when they are read.
        names: of motions to take, such as the lines of `train.txt`; all if left out.
        rates: frames per second of the AMASS files, by path; without them 20 per second are counted.
        suffix: of the files, as converted.
        layout: names of folders and files of AMASS for SMPL-H ("..._poses") or for SMPL-X ("..._stageii").
        min_seconds: parts that are shorter are left out.
        max_seconds: parts that are longer are left out.

    Returns:
        The data set, and what is not in it: motions that are not of AMASS (HumanAct12), without captions, too short or
        too long.

    Raises:
        MotionError: if the index cannot be read, naming the line.
    """
    wanted = None if names is None else {name.strip() for name in names}
    files: dict[str, list[SubMotion]] = {}
    problems: list[Problem] = []
    known = {PurePosixPath(path).with_suffix("").as_posix(): fps for path, fps in (rates or {}).items()}
    for motion in read_index(index):
        if wanted is not None and motion.name not in wanted:
            continue
        if "humanact12" in motion.source.lower():
            problems.append(Problem(motion.source, f"HumanML3D {motion.name}: not of AMASS"))
            continue
        source = _smplx(motion.source) if layout == "smplx" else motion.source
        try:
            parts = list(_parts(motion, Path(texts), known.get(source, known.get(motion.source))))
        except MotionError as error:
            problems.append(Problem(source + suffix, str(error)))
            continue
        for part in parts:
            seconds = (part.end or 0.0) - part.start
            if min_seconds <= seconds <= max_seconds:
                files.setdefault(source + suffix, []).append(part)
            else:
                problems.append(Problem(source + suffix, f"HumanML3D {motion.name}: lasts {seconds:.2f} s"))
    table = (MotionFile(file=file, sub_motions=tuple(parts)) for file, parts in files.items())
    return Dataset(tuple(table), Path(root)), tuple(problems)


def read_index(path: str | Path) -> Iterator[HumanML3DMotion]:
    """The lines of `index.csv`.

    Raises:
        MotionError: if the file is missing, lacks a column, or a line holds no numbers.
    """
    path = Path(path)
    columns = ("source_path", "start_frame", "end_frame", "new_name")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if missing := [name for name in columns if name not in (reader.fieldnames or ())]:
                raise MotionError(f"{path}: no index of HumanML3D, it lacks the columns {missing}")
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MotionError(f"{path}: cannot be read ({error})") from error
    for line, row in enumerate(rows, start=2):
        source = PurePosixPath(str(row["source_path"]).replace("\\", "/"))
        parts = [part for part in source.with_suffix("").parts if part not in (".", "pose_data")]
        try:
            first, last = int(float(row["start_frame"])), int(float(row["end_frame"]))
        except (TypeError, ValueError, OverflowError) as error:
            raise MotionError(f"{path}: line {line}: want frame numbers, found {list(row.values())}") from error
        if not parts or not row["new_name"]:
            raise MotionError(f"{path}: line {line}: want a path and a name, found {list(row.values())}")
        lead = next((frames for folder, frames in _LEAD_FRAMES.items() if folder in parts), 0)
        yield HumanML3DMotion(PurePosixPath(row["new_name"]).stem, "/".join(parts), first, last, lead)


def captions_of(path: str | Path) -> list[tuple[str, float, float]]:
    """The captions in a file of `texts`, each with start and end in s of the motion; 0 and 0 for all of it.

    Raises:
        MotionError: if the file cannot be read or holds no caption.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise MotionError(f"no captions at {path} ({error.strerror})") from error
    captions = []
    for line in lines:
        caption, *rest = line.strip().split("#")
        if not (caption := caption.strip().rstrip(".").strip()):
            continue
        start, end = (_seconds(text) for text in (*rest[1:3], "", "")[:2])
        captions.append((caption, start, end) if end > start else (caption, 0.0, 0.0))
    if not captions:
        raise MotionError(f"{path}: no caption")
    return captions


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) and value > 0 else 0.0


def _parts(motion: HumanML3DMotion, texts: Path, fps: float | None) -> Iterator[SubMotion]:
    start, end = motion.span(fps)
    if end <= start:
        raise MotionError(f"HumanML3D {motion.name}: frames {motion.first} to {motion.last} are none")
    spans: dict[tuple[float, float], list[str]] = {}
    for caption, first, last in captions_of(texts / f"{motion.name}.txt"):
        span = (start, end) if last == 0.0 else (start + first, min(start + last, end))
        if span[0] < span[1]:
            spans.setdefault(span, []).append(caption)
    number = int(motion.name) if motion.name.isdecimal() else None
    for (first, last), captions in spans.items():
        yield SubMotion(start=round(first, 6), end=round(last, 6), labels=tuple(captions), hml3d_id=number)


def _smplx(source: str) -> str:
    folder, _, rest = source.partition("/")
    name = rest.removesuffix("_poses") + "_stageii" if rest.endswith("_poses") else rest
    return f"{_SMPLX_FOLDERS.get(folder, folder)}/{name}"
