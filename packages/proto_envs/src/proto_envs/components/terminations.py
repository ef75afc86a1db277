"""Termination kernels: pure functions of a `Context` with outputs (N,) bool, true where the episode has failed."""

from __future__ import annotations

from torch import Tensor

from proto_envs.context import Context

__all__ = ["fallen", "lost_track"]


def lost_track(ctx: Context, distance: float) -> Tensor:
    """Any body is farther than `distance` m from its reference."""
    return (ctx.tracking.squared_distances > distance**2).any(-1)


def fallen(ctx: Context, bodies: list[int], height: float | Tensor) -> Tensor:
    """One of `bodies` (all but the feet) is lower than `height` m over the ground below it and touches it.

    A tensor (bodies,) gives each its own height.
    """
    positions = ctx.state.body_positions[:, bodies]
    low = positions[..., 2] - ctx.terrain.heights(positions) < height
    touching = ctx.state.contact_forces[:, bodies].norm(dim=-1) > 0
    return (low & touching).any(-1)
