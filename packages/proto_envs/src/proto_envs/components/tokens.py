"""What a MaskedMimic policy sees, token by token: kernels of a `Context` with outputs (N, tokens · F).

All vectors are in the heading frame. What is hidden is 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

from poselib.rotations import heading_quat, quat_difference, quat_from_yaw, rotation_6d_from_quat
from proto_envs.components.objects import bounding_boxes
from proto_envs.context import Context, given

__all__ = [
    "history_mask",
    "no_object",
    "object_box",
    "object_mask",
    "past_poses",
    "past_states",
    "sparse_mask",
    "sparse_poses",
    "text",
    "text_mask",
    "world_poses",
]


def sparse_poses(ctx: Context, bodies: list[int], root_motion: bool) -> Tensor:
    """The poses asked for, (N, T F): F is 26 C + 28 with the root's motion (184 for six bodies), else 26 C + 1 (157).

    For each body 24 numbers: position against the same body now 3, 3 zeros, position against the root now 3, 3 zeros,
    turn from the body's rotation now (in its frame) 6, rotation 6. The root's motion is laid out in the same way:
    velocity against that now 3, 3 zeros, velocity 3, 3 zeros, turn from the root's rotation to upright in the heading
    6, heading 6. Then the mask, 2 numbers for each; s until the pose is due; and with the root's motion, 1 where
    anything is asked for. The zeros keep the sizes of ProtoMotions.
    """
    goal, state = given(ctx.sparse), ctx.state
    mask = goal.mask if root_motion else goal.mask[:, :, :-1]
    rows = mask.shape[2]
    now, root = state.body_positions[:, None, bodies], state.body_positions[:, None, :1]
    against, own, rotations = goal.positions - now, goal.positions - root, goal.rotations
    if root_motion:
        bodies = [*bodies, 0]
        velocity = torch.nn.functional.pad(goal.velocities, (0, 1))
        change = torch.nn.functional.pad(goal.velocities - state.body_velocities[:, None, 0, :2], (0, 1))
        against = torch.cat([against, change.unsqueeze(2)], dim=2)
        own = torch.cat([own, velocity.unsqueeze(2)], dim=2)
        rotations = torch.cat([rotations, quat_from_yaw(goal.headings).unsqueeze(2)], dim=2)
    asked = mask.flatten(2).any(-1)
    tokens = torch.zeros(*goal.wait.shape, 26 * rows + (2 if root_motion else 1), device=mask.device)
    parts = tokens[..., : 24 * rows].unflatten(-1, (rows, 24))
    first, second = mask[..., :1].float(), mask[..., 1:].float()
    parts[..., 0:3] = ctx.in_heading(against) * first
    parts[..., 6:9] = ctx.in_heading(own) * first
    for start, frames in ((12, state.body_rotations[:, bodies]), (18, heading_quat(state.body_rotations[:, :1]))):
        turned = rotation_6d_from_quat(quat_difference(frames.unsqueeze(1), rotations))
        parts[..., start : start + 6] = turned * second
    tokens[..., 24 * rows : 26 * rows] = mask.flatten(2)
    tokens[..., 26 * rows] = ctx.dt * goal.wait * asked
    if root_motion:
        tokens[..., -1] = asked
    return tokens.flatten(1)


def sparse_mask(ctx: Context) -> Tensor:
    """1 for each slot in which anything is asked for, (N, T)."""
    return given(ctx.sparse).mask.flatten(2).any(-1).float()


def past_poses(ctx: Context) -> Tensor:
    """Where the bodies were, seen from where the root is now, (N, H (9 B + 1)): 217 each for SMPL.

    Positions against the root 3 B, rotations 6 B, and the time in s, not positive. The history must remember
    `world_poses`.
    """
    past = given(ctx.past)
    vectors = past.seen.unflatten(-1, (-1, 3))
    bodies = vectors.shape[2] // 3
    offsets = vectors[:, :, :bodies] - ctx.state.body_positions[:, None, :1]
    return _timed(ctx, ctx.in_heading(torch.cat([offsets, vectors[:, :, bodies:]], dim=2)).flatten(2))


def past_states(ctx: Context) -> Tensor:
    """What the history remembers, as it was seen then, and the time in s, not positive, (N, H (F + 1)).

    With `proprioception`: 359 each for SMPL.
    """
    return _timed(ctx, given(ctx.past).seen)


def world_poses(ctx: Context) -> Tensor:
    """Positions of all bodies 3 B and the two axes that say how each is turned 6 B, in the world, (N, 9 B)."""
    axes = rotation_6d_from_quat(ctx.state.body_rotations)
    return torch.cat([ctx.state.body_positions.flatten(1), axes.flatten(1)], dim=-1)


def _timed(ctx: Context, seen: Tensor) -> Tensor:
    past = given(ctx.past)
    tokens = torch.cat([seen, -past.ages.view(1, -1, 1).expand(len(seen), -1, 1)], dim=-1)
    # What was not is 0, even where a lost state stands in its place.
    return tokens.masked_fill_(~past.known.unsqueeze(-1), 0.0).flatten(1)


def history_mask(ctx: Context) -> Tensor:
    """1 for each moment of the history that there was, (N, H)."""
    return given(ctx.past).known.float()


def text(ctx: Context) -> Tensor:
    """The embedding of the sentence that says what to do, (N, E)."""
    goal = given(ctx.sparse)
    return goal.text * goal.text_shown.unsqueeze(-1)


def text_mask(ctx: Context) -> Tensor:
    """1 where there is a sentence, (N, 1)."""
    return given(ctx.sparse).text_shown.float().unsqueeze(-1)


def object_box(ctx: Context) -> Tensor:
    """The box around the scene's target (`proto_envs.components.objects.bounding_boxes`), (N, 37)."""
    return bounding_boxes(ctx) * given(ctx.sparse).object_shown.unsqueeze(-1)


def no_object(ctx: Context) -> Tensor:
    """What `object_box` shows where no object is shown, (N, 37), of robots that there need not be any beside."""
    return torch.zeros(len(ctx.steps), 37, device=ctx.steps.device)


def object_mask(ctx: Context) -> Tensor:
    """1 where the object is shown, (N, 1)."""
    return given(ctx.sparse).object_shown.float().unsqueeze(-1)
