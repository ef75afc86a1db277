"""What there is to know of the objects of S scenes, as tensors with a row per scene and a column per place."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from poselib.rotations import exp_map_from_quat, quat_conjugate, quat_multiply, slerp
from proto_envs.context import ObjectState
from proto_envs.scenes.meshes import surface_points
from proto_envs.scenes.scene import CATEGORIES, Scene, SceneObject

__all__ = ["AWAY", "POINTS", "SceneTables"]

POINTS = 64
"""surface points of each object"""
AWAY = -50.0
"""m, height of an empty place: nothing is seen there and nothing meets it"""


@dataclass(frozen=True, eq=False)
class SceneTables:
    """S scenes, O places. An empty place has zeros, and a pose far below the ground."""

    present: Tensor
    """(S, O) bool"""
    kinematic: Tensor
    """(S, O) bool, moved along a trajectory"""
    moves: Tensor
    """(S, O) bool, has a trajectory"""
    corners: Tensor
    """(S, O, 8, 3) m, of the bounding box in the object's frame; x slowest, z fastest, low before high"""
    categories: Tensor
    """(S, O, 7) one-hot, or zeros"""
    seats: Tensor
    """(S, O, 3) m in the object's frame, where there is one: else the middle of the bounding box's top"""
    supports: Tensor
    """(S, O) int64, place of the object below, maybe its own: whose ground counts"""
    targets: Tensor
    """(S,) int64, place of the object that a task is about"""
    _poses: Tensor = field(repr=False)
    """(S, O, T, 13) positions, rotations, velocities and angular velocities; short ones go on in their last pose"""
    _last: Tensor = field(repr=False)
    """(S, O) number of the last pose"""
    _fps: Tensor = field(repr=False)
    """(S, O)"""
    _places: tuple[tuple[SceneObject | None, ...], ...] = field(repr=False)

    @classmethod
    def of(cls, scenes: Sequence[Scene], places: tuple[tuple[SceneObject | None, ...], ...]) -> SceneTables:
        """Read everything off the objects."""

        def table(value: Callable[[SceneObject], object], empty: object) -> Tensor:
            return torch.tensor([[empty if thing is None else value(thing) for thing in row] for row in places])

        corners = [[np.zeros((8, 3)) if thing is None else _corners(thing) for thing in row] for row in places]
        seats = [[np.zeros(3) if thing is None else _seat(thing) for thing in row] for row in places]
        poses = [[_poses_of(thing) for thing in row] for row in places]
        longest = max(len(each) for row in poses for each in row)
        padded = [[torch.cat([p, p[-1:].expand(longest - len(p), -1)]) for p in row] for row in poses]
        supports = [
            [o if (below := _below(scene, thing)) is None else row.index(below) for o, thing in enumerate(row)]
            for scene, row in zip(scenes, places, strict=True)
        ]
        targets = [row.index(scene.target_object) for scene, row in zip(scenes, places, strict=True)]
        return cls(
            present=table(lambda thing: True, False),
            kinematic=table(lambda thing: thing.mobility == "kinematic", False),
            moves=table(lambda thing: thing.trajectory is not None, False),
            corners=torch.tensor(np.array(corners), dtype=torch.float32),
            categories=table(lambda thing: [float(thing.category == name) for name in CATEGORIES], [0.0] * 7),
            seats=torch.tensor(np.array(seats), dtype=torch.float32),
            supports=torch.tensor(supports),
            targets=torch.tensor(targets),
            _poses=torch.stack([torch.stack(row) for row in padded]),
            _last=torch.tensor([[len(each) - 1 for each in row] for row in poses]),
            _fps=table(lambda thing: 1.0 if thing.trajectory is None else float(thing.trajectory.fps), 1.0),
            _places=places,
        )

    def to(self, device: torch.device | str) -> SceneTables:
        """The same on another device."""
        moved: Any = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor) and k != "points"}
        return replace(self, **moved)

    @cached_property
    def points(self) -> Tensor:
        """(S, O, P, 3) m, surface points in the object's frame, sampled when first asked for; needs trimesh.

        An object that stands in several scenes is sampled once.
        """
        known: dict[int, np.ndarray] = {}
        for thing in (thing for row in self._places for thing in row if thing is not None):
            if id(thing) not in known:
                known[id(thing)] = surface_points(thing.parts, POINTS)
        empty = np.zeros((POINTS, 3))
        rows = [[empty if thing is None else known[id(thing)] for thing in row] for row in self._places]
        return torch.tensor(np.array(rows), dtype=torch.float32, device=self.corners.device)

    def poses(self, scenes: Tensor, times: Tensor) -> ObjectState:
        """Where the objects of n scenes are by their trajectories, in the scenes' frames, (n, O, ...) in each field.

        Positions and velocities are interpolated linearly, rotations along the shorter arc; before its start and after
        its end an object stands where it began or ended.

        Args:
            scenes: (n,) int64.
            times: (n,) s from the trajectories' first pose.
        """
        frame = times.unsqueeze(1) * self._fps[scenes]
        last = self._last[scenes]
        early = torch.minimum(frame.floor().clamp_min(0.0).long(), last)
        late = torch.minimum(early + 1, last)
        blend = (frame - early).clamp(0.0, 1.0).unsqueeze(-1)
        rows, columns = scenes.unsqueeze(1), torch.arange(last.shape[1], device=last.device)
        a, b = self._poses[rows, columns, early], self._poses[rows, columns, late]
        mixed = torch.lerp(a, b, blend)
        moving = ((frame >= 0.0) & (frame < last)).unsqueeze(-1)
        return ObjectState(
            positions=mixed[..., :3],
            rotations=slerp(a[..., 3:7], b[..., 3:7], blend),
            velocities=mixed[..., 7:10] * moving,
            angular_velocities=mixed[..., 10:] * moving,
        )


def _corners(thing: SceneObject) -> np.ndarray:
    return np.array(list(itertools.product(*zip(*thing.bounds(), strict=True))))


def _seat(thing: SceneObject) -> np.ndarray:
    if thing.seat is not None:
        return np.array(thing.seat)
    low, high = thing.bounds()
    return np.array([*(0.5 * (low + high))[:2], high[2]])


def _below(scene: Scene, thing: SceneObject | None) -> SceneObject | None:
    return None if thing is None else scene.support(thing)


def _poses_of(thing: SceneObject | None) -> Tensor:
    """(T, 13): one pose for what has no trajectory. Velocities are finite differences, each pose's to the next."""
    if thing is None:
        return torch.tensor([[0.0, 0.0, AWAY, 0.0, 0.0, 0.0, 1.0] + [0.0] * 6])
    if thing.trajectory is None:
        return torch.tensor([[*thing.position, *thing.rotation] + [0.0] * 6])
    path = thing.trajectory
    positions, rotations, count = path.positions, path.rotations, len(path.positions)
    rates = torch.zeros(count, 6)
    if count > 1:
        rates[:-1, :3] = positions.diff(dim=0) * path.fps
        turn = quat_multiply(rotations[1:], quat_conjugate(rotations[:-1]))
        rates[:-1, 3:] = exp_map_from_quat(turn) * path.fps
        rates[-1] = rates[-2]
    return torch.cat([positions, rotations, rates], dim=-1)
