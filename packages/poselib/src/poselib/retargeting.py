"""Motion of one skeleton on another: rotations by a body map, the root by leg length, the floor by collision geometry.

A body follows by how far its model has turned since rest: `R_target = D C Q_target` with the source's turn since rest
`D = R_source Q_source^-1`, rest orientations `Q`, and a correction `C`, the shortest arc from the target's bone at rest
to the source's (arms that hang at rest against arms stretched out). So both bones point the same way in every frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from poselib.kinematics import forward_kinematics, local_rotations_from_world
from poselib.rotations import (
    quat_apply,
    quat_apply_inverse,
    quat_conjugate,
    quat_from_angle_axis,
    quat_identity,
    quat_multiply,
    quat_normalize,
    slerp,
)
from poselib.skeleton import Skeleton

__all__ = ["AMP_TO_SMPL", "BODY_MAPS", "SMPL_TO_AMP", "BodyMap", "Link", "ground_shift", "rest_pose", "retarget"]

_NEAR_GROUND = 0.03
"""m above a clip's median lowest point; frames below count as on the ground"""
_STRAIGHT = 0.03
"""sine of a bend at which the plane of two bones is half trusted"""


@dataclass(frozen=True)
class Link:
    """Bodies of the target that follow one body of the source."""

    targets: tuple[str, ...]
    """one body, or a chain from parent to child that shares the turn evenly"""
    source: str
    bone: tuple[str, str] | None = None
    """(child of the last target, child of the source): the bones to these are made parallel; None: no correction"""


@dataclass(frozen=True)
class BodyMap:
    """How a target skeleton follows a source skeleton. Bodies that no link names keep their rest pose."""

    links: tuple[Link, ...]
    """the root's first, parents before children"""
    hips: tuple[tuple[str, str], tuple[str, str]]
    """both thighs of the target and of the source; the points between them lie over each other"""
    leg: tuple[tuple[str, ...], tuple[str, ...]]
    """thigh, shin, foot of the target and of the source: the ratio of these lengths scales the root's path"""
    feet: tuple[str, ...]
    """bodies of the source that it stands on"""


def _pairs(names: Sequence[tuple[str, str, str | None, str | None]]) -> tuple[Link, ...]:
    return tuple(Link((t,), s, (tb, sb) if tb and sb else None) for t, s, tb, sb in names)


def _limbs(smpl: str, amp: str) -> list[tuple[str, str, str | None, str | None]]:
    """(SMPL body, AMP body, child of the one, child of the other) of one side."""
    return [
        (f"{smpl}_Hip", f"{amp}_thigh", f"{smpl}_Knee", f"{amp}_shin"),
        (f"{smpl}_Knee", f"{amp}_shin", f"{smpl}_Ankle", f"{amp}_foot"),
        (f"{smpl}_Ankle", f"{amp}_foot", None, None),
        (f"{smpl}_Shoulder", f"{amp}_upper_arm", f"{smpl}_Elbow", f"{amp}_lower_arm"),
        (f"{smpl}_Elbow", f"{amp}_lower_arm", f"{smpl}_Wrist", f"{amp}_hand"),
    ]


_LIMBS = [*_limbs("L", "left"), *_limbs("R", "right")]
_SMPL_HIPS, _AMP_HIPS = ("L_Hip", "R_Hip"), ("left_thigh", "right_thigh")
_SMPL_LEG, _AMP_LEG = ("L_Hip", "L_Knee", "L_Ankle"), ("left_thigh", "left_shin", "left_foot")

