"""BVH (Biovision Hierarchy) text files, of any naming, channel order, unit and up axis.

A joint turns about its rotation channels in the order of their naming, each about the axes that the ones before have
turned; at zero all joint frames are parallel to the world. Position channels stand in place of the offset.

Meredith and Maddock, Motion Capture File Formats Explained, 2001.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from motionlib.importers.axes import Axis, choose_axes
from motionlib.motion import Motion, MotionError
from motionlib.parallel_frames import with_character_frames
from poselib.rotations import quat_from_angle_axis, quat_identity, quat_multiply

__all__ = ["FORMAT", "Unit", "guess_unit", "read", "recognizes"]

FORMAT = "BVH"

Unit = Literal["m", "cm", "mm", "inch", "cmu"]
"""a unit of length; "cmu": inches / 0.45, as in the recordings of Carnegie Mellon University"""

_METERS: dict[str, float] = {"m": 1.0, "cm": 0.01, "mm": 0.001, "inch": 0.0254, "cmu": 0.0254 / 0.45}
_LARGEST: tuple[tuple[Unit, float], ...] = (("m", 9.0), ("cmu", 65.0), ("inch", 110.0), ("cm", 800.0))
"""units by the longest way through the skeleton (about 2.3 m from toe to finger tip), each up to that length"""
_RATES = (30.0, 60.0, 120.0, 24.0, 25.0, 50.0, 100.0, 240.0)
"""frames per second that a rounded frame time may stand for, the likelier ones first"""
_JOINTS_PER_CHANNEL = 8
"""more joints than that have no business in a file: few bytes would ask for much memory"""
_ROTATIONS = ("xrotation", "yrotation", "zrotation")
_POSITIONS = ("xposition", "yposition", "zposition")


@dataclass
class _Joint:
    name: str
    parent: int
    end: bool = False
    offset: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    channels: list[str] = field(default_factory=list)


def recognizes(head: bytes) -> bool:
    """A text that starts with HIERARCHY."""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()[:9].upper() == b"HIERARCHY"


def read(
    path: str | Path,
    *,
    unit: Unit | float | None = None,
    up: Axis | None = None,
    forward: Axis | None = None,
    end_sites: bool = False,
    sliding: float = 0.02,
) -> Motion:
    """Read the clip. The number of frames is that of the rows, whatever the file says.

    Args:
        path: the file.
        unit: of its lengths, a name or meters; None: guessed from the skeleton's size.
        up: its axis that points up; None: guessed from the rest pose, y if that does not tell.
        forward: its axis that the character faces at rest; None: guessed likewise.
        end_sites: keep the ends of the last bones as bodies, `<joint>_end`.
        sliding: m; how far a joint's position channels may move off their mean, which becomes the joint's offset.

    Raises:
        MotionError: if the text is damaged, holds more than one skeleton, or a joint slides farther than `sliding`.
    """
    path = Path(path)
    joints, fps, values = _parse(path)
    names, parents = _unique([joint.name for joint in joints]), [joint.parent for joint in joints]
    offsets, slide = _offsets(joints, values)
    meters = _meters(path, unit, parents, offsets)
    if not meters * slide <= sliding:
        raise MotionError(
            f"{path}: the position of a joint moves {meters * slide:.3g} m off its mean, but a clip has fixed offsets. "
            f"If the unit is right ({meters:.4g} m), read the file with a larger `sliding`"
        )
    axes = choose_axes(names, parents, offsets, up, forward)
    kept = {i: place for place, i in enumerate(i for i, joint in enumerate(joints) if end_sites or not joint.end)}
    if len(kept) > _JOINTS_PER_CHANNEL * values.shape[1]:
        raise MotionError(f"{path}: {len(kept)} joints with only {values.shape[1]} channels together")
    motion = Motion(
        name=path.stem,
        fps=fps,
        body_names=tuple(names[i] for i in kept),
        parents=tuple(kept.get(parents[i], -1) for i in kept),
        offsets=axes.vectors(meters * offsets[list(kept)]),
        root_positions=axes.vectors(meters * _place(joints[0], 0, values)),
        local_rotations=axes.quats(_rotations([joints[i] for i in kept], values)),
        source=f"BVH {path.name}",
    )
    return with_character_frames(motion)


# --- text ------------------------------------------------------------------------------------------------------------


def _parse(path: Path) -> tuple[list[_Joint], float, Tensor]:
    """Joints, frames per second, and all channels of all frames `(T, C)` float64."""
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
    except OSError as error:
        raise MotionError(f"{path}: cannot be read ({error})") from error
    parts = re.split(r"(?im)^[ \t]*MOTION[ \t\r]*$", text, maxsplit=1)
    if len(parts) != 2:
        raise MotionError(f"{path}: no line MOTION after the hierarchy; the file may be cut off")
    joints = _parse_hierarchy(path, parts[0])
    header = re.search(r"(?im)^[ \t]*Frame[ \t]*Time:[ \t]*(\S+)[ \t\r]*$", parts[1])
    if header is None:
        raise MotionError(f'{path}: no line "Frame Time: <seconds>" after MOTION')
    fps = _rate(path, header[1])
    return joints, fps, _parse_rows(path, parts[1][header.end() :], joints)


def _parse_hierarchy(path: Path, text: str) -> list[_Joint]:
    joints: list[_Joint] = []
    stack: list[int] = []
    opened = 0
    for line in re.sub(r"([{}])", r"\n\1\n", text).splitlines():
        words = line.split()
        keyword = words[0].upper() if words else ""
        if keyword in ("ROOT", "JOINT", "END"):
            parent = stack[-1] if stack else -1
            if (parent < 0) != (keyword == "ROOT") or (parent < 0 and joints) or (parent >= 0 and joints[parent].end):
                raise MotionError(f"{path}: {line.strip()!r} is out of place; want one ROOT with JOINTs inside it")
            name = f"{joints[parent].name}_end" if keyword == "END" else " ".join(words[1:])
            joints.append(_Joint(name or f"joint_{len(joints)}", parent, keyword == "END"))
        elif keyword == "{":
            if opened == len(joints):
                raise MotionError(f"{path}: an opening brace without a joint before it")
            opened = len(joints)
            stack.append(len(joints) - 1)
        elif keyword == "}":
            if not stack:
                raise MotionError(f"{path}: a closing brace too many")
            stack.pop()
        elif keyword in ("OFFSET", "CHANNELS"):
            if not stack:
                raise MotionError(f"{path}: {line.strip()!r} outside of a joint")
            _set_field(path, joints[stack[-1]], keyword, words[1:])
        elif keyword not in ("", "HIERARCHY"):
            raise MotionError(f"{path}: {line.strip()[:80]!r} is nothing that a hierarchy has")
    if stack or not joints:
        raise MotionError(f"{path}: the hierarchy is cut off, {len(stack)} joints are not closed")
    return joints


def _set_field(path: Path, joint: _Joint, keyword: str, words: list[str]) -> None:
    if keyword == "OFFSET":
        joint.offset = _numbers(path, words, f"the OFFSET of {joint.name!r}")
        if len(joint.offset) != 3:
            raise MotionError(f"{path}: the OFFSET of {joint.name!r} has {len(words)} numbers, want 3")
        return
    joint.channels = [word.lower() for word in words[1:]]
    known = set(_ROTATIONS + _POSITIONS)
    if not words or words[0] != str(len(joint.channels)) or not known.issuperset(joint.channels):
        raise MotionError(
            f"{path}: {joint.name!r} has CHANNELS {' '.join(words)}; want their number and {sorted(known)}"
        )
    if joint.end and joint.channels:
        raise MotionError(f"{path}: {joint.name!r} is an End Site and cannot have channels")


def _numbers(path: Path, words: list[str], what: str) -> list[float]:
    try:
        return [float(word) for word in words]
    except ValueError as error:
        raise MotionError(f"{path}: {what} holds something that is no number ({error})") from error


def _rate(path: Path, token: str) -> float:
    """Frames per second of a frame time; one that is written rounded stands for a whole rate (.0333 for 30)."""
    seconds = _numbers(path, [token], "the frame time")[0]
    if not 1e-6 < seconds < 1e6:
        raise MotionError(f"{path}: the frame time is {token} s, want more than 0")
    nearest = float(round(1.0 / seconds))
    if abs(nearest * seconds - 1.0) < 1e-9:
        return nearest
    decimals = len(token.partition(".")[2]) if re.fullmatch(r"[\d.]+", token) else 17
    rates = (*_RATES, nearest or 1.0)
    return next((rate for rate in rates if round(1.0 / rate, decimals) == seconds), 1.0 / seconds)


def _parse_rows(path: Path, text: str, joints: Sequence[_Joint]) -> Tensor:
    """Numbers `(T, C)`. A row may go on over several lines, but each starts on a new one."""
    channels = sum(len(joint.channels) for joint in joints)
    lines = [words for line in text.splitlines() if (words := line.split())]
    if channels == 0:
        raise MotionError(f"{path}: no joint has channels")
    ends = np.cumsum([len(words) for words in lines], dtype=np.int64)
    total = int(ends[-1]) if lines else 0
    rows = np.arange(channels, total + 1, channels)
    aligned = np.isin(rows, ends)
    if total % channels or not aligned.all():
        row = int(aligned.argmin()) if not aligned.all() else len(rows)
        raise MotionError(f"{path}: frame {row} does not have the {channels} numbers of the hierarchy's channels")
    numbers = _numbers(path, [word for words in lines for word in words], "a frame")
    return torch.tensor(numbers, dtype=torch.float64).reshape(-1, channels)


def _unique(names: list[str]) -> list[str]:
    """The names, those that come again with a number behind."""
    taken: set[str] = set()
    counts: dict[str, int] = {}
    result = []
    for name in names:
        new = name
        while new in taken:
            counts[name] = counts.get(name, 1) + 1
            new = f"{name}_{counts[name]}"
        taken.add(new)
        result.append(new)
    return result


# --- numbers ---------------------------------------------------------------------------------------------------------


def _columns(joints: Sequence[_Joint]) -> list[int]:
    """Column of the first channel of each joint."""
    return list(accumulate((len(joint.channels) for joint in joints), initial=0))[:-1]


def _place(joint: _Joint, column: int, values: Tensor) -> Tensor:
    """Position `(T, 3)` of a joint in its parent's frame: its channels, its offset where it has none."""
    place = torch.tensor(joint.offset, dtype=torch.float64).repeat(len(values), 1)
    for i, channel in enumerate(joint.channels):
        if channel in _POSITIONS:
            place[:, _POSITIONS.index(channel)] = values[:, column + i]
    return place


