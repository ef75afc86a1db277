"""Random smooth paths on the ground, with a height to keep the head at, and the control that plays them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from poselib.rotations import heading_angle
from proto_envs.components.control import Control, Markers
from proto_envs.context import Context
from proto_envs.goals import PathGoal
from proto_envs.terrain import FLAT, Terrain

__all__ = ["PathFollower", "PathShape", "clamped_walk", "draw_paths"]


@dataclass(frozen=True, kw_only=True)
class PathShape:
    """What paths look like."""

    vertices: int
    """on each path"""
    spacing: float
    """s between two vertices"""
    start_speed: float
    """m/s, highest at the beginning; uniform from 0"""
    max_speed: float
    """m/s"""
    acceleration: float
    """m/s2, largest change of speed; uniform"""
    turn_rate: float
    """rad/s, fastest turn; uniform"""
    sharp_turn_share: float
    """of the vertices at which the path turns by any angle at once"""
    start_turn: float
    """rad, largest angle between where the robot faces and where the path begins to go; uniform"""
    heights: tuple[float, float]
    """m of the head over the ground, lowest and highest; uniform at the beginning"""
    vertical_speed: float = 0.5
    """m/s, fastest change of the height"""
    vertical_acceleration: float = 0.2
    """m/s2"""
    full_speed_height: float = 1.2
    """m; a head lower than this goes slower, down to 1 m/s at the lowest height"""


def clamped_walk(start: Tensor, increments: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """A random walk that stops at its bounds: x[t + 1] = clamp(x[t] + increments[t], low[t], high[t]).

    A step is x -> clamp(x + a, l, h), and two of them make one of the same form; so all T are composed in log T
    batched rounds (a prefix scan) instead of T.

    Args:
        start: (N,) x[0].
        increments: (N, T).
        low: (N, T) or a number.
        high: (N, T) or a number, nowhere below `low`.

    Returns:
        (N, T + 1), with `start` in front.
    """
    add = increments.clone()
    low = torch.as_tensor(low).to(add).expand_as(add).clone()
    high = torch.as_tensor(high).to(add).expand_as(add).clone()
    reach = 1
    while reach < add.shape[1]:
        # The map of the `reach` steps before comes first, then the map of those that end here.
        earlier = tuple(part[:, :-reach].clone() for part in (add, low, high))
        now_add, now_low, now_high = (part[:, reach:].clone() for part in (add, low, high))
        add[:, reach:] = earlier[0] + now_add
        low[:, reach:] = torch.minimum(torch.maximum(earlier[1] + now_add, now_low), now_high)
        high[:, reach:] = torch.minimum(torch.maximum(earlier[2] + now_add, now_low), now_high)
        reach *= 2
    walk = torch.minimum(torch.maximum(start.unsqueeze(1) + add, low), high)
    return torch.cat([start.unsqueeze(1), walk], dim=1)


def draw_paths(shape: PathShape, start: Tensor, heading: Tensor, generator: torch.Generator) -> Tensor:
    """Random paths.

    Args:
        shape: of the paths.
        start: (n, 2) m, first vertices.
        heading: (n,) rad, where the robots face.
        generator: of the draw.

    Returns:
        (n, V, 3) m; z is the height of the head over the ground.
    """
    n, steps = len(start), shape.vertices - 1

    def uniform(size: float, *columns: int) -> Tensor:
        return size * (2.0 * torch.rand(n, *columns, generator=generator, device=start.device) - 1.0)

    def share(*columns: int) -> Tensor:
        return torch.rand(n, *columns, generator=generator, device=start.device)

    lowest, highest = shape.heights
    climb = clamped_walk(
        torch.zeros_like(heading),
        uniform(shape.vertical_acceleration * shape.spacing, steps),
        -shape.vertical_speed,
        shape.vertical_speed,
    )
    height = clamped_walk(lowest + (highest - lowest) * share(), climb[:, 1:] * shape.spacing, lowest, highest)
    crouch = (height - lowest) / max(shape.full_speed_height - lowest, 1e-6)
    fastest = (1.0 + (shape.max_speed - 1.0) * crouch).clamp(max=shape.max_speed)
    begin = torch.minimum(shape.start_speed * share(), fastest[:, 0])
    speed = clamped_walk(begin, uniform(shape.acceleration * shape.spacing, steps), 0.0, fastest[:, 1:])
    sharp = share(steps) < shape.sharp_turn_share
    bends = torch.where(sharp, uniform(math.pi, steps), uniform(shape.turn_rate * shape.spacing, steps))
    # The first piece goes off at the start turn, so the last bend has no piece.
    yaw = (heading + uniform(shape.start_turn)).unsqueeze(1) + torch.cat(
        [torch.zeros_like(bends[:, :1]), bends[:, 1:].cumsum(1)], dim=1
    )
    pieces = (speed[:, :-1] * shape.spacing).unsqueeze(-1) * torch.stack([torch.cos(yaw), torch.sin(yaw)], dim=-1)
    corners = torch.cat([start.unsqueeze(1), start.unsqueeze(1) + pieces.cumsum(1)], dim=1)
    return torch.cat([corners, height.unsqueeze(-1)], dim=-1)


class PathFollower(Control):
    """Plays a path to each robot, from under its head at the start of the episode."""

    def __init__(
        self,
        num_envs: int,
        dt: float,
        device: torch.device,
        *,
        shape: PathShape,
        head: int,
        samples: int,
        sample_spacing: float,
    ) -> None:
        """Begin with paths of length 0.

        Args:
            num_envs: N.
            dt: s per control step.
            device: of the paths.
            shape: of the paths; they must last for the episode and what is seen ahead of its end.
            head: index of the body that is to follow.
            samples: S, points of the path that are shown.
            sample_spacing: s between them; the first is where the head should be now.
        """
        self.shape = shape
        self.paths = torch.zeros(num_envs, shape.vertices, 3, device=device)
        self.age = torch.zeros(num_envs, dtype=torch.long, device=device)
        self._dt, self._head = dt, head
        self._ahead = sample_spacing * torch.arange(samples, device=device)
        self._terrain: Terrain = FLAT
        self._renewed: Tensor | None = None
        """(n,) robots that are given other paths with the next step"""

    def begin(self, ids: Tensor, context: Context, generator: torch.Generator) -> None:
        """Draw a path for each new episode."""
        self._draw(ids, context.state.body_positions, context.state.body_rotations, generator)
        self._terrain = context.terrain

    def _draw(self, ids: Tensor, positions: Tensor, rotations: Tensor, generator: torch.Generator) -> None:
        """Paths of `ids` from where their bodies are, (n, B, ...)."""
        heading = heading_angle(rotations[:, 0])
        self.paths[ids] = draw_paths(self.shape, positions[:, self._head, :2], heading, generator)
        self.age[ids] = 0

    def renew(self, ids: Tensor) -> bool:
        """Give other paths with the next step."""
        self._renewed = ids
        return True

    def observe(self, context: Context, generator: torch.Generator) -> None:
        """Give other paths where they were asked for."""
        if (ids := self._renewed) is not None:
            self._draw(ids, context.state.body_positions[ids], context.state.body_rotations[ids], generator)
            self._renewed = None

    def step(self, generator: torch.Generator) -> None:
        """Time goes on."""
        del generator
        self.age.add_(1)

    def at(self, times: Tensor, ids: Tensor | None = None) -> Tensor:
        """Points (n, S, 3) of the paths at `times` (n, S) s, straight between vertices, resting at the last one.

        (ProtoMotions divides by one vertex too many, so that its paths play 1 % slow.)
        """
        paths = self.paths if ids is None else self.paths[ids]
        place = (times / self.shape.spacing).clamp(0.0, self.shape.vertices - 1)
        first = place.floor().clamp_max(self.shape.vertices - 2)
        blend = (place - first).unsqueeze(-1)
        index = first.long().unsqueeze(-1).expand(-1, -1, 3)
        return torch.lerp(paths.gather(1, index), paths.gather(1, index + 1), blend)

    def context(self, ids: Tensor | None) -> Mapping[str, Any]:
        """Where the head should be, now and ahead."""
        age = self.age if ids is None else self.age[ids]
        ahead = self.at((age * self._dt).unsqueeze(1) + self._ahead, ids)
        return {"path": PathGoal(age=age, now=ahead[:, 0], ahead=ahead)}

    def markers(self) -> list[Markers]:
        """The points that the policy sees."""
        ahead = self.context(None)["path"].ahead
        ground = self._terrain.heights(ahead).unsqueeze(-1)
        return [Markers(torch.cat([ahead[..., :2], ahead[..., 2:] + ground], dim=-1))]

    def state_dict(self) -> dict[str, Tensor]:
        """The paths and how long they have been played."""
        return {"paths": self.paths, "age": self.age}
