"""The scene beside each robot: where it stands, how its objects move, and where a task wants them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from poselib.rotations import heading_angle, quat_apply, quat_from_yaw, quat_multiply
from proto_envs.components.control import Control, Markers
from proto_envs.context import Context, ObjectState, SceneView
from proto_envs.scenes import SceneBatch
from proto_envs.scenes.tables import SceneTables
from proto_envs.terrain.ground import Ground

__all__ = ["Scenery", "SceneryAround"]


class Scenery(Control):
    """Stands the scene of each environment where its clips are, and moves what has a trajectory.

    A scene has a frame on flat ground. Its objects rise by the height of the ground below them, or below the object
    that they stand on.
    """

    def __init__(
        self,
        batch: SceneBatch,
        dt: float,
        ground: Ground,
        *,
        clock: Callable[[], Tensor] | None = None,
    ) -> None:
        """Say what stands where.

        Args:
            batch: the scenes of N environments.
            dt: s per control step.
            ground: what they stand on.
            clock: gives (N,) s, times of the trajectories; None: since the episode began.
        """
        device = ground.offsets.device
        self.tables: SceneTables = batch.tables.to(device)
        self.scenes = batch.assignment.to(device)
        n = len(self.scenes)
        self.origins = torch.zeros(n, 2, device=device)
        """(N, 2) m, origins of the scenes' frames in the world"""
        self.yaws = torch.zeros(n, device=device)
        """(N,) rad, by which they are turned"""
        self.played = torch.zeros(n, dtype=torch.long, device=device)
        self._dt, self._ground = dt, ground
        self._clock = clock or (lambda: self.played * dt)
        self._moves, self._kinematic = bool(self.tables.moves.any()), batch.has_kinematic
        self._now: ObjectState | None = None
        """where all objects should be at this moment; None where it has to be worked out"""

    def begin(self, ids: Tensor, context: Context, generator: torch.Generator) -> ObjectState:
        """Stand the scenes of new episodes; objects start on their trajectories."""
        self.played[ids] = 0
        self._place(ids, context, generator)
        self._now = None
        return self._world(ids)

    def _place(self, ids: Tensor, context: Context, generator: torch.Generator) -> None:
        """Set `origins` and `yaws`: here, the frame is the environment's own, in which clips are too."""
        del context, generator
        self.origins[ids] = self._ground.offsets[ids]
        self.yaws[ids] = 0.0

    def step(self, generator: torch.Generator) -> None:
        """Time goes on."""
        del generator
        self.played += 1
        self._now = None

    def held_objects(self) -> ObjectState | None:
        """Where all objects should be now, if some are kinematic."""
        return self._everywhere() if self._kinematic else None

    def context(self, ids: Tensor | None) -> Mapping[str, Any]:
        """What the scenes are, and where their objects should be if they move."""
        reference = self._everywhere().rows(ids) if self._moves else None
        return {"scene": SceneView(self.tables, self._rows(self.scenes, ids), reference)}

    def _everywhere(self) -> ObjectState:
        if self._now is None:
            self._now = self._world(None)
        return self._now

    def _world(self, ids: Tensor | None) -> ObjectState:
        scenes, yaw = self._rows(self.scenes, ids), self._rows(self.yaws, ids)
        state = self.tables.poses(scenes, self._rows(self._clock(), ids))
        turn = quat_from_yaw(yaw).unsqueeze(1)
        positions = quat_apply(turn, state.positions)
        positions[..., :2] += self._rows(self.origins, ids).unsqueeze(1)
        below = positions.gather(1, self.tables.supports[scenes].unsqueeze(-1).expand(-1, -1, 3))
        positions[..., 2] += self._ground.terrain.heights(below) * self.tables.present[scenes]
        return ObjectState(
            positions=positions,
            rotations=quat_multiply(turn, state.rotations),
            velocities=quat_apply(turn, state.velocities),
            angular_velocities=quat_apply(turn, state.angular_velocities),
        )

    @staticmethod
    def _rows(field: Tensor, ids: Tensor | None) -> Tensor:
        return field if ids is None else field[ids]

    def state_dict(self) -> dict[str, Tensor]:
        """Where the scenes stand, and since when."""
        return {"origins": self.origins, "yaws": self.yaws, "played": self.played}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore `state_dict`."""
        super().load_state_dict(state)
        self._now = None


class SceneryAround(Scenery):
    """Stands the scene of each environment somewhere around its robot, turned any way.

    Distances are from the robot's root to the rim of the scene: a circle round its target that holds all of its
    objects as they stand at first. So no robot starts inside of something.
    """

    def __init__(
        self,
        batch: SceneBatch,
        dt: float,
        ground: Ground,
        *,
        distance: tuple[float, float],
        near_share: float = 0.0,
        near_distance: float = 0.0,
        carry: tuple[float, float] | None = None,
    ) -> None:
        """Say where.

        Args:
            batch: the scenes of N environments.
            dt: s per control step.
            ground: what they stand on.
            distance: m, shortest and longest.
            near_share: of the episodes in which the scene is not farther than `near_distance`.
            near_distance: m.
            carry: m, shortest and longest way that the target is to be carried; None: it is not.
        """
        super().__init__(batch, dt, ground)
        self._distance, self._near_share, self._near_distance, self._carry = distance, near_share, near_distance, carry
        self.destinations = torch.zeros(len(self.scenes), 3, device=self.origins.device)
        """(N, 3) m, where the target's origin is to be, if it is to be carried"""
        start = self.tables.poses(
            torch.arange(len(self.tables.targets), device=self.origins.device), self.origins[:1, 0]
        )
        every = torch.arange(len(self.tables.targets), device=self.origins.device)
        self._targets = start.positions[every, self.tables.targets]
        """(S, 3) m, where the targets stand in their scenes' frames"""
        corners = start.positions.unsqueeze(2) + quat_apply(start.rotations.unsqueeze(2), self.tables.corners)
        away = (corners - self._targets[:, None, None])[..., :2].norm(dim=-1).amax(-1)
        self._rims = away.masked_fill(~self.tables.present, 0.0).amax(-1)
        """(S,) m, radii"""
        low = corners[every, self.tables.targets, :, 2].amin(-1)
        self._standing = self._targets[:, 2] - low
        """(S,) m, height of the targets' origins where they stand on the ground"""

    def _place(self, ids: Tensor, context: Context, generator: torch.Generator) -> None:
        """Uniform distances, any direction, turned any way; a destination around the target, any direction."""
        draw = torch.rand(6, len(ids), generator=generator, device=ids.device)
        low, high = self._distance
        farthest = torch.where(draw[0] < self._near_share, min(max(low, self._near_distance), high), high)
        scenes = self.scenes[ids]
        distance = low + (farthest - low) * draw[1] + self._rims[scenes]
        angle = heading_angle(context.state.body_rotations[:, 0]) + 2.0 * math.pi * draw[2]
        target = context.state.body_positions[:, 0, :2] + distance.unsqueeze(-1) * _direction(angle)
        self.yaws[ids] = yaw = 2.0 * math.pi * draw[3]
        self.origins[ids] = target - quat_apply(quat_from_yaw(yaw), self._targets[scenes])[:, :2]
        if self._carry is None:
            return
        low, high = self._carry
        way = low + (high - low) * draw[4]
        place = target + way.unsqueeze(-1) * _direction(2.0 * math.pi * draw[5])
        height = context.terrain.heights(place) + self._standing[scenes]
        self.destinations[ids] = torch.cat([place, height.unsqueeze(-1)], dim=-1)

    def context(self, ids: Tensor | None) -> Mapping[str, Any]:
        """What the scenes are, and where the target is to be carried."""
        view = super().context(ids)["scene"]
        destination = None if self._carry is None else self._rows(self.destinations, ids)
        return {"scene": SceneView(view.tables, view.scenes, view.reference, destination)}

    def markers(self) -> list[Markers]:
        """The destinations."""
        return [] if self._carry is None else [Markers(self.destinations.unsqueeze(1))]

    def state_dict(self) -> dict[str, Tensor]:
        """Where the scenes stand, since when, and where targets are to be carried."""
        return {**super().state_dict(), "destinations": self.destinations}


def _direction(angle: Tensor) -> Tensor:
    """Unit vectors (n, 2)."""
    return torch.stack([torch.cos(angle), torch.sin(angle)], dim=-1)
