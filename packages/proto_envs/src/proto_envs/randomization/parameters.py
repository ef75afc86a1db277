"""Physical parameters that are drawn for each environment."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from proto_envs.randomization.config import Randomization
from proto_envs.randomization.ranges import Range, Vector
from proto_envs.robots import Robot
from proto_envs.simulators import Simulator, UnsupportedError

__all__ = ["Parameters", "body_index"]


@dataclass(frozen=True)
class _Entry:
    """One range and the numbers of a parameter that are drawn from it."""

    range: Range
    columns: list[int]
    """of the parameter's numbers, flattened"""
    draws: list[int]
    """(len(columns),) which of the entry's draws each takes"""


class Parameters:
    """Draws an engine's parameters; the engine holds them, and saves them with its state."""

    def __init__(self, config: Randomization, robot: Robot, simulator: Simulator) -> None:
        """Look names up and ask whether the engine can do it.

        Raises:
            ValueError: for a body or joint that the robot does not have.
            UnsupportedError: for a parameter that the engine cannot set.
        """
        self._simulator = simulator
        self._entries = _entries(config, robot)
        lacking = sorted(self._entries.keys() - simulator.capabilities.parameters)
        if lacking:
            known = sorted(simulator.capabilities.parameters)
            raise UnsupportedError(f"engine {simulator.capabilities.name} cannot set {lacking}; it can set {known}")

    @property
    def values(self) -> dict[str, Tensor]:
        """(N, ...) of each parameter that is drawn, as `Simulator.set_params` takes it."""
        return {name: self._simulator.get_params(name) for name in self._entries}

    def draw(self, ids: Tensor, generator: torch.Generator, *, everything: bool) -> None:
        """Draw anew for environments `ids` (n,): what changes with each episode, or everything."""
        for name, entries in self._entries.items():
            drawn = [entry for entry in entries if everything or entry.range.varies]
            if not drawn:
                continue
            values = self._simulator.get_params(name)[ids]
            flat = values.view(len(ids), -1)
            for entry in drawn:
                count = max(entry.draws) + 1
                numbers = entry.range.draw(len(ids) * count, generator).view(len(ids), count)
                flat[:, entry.columns] = numbers[:, entry.draws]
            self._simulator.set_params(name, ids, values)


def _entries(config: Randomization, robot: Robot) -> dict[str, list[_Entry]]:
    """By parameter of the engine."""
    entries: dict[str, list[_Entry]] = {}
    if config.gravity is not None:
        axes = config.gravity.axes if isinstance(config.gravity, Vector) else (None, None, config.gravity)
        entries["gravity"] = [_Entry(axis, [i], [0]) for i, axis in enumerate(axes) if axis is not None]
    if config.friction is not None:
        entries["friction"] = [_Entry(config.friction, [0], [0])]
    bodies = robot.skeleton.body_names

    def match_bodies(names: Mapping[str, object], field: str) -> dict[str, list[int]]:
        wanted = {name: robot.semantic.get(name, name) for name in names}
        found = _match(list(wanted.values()), [(body,) for body in bodies], f"{field}: robot {robot.name} has no body")
        return dict(zip(wanted, found, strict=True))

    if config.mass is not None:
        entries["mass"] = _of_parts(config.mass, [[i] for i in range(len(bodies))], lambda m: match_bodies(m, "mass"))
    if config.com_offset:
        found = match_bodies(config.com_offset, "com_offset")
        entries["com_offset"] = [
            _Entry(axis, [3 * body + i for body in found[name]], list(range(len(found[name]))))
            for name, vector in config.com_offset.items()
            for i, axis in enumerate(vector.axes)
            if found[name]
        ]
    joints = _joints(robot)
    for field in ("stiffness", "damping", "armature", "joint_friction"):
        value = getattr(config, field)
        if value is not None:
            what = f"{field}: robot {robot.name} has no joint"
            names = [names for names, _ in joints]
            found_in = lambda m, what=what, names=names: dict(zip(m, _match(list(m), names, what), strict=True))  # noqa: E731
            entries[field] = _of_parts(value, [dofs for _, dofs in joints], found_in)
    return {name: listed for name, listed in entries.items() if listed}


def _joints(robot: Robot) -> list[tuple[tuple[str, ...], list[int]]]:
    """What each joint may be called (by its body or one of its degrees of freedom), and its degrees of freedom."""
    result, dof = [], 0
    for body, joint in zip(robot.skeleton.body_names, robot.skeleton.joints, strict=True):
        if joint.names:
            result.append(((body, *joint.names), list(range(dof, dof + len(joint.names)))))
            dof += len(joint.names)
    return result


def _of_parts(
    value: Range | Mapping[str, Range],
    parts: list[list[int]],
    match: Callable[[Mapping[str, Range]], dict[str, list[int]]],
) -> list[_Entry]:
    """Entries of a parameter of parts (bodies, joints), each of which has the numbers `parts` says."""
    if isinstance(value, Range):
        columns = [column for part in parts for column in part]
        return [_Entry(value, columns, [0] * len(columns))]
    found = match(value)
    return [
        _Entry(value[name], [c for part in found[name] for c in parts[part]], _repeated(found[name], parts))
        for name in value
        if found[name]
    ]


def _repeated(chosen: list[int], parts: list[list[int]]) -> list[int]:
    """One draw for each chosen part, taken by all of its numbers."""
    return [draw for draw, part in enumerate(chosen) for _ in parts[part]]


def _match(patterns: Sequence[str], parts: Sequence[tuple[str, ...]], what: str) -> list[list[int]]:
    """Indices of the parts that each pattern stands for; of several that fit a part, the last has it.

    Raises:
        ValueError: for a pattern that no part fits, with the nearest name.
    """
    owner: dict[int, int] = {}
    for index, pattern in enumerate(patterns):
        fitting = [i for i, names in enumerate(parts) if any(fnmatchcase(name, pattern) for name in names)]
        if not fitting:
            raise ValueError(f"{what} {pattern!r}: {_nearest(pattern, [name for names in parts for name in names])}")
        owner |= dict.fromkeys(fitting, index)
    return [sorted(part for part, mine in owner.items() if mine == index) for index in range(len(patterns))]


def _nearest(name: str, valid: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, valid, n=1)
    return (f"did you mean {near[0]!r}? " if near else "") + f"there are {list(valid)}"


def body_index(robot: Robot, name: str, what: str) -> int:
    """Index of a body by its name or role; the root's for an empty name.

    Raises:
        ValueError: if the robot has no such body.
    """
    names = robot.skeleton.body_names
    body = robot.semantic.get(name, name) or names[0]
    if body not in names:
        raise ValueError(f"{what}: robot {robot.name} has no body {name!r}: {_nearest(name, names)}")
    return names.index(body)
