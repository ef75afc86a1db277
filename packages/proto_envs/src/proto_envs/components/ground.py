"""What a policy sees of the ground."""

from __future__ import annotations

import torch
from torch import Tensor

from proto_envs.context import Context

__all__ = ["height_map"]


def height_map(ctx: Context, points: int = 16, reach: float = 1.0) -> Tensor:
    """Height of the root over the ground at a square of points that turns with the heading, (N, points²) m.

    The points stand from `-reach` to `reach` m behind and before, right and left of the root, row by row from the
    back, each row from the right; 16 of them over ±1 m are 2/15 m apart, as in MaskedMimic and ProtoMotions.
    """
    root = ctx.state.body_positions[:, 0]
    line = torch.linspace(-reach, reach, points, device=root.device)
    square = torch.cartesian_prod(line, line)
    # Rows times the transposed matrix turn from the heading frame back into the world.
    world = root[:, None, :2] + square @ ctx.heading_matrix[:, :2, :2].transpose(-1, -2)
    return root[:, 2:] - ctx.terrain.heights(world)
