"""Sparse goals drawn from a reference motion: what MaskedMimic's policy is trained on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from poselib.rotations import heading_angle
from proto_envs.border import looking_is_free
from proto_envs.components.captions import Captions
from proto_envs.components.control import MotionReference
from proto_envs.components.masking import (
    MaskRules,
    beta_2_5,
    constraint_mask,
    draw_mask,
    fitting_constraints,
    next_frame_mask,
)
from proto_envs.components.sparse_goals import SparseGoals, SparseShape
from proto_envs.components.user_control import Menu, Settings
from proto_envs.context import Context
from proto_envs.goals import SparseGoal

__all__ = ["ClipGoals"]


class ClipGoals(SparseGoals):
    """Shows masked poses of the reference that is played beside each robot.

    Near slots slide: each step all poses draw nearer by one, the nearest is dropped and one is added at the far end,
    with a mask that `next_frame_mask` draws. Far slots stand until the first of them is past; then the others move up
    and a new one is drawn after the last. What a slot holds, mask and pose, is drawn once.
    """

    def __init__(
        self,
        shape: SparseShape,
        reference: MotionReference,
        rules: MaskRules,
        *,
        episode_steps: int,
        root_motion: bool,
    ) -> None:
        """Begin with goals that ask for nothing.

        Args:
            shape: of the goals, with the slots of `rules`.
            reference: the clips; it must be stepped before this control.
            rules: of the masks.
            episode_steps: control steps of an episode, beyond which nothing is asked for.
            root_motion: whether masks have a row for the root's velocity and heading.
        """
        device = reference.library.device
        num_envs = len(reference.clips)
        super().__init__(shape, num_envs, device)
        self.reference, self.rules, self.episode_steps = reference, rules, episode_steps
        self.captions = Captions(reference.library, shape.text_size)
        self._single = SparseShape(shape.robot, near=0, far=1)
        self._rows = len(shape.bodies) + int(root_motion)
        self._fixed = self._mask_of(rules.constraint)
        self.held = torch.zeros(num_envs, self._rows, 2, dtype=torch.bool, device=device)
        self.gap = torch.zeros(num_envs, dtype=torch.long, device=device)
        self.gapless = torch.zeros(num_envs, dtype=torch.bool, device=device)
        self.text_end = torch.zeros(num_envs, device=device)
        self._renewed: Tensor | None = None
        """(n,) robots that are asked for something else with the next step"""

    def _mask_of(self, constraint: str) -> Tensor | None:
        """The mask (C + 1, 2) that holds in every slot; None: masks are drawn."""
        if constraint == "random":
            return None
        shape = self.shape
        return constraint_mask(constraint, shape.roles, len(shape.bodies) + 1).to(self.goal.mask.device)

    def dials(self) -> Sequence[Menu]:
        """What of the poses is asked for."""
        options = ("random", *fitting_constraints(self.shape.roles))
        return [Menu(name="constraint", options=options, start=self.rules.constraint)]

    def obey(self, settings: Settings, ids: Tensor) -> None:
        """Ask all robots for what the preset says of their poses, and those of `ids` at once."""
        self._fixed = self._mask_of(str(settings.get("constraint", self.rules.constraint)))
        if self._fixed is not None:
            due = self.goal.wait[ids] <= self._left(ids).unsqueeze(1)
            self.goal.mask[ids] = self._fixed & due.view(*due.shape, 1, 1)

    def renew(self, ids: Tensor) -> bool:
        """Ask for something else with the next step: all masks, texts and far poses are drawn anew."""
        self._renewed = ids
        return True

    # --- a new episode -----------------------------------------------------------------------------------------------

    def begin(self, ids: Tensor, context: Context, generator: torch.Generator) -> None:
        """Draw all slots, whether there are gaps, and what else is shown."""
        del context
        self._draw(ids, generator)

    def _draw(self, ids: Tensor, generator: torch.Generator) -> None:
        count, device = len(ids), ids.device
        goal = self.shape.empty(count, device)
        words, objects, gapless = torch.rand(3, count, generator=generator, device=device)
        text, self.text_end[ids], labelled = self.captions.draw(
            self.reference.clips[ids], self._clip_times(ids), generator
        )
        goal.text.copy_(text)
        goal.text_shown.copy_(labelled & (words < self.rules.text_share))
        goal.object_shown.copy_(objects < self.rules.object_share)
        self.gapless[ids] = gapless < self.rules.gapless_share
        self.held[ids], self.gap[ids] = False, 0
        left = self._left(ids)
        last = torch.full_like(left, self.shape.near)
        for slot in range(self.shape.near, self.shape.slots):
            goal.wait[:, slot] = last = self._after(last, left, generator)
            before = goal.mask[:, slot - 1] if slot > self.shape.near else torch.zeros_like(goal.mask[:, slot])
            goal.mask[:, slot] = self._far_mask(before, generator)
        for slot in range(self.shape.near):
            goal.mask[:, slot] = self._near_mask(self._informed(goal), ids, generator)
        goal.mask.logical_and_((goal.wait <= left.unsqueeze(1)).view(count, -1, 1, 1))
        self._look(goal, ids)
        self._write(goal, ids)

    # --- a step ------------------------------------------------------------------------------------------------------

    def observe(self, context: Context, generator: torch.Generator) -> None:
        """Replace the poses that are past; end the text with what it describes."""
        del context
        if self._renewed is not None:
            self._draw(self._renewed, generator)
            self._renewed = None
        goal, left, near = self.goal, self._left(None), self.shape.near
        goal.text_shown.logical_and_(self._clip_times(None) <= self.text_end)
        if self.shape.far:
            # A pose is drawn for everyone, so that draws are the same on every device; few keep it.
            wait = self._after(goal.wait[:, -1].clamp_min(near), left, generator)
            mask = self._far_mask(goal.mask[:, -1], generator) & (wait <= left).view(-1, 1, 1)
            self._replace_far(wait, mask)
        if near:
            fresh = self._poses(torch.full_like(left, near), None)
            fresh.mask[:, 0] = self._near_mask(self._informed(goal), None, generator) & (near <= left).view(-1, 1, 1)
            for live, new in zip(_slots(goal), _slots(fresh), strict=True):
                live[:, :near] = torch.cat([live[:, 1:near], new], dim=1)

    def _replace_far(self, wait: Tensor, mask: Tensor) -> None:
        """Where the first far pose is past, the others move up and one comes last.

        Args:
            wait: (N,) control steps until that one.
            mask: (N, C + 1, 2) of it.
        """
        near = self.shape.near
        passed = self.goal.wait[:, near] <= 0
        # Only those are looked up, unless it takes a GPU longer to wait for which they are.
        everyone = torch.arange(len(passed), device=passed.device)
        ids = everyone[passed] if looking_is_free(passed.device) else everyone
        fresh = self._poses(wait[ids], ids)
        fresh.mask[:, 0] = mask[ids]
        replaced = passed[ids]
        for live, new in zip(_slots(self.goal), _slots(fresh), strict=True):
            held = live[ids, near:]
            moved = torch.cat([held[:, 1:], new], dim=1)
            live[ids, near:] = torch.where(replaced.view(-1, *[1] * (live.dim() - 1)), moved, held)

    # --- draws -------------------------------------------------------------------------------------------------------

    def _near_mask(self, informed: Tensor, ids: Tensor | None, generator: torch.Generator) -> Tensor:
        """The mask of the next near frame, (n, C + 1, 2)."""
        if self._fixed is not None:
            return self._fixed.expand(len(informed), -1, -1)
        rows = slice(None) if ids is None else ids
        state = (self.held[rows], self.gap[rows], self.gapless[rows])
        mask, self.held[rows], self.gap[rows] = next_frame_mask(self.rules, *state, informed, generator)
        return self._padded(mask)

    def _far_mask(self, before: Tensor, generator: torch.Generator) -> Tensor:
        """The mask (n, C + 1, 2) of a far pose that comes after one with the mask `before`."""
        count = len(before)
        if self._fixed is not None:
            return self._fixed.expand(count, -1, -1)
        hide, repeat = torch.rand(2, count, generator=generator, device=before.device)
        kept = (repeat < self.rules.far_repeat) & before.flatten(1).any(-1)
        fresh = self._padded(draw_mask(self.rules, self._rows, count, generator))
        mask = torch.where(kept.view(-1, 1, 1), before, fresh)
        return mask & (hide >= self.rules.far_hidden).view(-1, 1, 1)

    def _padded(self, mask: Tensor) -> Tensor:
        """With a row for the root's motion, where it has none."""
        missing = len(self.shape.bodies) + 1 - self._rows
        return torch.nn.functional.pad(mask, (0, 0, 0, missing)) if missing else mask

    def _informed(self, goal: SparseGoal) -> Tensor:
        """(n,) bool, whether a text, an object or a far pose is shown."""
        far = goal.mask[:, self.shape.near :].flatten(1).any(-1)
        return goal.text_shown | goal.object_shown | far

    @staticmethod
    def _after(last: Tensor, left: Tensor, generator: torch.Generator) -> Tensor:
        """Steps until the pose after one that is due in `last` steps, (n,): at least one later, none beyond `left`."""
        share = beta_2_5(len(last), generator)
        return last + (share * (left - last).clamp_min(0)).ceil().long().clamp_min(1)

    # --- the reference -----------------------------------------------------------------------------------------------

    def _left(self, ids: Tensor | None) -> Tensor:
        """(n,) long, control steps for which there is a reference to follow in this episode."""
        left = torch.minimum(self.reference.remaining(), self.episode_steps - self.reference.played)
        return left if ids is None else left[ids]

    def _clip_times(self, ids: Tensor | None) -> Tensor:
        """(n,) s from the first frame of the clip, where it repeats from that of the present cycle."""
        clips, times = self.reference.clips, self.reference.times
        durations = self.reference.library.durations[clips]
        times = torch.where(self.reference.repeats[clips], times.remainder(durations), times)
        return times if ids is None else times[ids]

    def _poses(self, wait: Tensor, ids: Tensor | None) -> SparseGoal:
        """Goals of one slot with the poses of `ids` `wait` (n,) steps ahead, asking for nothing."""
        goal = self._single.empty(len(wait), wait.device)
        goal.wait.copy_(wait.unsqueeze(1))
        self._look(goal, ids)
        return goal

    def _look(self, goal: SparseGoal, ids: Tensor | None) -> None:
        """Fill in the poses of all slots from their times."""
        state = self.reference.ahead(goal.wait, ids)
        goal.positions.copy_(state.body_positions[:, :, self.shape.bodies])
        goal.rotations.copy_(state.body_rotations[:, :, self.shape.bodies])
        goal.velocities.copy_(state.body_velocities[:, :, 0, :2])
        goal.headings.copy_(heading_angle(state.body_rotations[:, :, 0]))

    def state_dict(self) -> dict[str, Tensor]:
        """The goals, and what their next draws depend on."""
        memory = {name: getattr(self, name) for name in ("held", "gap", "gapless", "text_end")}
        return super().state_dict() | memory


def _slots(goal: SparseGoal) -> tuple[Tensor, ...]:
    """The fields that have slots, (n, T, ...)."""
    return goal.wait, goal.positions, goal.rotations, goal.velocities, goal.headings, goal.mask
