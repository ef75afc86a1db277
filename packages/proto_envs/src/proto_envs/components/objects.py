"""What is seen of objects, and how far they are from where they should be: pure functions of a `Context`."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from poselib.rotations import angle_between, quat_apply, quat_difference, quat_identity, rotation_6d_from_quat
from proto_envs.context import Context, ObjectState, SceneView, given

__all__ = [
    "Which",
    "bounding_boxes",
    "lost_object",
    "nearest_surface",
    "object_angle",
    "object_deviation",
    "object_error",
    "object_tracking",
    "object_velocities",
    "on_target",
    "point_clouds",
    "target_pose",
    "target_surface",
]

Which = Literal["target", "all"]
"""the object that the task is about, or one after the other in the order of their places"""


def _chosen(ctx: Context, which: Which) -> tuple[SceneView, ObjectState, Tensor]:
    """View, state, and places (n, K) of the chosen objects."""
    view, state = given(ctx.scene), given(ctx.objects)
    if which == "target":
        return view, state, view.targets.unsqueeze(1)
    every = torch.arange(state.positions.shape[1], device=state.positions.device)
    return view, state, every.expand(len(view.scenes), -1)


def _pick(field: Tensor, places: Tensor) -> Tensor:
    """(n, O, ...) at places (n, K): (n, K, ...)."""
    return field[torch.arange(len(places), device=places.device).unsqueeze(1), places]


def bounding_boxes(ctx: Context, which: Which = "target") -> Tensor:
    """Box around each object: 8 corners against the root, orientation 6, category 7, in the heading frame, (N, 37 K).

    An empty place is all zeros. Layout as in the MaskedMimic paper's object token (whose text names one number for the
    category, its code seven).
    """
    view, state, places = _chosen(ctx, which)
    rows = view.scenes.unsqueeze(1)
    positions, rotations = _pick(state.positions, places), _pick(state.rotations, places)
    corners = _world(positions, rotations, view.tables.corners[rows, places]) - ctx.state.body_positions[:, None, :1]
    axes = rotation_6d_from_quat(rotations).unflatten(-1, (2, 3))
    seen = ctx.in_heading(torch.cat([corners, axes], dim=2)).flatten(2)
    boxes = torch.cat([seen, view.tables.categories[rows, places]], dim=-1)
    return (boxes * view.tables.present[rows, places].unsqueeze(-1)).flatten(1)


def point_clouds(ctx: Context, which: Which = "target") -> Tensor:
    """Points on the surface of each object against the root, in the heading frame, (N, 3 P K); zeros where none is."""
    view, state, places = _chosen(ctx, which)
    points = _cloud(view, state, places) - ctx.state.body_positions[:, None, :1]
    return (ctx.in_heading(points) * view.tables.present[view.scenes.unsqueeze(1), places][..., None, None]).flatten(1)


def object_velocities(ctx: Context, which: Which = "target") -> Tensor:
    """Velocity 3 and angular velocity 3 of each object, in the heading frame, (N, 6 K)."""
    _, state, places = _chosen(ctx, which)
    speeds = torch.stack([_pick(state.velocities, places), _pick(state.angular_velocities, places)], dim=2)
    return ctx.in_heading(speeds).flatten(1)


def nearest_surface(ctx: Context, bodies: list[int]) -> Tensor:
    """From each of `bodies` to the nearest surface point of any object, in the heading frame, (N, 3 bodies)."""
    view, state, places = _chosen(ctx, "all")
    points = _cloud(view, state, places).flatten(1, 2)
    empty = ~view.tables.present[view.scenes].repeat_interleave(view.tables.points.shape[2], dim=1)
    return ctx.in_heading(_to_nearest(ctx.state.body_positions[:, bodies], points, empty)).flatten(1)


def target_surface(ctx: Context, bodies: list[int]) -> Tensor:
    """From each of `bodies` to the nearest surface point of the target, world, (N, bodies, 3)."""
    view, state, places = _chosen(ctx, "target")
    return _to_nearest(ctx.state.body_positions[:, bodies], _cloud(view, state, places).flatten(1, 2))


def target_pose(ctx: Context) -> tuple[Tensor, Tensor, Tensor]:
    """Position (N, 3), rotation (N, 4) and velocity (N, 3) of the target, world."""
    _, state, places = _chosen(ctx, "target")
    position, rotation, velocity = (
        _pick(field, places).squeeze(1) for field in (state.positions, state.rotations, state.velocities)
    )
    return position, rotation, velocity


def on_target(ctx: Context, local: Tensor) -> Tensor:
    """Points (N, 3) of the target's frame in the world."""
    position, rotation, _ = target_pose(ctx)
    return position + quat_apply(rotation, local)


