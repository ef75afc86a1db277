"""The AMP humanoid with sword and shield: 17 bodies, 31 degrees of freedom (ASE)."""

from dataclasses import replace

from proto_envs.robots import amp
from proto_envs.robots.base import Drive

__all__ = ["ROBOT"]

ROBOT = replace(
    amp.ROBOT,
    name="SwordShield",
    model="sword_shield",
    drives={**amp.ROBOT.drives, "right_hand_*": Drive(100, 10, 50)},
    key_bodies=(*amp.ROBOT.key_bodies, "sword", "shield"),
    contact_bodies=(*amp.ROBOT.feet, "sword", "shield"),
)
