"""The AMP humanoid with balls for elbows and knees: 15 bodies, 36 degrees of freedom."""

from dataclasses import replace

from proto_envs.robots import amp
from proto_envs.robots.base import Drive

__all__ = ["ROBOT"]

_HINGES = ("*_elbow", "*_knee")

ROBOT = replace(
    amp.ROBOT,
    name="AMP36",
    model="amp36",
    drives={
        **{pattern: drive for pattern, drive in amp.ROBOT.drives.items() if pattern not in _HINGES},
        "*_elbow_*": Drive(300, 30, 70),
        "*_knee_*": Drive(500, 50, 150),
    },
)
