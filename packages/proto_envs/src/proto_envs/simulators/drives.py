"""The law of the drives: a spring towards the target and a damper, whose sum is bounded by the effort.

torque = clip(stiffness · (target - position) - damping · velocity, ± effort), as PhysX has it (the reference systems'),
in every physics step.

In MuJoCo the damper sits in the joint, where the integrator sees it, implicitly: light limbs need that, for a clipped
torque that is held for a whole step would throw them to and fro. So a drive is three parts: the damper in the joint, an
actuator with the law's torque, and one that gives back what the damper takes. As long as the effort suffices, the last
two leave the spring alone. Where it does not, the effort is left, and the damper, given back, takes no force but still
makes the step stable. The integrator has to be Euler's, whose implicit part is the joints' dampers alone.
"""

from __future__ import annotations

import mujoco
import torch
from torch import Tensor

from proto_envs.robots import Drive, Robot

__all__ = ["DriveLaw", "add_drive", "give_back_damping"]

_NO_GAIN = 1e-9
"""a gain of 0 would be that of a position actuator without stiffness, whose damping MuJoCo takes for a ratio"""


class DriveLaw:
    """Of N robots, for engines that are told torques."""

    def __init__(self, robot: Robot, device: torch.device) -> None:
        """Read the robot's drives; stiffness, damping and effort are (D,)."""
        table = [(drive.stiffness, drive.damping, drive.effort) for drive in robot.dof_drives]
        self.stiffness, self.damping, self.effort = torch.tensor(table, device=device).reshape(-1, 3).T.contiguous()

    def torques(
        self, away: Tensor, velocities: Tensor, stiffness: Tensor | None = None, damping: Tensor | None = None
    ) -> Tensor:
        """What drives exert, (n, D) N m.

        Args:
            away: (n, D) rad from where joints are to where they should be.
            velocities: (n, D) rad/s.
            stiffness: (n, D) N m/rad, the robot's own if left out.
            damping: (n, D) N m s/rad, the robot's own if left out.
        """
        stiffness = self.stiffness if stiffness is None else stiffness
        damping = self.damping if damping is None else damping
        wanted = stiffness * away - damping * velocities
        return torch.minimum(torch.maximum(wanted, -self.effort), self.effort)


def add_drive(spec: mujoco.MjSpec, name: str, target: str, gear: tuple[float, float, float], drive: Drive) -> None:
    """Add the actuator of one degree of freedom, whose joint has the damper: the law's torque."""
    actuator = _actuator(spec, name, target, gear)
    actuator.gainprm = [drive.stiffness] + [0.0] * 9
    actuator.biasprm = [0.0, -drive.stiffness, -drive.damping] + [0.0] * 7
    actuator.forcelimited = mujoco.mjtLimited.mjLIMITED_TRUE
    actuator.forcerange = (-drive.effort, drive.effort)


def give_back_damping(
    spec: mujoco.MjSpec, name: str, target: str, gear: tuple[float, float, float], drive: Drive
) -> None:
    """Add what gives back the force of the joint's damper. All of these come after all drives, in the same order."""
    actuator = _actuator(spec, f"{name}_undamped", target, gear)
    actuator.gainprm = [_NO_GAIN] + [0.0] * 9
    actuator.biasprm = [0.0, 0.0, drive.damping] + [0.0] * 7
    actuator.forcelimited = mujoco.mjtLimited.mjLIMITED_FALSE


def _actuator(spec: mujoco.MjSpec, name: str, target: str, gear: tuple[float, float, float]) -> mujoco.MjsActuator:
    actuator = spec.add_actuator(name=name, target=target, trntype=mujoco.mjtTrn.mjTRN_JOINT)
    actuator.gaintype, actuator.biastype = mujoco.mjtGain.mjGAIN_FIXED, mujoco.mjtBias.mjBIAS_AFFINE
    actuator.gear = [*gear, 0.0, 0.0, 0.0]
    actuator.ctrllimited = mujoco.mjtLimited.mjLIMITED_FALSE
    return actuator
