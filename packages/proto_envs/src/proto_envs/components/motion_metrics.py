"""Metrics of motion that only evaluations ask for (`detailed_metrics=True`); who does not ask pays nothing for them.

docs/evaluation.md defines them. A metric is NaN at moments at which it has no meaning: before there are enough moments
for a difference, or while no foot stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from motionlib import MotionLib
from poselib.rotations import quat_apply
from proto_envs.components.control import Control, MotionReference
from proto_envs.components.rewards import power
from proto_envs.components.terms import Components, Kernel
from proto_envs.context import Context, RecentBodies, given
from proto_envs.tasks.base import Setup

__all__ = [
    "BodyMemory",
    "acceleration_error_mm",
    "foot_slide_mmps",
    "jerk_mps3",
    "mean_speed",
    "mpjpe_procrustes_mm",
    "procrustes_distances",
    "root_speed",
    "velocity_error_mm",
    "with_detailed_metrics",
]

_REMEMBERED = 3
"""moments, as many as a third difference needs besides the present"""
_TOUCH = 1.0
"""N, of a foot that stands (as in `rewards.contact_mismatch`)"""
_MOMENTS = 8192
"""of clips, that their mean speed is taken over"""


def with_detailed_metrics(components: Components, setup: Setup) -> Components:
    """A task's parts with these metrics; those of tracking where there is a reference, `speed_ratio` where clips."""
    reference = next((c for c in components.controls.values() if isinstance(c, MotionReference)), None)
    robot = setup.robot
    metrics: dict[str, Kernel] = {"speed_mps": root_speed, "power_w": power, "jerk_mps3": jerk_mps3}
    if any(robot.skeleton.body_names.index(foot) in robot.collision_points.bodies for foot in robot.feet):
        metrics["foot_slide_mmps"] = foot_slide_mmps
    if setup.motions is not None:
        metrics["speed_ratio"] = partial(_speed_ratio, speed=mean_speed(setup.motions))
    if reference is not None:
        metrics |= {
            "mpjpe_procrustes_mm": mpjpe_procrustes_mm,
            "velocity_error_mm": velocity_error_mm,
            "acceleration_error_mm": acceleration_error_mm,
        }
    memory = BodyMemory(setup.num_envs, robot.skeleton.num_bodies, setup.device, reference)
    return replace(
        components,
        metrics={**components.metrics, **metrics},
        controls={**components.controls, "body_memory": memory},
    )


class BodyMemory(Control):
    """Remembers where the bodies, and those of the reference, were at the last moments."""

    def __init__(
        self, num_envs: int, num_bodies: int, device: torch.device, reference: MotionReference | None = None
    ) -> None:
        """Begin with nothing remembered; `reference` is that of the task, if it has one."""
        self._reference = reference
        shape = (num_envs, _REMEMBERED, num_bodies, 3)
        self._positions = torch.zeros(shape, device=device)
        self._offsets = torch.zeros(shape if reference is not None else (num_envs, 0), device=device)
        self._known = torch.zeros(num_envs, dtype=torch.long, device=device)

    def begin(self, ids: Tensor, context: Context, generator: torch.Generator) -> None:
        """Forget what was before the new episodes."""
        del generator
        self._positions[ids, 0] = context.state.body_positions
        if self._reference is not None:
            self._offsets[ids, 0] = context.state.body_positions - self._target(self._reference, ids)
        self._known[ids] = 1

    def observe(self, context: Context, generator: torch.Generator) -> None:
        """Remember this moment, forget the oldest."""
        del generator
        positions = context.state.body_positions
        self._push(self._positions, positions)
        if self._reference is not None:
            self._push(self._offsets, positions - self._target(self._reference, None))
        self._known.add_(1).clamp_(max=_REMEMBERED)

    def context(self, ids: Tensor | None) -> Mapping[str, Any]:
        """The remembered moments."""
        positions, offsets, known = (
            part if ids is None else part[ids] for part in (self._positions, self._offsets, self._known)
        )
        return {"recent": RecentBodies(positions, known, None if self._reference is None else offsets)}

    @staticmethod
    def _push(memory: Tensor, newest: Tensor) -> None:
        memory.copy_(torch.cat([newest.unsqueeze(1), memory[:, :-1]], dim=1))

    @staticmethod
    def _target(reference: MotionReference, ids: Tensor | None) -> Tensor:
        return reference.context(ids)["motion"].body_positions

    def state_dict(self) -> dict[str, Tensor]:
        """What is remembered."""
        return {"positions": self._positions, "offsets": self._offsets, "known": self._known}


# --- metrics: Context to (N,) ----------------------------------------------------------------------------------------


def root_speed(ctx: Context) -> Tensor:
    """Speed of the root along the ground, m/s."""
    return ctx.state.body_velocities[:, 0, :2].norm(dim=-1)


def _speed_ratio(ctx: Context, speed: float) -> Tensor:
    return root_speed(ctx) / speed


