"""What the tasks without a reference share: start states, style, falls. Each of them adds its goal."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import partial

import torch
from torch import Tensor

from proto_envs.components import observations, terminations
from proto_envs.components.actions import absolute_targets
from proto_envs.components.control import Control
from proto_envs.components.start import StartStates
from proto_envs.components.style import StyleHistory, style_history
from proto_envs.components.terms import Components, Kernel, Reward, Termination, any_failure
from proto_envs.context import Context
from proto_envs.tasks.base import Setup, Task

__all__ = ["GoalParts", "GoalTask"]


@dataclass(frozen=True, kw_only=True)
class GoalParts:
    """What a task adds to the shared parts."""

    control: Control | None = None
    """gives the goals"""
    observations: tuple[Kernel, ...] = ()
    """the group "goal"; the policy sees it too"""
    rewards: Mapping[str, Reward] = field(default_factory=dict)
    terminations: Mapping[str, Termination] = field(default_factory=dict)
    """beside a fall"""
    success: Kernel
    """(N,) bool, the goal is met at this moment"""
    failed: Kernel
    """(N,) bool, the goal is judged at this moment, and missed; a fall always counts as failed"""
    metrics: Mapping[str, Kernel] = field(default_factory=dict)
    """others, (N,)"""


@dataclass(frozen=True, kw_only=True)
class GoalTask(Task):
    """A goal to be met in the style of clips, where there are clips (AMP), or in any style.

    Observation groups: "policy" (own state and goal), "goal" alone, and "style" where there are motions. Metrics:
    "success" is 1 while the goal is met; "failed" is true where it is judged and missed, so that an episode that never
    failed is a success.
    """

    grace_steps: int = 1
    """steps after a reset in which no termination counts"""
    rest_share: float = 0.0
    """share of episodes that begin at rest, in the default pose; the others begin at a moment of a clip, if there are
    clips"""
    style_steps: tuple[int, ...] = tuple(range(10))
    """control steps back that the group "style" shows (AMP: the ten latest)"""
    fall_height: float | None = 0.15
    """m; an episode fails when a body other than a foot touches the ground lower than this (None: never)"""
    head_fall_height: float = 0.3
    """m, the same for the head"""

    def __post_init__(self) -> None:
        """Refuse ranges that are upside down as well.

        Raises:
            ValueError: naming the field.
        """
        super().__post_init__()
        for entry in fields(self):
            value = getattr(self, entry.name)
            numbers = [part for part in value if isinstance(part, (int, float))] if isinstance(value, tuple) else []
            if numbers != sorted(numbers):
                what = f"task {type(self).__name__}: {entry.name}"
                raise ValueError(f"{what} must grow from low to high, got {value}")

    @abstractmethod
    def goal(self, setup: Setup) -> GoalParts:
        """The task's own parts."""

    @property
    def needs_contact_forces(self) -> bool:
        """A fall is a contact."""
        return self.fall_height is not None

    def start_states(self, setup: Setup) -> StartStates:
        """Where episodes begin."""
        return StartStates(setup.robot, setup.num_envs, setup.device, setup.motions, others_share=self.rest_share)

    def components(self, setup: Setup) -> Components:
        """Start states, own state and goal to the policy, style of the clips, falls, and the task's own parts."""
        goal = self.goal(setup)
        start = self.start_states(setup)
        controls: dict[str, Control] = {"start": start}
        groups: dict[str, list[Kernel]] = {
            "policy": [observations.proprioception, *self.ground_observations(setup), *goal.observations]
        }
        sample = None
        if setup.motions is not None:
            style = StyleHistory(setup.robot, setup.num_envs, setup.dt, setup.motions, start, steps=self.style_steps)
            controls["style"], groups["style"], sample = style, [style_history], style.sample
        if goal.control is not None:
            controls["goal"] = goal.control
        if goal.observations:
            groups["goal"] = list(goal.observations)
        ends = {**self._falls(setup), **goal.terminations}
        return Components(
            observations=groups,
            rewards=goal.rewards,
            terminations=ends,
            metrics={
                "success": partial(_success, met=goal.success),
                "failed": partial(_failed, missed=goal.failed, falls=self._falls(setup), grace=self.grace_steps),
                **goal.metrics,
            },
            controls=controls,
            action=absolute_targets(setup.robot, setup.device),
            sample_style=sample,
            style_clips=() if setup.motions is None else tuple(setup.motions.names),
        )

    def _falls(self, setup: Setup) -> dict[str, Termination]:
        if self.fall_height is None:
            return {}
        robot = setup.robot
        names = [name for name in robot.skeleton.body_names if name not in robot.contacts_allowed]
        head = robot.semantic.get("head")
        heights = [self.head_fall_height if name == head else self.fall_height for name in names]
        kernel = partial(
            terminations.fallen,
            bodies=robot.skeleton.body_indices(names),
            height=torch.tensor(heights, device=setup.device),
        )
        return {"fall": Termination(kernel)}


def _success(ctx: Context, met: Kernel) -> Tensor:
    return met(ctx).float()


def _failed(ctx: Context, missed: Kernel, falls: Mapping[str, Termination], grace: int) -> Tensor:
    fallen = any_failure(falls, ctx) & (ctx.steps > grace)
    lost = ~torch.isfinite(ctx.state.body_positions[:, 0]).all(-1)
    return missed(ctx) | fallen | lost
