"""The humanoid on SMPL-X's joint tree with fingers: 52 bodies, 153 degrees of freedom.

Gains of ProtoMotions 3: as SMPL's, with weaker forearms and fingers that are driven as lightly as they weigh (an older
table has 100 / 10 at 500 N m on fingers of a few grams).
"""

from proto_envs.robots.base import Drive, Robot

__all__ = ["ROBOT"]

_LEG, _TOE, _SPINE = Drive(800, 80, 500), Drive(500, 50, 500), Drive(1000, 100, 500)
_ARM, _FOREARM, _FINGER = Drive(500, 50, 500), Drive(300, 30, 300), Drive(10, 1, 10)

ROBOT = Robot(
    name="SMPLX",
    model="smplx",
    drives={
        **{f"?_{part}_?": _LEG for part in ("Hip", "Knee", "Ankle")},
        "?_Toe_?": _TOE,
        **{f"{part}_?": _SPINE for part in ("Torso", "Spine", "Chest")},
        **{f"{part}_?": _ARM for part in ("Neck", "Head", "?_Thorax", "?_Shoulder")},
        **{f"?_{part}_?": _FOREARM for part in ("Elbow", "Wrist")},
        **{f"?_{finger}[123]_?": _FINGER for finger in ("Index", "Middle", "Pinky", "Ring", "Thumb")},
    },
    feet=("L_Ankle", "L_Toe", "R_Ankle", "R_Toe"),
    key_bodies=("R_Wrist", "L_Wrist", "R_Ankle", "L_Ankle"),
    semantic={
        "head": "Head",
        "torso": "Torso",
        "left_hand": "L_Wrist",
        "right_hand": "R_Wrist",
        "left_foot": "L_Ankle",
        "right_foot": "R_Ankle",
    },
)
