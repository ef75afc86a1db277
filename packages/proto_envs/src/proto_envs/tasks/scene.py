"""Scene: sit down on something, touch something, or carry something to a place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor

from proto_envs.components.objects import (
    Which,
    bounding_boxes,
    object_velocities,
    on_target,
    point_clouds,
    target_pose,
    target_surface,
)
from proto_envs.components.scenery import SceneryAround
from proto_envs.components.terms import Kernel, Reward
from proto_envs.context import Context, given
from proto_envs.robots import Robot
from proto_envs.scenes import Scene as SceneOfObjects
from proto_envs.scenes import SceneBatch, make_scenes
from proto_envs.tasks.base import Setup
from proto_envs.tasks.goal_task import GoalParts, GoalTask

__all__ = ["Scene"]

_SAMPLES = {"sit": ("chair", "armchair", "stool", "sofa"), "reach": ("table", "lever"), "carry": ("crates",)}
"""scenes of each mode unless others are given"""

Point = Callable[[Context], Tensor]
"""Context to (N, 3) m, world"""


@dataclass(frozen=True, kw_only=True)
class Scene(GoalTask):
    """Use the target of a scene; the scene stands somewhere around the robot, another one in each environment.

    The modes are those of "Synthesizing Physical Character-Scene Interactions" (Hassan et al. 2023, sections 5.1 to
    5.3) and InterScene, the success distance of 0.2 m too. Their rewards are rebuilt from the description, as closed
    forms: going there at a speed, and a near term that is 1 when it is done. Touching has no counterpart there; the
    weights, the near term of carrying (hands at the object) and the observation are ours.

    Success is judged at the end of an episode; the papers count having been there at any time.
    """

    mode: Literal["sit", "reach", "carry"] = "sit"
    """what to do with the target: bring the root onto its seat, a hand to its surface, or it to a destination"""
    distance: tuple[float, float] = (0.5, 5.0)
    """m on the ground from the root to the rim of the scene, shortest and longest"""
    near_share: float = 0.25
    """of the episodes in which the scene is near"""
    near_distance: float = 1.0
    """m, longest distance of a near one"""
    carry_distance: tuple[float, float] = (1.0, 4.0)
    """m on the ground, shortest and longest way that a target is carried"""
    speed: float = 1.5
    """m/s, wanted on the way (Hassan et al.)"""
    arrival: float = 0.5
    """m on the ground from which on there is no way left to go"""
    success_distance: float = 0.2
    """m"""
    see: Literal["box", "points"] = "box"
    """what the policy sees of objects: bounding box, orientation and category (37 numbers), or 64 surface points"""
    see_objects: Which = "target"
    """of which objects"""

    takes_scenes: ClassVar[bool] = True

    @property
    def scenes(self) -> tuple[SceneOfObjects, ...]:
        """Samples that suit the mode."""
        return make_scenes(list(_SAMPLES[self.mode])).scenes

    def goal(self, setup: Setup) -> GoalParts:
        """The mode's parts around the scene.

        Raises:
            ValueError: for a scene whose target cannot be carried, or a robot without hands where they are needed.
        """
        batch = given(setup.scenes)
        if self.mode == "carry":
            _require_loose(batch)
        scenery = SceneryAround(
            batch,
            setup.dt,
            setup.ground,
            distance=self.distance,
            near_share=self.near_share,
            near_distance=self.near_distance,
            carry=self.carry_distance if self.mode == "carry" else None,
        )
        objects = partial(bounding_boxes if self.see == "box" else point_clouds, which=self.see_objects)
        moving = (partial(object_velocities, which=self.see_objects),)
        rewards, distance, points = getattr(self, f"_{self.mode}")(setup)
        near = partial(within, distance=distance, limit=self.success_distance)
        return GoalParts(
            control=scenery,
            observations=(partial(goal_points, points=points), objects, *moving),
            rewards=rewards,
            success=near,
            failed=partial(misses, near=near, end=round(self.episode_seconds / setup.dt)),
            metrics={"goal_distance": distance},
        )

    def _sit(self, setup: Setup) -> tuple[dict[str, Reward], Kernel, tuple[Point, ...]]:
        """0.7 for the root over the seat, 0.3 for going there."""
        seat = partial(seat_for_root, height=_sitting_height(setup.robot))
        distance = partial(root_distance, point=seat)
        rewards = {
            "sit": Reward(partial(closeness, distance=distance, scale=10.0), 0.7),
            "approach": Reward(self._approach(seat), 0.3),
        }
        return rewards, distance, (seat,)

    def _reach(self, setup: Setup) -> tuple[dict[str, Reward], Kernel, tuple[Point, ...]]:
        """0.7 for a hand at the surface, 0.3 for going there."""
        hands = _hands(setup.robot)
        distance = partial(hand_distance, hands=hands)
        rewards = {
            "touch": Reward(partial(closeness, distance=distance, scale=4.0), 0.7),
            "approach": Reward(self._approach(nearest_to_root), 0.3),
        }
        return rewards, distance, (nearest_to_root,)

    def _carry(self, setup: Setup) -> tuple[dict[str, Reward], Kernel, tuple[Point, ...]]:
        """0.2 for going to it, 0.3 for both hands at it, 0.3 for moving it while they are, 0.2 for where it is."""
        hold = partial(holding, hands=_hands(setup.robot))
        carried = partial(on_the_way, speed=self.speed, arrival=self.arrival, start=target_position, end=destination)
        rewards = {
            "approach": Reward(self._approach(nearest_to_root), 0.2),
            "hold": Reward(hold, 0.3),
            "carry": Reward(partial(both, first=hold, second=partial(carried, velocity=target_velocity)), 0.3),
            "place": Reward(partial(closeness, distance=carry_error, scale=10.0), 0.2),
        }
        return rewards, carry_error, (nearest_to_root, destination)

    def _approach(self, point: Point) -> Kernel:
        return partial(
            on_the_way,
            speed=self.speed,
            arrival=self.arrival,
            start=root_position,
            velocity=root_velocity,
            end=point,
        )


def _require_loose(batch: SceneBatch) -> None:
    for scene in batch.scenes:
        if (target := scene.target_object).mobility != "dynamic":
            raise ValueError(
                f"task Scene: scene {scene.name!r}: to be carried, object {target.name!r} must be dynamic, it is "
                f"{target.mobility}; or name another one: target: ..."
            )


def _hands(robot: Robot) -> list[int]:
    if missing := [role for role in ("right_hand", "left_hand") if role not in robot.semantic]:
        raise ValueError(f"task Scene: robot {robot.name} has no {missing}; it has {sorted(robot.semantic)}")
    return robot.skeleton.body_indices([robot.semantic["right_hand"], robot.semantic["left_hand"]])


def _sitting_height(robot: Robot) -> float:
    """Height in m of the root's origin over what it sits on: its own geometry rests there, or thighs held level."""
    points, skeleton = robot.collision_points, robot.skeleton
    lowest = [0.0]
    for body, radius, height in zip(points.bodies, points.radii.tolist(), points.points[:, 2].tolist(), strict=True):
        if body == 0:
            lowest.append(radius - height)
        elif skeleton.parents[body] == 0:
            lowest.append(radius - float(skeleton.offsets[body, 2]))
    return max(lowest)


