"""From names, files and plain values to a `Randomization`, with errors that say where and what would be right."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from proto_envs.randomization.config import Noise, Projectiles, Pushes, Randomization
from proto_envs.randomization.ranges import Range, Vector

__all__ = ["PRESETS", "RandomizationLike", "make_randomization"]

RandomizationLike = str | Path | Mapping[str, Any] | Randomization | None
"""a preset's name, a YAML file, fields of `Randomization`, the dataclass, or None for an unperturbed world"""

_SHORT = {Range: "low", Noise: "size"}
"""dataclasses for which a bare number stands, and its field"""


def _around(*sizes: float) -> Vector:
    return Vector(*(Range(-size, size) for size in sizes))


_PUSHES = Pushes(velocity=_around(0.5, 0.5, 0.2), angular_velocity=_around(0.52, 0.52, 0.78))
_NEARLY_ONE = {"*": Range(0.9, 1.1)}

PRESETS: dict[str, Randomization] = {
    "gravity": Randomization(gravity=Range(-20.0, -14.0)),
    "friction": Randomization(friction=Range(0.4, 0.4)),
    "mass": Randomization(mass=Range(0.8, 1.2)),
    "heavy_hand": Randomization(mass={"right_hand": Range(5.0, 5.0)}),
    "com": Randomization(com_offset={"torso": _around(0.025, 0.05, 0.05)}),
    "gains": Randomization(stiffness=_NEARLY_ONE, damping=_NEARLY_ONE),
    "pushes": Randomization(pushes=_PUSHES),
    "noise": Randomization(
        observation_noise={"policy": Noise(size=0.02)}, action_noise=Noise(size=0.025, distribution="uniform")
    ),
    "delay": Randomization(action_delay=Range(0.0, 2.0)),
    "terrain": Randomization(terrain="harsh"),
    "projectiles": Randomization(projectiles=Projectiles()),
    "sim2real": Randomization(
        friction=Range(0.3, 1.6),
        mass=_NEARLY_ONE,
        com_offset={"torso": _around(0.025, 0.05, 0.05)},
        stiffness=_NEARLY_ONE,
        damping=_NEARLY_ONE,
        pushes=_PUSHES,
        observation_noise={"policy/proprioception": Noise(size=0.02)},
        action_noise=Noise(size=0.025, distribution="uniform"),
        action_delay=Range(0.0, 1.0),
    ),
}
"""by name; docs/randomization.md says where the numbers are from"""


def make_randomization(value: RandomizationLike) -> Randomization:
    """What the keyword `randomization=` means.

    Raises:
        TypeError: for an unknown key or a value of the wrong type, with the nearest key and all valid ones.
        ValueError: for an unknown name, a file that is none, or numbers that make no sense.
    """
    match value:
        case None:
            return Randomization()
        case Randomization():
            return value
        case Mapping():
            return _parse(Randomization, value, "randomization")
        case str() if value in PRESETS:
            return PRESETS[value]
        case str() | Path():
            return _from_file(Path(value))
    raise TypeError(f"randomization={value!r}: want a name, a YAML file, a mapping or a Randomization")


def _from_file(path: Path) -> Randomization:
    if not path.is_file():
        near = difflib.get_close_matches(str(path), PRESETS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"randomization={str(path)!r}: {hint}there is no such file, and the names are {list(PRESETS)}")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML file: {error}") from error
    return _parse(Randomization, {} if data is None else data, str(path))


def _parse(kind: Any, value: Any, where: str) -> Any:  # noqa: ANN401  (any annotation, any plain value)
    """A value as a field's annotation wants it.

    Raises:
        TypeError, ValueError: naming `where`, the dotted place of the value.
    """
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return None if value is None and type(None) in parts else _parse(_chosen(parts, value), value, where)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return value if isinstance(value, kind) else _parse_dataclass(kind, value, where)
    if origin is Mapping:
        if not isinstance(value, Mapping):
            raise TypeError(f"{where} wants a mapping of names, got {value!r}")
        return {str(name): _parse(parts[1], part, f"{where}.{name}") for name, part in value.items()}
    if origin is Literal:
        if value not in parts:
            raise ValueError(f"{where} is {value!r}; there are {list(parts)}")
        return value
    if origin is tuple and isinstance(value, (list, tuple)) and len(value) == len(parts):
        return tuple(_parse(part, entry, where) for part, entry in zip(parts, value, strict=True))
    if kind is Any:
        return value
    wanted = (int, float) if kind is float else kind
    if origin is not None or isinstance(value, bool) or not isinstance(value, wanted):
        raise TypeError(f"{where} wants {_described(kind)}, got {value!r}")
    return float(value) if kind is float else value


def _chosen(parts: tuple[Any, ...], value: Any) -> Any:  # noqa: ANN401
    """Which member of a union a value is meant to be: mappings are known by their keys, all else comes first."""
    members = [part for part in parts if part is not type(None)]
    for member in members:
        if dataclasses.is_dataclass(member) and isinstance(value, Mapping):
            if {entry.name for entry in dataclasses.fields(member)} & set(value):
                return member
        elif isinstance(member, type) and isinstance(value, member):
            return member
    mappings = [member for member in members if get_origin(member) is Mapping]
    return mappings[0] if mappings and isinstance(value, Mapping) else members[0]


def _parse_dataclass(kind: Any, value: Any, where: str) -> Any:  # noqa: ANN401
    if kind in _SHORT and isinstance(value, (int, float)) and not isinstance(value, bool):
        value = {"low": value, "high": value} if kind is Range else {_SHORT[kind]: value}
    if kind is Range and isinstance(value, (list, tuple)):
        if len(value) != 2:
            raise TypeError(f"{where} wants a number, [low, high] or a mapping, got {value!r}")
        value = {"low": value[0], "high": value[1]}
    if not isinstance(value, Mapping):
        raise TypeError(f"{where} wants {_described(kind)}, got {value!r}")
    hints = get_type_hints(kind)
    entries = dataclasses.fields(kind)
    names = [entry.name for entry in entries]
    for key in value:
        if key not in names:
            near = difflib.get_close_matches(str(key), names, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise TypeError(f"{where} has no key {key!r}: {hint}valid are {names}")
    lacking = [e.name for e in entries if _required(e) and e.name not in value]
    if lacking:
        raise TypeError(f"{where} lacks {', '.join(lacking)}")
    arguments = {key: _parse(hints[key], part, f"{where}.{key}") for key, part in value.items()}
    try:
        return kind(**arguments)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _required(entry: dataclasses.Field[Any]) -> bool:
    return entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING


def _described(kind: Any) -> str:  # noqa: ANN401
    forms = {Range: "a number, [low, high] or a mapping", Vector: "a mapping with x, y and z", float: "a number"}
    if kind in forms or not isinstance(kind, type):
        return forms.get(kind, str(kind))
    return f"a mapping of fields of {kind.__name__}" if dataclasses.is_dataclass(kind) else kind.__name__
