"""DeepMimic clips (JSON, `humanoid3d_*.txt`), read as motion of the skeleton "amp".

Peng et al., DeepMimic, 2018. A frame is dt, then 43 numbers: root position and rotation, then one quaternion per ball
joint and one angle per hinge. Their world is y up, x forward, z right and their quaternions are wxyz; ours is z up, x
forward, y left and xyzw, so vectors turn by +90 degrees about x and a hinge angle changes its sign. Hands stay at rest.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from motionlib.motion import Loop, Motion, MotionError
from poselib import models
from poselib.rotations import quat_from_angle_axis, quat_normalize, slerp, xyzw_from_wxyz

__all__ = ["FORMAT", "read", "recognizes"]

FORMAT = "DeepMimic .txt"

_COLUMNS = 44
_BALLS = {
    "pelvis": 4,
    "torso": 8,
    "head": 12,
    "right_thigh": 16,
    "right_foot": 21,
    "right_upper_arm": 25,
    "left_thigh": 30,
    "left_foot": 35,
    "left_upper_arm": 39,
}
"""column of the first number of each body's quaternion"""
_HINGES = {"right_shin": 20, "right_lower_arm": 29, "left_shin": 34, "left_lower_arm": 43}
"""column of each body's angle"""
_DT_TOLERANCE = 0.01
"""relative; frames that differ more are resampled to an even rate"""
_MOST_RESAMPLED = 100
"""times as many frames after resampling as there are; more come of a damaged dt alone"""


def recognizes(head: bytes) -> bool:
    """A JSON object with "Frames"."""
    return head.lstrip().startswith(b"{") and b'"Frames"' in head


def read(path: Path) -> Motion:
    """Read the clip.

    Raises:
        MotionError: if the text is no JSON, or its frames are not those of the humanoid.
    """
    frames, loop = _parse(path)
    positions, rotations = _convert(frames)
    positions, rotations, fps = _even(path, frames[:-1, 0], positions, rotations)
    skeleton = models.skeleton("amp")
    return Motion(
        name=path.stem.removeprefix("humanoid3d_"),
        fps=fps,
        body_names=skeleton.body_names,
        parents=skeleton.parents,
        offsets=skeleton.offsets,
        root_positions=positions,
        local_rotations=rotations,
        loop=loop,
        source=f"DeepMimic {path.name}",
    )


def _parse(path: Path) -> tuple[Tensor, Loop]:
    """Frames `(T, 44)` float64 and the loop flag."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise MotionError(f"{path}: not valid JSON ({error})") from error
    rows = data.get("Frames", [])
    for index, row in enumerate(rows):
        if not all(isinstance(number, int | float) for number in row):
            raise MotionError(f"{path}: frame {index} holds something that is no number")
        if len(row) != _COLUMNS:
            raise MotionError(f"{path}: frame {index} has {len(row)} numbers, the humanoid's have {_COLUMNS}")
    if len(rows) < 2:
        raise MotionError(f"{path}: want at least 2 frames, found {len(rows)}")
    loop = data.get("Loop", "none")
    if loop not in ("none", "wrap"):
        raise MotionError(f'{path}: "Loop" must be "none" or "wrap", found {loop!r}')
    return torch.tensor(rows, dtype=torch.float64), loop


def _convert(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Root positions `(T, 3)` and local rotations `(T, 15, 4)`."""
    bodies = models.skeleton("amp").body_names
    positions = torch.stack([frames[:, 1], -frames[:, 3], frames[:, 2]], dim=-1)
    rotations = torch.zeros(len(frames), len(bodies), 4, dtype=torch.float64)
    rotations[..., 3] = 1.0
    for body, column in _BALLS.items():
        x, y, z, w = quat_normalize(xyzw_from_wxyz(frames[:, column : column + 4])).unbind(-1)
        rotations[:, bodies.index(body)] = torch.stack([x, -z, y, w], dim=-1)
    axis = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64).expand(len(frames), 3)
    for body, column in _HINGES.items():
        rotations[:, bodies.index(body)] = quat_from_angle_axis(-frames[:, column], axis)
    return positions, rotations


def _even(path: Path, dt: Tensor, positions: Tensor, rotations: Tensor) -> tuple[Tensor, Tensor, float]:
    """The same motion at an even rate, 1 / the median dt, and that rate."""
    if not bool(torch.isfinite(dt).all()):
        raise MotionError(f"{path}: a frame's dt is not finite")
    if float(dt.min()) <= 0:
        raise MotionError(f"{path}: frame {int(dt.argmin())} has dt {float(dt.min())} s, want more than 0")
    step = float(dt.median())
    if float((dt / step - 1).abs().max()) <= _DT_TOLERANCE:
        return positions, rotations, 1.0 / step
    times = torch.cat([torch.zeros(1, dtype=dt.dtype), dt.cumsum(0)])
    count = max(round(float(times[-1]) / step), 1) + 1
    if count > _MOST_RESAMPLED * len(times):
        raise MotionError(
            f"{path}: {len(times)} frames last {float(times[-1]):.4g} s, but their median dt is {step:.4g} s"
        )
    wanted = torch.linspace(0.0, float(times[-1]), count, dtype=dt.dtype)
    right = torch.searchsorted(times, wanted).clamp(1, len(times) - 1)
    left = right - 1
    blend = ((wanted - times[left]) / dt[left]).unsqueeze(-1)
    positions = torch.lerp(positions[left], positions[right], blend)
    rotations = slerp(rotations[left], rotations[right], blend.unsqueeze(-1))
    return positions, rotations, (count - 1) / float(times[-1])
