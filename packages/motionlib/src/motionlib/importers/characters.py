"""Which character a clip is of: what the caller says, or the built-in one that has as many parts, or the same names."""

from __future__ import annotations

from pathlib import Path

from motionlib.motion import Motion, MotionError
from poselib import models
from poselib.skeleton import Skeleton

__all__ = ["breadth_first", "moving_bodies", "required_skeleton", "skeleton_by_counts"]


def skeleton_by_counts(
    path: Path, given: str | Skeleton | None, *, bodies: int | None = None, dofs: int | None = None
) -> Skeleton:
    """The skeleton that a file belongs to.

    Args:
        path: named in errors.
        given: a built-in character's name, or a skeleton; None to go by the counts alone.
        bodies: how many the file has; None if it does not say.
        dofs: how many degrees of freedom the file has, without the root's six; None if it does not say.

    Raises:
        MotionError: if the given one does not fit the counts, or none is given and no built-in character fits.
    """
    wanted = " and ".join(f"{n} {what}" for n, what in ((bodies, "bodies"), (dofs, "degrees of freedom")) if n)
    if isinstance(given, str):
        try:
            given = models.skeleton(given)
        except KeyError as error:
            raise MotionError(f"{path}: {error.args[0]}") from None
    if given is not None:
        if not _fits(given, bodies, dofs):
            raise MotionError(f"{path}: the file has {wanted}, {_describe(given)}; {_choices()}")
        return given
    found = [s for s in map(models.skeleton, models.MODELS) if _fits(s, bodies, dofs)]
    if not found:
        raise MotionError(
            f"{path}: the file names no bodies and has {wanted}, as none of the built-in characters; pass skeleton= "
            f"(a name or a poselib Skeleton); {_choices()}"
        )
    return min(found, key=lambda s: s.num_bodies)  # of those that differ in fixed bodies alone, the plainest


def moving_bodies(skeleton: Skeleton) -> list[int]:
    """The root and the bodies with a joint, which simulators keep when they merge fixed bodies with their parents."""
    return [b for b, joint in enumerate(skeleton.joints) if b == 0 or joint.kind != "fixed"]


def required_skeleton(motion: Motion, given: Skeleton | None) -> Skeleton:
    """The skeleton of a clip: the given one, or the built-in one with the same bodies.

    Raises:
        MotionError: if none is given and no built-in character has the clip's bodies.
    """
    if given is not None:
        return given
    character = models.character_of(motion.body_names)
    if character is None:
        raise MotionError(
            f"clip {motion.name!r}: its {len(motion.body_names)} bodies ({', '.join(motion.body_names[:3])}, ...) are "
            f"those of no built-in character ({', '.join(models.MODELS)}); pass skeleton=, or retarget it to one"
        )
    return models.skeleton(character)


def breadth_first(skeleton: Skeleton) -> list[int]:
    """Bodies by depth under the root: the order of Isaac Lab."""
    depth = [0] * skeleton.num_bodies
    for body, parent in enumerate(skeleton.parents[1:], start=1):
        depth[body] = depth[parent] + 1
    return sorted(range(skeleton.num_bodies), key=depth.__getitem__)


def _fits(skeleton: Skeleton, bodies: int | None, dofs: int | None) -> bool:
    return bodies in (None, skeleton.num_bodies) and dofs in (None, skeleton.num_dofs)


def _describe(skeleton: Skeleton) -> str:
    return f"{skeleton.name!r} has {skeleton.num_bodies} bodies and {skeleton.num_dofs} degrees of freedom"


def _choices() -> str:
    described = (f"{s.name} ({s.num_bodies}, {s.num_dofs})" for s in map(models.skeleton, models.MODELS))
    return f"built-in (bodies, degrees of freedom): {', '.join(described)}"
