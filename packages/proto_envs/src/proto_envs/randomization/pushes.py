"""Pushes at random moments."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from proto_envs.randomization.config import Pushes
from proto_envs.randomization.parameters import body_index
from proto_envs.randomization.ranges import Range, Vector
from proto_envs.robots import Robot
from proto_envs.simulators import Simulator, UnsupportedError

__all__ = ["Pusher", "Timer"]


class Timer:
    """Counts down to an event in each of N environments."""

    def __init__(self, interval: Range, dt: float, num_envs: int, device: torch.device) -> None:
        """Events come in `interval` s, rounded to steps of `dt` s, at least one apart."""
        self._interval, self._dt = interval, dt
        self.left = torch.zeros(num_envs, dtype=torch.long, device=device)
        """(N,) steps to go"""

    def _draw(self, count: int, generator: torch.Generator) -> Tensor:
        return (self._interval.draw(count, generator) / self._dt).round().long().clamp_min(1)

    def reset(self, ids: Tensor, generator: torch.Generator) -> None:
        """Begin anew in environments `ids` (n,)."""
        self.left[ids] = self._draw(len(ids), generator)

    def ring(self, ids: Tensor) -> None:
        """Make it time in environments `ids` (n,) with the next step."""
        self.left[ids] = 0

    def step(self, generator: torch.Generator) -> Tensor:
        """(N,) bool, where it is time; there the countdown begins anew."""
        self.left -= 1
        due = self.left <= 0
        self.left = torch.where(due, self._draw(len(due), generator), self.left)
        return due


class Pusher:
    """Pushes robots; random numbers are drawn for all of them at every step, so that nothing waits for the device."""

    def __init__(self, config: Pushes, robot: Robot, simulator: Simulator) -> None:
        """Look up the body.

        Raises:
            ValueError: for a body that the robot does not have.
            UnsupportedError: if the engine cannot push.
        """
        if not simulator.capabilities.apply_force:
            raise UnsupportedError(f"engine {simulator.capabilities.name} cannot push robots")
        n, device = simulator.num_envs, simulator.device
        self._config, self._simulator = config, simulator
        self._body = body_index(robot, config.body, "pushes.body")
        self._duration = max(1, round(config.duration / simulator.dt))
        self._timer = Timer(config.interval, simulator.dt, n, device)
        self._force = torch.zeros(n, 3, device=device)
        self._force_left = torch.zeros(n, dtype=torch.long, device=device)

    def reset(self, ids: Tensor, generator: torch.Generator) -> None:
        """Begin new episodes."""
        self._timer.reset(ids, generator)
        self._force_left[ids] = 0

    def push(self, ids: Tensor) -> None:
        """Push in environments `ids` (n,) with the next step."""
        self._timer.ring(ids)

    def act(self, generator: torch.Generator) -> None:
        """Push where it is time, in the physics step that follows."""
        config, due = self._config, self._timer.step(generator)
        n = len(due)
        if config.velocity is not None or config.angular_velocity is not None:
            changes = [
                (vector or Vector()).draw(n, generator) * due.unsqueeze(-1)
                for vector in (config.velocity, config.angular_velocity)
            ]
            self._simulator.add_velocity(*changes)
        if config.force is not None:
            angle = 2.0 * math.pi * torch.rand(n, generator=generator, device=due.device)
            direction = torch.stack([torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)], dim=-1)
            force = config.force.draw(n, generator).unsqueeze(-1) * direction
            self._force = torch.where(due.unsqueeze(-1), force, self._force)
            self._force_left = torch.where(due, self._duration, self._force_left - 1)
            self._simulator.apply_force(self._body, self._force * (self._force_left > 0).unsqueeze(-1))

    def state_dict(self) -> dict[str, Tensor]:
        """When the next pushes come, and what is left of the last."""
        return {"left": self._timer.left, "force": self._force, "force_left": self._force_left}
