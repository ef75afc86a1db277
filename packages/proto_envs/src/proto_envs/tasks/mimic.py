"""Mimic: move like the reference motion, body by body (DeepMimic; the full-body tracker of MaskedMimic)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal

from torch import Tensor

from motionlib import MotionLib
from proto_envs.components import objects, observations, rewards, terminations
from proto_envs.components.actions import absolute_targets, reference_offsets
from proto_envs.components.control import Control, MotionReference, ResetNoise
from proto_envs.components.practice import PractisedReference
from proto_envs.components.scenery import Scenery
from proto_envs.components.terms import Components, Kernel, Reward, Termination, one_token
from proto_envs.context import Context
from proto_envs.tasks.base import Setup, Task
from proto_envs.terrain.ground import Lift

__all__ = ["Mimic"]

SUCCESS_DISTANCE = 0.5
"""m: a clip counts as tracked while the mean distance of the bodies from the reference never exceeds this
(ProtoMotions, MaskedMimic)"""


@dataclass(frozen=True, kw_only=True)
class Mimic(Task):
    """Imitate clips of a motion library, all bodies at once.

    Observation groups: "policy", and "difference" from the reference, for a differential discriminator (ADD).
    """

    rewards: Literal["v3", "v1", "tight"] = "v3"
    """kernel set: ProtoMotions 3, version 1 (as in the MaskedMimic paper), or v3's shape with DeepMimic's scales"""
    action: Literal["absolute", "residual"] = "absolute"
    """joint targets by themselves, or as offsets from the next reference pose"""
    residual_scale: float = 1.0
    """rad of offset that a residual action of 1 means"""
    residual_lead: float = 1.0
    """share of the drives' lag that the reference is led by, residual actions only"""
    future_steps: tuple[int, ...] = (1,)
    """control steps ahead at which the policy sees the reference"""
    termination_distance: float | None = 0.5
    """m; an episode fails when any body is farther from its reference. None: never"""
    start: Literal["random", "zero", "sequential", "failures"] = "random"
    """where in a clip episodes begin; sequential: environment i plays clip i (modulo their number) from its start;
    failures: around moments at which episodes failed of late, see `proto_envs.components.practice`"""
    start_at_zero: float = 0.0
    """share of episodes that begin at time 0 although `start` is random or failures"""
    uniform_share: float = 0.1
    """of the episodes that begin anywhere although `start` is failures"""
    bucket_seconds: float = 2.0
    """s, how finely failures are told apart in time, where `start` is failures"""
    failure_weighting: bool = True
    """draw clips by how often they failed of late, unless `start` is failures, which does so in its own way"""
    repeat: bool | tuple[str, ...] = True
    """whether a clip that wraps is played over and over, or else ends the episode with its last frame as others do; or
    names of the clips that are, whether or not the library has them"""
    lift: Lift = "root"
    """on uneven ground: raise each reference pose by the ground's height below its root, or each body by its own"""
    joint_noise: float = 0.0
    """rad, standard deviation added to each joint coordinate at reset"""
    root_velocity_noise: float = 0.0
    """m/s, added to the root's velocity at reset"""
    joint_velocity_noise: float = 0.0
    """rad/s, added to each joint velocity at reset"""
    object_reward: float = 0.0
    """weight of exp(-10 · squared distance in m² - squared angle in rad²) of the scene's objects from their
    trajectories"""
    object_termination: float | None = None
    """m; an episode fails when an object is farther from its trajectory. None: never"""

    takes_scenes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse a share above all, too.

        Raises:
            ValueError: naming the field.
        """
        super().__post_init__()
        task = f"task {type(self).__name__}"
        if self.start_at_zero > 1.0:
            raise ValueError(f"{task}: start_at_zero must be in [0, 1], got {self.start_at_zero}")
        if not self.bucket_seconds:
            raise ValueError(f"{task}: bucket_seconds must be positive")

    def components(self, setup: Setup) -> Components:
        """Reference playback, maximal-coordinate observations, tracking rewards, loss-of-track termination."""
        if setup.motions is None:
            raise ValueError("task Mimic needs motions: pass motions=<clip name, file or MotionLib>")
        reference = self._reference(setup, setup.motions)
        match self.action:
            case "absolute":
                action = absolute_targets(setup.robot, setup.device)
            case "residual":
                action = reference_offsets(setup.robot, reference, self.residual_scale, self.residual_lead)
            case _:
                raise ValueError(f"task Mimic: action {self.action!r}; there are 'absolute' and 'residual'")
        limit = self.termination_distance
        lost = {} if limit is None else {"lost_track": Termination(partial(terminations.lost_track, distance=limit))}
        ground = self.ground_observations(setup)
        policy = [observations.proprioception, *ground, observations.future_poses]
        if self.action == "absolute":
            policy.append(observations.previous_targets)
        scene = self._scene_parts(setup, reference)
        return Components(
            observations={"policy": [*policy, *scene.observations], "difference": [observations.pose_difference]},
            rewards={**self._rewards(setup), **scene.rewards},
            terminations={**lost, **scene.terminations},
            metrics={
                "mpjpe_mm": mpjpe_mm,
                "mpjpe_root_relative_mm": mpjpe_root_relative_mm,
                "mean_body_error": mean_body_error,
                "max_body_error": max_body_error,
                "failed": failed,
                "failed_max_error": failed_max_error,
                **scene.metrics,
            },
            controls={"reference": reference, **scene.controls},
            action=action,
            tokens={
                observations.future_poses: partial(observations.future_pose_tokens, moments=len(self.future_steps)),
                **dict.fromkeys(ground, one_token),
            },
        )

    def _reference(self, setup: Setup, motions: MotionLib) -> MotionReference:
        allowed = None if setup.scenes is None else setup.scenes.clips(motions.names)
        parts = (motions, setup.num_envs, setup.dt)
        common: dict[str, Any] = {
            "future_steps": self.future_steps,
            "start_at_zero": self.start_at_zero,
            "repeat": self.repeat,
            "noise": ResetNoise(self.joint_noise, self.root_velocity_noise, self.joint_velocity_noise),
            "ground": setup.ground,
            "lift": self.lift,
        }
        if self.start != "failures":
            weighting = self.failure_weighting
            return MotionReference(*parts, start=self.start, failure_weighting=weighting, allowed=allowed, **common)
        if allowed is not None:
            raise ValueError("task Mimic: start 'failures' draws any clip anywhere, but scenes say who plays which")
        return PractisedReference(
            *parts, bucket_seconds=self.bucket_seconds, uniform_share=self.uniform_share, **common
        )

    def _scene_parts(self, setup: Setup, reference: MotionReference) -> SceneParts:
        """The scene in the clip's frame, what is seen of it, and how far its objects are from their trajectories."""
        if setup.scenes is None:
            return SceneParts()
        scenery = Scenery(setup.scenes, setup.dt, setup.ground, clock=lambda: reference.times)
        seen: tuple[Kernel, ...] = (
            partial(objects.bounding_boxes, which="all"),
            partial(objects.object_velocities, which="all"),
        )
        if not setup.scenes.tables.moves.any():
            return SceneParts(controls={"scenery": scenery}, observations=seen)
        near = Reward(partial(objects.object_tracking, position_scale=10.0, rotation_scale=1.0), self.object_reward)
        limit = self.object_termination
        lost = {} if limit is None else {"lost_object": Termination(partial(objects.lost_object, distance=limit))}
        return SceneParts(
            controls={"scenery": scenery},
            observations=(*seen, objects.object_deviation),
            rewards={"object": near} if self.object_reward else {},
            terminations=lost,
            metrics={"object_error": objects.object_error, "object_angle": objects.object_angle},
        )

    @property
    def needs_contact_forces(self) -> bool:
        """ProtoMotions 3's set compares foot contacts."""
        return self.rewards == "v3"

    def _rewards(self, setup: Setup) -> dict[str, Reward]:
        r = rewards
        if self.rewards == "v1":
            return {
                "position": Reward(partial(r.position_tracking, scale=100.0), 0.5),
                "rotation": Reward(partial(r.rotation_tracking, scale=2.0, power=1), 0.3),
                "velocity": Reward(partial(r.velocity_tracking, scale=0.5), 0.1),
                "angular_velocity": Reward(partial(r.angular_velocity_tracking, scale=0.1), 0.1),
                "root_height": Reward(partial(r.root_height_tracking, scale=100.0), 0.2),
                "power": Reward(r.power, -0.0005, skip_grace=True),
            }
        if self.rewards == "tight":
            return {
                "position": Reward(partial(r.position_tracking, scale=100.0), 0.5),
                "rotation": Reward(partial(r.rotation_tracking, scale=5.0), 0.3),
                "velocity": Reward(partial(r.velocity_tracking, scale=2.1), 0.1),
                "angular_velocity": Reward(partial(r.angular_velocity_tracking, scale=0.15), 0.1),
            }
        if self.rewards != "v3":
            raise ValueError(f"task Mimic: rewards {self.rewards!r}; there are 'v3', 'v1' and 'tight'")
        feet = setup.robot.skeleton.body_indices(setup.robot.feet)
        return {
            "position": Reward(partial(r.position_tracking, scale=25.0), 0.5),
            "rotation": Reward(partial(r.rotation_tracking, scale=5.0), 0.3),
            "velocity": Reward(partial(r.velocity_tracking, scale=0.5), 0.1),
            "angular_velocity": Reward(partial(r.angular_velocity_tracking, scale=0.1), 0.2),
            "root_height": Reward(partial(r.root_height_tracking, scale=100.0), 0.2),
            "target_change": Reward(r.target_change, -0.02, skip_grace=True),
            "power": Reward(r.power, -1e-5, skip_grace=True, minimum=-0.5),
            "contact_mismatch": Reward(partial(r.contact_mismatch, bodies=feet), -0.1),
        }


