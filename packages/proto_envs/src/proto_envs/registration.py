"""The environment ids: which tasks and robots there are, by name alone. Nothing heavy is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import gymnasium

if TYPE_CHECKING:
    from proto_envs.tasks.base import Task

__all__ = ["ROBOTS_OF_TASK", "TASKS", "environment_ids", "register_all", "register_task"]

TASKS: dict[str, str | type[Task]] = {
    "Mimic": "proto_envs.tasks.mimic:Mimic",
    "Style": "proto_envs.tasks.style:Style",
    "Steering": "proto_envs.tasks.steering:Steering",
    "Facing": "proto_envs.tasks.facing:Facing",
    "PathFollow": "proto_envs.tasks.path_follow:PathFollow",
    "Reach": "proto_envs.tasks.reach:Reach",
    "Strike": "proto_envs.tasks.strike:Strike",
    "LongJump": "proto_envs.tasks.long_jump:LongJump",
    "Scene": "proto_envs.tasks.scene:Scene",
    "GetUp": "proto_envs.tasks.get_up:GetUp",
    "MaskedMimic": "proto_envs.tasks.masked_mimic:MaskedMimic",
    "DeployableMimic": "proto_envs.tasks.deployable_mimic:DeployableMimic",
}
"""task name to its dataclass, or "module:name" of it"""

_ROBOTS = ("AMP", "AMP36", "SMPL", "SMPLX", "SwordShield", "H1", "H1Hands", "G1")

ROBOTS_OF_TASK: dict[str, tuple[str, ...]] = dict.fromkeys(TASKS, _ROBOTS)
"""robots that suit each task"""


def environment_ids() -> tuple[str, ...]:
    """All ids, `Proto<Task>-<Robot>-v0`."""
    return tuple(f"Proto{task}-{robot}-v0" for task, robots in ROBOTS_OF_TASK.items() for robot in robots)


def register_task(name: str, task: type[Task], robots: Sequence[str] = _ROBOTS) -> None:
    """Give a task of your own its ids, `Proto<name>-<Robot>-v0` and `Proto<name>-v0`; `docs/components.md` shows it.

    Args:
        name: letters and digits.
        task: its dataclass.
        robots: built-in robots that suit it; any robot may be given to the id without one.

    Raises:
        ValueError: for a name that cannot stand in an id or that another task has, or for an unknown robot.
        TypeError: for what is no task.
    """
    from proto_envs.tasks.base import Task

    if not (name.isascii() and name.isalnum()):
        raise ValueError(f"task name {name!r}: want ASCII letters and digits, as in Proto<name>-AMP-v0")
    if not (isinstance(task, type) and issubclass(task, Task)):
        raise TypeError(f"task {name!r}: want a subclass of proto_envs.tasks.base.Task, got {task!r}")
    if unknown := [robot for robot in robots if robot not in _ROBOTS]:
        raise ValueError(f"task {name!r}: no built-in robots {unknown}; there are {list(_ROBOTS)}")
    known = TASKS.get(name)
    # The same class again, as when a notebook's cell runs twice, takes the place of the old one.
    if known is not None and (isinstance(known, str) or known.__qualname__ != task.__qualname__):
        raise ValueError(f"there is a task {name!r} already, {known}: choose another name")
    TASKS[name], ROBOTS_OF_TASK[name] = task, tuple(robots)
    _register_ids(name)


def register_all() -> None:
    """Register every id for `gymnasium.make_vec` (batched) and `gymnasium.make` (one environment, numpy).

    Besides those of `environment_ids`, each task has an id without a robot, `Proto<Task>-v0`: the robot is said when it
    is made, as `robot=` a name, a file, or a `proto_envs.robots.Robot`.
    """
    for task in TASKS:
        _register_ids(task)


def _register_ids(task: str) -> None:
    for robot in (None, *ROBOTS_OF_TASK[task]):
        name = f"Proto{task}-v0" if robot is None else f"Proto{task}-{robot}-v0"
        gymnasium.registry.pop(name, None)  # gymnasium warns of ids that are given twice
        gymnasium.register(
            id=name,
            entry_point="proto_envs.single_env:ProtoEnv",
            vector_entry_point="proto_envs.factory:make_vector_env",
            kwargs={"task_name": task, "robot": robot},
        )
