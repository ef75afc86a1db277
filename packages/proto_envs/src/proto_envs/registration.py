"""The environment ids: which tasks and robots there are, by name alone. Nothing heavy is imported here."""

from __future__ import annotations

import gymnasium

__all__ = ["ROBOTS_OF_TASK", "TASKS", "environment_ids", "register_all"]

TASKS = {
    "Mimic": "proto_envs.tasks.mimic:Mimic",
    "Style": "proto_envs.tasks.style:Style",
    "Steering": "proto_envs.tasks.steering:Steering",
    "Facing": "proto_envs.tasks.facing:Facing",
    "PathFollow": "proto_envs.tasks.path_follow:PathFollow",
    "Reach": "proto_envs.tasks.reach:Reach",
    "Strike": "proto_envs.tasks.strike:Strike",
    "LongJump": "proto_envs.tasks.long_jump:LongJump",
    "GetUp": "proto_envs.tasks.get_up:GetUp",
}
"""task name to its dataclass"""

_ROBOTS = ("AMP", "AMP36", "SMPL", "SMPLX", "SwordShield", "H1", "H1Hands", "G1")

ROBOTS_OF_TASK = dict.fromkeys(TASKS, _ROBOTS)
"""robots that suit each task"""


def environment_ids() -> tuple[str, ...]:
    """All ids, `Proto<Task>-<Robot>-v0`."""
    return tuple(f"Proto{task}-{robot}-v0" for task, robots in ROBOTS_OF_TASK.items() for robot in robots)


def register_all() -> None:
    """Register every id for `gymnasium.make_vec` (batched) and `gymnasium.make` (one environment, numpy).

    Besides those of `environment_ids`, each task has an id without a robot, `Proto<Task>-v0`: the robot is said when it
    is made, as `robot=` a name, a file, or a `proto_envs.robots.Robot`.
    """
    for task, robots in ROBOTS_OF_TASK.items():
        for robot in (None, *robots):
            gymnasium.register(
                id=f"Proto{task}-v0" if robot is None else f"Proto{task}-{robot}-v0",
                entry_point="proto_envs.single_env:ProtoEnv",
                vector_entry_point="proto_envs.factory:make_vector_env",
                kwargs={"task_name": task, "robot": robot},
            )
