"""Clips on other characters: rotations first, then inverse kinematics that puts feet, joints and floor right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from motionlib.loops import Cycle, close_loop
from motionlib.motion import Motion, MotionError
from motionlib.processing.quality import Quality, quality
from motionlib.processing.resampling import repeated
from motionlib.processing.stance import foot_bodies, foot_points, stance_of
from poselib import models
from poselib.anatomy import Anatomy, AnatomyError, anatomy_of
from poselib.ground import CollisionPoints, height_offset
from poselib.ik import Ground, solve_ik
from poselib.kinematics import forward_kinematics
from poselib.retargeting import Transfer, goals_of, ground_shift, retarget
from poselib.rotations import quat_apply, quat_identity
from poselib.skeleton import Joint, Skeleton

__all__ = [
    "RetargetReport",
    "character_of",
    "cleaned",
    "retargeted",
    "retargeted_to",
    "retargeted_with_report",
    "skeleton_of",
]

_SEAM = 0.25
"""s on either side of a loop's seam over which it is bent to close"""
_USUAL_HEIGHT = 0.4
"""quantile over frames of the lowest height that goes to the ground where the source has no geometry to compare with"""
_SOLE = (0.01, 0.03)
"""m above a foot's lowest point: below the first a point stands with the foot, above the second it does not"""


@dataclass(frozen=True, kw_only=True)
class RetargetReport:
    """What became of a clip."""

    source: Quality
    """of the clip that was given"""
    transferred: Quality
    """after rotation transfer, before inverse kinematics"""
    result: Quality
    """of the clip that was returned"""


def character_of(motion: Motion) -> str | None:
    """The built-in character whose bodies a clip has; None if there is none."""
    return models.character_of(motion.body_names)


def skeleton_of(motion: Motion) -> Skeleton:
    """The built-in character's skeleton, or one of ball joints with the clip's own tree."""
    character = character_of(motion)
    if character is not None:
        return models.skeleton(character)
    axes = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    pi = torch.pi
    balls = tuple(
        Joint("ball", tuple(f"{name}_{axis}" for axis in "xyz"), axes, (-pi,) * 3, (pi,) * 3)
        for name in motion.body_names[1:]
    )
    rest = quat_identity(len(motion.body_names))
    fixed = Joint("fixed", (), (), (), ())
    return Skeleton(motion.name, motion.body_names, motion.parents, motion.offsets, rest, (fixed, *balls))


def retargeted(motion: Motion, character: str, *, ik: bool = True, bodies: Mapping[str, str] | None = None) -> Motion:
    """The clip on a built-in character, standing on the ground as the original does.

    Args:
        motion: of any skeleton in which a person is recognised (`poselib.anatomy`). A clip of that very character is
            returned as it is; see `cleaned`.
        character: name of a built-in character.
        ik: whether inverse kinematics follow the transfer of rotations: feet that stand do not slide, nothing sinks
            into the ground, joints keep to their limits.
        bodies: names of the clip's bodies by part, where they are unusual.

    Raises:
        MotionError: if there is no such character, or no person in the clip.
    """
    if character_of(motion) == character:
        return motion
    return retargeted_to(motion, *_built_in(character), ik=ik, bodies=bodies)


def retargeted_to(
    motion: Motion,
    target: Anatomy,
    geometry: CollisionPoints,
    *,
    ik: bool = True,
    bodies: Mapping[str, str] | None = None,
) -> Motion:
    """As `retargeted`, onto a character that is not built in: one whose anatomy and collision geometry are given.

    With inverse kinematics a wrapped clip is closed first (`close_loop`) and solved three cycles long; the one in the
    middle, whose feet and joints know what comes before and after, is returned.

    Raises:
        MotionError: if no person is recognised in the clip.
    """
    if not (ik and motion.loop == "wrap"):
        return _retargeted(motion, target, geometry, ik, bodies)[0]
    cycles = repeated(close_loop(motion, _SEAM), 3)
    result = _retargeted(cycles, target, geometry, ik, bodies)[0]
    frames = slice(motion.num_frames - 1, 2 * motion.num_frames - 1)
    middle = replace(
        result, root_positions=result.root_positions[frames], local_rotations=result.local_rotations[frames]
    )
    root, turned = Cycle.of(middle).apply(-1, middle.root_positions, middle.local_rotations[:, 0])
    local = torch.cat([turned.unsqueeze(1), middle.local_rotations[:, 1:]], dim=1)
    return replace(middle, root_positions=root, local_rotations=local)


def retargeted_with_report(
    motion: Motion, character: str, *, ik: bool = True, bodies: Mapping[str, str] | None = None
) -> tuple[Motion, RetargetReport]:
    """As `retargeted`, with numbers; a clip of that very character is cleaned. Stances are those of the source."""
    target, geometry = _built_in(character)
    result, transferred, transfer = _retargeted(motion, target, geometry, ik, bodies)
    motion, source, points = _source(motion, bodies)
    stance = stance_of(foot_points(motion, source, points), motion.fps)
    return result, RetargetReport(
        source=quality(motion, source.skeleton, anatomy=source, stance=stance),
        transferred=quality(transferred, target.skeleton, stance=stance),
        result=quality(
            result,
            target.skeleton,
            stance=stance,
            key_point_error=_key_point_error(result, target, transfer),
        ),
    )


