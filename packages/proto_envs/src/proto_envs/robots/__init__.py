"""Built-in robots, found by the name that stands in environment ids."""

from __future__ import annotations

import difflib
from importlib import import_module

from proto_envs.robots.base import Drive, Robot

__all__ = ["ROBOTS", "Drive", "Robot", "get_robot"]

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


def get_robot(name: str) -> Robot:
    """A built-in robot by name.

    Raises:
        KeyError: naming the built-in robots.
    """
    if name not in ROBOTS:
        near = difflib.get_close_matches(name.lower(), [known.lower() for known in ROBOTS], n=1)
        hint = next((f"; did you mean {known!r}?" for known in ROBOTS if known.lower() in near), "")
        raise KeyError(f"no robot {name!r}; there are {sorted(ROBOTS)}{hint}")
    return import_module(ROBOTS[name]).ROBOT