def mean_speed(motions: MotionLib) -> float:
    """Mean of `root_speed` over clips by their weights and over the time of each, m/s; at least 1 mm/s."""
    generator = torch.Generator(device=motions.device).manual_seed(0)
    clips = motions.sample_motions(_MOMENTS, generator)
    velocities = motions.get_body_state(clips, motions.sample_times(clips, generator)).body_velocities
    return max(velocities[:, 0, :2].norm(dim=-1).mean().item(), 1e-3)


def jerk_mps3(ctx: Context) -> Tensor:
    """Length of the third derivative of position, mean over bodies, m/s³, by third differences of control steps.

    The definition of `motionlib.processing.quality`, so that an agent's motion can be compared with a clip's.
    """
    recent, now = given(ctx.recent), ctx.state.body_positions
    third = now - 3.0 * recent.positions[:, 0] + 3.0 * recent.positions[:, 1] - recent.positions[:, 2]
    return _where_known(third.norm(dim=-1).mean(-1) / ctx.dt**3, recent.known >= 3)


def foot_slide_mmps(ctx: Context) -> Tensor:
    """Speed along the ground of the point on which a foot stands, mean over the feet that touch the ground, mm/s.

    That point is the lowest of the foot's geometry; its velocity is that of the body there.
    """
    robot, state = ctx.robot, ctx.state
    speeds, standing = [], []
    for foot in robot.feet:
        body = robot.skeleton.body_names.index(foot)
        rows = [row for row, owner in enumerate(robot.collision_points.bodies) if owner == body]
        if not rows:
            continue
        local = robot.collision_points.points[rows].to(state.body_positions)
        radii = robot.collision_points.radii[rows].to(local)
        arms = quat_apply(state.body_rotations[:, body].unsqueeze(1), local)
        arms = torch.cat([arms[..., :2], arms[..., 2:] - radii.view(1, -1, 1)], dim=-1)
        lowest = arms[..., 2].argmin(dim=1).view(-1, 1, 1).expand(-1, 1, 3)
        arm = arms.gather(1, lowest).squeeze(1)
        turning = torch.linalg.cross(state.body_angular_velocities[:, body], arm)
        speeds.append((state.body_velocities[:, body] + turning)[:, :2].norm(dim=-1))
        standing.append(state.contact_forces[:, body].norm(dim=-1) > _TOUCH)
    touching = torch.stack(standing, dim=-1).float()
    count = touching.sum(-1)
    total = (torch.stack(speeds, dim=-1) * touching).sum(-1)
    return _where_known(1000.0 * total / count.clamp_min(1.0), count > 0)


def mpjpe_procrustes_mm(ctx: Context) -> Tensor:
    """Mean distance of the bodies from the reference once each pose is moved, turned and scaled onto it, mm."""
    return 1000.0 * procrustes_distances(ctx.state.body_positions, ctx.reference.body_positions).mean(-1)


def procrustes_distances(points: Tensor, target: Tensor) -> Tensor:
    """Distances after the best similarity transform of each set of points onto its target (Umeyama 1991).

    Args:
        points: (N, B, 3); those that are not finite give NaN.
        target: (N, B, 3).

    Returns:
        (N, B), in the unit of the points. Reflections are not allowed.
    """
    finite = torch.isfinite(points).all(-1).all(-1)
    points = torch.where(finite.view(-1, 1, 1), points, target)  # a decomposition refuses what is not finite
    centred, wanted = (part - part.mean(1, keepdim=True) for part in (points, target))
    left, sizes, right = torch.linalg.svd(centred.transpose(1, 2) @ wanted)
    mirrored = torch.sign(torch.linalg.det(left) * torch.linalg.det(right))
    signs = torch.stack([torch.ones_like(mirrored), torch.ones_like(mirrored), mirrored], dim=-1)
    rotation = (left * signs.unsqueeze(1)) @ right
    scale = (sizes * signs).sum(-1) / centred.square().sum((1, 2)).clamp_min(1e-12)
    distances = (scale.view(-1, 1, 1) * (centred @ rotation) - wanted).norm(dim=-1)
    return torch.where(finite.unsqueeze(-1), distances, torch.nan)


def velocity_error_mm(ctx: Context) -> Tensor:
    """Mean over bodies of how differently body and reference moved in this control step, mm per step (E_vel)."""
    before = given(given(ctx.recent).offsets)
    return 1000.0 * (ctx.tracking.offsets - before[:, 0]).norm(dim=-1).mean(-1)


def acceleration_error_mm(ctx: Context) -> Tensor:
    """The same of the second difference of positions, mm per step² (E_acc)."""
    recent = given(ctx.recent)
    before = given(recent.offsets)
    second = ctx.tracking.offsets - 2.0 * before[:, 0] + before[:, 1]
    return _where_known(1000.0 * second.norm(dim=-1).mean(-1), recent.known >= 2)


def _where_known(value: Tensor, known: Tensor) -> Tensor:
    return torch.where(known, value, torch.nan)
