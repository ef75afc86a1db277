"""Goals that keep the head on a path."""

from __future__ import annotations

import torch
from torch import Tensor

from poselib.rotations import heading_angle
from proto_envs.components.paths import PathFollower
from proto_envs.components.sparse_goals import EngineeredGoals, SparseShape, place_body
from proto_envs.context import Context
from proto_envs.goals import SparseGoal

__all__ = ["PathGoals"]


class PathGoals(EngineeredGoals):
    """Asks for the head on the path in the next steps and a while ahead, upright and facing along the path.

    Who is far off the path is only asked to come back to it a while ahead.
    """

    def __init__(
        self,
        shape: SparseShape,
        num_envs: int,
        dt: float,
        device: torch.device,
        follower: PathFollower,
        *,
        near: int = 5,
        ahead: float = 0.5,
        back: float = 0.8,
        off: float = 0.4,
    ) -> None:
        """Say how far to look ahead; numbers of ProtoMotions 1 (which of its two times is for whom is our reading).

        Args:
            shape: of the goals.
            num_envs: N.
            dt: s per control step.
            device: of the goals.
            follower: plays the paths.
            near: steps to come that are asked for one by one.
            ahead: s, the far pose of who is on the path.
            back: s, the far pose of who is off it.
            off: m on the ground, farther from the path is off it.
        """
        super().__init__(shape, num_envs, dt, device)
        self._follower, self._row, self._off = follower, shape.row("head"), off
        self._near = min(near, shape.slots - 1)
        self._waits = torch.tensor(
            [*range(1, self._near + 1), self.steps_in(ahead), self.steps_in(back)], device=device
        )

    def ask(self, context: Context, ids: Tensor | None) -> SparseGoal:
        """The head on the path."""
        goal, row = self.nothing(context), self._row
        age = self._follower.age if ids is None else self._follower.age[ids]
        waits = torch.cat([torch.zeros_like(self._waits[:1]), self._waits])
        times = self._dt * (age.unsqueeze(1) + waits)
        points, onward = self._follower.at(times, ids), self._follower.at(times + 0.1, ids)
        points[..., 2] += context.terrain.heights(points)
        course = (onward - points)[..., :2]
        now = heading_angle(context.state.body_rotations[:, 0]).unsqueeze(1)
        moving = course.norm(dim=-1) > 0.01
        yaw = torch.where(moving, torch.atan2(course[..., 1], course[..., 0]), now)
        head = context.state.body_positions[:, self.shape.bodies[row]]
        on = (points[:, 0] - head)[:, :2].norm(dim=-1) <= self._off
        for slot in range(self._near):
            goal.wait[:, slot] = slot + 1
            place_body(
                goal, slot, row, position=points[:, slot + 1], rotation=self.facing(row, yaw[:, slot + 1]), where=on
            )
        column = on.unsqueeze(1)
        goal.wait[:, -1] = torch.where(on, self._waits[-2], self._waits[-1])
        place_body(
            goal,
            -1,
            row,
            position=torch.where(column, points[:, -2], points[:, -1]),
            rotation=self.facing(row, torch.where(on, yaw[:, -2], yaw[:, -1])),
        )
        return goal
