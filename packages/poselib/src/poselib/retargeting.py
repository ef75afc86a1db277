"""Motion of one skeleton on another: rotations by part, the root by leg length; robots by inverse kinematics.

A segment follows by how far its model has turned since it stood in its reference pose: `R_target = D C Q_target` with
the source's turn `D = R_source Q_source^-1`, reference orientations `Q`, and a correction `C`, the shortest arc from
the target's bone in its reference pose to the source's (arms that hang against arms stretched out). So both bones point
the same way in every frame.

Where a joint of the target is a row of hinges, as in robots, a doll with the same limbs but one joint per part is moved
in this way, and inverse kinematics takes the robot's joints to where the doll's are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from poselib.anatomy import Anatomy, Part
from poselib.ik import Goals, Weights, solve_ik
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
from poselib.skeleton import Joint, Skeleton

__all__ = ["Transfer", "goals_of", "ground_shift", "retarget"]

_NEAR_GROUND = 0.03
"""m above a clip's median lowest point; frames below count as on the ground"""
_STRAIGHT = 0.03
"""sine of a bend at which the plane of two bones is half trusted"""
_BONES = {"shoulder": "elbow", "elbow": "wrist", "hip": "knee", "knee": "ankle"}
"""parts that are made parallel, with the next joint of the limb"""

_BENDING = ("_knee", "_elbow")
_POSITION_WEIGHTS = {"pelvis": 1.0, "wrist": 1.5, "elbow": 1.0, "knee": 1.0, "ankle": 2.0, "toe": 1.0, "head": 0.5}
_ROTATION_WEIGHTS = {"pelvis": 0.5, "chest": 0.5, "head": 0.2, "ankle": 0.3, "toe": 0.1, "wrist": 0.1, "collar": 0.05}
_OTHER_ROTATION = 0.05
"""per rad, of segments whose joints have goals in position"""
_FROM_REST = Weights(smooth=1e-2, keep=1e-2)
"""for robots: from the rest pose to the motion, so changes are large and cost little"""


@dataclass(frozen=True, eq=False)
class Transfer:
    """A motion on the target, and where its parts should be."""

    root_positions: Tensor
    """(T, 3) m"""
    local_rotations: Tensor
    """(T, B, 4)"""
    positions: dict[str, Tensor]
    """(T, 3) m, the joint of each part: the source's limbs at the target's lengths"""
    rotations: dict[str, Tensor]
    """(T, 4) of each part's segment"""


def retarget(
    source: Anatomy, target: Anatomy, root_positions: Tensor, local_rotations: Tensor, *, fps: float = 30.0
) -> Transfer:
    """Carry motion over to another skeleton.

    The hips' path is scaled by the ratio of the legs, heights from z = 0 included; `ground_shift` then puts the feet
    down. A hinge of the target bends in the plane of the two bones: the bone above is twisted about itself to turn the
    hinge there, so that both bones keep their directions.

    Args:
        source: B bodies.
        target: C bodies.
        root_positions: `(T, 3)` m.
        local_rotations: `(T, B, 4)`.
        fps: frames per second; only robots' joints, which are solved for smoothly, ask for it.

    Returns:
        The motion of the target with C bodies. Joint limits are kept only where joints are solved for.
    """
    positions, world = forward_kinematics(source.skeleton, root_positions, local_rotations)
    joints, segments = source.poses(positions, world)
    scale = target.leg_length() / source.leg_length()
    hips = scale * 0.5 * (joints["left_hip"] + joints["right_hip"])
    doll = _doll(target) if _is_robot(target) else target
    turns = _follow(source, doll, segments, world)
    _, reference = forward_kinematics(doll.skeleton, torch.zeros(3), doll.reference)
    rotations = _bend_hinges(doll.skeleton, quat_multiply(turns, reference.to(turns).expand_as(turns)))
    local = local_rotations_from_world(doll.skeleton, quat_normalize(rotations))
    standing, _ = doll.standing()
    middle = quat_apply_inverse(doll.reference[0], 0.5 * (standing["left_hip"] + standing["right_hip"]))
    root = hips - quat_apply(local[..., 0, :], middle.to(local))
    goals, turned = doll.poses(*forward_kinematics(doll.skeleton, root, local))
    if doll is target:
        return Transfer(root, local, goals, turned)
    joints, stands = target.standing()
    turned = {name: quat_multiply(turn, stands[name].to(turn).expand_as(turn)) for name, turn in turned.items()}
    rest = quat_identity(len(root), target.skeleton.num_bodies).to(local)
    rest[:, 0] = local[:, 0]
    reach = goals_of(target, goals, turned)
    root = root - quat_apply(local[:, 0], joints["pelvis"].to(local).expand_as(root))  # the root may be the chest
    solution = solve_ik(target.skeleton, root, rest, reach, fps=fps, weights=_FROM_REST, iterations=40)
    return Transfer(solution.root_positions, solution.local_rotations, goals, turned)


