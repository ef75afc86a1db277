"""A humanoid on SMPL-X's joint tree with fingers: 52 bodies, 153 degrees of freedom, 73.6 kg.

Only a skeleton of numbers (joint offsets of a mean shape, masses, sizes of boxes) stands here: no model file, mesh,
regressor or blend shape. As in SMPL-X, left and right are not mirror images. Where a body is no box, it is a capsule
along its bone, as thick as its mass asks for.
"""

from __future__ import annotations

import numpy as np

from poselib.models import smpl
from poselib.models.description import Body, Box, Capsule, CharacterModel, Vector, three_hinges

__all__ = ["MODEL"]

_TURN = (-180.0, 180.0)
_LIMB, _TRUNK = (0.2, 0.8), (0.45, 0.55)
"""part of the bone that a capsule's axis covers"""
_MUSCLE, _SHANK, _WATER = 2041.0, 1235.0, 1000.0
"""kg/m3; capsules are thinner than thighs and trunks are, so these are denser"""
_DENSITIES = {body: _MUSCLE for body in ("L_Hip", "R_Hip", "Torso", "Spine", "Chest")}
_DENSITIES |= {"L_Knee": _SHANK, "R_Knee": _SHANK}

_BOXES = {
    "Pelvis": Box((0.084, 0.1079, 0.0846), (-0.0168, -0.0031, -0.0215)),
    "L_Ankle": Box((0.0857, 0.0498, 0.0463), (0.0232, 0.0407, -0.0287)),
    "L_Toe": Box((0.0495, 0.0478, 0.0205), (0.0256, -0.0065, 0.0034)),
    "R_Ankle": Box((0.0857, 0.0498, 0.0464), (0.0142, -0.0243, -0.0263)),
    "R_Toe": Box((0.0495, 0.0478, 0.0205), (0.0158, 0.0145, 0.0062)),
    "Head": Box((0.0797, 0.0609, 0.1096), (-0.0008, -0.0111, 0.0414)),
    "L_Wrist": Box((0.04, 0.0428, 0.0159), (-0.0031, 0.0523, -0.0013)),
    "R_Wrist": Box((0.04, 0.0428, 0.0159), (-0.0031, -0.0503, -0.0044)),
}
_BODIES: tuple[tuple[str, str | None, Vector, float], ...] = (
    ("Pelvis", None, (0.0031, -0.3514, 0.012), 18.537),
    ("L_Hip", "Pelvis", (-0.026, 0.0582, -0.0928), 7.282),
    ("L_Knee", "L_Hip", (-0.0094, 0.0547, -0.3788), 3.471),
    ("L_Ankle", "L_Knee", (-0.0319, -0.0435, -0.4031), 0.705),
    ("L_Toe", "L_Ankle", (0.1182, 0.0473, -0.058), 0.164),
    ("R_Hip", "Pelvis", (-0.0213, -0.0633, -0.1039), 6.855),
    ("R_Knee", "R_Hip", (-0.0168, -0.0442, -0.3624), 3.773),
    ("R_Ankle", "R_Knee", (-0.0202, 0.0154, -0.4107), 0.706),
    ("R_Toe", "R_Ankle", (0.119, -0.0388, -0.0583), 0.164),
    ("Torso", "Pelvis", (-0.0276, -0.0028, 0.1099), 3.616),
    ("Spine", "Torso", (-0.0059, 0.0094, 0.1319), 3.975),
    ("Chest", "Spine", (0.0284, -0.0113, 0.0522), 10.050),
    ("Neck", "Chest", (-0.0316, -0.0122, 0.1652), 0.850),
    ("Head", "Neck", (0.0207, 0.0248, 0.1605), 4.335),
    ("L_Thorax", "Chest", (-0.0072, 0.0464, 0.0849), 1.086),
    ("L_Shoulder", "L_Thorax", (-0.0155, 0.1192, 0.0577), 1.970),
    ("L_Elbow", "L_Shoulder", (-0.0425, 0.2541, -0.0722), 1.037),
    ("L_Wrist", "L_Elbow", (-0.0025, 0.252, 0.0232), 0.261),
    ("L_Index1", "L_Wrist", (0.0194, 0.1019, -0.0087), 0.008),
    ("L_Index2", "L_Index1", (0.003, 0.0319, 0.0022), 0.004),
    ("L_Index3", "L_Index2", (0.0001, 0.0225, -0.0024), 0.003),
    ("L_Middle1", "L_Wrist", (-0.004, 0.1094, -0.0063), 0.009),
    ("L_Middle2", "L_Middle1", (-0.004, 0.0306, 0.0008), 0.004),
    ("L_Middle3", "L_Middle2", (-0.0041, 0.0235, -0.002), 0.003),
    ("L_Pinky1", "L_Wrist", (-0.0437, 0.084, -0.0145), 0.003),
    ("L_Pinky2", "L_Pinky1", (-0.012, 0.0155, -0.0011), 0.003),
    ("L_Pinky3", "L_Pinky2", (-0.0112, 0.0155, -0.0017), 0.001),
    ("L_Ring1", "L_Wrist", (-0.0273, 0.0974, -0.0093), 0.006),
    ("L_Ring2", "L_Ring1", (-0.0053, 0.028, 0.0015), 0.004),
    ("L_Ring3", "L_Ring2", (-0.0071, 0.0228, -0.0015), 0.002),
    ("L_Thumb1", "L_Wrist", (0.0256, 0.0406, -0.018), 0.015),
    ("L_Thumb2", "L_Thumb1", (0.025, 0.017, 0.001), 0.008),
    ("L_Thumb3", "L_Thumb2", (0.0155, 0.0205, -0.0052), 0.007),
    ("R_Thorax", "Chest", (-0.0134, -0.0477, 0.0843), 1.276),
    ("R_Shoulder", "R_Thorax", (-0.0127, -0.1026, 0.0535), 1.999),
    ("R_Elbow", "R_Shoulder", (-0.0265, -0.2711, -0.0365), 1.044),
    ("R_Wrist", "R_Elbow", (-0.0153, -0.2493, -0.0045), 0.252),
    ("R_Index1", "R_Wrist", (0.0196, -0.0999, -0.0118), 0.008),
    ("R_Index2", "R_Index1", (0.003, -0.0319, 0.0022), 0.004),
    ("R_Index3", "R_Index2", (0.0001, -0.0225, -0.0023), 0.003),
    ("R_Middle1", "R_Wrist", (-0.0037, -0.1074, -0.0094), 0.009),
    ("R_Middle2", "R_Middle1", (-0.004, -0.0306, 0.0008), 0.004),
    ("R_Middle3", "R_Middle2", (-0.0041, -0.0235, -0.002), 0.003),
    ("R_Pinky1", "R_Wrist", (-0.0435, -0.082, -0.0176), 0.003),
    ("R_Pinky2", "R_Pinky1", (-0.012, -0.0155, -0.0011), 0.003),
    ("R_Pinky3", "R_Pinky2", (-0.0112, -0.0155, -0.0017), 0.001),
    ("R_Ring1", "R_Wrist", (-0.0271, -0.0954, -0.0124), 0.006),
    ("R_Ring2", "R_Ring1", (-0.0053, -0.028, 0.0015), 0.004),
    ("R_Ring3", "R_Ring2", (-0.0071, -0.0228, -0.0015), 0.002),
    ("R_Thumb1", "R_Wrist", (0.0259, -0.0386, -0.0211), 0.015),
    ("R_Thumb2", "R_Thumb1", (0.025, -0.017, 0.001), 0.008),
    ("R_Thumb3", "R_Thumb2", (0.0155, -0.0205, -0.0052), 0.007),
)
"""name, parent, offset in m, mass in kg"""


