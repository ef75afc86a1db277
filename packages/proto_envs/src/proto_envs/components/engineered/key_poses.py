"""Goals that name a pose of a clip every so often: the way from one to the next is free."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from proto_envs.components.control import MotionReference
from proto_envs.components.masking import constraint_mask, fitting_constraints
from proto_envs.components.sparse_goals import EngineeredGoals, SparseShape
from proto_envs.components.user_control import Menu, Settings
from proto_envs.context import Context
from proto_envs.goals import SparseGoal

__all__ = ["KeyPoses"]


class KeyPoses(EngineeredGoals):
    """Asks for the next key pose of the reference: in-betweening."""

    def __init__(
        self,
        shape: SparseShape,
        num_envs: int,
        dt: float,
        device: torch.device,
        reference: MotionReference,
        *,
        spacing: float = 1.0,
        constraint: str = "full_body",
    ) -> None:
        """Say which poses.

        Args:
            shape: of the goals.
            num_envs: N.
            dt: s per control step.
            device: of the goals.
            reference: the clips; it must be stepped before this control.
            spacing: s from one key pose to the next, from the beginning of the episode on; the last is the clip's end.
            constraint: preset of `proto_envs.components.masking.CONSTRAINTS`, what of the poses is asked for.
        """
        super().__init__(shape, num_envs, dt, device)
        self._reference, self._spacing = reference, self.steps_in(spacing)
        self._constraint = constraint
        self._mask = self._mask_of(constraint).to(device)

    def _mask_of(self, constraint: str) -> Tensor:
        return constraint_mask(constraint, self.shape.roles, len(self.shape.bodies) + 1)

    def dials(self) -> Sequence[Menu]:
        """What of the poses is asked for."""
        return [Menu(name="constraint", options=fitting_constraints(self.shape.roles), start=self._constraint)]

    def obey(self, settings: Settings, ids: Tensor) -> None:
        """Ask all robots for what the preset says of their poses."""
        del ids
        self._mask = self._mask_of(str(settings.get("constraint", self._constraint))).to(self._mask.device)

    def ask(self, context: Context, ids: Tensor | None) -> SparseGoal:
        """The pose at the next multiple of the spacing, or at the end of the clip."""
        goal = self.nothing(context)
        reference = self._reference
        played, left = (part if ids is None else part[ids] for part in (reference.played, reference.remaining()))
        wait = torch.minimum(self._spacing - played % self._spacing, left.clamp_min(1))
        state = reference.ahead(wait.unsqueeze(1), ids)
        goal.wait[:, -1] = wait
        goal.positions[:, -1] = state.body_positions[:, 0, self.shape.bodies]
        goal.rotations[:, -1] = state.body_rotations[:, 0, self.shape.bodies]
        goal.mask[:, -1] = self._mask
        return goal
