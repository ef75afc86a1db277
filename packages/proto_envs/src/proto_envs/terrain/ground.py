"""Where on the terrain each environment has its place, and what stands or moves there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from motionlib import BodyState
from poselib.kinematics import forward_kinematics
from poselib.rotations import quat_apply
from proto_envs.context import ResetState
from proto_envs.robots import Robot
from proto_envs.terrain.height_field import Terrain

__all__ = ["Ground", "Lift"]

Lift = Literal["root", "bodies"]
"""what a reference is lifted by: the height of the ground below its root, the pose staying as it is; or each body by
that of the ground below itself, which puts feet onto steps but bends the figure"""


class Ground:
    """The ground under N environments.

    Every environment is a world of its own in which the whole terrain lies; episodes start at a random walkable point
    of it. What moves there comes in its own coordinates on flat ground (a clip's, say): `place` and `lifted` shift it
    by the same offset along x and y, and up onto the ground. On flat ground both leave everything as it is.
    """

    def __init__(self, terrain: Terrain, robot: Robot, num_envs: int, device: torch.device) -> None:
        """Put N environments on a terrain; `place` says where."""
        self.terrain = terrain.to(device)
        self.robot = robot
        self.offsets = torch.zeros(num_envs, 2, device=device)
        """(N, 2) m, from an environment's own coordinates to the world's"""

    def place(self, ids: Tensor, start: ResetState, generator: torch.Generator) -> ResetState:
        """Choose new places for environments `ids` (n,) and stand their robots on the ground there.

        A robot goes up by the height of the ground below its root, and then as far as it takes for no point of its
        collision geometry to be below the ground (ProtoMotions looks at the bodies' origins and adds 0.05 m). It is
        never pulled down: who starts in the air stays in the air.
        """
        if self.terrain.is_flat:
            return start
        spawns = self.terrain.draw_spawns(len(ids), generator)
        self.offsets[ids] = spawns - start.root_position[:, :2]
        root = start.root_position.clone()
        root[:, :2] = spawns
        root[:, 2] += self.terrain.heights(spawns)
        positions, rotations = forward_kinematics(self.robot.skeleton, root, start.local_rotations)
        points = self.robot.collision_points
        bodies = torch.tensor(points.bodies, device=root.device)
        world = positions[:, bodies] + quat_apply(rotations[:, bodies], points.points.to(root))
        sunk = self.terrain.heights(world) - world[..., 2] + points.radii.to(root)
        root[:, 2] += sunk.amax(-1).clamp_min(0.0)
        return replace(start, root_position=root)

    def lifted(self, state: BodyState, ids: Tensor | None = None, lift: Lift = "root") -> BodyState:
        """A reference of all environments, or of `ids`, in the world and on the ground.

        Args:
            state: (n, ..., B, 3) in each field, in the environments' own coordinates. Velocities stay as they are.
            ids: (n,); None for all.
            lift: by what.
        """
        if self.terrain.is_flat:
            return state
        offsets = self.offsets if ids is None else self.offsets[ids]
        positions = state.body_positions.clone()
        positions[..., :2] += offsets.reshape(len(offsets), *[1] * (positions.dim() - 2), 2)
        below = positions if lift == "bodies" else positions[..., :1, :]
        positions[..., 2] += self.terrain.heights(below)
        return replace(state, body_positions=positions)

    def state_dict(self) -> dict[str, Tensor]:
        """Where the environments have their places; nothing on flat ground."""
        return {} if self.terrain.is_flat else {"offsets": self.offsets}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore `state_dict`."""
        for name, live in self.state_dict().items():
            live.copy_(state[name])
