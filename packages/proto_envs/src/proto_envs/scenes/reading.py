"""Scenes from YAML. `docs/scenes.md` shows the keys, which are the fields of the dataclasses."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from proto_envs.scenes.errors import SceneError, nearest
from proto_envs.scenes.scene import Scene, SceneObject, Trajectory
from proto_envs.scenes.shapes import Box, Cylinder, Mesh, Shape, Sphere

__all__ = ["read_scenes", "scene_from"]

_SHAPES: dict[str, type[Shape]] = {"box": Box, "sphere": Sphere, "cylinder": Cylinder, "mesh": Mesh}


def read_scenes(path: str | Path) -> tuple[Scene, ...]:
    """The scenes of a YAML file: one, or several under the key `scenes`.

    Paths of meshes, trajectories and clips are seen from the file.

    Raises:
        SceneError: naming the file, the key, and what would be right.
    """
    path = Path(path)
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise SceneError(f"scene {path}: cannot be read as YAML: {error}") from error
    try:
        if isinstance(table, Mapping) and "scenes" in table:
            _known(table, ["scenes"])
            entries = _listed(table, "scenes")
            return tuple(
                _within(f"scenes[{i}]", scene_from, entry, path.parent, f"{path.stem}_{i}")
                for i, entry in enumerate(entries)
            )
        return (scene_from(table, path.parent, path.stem),)
    except SceneError as error:
        raise SceneError(f"scene {path}: {error}") from None


def scene_from(table: Any, folder: Path, name: str) -> Scene:  # noqa: ANN401
    """A scene from a mapping.

    Args:
        table: fields of `Scene`.
        folder: where relative paths begin.
        name: of the scene, if the table has none.

    Raises:
        SceneError: naming the key, and what would be right.
    """
    settings = _fields(table, Scene)
    things = [_within(f"objects[{i}]", _object, t, folder) for i, t in enumerate(_listed(settings, "objects"))]
    motions = settings.get("motions", [])
    motions = [motions] if isinstance(motions, str) else motions
    if not isinstance(motions, list) or not all(isinstance(motion, str) for motion in motions):
        raise SceneError(f"motions: want a list of clips, got {motions!r}")
    found = [str(folder / motion) if (folder / motion).is_file() else motion for motion in motions]
    _want(settings, ("name", "target"), str, "a word")
    settings = {"name": name, **settings, "objects": tuple(things), "motions": tuple(found)}
    return Scene(**settings)


def _object(table: Any, folder: Path) -> SceneObject:  # noqa: ANN401
    if not isinstance(table, Mapping):
        raise SceneError(f"want a mapping, got {table!r}")
    settings = dict(table)
    alone = [kind for kind in _SHAPES if kind in settings]
    if len(alone) > 1 or (alone and "parts" in settings):
        raise SceneError(f"want one solid, or several under 'parts'; got {alone} and {sorted(settings)}")
    listed = [{alone[0]: settings.pop(alone[0])}] if alone else _listed(settings, "parts", f"or one of {list(_SHAPES)}")
    settings["parts"] = tuple(_within(f"parts[{i}]", _shape, part, folder) for i, part in enumerate(listed))
    settings = _fields(settings, SceneObject, extra=list(_SHAPES))
    _want(settings, ("name", "mobility", "category", "stands_on"), str, "a word")
    if "trajectory" in settings:
        settings["trajectory"] = _within("trajectory", _trajectory, settings["trajectory"], folder)
    return SceneObject(**settings)


def _shape(table: Any, folder: Path) -> Shape:  # noqa: ANN401
    kinds = list(_SHAPES)
    if not isinstance(table, Mapping) or len(table) != 1:
        raise SceneError(f"want a mapping with one of the keys {kinds}, got {table!r}")
    ((kind, numbers),) = table.items()
    if kind not in _SHAPES:
        raise SceneError(f"no solid {kind!r}: {nearest(kind, kinds)}there are {kinds}")
    return _within(kind, _solid, numbers, kind, folder)


def _solid(table: Any, kind: str, folder: Path) -> Shape:  # noqa: ANN401
    settings = _fields(table, _SHAPES[kind])
    if "file" in settings:
        if not isinstance(settings["file"], str):
            raise SceneError(f"file: want a path, got {settings['file']!r}")
        settings["file"] = str(folder / settings["file"])
    return _SHAPES[kind](**settings)


def _trajectory(table: Any, folder: Path) -> Trajectory:  # noqa: ANN401
    """From `{fps, positions, rotations}`, or from `{file}`, an .npz of these three."""
    if isinstance(table, Mapping) and set(table) == {"file"}:
        file = folder / str(table["file"])
        try:
            with np.load(file, allow_pickle=False) as archive:
                table = dict(archive)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, TypeError) as error:
            raise SceneError(f"{file}: cannot be read as an .npz of numbers ({error})") from error
        if "fps" in table and np.size(table["fps"]) == 1:
            table["fps"] = float(table["fps"])
    return Trajectory(**_fields(table, Trajectory))


def _fields(table: Any, kind: type, extra: list[str] | None = None) -> dict[str, Any]:  # noqa: ANN401
    """A copy of a mapping whose keys are fields of a dataclass, with all that it must have."""
    known = [field.name for field in fields(kind)] + (extra or [])
    if not isinstance(table, Mapping):
        raise SceneError(f"want a mapping with keys among {known}, got {table!r}")
    _known(table, known)
    must = [field.name for field in fields(kind) if field.default is MISSING and field.name != "name"]
    must += ["name"] if kind is SceneObject else []
    if missing := [name for name in must if name not in table]:
        raise SceneError(f"{missing[0]} is missing; keys are {known}")
    return dict(table)


def _known(table: Mapping[str, Any], known: list[str]) -> None:
    for key in table:
        if key not in known:
            raise SceneError(f"unknown key {key!r}: {nearest(key, known)}keys are {known}")


def _listed(table: Mapping[str, Any], key: str, other: str = "") -> list[Any]:
    entries = table.get(key)
    if not isinstance(entries, list) or not entries:
        raise SceneError(f"{key}: want a list with at least one entry{f', {other}' if other else ''}, got {entries!r}")
    return entries


def _want(table: Mapping[str, Any], keys: tuple[str, ...], kind: type, what: str) -> None:
    for key in keys:
        if table.get(key) is not None and not isinstance(table[key], kind):
            raise SceneError(f"{key}: want {what}, got {table[key]!r}")


def _within(where: str, function: Any, *arguments: Any) -> Any:  # noqa: ANN401
    """The result of `function`, whose errors are told apart by where they happened."""
    try:
        return function(*arguments)
    except SceneError as error:
        raise SceneError(f"{where}: {error}") from None
