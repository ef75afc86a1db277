"""What was seen of a robot a while ago, at evenly spaced moments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from motionlib import BodyState, MotionLib
from proto_envs.components.control import Control
from proto_envs.context import Context, PastStates, RobotState
from proto_envs.terrain.ground import Ground

__all__ = ["ClipOrigin", "PoseHistory"]

ClipOrigin = Callable[[], tuple[Tensor, Tensor, Tensor]]
"""gives clips (N,), times in them (N,) s, and (N,) bool whether the latest episode of each environment began there"""


class PoseHistory(Control):
    """Remembers what a kernel sees every few steps, for all environments in the same steps.

    Of H moments the latest is 1 to `stride` steps ago, the others `stride` apart; the ages are said beside them. (Only
    these are kept: ProtoMotions keeps the 120 steps before now to show 15 of them.) An episode that begins at a moment
    of a clip has that clip's past, as far as there is one.
    """

    serves = "history"

    def __init__(
        self,
        num_envs: int,
        dt: float,
        motions: MotionLib | None,
        origin: ClipOrigin,
        ground: Ground,
        see: Callable[[Context], Tensor],
        size: int,
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
            see: what is remembered of a moment, (n, F), from the states of the bodies alone.
            size: F.
            length: H.
            stride: control steps between two moments.
            none_share: of the episodes that begin without a past.
        """
        device = ground.offsets.device
        self.length, self.stride, self.none_share = length, stride, none_share
        self._dt, self._motions, self._origin, self._ground, self._see = dt, motions, origin, ground, see
        # One more than is shown, because the latest may be the present.
        self._seen = torch.zeros(num_envs, length + 1, size, device=device)
        self._known = torch.zeros(num_envs, length + 1, dtype=torch.bool, device=device)
        self._spacing = stride * torch.arange(length + 1, device=device)
        self._phase = 0
        """control steps since the latest remembered moment"""

    def begin(self, ids: Tensor, context: Context, generator: torch.Generator) -> None:
        """Remember the clip's past where an episode begins in a clip; forget all else."""
        forgotten = torch.rand(len(ids), generator=generator, device=ids.device) < self.none_share
        self._known[ids] = False
        if self._motions is not None:
            clips, times, began = (part[ids] for part in self._origin())
            moments = times.unsqueeze(1) - self._dt * (self._phase + self._spacing)
            states = self._motions.get_body_state(clips.repeat_interleave(moments.shape[1]), moments.flatten())
            states = self._ground.lifted(states.map(lambda field: field.unflatten(0, tuple(moments.shape))), ids)
            self._seen[ids] = self._see(self._then(context, states)).unflatten(0, tuple(moments.shape))
            known = (moments >= -1e-6) | self._motions.loops[clips].unsqueeze(1)
            self._known[ids] = known & (began & ~forgotten).unsqueeze(1)
        if self._phase == 0:
            # The present is where the robot is, which is not quite where the clip is if there is noise.
            self._seen[ids, 0] = self._see(context)
            self._known[ids, 0] = True

    def _then(self, context: Context, states: BodyState) -> Context:
        """The moments (n, K) as contexts (n K,); what controls fill in is that of now."""

        def unknown(name: str) -> Tensor:
            raise LookupError(f"{name} of past states is not known")

        flat = states.map(lambda field: field.flatten(0, 1))
        state = RobotState(
            flat.body_positions,
            flat.body_rotations,
            flat.body_velocities,
            flat.body_angular_velocities,
            read=unknown,
        )
        ground_height = self._ground.terrain.heights(flat.body_positions[:, 0])
        return replace(context, state=state, ground_height=ground_height)

    def observe(self, context: Context, generator: torch.Generator) -> None:
        """Remember the present where it is time to."""
        del generator
        self._phase = (self._phase + 1) % self.stride
        if self._phase:
            return
        now = torch.ones_like(context.steps, dtype=torch.bool)
        for live, new in ((self._seen, self._see(context)), (self._known, now)):
            live.copy_(torch.cat([new.unsqueeze(1), live[:, :-1]], dim=1))

    def context(self, ids: Tensor | None) -> Mapping[str, Any]:
        """The remembered moments."""
        first = 1 if self._phase == 0 else 0
        shown = slice(first, first + self.length)
        seen, known = ((live if ids is None else live[ids])[:, shown] for live in (self._seen, self._known))
        ages = self._dt * (self._phase + self._spacing[shown]).float()
        return {"past": PastStates(seen, ages, known)}

    def state_dict(self) -> dict[str, Tensor]:
        """What is remembered."""
        return {"seen": self._seen, "known": self._known, "phase": torch.tensor(self._phase)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore `state_dict`."""
        super().load_state_dict(state)
        self._phase = int(state["phase"])
