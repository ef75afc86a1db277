"""Many clips in few tensors, and the state of a character at any time of any of them, thousands at once."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from motionlib.loops import Cycle
from motionlib.motion import Motion, MotionError
from motionlib.processing.frames import ClipFrames, clip_frames
from motionlib.processing.heights import HeightFix
from motionlib.samples import sample_names, sample_path
from poselib import models
from poselib.ground import CollisionPoints
from poselib.skeleton import Skeleton

__all__ = ["BodyState", "MotionLib", "MotionState"]


@dataclass(frozen=True, eq=False)
class BodyState:
    """The bodies of the reference at N moments; world frame, m, s, rad."""

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

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The same state with `function` applied to every field, to reshape or select."""
        return type(self)(*(function(getattr(self, field.name)) for field in fields(self)))


@dataclass(frozen=True, eq=False)
class MotionState(BodyState):
    """Bodies and joints of the reference at N moments: B bodies, D degrees of freedom."""

    local_rotations: Tensor
    """(N, B, 4)"""
    dof_positions: Tensor
    """(N, D)"""
    dof_velocities: Tensor
    """(N, D)"""


class MotionLib:
    """M clips on one skeleton, stored frame after frame (F in all) in two packed tensors.

    A query gathers two neighbouring frames, interpolates, and moves the result on by the cycles that a wrapped clip has
    gone through. It runs no Python loop and never waits for the device. Within a frame, numbers stand by component (all
    x, then all y, ...), so that every step of a query runs over long contiguous rows.
    """

    def __init__(
        self,
        motions: Sequence[Motion],
        skeleton: Skeleton,
        *,
        weights: Sequence[float] | Tensor | None = None,
        height_fix: HeightFix = "lift",
        loop_blend: float = 0.25,
        collision_points: CollisionPoints | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """Pack clips.

        Args:
            motions: at least one; bodies are matched with the skeleton by name.
            skeleton: of the character that is to move.
            weights: (M,) relative frequency of each clip in `sample_motions`; equal if left out.
            height_fix: "lift" raises frames that sink and lowers clips that hover, "lowest" puts the lowest point of
                each clip on z = 0, "none" keeps the heights.
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
        self._joints = torch.cat([_pack_joints(clip) for clip in clips])
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
        return self._world[:, 9 * bodies : 13 * bodies].unflatten(1, (4, bodies)).transpose(1, 2)

    @property
    def contacts(self) -> Tensor:
        """(F, B) bool."""
        return self._world[:, 14 * self.skeleton.num_bodies :] > 0.5

    @property
    def dof_velocities(self) -> Tensor:
        """(F, D) rad/s."""
        return self._joints[:, : self.skeleton.num_dofs]

    @property
    def local_rotations(self) -> Tensor:
        """(F, B, 4)."""
        bodies, dofs = self.skeleton.num_bodies, self.skeleton.num_dofs
        return self._joints[:, dofs : dofs + 4 * bodies].unflatten(1, (4, bodies)).transpose(1, 2)

    def _vectors(self, kind: int) -> Tensor:
        bodies = self.skeleton.num_bodies
        return self._world[:, : 9 * bodies].unflatten(1, (3, 3, bodies))[:, :, kind].transpose(1, 2)

    # --- queries -----------------------------------------------------------------------------------------------------

    def get_motion_state(self, ids: Tensor, times: Tensor) -> MotionState:
        """The reference at any time, bodies and joints.

        Positions and velocities are interpolated linearly, rotations along the shorter arc. Before the start and after
        the end a clip stands still in its first or last frame (with that frame's velocity); a wrapped clip goes on in
        both directions.

        Args:
            ids: (N,) int64 in [0, M).
            times: (N,) s from the clip's first frame.
        """
        moment = self._locate(ids, times)
        body = self._bodies_at(moment)
        local, dof_velocities = self._joints_at(moment)
        dof_positions = self.skeleton.dofs_from_local_rotations(local)
        return MotionState(
            **vars(body), local_rotations=local, dof_positions=dof_positions, dof_velocities=dof_velocities
        )

    def get_body_state(self, ids: Tensor, times: Tensor) -> BodyState:
        """The bodies' part of `get_motion_state`, at two thirds of the cost."""
        return self._bodies_at(self._locate(ids, times))

    def get_joint_state(self, ids: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """Local rotations (N, B, 4) and joint velocities (N, D) of `get_motion_state`, without the rest."""
        return self._joints_at(self._locate(ids, times))

    def _locate(self, ids: Tensor, times: Tensor) -> _Moment:
        if ids.shape != times.shape or ids.ndim != 1:
            raise MotionError(f"want ids (N,) and times (N,), found {tuple(ids.shape)} and {tuple(times.shape)}")
        clip = self._clips.index_select(0, ids)
        cycles, time = _wrapped(clip, times)
        frame = time * clip[:, 0]
        early = torch.minimum(frame.floor(), clip[:, 3])
        blend = (frame - early).clamp_(0.0, 1.0).unsqueeze(1)
        rows = self.first_frames.index_select(0, ids) + early.long()
        cycle = Cycle(clip[:, 4], clip[:, 5:7], clip[:, 7:9])
        yaw, step = cycle.power(cycles) if self._any_loop else (None, None)
        return _Moment(rows, blend, yaw, step, cycle.center)

    def _bodies_at(self, moment: _Moment) -> BodyState:
        bodies, rows, blend = self.skeleton.num_bodies, moment.rows, moment.blend
        # Two gathers, one after the other, are quicker than one of twice the rows.
        a, b = self._world.index_select(0, rows), self._world.index_select(0, rows + 1)
        vectors = torch.lerp(a[:, : 9 * bodies], b[:, : 9 * bodies], blend)
        rotations = _slerp(a[:, 9 * bodies : 14 * bodies], b[:, 9 * bodies : 13 * bodies], blend)
        contacts = (a[:, 14 * bodies :] + b[:, 14 * bodies :]) > 0.5
        if moment.yaw is not None and moment.step is not None:
            vectors = _moved(vectors, moment.yaw, moment.step, moment.center)
            rotations = _turned(rotations, moment.yaw)
        positions, velocities, turning = vectors.unflatten(1, (3, 3, bodies)).permute(2, 0, 3, 1).contiguous()
        return BodyState(positions, rotations.transpose(1, 2).contiguous(), velocities, turning, contacts)

    def _joints_at(self, moment: _Moment) -> tuple[Tensor, Tensor]:
        bodies, dofs, rows, blend = self.skeleton.num_bodies, self.skeleton.num_dofs, moment.rows, moment.blend
        a, b = self._joints.index_select(0, rows), self._joints.index_select(0, rows + 1)
        dof_velocities = torch.lerp(a[:, :dofs], b[:, :dofs], blend)
        local = _slerp(a[:, dofs:], b[:, dofs : dofs + 4 * bodies], blend)
        if moment.yaw is not None:
            local[:, :, :1] = _turned(local[:, :, :1], moment.yaw)
        return local.transpose(1, 2).contiguous(), dof_velocities

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
    """(T, 15 B): x, y, z of positions, velocities and angular velocities; rotations and their angles; contacts."""
    vectors = torch.stack([clip.positions, clip.velocities, clip.angular_velocities], dim=1).movedim(-1, 1)
    return torch.cat([vectors.flatten(1), _pack_rotations(clip.rotations), clip.contacts.float()], dim=1)


def _pack_joints(clip: ClipFrames) -> Tensor:
    """(T, D + 5 B): joint velocities; local rotations and their angles."""
    return torch.cat([clip.dof_velocities, _pack_rotations(clip.local_rotations)], dim=1)


def _pack_rotations(rotations: Tensor) -> Tensor:
    """(T, 5 B): x, y, z, w and the half angle to the next frame (at least a trifle, so that `_slerp` can divide)."""
    now, later = rotations[:-1].double(), rotations[1:].double()
    angles = 2.0 * torch.atan2((later - now).norm(dim=-1), (later + now).norm(dim=-1))
    angles = torch.cat([angles, angles[-1:]]).clamp_min(1e-3).float()
    return torch.cat([rotations.transpose(1, 2).flatten(1), angles], dim=1)


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


@dataclass(frozen=True, eq=False)
class _Moment:
    """Where N moments lie among the stored frames."""

    rows: Tensor
    """(N,) the earlier frame; the later one is the next row"""
    blend: Tensor
    """(N, 1) from the earlier to the later frame"""
    yaw: Tensor | None
    """(N,) rad turned by the cycles gone; None where no clip wraps"""
    step: Tensor | None
    """(N, 2) m moved by the cycles gone"""
    center: Tensor
    """(N, 2) m, that the turn is about"""


# --- the arithmetic of a query ---------------------------------------------------------------------------------------


def _wrapped(clip: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """Whole cycles gone (0 for clips that end) and the time within the clip, both (N,)."""
    duration = clip[:, 1]
    cycles = (times / duration).floor_().mul_(clip[:, 2])
    return cycles, torch.minimum((times - cycles * duration).clamp_min_(0.0), duration)


def _slerp(a: Tensor, b: Tensor, blend: Tensor) -> Tensor:
    """`poselib.rotations.slerp` for stored neighbours, whose signs agree and whose angle is known.

    Args:
        a: (N, 5 B) as `_pack_rotations` made it.
        b: (N, 4 B).
        blend: (N, 1).

    Returns:
        (N, 4, B).
    """
    bodies = b.shape[1] // 4
    angle = a[:, 4 * bodies :]
    scale = angle.sin().reciprocal_()
    part = blend * angle
    weight_a = (angle - part).sin_().mul_(scale).unsqueeze(1)
    weight_b = part.sin_().mul_(scale).unsqueeze(1)
    result = a[:, : 4 * bodies].unflatten(1, (4, bodies)) * weight_a
    return result.add_(b.unflatten(1, (4, bodies)) * weight_b)


def _moved(vectors: Tensor, yaw: Tensor, step: Tensor, center: Tensor) -> Tensor:
    """Turn positions, velocities, angular velocities `(N, 9 B)` about z and move positions on by `step`, in place."""
    cosine, sine = torch.cos(yaw).unsqueeze(1), torch.sin(yaw).unsqueeze(1)
    center_x, center_y = center.split(1, dim=1)
    shift = center + step
    x, y, _ = vectors.chunk(3, dim=1)
    old_x = x.clone()
    x.mul_(cosine).addcmul_(y, -sine)
    y.mul_(cosine).addcmul_(old_x, sine)
    bodies = x.shape[1] // 3
    x[:, :bodies] += shift[:, :1] - cosine * center_x + sine * center_y
    y[:, :bodies] += shift[:, 1:] - sine * center_x - cosine * center_y
    return vectors


def _turned(rotations: Tensor, yaw: Tensor) -> Tensor:
    """Turn rotations `(N, 4, B)` about the world's z axis by `yaw` `(N,)`."""
    half = 0.5 * yaw.view(-1, 1)
    cosine, sine = torch.cos(half), torch.sin(half)
    x, y, z, w = rotations.unbind(1)
    turned = rotations * cosine.unsqueeze(1)
    turned[:, 0].addcmul_(y, -sine)
    turned[:, 1].addcmul_(x, sine)
    turned[:, 2].addcmul_(w, sine)
    turned[:, 3].addcmul_(z, -sine)
    return turned