AMP_TO_SMPL = BodyMap(
    links=(
        Link(("Pelvis",), "pelvis"),
        Link(("Torso", "Spine", "Chest"), "torso"),
        Link(("Neck", "Head"), "head"),
        *_pairs(_LIMBS),
    ),
    hips=(_SMPL_HIPS, _AMP_HIPS),
    leg=(_SMPL_LEG, _AMP_LEG),
    feet=("left_foot", "right_foot"),
)
SMPL_TO_AMP = BodyMap(
    links=(
        Link(("pelvis",), "Pelvis"),
        Link(("torso",), "Chest"),
        Link(("head",), "Head"),
        *_pairs([(amp, smpl, amp_bone, smpl_bone) for smpl, amp, smpl_bone, amp_bone in _LIMBS]),
    ),
    hips=(_AMP_HIPS, _SMPL_HIPS),
    leg=(_AMP_LEG, _SMPL_LEG),
    feet=("L_Ankle", "L_Toe", "R_Ankle", "R_Toe"),
)
BODY_MAPS = {("amp", "smpl"): AMP_TO_SMPL, ("smpl", "amp"): SMPL_TO_AMP}
"""body maps between the built-in characters by (source, target)"""


def rest_pose(skeleton: Skeleton) -> tuple[Tensor, Tensor]:
    """World positions `(B, 3)` m and rotations `(B, 4)` with the root upright and every joint at rest."""
    return forward_kinematics(skeleton, skeleton.offsets[0], quat_identity(skeleton.num_bodies))


def retarget(
    body_map: BodyMap, source: Skeleton, target: Skeleton, root_positions: Tensor, local_rotations: Tensor
) -> tuple[Tensor, Tensor]:
    """Carry motion over to another skeleton.

    The hips' path is scaled by the ratio of the legs, heights from z = 0 included; `ground_shift` then puts the feet
    down. A hinge of the target bends in the plane of the two bones: the bone above is twisted about itself to turn the
    hinge there, so that both bones keep their directions.

    Args:
        body_map: from `source` to `target`.
        source: B bodies.
        target: C bodies.
        root_positions: `(..., 3)` m.
        local_rotations: `(..., B, 4)`.

    Returns:
        Root positions `(..., 3)` and local rotations `(..., C, 4)` of the target.

    Raises:
        KeyError: naming a body of the map that a skeleton lacks.
    """
    _, world = forward_kinematics(source, root_positions, local_rotations)
    turns = _follow(body_map, source, target, world)
    _, rest = rest_pose(target)
    rotations = _bend_hinges(target, quat_multiply(turns, rest.to(turns)))
    target_local = local_rotations_from_world(target, quat_normalize(rotations))

    target_hips, source_hips = body_map.hips
    scale = _length(target, body_map.leg[0]) / _length(source, body_map.leg[1])
    hips = root_positions + quat_apply(world[..., 0, :], _middle(source, source_hips).to(world))
    root = scale * hips - quat_apply(target_local[..., 0, :], _middle(target, target_hips).to(world))
    return root, target_local


def ground_shift(source_lowest: Tensor, target_lowest: Tensor, feet: Sequence[int]) -> float:
    """How far to raise the target, in m, so that it stands on the ground as its source does.

    Frames in which the source's feet are its lowest bodies decide; in clips without such, all frames on the ground.

    Args:
        source_lowest: `(T, B)` m, height of each body's lowest point (`CollisionPoints.lowest`).
        target_lowest: `(T, C)` m, likewise of the target.
        feet: indices of the source's feet.
    """
    source, target = source_lowest.amin(dim=-1), target_lowest.amin(dim=-1)
    grounded = source <= source.median() + _NEAR_GROUND
    standing = grounded & (source_lowest[:, list(feet)].amin(dim=-1) <= source)
    return float((source - target)[standing if bool(standing.any()) else grounded].median())


# --- rotations -------------------------------------------------------------------------------------------------------


def _follow(body_map: BodyMap, source: Skeleton, target: Skeleton, world: Tensor) -> Tensor:
    """Turn since rest of every body of the target, `(..., C, 4)`, corrections included."""
    _, source_rest = rest_pose(source)
    since_rest = quat_multiply(world, quat_conjugate(source_rest.to(world)))
    turns: dict[int, Tensor] = {}
    shared: dict[int, tuple[Link, int]] = {}
    for link in body_map.links:
        shared |= {body: (link, i + 1) for i, body in enumerate(target.body_indices(link.targets))}
    for body, parent in enumerate(target.parents):
        if body not in shared:
            turns[body] = turns[parent] if parent >= 0 else quat_identity(*world.shape[:-2]).to(world)
            continue
        link, position = shared[body]
        turn = since_rest[..., source.body_indices([link.source])[0], :]
        if link.bone is not None:
            turn = quat_multiply(turn, _correction(link, source, target).to(turn).expand_as(turn))
        if len(link.targets) > 1:
            above = turns[target.parents[target.body_indices(link.targets)[0]]]
            turn = slerp(above, turn, torch.tensor(position / len(link.targets)).to(turn))
        turns[body] = turn
    return torch.stack([turns[body] for body in range(target.num_bodies)], dim=-2)


