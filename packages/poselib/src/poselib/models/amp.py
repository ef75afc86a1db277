"""The AMP humanoid: 15 bodies, 28 degrees of freedom, 49.5 kg (Peng et al., AMP, 2021; numbers of its MJCF)."""

from poselib.models.description import Body, Box, Capsule, CharacterModel, Hinge, Sphere, three_hinges

__all__ = ["MODEL"]

_TORSO, _ARM, _FOREARM, _HAND = 1794, 982, 1056, 1865
_THIGH, _SHIN, _FOOT = 1269, 1014, 1141


def _arm(side: str, y: float, roll: tuple[float, float]) -> tuple[Body, ...]:
    return (
        Body(
            f"{side}_upper_arm",
            "torso",
            (-0.024, y * 0.1831, 0.2435),
            three_hinges(f"{side}_shoulder", roll, (-180, 60), (-90, 90)),
            (Capsule(0.045, (0, 0, -0.05), (0, 0, -0.23), _ARM),),
        ),
        Body(
            f"{side}_lower_arm",
            f"{side}_upper_arm",
            (0, 0, -0.2748),
            (Hinge(f"{side}_elbow", "y", (-160, 0), 0.01),),
            (Capsule(0.04, (0, 0, -0.0525), (0, 0, -0.1875), _FOREARM),),
        ),
        Body(f"{side}_hand", f"{side}_lower_arm", (0, 0, -0.2589), (), (Sphere(0.04, (0, 0, 0), _HAND),)),
    )


def _leg(side: str, y: float, roll: tuple[float, float], yaw: tuple[float, float]) -> tuple[Body, ...]:
    return (
        Body(
            f"{side}_thigh",
            "pelvis",
            (0, y * 0.0849, 0),
            three_hinges(f"{side}_hip", roll, (-140, 60), yaw),
            (Capsule(0.055, (0, 0, -0.06), (0, 0, -0.36), _THIGH),),
        ),
        Body(
            f"{side}_shin",
            f"{side}_thigh",
            (0, 0, -0.4215),
            (Hinge(f"{side}_knee", "y", (0, 160)),),
            (Capsule(0.05, (0, 0, -0.045), (0, 0, -0.355), _SHIN),),
        ),
        Body(
            f"{side}_foot",
            f"{side}_shin",
            (0, 0, -0.4099),
            three_hinges(f"{side}_ankle", (-30, 30), (-55, 55), (-40, 40), 0.01),
            (Box((0.0885, 0.045, 0.0275), (0.045, 0, -0.0225), _FOOT),),
        ),
    )


MODEL = CharacterModel(
    name="amp",
    bodies=(
        Body("pelvis", None, (0, 0, 1.0), (), (Sphere(0.09, (0, 0, 0.07), 2226), Sphere(0.07, (0, 0, 0.205), 2226))),
        Body(
            "torso",
            "pelvis",
            (0, 0, 0.2362),
            three_hinges("abdomen", (-60, 60), (-60, 90), (-50, 50)),
            (
                Sphere(0.11, (0, 0, 0.12), _TORSO),
                Capsule(0.045, (-0.006012, -0.04578, 0.2288), (-0.01683, -0.1282, 0.2376), 1100),
                Capsule(0.045, (-0.006012, 0.04578, 0.2288), (-0.01683, 0.1282, 0.2376), 1100),
            ),
        ),
        Body(
            "head",
            "torso",
            (0, 0, 0.2239),
            three_hinges("neck", (-50, 50), (-40, 60), (-45, 45), 0.01),
            (Sphere(0.095, (0, 0, 0.175), 1081), Sphere(0.05, (0, 0, 0.075), 1081)),
        ),
        *_arm("right", -1, (-180, 45)),
        *_arm("left", 1, (-45, 180)),
        *_leg("right", -1, (-60, 15), (-60, 35)),
        *_leg("left", 1, (-15, 60), (-35, 60)),
    ),
)