def _world(positions: Tensor, rotations: Tensor, local: Tensor) -> Tensor:
    """Points (n, K, P, 3) of objects' frames in the world."""
    return positions.unsqueeze(2) + quat_apply(rotations.unsqueeze(2), local)


def _cloud(view: SceneView, state: ObjectState, places: Tensor) -> Tensor:
    """(n, K, P, 3) m, world."""
    local = view.tables.points[view.scenes.unsqueeze(1), places]
    return _world(_pick(state.positions, places), _pick(state.rotations, places), local)


def _to_nearest(origins: Tensor, points: Tensor, without: Tensor | None = None) -> Tensor:
    """Vectors from origins (n, K, 3) to the nearest of points (n, P, 3), less those of `without` (n, P)."""
    offsets = points.unsqueeze(1) - origins.unsqueeze(2)
    distances = offsets.square().sum(-1)
    if without is not None:
        distances = distances.masked_fill(without.unsqueeze(1), torch.inf)
    nearest = distances.argmin(-1)[..., None, None].expand(-1, -1, 1, 3)
    return offsets.gather(2, nearest).squeeze(2)


# --- objects against their trajectories ------------------------------------------------------------------------------


def _followed(ctx: Context) -> tuple[ObjectState, ObjectState, Tensor]:
    """State, reference, and (N, O) which objects have a trajectory."""
    view = given(ctx.scene)
    return given(ctx.objects), given(view.reference), view.tables.moves[view.scenes]


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    return (values * chosen).sum(-1) / chosen.sum(-1).clamp_min(1)


def object_error(ctx: Context) -> Tensor:
    """Mean distance of the objects with a trajectory from it, m, (N,); 0 without any."""
    state, reference, followed = _followed(ctx)
    return _mean((state.positions - reference.positions).norm(dim=-1), followed)


def object_angle(ctx: Context) -> Tensor:
    """Mean angle between the objects with a trajectory and it, rad, (N,); 0 without any."""
    state, reference, followed = _followed(ctx)
    return _mean(angle_between(state.rotations, reference.rotations), followed)


def lost_object(ctx: Context, distance: float) -> Tensor:
    """An object is farther than `distance` m from its trajectory, (N,) bool."""
    state, reference, followed = _followed(ctx)
    return (((state.positions - reference.positions).norm(dim=-1) > distance) & followed).any(-1)


def object_deviation(ctx: Context) -> Tensor:
    """Where each object should be, against where it is: position 3 in the heading frame, turn 6 in its own, (N, 9 O).

    Without a trajectory, it is where it should be.
    """
    state, reference, followed = _followed(ctx)
    offset = ctx.in_heading((reference.positions - state.positions) * followed.unsqueeze(-1))
    rest = quat_identity(*followed.shape, device=followed.device)
    turn = torch.where(followed.unsqueeze(-1), quat_difference(state.rotations, reference.rotations), rest)
    return torch.cat([offset, rotation_6d_from_quat(turn)], dim=-1).flatten(1)


def object_tracking(ctx: Context, position_scale: float, rotation_scale: float) -> Tensor:
    """exp(-a · mean squared distance in m² - b · mean squared angle in rad²) over objects with a trajectory, (N,)."""
    state, reference, followed = _followed(ctx)
    distance = (state.positions - reference.positions).square().sum(-1)
    angle = angle_between(state.rotations, reference.rotations).square()
    return torch.exp(-position_scale * _mean(distance, followed) - rotation_scale * _mean(angle, followed))
