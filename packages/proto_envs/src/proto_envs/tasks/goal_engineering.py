"""Controllers made by hand for MaskedMimic: what is commanded, what is asked of the policy, and what counts.

Each is a task of its own beneath (commands, falls, metrics, and a reward that none of this needs, for comparison), with
the numbers of ProtoMotions 1, and a controller that turns its commands into sparse goals. Facing alone is judged in
steering and speed, as there; the error of the speed is a metric.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from proto_envs.components.captions import label_embedding
from proto_envs.components.control import Control
from proto_envs.components.engineered.objects import ObjectGoals
from proto_envs.components.engineered.path import PathGoals
from proto_envs.components.engineered.reach import ReachGoals
from proto_envs.components.engineered.steering import SteeringGoals
from proto_envs.components.engineered.story import Chapter, StoryGoals, chapter_at
from proto_envs.components.engineered.user import UserGoals, read_script
from proto_envs.components.paths import PathFollower
from proto_envs.components.reaching import ReachTargets
from proto_envs.components.scenery import Scenery
from proto_envs.components.sparse_goals import EngineeredGoals, SparseShape
from proto_envs.components.steering import SteeringCommand
from proto_envs.components.terms import Components, Kernel, Reward
from proto_envs.context import Context, given
from proto_envs.tasks.base import Setup
from proto_envs.tasks.facing import Facing, facing_error
from proto_envs.tasks.goal_task import GoalParts, GoalTask
from proto_envs.tasks.path_follow import PathFollow
from proto_envs.tasks.reach import Reach
from proto_envs.tasks.scene import Scene
from proto_envs.tasks.steering import misses
from proto_envs.tasks.style import alive, never, upright

__all__ = ["ENGINEERED", "Drive", "Sit", "Story", "drive_path", "drive_reach", "drive_steering", "engineered"]

Drive = Callable[[GoalTask, Setup, SparseShape, Control | None], EngineeredGoals]
"""makes the controller of a task; the last argument is the task's control "goal", which commands"""


@dataclass(frozen=True, kw_only=True)
class Turning(Facing):
    """Walk one way and face another; judged by the facing."""

    judged_after: float = 2.0
    """s"""

    def goal(self, setup: Setup) -> GoalParts:
        """As `Facing`, with another success."""
        faces = partial(facing_within, tolerance=self.facing_tolerance)
        missed = partial(misses, follows=faces, after=self.judged_after)
        return replace(super().goal(setup), success=faces, failed=missed)


@dataclass(frozen=True, kw_only=True)
class Speeding(Turning):
    """Walk and face the same way at a speed from a wide range; judged by the facing."""

    def goal(self, setup: Setup) -> GoalParts:
        """As `Turning`, facing the commanded direction."""
        faces = partial(course_within, tolerance=self.facing_tolerance)
        missed = partial(misses, follows=faces, after=self.judged_after)
        parts = super().goal(setup)
        rewards = {"follow_command": replace(parts.rewards["follow_command"], weight=1.0)}
        metrics = {"speed_error": parts.metrics["speed_error"], "facing_error": course_error}
        return replace(parts, success=faces, failed=missed, rewards=rewards, metrics=metrics)


@dataclass(frozen=True, kw_only=True)
class Story(GoalTask):
    """One controller after the other; what counts is what counts for the present one."""

    chapters: tuple[tuple[str, float], ...] = (("steering", 4.0), ("reach", 4.0), ("path", 4.0))
    """names, and s that each lasts; the last goes on"""

    def goal(self, setup: Setup) -> GoalParts:
        """Nothing of its own: the chapters have it."""
        return GoalParts(rewards={}, success=upright, failed=never)


@dataclass(frozen=True, kw_only=True)
class Told(GoalTask):
    """Do what a person says; judged by falls alone."""

    script: str = ""
    """JSON file of timed commands (`proto_envs.components.engineered.user`)"""

    def goal(self, setup: Setup) -> GoalParts:
        """No goal that could be missed."""
        return GoalParts(rewards={"alive": Reward(alive)}, success=upright, failed=never)


