"""A clip from the world poses of all bodies, as some formats store them, checked for being of the skeleton at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from motionlib.motion import Motion, MotionError
from poselib.kinematics import local_rotations_from_world
from poselib.rotations import angle_between, quat_apply_inverse, quat_normalize
from poselib.skeleton import Skeleton

__all__ = ["clip_from_world_poses", "recorded_offsets"]

_RIGID = 2e-3
"""m that a body may move in its parent's frame before the skeleton counts as the wrong one"""
_SAME = 1e-3
"""rad between stored local rotations and those that follow from the world's"""


def clip_from_world_poses(
    path: Path,
    skeleton: Skeleton,
    positions: Tensor,
    rotations: Tensor,
    *,
    name: str,
    fps: float,
    source: str,
    local_rotations: Tensor | None = None,
    license: str = "",
) -> Motion:
    """Local rotations from the world's, and the offsets of the recorded character from the distances of its bodies.

    Args:
        path: named in errors.
        skeleton: B bodies; what the columns of the tensors belong to.
        positions: `(T, B, 3)` m.
        rotations: `(T, B, 4)` xyzw.
        name: of the clip.
        fps: frames per second.
        source: of the clip.
        local_rotations: `(T, B, 4)`, taken as they are where they say the same as `rotations`.
        license: of the clip.

    Raises:
        MotionError: if shapes do not fit, or a body moves in its parent's frame.
    """
    frames, bodies = len(positions), skeleton.num_bodies
    for what, tensor, size in (("positions", positions, 3), ("rotations", rotations, 4)):
        if tuple(tensor.shape) != (frames, bodies, size):
            raise MotionError(f"{path}: {what} must have shape {(frames, bodies, size)}, found {tuple(tensor.shape)}")
    if not (torch.isfinite(positions).all() and torch.isfinite(rotations).all()):
        raise MotionError(f"{path}: positions or rotations of bodies are not finite")
    world = quat_normalize(rotations.double())
    local = local_rotations_from_world(skeleton, world)
    same = local_rotations is not None and local_rotations.shape == local.shape
    if same and float(angle_between(local_rotations.double(), local).max()) < _SAME:  # type: ignore[union-attr]
        local = local_rotations  # type: ignore[assignment]
    return Motion(
        name=name,
        fps=fps,
        body_names=skeleton.body_names,
        parents=skeleton.parents,
        offsets=recorded_offsets(path, skeleton, range(bodies), positions.double(), world),
        root_positions=positions[:, 0],
        local_rotations=local,
        source=source,
        license=license,
    )


def recorded_offsets(
    path: Path, skeleton: Skeleton, bodies: Sequence[int], positions: Tensor, rotations: Tensor
) -> Tensor:
    """The offsets `(B, 3)` m of the character that was recorded: the mean of each body's origin in its parent's frame.

    Args:
        path: named in errors.
        skeleton: B bodies; its own offsets stay where a body or its parent was not recorded.
        bodies: the C recorded ones.
        positions: `(T, C, 3)` m, world.
        rotations: `(T, B, 4)`, world.

    Raises:
        MotionError: if a body moves in its parent's frame, so that the skeleton cannot be the right one.
    """
    column = {body: index for index, body in enumerate(bodies)}
    offsets = skeleton.offsets.double().clone()
    for body, parent in enumerate(skeleton.parents):
        if body not in column or parent not in column:
            continue
        arm = quat_apply_inverse(rotations[:, parent], positions[:, column[body]] - positions[:, column[parent]])
        offsets[body] = arm.mean(dim=0)
        drift = float((arm - offsets[body]).norm(dim=-1).max())
        if drift > _RIGID:
            raise MotionError(
                f"{path}: body {skeleton.body_names[body]!r} moves by {1e3 * drift:.3g} mm in the frame of "
                f"{skeleton.body_names[parent]!r}: the bodies are not those of {skeleton.name!r}"
            )
    return offsets
