"""The humanoid on SMPL's joint tree: 24 bodies, 69 degrees of freedom."""

from proto_envs.robots.base import Drive, Robot

__all__ = ["ROBOT"]

_LEG, _TOE, _SPINE = Drive(800, 80, 500), Drive(500, 50, 500), Drive(1000, 100, 500)
_ARM, _HAND = Drive(500, 50, 500), Drive(300, 30, 500)

ROBOT = Robot(
    name="SMPL",
    model="smpl",
    drives={
        **{f"?_{part}_?": _LEG for part in ("Hip", "Knee", "Ankle")},
        "?_Toe_?": _TOE,
        **{f"{part}_?": _SPINE for part in ("Torso", "Spine", "Chest")},
        **{f"{part}_?": _ARM for part in ("Neck", "Head", "?_Thorax", "?_Shoulder", "?_Elbow")},
        **{f"?_{part}_?": _HAND for part in ("Wrist", "Hand")},
    },
    feet=("L_Ankle", "L_Toe", "R_Ankle", "R_Toe"),
    key_bodies=("R_Hand", "L_Hand", "R_Ankle", "L_Ankle"),
    semantic={
        "head": "Head",
        "torso": "Torso",
        "left_hand": "L_Hand",
        "right_hand": "R_Hand",
        "left_foot": "L_Ankle",
        "right_foot": "R_Ankle",
    },
)