def _bone(name: str) -> tuple[np.ndarray, tuple[float, float]]:
    """The axis that a body's capsule lies on, from the body's origin, and the part of it that is covered."""
    children = [np.array(offset) for _, parent, offset, _ in _BODIES if parent == name]
    if children:
        return np.mean(children, axis=0), _TRUNK if name in ("Torso", "Spine", "Chest") else _LIMB
    own = next(np.array(offset) for body, _, offset, _ in _BODIES if body == name)
    return 0.9 * own, _LIMB  # a finger's tip goes on as its last bone did


def _capsule(name: str, mass: float) -> Capsule:
    bone, (start, end) = _bone(name)
    density = _DENSITIES.get(name, _WATER)
    length = float(np.linalg.norm(bone)) * (end - start)
    # volume = pi r^2 length + 4/3 pi r^3
    roots = np.roots([4.0 / 3.0 * np.pi, np.pi * length, 0.0, -mass / density])
    radius = max(float(root.real) for root in roots if abs(root.imag) < 1e-9)
    first, last = ((float(x), float(y), float(z)) for x, y, z in (start * bone, end * bone))
    return Capsule(radius, first, last, density)


MODEL = CharacterModel(
    name="smplx",
    bodies=tuple(
        Body(
            name,
            parent,
            offset,
            () if parent is None else three_hinges(name, _TURN, _TURN, _TURN),
            (_BOXES[name] if name in _BOXES else _capsule(name, mass),),
            mass,
        )
        for name, parent, offset, mass in _BODIES
    ),
    contact_excludes=smpl.MODEL.contact_excludes,
)