@dataclass(frozen=True, kw_only=True)
class Sit(Scene):
    """Walk to something and sit down on it."""

    distance: tuple[float, float] = (2.0, 10.0)
    """m on the ground from the root to the rim of the scene, shortest and longest"""
    near_share: float = 0.0
    text: str = ""
    """label of the motions that is told on the way, such as "the person walks normally"; none if empty"""

    def goal(self, setup: Setup) -> GoalParts:
        """As `Scene`.

        Raises:
            ValueError: for another mode than to sit.
        """
        if self.mode != "sit":
            raise ValueError(f"goal 'object': mode {self.mode!r}; there is only 'sit'")
        return super().goal(setup)


@dataclass(frozen=True)
class Engineered:
    """A kind of command, and who turns it into goals."""

    task: type[GoalTask]
    numbers: Mapping[str, Any]
    """fields of the task that differ from its defaults"""
    drive: Drive


def engineered(
    name: str, options: Mapping[str, Any], episode_seconds: float, setup: Setup, shape: SparseShape
) -> tuple[Components, EngineeredGoals]:
    """The components of a controller's task, and the controller.

    Args:
        name: "story", or one of `ENGINEERED`.
        options: fields of the task to override.
        episode_seconds: of the episodes.
        setup: the environment.
        shape: of the goals.

    Raises:
        TypeError, ValueError: for options that the task does not have, or that make no sense.
    """
    if name == "story":
        return _story(Story.configured({"episode_seconds": episode_seconds, **options}), setup, shape)
    entry = ENGINEERED[name]
    task = entry.task.configured({"episode_seconds": episode_seconds, **entry.numbers, **options})
    beneath = _without_style(task.components(setup))
    return beneath, entry.drive(task, setup, shape, beneath.controls.get("goal"))


def _without_style(parts: Components) -> Components:
    return replace(parts, controls={name: control for name, control in parts.controls.items() if name != "style"})


def _story(story: Story, setup: Setup, shape: SparseShape) -> tuple[Components, EngineeredGoals]:
    names = [name for name, _ in story.chapters]
    if not names or not set(names) <= set(_CHAPTERS) or {"steering", "speed"} <= set(names):
        raise ValueError(
            f"story chapters {names}: want at least one of {list(_CHAPTERS)}, and not both steering and speed"
        )
    if not all(0.0 < seconds < math.inf for _, seconds in story.chapters):
        raise ValueError(f"story chapters {story.chapters}: each must last longer than 0 s")
    built = {name: engineered(name, {}, story.episode_seconds, setup, shape) for name in dict.fromkeys(names)}
    commands = {name: parts.controls["goal"] for name, (parts, _) in built.items()}
    chapters = [Chapter(built[name][1], commands[name], seconds) for name, seconds in story.chapters]
    goals = StoryGoals(shape, setup.num_envs, setup.dt, setup.device, chapters)
    beneath = _without_style(story.components(setup))
    told = [list(built).index(name) for name in names]

    def current(kernels: list[Kernel]) -> Kernel:
        return partial(current_chapter, kernels=kernels, told=told, ends=goals.ends)

    parts = [part for part, _ in built.values()]
    judged = {key: current([part.metrics[key] for part in parts]) for key in ("success", "failed")}
    others = {key: kernel for part in parts for key, kernel in part.metrics.items() if key not in judged}
    reward = current([partial(weighted_sum, rewards=part.rewards) for part in parts])
    controls = {**beneath.controls, **commands}
    return replace(beneath, rewards={"story": Reward(reward)}, metrics=judged | others, controls=controls), goals


def drive_reach(task: GoalTask, setup: Setup, shape: SparseShape, command: Control | None) -> EngineeredGoals:
    """The hand at its point when it is judged."""
    assert isinstance(task, Reach) and isinstance(command, ReachTargets)
    place = (shape, setup.num_envs, setup.dt, setup.device)
    return ReachGoals(*place, command, hand=task.hand, due=task.judged_after)


