"""Tables of a robot's root and joints, one row per frame, as Unitree and others publish retargeted motion.

A row is [frame or time,] root position, root rotation, joint angles. Publishers differ in all that a table does not
say: quaternions xyzw (Unitree) or wxyz (ProtoMotions) or three angles about fixed axes x, y, z; meters or centimeters;
radians or degrees. Each is told by the numbers, and each is an option.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from motionlib.importers.characters import skeleton_by_counts
from motionlib.motion import Motion, MotionError
from poselib import models
from poselib.rotations import quat_apply, quat_from_euler, quat_normalize, xyzw_from_wxyz
from poselib.skeleton import Skeleton

__all__ = ["FORMAT", "RootRotation", "read", "recognizes"]

FORMAT = "robot CSV"

RootRotation = Literal["xyzw", "wxyz", "euler"]

_FEWEST_COLUMNS = 8
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE)
_ENDINGS = re.compile(r"(_(joint|dof|pos|position|angle|rad|deg))+$")
_TIMES = ("time", "timestamp", "t", "seconds")
_FRAMES = ("frame", "frames", "index", "idx", "id", "")
_TALLEST = 5.0
"""m; roots whose median height is above that are given in centimeters"""
_CLEAR = 0.2
"""difference of two readings' mean uprightness (cosine of the tilt) that tells which one is right"""


@dataclass(frozen=True, eq=False)
class _Table:
    header: list[str]
    """names of the columns in lower case; empty without a header"""
    values: Tensor
    """(T, C) float64"""


def recognizes(head: bytes) -> bool:
    """Two lines of as many columns, the second of numbers alone."""
    lines = head.decode("utf-8-sig", errors="replace").splitlines()
    if len(lines) < 2 or b"\0" in head[:1024]:
        return False
    first, second = _cells(lines[0]), _cells(lines[1])
    return len(first) == len(second) >= _FEWEST_COLUMNS and all(_NUMBER.fullmatch(cell) for cell in second)


def read(
    path: str | Path,
    *,
    skeleton: str | Skeleton | None = None,
    fps: float | None = None,
    root_rotation: RootRotation | None = None,
    unit: Literal["m", "cm"] | None = None,
    angles: Literal["rad", "deg"] | None = None,
) -> Motion:
    """Read the clip. Joints go by the header's names where these are the character's, else by position.

    Args:
        path: the file.
        skeleton: the character; None: told by the header's names, else the robot (hinges alone) with as many joints.
        fps: frames per second; None: by the column of times, else 30 (120 for tables with Euler angles).
        root_rotation: None: a quaternion is read so that the root stays upright, and where both orders do that, so
            that it faces where it goes; "euler" by the number of columns.
        unit: of the root's position; None: cm if its median height is above 5.
        angles: None: degrees if one is beyond a full turn of radians.

    Raises:
        MotionError: if a row is damaged or the columns fit no character.
    """
    path = Path(path)
    table = _parse(path)
    leading = _leading(table)
    if fps is None and leading == "time":
        fps = _rate(path, table.values[:, 0])
    header, values = table.header[leading is not None :], table.values[:, int(leading is not None) :]
    character, root_columns = _character(path, header, values.shape[1], skeleton, root_rotation)
    joints = values[:, root_columns:][:, _joint_order(path, header[root_columns:], character)]
    root, turn = values[:, :3], values[:, 3:root_columns]
    if unit == "cm" or (unit is None and float(root[:, 2].median()) > _TALLEST):
        root = 0.01 * root
    euler = root_columns == 6
    turning = torch.cat([turn, joints], dim=1) if euler else joints
    degrees = angles == "deg" or (angles is None and float(turning.abs().amax()) > 2.0 * math.pi)
    if euler:
        rotation = quat_from_euler("xyz", torch.deg2rad(turn) if degrees else turn)
    else:
        rotation = _quaternion(header[3:7], turn, root, root_rotation)
    return Motion(
        name=path.stem,
        fps=fps if fps is not None else (120.0 if euler else 30.0),
        body_names=character.body_names,
        parents=character.parents,
        offsets=character.offsets,
        root_positions=root,
        local_rotations=character.local_rotations_from_dofs(torch.deg2rad(joints) if degrees else joints, rotation),
        source=f"CSV {path.name}",
    )


# --- text ------------------------------------------------------------------------------------------------------------


def _cells(line: str) -> list[str]:
    """Cells between commas, semicolons or tabs, else between spaces."""
    line = line.strip().rstrip(",;")
    cells = re.split(r"[,;\t]", line) if re.search(r"[,;\t]", line) else line.split()
    return [cell.strip() for cell in cells]


