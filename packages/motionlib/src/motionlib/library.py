"""Many clips in few tensors, and the state of a character at any time of any of them, thousands at once."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from poselib import models
from poselib.ground import CollisionPoints
from poselib.skeleton import Skeleton
from torch import Tensor

from motionlib.loops import Cycle
from motionlib.motion import Motion, MotionError
from motionlib.processing.frames import ClipFrames, HeightFix, clip_frames
from motionlib.samples import sample_names, sample_path

__all__ = ["MotionLib", "MotionState"]


@dataclass(frozen=True, eq=False)
class MotionState:
    """The reference at N moments: B bodies, D degrees of freedom; world frame, m, s, rad."""

    body_positions: Tensor
    """(N, B, 3)"""
    body_rotations: Tensor
    """(N, B, 4)"""
    body_velocities: Tensor
    """(N, B, 3)"""
    body_angular_velocities: Tensor
    """(N, B, 3)"""
    contacts: Tensor
    """(N, B) bool, bodies that rest on the ground"""
    local_rotations: Tensor | None = None
    """(N, B, 4), with joints=True"""
    dof_positions: Tensor | None = None
    """(N, D), with joints=True"""
    dof_velocities: Tensor | None = None
    """(N, D), with joints=True"""


class MotionLib:
    """M clips on one skeleton, stored frame after frame (F in all) in two packed tensors.

    A query gathers two neighbouring frames, interpolates, and moves the result on by the cycles that a wrapped clip has
    gone through. It runs no Python loop and never waits for the device.
    """

    def __init__(
        self,
        motions: Sequence[Motion],
        skeleton: Skeleton,
        *,
        weights: Sequence[float] | Tensor | None = None,
        height_fix: HeightFix = "lowest",
        loop_blend: float = 0.25,
        collision_points: CollisionPoints | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """Pack clips.

        Args:
            motions: at least one; bodies are matched with the skeleton by name.
            skeleton: of the character that is to move.
            weights: (M,) relative frequency of each clip in `sample_motions`; equal if left out.
            height_fix: "lowest" puts the lowest point of each clip on z = 0, "usual" that of its median frame, "none"
                keeps the heights.
            loop_blend: s on either side of the seam over which a wrapped clip is bent to close; 0 for no change.
            collision_points: the geometry for `height_fix`; known for built-in characters.
            device: where the tensors go.

        Raises:
            MotionError: naming the clip and the bodies that do not fit.
        """
        if not motions:
            raise MotionError("a motion library needs at least one clip")
        clips = [
            clip_frames(m, skeleton, points=collision_points, height_fix=height_fix, loop_blend=loop_blend)
            for m in motions
        ]
        lengths = [motion.num_frames for motion in motions]
        self.skeleton = skeleton
        self.names = tuple(motion.name for motion in motions)
        self.labels = tuple(motion.labels for motion in motions)
        self.num_frames = torch.tensor(lengths)
        self.first_frames = self.num_frames.cumsum(0) - self.num_frames
        self.fps = torch.tensor([motion.fps for motion in motions])
        self.durations = torch.tensor([motion.duration for motion in motions])
        self.loops = torch.tensor([motion.loop == "wrap" for motion in motions])
        self.weights = _checked_weights(weights, len(motions))
        self._cycle = Cycle(*(torch.stack([getattr(c.cycle, f) for c in clips]) for f in ("yaw", "center", "step")))
        self._world = torch.cat([_pack_world(clip) for clip in clips])
        self._joints = torch.cat(
            [torch.cat([clip.dof_velocities, clip.local_rotations.flatten(1)], dim=1) for clip in clips]
        )
        self._finish()
        if torch.device(device) != self.device:
            self.__dict__.update(self.to(device).__dict__)

    def _finish(self) -> None:
        """Derive what queries look up: one row of numbers per clip, the cumulative weights."""
        columns = [self.fps, self.durations, self.loops.float(), self.num_frames - 2.0, self._cycle.yaw]
        self._clips = torch.cat([torch.stack(columns, dim=1), self._cycle.center, self._cycle.step], dim=1)
        self._cumulative = _cumulative(self.weights)
        self._any_loop = bool(self.loops.any())

    @classmethod
    def from_samples(
        cls, skeleton_name: str, names: Sequence[str] | None = None, *, device: torch.device | str = "cpu"
    ) -> MotionLib:
        """The clips that come with the package, on a built-in character such as "amp".

        Args:
            skeleton_name: one of `poselib.models.MODELS`.
            names: of the clips; all if left out.
            device: where the tensors go.
        """
        names = sample_names(skeleton_name) if names is None else names
        motions = [Motion.load(sample_path(skeleton_name, name)) for name in names]
        return cls(motions, models.skeleton(skeleton_name), device=device)

    # --- what is stored ----------------------------------------------------------------------------------------------

    @property
    def num_motions(self) -> int:
        """M."""
        return len(self.names)

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self._world.device

    @property
    def body_positions(self) -> Tensor:
        """(F, B, 3) m, world; a view, as all of these are."""
        return self._vectors(0)

    @property
    def body_velocities(self) -> Tensor:
        """(F, B, 3) m/s, world."""
        return self._vectors(1)

    @property
    def body_angular_velocities(self) -> Tensor:
        """(F, B, 3) rad/s, world."""
        return self._vectors(2)

    @property
    def body_rotations(self) -> Tensor:
        """(F, B, 4), world."""
        bodies = self.skeleton.num_bodies
        return self._world[:, 9 * bodies : 13 * bodies].unflatten(1, (bodies, 4))

    @property
    def contacts(self) -> Tensor:
        """(F, B) bool."""
        return self._world[:, 13 * self.skeleton.num_bodies :] > 0.5

    @property
    def dof_velocities(self) -> Tensor:
        """(F, D) rad/s."""
        return self._joints[:, : self.skeleton.num_dofs]

    @property
    def local_rotations(self) -> Tensor:
        """(F, B, 4)."""
        return self._joints[:, self.skeleton.num_dofs :].unflatten(1, (self.skeleton.num_bodies, 4))

    def _vectors(self, block: int) -> Tensor:
        size = 3 * self.skeleton.num_bodies
        return self._world[:, block * size : (block + 1) * size].unflatten(1, (self.skeleton.num_bodies, 3))

    # --- queries -----------------------------------------------------------------------------------------------------

    def get_motion_state(self, ids: Tensor, times: Tensor, *, joints: bool = True) -> MotionState:
        """The reference at any time.

        Positions and velocities are interpolated linearly, rotations along the shorter arc. Before the start and after
        the end a clip stands still in its first or last frame (with that frame's velocity); a wrapped clip goes on in
        both directions.

        Args:
            ids: (N,) int64 in [0, M).
            times: (N,) s from the clip's first frame.
            joints: also give the joint coordinates.
        """
        if ids.shape != times.shape or ids.ndim != 1:
            raise MotionError(f"want ids (N,) and times (N,), found {tuple(ids.shape)} and {tuple(times.shape)}")
        bodies = self.skeleton.num_bodies
        clip = self._clips.index_select(0, ids)
        cycles, time = _wrapped(clip, times)
        frame = time * clip[:, 0]
        early = torch.minimum(frame.floor(), clip[:, 3])
        blend = (frame - early).clamp_(0.0, 1.0).unsqueeze(1)
        rows = self.first_frames.index_select(0, ids) + early.long()
        rows = torch.cat([rows, rows + 1])

        a, b = self._world.index_select(0, rows).chunk(2)
        vectors = torch.lerp(a[:, : 9 * bodies], b[:, : 9 * bodies], blend).unflatten(1, (3, bodies, 3))
        turned = slice(9 * bodies, 13 * bodies)
        rotations = _slerp(a[:, turned].unflatten(1, (bodies, 4)), b[:, turned].unflatten(1, (bodies, 4)), blend)
        contacts = (a[:, turned.stop :] + b[:, turned.stop :]) > 0.5
        yaw = None
        if self._any_loop:
            yaw, step = Cycle(clip[:, 4], clip[:, 5:7], clip[:, 7:9]).power(cycles)
            vectors = _moved(vectors, yaw, step, clip[:, 5:7])
            rotations = _turned(rotations, yaw)
        positions, velocities, turning = vectors.unbind(1)
        if not joints:
            return MotionState(positions, rotations, velocities, turning, contacts)

        a, b = self._joints.index_select(0, rows).chunk(2)
        dofs = self.skeleton.num_dofs
        dof_velocities = torch.lerp(a[:, :dofs], b[:, :dofs], blend)
        local = _slerp(a[:, dofs:].unflatten(1, (bodies, 4)), b[:, dofs:].unflatten(1, (bodies, 4)), blend)
        if yaw is not None:
            local[:, :1] = _turned(local[:, :1], yaw)
        dof_positions = self.skeleton.dofs_from_local_rotations(local)
        return MotionState(positions, rotations, velocities, turning, contacts, local, dof_positions, dof_velocities)

    def sample_motions(
        self, count: int, generator: torch.Generator | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Draw clips by weight, `(count,)` int64.

        Args:
            count: how many.
            generator: on the library's device.
            weights: (M,) instead of the library's own.
        """
        cumulative = self._cumulative
        if weights is not None:
            cumulative = _cumulative(_checked_weights(weights, self.num_motions).to(self.device))
        draw = torch.rand(count, generator=generator, device=self.device)
        return torch.searchsorted(cumulative, draw, right=True).clamp_max_(self.num_motions - 1)

    def sample_times(self, ids: Tensor, generator: torch.Generator | None = None, margin: float = 0.0) -> Tensor:
        """Draw a time within each clip, `(N,)` s, uniform from 0 to its duration less `margin` s."""
        draw = torch.rand(ids.shape, generator=generator, device=self.device)
        return draw * (self.durations.index_select(0, ids) - margin).clamp_min_(0.0)

    # --- other libraries ---------------------------------------------------------------------------------------------

    def to(self, device: torch.device | str) -> MotionLib:
        """The same library on another device."""
        moved = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(moved, name, value.to(device))
        moved._cycle = Cycle(self._cycle.yaw.to(device), self._cycle.center.to(device), self._cycle.step.to(device))
        return moved

    def select(self, names: Sequence[str]) -> MotionLib:
        """A library of some of the clips, in the order of `names`, with their weights.

        Raises:
            MotionError: listing the clips there are.
        """
        if unknown := [name for name in names if name not in self.names]:
            raise MotionError(f"no clip {unknown} in this library; it has {list(self.names)}")
        if not names:
            raise MotionError("a motion library needs at least one clip")
        ids = [self.names.index(name) for name in names]
        spans = [slice(int(s), int(s + n)) for s, n in zip(self.first_frames[ids], self.num_frames[ids], strict=True)]
        chosen = copy.copy(self)
        chosen.names = tuple(names)
        chosen.labels = tuple(self.labels[i] for i in ids)
        for name in ("num_frames", "fps", "durations", "loops", "weights"):
            setattr(chosen, name, getattr(self, name)[ids])
        chosen.first_frames = chosen.num_frames.cumsum(0) - chosen.num_frames
        chosen._cycle = Cycle(self._cycle.yaw[ids], self._cycle.center[ids], self._cycle.step[ids])
        chosen._world = torch.cat([self._world[span] for span in spans])
        chosen._joints = torch.cat([self._joints[span] for span in spans])
        chosen._finish()
        return chosen


# --- packing ---------------------------------------------------------------------------------------------------------


def _pack_world(clip: ClipFrames) -> Tensor:
    """(T, 14 B): positions, velocities, angular velocities, rotations, contacts."""
    blocks = (clip.positions, clip.velocities, clip.angular_velocities, clip.rotations, clip.contacts.float())
    return torch.cat([block.flatten(1) for block in blocks], dim=1)


def _checked_weights(weights: Sequence[float] | Tensor | None, count: int) -> Tensor:
    if weights is None:
        return torch.ones(count)
    table = torch.as_tensor(weights, dtype=torch.float32)
    if table.shape != (count,):
        raise MotionError(f"want one weight for each of the {count} clips, found shape {tuple(table.shape)}")
    if not bool(torch.isfinite(table).all()) or bool((table < 0).any()) or float(table.sum()) <= 0:
        raise MotionError(f"weights must be finite, not negative and not all zero, found {table.tolist()}")
    return table


def _cumulative(weights: Tensor) -> Tensor:
    total = weights.double().cumsum(0)
    return (total / total[-1]).float()


# --- the arithmetic of a query ---------------------------------------------------------------------------------------


def _wrapped(clip: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """Whole cycles gone (0 for clips that end) and the time within the clip, both (N,)."""
    duration = clip[:, 1]
    cycles = (times / duration).floor_().mul_(clip[:, 2])
    return cycles, torch.minimum((times - cycles * duration).clamp_min_(0.0), duration)


def _slerp(a: Tensor, b: Tensor, blend: Tensor) -> Tensor:
    """`poselib.rotations.slerp` for stored neighbours: signs already agree, so fewer operations do. (N, B, 4)."""
    blend = blend.expand(a.shape[:2])
    angle = torch.linalg.vecdot(a, b).clamp_(-1.0, 1.0 - 1e-6).acos_()
    scale = angle.sin().reciprocal_()
    weight_a = torch.sin((1.0 - blend) * angle).mul_(scale).unsqueeze(-1)
    weight_b = torch.sin(blend * angle).mul_(scale).unsqueeze(-1)
    return torch.addcmul(a * weight_a, b, weight_b)


def _moved(vectors: Tensor, yaw: Tensor, step: Tensor, center: Tensor) -> Tensor:
    """Turn positions, velocities, angular velocities `(N, 3, B, 3)` about z; move positions on by `step`."""
    cosine, sine = torch.cos(yaw), torch.sin(yaw)
    shift_x = center[:, 0] + step[:, 0] - cosine * center[:, 0] + sine * center[:, 1]
    shift_y = center[:, 1] + step[:, 1] - sine * center[:, 0] - cosine * center[:, 1]
    cosine, sine = cosine[:, None, None], sine[:, None, None]
    x, y, z = vectors.unbind(-1)
    moved = torch.stack([cosine * x - sine * y, sine * x + cosine * y, z], dim=-1)
    moved[:, 0, :, :2] += torch.stack([shift_x, shift_y], dim=-1).unsqueeze(1)
    return moved


def _turned(rotations: Tensor, yaw: Tensor) -> Tensor:
    """Turn rotations `(N, B, 4)` about the world's z axis by `yaw` `(N,)`."""
    half = 0.5 * yaw[:, None]
    cosine, sine = torch.cos(half), torch.sin(half)
    x, y, z, w = rotations.unbind(-1)
    return torch.stack(
        [cosine * x - sine * y, cosine * y + sine * x, cosine * z + sine * w, cosine * w - sine * z], dim=-1
    )
