"""Strike: walk up to a target that stands on the ground and knock it over with the hand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from poselib.anatomy import anatomy_of
from poselib.rotations import rotation_6d_from_quat
from poselib.skeleton import Skeleton
from proto_envs.components.striking import STRIKE_TARGET, StrikeTarget, uprightness
from proto_envs.components.terms import Kernel, Reward, Termination
from proto_envs.context import Context, given
from proto_envs.robots import Robot
from proto_envs.scenes import Scene
from proto_envs.tasks.base import Setup
from proto_envs.tasks.goal_task import GoalParts, GoalTask

__all__ = ["Strike"]


@dataclass(frozen=True, kw_only=True)
class Strike(GoalTask):
    """Knock a box on a post over; numbers of Task Tokens.

    Touching the target with anything but the striking forearm and hand while it stands ends the episode. (Task Tokens
    ends it when such a body touches anything while anything touches the target; and it goes on to do so when the target
    lies, in the way of the feet.)
    """

    striking: tuple[str, ...] = ()
    """bodies that may strike; empty: the right forearm and all that hangs on it"""
    distance: tuple[float, float] = (0.5, 10.0)
    """m from the root to the target on the ground, shortest and longest"""
    near_share: float = 0.5
    """of the episodes in which the target is near"""
    near_distance: float = 1.5
    """m, longest distance of a near one"""
    approach_speed: float = 1.0
    """m/s towards the target, from which on there is no more reward for speed"""
    success_up: float = 0.2
    """vertical part of the target's own upright axis below which it is down"""
    touch: float = 1.0
    """N from which on a body touches the target"""

    clips: ClassVar[tuple[str, ...]] = ("walk", "run", "punch")

    @property
    def scenes(self) -> tuple[Scene, ...]:
        """The target."""
        return (STRIKE_TARGET,)

    @property
    def needs_object_forces(self) -> bool:
        """A foul is a touch of the target."""
        return True

    def goal(self, setup: Setup) -> GoalParts:
        """0.6 for a target that leans, 0.4 for going there; all of it once the target is down.

        Raises:
            ValueError: where no body is known to strike.
        """
        end = round(self.episode_seconds / setup.dt)
        allowed = setup.robot.skeleton.body_indices(self.striking) if self.striking else _forearm(setup.robot)
        others = [body for body in range(setup.robot.skeleton.num_bodies) if body not in allowed]
        lies = partial(down, up=self.success_up)
        wrong = partial(foul, bodies=others, down=lies, force=self.touch)
        return GoalParts(
            control=StrikeTarget(distance=self.distance, near_share=self.near_share, near_distance=self.near_distance),
            observations=(target_state,),
            rewards={
                "tilt": Reward(partial(tilt, down=lies), 0.6),
                "approach": Reward(partial(approach, down=lies, speed=self.approach_speed), 0.4),
            },
            terminations={"foul": Termination(wrong)},
            success=lies,
            failed=partial(misses, down=lies, foul=wrong, end=end),
            metrics={"target_distance": target_distance},
        )


def _forearm(robot: Robot) -> list[int]:
    """The right forearm and all that hangs on it."""
    part = anatomy_of(robot.skeleton, bodies=dict(robot.parts)).parts.get("right_elbow")
    if part is None:
        raise ValueError(f"task Strike: robot {robot.name} has no right elbow; say which bodies strike: striking=(...)")
    return _descendants(robot.skeleton, part.body)


def _descendants(skeleton: Skeleton, body: int) -> list[int]:
    found = [body]
    for other, parent in enumerate(skeleton.parents):
        if parent in found:
            found.append(other)
    return found


# --- kernels: Context to (N, F) or (N,) ------------------------------------------------------------------------------


def target_state(ctx: Context) -> Tensor:
    """The target in the heading frame, (N, 15).

    Place against the root 2, height over the ground below the root 1, orientation 6, velocity 3, angular velocity 3.
    """
    objects = given(ctx.objects)
    offset = objects.positions[:, 0] - ctx.state.body_positions[:, 0]
    height = objects.positions[:, 0, 2] - ctx.ground_height
    place = torch.cat([offset[:, :2], height.unsqueeze(-1)], dim=-1)
    axes = rotation_6d_from_quat(objects.rotations[:, 0]).unflatten(-1, (2, 3))
    speeds = torch.stack([objects.velocities[:, 0], objects.angular_velocities[:, 0]], dim=1)
    return ctx.in_heading(torch.cat([place.unsqueeze(1), axes, speeds], dim=1)).flatten(1)


def tilt(ctx: Context, down: Kernel) -> Tensor:
    """How far the target leans, (N,) in [0, 2]: 0 upright, 1 lying or down."""
    lean = (1.0 - uprightness(ctx)).clamp_min(0.0)
    return torch.where(down(ctx), torch.ones_like(lean), lean)


def approach(ctx: Context, down: Kernel, speed: float) -> Tensor:
    """exp(-4 (1 - v / speed)²) of the root's speed v towards the target up to `speed`, 0 for going away, (N,).

    1 where the target is down.
    """
    offset = (given(ctx.objects).positions[:, 0] - ctx.state.body_positions[:, 0])[:, :2]
    direction = offset / offset.norm(dim=-1, keepdim=True).clamp_min(1e-6)
    towards = (ctx.state.body_velocities[:, 0, :2] * direction).sum(-1)
    reward = torch.exp(-4.0 * (1.0 - towards / speed).clamp_min(0.0).square()).masked_fill(towards <= 0.0, 0.0)
    return torch.where(down(ctx), torch.ones_like(reward), reward)


def down(ctx: Context, up: float) -> Tensor:
    """The target's own upright axis has a vertical part below `up`, (N,) bool."""
    return uprightness(ctx) < up


def foul(ctx: Context, bodies: list[int], down: Kernel, force: float) -> Tensor:
    """One of `bodies` pushes the standing target by more than `force` N, (N,) bool."""
    pushes = given(given(ctx.objects).robot_forces)[:, 0, bodies].norm(dim=-1)
    return (pushes > force).any(-1) & ~down(ctx)


def misses(ctx: Context, down: Kernel, foul: Kernel, end: int) -> Tensor:
    """A foul, or the end of the episode after `end` steps with a standing target, (N,) bool."""
    return foul(ctx) | ((ctx.steps >= end) & ~down(ctx))


def target_distance(ctx: Context) -> Tensor:
    """Distance on the ground from the root to the target, m, (N,)."""
    return (given(ctx.objects).positions[:, 0] - ctx.state.body_positions[:, 0])[:, :2].norm(dim=-1)
