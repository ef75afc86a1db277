"""Data sets as YAML.

```yaml
motions:
- walks/*.npz                       # a path or a pattern: whole files
- file: CMU/01/01_01_poses.npy      # ProtoMotions 1: parts with captions
  fps: 30.0
  idx: 0
  sub_motions:
  - {idx: 0, hml3d_id: 12, labels: [a person climbs], timings: {start: 0.5, end: 4.2}, weight: 1.0}
- {file: g1/fight1.motion, fps: 30.0, weight: 2.0}   # ProtoMotions 3
splits:                             # optional: a share by the hash of the file's name, or patterns
  train: 0.9
  test: 0.1
```

The keys of a part are the fields of `SubMotion`, `start` and `end` under `timings`; in an entry without `sub_motions`
they may stand beside `file`. Numbers `idx` are implied by the order; where they are written they must be consecutive.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from motionlib.datasets.entries import MotionFile, SubMotion
from motionlib.files import complete_file
from motionlib.motion import MotionError

__all__ = ["Splits", "read_files", "read_yaml", "write_files", "write_yaml"]

Splits = Mapping[str, float | tuple[str, ...]]
"""name of a split to its share of the files, or to patterns of their paths"""

# The parser in C is many times faster, which shows in data sets of thousands of files.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

_TOP_KEYS = ("motions", "splits")
_PART_KEYS = ("idx", "timings", *(f.name for f in fields(SubMotion) if f.name not in ("start", "end")))
_FILE_KEYS = ("file", "fps", "idx", "weight", "sub_motions")
_WILDCARDS = "*?["


# --- reading ---------------------------------------------------------------------------------------------------------


def read_yaml(path: Path) -> Any:  # noqa: ANN401
    """What a YAML file holds.

    Raises:
        MotionError: if there is no such file or it is no YAML, with the line.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _LOADER)
    except OSError as error:
        raise MotionError(f"no data set at {path} ({error.strerror})") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise MotionError(f"{path}: no valid YAML: {' '.join(str(error).split())}") from error


