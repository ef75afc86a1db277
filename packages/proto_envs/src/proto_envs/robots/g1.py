"""Unitree G1: 33 bodies, 29 degrees of freedom, with the drives and the action map of BeyondMimic (Liao et al., 2025).

A joint's stiffness and damping follow from what its motor's rotor weighs behind the gears: alone, it would swing at
10 Hz with damping ratio 2. Ankles and the waist's roll and pitch are moved by two motors each. Efforts are the motors';
the hips' roll is driven as strongly as the knees.
"""

from functools import partial

from proto_envs.robots.base import Drive, Robot

__all__ = ["ROBOT"]

_tuned = partial(Drive.tuned, frequency=10.0, damping_ratio=2.0)
_M5020 = _tuned(armature=0.003609725, effort=25)
_M7520_14 = _tuned(armature=0.010177520, effort=88)
_M7520_22 = _tuned(armature=0.025101925, effort=139)
_M4010 = _tuned(armature=0.00425, effort=5)

ROBOT = Robot(
    name="G1",
    model="g1",
    drives={
        "*_hip_pitch_joint": _M7520_14,
        "*_hip_roll_joint": _M7520_22,
        "*_hip_yaw_joint": _M7520_14,
        "*_knee_joint": _M7520_22,
        "*_ankle_*_joint": _M5020.times(2),
        "waist_yaw_joint": _M7520_14,
        "waist_roll_joint": _M5020.times(2),
        "waist_pitch_joint": _M5020.times(2),
        "*_shoulder_*_joint": _M5020,
        "*_elbow_joint": _M5020,
        "*_wrist_roll_joint": _M5020,
        "*_wrist_pitch_joint": _M4010,
        "*_wrist_yaw_joint": _M4010,
    },
    feet=("left_ankle_roll_link", "right_ankle_roll_link"),
    key_bodies=("right_rubber_hand", "left_rubber_hand", "right_ankle_roll_link", "left_ankle_roll_link"),
    semantic={
        "head": "head",
        "torso": "torso_link",
        "left_hand": "left_rubber_hand",
        "right_hand": "right_rubber_hand",
        "left_foot": "left_ankle_roll_link",
        "right_foot": "right_ankle_roll_link",
    },
    default_pose={
        "*_hip_pitch_joint": -0.312,
        "*_knee_joint": 0.669,
        "*_ankle_pitch_joint": -0.363,
        "*_elbow_joint": 0.6,
        "*_shoulder_pitch_joint": 0.2,
        "left_shoulder_roll_joint": 0.2,
        "right_shoulder_roll_joint": -0.2,
    },
    action_map="effort",
    control_hz=50.0,
)