def goals_of(anatomy: Anatomy, positions: dict[str, Tensor], rotations: dict[str, Tensor]) -> Goals:
    """Goals for inverse kinematics: joints of limbs in position, the trunk and the ends of limbs in rotation as well.

    Args:
        anatomy: of the skeleton that is to move.
        positions: `(T, 3)` m of the joint of each part.
        rotations: `(T, 4)` of its segment.
    """
    names = [name for name in anatomy.parts if name in positions]
    kinds = [name.partition("_")[2] or name for name in names]
    mere_points = [not anatomy.parts[name].joint for name in names]
    return Goals(
        bodies=[anatomy.parts[name].body for name in names],
        points=torch.stack([anatomy.parts[name].point for name in names]),
        positions=torch.stack([positions[name] for name in names], dim=1),
        rotations=torch.stack([rotations[name] for name in names], dim=1),
        position_weights=torch.tensor([_POSITION_WEIGHTS.get(kind, 0.0) for kind in kinds]),
        rotation_weights=torch.tensor(
            [
                0.0 if mere else _ROTATION_WEIGHTS.get(kind, _OTHER_ROTATION)
                for kind, mere in zip(kinds, mere_points, strict=True)
            ]
        ),
    )


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


# --- the doll --------------------------------------------------------------------------------------------------------


def _is_robot(target: Anatomy) -> bool:
    """Whether other joints than knees and elbows are hinges."""
    bending = {part.body for name, part in target.parts.items() if name.endswith(_BENDING)}
    return any(joint.kind == "hinge" and body not in bending for body, joint in enumerate(target.skeleton.joints))


def _doll(target: Anatomy) -> Anatomy:
    """A skeleton of the parts alone, one joint each, with the limbs of the target; named by part, at rest upright."""
    joints, segments = target.standing()
    names = list(target.parts)
    above = [target.above(name) for name in names]
    offsets = [joints[n] - joints[over] if over else joints[n] for n, over in zip(names, above, strict=True)]
    skeleton = Skeleton(
        name=f"{target.skeleton.name}'s doll",
        body_names=tuple(names),
        parents=tuple(-1 if over is None else names.index(over) for over in above),
        offsets=torch.stack(offsets),
        rest_rotations=quat_identity(len(names)),
        joints=tuple(_doll_joint(target, name, segments[name]) for name in names),
    )
    parts = {name: Part(body, torch.zeros(3), (body,)) for body, name in enumerate(names)}
    return Anatomy(skeleton, parts, quat_identity(len(names)))


def _doll_joint(target: Anatomy, name: str, segment: Tensor) -> Joint:
    """Hinges at knees and elbows, balls elsewhere. Its limits are never asked for."""
    if name == "pelvis":
        return Joint("fixed", (), (), (), ())
    joint = target.skeleton.joints[target.parts[name].body]
    if name.endswith(_BENDING) and joint.kind == "hinge":
        x, y, z = quat_apply(segment, torch.tensor(joint.axes[0])).tolist()
        return Joint("hinge", (name,), ((x, y, z),), joint.lower, joint.upper)
    axes = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    return Joint("ball", tuple(f"{name}_{axis}" for axis in "xyz"), axes, (-math.pi,) * 3, (math.pi,) * 3)