def _correction(link: Link, source: Skeleton, target: Skeleton) -> Tensor:
    """Shortest arc `(4,)` from the target's bone at rest to the source's, in the world."""
    assert link.bone is not None
    a = _bone(target, link.targets[-1], link.bone[0])
    b = _bone(source, link.source, link.bone[1])
    return quat_normalize(torch.cat([torch.linalg.cross(a, b), (1.0 + a @ b).reshape(1)]))


def _bone(skeleton: Skeleton, body: str, child: str) -> Tensor:
    positions, _ = rest_pose(skeleton)
    start, end = skeleton.body_indices([body, child])
    return torch.nn.functional.normalize(positions[end] - positions[start], dim=0)


def _bend_hinges(skeleton: Skeleton, rotations: Tensor) -> Tensor:
    """World rotations `(..., C, 4)` in which hinges only do what they can; directions of bones stay."""
    bodies = list(rotations.unbind(-2))
    first_child = {p: b for b, p in reversed(list(enumerate(skeleton.parents)))}
    for body, joint in enumerate(skeleton.joints):
        if joint.kind != "hinge" or body not in first_child:
            continue
        parent = skeleton.parents[body]
        like = bodies[body]
        axis = torch.tensor(joint.axes[0]).to(like).expand(*like.shape[:-1], 3)
        rest = skeleton.rest_rotations[body].to(like).expand_as(like)
        bone = torch.nn.functional.normalize(skeleton.offsets[first_child[body]].to(like), dim=0).expand_as(axis)
        upper = torch.nn.functional.normalize(skeleton.offsets[body].to(like), dim=0).expand_as(axis)
        upper, lower = quat_apply(bodies[parent], upper), quat_apply(like, bone)
        turning = quat_apply(quat_multiply(bodies[parent], rest), axis)

        normal = torch.linalg.cross(upper, lower, dim=-1)
        bend = normal.norm(dim=-1)
        normal = normal * torch.where((normal * turning).sum(-1, keepdim=True) < 0, -1.0, 1.0)
        twist = _signed_angle(turning, normal, upper) * bend.square() / (bend.square() + _STRAIGHT**2)
        bodies[parent] = quat_multiply(quat_from_angle_axis(twist, upper), bodies[parent])
        frame = quat_multiply(bodies[parent], rest)
        angle = _signed_angle(bone, quat_apply_inverse(frame, lower), axis)
        bodies[body] = quat_multiply(frame, quat_from_angle_axis(angle, axis))
    return torch.stack(bodies, dim=-2)


def _signed_angle(start: Tensor, end: Tensor, axis: Tensor) -> Tensor:
    """Angle `(...)` in rad about `axis` from `start` to `end`, seen along the axis."""
    start = start - (start * axis).sum(-1, keepdim=True) * axis
    end = end - (end * axis).sum(-1, keepdim=True) * axis
    sine = (torch.linalg.cross(start, end, dim=-1) * axis).sum(-1)
    return torch.atan2(sine, (start * end).sum(-1))


# --- sizes -----------------------------------------------------------------------------------------------------------


def _length(skeleton: Skeleton, chain: Sequence[str]) -> float:
    return float(sum(skeleton.offsets[b].norm() for b in skeleton.body_indices(chain[1:])))


def _middle(skeleton: Skeleton, hips: tuple[str, str]) -> Tensor:
    """Point between the hips `(3,)` m in the root's frame; the thighs hang on the root."""
    return skeleton.offsets[skeleton.body_indices(hips)].mean(dim=0)
