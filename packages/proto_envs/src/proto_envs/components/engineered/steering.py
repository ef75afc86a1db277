"""Goals that move the pelvis in a commanded direction at a commanded speed."""

from __future__ import annotations

import torch
from torch import Tensor

from proto_envs.components.sparse_goals import EngineeredGoals, SparseShape, place_body
from proto_envs.components.steering import SteeringCommand
from proto_envs.context import Context
from proto_envs.goals import SparseGoal, SteeringGoal

__all__ = ["SteeringGoals", "ask_to_walk"]

PELVIS_SHARE = 0.96
"""height of the pelvis that is asked for, as a share of standing upright: 0.9 m for SMPL, as in ProtoMotions 1"""


class SteeringGoals(EngineeredGoals):
    """Asks for the pelvis where it would be in a second, and for its facing, which is asked for sooner too."""

    def __init__(
        self,
        shape: SparseShape,
        num_envs: int,
        dt: float,
        device: torch.device,
        command: SteeringCommand,
        *,
        along: bool = False,
    ) -> None:
        """Say what is commanded.

        Args:
            shape: of the goals.
            num_envs: N.
            dt: s per control step.
            device: of the goals.
            command: direction, speed and facing.
            along: face where it goes, whatever the command says of facing, and ask for the root's velocity too.
        """
        super().__init__(shape, num_envs, dt, device)
        self._command, self._along = command, along

    def ask(self, context: Context, ids: Tensor | None) -> SparseGoal:
        """The pelvis a second ahead."""
        goal, command = self.nothing(context), self._command.goal.rows(ids)
        assert isinstance(command, SteeringGoal)
        facing = command.direction if self._along else command.facing
        velocity = command.speed.unsqueeze(-1) * command.direction
        ask_to_walk(self, goal, context, velocity, torch.atan2(facing[:, 1], facing[:, 0]))
        if self._along:
            goal.velocities[:, -1] = velocity
            goal.headings[:, -1] = torch.atan2(facing[:, 1], facing[:, 0])
            goal.mask[:, -1, -1] = True
        return goal


def ask_to_walk(
    asking: EngineeredGoals,
    goal: SparseGoal,
    context: Context,
    velocity: Tensor,
    yaw: Tensor,
    where: Tensor | None = None,
) -> None:
    """Ask for the pelvis a second ahead, and for its facing also in a third of a second, where there is a slot.

    Args:
        asking: the controller.
        goal: to be written into.
        context: of the same n environments.
        velocity: (n, 2) m/s.
        yaw: (n,) rad, where to face.
        where: (n,) bool, else everywhere.
    """
    shape, row = asking.shape, asking.shape.row("pelvis")
    place = context.state.body_positions[:, 0, :2] + velocity
    height = context.terrain.heights(place) + PELVIS_SHARE * shape.robot.default_root_height
    position, rotation = torch.cat([place, height.unsqueeze(-1)], dim=-1), asking.facing(row, yaw)
    if shape.slots > 1:
        if shape.far > 1:
            goal.wait[:, -2] = asking.steps_in(1.0 / 3.0)
        goal.positions[:, -2, row] = context.state.body_positions[:, 0]
        place_body(goal, -2, row, rotation=rotation, where=where)
    goal.wait[:, -1] = asking.steps_in(1.0)
    place_body(goal, -1, row, position=position, rotation=rotation, where=where)
