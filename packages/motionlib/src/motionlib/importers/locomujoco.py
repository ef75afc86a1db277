"""LocoMuJoCo `.npz` of 2023 and 2024: one array per joint of its Unitree H1, read on the character "h1".

Al-Hafez et al., LocoMuJoCo, 2023. `q_<joint>` are coordinates, `dq_<joint>` velocities. The pelvis slides along x, y
and z (pelvis_tx, _tz, _ty, the last from its height at rest), then turns about -y, x and z (pelvis_tilt, _list,
_rotation), each axis carried along by the turns before it. Joints of the recorded person that the robot lacks are in
the files, too.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from motionlib.importers.archives import ZIP_MAGIC, array_names, read_arrays
from motionlib.motion import Motion, MotionError
from poselib import models
from poselib.rotations import quat_from_euler

__all__ = ["FORMAT", "read", "recognizes", "recognizes_file"]

FORMAT = "LocoMuJoCo .npz"

_RATE = 500.0
_REST_HEIGHT = 1.045
"""m, of the pelvis in their model of the H1"""
_PELVIS = ("pelvis_tx", "pelvis_tz", "pelvis_ty", "pelvis_tilt", "pelvis_list", "pelvis_rotation")
_SIDES = (("left", "l"), ("right", "r"))
_JOINTS = {
    "torso_joint": "back_bkz",
    **{f"{side}_hip_yaw_joint": f"hip_rotation_{s}" for side, s in _SIDES},
    **{f"{side}_hip_roll_joint": f"hip_adduction_{s}" for side, s in _SIDES},
    **{f"{side}_hip_pitch_joint": f"hip_flexion_{s}" for side, s in _SIDES},
    **{f"{side}_knee_joint": f"knee_angle_{s}" for side, s in _SIDES},
    **{f"{side}_ankle_joint": f"ankle_angle_{s}" for side, s in _SIDES},
    **{f"{side}_shoulder_pitch_joint": f"{s}_arm_shy" for side, s in _SIDES},
    **{f"{side}_shoulder_roll_joint": f"{s}_arm_shx" for side, s in _SIDES},
    **{f"{side}_shoulder_yaw_joint": f"{s}_arm_shz" for side, s in _SIDES},
    **{f"{side}_elbow_joint": f"{side}_elbow" for side, _ in _SIDES},
}
"""our degrees of freedom to their joints; the axes are the same"""


def recognizes(head: bytes) -> bool:
    """A zip archive."""
    return head.startswith(ZIP_MAGIC)


def recognizes_file(path: Path) -> bool:
    """Coordinates of a pelvis under its names."""
    return {f"q_{name}" for name in _PELVIS} <= array_names(path)


def read(path: Path, *, fps: float | None = None) -> Motion:
    """Read the clip.

    Args:
        path: the file.
        fps: frames per second; without it what the pelvis' way and velocity say, and 500, the rate of the published
            sets, where there are no velocities.

    Raises:
        MotionError: if the file is damaged, or of another robot than the H1.
    """
    joints = (*_PELVIS, *_JOINTS.values())
    content = read_arrays(path, [f"{kind}_{name}" for kind in ("q", "dq") for name in joints])
    if missing := [name for name in joints if f"q_{name}" not in content]:
        raise MotionError(
            f"{path}: of the robots of LocoMuJoCo only the Unitree H1 is read; its joints {missing} are missing"
        )
    lengths = {len(array) if array.ndim == 1 else -1 for array in content.values()}
    if len(lengths) != 1 or lengths == {-1}:
        raise MotionError(f"{path}: want rows of numbers, one per frame and all equally long, found lengths {lengths}")
    angles = {name: torch.from_numpy(content[f"q_{name}"].astype(np.float64)) for name in joints}
    skeleton = models.skeleton("h1")
    x, y, z, tilt, roll, turn = (angles[name] for name in _PELVIS)
    dofs = torch.stack([angles[_JOINTS[name]] for name in skeleton.dof_names], dim=-1)
    rotation = quat_from_euler("YXZ", torch.stack([-tilt, roll, turn], dim=-1))
    return Motion(
        name=path.stem,
        fps=_rate(content) if fps is None else fps,
        body_names=skeleton.body_names,
        parents=skeleton.parents,
        offsets=skeleton.offsets,
        root_positions=torch.stack([x, y, z + _REST_HEIGHT], dim=-1),
        local_rotations=skeleton.local_rotations_from_dofs(dofs, rotation),
        source=f"LocoMuJoCo {path.name}",
    )


def _rate(content: dict[str, np.ndarray]) -> float:
    """Frames per second, from the way forward and its velocity; those of the joints are smoothed."""
    travel, velocity = content["q_pelvis_tx"], content.get("dq_pelvis_tx")
    if velocity is None or len(travel) < 2:
        return _RATE
    steps = np.gradient(travel)
    rate = float(steps @ velocity / max(float(steps @ steps), 1e-30))
    return _RATE if abs(rate / _RATE - 1) < 0.01 else rate
