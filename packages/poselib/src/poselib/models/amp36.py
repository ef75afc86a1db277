"""The AMP humanoid with balls for elbows and knees: 15 bodies, 36 degrees of freedom, 49.5 kg.

The variant that ProtoMotions trains. Bending is limited as in the hinges of `amp`; the ranges about x and z, up to
where a forearm or a shin turns, are ours.
"""

from __future__ import annotations

from dataclasses import replace

from poselib.models import amp
from poselib.models.description import Body, CharacterModel, three_hinges

__all__ = ["MODEL"]

_SIDEWAYS = {"elbow": ((-15.0, 15.0), (-90.0, 90.0)), "knee": ((-15.0, 15.0), (-30.0, 30.0))}
"""ranges about x and z, degrees"""


def _with_ball(body: Body) -> Body:
    if len(body.joints) != 1:
        return body
    (hinge,) = body.joints
    x, z = _SIDEWAYS[hinge.name.partition("_")[2]]
    return replace(body, joints=three_hinges(hinge.name, x, hinge.range, z, hinge.armature))


MODEL = CharacterModel(name="amp36", bodies=tuple(map(_with_ball, amp.MODEL.bodies)))
