"""The AMP humanoid: 15 bodies, 28 degrees of freedom."""

from proto_envs.robots.base import Drive, Robot

__all__ = ["ROBOT"]

ROBOT = Robot(
    name="AMP",
    model="amp",
    drives={
        "abdomen_*": Drive(1000, 100, 200),
        "neck_*": Drive(100, 10, 50),
        "*_shoulder_*": Drive(400, 40, 100),
        "*_elbow": Drive(300, 30, 70),
        "*_hip_*": Drive(500, 50, 200),
        "*_knee": Drive(500, 50, 150),
        "*_ankle_*": Drive(400, 40, 90),
    },
    feet=("right_foot", "left_foot"),
    key_bodies=("right_hand", "left_hand", "right_foot", "left_foot"),
    semantic={
        "head": "head",
        "torso": "torso",
        "left_hand": "left_hand",
        "right_hand": "right_hand",
        "left_foot": "left_foot",
        "right_foot": "right_foot",
    },
)
