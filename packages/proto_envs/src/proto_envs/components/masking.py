"""Which parts of a pose MaskedMimic's goals show, and for how long: rules, presets, and the draws they describe.

A mask is (R, 2) bool: for each of R rows, which of its two kinds are asked for. A row is a body, with position and
rotation; the last one may be the root's motion, with velocity and heading.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

__all__ = [
    "CONSTRAINTS",
    "ROLES",
    "Constraint",
    "MaskRules",
    "beta_2_5",
    "constraint_mask",
    "draw_mask",
    "fitting_constraints",
    "next_frame_mask",
]

Constraint = Literal[
    "random",
    "none",
    "full_body",
    "limbs",
    "vr",
    "vr_pelvis",
    "head",
    "head_position",
    "hands",
    "feet",
    "pelvis",
    "pelvis_position",
    "pelvis_head",
    "pelvis_head_position",
    "pelvis_full_head_position",
    "pelvis_full_head_hands_position",
]
"""random draws, or one of `CONSTRAINTS` all the time"""

ROLES = ("pelvis", "head", "left_hand", "right_hand", "left_foot", "right_foot")
"""what presets call the bodies that goals may name; the pelvis is the root"""

_POSITION, _ROTATION, _BOTH = (True, False), (False, True), (True, True)

CONSTRAINTS: Mapping[str, Mapping[str, tuple[bool, bool]]] = {
    "none": {},
    "full_body": dict.fromkeys(ROLES, _BOTH),
    "limbs": dict.fromkeys(ROLES[1:], _BOTH),
    "vr": dict.fromkeys(("head", "left_hand", "right_hand"), _BOTH),
    "vr_pelvis": dict.fromkeys(("pelvis", "head", "left_hand", "right_hand"), _BOTH),
    "head": {"head": _BOTH},
    "head_position": {"head": _POSITION},
    "hands": dict.fromkeys(("left_hand", "right_hand"), _BOTH),
    "feet": dict.fromkeys(("left_foot", "right_foot"), _BOTH),
    "pelvis": {"pelvis": _BOTH},
    "pelvis_position": {"pelvis": _POSITION},
    "pelvis_head": {"pelvis": _BOTH, "head": _BOTH},
    "pelvis_head_position": {"pelvis": _POSITION, "head": _POSITION},
    "pelvis_full_head_position": {"pelvis": _BOTH, "head": _POSITION},
    "pelvis_full_head_hands_position": {
        "pelvis": _BOTH,
        **dict.fromkeys(("head", "left_hand", "right_hand"), _POSITION),
    },
}
"""preset name to the position and the rotation of each role that is asked for (those of MaskedMimic's evaluation)"""


@dataclass(frozen=True, kw_only=True)
class MaskRules:
    """How goals are drawn from a reference: numbers of ProtoMotions 1 unless said otherwise.

    Every coin is thrown for each environment on its own.
    """

    near_frames: int = 10
    """frames to come, one per control step, that have a slot each (ProtoMotions 3: none)"""
    far_poses: int = 1
    """in-between poses farther ahead; the time from one to the next is Beta(2, 5) of what is left of the clip, or of
    the episode where the clip repeats. One is replaced when it is past (ProtoMotions 3: five, and nothing else)"""
    constraint: Constraint = "random"
    """a preset asks for the same in every slot, without gaps"""
    near_repeat: float = 0.98
    """share of the near frames that keep the mask of the frame before"""
    gap_share: float = 0.1
    """share of the near frames outside of gaps at which a gap begins, in which no frame is shown (paper: 1 %)"""
    gap_frames: tuple[int, int] = (1, 9)
    """frames of a gap, shortest and longest; uniform"""
    long_gap_share: float = 0.2
    """share of the gaps that are longer, while a text, an object or a far pose is shown"""
    long_gap_factor: int = 4
    """by how much"""
    gapless_share: float = 0.0
    """share of the episodes that have no gaps"""
    far_hidden: float = 0.5
    """share of the far poses that are not shown (our choice; ProtoMotions 3: 0.2)"""
    far_repeat: float = 0.0
    """share of the far poses that keep the mask of the one before, unless it is empty (ProtoMotions 3: 0.8)"""
    few_share: float = 0.1
    """share of new masks that have at most `few_rows` rows"""
    few_rows: int = 3
    all_share: float = 0.1
    """share of new masks that have all rows; the others have any number of rows from 1, uniform"""
    text_share: float = 0.5
    """share of the episodes that are told what to do, of those whose clip has words (paper: 0.2)"""
    object_share: float = 0.8
    """share of the episodes that are shown the object, where there is one"""

    def check(self, owner: str) -> None:
        """Refuse numbers that make no sense.

        Args:
            owner: named in the message.

        Raises:
            ValueError: naming the field.
        """
        for name in _SHARES:
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{owner}: {name} must be in [0, 1], got {getattr(self, name)}")
        for name in ("near_frames", "far_poses"):
            if getattr(self, name) < 0:
                raise ValueError(f"{owner}: {name} must not be negative, got {getattr(self, name)}")
        for name in ("few_rows", "long_gap_factor"):
            if getattr(self, name) < 1:
                raise ValueError(f"{owner}: {name} must be at least 1, got {getattr(self, name)}")
        if self.near_frames + self.far_poses < 1:
            raise ValueError(f"{owner}: near_frames and far_poses are both 0; want at least one slot for a goal")
        if self.few_share + self.all_share > 1.0:
            raise ValueError(f"{owner}: few_share and all_share must not be more than 1 together")
        if not 1 <= self.gap_frames[0] <= self.gap_frames[1]:
            raise ValueError(f"{owner}: gap_frames must grow from at least 1, got {self.gap_frames}")
        if self.constraint not in get_args(Constraint):
            raise ValueError(f"{owner}: constraint {self.constraint!r}; there are {list(get_args(Constraint))}")


_SHARES = (
    "near_repeat",
    "gap_share",
    "long_gap_share",
    "gapless_share",
    "far_hidden",
    "far_repeat",
    "few_share",
    "all_share",
    "text_share",
    "object_share",
)


def constraint_mask(name: str, roles: Mapping[str, int], rows: int) -> Tensor:
    """The mask of a preset, (R, 2) bool.

    Args:
        name: one of `CONSTRAINTS`.
        roles: role to row.
        rows: R.

    Raises:
        ValueError: for a role that the robot's goals have no row for.
    """
    mask = torch.zeros(rows, 2, dtype=torch.bool)
    for role, kinds in CONSTRAINTS[name].items():
        if role not in roles:
            raise ValueError(f"constraint {name!r} is about the {role}, and no goal names it: there are {list(roles)}")
        mask[roles[role]] |= torch.tensor(kinds)
    return mask


def fitting_constraints(roles: Container[str]) -> tuple[str, ...]:
    """Names of the presets that are about none but these roles."""
    return tuple(name for name, asked in CONSTRAINTS.items() if all(role in roles for role in asked))


def draw_mask(rules: MaskRules, rows: int, count: int, generator: torch.Generator) -> Tensor:
    """New masks, (n, R, 2) bool: some rows, each with its first kind, its second, or both, equally often."""
    draw = torch.rand(2, count, generator=generator, device=generator.device)
    few, every = draw[0] < rules.few_share, draw[0] >= 1.0 - rules.all_share
    most = torch.where(few, min(rules.few_rows, rows), rows)
    chosen = (draw[1] * most).long() + 1
    chosen = torch.where(every, rows, chosen)
    order = torch.rand(count, rows, generator=generator, device=generator.device).argsort(-1).argsort(-1)
    kind = torch.randint(0, 3, (count, rows), generator=generator, device=generator.device)
    return torch.stack([kind != 0, kind != 1], dim=-1) & (order < chosen.unsqueeze(-1)).unsqueeze(-1)


def next_frame_mask(
    rules: MaskRules, held: Tensor, gap: Tensor, gapless: Tensor, informed: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """The mask of the frame after the last one.

    Args:
        rules: of the draw.
        held: (n, R, 2) bool, the mask that is kept, gaps left out; empty at the beginning.
        gap: (n,) long, frames of the present gap that are still to come.
        gapless: (n,) bool, environments without gaps.
        informed: (n,) bool, something else than near frames is shown.
        generator: of the draw.

    Returns:
        The frame's mask, and the new `held` and `gap`.
    """
    count, rows = held.shape[:2]
    keep, begin, length, longer = torch.rand(4, count, generator=generator, device=generator.device)
    kept = (keep < rules.near_repeat) & held.flatten(1).any(-1)
    held = torch.where(kept.view(-1, 1, 1), held, draw_mask(rules, rows, count, generator))
    shortest, longest = rules.gap_frames
    frames = shortest + (length * (longest - shortest + 1)).long()
    frames = torch.where(informed & (longer < rules.long_gap_share), rules.long_gap_factor * frames, frames)
    gap = torch.where((gap == 0) & (begin < rules.gap_share) & ~gapless, frames, gap)
    hidden = gap > 0
    return held & ~hidden.view(-1, 1, 1), held, gap - hidden.long()


def beta_2_5(count: int, generator: torch.Generator) -> Tensor:
    """Draws (n,) from Beta(2, 5), mean 2/7: the second smallest of six uniform numbers."""
    uniform = torch.rand(count, 6, generator=generator, device=generator.device)
    return uniform.kthvalue(2, dim=-1).values
