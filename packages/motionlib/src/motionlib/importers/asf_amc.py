"""Acclaim motion: a skeleton (.asf) and its motion (.amc), as Carnegie Mellon University and HDM05 publish them.

A bone turns about its own axes C, which stand still against the world at rest: its turn since rest is `C M C^-1`, with
M the angles of its degrees of freedom about fixed axes in the order that `axis` names. A body of the clip sits where
its bone starts and is called like it.

Lander, Working with Motion Capture File Formats, Game Developer, January 1998.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from motionlib.importers.axes import Axis, choose_axes
from motionlib.motion import Motion, MotionError
from poselib.rotations import quat_conjugate, quat_from_euler, quat_identity, quat_multiply

__all__ = ["FORMAT", "read", "recognizes"]

FORMAT = "ASF/AMC"

_INCH = 0.0254
_BODIES_PER_NUMBER = 8
"""more bodies per number of a frame have no business in a file: few bytes would ask for much memory"""
_FLAGS = (b":FULLY-SPECIFIED", b":DEGREES", b":RADIANS", b":VERSION")


@dataclass
class _Bone:
    name: str
    tip: Sequence[float] = (0.0, 0.0, 0.0)
    """where it ends, from where it starts, at rest"""
    axis: Sequence[float] = (0.0, 0.0, 0.0)
    """angles that turn the world's axes into its own"""
    order: str = "xyz"
    """of the turns, about fixed axes"""
    dofs: list[str] = field(default_factory=list)
    """rx, ry, rz, and tx, ty, tz of the root, as they follow in the .amc"""
    parent: str = ""


@dataclass
class _Skeleton:
    length: float = 1.0
    radians: bool = False
    bones: dict[str, _Bone] = field(default_factory=dict)
    """depth first, the root first"""


def recognizes(head: bytes) -> bool:
    """A text whose first word that is no comment is one of the keywords that such files start with."""
    for line in head.removeprefix(b"\xef\xbb\xbf").splitlines():
        words = line.split()
        if words and not words[0].startswith(b"#"):
            return words[0].upper() in _FLAGS
    return False


def read(
    path: str | Path,
    *,
    skeleton_file: str | Path | None = None,
    fps: float = 120.0,
    unit: float | None = None,
    up: Axis | None = None,
    forward: Axis | None = None,
    end_sites: bool = False,
) -> Motion:
    """Read the clip.

    Args:
        path: the .amc.
        skeleton_file: its .asf; None: the one beside it with the same name, else with the longest name that the .amc's
            starts with (01.asf for 01_02.amc), else the only one there.
        fps: frames per second, which the files do not say.
        unit: meters in the file's unit of length; None: inches, divided by the skeleton's `length` (0.45 at CMU).
        up: the axis that points up; None: guessed from the rest pose, y if that does not tell.
        forward: the axis that the character faces at rest; None: guessed likewise.
        end_sites: keep the ends of the last bones as bodies, `<bone>_end`.

    Raises:
        MotionError: if the skeleton is not found, does not fit the motion, or one of the texts is damaged.
    """
    path = Path(path)
    lines = list(_lines(path))
    if any(words[0].lower() == ":bonedata" for words in lines):
        raise MotionError(f"{path}: a skeleton without motion; read the .amc file beside it")
    asf = Path(skeleton_file) if skeleton_file is not None else _find_skeleton(path)
    skeleton = _parse_skeleton(asf)
    values, radians = _parse_motion(path, asf, lines, skeleton)
    if unit is None:
        unit = _INCH / skeleton.length
    bones = list(skeleton.bones.values())
    offsets, parents, names = _tree(bones, end_sites)
    if len(names) > _BODIES_PER_NUMBER * sum(value.shape[1] for value in values.values()):
        raise MotionError(f"{path}: frames hold too few numbers for {len(names)} bodies")
    rotations = quat_identity(len(values["root"]), len(names), dtype=torch.float64)
    for body, name in enumerate(names):
        if name in values:
            bone = skeleton.bones[name]
            rotations[:, body] = _rotations(bone, values[name], skeleton.radians, radians)
    axes = choose_axes(names, parents, offsets, up, forward)
    columns = [bones[0].dofs.index(f"t{letter}") for letter in "xyz"]
    root = offsets[0] + values["root"][:, columns]
    return Motion(
        name=path.stem,
        fps=fps,
        body_names=tuple(names),
        parents=tuple(parents),
        offsets=axes.vectors(unit * offsets),
        root_positions=axes.vectors(unit * root),
        local_rotations=axes.quats(rotations),
        source=f"ASF/AMC {path.name} on {asf.name}",
    )


