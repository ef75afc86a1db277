"""A humanoid on SMPL's joint tree: 24 bodies, 69 degrees of freedom, 63.3 kg.

Only a skeleton of numbers (joint offsets of a mean shape, primitive sizes, densities) stands here: no SMPL model file,
mesh, regressor or blend shape. As in SMPL, left and right are not mirror images.
"""

from poselib.models.description import Body, Box, Capsule, CharacterModel, three_hinges

__all__ = ["MODEL"]

_TURN = (-180.0, 180.0)


def _body(name: str, parent: str | None, offset: tuple[float, float, float], geom: Box | Capsule) -> Body:
    joints = () if parent is None else three_hinges(name, _TURN, _TURN, _TURN)
    return Body(name, parent, offset, joints, (geom,))


_BODIES = (
    _body("Pelvis", None, (-0.0018, -0.2233, 0.0282), Box((0.083, 0.1069, 0.0722), (-0.0055, 0.0, -0.0121), 1000)),
    _body(
        "L_Hip",
        "Pelvis",
        (-0.0068, 0.0695, -0.0914),
        Capsule(0.0615, (-0.0009, 0.0069, -0.075), (-0.0036, 0.0274, -0.3002), 2041),
    ),
    _body(
        "L_Knee",
        "L_Hip",
        (-0.0045, 0.0343, -0.3752),
        Capsule(0.0541, (-0.0087, -0.0027, -0.0796), (-0.035, -0.0109, -0.3184), 1235),
    ),
    _body(
        "L_Ankle", "L_Knee", (-0.0437, -0.0136, -0.398), Box((0.085, 0.0483, 0.0464), (0.0242, 0.0233, -0.0239), 1000)
    ),
    _body("L_Toe", "L_Ankle", (0.1193, 0.0264, -0.0558), Box((0.0496, 0.0478, 0.02), (0.0248, -0.003, 0.0055), 1000)),
    _body(
        "R_Hip",
        "Pelvis",
        (-0.0043, -0.0677, -0.0905),
        Capsule(0.0606, (-0.0018, -0.0077, -0.0765), (-0.0071, -0.0306, -0.3061), 2041),
    ),
    _body(
        "R_Knee",
        "R_Hip",
        (-0.0089, -0.0383, -0.3826),
        Capsule(0.0541, (-0.0085, 0.0032, -0.0797), (-0.0338, 0.0126, -0.3187), 1235),
    ),
    _body(
        "R_Ankle", "R_Knee", (-0.0423, 0.0158, -0.3984), Box((0.0865, 0.0483, 0.0478), (0.0256, -0.0212, -0.0174), 1000)
    ),
    _body(
        "R_Toe", "R_Ankle", (0.1233, -0.0254, -0.0481), Box((0.0493, 0.0479, 0.0216), (0.0227, 0.0042, 0.0045), 1000)
    ),
    _body(
        "Torso",
        "Pelvis",
        (-0.0267, -0.0025, 0.109),
        Capsule(0.0769, (0.0005, 0.0025, 0.0608), (0.0006, 0.003, 0.0743), 2041),
    ),
    _body(
        "Spine",
        "Torso",
        (0.0011, 0.0055, 0.1352),
        Capsule(0.0755, (0.0114, 0.0007, 0.0238), (0.014, 0.0008, 0.0291), 2041),
    ),
    _body(
        "Chest",
        "Spine",
        (0.0254, 0.0015, 0.0529),
        Capsule(0.1002, (-0.0173, -0.0009, 0.0682), (-0.0212, -0.001, 0.0833), 2041),
    ),
    _body(
        "Neck",
        "Chest",
        (-0.0429, -0.0028, 0.2139),
        Capsule(0.0436, (0.0103, 0.001, 0.013), (0.0411, 0.0041, 0.052), 1000),
    ),
    _body("Head", "Neck", (0.0513, 0.0052, 0.065), Box((0.076, 0.0606, 0.1154), (-0.0116, -0.0042, 0.0876), 1000)),
    _body(
        "L_Thorax",
        "Chest",
        (-0.0341, 0.0788, 0.1217),
        Capsule(0.0521, (-0.0018, 0.0182, 0.0061), (-0.0071, 0.0728, 0.0244), 1000),
    ),
    _body(
        "L_Shoulder",
        "L_Thorax",
        (-0.0089, 0.091, 0.0305),
        Capsule(0.0517, (-0.0055, 0.0519, -0.0026), (-0.022, 0.2077, -0.0102), 1000),
    ),
    _body(
        "L_Elbow",
        "L_Shoulder",
        (-0.0275, 0.2596, -0.0128),
        Capsule(0.0405, (-0.0002, 0.0498, 0.0018), (-0.0009, 0.1994, 0.0072), 1000),
    ),
    _body(
        "L_Wrist",
        "L_Elbow",
        (-0.0012, 0.2492, 0.009),
        Capsule(0.0318, (-0.003, 0.0168, -0.0016), (-0.012, 0.0672, -0.0065), 1000),
    ),
    _body(
        "L_Hand", "L_Wrist", (-0.0149, 0.084, -0.0082), Box((0.0538, 0.0585, 0.0158), (-0.0058, 0.0493, 0.001), 1000)
    ),
    _body(
        "R_Thorax",
        "Chest",
        (-0.0386, -0.0818, 0.1188),
        Capsule(0.0511, (-0.0018, -0.0192, 0.0065), (-0.0073, -0.0768, 0.026), 1000),
    ),
    _body(
        "R_Shoulder",
        "R_Thorax",
        (-0.0091, -0.096, 0.0326),
        Capsule(0.0531, (-0.0043, -0.0507, -0.0027), (-0.0171, -0.203, -0.0107), 1000),
    ),
    _body(
        "R_Elbow",
        "R_Shoulder",
        (-0.0214, -0.2537, -0.0133),
        Capsule(0.0408, (-0.0011, -0.0511, 0.0016), (-0.0044, -0.2042, 0.0062), 1000),
    ),
    _body(
        "R_Wrist",
        "R_Elbow",
        (-0.0056, -0.2553, 0.0078),
        Capsule(0.0326, (-0.0021, -0.0169, -0.0012), (-0.0083, -0.0677, -0.0049), 1000),
    ),
    _body(
        "R_Hand",
        "R_Wrist",
        (-0.0103, -0.0846, -0.0061),
        Box((0.0546, 0.0569, 0.0164), (-0.0079, -0.0462, -0.0009), 1000),
    ),
)

MODEL = CharacterModel(
    name="smpl",
    bodies=_BODIES,
    contact_excludes=(
        ("Torso", "Chest"),
        ("Head", "Chest"),
        ("R_Knee", "R_Toe"),
        ("R_Knee", "L_Ankle"),
        ("R_Knee", "L_Toe"),
        ("L_Knee", "L_Toe"),
        ("L_Knee", "R_Ankle"),
        ("L_Knee", "R_Toe"),
        ("L_Shoulder", "Chest"),
        ("R_Shoulder", "Chest"),
    ),
)