def _offsets(joints: Sequence[_Joint], values: Tensor) -> tuple[Tensor, float]:
    """Mean position `(J, 3)` of each joint in its parent's frame, and how far one comes off it; the root at rest."""
    offsets = torch.tensor([joint.offset for joint in joints], dtype=torch.float64)
    slide = 0.0
    for i, (joint, column) in enumerate(zip(joints, _columns(joints), strict=True)):
        if i > 0 and not set(_POSITIONS).isdisjoint(joint.channels) and len(values):
            place = _place(joint, column, values)
            offsets[i] = place.mean(0)
            slide = max(slide, float((place - offsets[i]).norm(dim=-1).max()))
    return offsets, slide


def _rotations(joints: Sequence[_Joint], values: Tensor) -> Tensor:
    """Local rotations `(T, J, 4)`; joints with the same channels are worked out together."""
    rotations = quat_identity(len(values), len(joints), dtype=torch.float64)
    basis = torch.eye(3, dtype=torch.float64)
    groups: dict[tuple[str, ...], list[tuple[int, int]]] = {}
    for i, (joint, column) in enumerate(zip(joints, _columns(joints), strict=True)):
        groups.setdefault(tuple(joint.channels), []).append((i, column))
    for channels, members in groups.items():
        indices = [i for i, _ in members]
        for place, channel in enumerate(channels):
            if channel not in _ROTATIONS:
                continue
            angles = torch.deg2rad(values[:, [column + place for _, column in members]])
            axis = basis[_ROTATIONS.index(channel)].expand(*angles.shape, 3)
            rotations[:, indices] = quat_multiply(rotations[:, indices], quat_from_angle_axis(angles, axis))
    return rotations


