"""Between the project's conventions and the generalised coordinates of MuJoCo's engines, on the CPU or a GPU."""

from __future__ import annotations

from collections.abc import Callable

import mujoco
import numpy as np
import torch
from torch import Tensor

from poselib.kinematics import forward_kinematics, velocities_from_joints
from poselib.rotations import (
    exp_map_from_quat,
    quat_apply,
    quat_apply_inverse,
    quat_difference,
    quat_from_exp_map,
    wxyz_from_xyzw,
    xyzw_from_wxyz,
)
from proto_envs.context import ResetState, RobotState
from proto_envs.robots import Robot
from proto_envs.simulators.mjcf import JointLayout

__all__ = ["Coordinates", "read_robot"]


class Coordinates:
    """Reads and writes rows of qpos (n, nq) and qvel (n, nv) of a compiled `physics_spec`, in any precision."""

    def __init__(self, robot: Robot, model: mujoco.MjModel, device: torch.device) -> None:
        """Find the robot's joints.

        Args:
            robot: that the model was made of.
            model: compiled.
            device: where rows will be.
        """
        self.layout = layout = JointLayout.of(robot, model)

        def index(columns: object) -> Tensor:
            return torch.as_tensor(columns, dtype=torch.long, device=device)

        self._hinge_dofs, self._hinge_qpos = index(layout.hinge_dofs), index(layout.hinge_qpos)
        self._ball_bodies, self._ball_dofs = index(layout.ball_bodies), index(layout.ball_dofs)
        self._ball_qpos, self._dof_qvel = index(layout.ball_qpos), index(layout.dof_qvel)
        self._skeleton = skeleton = robot.skeleton
        axes = [skeleton.joints[b].axes for b in layout.ball_bodies]
        self._ball_axes = torch.tensor(axes, dtype=torch.float32, device=device).reshape(-1, 3, 3)
        """(J, 3, 3) axis of each degree of freedom of each ball, in the frame of its body"""
        self._axes_are_xyz = bool((self._ball_axes == torch.eye(3, device=device)).all())
        self._find_columns(model)

    def setpoints(self, targets: Tensor, qpos: Tensor) -> Tensor:
        """Actuator set-points (n, D) for joint targets (n, D) rad, when joints are at `qpos`.

        A ball's three position actuators pull towards `ctrl - log(q)`, component by component. With
        `ctrl = log(q) + log(q^-1 exp(target))` that is the geodesic from where the joint is to where it should go:
        stable and without gimbal lock at any size of target.
        """
        if not len(self._ball_bodies):
            return targets
        now = xyzw_from_wxyz(qpos[:, self._ball_qpos].float())
        target = targets[:, self._ball_dofs]
        if not self._axes_are_xyz:
            target = torch.einsum("njd,jdk->njk", target, self._ball_axes)
        turn = exp_map_from_quat(quat_difference(now, quat_from_exp_map(target)))
        control = exp_map_from_quat(now) + turn
        if not self._axes_are_xyz:
            control = torch.einsum("njk,jdk->njd", control, self._ball_axes)
        result = targets.clone()
        result[:, self._ball_dofs] = control
        return result

    def dof_positions(self, qpos: Tensor) -> Tensor:
        """(n, D) rad, float32."""
        qpos = qpos.float()
        result = qpos.new_empty(len(qpos), self._skeleton.num_dofs)
        result[:, self._hinge_dofs] = qpos[:, self._hinge_qpos]
        vectors = exp_map_from_quat(xyzw_from_wxyz(qpos[:, self._ball_qpos]))
        result[:, self._ball_dofs] = torch.einsum("njk,jdk->njd", vectors, self._ball_axes)
        return result

    def dof_velocities(self, qvel: Tensor) -> Tensor:
        """(n, D) rad/s, float32."""
        velocities = qvel.float()[:, self._dof_qvel]
        if not self._axes_are_xyz:
            balls = velocities[:, self._ball_dofs]
            velocities[:, self._ball_dofs] = torch.einsum("njk,jdk->njd", balls, self._ball_axes)
        return velocities

    def bodies(self, qpos: Tensor, qvel: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Poses and velocities of bodies in the world, float32: (n, B, 3) m, (n, B, 4), (n, B, 3) m/s and rad/s."""
        # Column by column, as kinematics goes on to work: one gather puts all components in their places.
        places, rates = qpos.float().T.contiguous(), qvel.float().T.contiguous()
        half = 0.5 * places.index_select(0, self._hinge_qpos)
        hinges = torch.cat([self._hinge_axes * torch.sin(half), torch.cos(half).unsqueeze(0)]).flatten(0, 1)
        turning = (self._hinge_axes * rates.index_select(0, self._hinge_qvel)).flatten(0, 1)
        constants = torch.cat([torch.zeros_like(places[:1]), torch.ones_like(places[:1])])
        local = _columns([places, hinges, constants], self._rotation_columns)
        joints = _columns([rates, turning, constants], self._turning_columns)
        root, turns = places[:3].T, quat_apply(local[:, 0], rates[3:6].T)
        poses = forward_kinematics(self._skeleton, root, local)
        return *poses, *velocities_from_joints(self._skeleton, *poses, rates[:3].T, turns, joints)

    def _find_columns(self, model: mujoco.MjModel) -> None:
        """Where `bodies` finds rotations (4, B) and turning (3, B), after it has added hinges, a 0 and a 1."""
        skeleton, layout = self._skeleton, self.layout
        device = self._ball_axes.device
        hinge_bodies = [skeleton.dof_bodies[dof] for dof in layout.hinge_dofs]
        hinges = len(hinge_bodies)
        axes = [skeleton.joints[body].axes[0] for body in hinge_bodies]
        self._hinge_axes = torch.tensor(axes, dtype=torch.float32, device=device).reshape(-1, 3).T.unsqueeze(-1)
        """(3, H, 1)"""
        self._hinge_qvel = torch.as_tensor(layout.dof_qvel[layout.hinge_dofs], device=device)
        rotations = np.full((4, skeleton.num_bodies), model.nq + 4 * hinges)
        rotations[3] += 1  # fixed bodies do not turn
        rotations[:, 0] = 4, 5, 6, 3
        rotations[:, layout.ball_bodies] = layout.ball_qpos[:, [1, 2, 3, 0]].T
        rotations[:, hinge_bodies] = model.nq + np.arange(4 * hinges).reshape(4, hinges)
        turning = np.full((3, skeleton.num_bodies), model.nv + 3 * hinges)
        turning[:, layout.ball_bodies] = layout.dof_qvel[layout.ball_dofs].T
        turning[:, hinge_bodies] = model.nv + np.arange(3 * hinges).reshape(3, hinges)
        self._rotation_columns = torch.as_tensor(rotations, device=device)
        self._turning_columns = torch.as_tensor(turning, device=device)

    def write(self, state: ResetState, qpos: Tensor, qvel: Tensor) -> None:
        """Put robots into a state, in rows `qpos` and `qvel` whose other columns stay."""
        root, precision = state.local_rotations[:, 0], qpos.dtype
        qpos[:, :3] = state.root_position
        qpos[:, 3:7] = wxyz_from_xyzw(root)
        qpos[:, self._hinge_qpos] = state.dof_positions[:, self._hinge_dofs].to(precision)
        qpos[:, self._ball_qpos] = wxyz_from_xyzw(state.local_rotations[:, self._ball_bodies]).to(precision)
        qvel[:, :3] = state.root_velocity
        qvel[:, 3:6] = quat_apply_inverse(root, state.root_angular_velocity)
        velocities = state.dof_velocities.to(precision)
        if not self._axes_are_xyz:
            velocities = velocities.clone()
            balls = velocities[:, self._ball_dofs]
            velocities[:, self._ball_dofs] = torch.einsum("njd,jdk->njk", balls, self._ball_axes.to(precision))
        qvel[:, self._dof_qvel] = velocities


def _columns(parts: list[Tensor], table: Tensor) -> Tensor:
    """Columns (W, n) that `table` (C, B) names, as (n, B, C), component by component in memory."""
    return torch.cat(parts).index_select(0, table.flatten()).unflatten(0, table.shape).permute(2, 1, 0)


def read_robot(
    positions: Tensor, rotations: Tensor, spatial: Tensor, com: Tensor, joint_level: Callable[[str], Tensor]
) -> RobotState:
    """State of robots from what MuJoCo computes of their bodies.

    Args:
        positions: (n, B, 3) m.
        rotations: (n, B, 4) wxyz.
        spatial: (n, B, 6) angular and linear velocity, taken at the centre of mass of the whole figure.
        com: (n, 3) m, that centre.
        joint_level: gives joint-level fields by name.
    """
    angular = spatial[..., :3]
    # Carry the velocity from the centre of mass to each body's origin.
    velocities = spatial[..., 3:] + torch.linalg.cross(angular, positions - com.unsqueeze(1), dim=-1)
    return RobotState(positions, xyzw_from_wxyz(rotations), velocities, angular, joint_level)
