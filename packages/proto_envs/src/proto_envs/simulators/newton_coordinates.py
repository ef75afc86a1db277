"""Between MuJoCo's generalised coordinates, which Newton's solver steps, and those of Newton's own state."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
import torch
from torch import Tensor

from poselib.rotations import quat_apply

__all__ = ["NewtonCoordinates", "NewtonRows"]

_FREE, _BALL = int(mujoco.mjtJoint.mjJNT_FREE), int(mujoco.mjtJoint.mjJNT_BALL)


@dataclass(frozen=True)
class NewtonRows:
    """Live views of what both keep, a row for each of N environments."""

    qpos: Tensor
    """(N, nq) of MuJoCo, quaternions wxyz"""
    qvel: Tensor
    """(N, nv) of MuJoCo: a free body's origin, world, and its turning in its own frame; a ball's in the child's"""
    joint_q: Tensor
    """(N, nq) of Newton, in the same columns, quaternions xyzw"""
    joint_qd: Tensor
    """(N, nv) of Newton: a free body's centre of mass and its turning, world; a ball's turning in the parent's frame"""
    centers: Tensor
    """(N, bodies, 3) m, centres of mass in the frames of the bodies, without MuJoCo's world body"""


class NewtonCoordinates:
    """Tells Newton of coordinates that were written; after a step both have the same.

    Newton converts its state to MuJoCo's before each step and back after it. The conversion of velocities rounds, so
    that only joints that were written may be told of, or others would not stay as they are bit for bit.
    """

    def __init__(self, model: mujoco.MjModel, rows: NewtonRows) -> None:
        """Find the joints.

        Args:
            model: compiled; its joints are laid out as the solver's.
            rows: what is converted.
        """
        self._rows = rows
        source, device = np.arange(model.nq), rows.qpos.device
        for kind, address in zip(model.jnt_type, model.jnt_qposadr, strict=True):
            if kind in (_FREE, _BALL):
                first = address + (3 if kind == _FREE else 0)
                source[first : first + 4] = np.roll(source[first : first + 4], -1)

        def index(columns: np.ndarray) -> Tensor:
            return torch.as_tensor(columns, dtype=torch.long, device=device)

        def columns(first: np.ndarray, size: int) -> Tensor:
            return index(first.reshape(-1, 1) + np.arange(size))

        free, ball = (np.flatnonzero(model.jnt_type == kind) for kind in (_FREE, _BALL))
        self._source = index(source)
        self._free_bodies = index(model.jnt_bodyid[free] - 1)
        self._free_rotations, self._ball_rotations = (
            columns(model.jnt_qposadr[free] + 3, 4),
            columns(model.jnt_qposadr[ball], 4),
        )
        self._free_linear, self._free_angular = (columns(model.jnt_dofadr[free] + k, 3) for k in (0, 3))
        self._ball_angular = columns(model.jnt_dofadr[ball], 3)
        sizes = np.array([{_FREE: 7, _BALL: 4}.get(kind, 1) for kind in model.jnt_type])
        self._joint_of_q = index(np.repeat(np.arange(model.njnt), sizes))
        self._joint_of_v = index(model.dof_jntid)

    def publish(self, joints: Tensor) -> None:
        """Tell Newton where joints are.

        Args:
            joints: (N, joints) bool, those that were written.
        """
        rows = self._rows
        positions = rows.qpos[:, self._source]
        velocities = rows.qvel.clone()
        rotations = positions[:, self._free_rotations]
        turning = quat_apply(rotations, rows.qvel[:, self._free_angular])
        arms = quat_apply(rotations, rows.centers[:, self._free_bodies])
        velocities[:, self._free_angular] = turning
        velocities[:, self._free_linear] += torch.linalg.cross(turning, arms, dim=-1)
        velocities[:, self._ball_angular] = quat_apply(
            positions[:, self._ball_rotations], rows.qvel[:, self._ball_angular]
        )
        rows.joint_q.copy_(torch.where(joints[:, self._joint_of_q], positions, rows.joint_q))
        rows.joint_qd.copy_(torch.where(joints[:, self._joint_of_v], velocities, rows.joint_qd))
