"""Where a robot's bodies were a while ago, at evenly spaced moments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from motionlib import MotionLib
from proto_envs.components.control import Control
from proto_envs.context import Context, PastStates
from proto_envs.terrain.ground import Ground

__all__ = ["ClipOrigin", "PoseHistory"]

ClipOrigin = Callable[[], tuple[Tensor, Tensor, Tensor]]
"""gives clips (N,), times in them (N,) s, and (N,) bool whether the latest episode of each environment began there"""


class PoseHistory(Control):
    """Remembers a state of the bodies every few steps, for all environments in the same steps.

    Of H moments the latest is 1 to `stride` steps ago, the others `stride` apart; the ages are said beside them. (Only
    these are kept: ProtoMotions keeps the 120 steps before now to show 15 of them.) An episode that begins at a moment
    of a clip has that clip's past, as far as there is one.
    """

    def __init__(
        self,
        num_envs: int,
        dt: float,
        motions: MotionLib | None,
        origin: ClipOrigin,
        ground: Ground,
        *,
        length: int,
        stride: int,
        none_share: float = 0.0,
    ) -> None:
        """Begin with no past.

        Args:
            num_envs: N.
            dt: s per control step.
            motions: the clips that episodes begin in.
            origin: where they begin.
            ground: puts the clips' past onto the ground.
            length: H.
            stride: control steps between two moments.
            none_share: of the episodes that begin without a past.
        """
        device, bodies = ground.offsets.device, ground.robot.skeleton.num_bodies
        self.length, self.stride, self.none_share = length, stride, none_share
        self._dt, self._motions, self._origin, self._ground = dt, motions, origin, ground
        # One more than is shown, because the latest may be the present.
        self._states = torch.zeros(num_envs, length + 1, bodies, 13, device=device)
        self._heights = torch.zeros(num_envs, length + 1, device=device)
        self._known = torch.zeros(num_envs, length + 1, dtype=torch.bool, device=device)
        self._spacing = stride * torch.arange(length + 1, device=device)
        self._phase = 0
        """control steps since the latest remembered moment"""

    def begin(self, ids: Tensor, context: Context, generator: torch.Generator) -> None:
        """Remember the clip's past where an episode begins in a clip; forget all else."""
        self._states[ids] = _packed(context).unsqueeze(1)
        self._heights[ids] = context.ground_height.unsqueeze(1)
        self._known[ids] = False
        self._known[ids, 0] = self._phase == 0
        forgotten = torch.rand(len(ids), generator=generator, device=ids.device) < self.none_share
        if self._motions is None:
            return
        clips, times, began = (part[ids] for part in self._origin())
        moments = times.unsqueeze(1) - self._dt * (self._phase + self._spacing)
        states = self._motions.get_body_state(clips.repeat_interleave(moments.shape[1]), moments.flatten())
        states = self._ground.lifted(states.map(lambda field: field.unflatten(0, tuple(moments.shape))), ids)
        fields = (states.body_positions, states.body_rotations, states.body_velocities, states.body_angular_velocities)
        known = (moments >= -1e-6) | self._motions.loops[clips].unsqueeze(1)
        known &= (began & ~forgotten).unsqueeze(1)
        # The present is where the robot is, which reset noise may have moved.
        first = 1 if self._phase == 0 else 0
        chosen = known[:, first:]
        mask = chosen.unsqueeze(-1).unsqueeze(-1)
        self._states[ids, first:] = torch.where(mask, torch.cat(fields, dim=-1)[:, first:], self._states[ids, first:])
        heights = self._ground.terrain.heights(states.body_positions[:, first:, 0])
        self._heights[ids, first:] = torch.where(chosen, heights, self._heights[ids, first:])
        self._known[ids, first:] = chosen

    def observe(self, context: Context, generator: torch.Generator) -> None:
        """Remember the present where it is time to."""
        del generator
        self._phase = (self._phase + 1) % self.stride
        if self._phase:
            return
        for live, new in (
            (self._states, _packed(context)),
            (self._heights, context.ground_height),
            (self._known, torch.ones_like(context.steps, dtype=torch.bool)),
        ):
            live.copy_(torch.cat([new.unsqueeze(1), live[:, :-1]], dim=1))

    def context(self, ids: Tensor | None) -> Mapping[str, Any]:
        """The remembered moments."""
        first = 1 if self._phase == 0 else 0
        shown = slice(first, first + self.length)
        states, heights, known = (
            (live if ids is None else live[ids])[:, shown] for live in (self._states, self._heights, self._known)
        )
        positions, rotations, velocities, turning = states.split([3, 4, 3, 3], dim=-1)
        ages = self._dt * (self._phase + self._spacing[shown]).float()
        return {"past": PastStates(positions, rotations, velocities, turning, heights, ages, known)}

    def state_dict(self) -> dict[str, Tensor]:
        """What is remembered."""
        phase = torch.tensor(self._phase)
        return {"states": self._states, "heights": self._heights, "known": self._known, "phase": phase}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore `state_dict`."""
        super().load_state_dict(state)
        self._phase = int(state["phase"])


def _packed(context: Context) -> Tensor:
    """(n, B, 13): position, rotation, velocity and angular velocity of each body."""
    state = context.state
    fields = (state.body_positions, state.body_rotations, state.body_velocities, state.body_angular_velocities)
    return torch.cat(fields, dim=-1)