def _find_skeleton(path: Path) -> Path:
    stem = path.stem.lower()
    found = sorted((file for file in path.parent.iterdir() if file.suffix.lower() == ".asf"), key=lambda f: f.name)
    fitting = [file for file in found if stem.startswith(file.stem.lower())]
    if fitting:
        return max(fitting, key=lambda file: len(file.stem))
    if len(found) == 1:
        return found[0]
    there = f"several that do not: {[file.name for file in found[:8]]}" if found else "none"
    raise MotionError(f"{path}: want its skeleton (.asf) beside it under a name that fits, found {there}; name it")


# --- text ------------------------------------------------------------------------------------------------------------


def _lines(path: Path) -> Iterator[list[str]]:
    """The words of each line, comments and empty lines left out."""
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
    except OSError as error:
        raise MotionError(f"{path}: cannot be read ({error})") from error
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if words:
            yield words


def _numbers(path: Path, words: Sequence[str], count: int, what: str) -> list[float]:
    try:
        numbers = [float(word) for word in words]
    except ValueError as error:
        raise MotionError(f"{path}: {what} holds something that is no number ({error})") from error
    if len(numbers) != count:
        raise MotionError(f"{path}: {what} has {len(numbers)} numbers, want {count}")
    return numbers


def _parse_skeleton(path: Path) -> _Skeleton:
    skeleton = _Skeleton()
    root = _Bone("root", dofs=["tx", "ty", "tz", "rx", "ry", "rz"])
    found = {"root": root}
    children: dict[str, list[str]] = {}
    section = ""
    block: dict[str, list[str]] = {}
    for words in _lines(path):
        keyword, rest = words[0].lower(), words[1:]
        if keyword.startswith(":"):
            section = keyword
        elif section == ":units":
            _set_unit(path, skeleton, keyword, rest)
        elif section == ":root":
            _set_root(path, root, keyword, rest)
        elif section == ":bonedata" and keyword == "begin":
            block = {}
        elif section == ":bonedata" and keyword == "end":
            bone = _bone(path, block)
            found[bone.name] = bone
        elif section == ":bonedata":
            block[keyword] = rest
        elif section == ":hierarchy" and keyword not in ("begin", "end"):
            children.setdefault(words[0], []).extend(rest)
    skeleton.bones = _depth_first(path, found, children)
    return skeleton


def _set_unit(path: Path, skeleton: _Skeleton, keyword: str, words: Sequence[str]) -> None:
    if keyword == "length":
        skeleton.length = _numbers(path, words, 1, "the unit of length")[0]
        if not 1e-9 < skeleton.length < 1e9:
            raise MotionError(f"{path}: the unit of length is {skeleton.length}, want a positive number")
    elif keyword == "angle":
        skeleton.radians = bool(words) and words[0].lower().startswith("rad")


def _set_root(path: Path, root: _Bone, keyword: str, words: Sequence[str]) -> None:
    if keyword == "order":
        root.dofs = _dofs(path, root.name, words)
        if not {"tx", "ty", "tz"}.issubset(root.dofs):
            raise MotionError(f"{path}: the root's order is {' '.join(words)}; want TX, TY and TZ in it")
    elif keyword == "axis":
        root.order = _order(path, root.name, words)
    elif keyword == "position":
        root.tip = _numbers(path, words, 3, "the root's position")
    elif keyword == "orientation":
        root.axis = _numbers(path, words, 3, "the root's orientation")


def _bone(path: Path, block: Mapping[str, Sequence[str]]) -> _Bone:
    name = " ".join(block.get("name", ()))
    if not name or name == "root":
        raise MotionError(f"{path}: a bone without a name of its own; it has {sorted(block)}")
    direction = _numbers(path, block.get("direction", ()), 3, f"the direction of {name!r}")
    length = _numbers(path, block.get("length", ()), 1, f"the length of {name!r}")[0]
    size = sum(number * number for number in direction) ** 0.5
    axis = block.get("axis", ("0", "0", "0", "XYZ"))
    dofs = _dofs(path, name, block.get("dof", ()))
    if any(not dof.startswith("r") for dof in dofs):
        raise MotionError(f"{path}: bone {name!r} moves by {' '.join(dofs)}; only turns (rx, ry, rz) can be read")
    return _Bone(
        name,
        tip=[length * number / (size or 1.0) for number in direction],
        axis=_numbers(path, axis[:3], 3, f"the axis of {name!r}"),
        order=_order(path, name, axis[3:]),
        dofs=dofs,
    )


