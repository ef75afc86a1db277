"""The AMP humanoid with a sword and a shield: 17 bodies, 31 degrees of freedom, 52.3 kg (Peng et al., ASE, 2022).

The right wrist turns in three directions; the sword is fixed to the right hand, the shield to the left forearm.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from poselib.models import amp
from poselib.models.description import Body, Box, Capsule, CharacterModel, Cylinder, Hinge

__all__ = ["MODEL"]

_WRIST = (
    Hinge("right_hand_x", "x", (-90, 90), 0.01),
    Hinge("right_hand_y", "y", (-90, 90), 0.003),
    Hinge("right_hand_z", "z", (-90, 90), 0.003),
)
_SWORD = Body(
    "sword",
    "right_hand",
    (0.74, 0, 0),
    (),
    (Capsule(0.023, (-0.87, 0, 0), (-0.64, 0, 0), 300), Box((0.34, 0.01, 0.035), (-0.34, 0, 0), 600)),
)
_SHIELD = Body("shield", "left_lower_arm", (0, 0.07, -0.12), (), (Cylinder(0.3, (0, 0, 0), (0, 0.03, 0), 250),))


def _bodies() -> Iterator[Body]:
    for body in amp.MODEL.bodies:
        if body.name == "left_hand":
            yield _SHIELD
        yield replace(body, joints=_WRIST) if body.name == "right_hand" else body
        if body.name == "right_hand":
            yield _SWORD


MODEL = CharacterModel(name="sword_shield", bodies=tuple(_bodies()))
