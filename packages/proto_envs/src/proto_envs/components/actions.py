"""What an action means: maps from the policy's numbers in [-1, 1] to joint targets in rad."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from poselib.rotations import quat_multiply
from proto_envs.components.control import MotionReference
from proto_envs.robots import Robot

__all__ = ["ActionMap", "absolute_actions", "absolute_targets", "reference_offsets"]

ActionMap = Callable[[Tensor], Tensor]
"""(N, D) in [-1, 1] to (N, D) rad"""


def absolute_targets(robot: Robot, device: torch.device) -> ActionMap:
    """Target = offset + scale · action, as in AMP and ProtoMotions: the whole range of each joint within [-1, 1].

    A ball's rotation vector is cut to length pi: a longer one would mean a turn the other way round.
    """
    offset, scale = robot.action_offset.to(device), robot.action_scale.to(device)
    balls = torch.tensor(robot.skeleton.ball_dofs, dtype=torch.long, device=device).reshape(-1, 3)

    def apply(actions: Tensor) -> Tensor:
        targets = offset + scale * actions
        vectors = targets[:, balls]
        length = vectors.norm(dim=-1, keepdim=True)
        targets[:, balls] = vectors * (math.pi / length.clamp_min(math.pi))
        return targets

    return apply


def absolute_actions(robot: Robot, device: torch.device) -> Callable[[Tensor], Tensor]:
    """The inverse of `absolute_targets`: joint targets (N, D) rad to the actions (N, D) that command them.

    A target beyond what `absolute_targets` reaches is clamped to it, each degree of freedom by itself.
    """
    offset, scale = robot.action_offset.to(device), robot.action_scale.to(device)

    def apply(targets: Tensor) -> Tensor:
        return ((targets - offset) / scale).clamp(-1.0, 1.0)

    return apply


def reference_offsets(robot: Robot, reference: MotionReference, scale: float, lead: float) -> ActionMap:
    """Target = next reference pose, turned in each joint's own frame by scale · action (rad).

    A position drive with damping lags its target by damping/stiffness seconds; `lead` = 1 makes up for that by turning
    the target on by the reference's joint velocity times that lag.
    """
    skeleton = robot.skeleton
    lag = (lead * robot.damping_ratio).to(reference.starts.device)

    def apply(actions: Tensor) -> Tensor:
        goal, goal_velocities = reference.joints_at(reference.dt)
        turn = skeleton.local_rotations_from_dofs(scale * actions + lag * goal_velocities)
        return skeleton.dofs_from_local_rotations(quat_multiply(goal, turn))

    return apply