# --- points and velocities: Context to (N, 3) ------------------------------------------------------------------------


def root_position(ctx: Context) -> Tensor:
    """The root, m."""
    return ctx.state.body_positions[:, 0]


def root_velocity(ctx: Context) -> Tensor:
    """Of the root, m/s."""
    return ctx.state.body_velocities[:, 0]


def target_position(ctx: Context) -> Tensor:
    """The target's origin, m."""
    return target_pose(ctx)[0]


def target_velocity(ctx: Context) -> Tensor:
    """Of the target, m/s."""
    return target_pose(ctx)[2]


def destination(ctx: Context) -> Tensor:
    """Where the target's origin is to be, m."""
    return given(given(ctx.scene).destination)


def seat_for_root(ctx: Context, height: float) -> Tensor:
    """Where the root of who sits is: `height` m above the middle of the target's seat."""
    view = given(ctx.scene)
    point = on_target(ctx, view.tables.seats[view.scenes, view.targets])
    return point + point.new_tensor([0.0, 0.0, height])


def nearest_to_root(ctx: Context) -> Tensor:
    """The point of the target's surface that is nearest to the root, m."""
    return root_position(ctx) + target_surface(ctx, [0])[:, 0]


# --- kernels: Context to (N, F) or (N,) ------------------------------------------------------------------------------


def goal_points(ctx: Context, points: tuple[Point, ...]) -> Tensor:
    """Points against the root, in the heading frame, (N, 3 K)."""
    offsets = torch.stack([point(ctx) for point in points], dim=1) - ctx.state.body_positions[:, :1]
    return ctx.in_heading(offsets).flatten(1)


def root_distance(ctx: Context, point: Point) -> Tensor:
    """Distance of the root from a point, m, (N,)."""
    return (root_position(ctx) - point(ctx)).norm(dim=-1)


def hand_distance(ctx: Context, hands: list[int]) -> Tensor:
    """Distance of the nearer of two hands from the target's surface, m, (N,)."""
    return target_surface(ctx, hands).norm(dim=-1).amin(-1)


def carry_error(ctx: Context) -> Tensor:
    """Distance of the target from its destination, m, (N,)."""
    return (target_position(ctx) - destination(ctx)).norm(dim=-1)


def closeness(ctx: Context, distance: Kernel, scale: float) -> Tensor:
    """exp(-scale · d²) of a distance d in m, (N,) in (0, 1]."""
    return torch.exp(-scale * distance(ctx).square())


def holding(ctx: Context, hands: list[int]) -> Tensor:
    """exp(-5 d²), d in m the mean distance of the hands from the target's surface, (N,) in (0, 1]."""
    return torch.exp(-5.0 * target_surface(ctx, hands).norm(dim=-1).mean(-1).square())


def on_the_way(ctx: Context, speed: float, arrival: float, start: Point, velocity: Point, end: Point) -> Tensor:
    """exp(-2 (speed - v)²) of the speed v in m/s on the ground from start to end, up to `speed`; 0 for v <= 0, (N,).

    1 within `arrival` m of the end on the ground.
    """
    offset = (end(ctx) - start(ctx))[:, :2]
    distance = offset.norm(dim=-1)
    towards = (velocity(ctx)[:, :2] * offset).sum(-1) / distance.clamp_min(1e-6)
    reward = torch.exp(-2.0 * (speed - towards).clamp_min(0.0).square()).masked_fill(towards <= 0.0, 0.0)
    return torch.where(distance <= arrival, torch.ones_like(reward), reward)


def both(ctx: Context, first: Kernel, second: Kernel) -> Tensor:
    """The product of two rewards, (N,)."""
    return first(ctx) * second(ctx)


def within(ctx: Context, distance: Kernel, limit: float) -> Tensor:
    """A distance is at most `limit` m, (N,) bool."""
    return distance(ctx) <= limit


def misses(ctx: Context, near: Kernel, end: int) -> Tensor:
    """The episode ends now, after `end` steps, and the goal is not met, (N,) bool."""
    return (ctx.steps >= end) & ~near(ctx)