def _dofs(path: Path, name: str, words: Sequence[str]) -> list[str]:
    dofs = [word.lower() for word in words]
    if not {"tx", "ty", "tz", "rx", "ry", "rz", "l"}.issuperset(dofs) or len(set(dofs)) != len(dofs):
        raise MotionError(f"{path}: the degrees of freedom of {name!r} are {' '.join(words)}; want rx, ry, rz")
    return dofs


def _order(path: Path, name: str, words: Sequence[str]) -> str:
    order = "".join(words).lower()
    if sorted(order) != ["x", "y", "z"]:
        raise MotionError(f"{path}: the axis order of {name!r} is {' '.join(words)!r}, want x, y and z in some order")
    return order


def _depth_first(path: Path, found: dict[str, _Bone], children: Mapping[str, Sequence[str]]) -> dict[str, _Bone]:
    bones: dict[str, _Bone] = {}
    stack = [("root", "")]
    while stack:
        name, parent = stack.pop()
        if name not in found or name in bones:
            problem = "again" if name in bones else "without data"
            raise MotionError(f"{path}: the hierarchy names bone {name!r} {problem}")
        bones[name] = found[name]
        bones[name].parent = parent
        stack += [(child, name) for child in reversed(children.get(name, ()))]
    if left := sorted(set(found) - set(bones)):
        raise MotionError(f"{path}: the hierarchy does not reach the bones {left[:8]}")
    return bones


def _parse_motion(
    path: Path, asf: Path, lines: Sequence[Sequence[str]], skeleton: _Skeleton
) -> tuple[dict[str, Tensor], bool]:
    """Numbers `(T, dofs)` float64 of each bone that moves, and whether angles are radians."""
    radians = any(words[0].upper() == ":RADIANS" for words in lines)
    rows: dict[str, list[list[float]]] = {}
    frames = 0
    for words in lines:
        if words[0].startswith(":"):
            continue
        if len(words) == 1 and words[0].isdigit():
            _check_frame(path, rows, frames)
            frames += 1
            continue
        name, what = words[0], f"frame {frames}, {words[0]!r}"
        if name not in skeleton.bones:
            raise MotionError(f"{path}: {what}: the skeleton {asf.name} has no such bone; is it another subject's?")
        row = _numbers(path, words[1:], len(skeleton.bones[name].dofs), what)
        rows.setdefault(name, []).append(row)
        if len(rows[name]) != frames:
            raise MotionError(f"{path}: {what} comes twice, or was left out before")
    _check_frame(path, rows, frames)
    if "root" not in rows:
        raise MotionError(f"{path}: no frame has the root")
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in rows.items()}, radians


def _check_frame(path: Path, rows: Mapping[str, Sequence[object]], frames: int) -> None:
    """All bones that ever came must have come in the last frame too."""
    if frames and (lacking := [name for name, values in rows.items() if len(values) != frames]):
        raise MotionError(f"{path}: frame {frames} lacks {lacking[:8]}; the file may be cut off")


# --- geometry --------------------------------------------------------------------------------------------------------


def _tree(bones: Sequence[_Bone], end_sites: bool) -> tuple[Tensor, list[int], list[str]]:
    """Offsets `(B, 3)` in the file's unit, parents and names of the bodies. The root's offset is its position."""
    inner = {bone.parent for bone in bones}
    offsets, parents, names = [list(bones[0].tip)], [-1], ["root"]
    index = {"root": 0}
    tips = {bone.name: bone.tip for bone in bones} | {"root": (0.0, 0.0, 0.0)}
    for bone in bones[1:]:
        index[bone.name] = len(names)
        offsets.append(list(tips[bone.parent]))
        parents.append(index[bone.parent])
        names.append(bone.name)
        if end_sites and bone.name not in inner:
            offsets.append(list(bone.tip))
            parents.append(index[bone.name])
            names.append(f"{bone.name}_end")
    return torch.tensor(offsets, dtype=torch.float64), parents, names


def _rotations(bone: _Bone, values: Tensor, axis_in_radians: bool, in_radians: bool) -> Tensor:
    """Turn since rest `(T, 4)` of a bone's numbers `(T, dofs)`."""
    letters = {dof[1]: values[:, i] for i, dof in enumerate(bone.dofs) if dof.startswith("r")}
    zero = values.new_zeros(len(values))
    angles = torch.stack([letters.get(letter, zero) for letter in bone.order], dim=-1)
    axis = torch.tensor([bone.axis["xyz".index(letter)] for letter in bone.order], dtype=torch.float64)
    frame = quat_from_euler(bone.order, axis if axis_in_radians else torch.deg2rad(axis))
    turn = quat_from_euler(bone.order, angles if in_radians else torch.deg2rad(angles))
    return quat_multiply(quat_multiply(frame, turn), quat_conjugate(frame))
