"""Built-in robots, found by the name that stands in environment ids."""

from __future__ import annotations

import difflib
from importlib import import_module

from proto_envs.robots.base import Drive, Robot

__all__ = ["ROBOTS", "Drive", "Robot", "get_robot"]

ROBOTS = {"AMP": "proto_envs.robots.amp", "SMPL": "proto_envs.robots.smpl"}


def get_robot(name: str) -> Robot:
    """A built-in robot by name.

    Raises:
        KeyError: naming the built-in robots.
    """
    if name not in ROBOTS:
        near = difflib.get_close_matches(name.upper(), ROBOTS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise KeyError(f"no robot {name!r}; there are {sorted(ROBOTS)}{hint}")
    return import_module(ROBOTS[name]).ROBOT