# --- guesses ---------------------------------------------------------------------------------------------------------


def _meters(path: Path, unit: Unit | float | None, parents: Sequence[int], offsets: Tensor) -> float:
    """Meters in one unit of the file."""
    if unit is None:
        unit = guess_unit(parents, offsets)
    if isinstance(unit, str):
        if unit not in _METERS:
            raise MotionError(f"{path}: no unit {unit!r}; there are {list(get_args(Unit))}, or give it in meters")
        return _METERS[unit]
    if not 0 < unit < float("inf"):
        raise MotionError(f"{path}: the unit must be a positive number of meters, not {unit}")
    return unit


def guess_unit(parents: Sequence[int], offsets: Tensor) -> Unit:
    """The unit in which a skeleton is as large as a person, by the longest way along its bones.

    Args:
        parents: of the J joints, -1 for the root.
        offsets: `(J, 3)` of each joint in its parent's frame.
    """
    lengths = offsets.norm(dim=-1).tolist()
    longest, below = 0.0, [0.0] * len(lengths)
    for joint in range(len(lengths) - 1, 0, -1):
        way = below[joint] + lengths[joint]
        longest = max(longest, below[parents[joint]] + way)
        below[parents[joint]] = max(below[parents[joint]], way)
    return next((unit for unit, largest in _LARGEST if longest <= largest), "mm")