def read_files(path: Path, root: Path) -> tuple[tuple[MotionFile, ...], Splits]:
    """The motion files and splits that a YAML file lists.

    Args:
        path: the YAML file.
        root: where patterns are looked for.

    Raises:
        MotionError: naming the file, the entry, the key, and what would be right.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise MotionError(f'{path}: want a mapping with the key "motions", found {_kind(content)}')
    _check_keys(content, _TOP_KEYS, f"{path}")
    entries = content.get("motions")
    if not isinstance(entries, list):
        raise MotionError(f"{path}: motions must be a list, found {_kind(entries)}")
    files: list[MotionFile] = []
    parts = 0
    for number, entry in enumerate(entries):
        where = f"{path}: motions[{number}]"
        if isinstance(entry, str):
            found = _expanded(entry, root, where)
        elif isinstance(entry, dict):
            found = [_file(entry, where, (number, parts), parts)]
        else:
            raise MotionError(f"{where}: want a path or a mapping with the key file, found {_kind(entry)}")
        files += found
        parts += sum(len(file.sub_motions) for file in found)
    return tuple(files), _splits(content.get("splits"), f"{path}: splits")


def _expanded(pattern: str, root: Path, where: str) -> list[MotionFile]:
    if not any(letter in pattern for letter in _WILDCARDS):
        return [MotionFile(file=pattern)]
    if Path(pattern).is_absolute():
        raise MotionError(f"{where}: a pattern starts from the root {root}, found the absolute {pattern!r}")
    try:
        found = sorted(p.relative_to(root).as_posix() for p in root.glob(pattern) if p.is_file())
    except (ValueError, NotImplementedError) as error:
        raise MotionError(f"{where}: {pattern!r} is no pattern of paths below {root} ({error})") from error
    if not found:
        raise MotionError(f"{where}: no file fits {pattern!r} below {root}")
    return [MotionFile(file=file) for file in found]


def _file(entry: dict[Any, Any], where: str, numbers: tuple[int, int], first: int) -> MotionFile:
    file = entry.get("file")
    if not isinstance(file, str) or not file:
        _check_keys(entry, (*_FILE_KEYS, *_PART_KEYS), where)
        raise MotionError(f"{where}: want a path under the key file, found {_kind(file)}")
    where = f"{where} ({file})"
    # ProtoMotions counts files in some data sets and parts in others.
    if "idx" in entry and entry["idx"] not in numbers:
        raise MotionError(f"{where}: idx must be consecutive: want {numbers[0]}, found {entry['idx']!r}")
    if entry.get("sub_motions") is None:
        _check_keys(entry, (*_FILE_KEYS, *_PART_KEYS), where)
        own = {key: value for key, value in entry.items() if key in _PART_KEYS and key not in ("idx", "weight")}
        parts: tuple[SubMotion, ...] = (_part(own, where),)
    else:
        _check_keys(entry, _FILE_KEYS, where)
        parts = _parts(entry["sub_motions"], where, first)
    fps = None if entry.get("fps") is None else _number(entry, "fps", where, above=0.0)
    return MotionFile(file=file, fps=fps, weight=_weight(entry, where), sub_motions=parts)


def _parts(entries: Any, where: str, first: int) -> tuple[SubMotion, ...]:  # noqa: ANN401
    if not isinstance(entries, list) or not entries:
        raise MotionError(f"{where}: sub_motions must be a list of at least one part, found {_kind(entries)}")
    parts = []
    for number, entry in enumerate(entries):
        place = f"{where}: sub_motions[{number}]"
        if not isinstance(entry, dict):
            raise MotionError(f"{place}: want a mapping, found {_kind(entry)}")
        if "idx" in entry and entry["idx"] != first + number:
            raise MotionError(f"{place}: idx must be consecutive: want {first + number}, found {entry['idx']!r}")
        parts.append(_part(entry, place))
    return tuple(parts)


def _part(entry: dict[Any, Any], where: str) -> SubMotion:
    _check_keys(entry, _PART_KEYS, where)
    start, end = _span(entry, "timings", where) or (0.0, None)
    goal = _span(entry, "goal", where)
    if goal is not None and goal[1] is None:
        raise MotionError(f"{where}: goal needs an end")
    offset = entry.get("ref_respawn_offset")
    identity = entry.get("hml3d_id")
    if identity is not None and (isinstance(identity, bool) or not isinstance(identity, int)):
        raise MotionError(f"{where}: hml3d_id must be a whole number, found {identity!r}")
    return SubMotion(
        start=start,
        end=end,
        labels=_texts(entry, "labels", where),
        weight=_weight(entry, where),
        hml3d_id=identity,
        action_type=_text(entry, "action_type", where),
        object_category=_text(entry, "object_category", where),
        supported_scenes=_texts(entry, "supported_scenes", where),
        supported_objects=_texts(entry, "supported_objects", where),
        ref_respawn_offset=None if offset is None else _number(entry, "ref_respawn_offset", where),
        goal=None if goal is None or goal[1] is None else (goal[0], goal[1]),
    )


def _span(entry: dict[Any, Any], key: str, where: str) -> tuple[float, float | None] | None:
    span = entry.get(key)
    if span is None:
        return None
    if not isinstance(span, dict):
        raise MotionError(f"{where}: {key} must be a mapping with start and end in seconds, found {_kind(span)}")
    _check_keys(span, ("start", "end"), f"{where}: {key}")
    start = _number(span, "start", f"{where}: {key}") if span.get("start") is not None else 0.0
    end = _number(span, "end", f"{where}: {key}") if span.get("end") is not None else None
    if start < 0 or (end is not None and end <= start):
        raise MotionError(f"{where}: {key} must have 0 <= start < end, found {start} and {end}")
    return start, end


def _splits(table: Any, where: str) -> Splits:  # noqa: ANN401
    if table is None:
        return {}
    if not isinstance(table, dict):
        raise MotionError(f"{where}: want a mapping of names to shares or lists of patterns, found {_kind(table)}")
    splits: dict[str, float | tuple[str, ...]] = {}
    for name in table:
        is_list = isinstance(table[name], list | str)
        splits[str(name)] = _texts(table, name, where) if is_list else _number(table, name, where, above=0.0)
    shares = math.fsum(value for value in splits.values() if isinstance(value, float))
    if shares > 1.0 + 1e-9:
        raise MotionError(f"{where}: the shares must not exceed 1 in all, found {shares:g}")
    return splits


# --- single values ---------------------------------------------------------------------------------------------------


def _check_keys(entry: Mapping[Any, Any], valid: Collection[str], where: str) -> None:
    for key in entry:
        if key not in valid:
            near = difflib.get_close_matches(str(key), valid, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"valid are {sorted(set(valid))}"
            raise MotionError(f"{where}: unknown key {key!r}; {hint}")


def _weight(entry: Mapping[Any, Any], where: str) -> float:
    weight = _number(entry, "weight", where) if entry.get("weight") is not None else 1.0
    if weight < 0:
        raise MotionError(f"{where}: weight must not be negative, found {weight:g}")
    return weight


def _number(entry: Mapping[Any, Any], key: str, where: str, above: float = -math.inf) -> float:
    value: Any = entry.get(key)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not abs(value) < 1e300 or value <= above:
        wanted = "a number" if above == -math.inf else f"a number above {above:g}"
        raise MotionError(f"{where}: {key} must be {wanted}, found {value!r:.60}")
    return float(value)


def _text(entry: Mapping[Any, Any], key: str, where: str) -> str:
    value = entry.get(key)
    if value is not None and not isinstance(value, str):
        raise MotionError(f"{where}: {key} must be a text, found {value!r}")
    return value or ""


def _texts(entry: Mapping[Any, Any], key: str, where: str) -> tuple[str, ...]:
    value = entry.get(key)
    values = [value] if isinstance(value, str) else [] if value is None else value
    # YAML reads some captions and ids ("yes", "12345678") as something else than text.
    if not isinstance(values, list) or not all(isinstance(v, str | int | float) for v in values):
        raise MotionError(f"{where}: {key} must be a list of texts, found {value!r}")
    return tuple(str(v) for v in values)


def _kind(value: object) -> str:
    return "nothing" if value is None else f"{value!r:.60}"


# --- writing ---------------------------------------------------------------------------------------------------------


def write_files(path: Path, files: Collection[MotionFile], splits: Splits) -> None:
    """Write a YAML file that `read_files` reads; plain files as ProtoMotions 3 has them, parts as ProtoMotions 1."""
    entries: list[dict[str, Any]] = []
    index = 0
    for file in files:
        entry: dict[str, Any] = {"file": file.file}
        if file.fps is not None:
            entry["fps"] = file.fps
        if file.sub_motions == (SubMotion(),):
            entry |= {"weight": file.weight, "idx": index}
        else:
            if file.weight != 1.0:
                entry["weight"] = file.weight
            entry |= {"idx": index, "sub_motions": [_written(p, index + i) for i, p in enumerate(file.sub_motions)]}
        entries.append(entry)
        index += len(file.sub_motions)
    content: dict[str, Any] = {"motions": entries}
    if splits:
        content["splits"] = {n: list(value) if isinstance(value, tuple) else value for n, value in splits.items()}
    write_yaml(path, content)


def _written(part: SubMotion, index: int) -> dict[str, Any]:
    entry: dict[str, Any] = {"idx": index}
    if not part.is_whole:
        entry["timings"] = {"start": part.start} | ({} if part.end is None else {"end": part.end})
    if part.goal is not None:
        entry["goal"] = {"start": part.goal[0], "end": part.goal[1]}
    for name in _PART_KEYS[2:]:
        value = getattr(part, name)
        if name != "goal" and value not in (None, "", ()):
            entry[name] = list(value) if isinstance(value, tuple) else value
    return entry


def write_yaml(path: Path, content: object) -> None:
    """Write a YAML file; it appears complete or not at all."""
    with complete_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        yaml.dump(content, file, _DUMPER, sort_keys=False, allow_unicode=True, width=120)
