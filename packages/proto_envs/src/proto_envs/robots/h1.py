"""Unitree H1: 20 bodies, 19 degrees of freedom; gains of ProtoMotions 1, efforts of the robot's motors.

The head is part of the torso; without hands, the ends of the arms are the forearms.
"""

from proto_envs.robots.base import Drive, Robot

__all__ = ["ROBOT"]

ROBOT = Robot(
    name="H1",
    model="h1",
    drives={
        "*_hip_*_joint": Drive(200, 5, 200),
        "*_knee_joint": Drive(300, 6, 300),
        "*_ankle_joint": Drive(40, 2, 40),
        "torso_joint": Drive(300, 6, 200),
        "*_shoulder_pitch_joint": Drive(100, 2, 40),
        "*_shoulder_roll_joint": Drive(100, 2, 40),
        "*_shoulder_yaw_joint": Drive(100, 2, 18),
        "*_elbow_joint": Drive(100, 2, 18),
    },
    feet=("left_ankle_link", "right_ankle_link"),
    key_bodies=("right_elbow_link", "left_elbow_link", "right_ankle_link", "left_ankle_link"),
    semantic={
        "head": "torso_link",
        "torso": "torso_link",
        "left_hand": "left_elbow_link",
        "right_hand": "right_elbow_link",
        "left_foot": "left_ankle_link",
        "right_foot": "right_ankle_link",
    },
    default_pose={"*_hip_pitch_joint": -0.4, "*_knee_joint": 0.8, "*_ankle_joint": -0.4},
    action_map="pose",
    control_hz=50.0,
)
