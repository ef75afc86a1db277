"""Unitree H1 with two bodies that mark its hands: 22 bodies, 19 degrees of freedom."""

from dataclasses import replace

from proto_envs.robots import h1

__all__ = ["ROBOT"]

_LEFT, _RIGHT = "left_arm_end_effector", "right_arm_end_effector"

ROBOT = replace(
    h1.ROBOT,
    name="H1Hands",
    model="h1_hands",
    key_bodies=(_RIGHT, _LEFT, "right_ankle_link", "left_ankle_link"),
    semantic={**h1.ROBOT.semantic, "left_hand": _LEFT, "right_hand": _RIGHT},
)
