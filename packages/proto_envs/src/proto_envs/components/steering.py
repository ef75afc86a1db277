"""Commands to move in a direction at a speed, and to face a direction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from proto_envs.components.control import Markers
from proto_envs.components.timed_goal import TimedGoal
from proto_envs.components.user_control import Dial, Menu, angle_dial
from proto_envs.context import Context
from proto_envs.goals import Goal, SteeringGoal

__all__ = ["SteeringCommand"]


class SteeringCommand(TimedGoal):
    """Draws directions and speeds, most of them near the ones before, each robot by coins of its own.

    (The Task Tokens code throws one coin for the whole batch.)
    """

    goal: SteeringGoal

    def __init__(
        self,
        num_envs: int,
        dt: float,
        device: torch.device,
        *,
        speed: tuple[float, float],
        hold: tuple[float, float],
        turn: float,
        speed_change: float,
        fresh_share: float,
        stop_share: float,
        average: float = 0.0,
        faces: bool = False,
    ) -> None:
        """Say what is commanded.

        Args:
            num_envs: N.
            dt: s per control step.
            device: of the commands.
            speed: m/s, lowest and highest.
            hold: s between changes, shortest and longest.
            turn: rad, largest change of a direction.
            speed_change: m/s, largest change of the speed.
            fresh_share: of the changes that forget the command before.
            stop_share: of the commands that are to stand still.
            average: s, `Context.place_before` is where the root was so long ago; 0: not remembered.
            faces: where it faces matters to the task, so that a person may set it.
        """
        x = torch.tensor([1.0, 0.0], device=device).repeat(num_envs, 1)
        age = torch.zeros(num_envs, dtype=torch.long, device=device)
        goal = SteeringGoal(age=age, direction=x, speed=torch.zeros(num_envs, device=device), facing=x.clone())
        super().__init__("steering", goal, dt, hold)
        self._speed, self._turn, self._speed_change = speed, turn, speed_change
        self._fresh_share, self._stop_share = fresh_share, stop_share
        self._faces = faces
        self._places = torch.zeros(num_envs, 3, device=device)
        self._dt = dt
        self._trail = torch.zeros(num_envs, round(average / dt), 2, device=device)
        """a ring of the root's places on the ground: the latest at `_head`, the one before at `_head` + 1, ..."""
        self._head = 0

    def draw(self, goal: Goal, context: Context, generator: torch.Generator, *, first: bool) -> SteeringGoal:
        """Directions and speeds uniform over their ranges, or near the present ones."""
        assert isinstance(goal, SteeringGoal)
        low, high = self._speed
        draw = torch.rand(8, len(goal.age), generator=generator, device=goal.age.device)
        fresh = torch.ones_like(draw[0], dtype=torch.bool) if first else draw[0] < self._fresh_share
        near = (goal.speed + (2.0 * draw[1] - 1.0) * self._speed_change).clamp(low, high)
        speed = torch.where(fresh, low + (high - low) * draw[2], near)
        return SteeringGoal(
            age=torch.zeros_like(goal.age),
            direction=self._turned(goal.direction, fresh, draw[3], draw[4]),
            speed=speed.masked_fill(draw[5] < self._stop_share, 0.0),
            facing=self._turned(goal.facing, fresh, draw[6], draw[7]),
        )

    def _turned(self, direction: Tensor, fresh: Tensor, near: Tensor, anywhere: Tensor) -> Tensor:
        now = torch.atan2(direction[:, 1], direction[:, 0])
        angle = torch.where(fresh, 2.0 * math.pi * anywhere, now + (2.0 * near - 1.0) * self._turn)
        return torch.stack([torch.cos(angle), torch.sin(angle)], dim=-1)

    def dials(self) -> Sequence[Dial | Menu]:
        """Direction and speed, and where to face if that matters; angles to the left of the world's x axis."""
        walk = [
            angle_dial("direction", role="turn"),
            Dial(name="speed", unit="m/s", low=0.0, high=self._speed[1], step=0.1, start=self._speed[0], role="pace"),
        ]
        return [*walk, angle_dial("facing")] if self._faces else walk

    def wished(self, goal: Goal, wishes: Tensor, context: Context) -> SteeringGoal:
        """The command with what was set."""
        assert isinstance(goal, SteeringGoal)
        angles = {"direction": wishes[:, 0], "facing": wishes[:, 2]} if self._faces else {"direction": wishes[:, 0]}
        parts = {}
        for name, degrees in angles.items():
            radians = torch.deg2rad(degrees)
            set_to = torch.stack([torch.cos(radians), torch.sin(radians)], dim=-1)
            parts[name] = torch.where(degrees.isnan().unsqueeze(-1), getattr(goal, name), set_to)
        return replace(goal, speed=torch.where(wishes[:, 1].isnan(), goal.speed, wishes[:, 1]), **parts)

    def begin(self, ids: Tensor, context: Context, generator: torch.Generator) -> None:
        """Give first commands."""
        super().begin(ids, context, generator)
        self._places[ids] = context.state.body_positions[:, 0]
        if length := self._trail.shape[1]:
            # Before an episode begins, a robot has moved as it moves now.
            ages = self._dt * torch.arange(length, device=ids.device).view(-1, 1)
            now, velocity = (
                bodies[:, :1, :2] for bodies in (context.state.body_positions, context.state.body_velocities)
            )
            self._trail[ids] = (now - ages * velocity).roll(self._head, dims=1)

    def observe(self, context: Context, generator: torch.Generator) -> None:
        """Give new commands where it is time to."""
        super().observe(context, generator)
        self._places = context.state.body_positions[:, 0]
        if length := self._trail.shape[1]:
            self._head = (self._head - 1) % length
            self._trail[:, self._head] = self._places[:, :2]

    def context(self, ids: Tensor | None) -> Mapping[str, Any]:
        """The command, and where the robots were when the mean speed that is judged began."""
        shown = super().context(ids)
        if not self._trail.shape[1]:
            return shown
        oldest = self._trail[:, self._head - 1]
        return {**shown, "place_before": oldest if ids is None else oldest[ids]}

    def state_dict(self) -> dict[str, Tensor]:
        """Of the goals, and the places of late, the latest first."""
        return {**super().state_dict(), "trail": self._trail.roll(-self._head, dims=1)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore `state_dict`."""
        super().load_state_dict(state)
        self._trail.copy_(state["trail"])
        self._head = 0

    def markers(self) -> list[Markers]:
        """An arrow along the direction, as long as the way of half a second, and a short one along the facing."""
        place = self._places.unsqueeze(1)
        flat = torch.zeros_like(self.goal.speed).view(-1, 1, 1)
        way = torch.cat([(0.5 * self.goal.speed).view(-1, 1, 1) * self.goal.direction.unsqueeze(1), flat], dim=-1)
        facing = torch.cat([0.5 * self.goal.facing.unsqueeze(1), flat], dim=-1)
        return [
            Markers(place, (0.9, 0.2, 0.2, 0.9), 0.03, way),
            Markers(place, (0.2, 0.4, 0.9, 0.9), 0.02, facing),
        ]
