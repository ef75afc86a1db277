"""A target that stands somewhere around the robot, to be knocked over."""

from __future__ import annotations

import math

import torch

from poselib.rotations import heading_angle, quat_from_yaw
from proto_envs.components.control import Control
from proto_envs.context import Context, ObjectState, given
from proto_envs.scenes import Box, Scene, SceneObject

__all__ = ["STRIKE_TARGET", "StrikeTarget", "uprightness"]

_MIDDLE = 0.9
"""m, height of the target's origin where it stands"""

STRIKE_TARGET = Scene(
    name="target",
    objects=(
        SceneObject(
            name="target",
            mobility="dynamic",
            parts=(
                Box(size=(0.2, 0.2, 1.4), position=(0.0, 0.0, -0.2)),
                Box(size=(0.4, 0.4, 0.4), position=(0.0, 0.0, 0.7)),
            ),
            position=(0.0, 0.0, _MIDDLE),
            density=30.0,
        ),
    ),
)
"""a box on a post, 1.8 m high, 3.6 kg, its origin in the middle; that and the density are those of Task Tokens"""


class StrikeTarget(Control):
    """Stands the target up before each episode: half of the time near, half of the time anywhere in reach of a run."""

    def __init__(self, *, distance: tuple[float, float], near_share: float, near_distance: float) -> None:
        """Say where.

        Args:
            distance: m from the root on the ground, shortest and longest.
            near_share: of the episodes in which the target is not farther than `near_distance`.
            near_distance: m.
        """
        self._distance, self._near_share, self._near_distance = distance, near_share, near_distance

    def begin(self, ids: torch.Tensor, context: Context, generator: torch.Generator) -> ObjectState:
        """Uniform distances, any direction, turned any way."""
        draw = torch.rand(4, len(ids), generator=generator, device=ids.device)
        low, high = self._distance
        farthest = torch.where(draw[0] < self._near_share, self._near_distance, high)
        distance = low + (farthest - low) * draw[1]
        root = context.state.body_positions[:, 0]
        angle = heading_angle(context.state.body_rotations[:, 0]) + 2.0 * math.pi * draw[2]
        place = root[:, :2] + distance.unsqueeze(-1) * torch.stack([torch.cos(angle), torch.sin(angle)], dim=-1)
        height = context.terrain.heights(place) + _MIDDLE
        still = torch.zeros(len(ids), 1, 3, device=ids.device)
        return ObjectState(
            positions=torch.cat([place, height.unsqueeze(-1)], dim=-1).unsqueeze(1),
            rotations=quat_from_yaw(2.0 * math.pi * draw[3]).unsqueeze(1),
            velocities=still,
            angular_velocities=still.clone(),
        )


def uprightness(ctx: Context) -> torch.Tensor:
    """Vertical part of the target's own z axis, (N,): 1 where it stands, 0 where it lies."""
    x, y, _, _ = given(ctx.objects).rotations[:, 0].unbind(-1)
    return 1.0 - 2.0 * (x.square() + y.square())
