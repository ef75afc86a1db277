"""The law of the drives: a spring towards the target and a damper, whose sum is bounded by the effort.

torque = clip(stiffness · (target - position) - damping · velocity, ± effort), as PhysX has it (the reference systems').
MuJoCo could only clip the spring, for the damper has to sit in the joint, where the implicit integrator sees it. But a
spring clipped alone turns no joint faster than effort / damping, 3 rad/s at the AMP humanoid's knees, and no one runs
like that. So it is the set-point that is bounded, once per control step: the spring may pull with what the damper
takes, and the effort more.
"""

from __future__ import annotations

import torch
from torch import Tensor

from proto_envs.robots import Robot
from proto_envs.simulators.parameters import Parameters

__all__ = ["DriveLaw"]


class DriveLaw:
    """Of N robots, whose stiffness and damping may differ."""

    def __init__(self, robot: Robot, device: torch.device, parameters: Parameters | None = None) -> None:
        """Read the robot's drives.

        Args:
            robot: that has them.
            device: of all tensors.
            parameters: where factors of "stiffness" and "damping" are looked up; None: they stay 1.
        """
        table = [(drive.stiffness, drive.damping, drive.effort) for drive in robot.dof_drives]
        self._stiffness, self._damping, self.effort = torch.tensor(table, device=device).reshape(-1, 3).T.contiguous()
        self._parameters = parameters

    @property
    def stiffness(self) -> Tensor:
        """(D,) or (N, D) N m/rad, as it is now."""
        return self._now("stiffness", self._stiffness)

    @property
    def damping(self) -> Tensor:
        """(D,) or (N, D) N m s/rad, as it is now."""
        return self._now("damping", self._damping)

    def bounded(self, away: Tensor, velocities: Tensor) -> Tensor:
        """How far off its end each spring is to be pulled, (N, D) rad.

        Args:
            away: (N, D) rad from where joints are to where they should be.
            velocities: (N, D) rad/s of the joints.
        """
        stiffness = self.stiffness
        lead, reach = velocities * (self.damping / stiffness), self.effort / stiffness
        return torch.minimum(torch.maximum(away, lead - reach), lead + reach)

    def torques(self, springs: Tensor, velocities: Tensor, ids: Tensor | None = None) -> Tensor:
        """What drives exert, (n, D) N m, by what their springs do.

        Args:
            springs: (n, D) N m.
            velocities: (n, D) rad/s.
            ids: (n,) the robots; None for all.
        """
        damping = self.damping
        if ids is not None and damping.dim() > 1:
            damping = damping[ids]
        return springs - damping * velocities

    def _now(self, name: str, own: Tensor) -> Tensor:
        factor = None if self._parameters is None else self._parameters.changed(name)
        return own if factor is None else own * factor.float()