def _parse(path: Path) -> _Table:
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
    except OSError as error:
        raise MotionError(f"{path}: cannot be read ({error})") from error
    lines = [(number, _cells(line)) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    header: list[str] = []
    if lines and not all(_NUMBER.fullmatch(cell) for cell in lines[0][1]):
        header = [cell.strip("\"'").lower() for cell in lines.pop(0)[1]]
    columns = len(header) or (len(lines[0][1]) if lines else 0)
    rows: list[list[float]] = []
    for number, cells in lines:
        if len(cells) != columns:
            raise MotionError(f"{path}: line {number} has {len(cells)} columns, the first has {columns}")
        try:
            rows.append([float(cell) for cell in cells])
        except ValueError as error:
            raise MotionError(f"{path}: line {number} holds something that is no number ({error})") from error
    if len(rows) < 2 or columns < _FEWEST_COLUMNS:
        raise MotionError(f"{path}: want at least 2 rows of {_FEWEST_COLUMNS} numbers, found {len(rows)} of {columns}")
    values = torch.tensor(rows, dtype=torch.float64)
    if not bool(torch.isfinite(values).all()):
        line = lines[int((~torch.isfinite(values)).any(dim=1).int().argmax())][0]
        raise MotionError(f"{path}: line {line} holds a number that is not finite")
    return _Table(header, values)


def _leading(table: _Table) -> Literal["time", "frame"] | None:
    """What stands before the root's position."""
    if table.header:
        name = table.header[0].partition("(")[0].strip()
        return "time" if name in _TIMES else "frame" if name in _FRAMES else None
    steps = table.values[:, 0].diff()
    return "frame" if bool((steps == 1.0).all()) else None


def _rate(path: Path, times: Tensor) -> float:
    step = float(times.diff().median())
    if not step > 0:
        raise MotionError(f"{path}: the times in the first column do not grow")
    rate = 1.0 / step
    return float(round(rate)) if abs(rate - round(rate)) < 1e-3 * rate else rate


# --- columns ---------------------------------------------------------------------------------------------------------


def _character(
    path: Path, header: Sequence[str], columns: int, given: str | Skeleton | None, root: RootRotation | None
) -> tuple[Skeleton, int]:
    """Whose motion it is, and how many columns the root has (7 with a quaternion, 6 with angles)."""
    widths = [7, 6] if root is None else [6 if root == "euler" else 7]
    if given is not None:
        for width in widths[:-1]:
            try:
                return skeleton_by_counts(path, given, dofs=columns - width), width
            except MotionError:
                continue
        return skeleton_by_counts(path, given, dofs=columns - widths[-1]), widths[-1]
    names = {_plain(name) for name in header}
    for model in models.MODELS.values():
        hinges = {_plain(hinge.name) for body in model.bodies for hinge in body.joints}
        if hinges <= names and columns - len(hinges) in widths:
            return models.skeleton(model.name), columns - len(hinges)
    for width in widths:
        for model in models.MODELS.values():
            joints = [len(body.joints) for body in model.bodies]
            if max(joints) == 1 and sum(joints) == columns - width:
                return models.skeleton(model.name), width
    return skeleton_by_counts(path, None, dofs=columns - widths[0]), widths[0]


def _plain(name: str) -> str:
    """A joint's name without what publishers add to it."""
    return _ENDINGS.sub("", name.partition("(")[0].strip().lower())


def _joint_order(path: Path, header: Sequence[str], character: Skeleton) -> list[int]:
    """Column of each degree of freedom among those of the joints."""
    found = [_plain(name) for name in header]
    wanted = [_plain(name) for name in character.dof_names]
    if not set(found) & set(wanted):
        return list(range(len(wanted)))
    if missing := [name for name in wanted if name not in found]:
        raise MotionError(f"{path}: the header lacks the joints {missing} of {character.name!r}")
    return [found.index(name) for name in wanted]


def _quaternion(header: Sequence[str], columns: Tensor, root: Tensor, order: RootRotation | None) -> Tensor:
    """Root rotation `(T, 4)` xyzw of four columns in either order."""
    if order is None:
        letters = "".join(name.partition("(")[0].strip()[-1:] for name in header)
        order = "wxyz" if letters == "wxyz" else "xyzw" if letters == "xyzw" else None
    readings = {"xyzw": columns, "wxyz": xyzw_from_wxyz(columns)}
    if order is None:
        upright, ahead = zip(*(_plausibility(quat_normalize(q), root) for q in readings.values()), strict=True)
        decisive = upright if abs(upright[0] - upright[1]) > _CLEAR else ahead
        order = "wxyz" if decisive[1] > decisive[0] else "xyzw"
    return readings[order]


def _plausibility(quats: Tensor, root: Tensor) -> tuple[float, float]:
    """Mean cosine of the root's tilt, and how far in m it went where it looked."""
    axes = torch.eye(3, dtype=quats.dtype)
    up = quat_apply(quats, axes[2].expand(len(quats), 3))
    forward = quat_apply(quats, axes[0].expand(len(quats), 3))
    return float(up[:, 2].mean()), float((root.diff(dim=0)[:, :2] * forward[:-1, :2]).sum())
