"""Clips at another rate, pieces of clips, and clips one after the other.

Between two frames positions move along a line and rotations along the shorter arc; a frame that is asked for at its own
time comes out as it was stored. Nothing is dropped or filtered: taking a clip from 120 to 30 frames per second takes
every fourth frame, taking it to 50 works out frames between the stored ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from motionlib.loops import Cycle
from motionlib.motion import Motion, MotionError
from poselib.rotations import (
    quat_apply,
    quat_canonical,
    quat_conjugate,
    quat_continuous,
    quat_from_exp_map,
    quat_from_yaw,
    quat_multiply,
    slerp,
    twist_angle,
)

__all__ = ["concatenated", "cropped", "poses_at", "repeated", "resampled"]

_ROUNDING = 1e-4
"""of a frame; a clip that ends this much before a frame's time has that frame (rates such as 29.97 are rounded)"""
_SNAP = 1e-6
"""of a frame; a time this near to a frame's is that frame's"""


def poses_at(motion: Motion, times: Tensor) -> tuple[Tensor, Tensor]:
    """The pose at any times, held before the first and after the last frame.

    Args:
        motion: T frames of B bodies.
        times: (N,) s from the first frame.

    Returns:
        Root positions (N, 3) m and local rotations (N, B, 4).
    """
    frame = (times.double() * motion.fps).clamp(0.0, motion.num_frames - 1.0)
    frame = torch.where((frame - frame.round()).abs() < _SNAP, frame.round(), frame)
    early = frame.floor().long().clamp_max(motion.num_frames - 2)
    late = early + 1
    blend = (frame - early).unsqueeze(1)
    root, local = motion.root_positions.double(), motion.local_rotations.double()
    positions = torch.lerp(root[early], root[late], blend)
    rotations = slerp(local[early], local[late], blend.unsqueeze(-1))
    return positions.float(), rotations.float()


def resampled(motion: Motion, fps: float) -> Motion:
    """The same clip at another rate.

    A clip that ends keeps its start and gets exactly `fps`; what remains after its last whole frame (less than 1 / fps)
    goes. A wrapped clip must keep its seam, so it keeps its duration: its rate is the one nearest to `fps` that puts a
    frame there.

    Args:
        motion: any clip.
        fps: frames per second, need not be whole.

    Raises:
        MotionError: if `fps` is no positive number, or leaves fewer than two frames.
    """
    if not 0 < fps < math.inf:
        raise MotionError(f"clip {motion.name!r}: fps must be a positive number, found {fps}")
    if fps == motion.fps:
        return motion
    if motion.loop == "wrap":
        steps = max(round(motion.duration * fps), 1)
        fps = steps / motion.duration
    else:
        steps = math.floor(motion.duration * fps + _ROUNDING)
    if steps < 1:
        raise MotionError(
            f"clip {motion.name!r} lasts {motion.duration:.3g} s, too short for two frames at {fps:g} fps"
        )
    positions, rotations = poses_at(motion, torch.arange(steps + 1, dtype=torch.float64) / fps)
    return replace(motion, fps=fps, root_positions=positions, local_rotations=rotations)


def cropped(motion: Motion, start: float = 0.0, end: float | None = None) -> Motion:
    """The part of a clip from `start` to `end`, at the same rate.

    The first frame is the pose at `start`, whether a frame was stored there or not; the last one is at most one frame
    before `end`. A part of a wrapped clip no longer wraps; the whole of it is returned as it is.

    Args:
        motion: any clip.
        start: s from the first frame.
        end: s from the first frame; the clip's end if left out.

    Raises:
        MotionError: if the part is not within the clip, or shorter than one frame.
    """
    end = motion.duration if end is None else end
    tolerance = _ROUNDING / motion.fps
    if not (-tolerance <= start < end <= motion.duration + tolerance):
        raise MotionError(
            f"clip {motion.name!r} lasts {motion.duration:.6g} s; a part must start in it and end later, within it: "
            f"found {start:.6g} to {end:.6g} s"
        )
    steps = math.floor((end - start) * motion.fps + _ROUNDING)
    if steps < 1:
        raise MotionError(
            f"clip {motion.name!r}: the part from {start:.6g} to {end:.6g} s is shorter than one frame "
            f"at {motion.fps:g} fps"
        )
    if start <= tolerance and steps == motion.num_frames - 1:
        return motion
    positions, rotations = poses_at(motion, start + torch.arange(steps + 1, dtype=torch.float64) / motion.fps)
    return replace(motion, root_positions=positions, local_rotations=rotations, loop="none")