# --- rotations -------------------------------------------------------------------------------------------------------


def _follow(source: Anatomy, target: Anatomy, segments: dict[str, Tensor], world: Tensor) -> Tensor:
    """Turn since the reference pose of every body of the target, `(T, C, 4)`, corrections included.

    Bodies that are no part share the turn of the spine or neck they belong to, or follow a body of the same name (a
    finger), or move with their parent.
    """
    _, stood = source.standing()
    _, stood_bodies = forward_kinematics(source.skeleton, torch.zeros(3), source.reference)
    names = source.skeleton.body_names
    by_part = _corrections(source, target)
    by_body = {part.body: by_part[name] for name, part in target.parts.items() if name in source.parts}
    of_parts = {
        part.body: _turned(segments[name], stood[name], by_part[name])
        for name, part in target.parts.items()
        if name in source.parts
    }
    shares = _shares(source, target)
    turns: list[Tensor] = []
    for body, parent in enumerate(target.skeleton.parents):
        name = target.skeleton.body_names[body]
        correction = by_body.setdefault(body, by_body[parent] if parent >= 0 else quat_identity())
        if body in of_parts:
            turns.append(of_parts[body])
        elif body in shares:
            start, end, share = shares[body]
            turns.append(slerp(of_parts[start], of_parts[end], torch.tensor(share).to(world)))
        elif name in names:
            turns.append(_turned(world[..., names.index(name), :], stood_bodies[names.index(name)], correction))
        else:
            turns.append(turns[parent] if parent >= 0 else quat_identity(len(world)).to(world))
    return torch.stack(turns, dim=-2)


def _turned(rotation: Tensor, stood: Tensor, correction: Tensor) -> Tensor:
    """`rotation stood^-1 correction`, `(T, 4)`."""
    fixed = quat_multiply(quat_conjugate(stood), correction)
    return quat_multiply(rotation, fixed.to(rotation).expand_as(rotation))


def _shares(source: Anatomy, target: Anatomy) -> dict[int, tuple[int, int, float]]:
    """Bodies of spine and neck between two parts: (body above, body at the end, share of the turn between them).

    A chain that the source has under the same names is left out.
    """
    shares: dict[int, tuple[int, int, float]] = {}
    for end in ("chest", "head"):
        above = target.above(end) if end in target.parts and end in source.parts else None
        if above is None:
            continue
        chain = [target.parts[end].body]
        while chain[0] != target.parts[above].body:
            chain.insert(0, target.skeleton.parents[chain[0]])
        if not all(target.skeleton.body_names[body] in source.skeleton.body_names for body in chain[1:-1]):
            shares |= {body: (chain[0], chain[-1], i / (len(chain) - 1)) for i, body in enumerate(chain[1:-1], 1)}
    return shares


def _corrections(source: Anatomy, target: Anatomy) -> dict[str, Tensor]:
    """Turn `(4,)` of each part of the target that makes its bones in the reference pose parallel to the source's."""
    ours, theirs = target.standing()[0], source.standing()[0]
    result: dict[str, Tensor] = {}
    for part in target.parts:
        side, _, kind = part.partition("_")
        above = target.above(part)
        limb = kind in (*_BONES, "wrist") and above is not None and kind not in ("shoulder", "hip")
        inherited = result[above] if limb and above is not None else quat_identity()
        end = f"{side}_{_BONES.get(kind, '')}"
        if end in ours and end in theirs and part in theirs:
            bone = torch.nn.functional.normalize(quat_apply(inherited, ours[end] - ours[part]), dim=0)
            wanted = torch.nn.functional.normalize(theirs[end] - theirs[part], dim=0)
            arc = torch.cat([torch.linalg.cross(bone, wanted), (1.0 + bone @ wanted).reshape(1)])
            inherited = quat_multiply(quat_normalize(arc), inherited)
        result[part] = inherited
    return result


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
