"""A clip from the world poses of all bodies, as some formats store them, checked for being of the skeleton at all."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from motionlib.motion import Motion, MotionError
from poselib.kinematics import local_rotations_from_world
from poselib.rotations import angle_between, quat_apply_inverse, quat_normalize
from poselib.skeleton import Skeleton

__all__ = ["clip_from_world_poses"]

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
        offsets=_offsets(path, skeleton, positions.double(), world),
        root_positions=positions[:, 0],
        local_rotations=local,
        source=source,
        license=license,
    )


def _offsets(path: Path, skeleton: Skeleton, positions: Tensor, rotations: Tensor) -> Tensor:
    """Each body's origin in its parent's frame `(B, 3)` m, the mean over time."""
    parents = list(skeleton.parents[1:])
    arms = quat_apply_inverse(rotations[:, parents], positions[:, 1:] - positions[:, parents])
    offsets = arms.mean(dim=0)
    drift = (arms - offsets).norm(dim=-1).amax(dim=0)
    if len(drift) and float(drift.max()) > _RIGID:
        worst = int(drift.argmax()) + 1
        raise MotionError(
            f"{path}: body {skeleton.body_names[worst]!r} moves by {1e3 * float(drift.max()):.3g} mm in the frame of "
            f"{skeleton.body_names[skeleton.parents[worst]]!r}: the bodies are not those of {skeleton.name!r}"
        )
    return torch.cat([skeleton.offsets[:1].double(), offsets])