def concatenated(motions: Sequence[Motion], *, blend: float = 0.0, align: bool = True, name: str = "") -> Motion:
    """Clips played one after the other, as one clip that ends.

    Each clip takes over where the one before is `blend` seconds from its end, and the two are mixed along a smooth
    curve for that long. With `blend` 0 they share one frame, the earlier clip's last: the parts that `cropped` cuts at
    a frame give the whole again.

    Args:
        motions: at least one, all of the same bodies; those of another rate are resampled to the first one's.
        blend: s, less than each clip lasts.
        align: turn each clip about z and move it on the ground so that it goes on where the one before is; heights and
            tilts stay. Without it clips stay where they were recorded.
        name: of the result; the names joined by "+" if empty.

    Raises:
        MotionError: if there is no clip, the bodies differ, or `blend` is too long.
    """
    if not motions:
        raise MotionError("want at least one clip to put together")
    first = motions[0]
    for motion in motions[1:]:
        if motion.body_names != first.body_names or motion.parents != first.parents:
            raise MotionError(
                f"clips {first.name!r} and {motion.name!r} are of different bodies: {list(first.body_names)} and "
                f"{list(motion.body_names)}; bring them to one skeleton first"
            )
    overlap = round(blend * first.fps)
    root, local = first.root_positions.double(), first.local_rotations.double()
    for motion in motions:
        if not 0 <= blend < motion.duration:
            raise MotionError(f"clip {motion.name!r} lasts {motion.duration:.3g} s; blend {blend:.3g} s must be less")
    for motion in motions[1:]:
        # Within a longer clip a loop's seam needs no frame of its own.
        after = resampled(replace(motion, loop="none"), first.fps)
        root, local = _joined(root, local, after, overlap, align)
    labels = tuple(dict.fromkeys(label for motion in motions for label in motion.labels))
    return replace(
        first,
        name=name or "+".join(motion.name for motion in motions),
        root_positions=root,
        local_rotations=local,
        labels=labels,
        loop="none",
    )


def repeated(motion: Motion, cycles: int) -> Motion:
    """A wrapped clip played `cycles` times, still wrapped: each cycle goes on where the one before ends.

    Raises:
        MotionError: if the clip does not wrap, or `cycles` is less than 1.
    """
    if motion.loop != "wrap":
        raise MotionError(f"clip {motion.name!r} does not wrap; only loops can be repeated")
    if cycles < 1:
        raise MotionError(f"clip {motion.name!r}: want at least 1 cycle, found {cycles}")
    cycle = Cycle.of(motion)
    positions, rotations = [motion.root_positions], [motion.local_rotations]
    for count in range(1, cycles):
        root, turned = cycle.apply(count, motion.root_positions[1:], motion.local_rotations[1:, 0])
        positions.append(root)
        rotations.append(torch.cat([turned.unsqueeze(1), motion.local_rotations[1:, 1:]], dim=1))
    return replace(motion, root_positions=torch.cat(positions), local_rotations=torch.cat(rotations))


def _joined(root: Tensor, local: Tensor, after: Motion, overlap: int, align: bool) -> tuple[Tensor, Tensor]:
    """Frames of a clip and of the next one, the last `overlap` + 1 of the clip mixed with the next one's first."""
    next_root, next_local = after.root_positions.double(), after.local_rotations.double()
    seam = len(root) - 1 - overlap
    if align:
        up = root.new_tensor([0.0, 0.0, 1.0])
        yaw = twist_angle(quat_multiply(local[seam, 0], quat_conjugate(next_local[0, 0])), up)
        turn = quat_from_yaw(yaw)
        center, target = next_root[0].clone(), root[seam].clone()
        center[2] = target[2] = 0.0
        next_root = quat_apply(turn, next_root - center) + target
        turned = quat_multiply(turn.expand(len(next_root), 4), next_local[:, 0])
        next_local = torch.cat([turned.unsqueeze(1), next_local[:, 1:]], dim=1)
    # From 0 to 1 without a jump in speed; a single shared frame is the earlier clip's.
    share = torch.linspace(0.0, 1.0, overlap + 1, dtype=root.dtype) if overlap else root.new_zeros(1)
    share = (share * share * (3.0 - 2.0 * share)).unsqueeze(1)
    mixed_root = torch.lerp(root[seam:], next_root[: overlap + 1], share)
    mixed_local = _mixed(local[seam:], next_local[: overlap + 1], share.unsqueeze(-1))
    return (
        torch.cat([root[:seam], mixed_root, next_root[overlap + 1 :]]),
        torch.cat([local[:seam], mixed_local, next_local[overlap + 1 :]]),
    )


def _mixed(a: Tensor, b: Tensor, share: Tensor) -> Tensor:
    """From rotations `a` (T, B, 4) to `b`, along the arc that is the shorter one in the first frame.

    Two moving bodies can come to point in opposite directions, where the shorter arc changes sides at once.
    """
    between = quat_multiply(quat_conjugate(b), a)
    between = quat_continuous(torch.cat([quat_canonical(between[:1]), between[1:]]))
    sine = between[..., :3].norm(dim=-1, keepdim=True)
    angle = 2.0 * torch.atan2(sine, between[..., 3:])
    axis = between[..., :3] / sine.clamp_min(1e-12)
    return quat_multiply(b, quat_from_exp_map((1.0 - share) * angle * axis))