@dataclass(frozen=True, kw_only=True)
class SceneParts:
    """What a scene adds to the task; nothing where there is none."""

    controls: Mapping[str, Control] = field(default_factory=dict)
    observations: tuple[Kernel, ...] = ()
    rewards: Mapping[str, Reward] = field(default_factory=dict)
    terminations: Mapping[str, Termination] = field(default_factory=dict)
    metrics: Mapping[str, Kernel] = field(default_factory=dict)


# --- metrics: Context to (N,) ----------------------------------------------------------------------------------------


def mpjpe_mm(ctx: Context) -> Tensor:
    """Mean distance of the bodies from the reference, mm, in the world."""
    return 1000.0 * ctx.tracking.distances.mean(-1)


def mpjpe_root_relative_mm(ctx: Context) -> Tensor:
    """The same with both roots moved onto each other, mm."""
    return 1000.0 * ctx.tracking.root_relative_distances.mean(-1)


def mean_body_error(ctx: Context) -> Tensor:
    """Mean distance of the bodies from the reference, m."""
    return ctx.tracking.distances.mean(-1)


def max_body_error(ctx: Context) -> Tensor:
    """Distance of the farthest body from its reference, m."""
    return ctx.tracking.distances.amax(-1)


def failed(ctx: Context) -> Tensor:
    """The success criterion is violated at this moment, bool; a state that is not a number violates it too."""
    return ~(ctx.tracking.distances.mean(-1) <= SUCCESS_DISTANCE)


def failed_max_error(ctx: Context) -> Tensor:
    """The same criterion for the farthest body instead of the mean, bool."""
    return ctx.tracking.distances.amax(-1) > SUCCESS_DISTANCE
