"""Which bodies of a skeleton are which parts of a person, found by name and by place in the tree.

A *part* is a joint and the segment that it carries: `left_knee` is the knee and the shin. Pelvis and chest are where
both legs and both arms come together; limbs are known by the usual names of BVH and ASF files, of SMPL, of physics
characters and of robots ("LeftUpLeg", "lfemur", "L_Hip", "left_thigh", "left_hip_yaw_link"). A robot's joint of several
hinges in a row is one part: its segment is the last link, its point the one nearest to all the axes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from poselib.kinematics import forward_kinematics
from poselib.rotations import quat_apply, quat_apply_inverse, quat_from_yaw, quat_identity, quat_multiply
from poselib.skeleton import Skeleton

__all__ = ["PARENTS", "Anatomy", "AnatomyError", "Part", "anatomy_of"]

_SIDES = ("left", "right")
_LIMBS = {
    "shoulder": ("upperarm", "uparm", "humerus", "shldr", "arm", "shoulder"),
    "elbow": ("lowerarm", "lowarm", "loarm", "forearm", "radius", "elbow"),
    "wrist": ("wrist", "hand"),
    "hip": ("upperleg", "upleg", "thigh", "femur", "hip"),
    "knee": ("lowerleg", "lowleg", "loleg", "calf", "shin", "tibia", "knee", "leg"),
    "ankle": ("ankle", "foot"),
    "toe": ("toebase", "toes", "toe", "ball", "foot"),
    "collar": ("clavicle", "collarbone", "collar", "thorax", "shoulder"),
}
"""names of each part without the side, the surest first; a body is taken once, so the order of the parts matters"""

_ABOVE = {
    **{"collar": "chest", "shoulder": "collar", "elbow": "shoulder", "wrist": "elbow"},
    **{"hip": "pelvis", "knee": "hip", "ankle": "knee", "toe": "ankle"},
}
PARENTS: dict[str, str | None] = {"pelvis": None, "chest": "pelvis", "head": "chest"}
"""every part with the part that it hangs on, parents first"""
for _part in ("hip", "knee", "ankle", "toe", "collar", "shoulder", "elbow", "wrist"):
    for _side in _SIDES:
        _above = _ABOVE[_part]
        PARENTS[f"{_side}_{_part}"] = _above if _above in PARENTS else f"{_side}_{_above}"

_NEEDED = tuple(f"{side}_{part}" for side in _SIDES for part in ("hip", "knee", "ankle"))
_H1_POINTS = {f"{side}_hip": (f"{side}_hip_pitch_link", (0.0, 0.0, 0.0)) for side in _SIDES}
_POINTS: dict[str, dict[str, tuple[str, tuple[float, float, float]]]] = {
    "h1": _H1_POINTS | {f"{side}_wrist": (f"{side}_elbow_link", (0.28, 0.0, -0.015)) for side in _SIDES},
    "h1_hands": _H1_POINTS | {f"{side}_wrist": (f"{side}_arm_end_effector", (0.0, 0.0, 0.0)) for side in _SIDES},
}
"""joints of built-in characters that are elsewhere than their axes say, as (body, point in m). H1's hip axes lie far
beside its legs; its arms end in a ball that is no body."""
_TURNED = 0.26
"""rad; a rest pose that faces this far off x is turned"""


class AnatomyError(ValueError):
    """A skeleton in which no person can be recognised: the message says what is missing."""


@dataclass(frozen=True, eq=False)
class Part:
    """A joint and the segment that it carries."""

    body: int
    """the segment"""
    point: Tensor
    """(3,) m, the joint in the segment's frame"""
    joint: tuple[int, ...]
    """bodies whose joints make up this one, from the trunk outwards; empty for a mere point of another part's body"""


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A skeleton whose bodies are understood. Limbs may lack their ends, and there may be no head or collar bones."""

    skeleton: Skeleton
    parts: dict[str, Part]
    """in the order of `PARENTS`"""
    reference: Tensor
    """(B, 4) local rotations in which it stands upright, soles flat, and faces x; the root's is in the world"""

    def above(self, part: str) -> str | None:
        """The part that one hangs on; what the skeleton lacks in between is skipped."""
        found = PARENTS[part]
        while found is not None and found not in self.parts:
            found = PARENTS[found]
        return found

    def poses(self, positions: Tensor, rotations: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Joint position `(..., 3)` m and segment rotation `(..., 4)` of each part, of world poses of all bodies."""
        turned = {name: rotations[..., part.body, :] for name, part in self.parts.items()}
        placed = {
            name: positions[..., part.body, :] + quat_apply(turned[name], part.point.to(positions))
            for name, part in self.parts.items()
        }
        return placed, turned

    def standing(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """`poses` in the reference pose, with the root at the origin."""
        return self._standing

    @cached_property
    def _standing(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return self.poses(*forward_kinematics(self.skeleton, torch.zeros(3), self.reference))

    def leg_length(self) -> float:
        """Thigh and shin, mean of both legs, m."""
        joints, _ = self.standing()
        bones = [
            joints[f"{s}_{a}"] - joints[f"{s}_{b}"] for s in _SIDES for a, b in (("hip", "knee"), ("knee", "ankle"))
        ]
        return 0.5 * float(sum(bone.norm() for bone in bones))


def anatomy_of(skeleton: Skeleton, *, bodies: Mapping[str, str] | None = None, poses: Tensor | None = None) -> Anatomy:
    """Recognise the parts of a skeleton.

    Args:
        skeleton: B bodies.
        bodies: names of bodies by part, where the names in the skeleton are unusual; see `PARENTS` for the parts.
        poses: `(T, B, 4)` local rotations of a clip. If the rest pose does not stand upright, as in BVH files whose
            bones all lie along one axis, the most upright of these is the reference.

    Raises:
        AnatomyError: if legs cannot be found, or no pose stands upright.
    """
    found = _limbs(skeleton, dict(bodies or {}))
    if missing := [part for part in _NEEDED if part not in found]:
        raise AnatomyError(
            f"skeleton {skeleton.name!r}: found no bodies for {missing} among {list(skeleton.body_names)}; "
            "name them with bodies={part: body}"
        )
    found["pelvis"] = _meeting(skeleton, [found["left_hip"], found["right_hip"]], found.get("pelvis"))
    arms = [found[f"{side}_shoulder"] for side in _SIDES if f"{side}_shoulder" in found]
    if len(arms) == 2:
        found["chest"] = _meeting(skeleton, arms, found.get("chest"))
    found = {part: found[part] for part in PARENTS if part in found}
    _drop_misplaced(skeleton, found)
    parts = {}
    for part, body in found.items():
        joint = _joint(skeleton, body)
        parts[part] = Part(body, _joint_point(skeleton, joint), joint)
    for part, (name, point) in _POINTS.get(skeleton.name, {}).items():
        body = skeleton.body_names.index(name)
        parts[part] = Part(body, torch.tensor(point), parts[part].joint if part in parts else ())
    parts = {part: parts[part] for part in PARENTS if part in parts}
    draft = Anatomy(skeleton, parts, quat_identity(skeleton.num_bodies))
    return Anatomy(skeleton, parts, _reference(draft, poses))


# --- names -----------------------------------------------------------------------------------------------------------


def _words(name: str) -> tuple[str | None, str]:
    """The side and the rest of a body's name in small letters: "mixamorig:LeftUpLeg" to ("left", "upleg")."""
    name = re.split(r"[:|]", name)[-1]
    tokens = [t.lower() for t in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]
    noise = ("link", "joint", "jnt", "bip", "mixamorig", "character", "def", "bone")
    tokens = [t for t in tokens if t not in noise and not t.startswith("0")]
    sides = {"left": "left", "l": "left", "lft": "left", "right": "right", "r": "right", "rgt": "right"}
    side = next((sides[t] for t in tokens if t in sides), None)
    word = "".join(t for t in tokens if t not in sides)
    if side is None and word[:1] in ("l", "r") and any(word[1:].startswith(w) for ws in _LIMBS.values() for w in ws):
        side, word = sides[word[0]], word[1:]
    return side, word


def _limbs(skeleton: Skeleton, given: dict[str, str]) -> dict[str, int]:
    """Index of the outermost body of each part that is found by name."""
    if wrong := [part for part in given if part not in PARENTS]:
        raise AnatomyError(f"there is no part {wrong}; there are {list(PARENTS)}")
    found = dict(zip(given, skeleton.body_indices(list(given.values())), strict=True))
    names = [_words(name) for name in skeleton.body_names]
    for part, words in _LIMBS.items():
        for side in _SIDES:
            free = [b for b in range(len(names)) if names[b][0] == side and b not in found.values()]
            for word in words:
                pattern = word if part == "collar" else rf"{word}(pitch|roll|yaw)?"
                matches = [b for b in free if re.fullmatch(pattern, names[b][1])]
                if matches and f"{side}_{part}" not in found:
                    found[f"{side}_{part}"] = matches[-1]  # depth first: the last link of a chain stands last
    heads = [b for b, (_, word) in enumerate(names) if word == "head"]
    if heads and "head" not in found:
        found["head"] = heads[0]
    return found


def _path(skeleton: Skeleton, body: int) -> list[int]:
    """A body and all above it, up to the root."""
    path = [body]
    while skeleton.parents[path[-1]] >= 0:
        path.append(skeleton.parents[path[-1]])
    return path


def _meeting(skeleton: Skeleton, bodies: list[int], given: int | None) -> int:
    """The lowest body above all of these."""
    if given is not None:
        return given
    paths = [_path(skeleton, body)[1:] for body in bodies]
    return next(b for b in paths[0] if all(b in path for path in paths))


def _drop_misplaced(skeleton: Skeleton, found: dict[str, int]) -> None:
    """Forget parts that do not hang where they should, such as a head fixed to the pelvis.

    Where the root is the chest, the pelvis hangs on it.
    """
    for part in list(found):
        above = PARENTS[part]
        while above is not None and above not in found:
            above = PARENTS[above]
        if above is None or found[above] in _path(skeleton, found[part]):
            continue
        if part != "chest" or found[part] not in _path(skeleton, found[above]):
            del found[part]


def _joint(skeleton: Skeleton, body: int) -> tuple[int, ...]:
    """The body and, if it is the end of a row of hinges that share a name ("hip_pitch", "hip_roll"), those above."""
    row = [body]
    word = re.sub(r"(pitch|roll|yaw)$", "", _words(skeleton.body_names[body])[1])
    while True:
        parent = skeleton.parents[row[0]]
        if parent < 0 or skeleton.joints[parent].kind != "hinge" or skeleton.joints[body].kind != "hinge":
            return tuple(row)
        if re.sub(r"(pitch|roll|yaw)$", "", _words(skeleton.body_names[parent])[1]) != word:
            return tuple(row)
        row.insert(0, parent)


def _joint_point(skeleton: Skeleton, joint: tuple[int, ...]) -> Tensor:
    """The point `(3,)` in the last body's frame that is nearest to all axes of a row of hinges, in the rest pose."""
    if len(joint) == 1:
        return torch.zeros(3)
    origins, rotations = forward_kinematics(skeleton, torch.zeros(3), quat_identity(skeleton.num_bodies))
    rows = list(joint)
    axes = quat_apply(rotations[rows], torch.tensor([skeleton.joints[b].axes[0] for b in rows]))
    across = torch.eye(3) - axes[:, :, None] * axes[:, None, :]
    pull = 1e-3 * torch.eye(3)  # two parallel axes leave a direction open
    right = (across @ origins[rows, :, None]).sum(0) + pull @ origins[rows].mean(0)[:, None]
    point = torch.linalg.solve(across.sum(0) + pull, right)[:, 0]
    return quat_apply_inverse(rotations[joint[-1]], point - origins[joint[-1]])


# --- how it stands ---------------------------------------------------------------------------------------------------


def _reference(draft: Anatomy, poses: Tensor | None) -> Tensor:
    """The rest pose, or the most upright frame of a clip, turned to face x: `(B, 4)`."""
    candidates = quat_identity(1, draft.skeleton.num_bodies)
    upright = _uprightness(draft, candidates)
    if float(upright) < 0.8 and poses is not None:
        candidates = poses
        upright = _uprightness(draft, poses)
    if float(upright.max()) < 0.5:
        raise AnatomyError(f"skeleton {draft.skeleton.name!r}: neither its rest pose nor a frame stands upright")
    best = candidates[int(upright.argmax())].clone()
    joints, _ = Anatomy(draft.skeleton, draft.parts, best).standing()
    across = joints["left_hip"] - joints["right_hip"]
    yaw = torch.atan2(-across[0], across[1])
    if float(yaw.abs()) > _TURNED:
        best[0] = quat_multiply(quat_from_yaw(-yaw), best[0])
    return best


def _uprightness(draft: Anatomy, poses: Tensor) -> Tensor:
    """How upright thighs, shins and trunk stand: `(T,)`, the least of the cosines with the vertical."""
    root = torch.zeros(len(poses), 3)
    joints, _ = draft.poses(*forward_kinematics(draft.skeleton, root, poses))
    bones = [(f"{s}_{a}", f"{s}_{b}") for s in _SIDES for a, b in (("knee", "hip"), ("ankle", "knee"))]
    if "head" in joints and "chest" in joints:
        bones.append(("chest", "head"))
    rises = [torch.nn.functional.normalize(joints[high] - joints[low], dim=-1)[:, 2] for low, high in bones]
    return torch.stack(rises).amin(dim=0)
