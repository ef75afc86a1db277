"""Clips of SMPL's body models: rotation vectors per joint, as AMASS and SAMP store them, on our characters.

The models stand y up, x to their left, z forward; ours stand z up, x forward, y left. Both rest in the same pose, so a
joint's rotation vector changes its axes and nothing else, and the root's rotation is taken against the other rest. The
pelvis lies at the translation plus its place in the model at rest, which the root's rotation does not turn.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from motionlib.motion import Motion, MotionError
from poselib import models
from poselib.rotations import quat_from_exp_map, quat_multiply

__all__ = ["VARIANTS", "motion_from_axis_angles"]

_BODY = (
    *("Pelvis", "L_Hip", "R_Hip", "Torso", "L_Knee", "R_Knee", "Spine", "L_Ankle", "R_Ankle", "Chest", "L_Toe"),
    *("R_Toe", "Neck", "L_Thorax", "R_Thorax", "Head", "L_Shoulder", "R_Shoulder", "L_Elbow", "R_Elbow", "L_Wrist"),
    "R_Wrist",
)
_HANDS = tuple(
    f"{side}_{finger}{joint}"
    for side in "LR"
    for finger in ("Index", "Middle", "Pinky", "Ring", "Thumb")
    for joint in (1, 2, 3)
)
_FACE = 3  # jaw and eyes stand between the body and the hands of SMPL-X

VARIANTS: dict[int, tuple[str, Literal["smpl", "smplx"]]] = {
    72: ("SMPL", "smpl"),
    156: ("SMPL-H", "smpl"),
    165: ("SMPL-X", "smplx"),
}
"""numbers per frame to the body model and our character"""

_TO_OURS = torch.tensor([-0.5, -0.5, -0.5, 0.5], dtype=torch.float64)
"""rotation from our axes to the models': their x is our y, their y our z, their z our x"""


def motion_from_axis_angles(
    path: Path, poses: Tensor, translations: Tensor, *, name: str, fps: float, source: str, license: str
) -> Motion:
    """The clip on "smpl" (hands at rest) or, for SMPL-X, on "smplx" (jaw and eyes dropped).

    Args:
        path: named in errors.
        poses: `(T, P)` rad, P one of `VARIANTS`.
        translations: `(T, 3)` m, z up.
        name: of the clip.
        fps: frames per second.
        source: of the clip.
        license: of the clip.

    Raises:
        MotionError: if the shapes are those of no body model.
    """
    if poses.ndim != 2 or poses.shape[1] not in VARIANTS or tuple(translations.shape) != (len(poses), 3):
        known = ", ".join(f"{model} has {width}" for width, (model, _) in VARIANTS.items())
        raise MotionError(
            f"{path}: poses and translations have shapes {tuple(poses.shape)} and {tuple(translations.shape)}; want "
            f"(frames, numbers) and (frames, 3), where {known} numbers"
        )
    model, character = VARIANTS[poses.shape[1]]
    vectors = poses.double().reshape(len(poses), -1, 3)
    names: tuple[str, ...] = _BODY
    if model == "SMPL":
        names = (*_BODY, "L_Hand", "R_Hand")
    elif model == "SMPL-X":
        names = (*_BODY, *_HANDS)
        vectors = torch.cat([vectors[:, : len(_BODY)], vectors[:, len(_BODY) + _FACE :]], dim=1)
    skeleton = models.skeleton(character)
    local = torch.zeros(len(poses), skeleton.num_bodies, 4, dtype=torch.float64)
    local[..., 3] = 1.0
    bodies = skeleton.body_indices(names)
    local[:, bodies] = quat_from_exp_map(vectors[:, : len(names)][..., [2, 0, 1]])
    local[:, 0] = quat_multiply(quat_from_exp_map(vectors[:, 0]), _TO_OURS)
    return Motion(
        name=name,
        fps=fps,
        body_names=skeleton.body_names,
        parents=skeleton.parents,
        offsets=skeleton.offsets,
        root_positions=translations.double() + skeleton.offsets[0].double(),
        local_rotations=local,
        source=source,
        license=license,
    )
