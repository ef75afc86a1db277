"""A clip as a mirror shows it: left and right exchanged across the plane y = 0.

The mirror image of a rotation about an axis n by an angle is one about (-n_x, n_y, -n_z): as a quaternion, x and z
change their sign. A body takes the mirrored motion of its counterpart on the other side. Local rotations count from the
rest pose, which a character's left and right halves share; where links have rest rotations of their own (Unitree's G1),
the mirror acts in the root's frame and not in the link's, so that a hinge stays a hinge: those that roll or yaw change
their sign, those that pitch do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from motionlib.motion import Motion, MotionError
from motionlib.processing.captions import flip_caption
from motionlib.processing.retargeting import character_of
from poselib import models
from poselib.rotations import quat_conjugate, quat_identity, quat_multiply
from poselib.skeleton import Skeleton

__all__ = ["FLIPPED_SUFFIX", "counterparts", "mirrored"]

FLIPPED_SUFFIX = "_flipped"
"""what a mirrored clip's name ends with"""

_WORDS = {"left": "right", "Left": "Right", "LEFT": "RIGHT", "l": "r", "L": "R"}
_OTHER = _WORDS | {right: left for left, right in _WORDS.items()}
_WORD = re.compile(r"left|right|Left|Right|LEFT|RIGHT")
_LETTER_ALONE = re.compile(r"(?<![A-Za-z])[lLrR](?![A-Za-z])")
_LETTER_FIRST = re.compile(r"(?<![A-Za-z])[lLrR](?=[A-Za-z])")
_LETTER_LAST = re.compile(r"(?<=[a-z0-9])[LR](?![A-Za-z])")
_PLAIN_SIDE = re.compile(r"(?<![A-Za-z])(left|right|Left|Right|LEFT|RIGHT|[LR](?=[_. ]))")


def counterparts(names: Sequence[str], pairs: Mapping[str, str] | None = None) -> list[int]:
    """For each body the index of the one on the other side; its own where it has none.

    Known are left and right as words, the letters l and r before or after a separator, and both at the start of a name
    (lfemur) or at its end (ArmL), wherever the other name of the pair exists as well.

    Args:
        names: of the bodies.
        pairs: left to right, for names that follow no such rule; they go first.

    Raises:
        MotionError: if a name clearly says a side and the other side has no such body, or `pairs` names no body.
    """
    known = {name: index for index, name in enumerate(names)}
    given = dict(pairs or {})
    if unknown := [name for pair in given.items() for name in pair if name not in known]:
        raise MotionError(f"no body {unknown} to pair; there are {list(names)}")
    given |= {right: left for left, right in given.items()}
    result = []
    for index, name in enumerate(names):
        other = given.get(name) or next((c for c in _candidates(name) if c in known and c not in given), None)
        if other is None and _PLAIN_SIDE.search(name):
            wanted = list(dict.fromkeys(_candidates(name)))
            raise MotionError(f"body {name!r} has no counterpart: want one of {wanted} among {list(names)}, or a pair")
        result.append(index if other is None else known[other])
    return result


def _candidates(name: str) -> Iterator[str]:
    """What the same body on the other side may be called, the surest first."""
    for pattern in (_WORD, _LETTER_ALONE, _LETTER_FIRST, _LETTER_LAST):
        for match in pattern.finditer(name):
            yield name[: match.start()] + _OTHER[match.group()] + name[match.end() :]


def mirrored(
    motion: Motion,
    skeleton: Skeleton | None = None,
    *,
    pairs: Mapping[str, str] | None = None,
    flip_captions: bool = True,
) -> Motion:
    """The clip flipped left to right, with its captions; flipped twice it is the clip again.

    On a character whose halves are mirror images (amp, h1, g1) every body goes to the mirrored position. The others
    (smpl, whose halves differ by millimeters; sword_shield, which keeps its sword in the right hand) keep their own
    offsets and make the mirrored rotations. A rotation that lands on a joint without that freedom is kept in the clip;
    a character's joint coordinates leave it out.

    Args:
        motion: any clip.
        skeleton: of the clip, for its rest rotations. If left out: that of the built-in character with these bodies,
            or else one without rest rotations.
        pairs: names of left to right bodies, where they follow no rule of `counterparts`.
        flip_captions: flip the labels too.

    Raises:
        MotionError: if a body has no counterpart, or hangs on another body than its counterpart does.
    """
    if skeleton is None and (character := character_of(motion)) is not None:
        skeleton = models.skeleton(character)
    if skeleton is not None:
        motion = motion.for_skeleton(skeleton)
    other = counterparts(motion.body_names, pairs)
    _check_tree(motion, other)
    rest = _rest_in_root(motion, skeleton)
    turned = quat_multiply(quat_multiply(rest, motion.local_rotations.double()), quat_conjugate(rest))
    turned = (turned * turned.new_tensor([-1.0, 1.0, -1.0, 1.0]))[:, other]
    local = quat_multiply(quat_multiply(quat_conjugate(rest), turned), rest)
    name = motion.name
    return replace(
        motion,
        name=name.removesuffix(FLIPPED_SUFFIX) if name.endswith(FLIPPED_SUFFIX) else name + FLIPPED_SUFFIX,
        root_positions=motion.root_positions * torch.tensor([1.0, -1.0, 1.0]),
        local_rotations=local,
        labels=tuple(flip_caption(label) for label in motion.labels) if flip_captions else motion.labels,
    )


def _check_tree(motion: Motion, other: Sequence[int]) -> None:
    for body, index in enumerate(other):
        if other[index] != body:
            raise MotionError(
                f"clip {motion.name!r}: body {motion.body_names[body]!r} is paired with {motion.body_names[index]!r}, "
                f"but that one with {motion.body_names[other[index]]!r}"
            )
        parent = motion.parents[body]
        if index != body and motion.parents[index] != other[parent]:
            raise MotionError(
                f"clip {motion.name!r}: bodies {motion.body_names[body]!r} and {motion.body_names[index]!r} are a pair "
                f"but hang on bodies that are none: {motion.body_names[parent]!r} and "
                f"{motion.body_names[motion.parents[index]]!r}"
            )


def _rest_in_root(motion: Motion, skeleton: Skeleton | None) -> Tensor:
    """(B, 4) float64, orientation of each body in the root's frame when all joints are at zero."""
    rest = quat_identity(len(motion.body_names), dtype=torch.float64)
    if skeleton is not None:
        own = skeleton.rest_rotations.double()
        own = own / own.norm(dim=-1, keepdim=True)
        for body, parent in enumerate(skeleton.parents[1:], start=1):
            rest[body] = quat_multiply(rest[parent], own[body])
    return rest
