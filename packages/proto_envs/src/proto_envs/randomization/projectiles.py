"""Boxes thrown at the robots."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from proto_envs.context import ObjectState
from proto_envs.randomization.config import Projectiles
from proto_envs.randomization.pushes import Timer
from proto_envs.scenes import Box, Scene, SceneBatch, SceneObject
from proto_envs.simulators import Simulator

__all__ = ["Thrower", "boxes"]

_HEIGHT = 1000.0
"""m over the ground, where boxes are that are not thrown. They fall, and are put back before they get far: a body in
the air costs much less than one that lies somewhere"""
_COLOR = (0.75, 0.30, 0.25)


def boxes(config: Projectiles, num_envs: int) -> SceneBatch:
    """The boxes of N environments, out of the way."""
    smallest, largest = config.half_size
    between = [k / max(1, config.count - 1) for k in range(config.count)]
    sizes = [2.0 * (smallest + (largest - smallest) * share) for share in between]
    things = tuple(
        SceneObject(
            name=f"box_{k}",
            parts=(Box(size=(size, size, size)),),
            mobility="dynamic",
            density=config.density,
            position=_parked(k),
            color=_COLOR,
        )
        for k, size in enumerate(sizes)
    )
    return SceneBatch((Scene(name="projectiles", objects=things),), torch.zeros(num_envs, dtype=torch.long))


def _parked(index: int) -> tuple[float, float, float]:
    return (2.0 * index, 0.0, _HEIGHT)


class Thrower:
    """Throws the boxes one after the other, each along the parabola that meets a robot that goes on as it goes now."""

    def __init__(self, config: Projectiles, simulator: Simulator) -> None:
        """Prepare to throw the boxes of an engine that was made with them."""
        n, device = simulator.num_envs, simulator.device
        self._config, self._simulator = config, simulator
        self._boxes = boxes(config, n)
        self._numbers = torch.arange(config.count, device=device)
        self._parked = torch.tensor([_parked(k) for k in range(config.count)], device=device)
        self._lifetime = max(1, round(config.lifetime / simulator.dt))
        self._timer = Timer(config.interval, simulator.dt, n, device)
        self._next = torch.zeros(n, dtype=torch.long, device=device)
        self._left = torch.zeros(n, config.count, dtype=torch.long, device=device)

    def reset(self, ids: Tensor, generator: torch.Generator) -> None:
        """Begin new episodes, in which the engine has put the boxes out of the way."""
        self._timer.reset(ids, generator)
        self._next[ids] = 0
        self._left[ids] = self._lifetime

    def throw(self, ids: Tensor) -> None:
        """Throw in environments `ids` (n,) with the next step."""
        self._timer.ring(ids)

    def act(self, generator: torch.Generator) -> None:
        """Throw a box where it is time, and take away those whose time is over."""
        due = self._timer.step(generator)
        thrown = due.unsqueeze(-1) & (self._numbers == self._next.unsqueeze(-1))
        self._left -= 1
        chosen = thrown | (self._left <= 0)
        origin, velocity = self._aim(generator)
        here = thrown.unsqueeze(-1)
        still = torch.zeros_like(self._parked).expand(len(due), -1, -1)
        self._simulator.throw(
            chosen,
            ObjectState(
                positions=torch.where(here, origin.unsqueeze(1), self._parked),
                rotations=torch.cat([still, torch.ones_like(still[..., :1])], dim=-1),
                velocities=torch.where(here, velocity.unsqueeze(1), still),
                angular_velocities=still,
            ),
        )
        self._left = self._left.masked_fill(chosen, self._lifetime)
        self._next = torch.where(due, (self._next + 1) % len(self._numbers), self._next)

    def _aim(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Where a box comes from (N, 3) and how fast (N, 3), drawn for every environment."""
        config, simulator = self._config, self._simulator
        state = simulator.robot()
        root = state.body_positions[:, 0]
        n, device = len(root), root.device
        angle = 2.0 * math.pi * torch.rand(n, generator=generator, device=device)
        distance = config.distance.draw(n, generator)
        offset = torch.stack([distance * torch.cos(angle), distance * torch.sin(angle)], dim=-1)
        origin = root + torch.cat([offset, config.height.draw(n, generator).unsqueeze(-1)], dim=-1)
        # The box's corner is sqrt(3) times as far from its middle as its face.
        lowest = simulator.terrain.heights(origin[:, :2]) + math.sqrt(3.0) * config.half_size[1]
        origin[:, 2] = torch.maximum(origin[:, 2], lowest)
        target = root + config.spread * torch.randn(n, 3, generator=generator, device=device)
        way = target - origin
        time = way.norm(dim=-1) / config.speed.draw(n, generator)
        # To where the robot will be, and above it by as much as the box falls on its way.
        ahead = state.body_velocities[:, 0] - 0.5 * time.unsqueeze(-1) * simulator.get_params("gravity")
        return origin, way / time.unsqueeze(-1) + ahead

    def state(self) -> tuple[SceneBatch, ObjectState]:
        """The boxes and where they are."""
        return self._boxes, self._simulator.projectiles()

    def state_dict(self) -> dict[str, Tensor]:
        """When the next boxes are thrown and the others taken away."""
        return {"wait": self._timer.left, "next": self._next, "left": self._left}
