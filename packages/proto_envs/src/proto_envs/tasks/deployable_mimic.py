"""DeployableMimic: imitate with what a real robot can sense; the critic alone sees the rest (BeyondMimic)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor

from proto_envs.components import deployable, observations, rewards
from proto_envs.components.terms import Components, Kernel, Reward, Termination
from proto_envs.context import Context
from proto_envs.tasks.base import Setup
from proto_envs.tasks.mimic import Mimic

__all__ = ["DeployableMimic"]


@dataclass(frozen=True, kw_only=True)
class DeployableMimic(Mimic):
    """Imitate clips of a motion library without knowing where one is. Beneath is `Mimic`: its reference and actions.

    Observation groups, of which a trainer reads "policy" and "critic":

    - "policy": gravity's direction, angular velocity, joint positions and velocities; at each of `future_steps` the
      reference's joints and how its torso is turned against the robot's; the joint targets commanded last. 349 numbers
      for G1, all of which its computer has.
    - "critic": that, the body's own state in maximal coordinates, how far each body is from its reference in the world,
      and the ground around where it is uneven; for training alone.

    The reference is carried along with the robot (`proto_envs.components.deployable`): drift over the ground costs
    nothing. `failed` is a torso whose height is off by more than `height_distance` (ProtoMotions' success on G1),
    `failed_max_error` any body farther than 0.5 m from the carried reference; `mpjpe_mm` still is that in the world.
    """

    compare: Literal["carried", "world"] = "carried"
    """what rewards compare with: the carried reference (BeyondMimic's rewards), or the one in the world (`rewards`)"""
    future_steps: tuple[int, ...] = (1, 2, 4, 8)
    """control steps ahead at which the policy sees the reference (ProtoMotions 3)"""
    termination_distance: float | None = None
    """m; an episode also fails when any body is farther from its reference in the world. None: never"""
    height_distance: float = 0.25
    """m; an episode fails when the torso, a hand or a foot is higher or lower than the carried reference by more"""
    tilt_distance: float = 0.8
    """an episode fails when the upright component of the torso's own vertical axis is off by more (of a range of 2)"""
    fail_early: bool = True
    """whether the two above end episodes; an evaluation that plays on after failures says no"""
    soft_limits: float = 0.9
    """share of each joint's range, about its middle, beyond which it costs"""

    takes_scenes: ClassVar[bool] = False

    def components(self, setup: Setup) -> Components:
        """What is beneath, with other groups, ends and metrics."""
        beneath = super().components(setup)
        anchor, limbs = self._bodies(setup)
        future: Kernel = partial(deployable.future_joints, anchor=anchor)
        lost = {
            "lost_anchor": Termination(
                partial(deployable.lost_anchor, anchor=anchor, height=self.height_distance, tilt=self.tilt_distance)
            ),
            "lost_limb": Termination(
                partial(deployable.lost_limb, anchor=anchor, bodies=limbs, height=self.height_distance)
            ),
        }
        metrics: dict[str, Kernel] = {
            "mpjpe_carried_mm": partial(mpjpe_carried_mm, anchor=anchor),
            "failed": partial(failed, anchor=anchor, height=self.height_distance),
            "failed_max_error": partial(failed_max_error, anchor=anchor),
        }
        policy: list[Kernel] = [*deployable.SENSES, future, observations.previous_targets]
        privileged = [observations.proprioception, observations.pose_difference, *self.ground_observations(setup)]
        groups: Mapping[str, list[Kernel]] = {"policy": policy, "critic": [*policy, *privileged]}
        return replace(
            beneath,
            observations={**beneath.observations, **groups},
            terminations={**beneath.terminations, **(lost if self.fail_early else {})},
            metrics={**beneath.metrics, **metrics},
            tokens={future: partial(deployable.future_joint_tokens, moments=len(self.future_steps))},
        )

    @property
    def needs_contact_forces(self) -> bool:
        """BeyondMimic's set does not compare contacts."""
        return self.compare == "world" and super().needs_contact_forces

    def _bodies(self, setup: Setup) -> tuple[int, list[int]]:
        """The anchor, and hands and feet."""
        robot = setup.robot
        names = [robot.semantic[role] for role in ("torso", "left_hand", "right_hand", "left_foot", "right_foot")]
        anchor, *limbs = robot.skeleton.body_indices(names)
        return anchor, limbs

    def _rewards(self, setup: Setup) -> dict[str, Reward]:
        if self.compare == "world":
            return super()._rewards(setup)
        r = deployable
        anchor, _ = self._bodies(setup)
        limits = setup.robot.skeleton.dof_limits.to(setup.device)
        middle, half = limits.mean(-1, keepdim=True), 0.5 * (limits[:, 1:] - limits[:, :1])
        soft = middle + self.soft_limits * half * torch.tensor([-1.0, 1.0], device=setup.device)
        return {
            "anchor_rotation": Reward(partial(r.anchor_rotation_tracking, anchor=anchor, deviation=0.4), 0.5),
            "position": Reward(partial(r.carried_position_tracking, anchor=anchor, deviation=0.3), 1.0),
            "rotation": Reward(partial(r.carried_rotation_tracking, anchor=anchor, deviation=0.4), 1.0),
            # exp(-mean |error|² / deviation²): the kernels' mean over axes is a third of |error|².
            "velocity": Reward(partial(rewards.velocity_tracking, scale=3.0 / 1.0**2), 1.0),
            "angular_velocity": Reward(partial(rewards.angular_velocity_tracking, scale=3.0 / 3.14**2), 1.0),
            "target_change": Reward(rewards.target_change, -0.1, skip_grace=True),
            "joint_limits": Reward(partial(r.joint_limit_excess, limits=soft), -10.0),
        }


# --- metrics: Context to (N,) ----------------------------------------------------------------------------------------


def mpjpe_carried_mm(ctx: Context, anchor: int) -> Tensor:
    """Mean distance of the bodies from the carried reference, mm."""
    return 1000.0 * deployable.carried_distances(ctx, anchor).mean(-1)


def failed(ctx: Context, anchor: int, height: float) -> Tensor:
    """The torso is too high or too low, bool; a state that is not a number is so, too."""
    return ~(deployable.anchor_height_error(ctx, anchor) <= height)


def failed_max_error(ctx: Context, anchor: int) -> Tensor:
    """Some body is farther than 0.5 m from the carried reference, bool."""
    return ~(deployable.carried_distances(ctx, anchor).amax(-1) <= 0.5)
