"""Built-in robots, found by the name that stands in environment ids."""

from __future__ import annotations

import difflib
from importlib import import_module
from pathlib import Path

from proto_envs.robots.base import Drive, Robot
from proto_envs.robots.custom import RobotError, RobotOptions, from_mjcf, from_yaml

__all__ = ["ROBOTS", "Drive", "Robot", "RobotError", "RobotOptions", "from_mjcf", "from_yaml", "get_robot"]

ROBOTS = {
    "AMP": "proto_envs.robots.amp",
    "AMP36": "proto_envs.robots.amp36",
    "SMPL": "proto_envs.robots.smpl",
    "SMPLX": "proto_envs.robots.smplx",
    "SwordShield": "proto_envs.robots.sword_shield",
    "H1": "proto_envs.robots.h1",
    "H1Hands": "proto_envs.robots.h1_hands",
    "G1": "proto_envs.robots.g1",
}


def get_robot(name: str | Path) -> Robot:
    """A built-in robot by name, or one of your own by its MJCF (.xml, .mjcf) or YAML file.

    Raises:
        ValueError: for an unknown name, naming the built-in robots.
        TypeError: for what is no name and no file.
        RobotError: for a file that makes no robot, listing everything that is wrong.
    """
    if not isinstance(name, (str, Path)):
        raise TypeError(f"robot={name!r}: want the name of a robot, the path of a file, or a Robot")
    name = str(name)
    if name in ROBOTS:
        return import_module(ROBOTS[name]).ROBOT
    match Path(name).suffix:
        case ".xml" | ".mjcf":
            return from_mjcf(name)
        case ".yaml" | ".yml":
            return from_yaml(name)
    near = difflib.get_close_matches(name.lower(), [known.lower() for known in ROBOTS], n=1)
    hint = next((f"; did you mean {known!r}?" for known in ROBOTS if known.lower() in near), "")
    raise ValueError(f"no robot {name!r}; there are {sorted(ROBOTS)}, and files ending in .xml or .yaml{hint}")