def drive_path(task: GoalTask, setup: Setup, shape: SparseShape, command: Control | None) -> EngineeredGoals:
    """The head on the path."""
    assert isinstance(command, PathFollower)
    return PathGoals(shape, setup.num_envs, setup.dt, setup.device, command)


def drive_steering(task: GoalTask, setup: Setup, shape: SparseShape, command: Control | None) -> EngineeredGoals:
    """The pelvis on its way, facing as commanded; along its way where the task has no say in that."""
    assert isinstance(command, SteeringCommand)
    along = isinstance(task, Speeding) or not isinstance(task, Facing)
    return SteeringGoals(shape, setup.num_envs, setup.dt, setup.device, command, along=along)


def _drive_user(task: GoalTask, setup: Setup, shape: SparseShape, command: Control | None) -> EngineeredGoals:
    assert isinstance(task, Told)
    script = read_script(task.script) if task.script else ()
    return UserGoals(shape, setup.num_envs, setup.dt, setup.device, setup.motions, script)


def _drive_object(task: GoalTask, setup: Setup, shape: SparseShape, command: Control | None) -> EngineeredGoals:
    assert isinstance(task, Sit) and isinstance(command, Scenery)
    text = label_embedding(setup.motions, shape.text_size, task.text) if task.text else None
    return ObjectGoals(shape, setup.num_envs, setup.dt, setup.device, command, text=text)


_STEERING = {"hold": (6.63, 6.67), "fresh_share": 1.0, "stop_share": 0.0}

ENGINEERED: Mapping[str, Engineered] = {
    "reach": Engineered(Reach, {"success_distance": 0.5}, drive_reach),
    "path": Engineered(PathFollow, {}, drive_path),
    "steering": Engineered(Turning, {**_STEERING, "speed": (1.5, 1.6)}, drive_steering),
    "speed": Engineered(Speeding, {**_STEERING, "speed": (0.0, 5.0)}, drive_steering),
    "object": Engineered(Sit, {}, _drive_object),
    "user": Engineered(Told, {}, _drive_user),
}
"""name to the task beneath and the controller"""

_CHAPTERS = ("reach", "path", "steering", "speed")
"""what a story can be made of: all that are commanded"""


# --- kernels: Context to (N,) ----------------------------------------------------------------------------------------


def facing_within(ctx: Context, tolerance: float) -> Tensor:
    """The root faces where it should, give or take `tolerance` rad, (N,) bool."""
    return facing_error(ctx) <= tolerance


def course_error(ctx: Context) -> Tensor:
    """Angle between the root's heading and the direction to walk, rad, (N,)."""
    x, y = ctx.in_heading(given(ctx.steering).direction).unbind(-1)
    return torch.atan2(y, x).abs()


def course_within(ctx: Context, tolerance: float) -> Tensor:
    """The root faces where it should walk, give or take `tolerance` rad, (N,) bool."""
    return course_error(ctx) <= tolerance


def weighted_sum(ctx: Context, rewards: Mapping[str, Reward]) -> Tensor:
    """The rewards of a task, (N,)."""
    return torch.stack([term.weight * term.kernel(ctx) for term in rewards.values()]).sum(0)


def current_chapter(ctx: Context, kernels: list[Kernel], told: list[int], ends: Tensor) -> Tensor:
    """What the kernel of the present chapter says, (N,).

    Args:
        ctx: the moment after a step, which is judged by the chapter before it.
        kernels: of the chapters that differ.
        told: (P,) which of them each chapter has.
        ends: (P,) control steps after which each chapter is over.
    """
    values = torch.stack([kernel(ctx) for kernel in kernels])
    chapter = chapter_at((ctx.steps - 1).clamp_min(0), ends)
    chosen = torch.tensor(told, device=chapter.device)[chapter]
    return values.gather(0, chosen.unsqueeze(0)).squeeze(0)
