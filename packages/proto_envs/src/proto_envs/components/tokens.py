"""What a MaskedMimic policy sees, token by token: kernels of a `Context` with outputs (N, tokens · F).

All vectors are in the heading frame. What is hidden is 0.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from poselib.rotations import (
    heading_quat,
    quat_conjugate,
    quat_difference,
    quat_from_yaw,
    quat_multiply,
    rotation_6d_from_quat,
)
from proto_envs.components.observations import proprioception
from proto_envs.context import Context, RobotState, given

__all__ = [
    "history_mask",
    "object_mask",
    "past_poses",
    "past_states",
    "sparse_mask",
    "sparse_poses",
    "text",
    "text_mask",
]


def sparse_poses(ctx: Context, bodies: list[int], root_motion: bool) -> Tensor:
    """The poses asked for, (N, T F): F is 26 C + 28 with the root's motion (184 for six bodies), else 26 C + 1 (157).

    For each body 24 numbers: position against the same body now 3, 3 zeros, position against the root now 3, 3 zeros,
    turn from the body's rotation now (in its frame) 6, rotation 6. The root's motion is laid out in the same way:
    velocity against that now 3, 3 zeros, velocity 3, 3 zeros, turn from the root's rotation to upright in the heading
    6, heading 6. Then the mask, 2 numbers for each; s until the pose is due; and with the root's motion, 1 where
    anything is asked for. The zeros keep the sizes of ProtoMotions.
    """
    goal = given(ctx.sparse)
    state, heading = ctx.state, heading_quat(ctx.state.body_rotations[:, 0])
    upright = quat_conjugate(heading).view(-1, 1, 1, 4)
    now, turned = state.body_positions[:, None, bodies], state.body_rotations[:, None, bodies]
    first = ctx.in_heading(goal.positions - now)
    second = ctx.in_heading(goal.positions - state.body_positions[:, None, :1])
    turn = rotation_6d_from_quat(quat_difference(turned, goal.rotations))
    rotation = rotation_6d_from_quat(quat_multiply(upright.expand_as(goal.rotations), goal.rotations))
    mask = goal.mask if root_motion else goal.mask[:, :, :-1]
    if root_motion:
        velocity = torch.nn.functional.pad(goal.velocities, (0, 1))
        level = torch.cat([state.body_velocities[:, 0, :2], torch.zeros_like(velocity[:, 0, :1])], dim=-1)
        yaw = quat_from_yaw(goal.headings)
        root = state.body_rotations[:, :1].expand_as(yaw)
        first = torch.cat([first, ctx.in_heading(velocity - level.unsqueeze(1)).unsqueeze(2)], dim=2)
        second = torch.cat([second, ctx.in_heading(velocity).unsqueeze(2)], dim=2)
        turn = torch.cat([turn, rotation_6d_from_quat(quat_difference(root, yaw)).unsqueeze(2)], dim=2)
        level_turn = rotation_6d_from_quat(quat_multiply(upright[:, 0].expand_as(yaw), yaw))
        rotation = torch.cat([rotation, level_turn.unsqueeze(2)], dim=2)
    padded = torch.nn.functional.pad(torch.stack([first, second], dim=3), (0, 3)).flatten(3)
    rows = torch.cat([padded * mask[..., :1], torch.cat([turn, rotation], dim=-1) * mask[..., 1:]], dim=-1)
    asked = mask.flatten(2).any(-1, keepdim=True)
    due = ctx.dt * goal.wait.unsqueeze(-1) * asked
    parts = [rows.flatten(2), mask.flatten(2).float(), due, *([asked.float()] if root_motion else [])]
    return torch.cat(parts, dim=-1).flatten(1)


def sparse_mask(ctx: Context) -> Tensor:
    """1 for each slot in which anything is asked for, (N, T)."""
    return given(ctx.sparse).mask.flatten(2).any(-1).float()


def past_poses(ctx: Context) -> Tensor:
    """Where the bodies were, seen from where the root is now, (N, H (9 B + 1)): 217 each for SMPL.

    Positions against the root 3 B, rotations 6 B, and the time in s, not positive.
    """
    past = given(ctx.past)
    offsets = ctx.in_heading(past.body_positions - ctx.state.body_positions[:, None, :1])
    upright = quat_conjugate(heading_quat(ctx.state.body_rotations[:, 0])).view(-1, 1, 1, 4)
    rotations = rotation_6d_from_quat(quat_multiply(upright.expand_as(past.body_rotations), past.body_rotations))
    return _timed(ctx, torch.cat([offsets.flatten(2), rotations.flatten(2)], dim=-1))


def past_states(ctx: Context) -> Tensor:
    """`proprioception` at moments before, each seen from where the root was then, (N, H (15 B - 1)): 359 for SMPL.

    The time in s, not positive, follows.
    """
    past = given(ctx.past)

    def unknown(name: str) -> Tensor:
        raise LookupError(f"{name} of past states is not remembered")

    then = RobotState(
        past.body_positions.flatten(0, 1),
        past.body_rotations.flatten(0, 1),
        past.body_velocities.flatten(0, 1),
        past.body_angular_velocities.flatten(0, 1),
        read=unknown,
    )
    seen = proprioception(replace(ctx, state=then, ground_height=past.ground_height.flatten()))
    return _timed(ctx, seen.unflatten(0, tuple(past.known.shape)))


def _timed(ctx: Context, tokens: Tensor) -> Tensor:
    past = given(ctx.past)
    time = -past.ages.expand(past.known.shape).unsqueeze(-1)
    return (torch.cat([tokens, time], dim=-1) * past.known.unsqueeze(-1)).flatten(1)


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


def object_mask(ctx: Context) -> Tensor:
    """1 where the object is shown, (N, 1)."""
    return given(ctx.sparse).object_shown.float().unsqueeze(-1)