def cleaned(motion: Motion, character: str) -> Motion:
    """A clip of a built-in character with its feet, joints and heights put right by inverse kinematics."""
    if character_of(motion) != character:
        raise MotionError(f"clip {motion.name!r} is not of {character!r} but {character_of(motion)}; use retargeted")
    return _retargeted(motion, *_built_in(character), True, None)[0]


def _built_in(character: str) -> tuple[Anatomy, CollisionPoints]:
    if character not in models.MODELS:
        raise MotionError(f"no built-in character {character!r}; there are {sorted(models.MODELS)}")
    return anatomy_of(models.skeleton(character)), models.collision_points(character)


def _retargeted(
    motion: Motion, target: Anatomy, geometry: CollisionPoints, ik: bool, bodies: Mapping[str, str] | None
) -> tuple[Motion, Motion, Transfer]:
    """The result, the mere transfer, and its goals."""
    motion, source, points = _source(motion, bodies)
    transfer = _transfer(motion, source, target)
    transferred = _clip(motion, target.skeleton, transfer.root_positions, transfer.local_rotations)
    transfer = _on_the_ground(transfer, motion, source, points, transferred, target, geometry)
    transferred = replace(transferred, root_positions=transfer.root_positions)
    if not ik:
        return transferred, transferred, transfer
    stance = stance_of(foot_points(motion, source, points), motion.fps)
    solution = solve_ik(
        target.skeleton,
        transfer.root_positions,
        transfer.local_rotations,
        goals_of(target, transfer.positions, transfer.rotations),
        fps=motion.fps,
        ground=Ground(geometry, _standing_points(transferred, target, geometry, stance)),
    )
    return _clip(motion, target.skeleton, solution.root_positions, solution.local_rotations), transferred, transfer


def _source(motion: Motion, bodies: Mapping[str, str] | None) -> tuple[Motion, Anatomy, CollisionPoints | None]:
    """A clip with bodies in its skeleton's order, what they are, and their geometry if it is known."""
    skeleton = skeleton_of(motion)
    motion = motion.for_skeleton(skeleton)
    try:
        source = anatomy_of(skeleton, bodies=bodies, poses=motion.local_rotations)
    except AnatomyError as error:
        raise MotionError(f"clip {motion.name!r}: {error}") from error
    points = models.collision_points(skeleton.name) if skeleton.name in models.MODELS else None
    return motion, source, points


def _transfer(motion: Motion, source: Anatomy, target: Anatomy) -> Transfer:
    if source.skeleton is target.skeleton:
        poses = forward_kinematics(source.skeleton, motion.root_positions, motion.local_rotations)
        return Transfer(motion.root_positions, motion.local_rotations, *source.poses(*poses))
    return retarget(source, target, motion.root_positions, motion.local_rotations, fps=motion.fps)


def _clip(motion: Motion, skeleton: Skeleton, root: Tensor, local: Tensor) -> Motion:
    return replace(
        motion,
        body_names=skeleton.body_names,
        parents=skeleton.parents,
        offsets=skeleton.offsets,
        root_positions=root,
        local_rotations=local,
    )


def _on_the_ground(
    transfer: Transfer,
    motion: Motion,
    source: Anatomy,
    points: CollisionPoints | None,
    transferred: Motion,
    target: Anatomy,
    geometry: CollisionPoints,
) -> Transfer:
    """The same, raised so that the target stands as its source does."""
    if source.skeleton is target.skeleton:
        return transfer
    after = geometry.lowest(*transferred.world_poses(target.skeleton))
    if points is None:
        raised = -height_offset(after, _USUAL_HEIGHT)
    else:
        before = points.lowest(*motion.world_poses(source.skeleton))
        raised = ground_shift(before, after, [b for side in ("left", "right") for b in foot_bodies(source, side)])
    up = torch.tensor([0.0, 0.0, raised])
    return replace(
        transfer,
        root_positions=transfer.root_positions + up,
        positions={part: position + up for part, position in transfer.positions.items()},
    )


def _standing_points(motion: Motion, anatomy: Anatomy, points: CollisionPoints, stance: Tensor) -> Tensor:
    """How firmly each collision point stands, `(T, P)`: the lower ones of a foot in stance."""
    positions, rotations = motion.world_poses(anatomy.skeleton)
    placed = positions[:, points.bodies] + quat_apply(rotations[:, points.bodies], points.points)
    heights = placed[..., 2] - points.radii
    result = torch.zeros_like(heights)
    low, high = _SOLE
    for side, stands in zip(("left", "right"), stance.unbind(-1), strict=True):
        bodies = foot_bodies(anatomy, side)
        rows = [i for i, body in enumerate(points.bodies) if body in bodies]
        above = heights[:, rows] - heights[:, rows].amin(dim=-1, keepdim=True)
        result[:, rows] = ((high - above) / (high - low)).clamp(0.0, 1.0) * stands[:, None]
    return result


def _key_point_error(motion: Motion, anatomy: Anatomy, transfer: Transfer) -> float:
    """Distance of joints and their goals in mm, mean over joints and frames."""
    joints, _ = anatomy.poses(*motion.world_poses(anatomy.skeleton))
    gaps = [(joints[part] - transfer.positions[part]).norm(dim=-1) for part in transfer.positions]
    return 1000.0 * float(torch.stack(gaps).mean())
