"""Many clips in few tensors, and the state of a character at any time of any of them, thousands at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from motionlib.clip_index import ClipIndex, checked_weights
from motionlib.datasets.entries import SubMotion
from motionlib.frame_store import FrameStore, Moment
from motionlib.loops import Cycle
from motionlib.motion import Motion, MotionError
from motionlib.packed import read_packed, write_packed
from motionlib.processing.frames import clip_frames
from motionlib.processing.heights import HeightFix
from motionlib.samples import sample_names, sample_path
from motionlib.states import BodyState, MotionState
from motionlib.sub_motions import SubMotions
from poselib import models
from poselib.ground import CollisionPoints
from poselib.skeleton import Skeleton

__all__ = ["MotionLib"]


class MotionLib:
    """M clips on one skeleton, their frames in the packed tables of a `FrameStore`.

    A query fetches two neighbouring frames, interpolates, and moves the result on by the cycles that a wrapped clip has
    gone through. It runs no Python loop over clips and never waits for the device.
    """

    def __init__(
        self,
        motions: Sequence[Motion],
        skeleton: Skeleton,
        *,
        weights: Sequence[float] | Tensor | None = None,
        sub_motions: Sequence[Sequence[SubMotion]] | None = None,
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
            sub_motions: the parts of each clip that `sample_sub_motions` draws; none of its own stands for all of it.
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
        table = checked_weights(weights, len(motions))
        clips = [
            clip_frames(m, skeleton, points=collision_points, height_fix=height_fix, loop_blend=loop_blend)
            for m in motions
        ]
        frames = [FrameStore.of_clip(clip, motion.name) for clip, motion in zip(clips, motions, strict=True)]
        parts = [()] * len(motions) if sub_motions is None else sub_motions
        self._fill(
            skeleton,
            ClipIndex.of(motions, [clip.cycle for clip in clips], table),
            FrameStore.joined(frames),
            SubMotions.of(motions, table.tolist(), parts),
            device,
        )

    def _fill(
        self,
        skeleton: Skeleton,
        index: ClipIndex,
        frames: FrameStore,
        sub_motions: SubMotions,
        device: torch.device | str = "cpu",
    ) -> None:
        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device)

        self.skeleton = skeleton
        self.index = index.map(move)
        self.frames = frames.map(move)
        self.sub_motions = sub_motions.map(move)
        self._any_loop = bool(index.loops.any())
        self._only_balls = _only_balls(skeleton)
        self._names: tuple[str, ...] | None = None
        self._cumulative: Tensor | None = None
        self._cumulative_sub_motions: Tensor | None = None

    @classmethod
    def _of(
        cls,
        skeleton: Skeleton,
        index: ClipIndex,
        frames: FrameStore,
        sub_motions: SubMotions,
        device: torch.device | str = "cpu",
    ) -> MotionLib:
        library = cls.__new__(cls)
        library._fill(skeleton, index, frames, sub_motions, device)
        return library

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

    @classmethod
    def open(
        cls, path: str | Path, *, device: torch.device | str = "cpu", rank: int = 0, world_size: int = 1
    ) -> MotionLib:
        """A library that `save` or `PackedWriter` wrote, in constant time: frames stay in the file until a query.

        Args:
            path: a `.safetensors` file.
            device: where the tensors go; "cpu" leaves them in the file, which is mapped to memory.
            rank: which of `world_size` shares of the clips to take, contiguous and of about equally many frames.
            world_size: how many shares there are.

        Raises:
            MotionError: if the file is missing, damaged, of a newer version, or no packed library.
        """
        return cls._of(*read_packed(Path(path), rank, world_size), device)

    def save(self, path: str | Path) -> None:
        """Write the library as one `.safetensors` file that `open` reads; it appears complete or not at all."""
        write_packed(Path(path), self.skeleton, self.index, self.frames, self.sub_motions)

    # --- what is stored ----------------------------------------------------------------------------------------------

    @property
    def num_motions(self) -> int:
        """M."""
        return len(self.index)

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.frames.positions.device

    @property
    def names(self) -> tuple[str, ...]:
        """Of the clips; read from the file when first asked for."""
        if self._names is None:
            self._names = tuple(self.index.names)
        return self._names

    @property
    def labels(self) -> tuple[tuple[str, ...], ...]:
        """What each clip shows, in words: the labels of its sub-motions."""
        found: list[dict[str, None]] = [{} for _ in range(self.num_motions)]
        for part, clip in enumerate(self.sub_motions.clips.tolist()):
            found[clip] |= dict.fromkeys(self.sub_motions.labels(part))
        return tuple(tuple(labels) for labels in found)

    @property
    def num_frames(self) -> Tensor:
        """(M,) int64, frames of each clip."""
        return self.index.num_frames

    @property
    def first_frames(self) -> Tensor:
        """(M,) int64, row of each clip's first frame."""
        return self.index.first_frames

    @property
    def fps(self) -> Tensor:
        """(M,) frames per second."""
        return self.index.table[:, 0]

    @property
    def durations(self) -> Tensor:
        """(M,) s from the first frame to the last."""
        return self.index.table[:, 1]

    @property
    def loops(self) -> Tensor:
        """(M,) bool, which clips wrap."""
        return self.index.loops

    @property
    def weights(self) -> Tensor:
        """(M,) relative frequency of each clip in `sample_motions`."""
        return self.index.weights

    @property
    def body_positions(self) -> Tensor:
        """(F, B, 3) m, world. This and the next are unpacked for all frames each time they are asked for."""
        return self.frames.vectors(0)

    @property
    def body_velocities(self) -> Tensor:
        """(F, B, 3) m/s, world."""
        return self.frames.vectors(1)

    @property
    def body_angular_velocities(self) -> Tensor:
        """(F, B, 3) rad/s, world."""
        return self.frames.vectors(2)

    @property
    def body_rotations(self) -> Tensor:
        """(F, B, 4), world."""
        return self.frames.rotations(0)

    @property
    def local_rotations(self) -> Tensor:
        """(F, B, 4)."""
        return self.frames.rotations(1)

    @property
    def contacts(self) -> Tensor:
        """(F, B) bool."""
        return self.frames.contacts()

    @property
    def dof_velocities(self) -> Tensor:
        """(F, D) rad/s."""
        return self.frames.joint_rates.float()

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
        positions, rotations, velocities, turning, contacts, local, dof_rates, dofs = self.frames.all_at(moment)
        if not self._only_balls:
            dofs = self.skeleton.dofs_from_local_rotations(local)
        return MotionState(positions, rotations, velocities, turning, contacts, local, dofs, dof_rates)

    def get_body_state(self, ids: Tensor, times: Tensor) -> BodyState:
        """The bodies' part of `get_motion_state`, at half of the cost."""
        return BodyState(*self.frames.bodies_at(self._locate(ids, times)))

    def get_joint_state(self, ids: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """Local rotations (N, B, 4) and joint velocities (N, D) of `get_motion_state`, without the rest."""
        return self.frames.joints_at(self._locate(ids, times))

    def _locate(self, ids: Tensor, times: Tensor) -> Moment:
        if ids.shape != times.shape or ids.ndim != 1:
            raise MotionError(f"want ids (N,) and times (N,), found {tuple(ids.shape)} and {tuple(times.shape)}")
        clip = self.index.table.index_select(0, ids)
        cycles, time = _wrapped(clip, times) if self._any_loop else (None, times)
        frame = time * clip[:, 0]
        early = torch.minimum(frame.floor().clamp_min_(0.0), clip[:, 3])
        blend = (frame - early).clamp_(0.0, 1.0).unsqueeze(1)
        rows = self.index.first_frames.index_select(0, ids) + early.long()
        if cycles is None:
            return Moment(rows, blend)
        return Moment(rows, blend, Cycle(clip[:, 4], clip[:, 5:7], clip[:, 7:9]), cycles)

    # --- drawing -----------------------------------------------------------------------------------------------------

    def sample_motions(
        self, count: int, generator: torch.Generator | None = None, weights: Tensor | None = None
    ) -> Tensor:
        """Draw clips by weight, `(count,)` int64.

        Args:
            count: how many.
            generator: on the library's device.
            weights: (M,) instead of the library's own.
        """
        if weights is not None:
            cumulative = _cumulative(checked_weights(weights, self.num_motions).to(self.device))
        else:
            if self._cumulative is None:
                self._cumulative = _cumulative(self.weights)
            cumulative = self._cumulative
        return self._draw(cumulative, count, generator)

    def sample_times(self, ids: Tensor, generator: torch.Generator | None = None, margin: float = 0.0) -> Tensor:
        """Draw a time within each clip, `(N,)` s, uniform from 0 to its duration less `margin` s."""
        draw = torch.rand(ids.shape, generator=generator, device=self.device)
        return draw * (self.durations.index_select(0, ids) - margin).clamp_min_(0.0)

    def sample_sub_motions(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw sub-motions by weight, `(count,)` int64; `sub_motions.clips` says of which clip each is."""
        if self._cumulative_sub_motions is None:
            self._cumulative_sub_motions = _cumulative(self.sub_motions.weights)
        return self._draw(self._cumulative_sub_motions, count, generator)

    def sample_sub_motion_times(
        self, sub_motions: Tensor, generator: torch.Generator | None = None, margin: float = 0.0
    ) -> Tensor:
        """Draw a time within each sub-motion, `(N,)` s from its clip's first frame, up to its end less `margin` s."""
        start, end = self.sub_motions.times.index_select(0, sub_motions).unbind(1)
        draw = torch.rand(start.shape, generator=generator, device=self.device)
        return start + draw * (end - start - margin).clamp_min_(0.0)

    def _draw(self, cumulative: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
        draw = torch.rand(count, generator=generator, device=self.device)
        return torch.searchsorted(cumulative, draw, right=True).clamp_max_(len(cumulative) - 1)

    def text_embeddings(self, sub_motions: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings of the first labels of sub-motions.

        Args:
            sub_motions: (N,) int64; where no clip has parts of its own these are the clips' ids.

        Returns:
            Embeddings `(N, L, E)`, zero where a sub-motion has fewer than L labels, and `(N, L)` bool, where there is
            a label.

        Raises:
            MotionError: if the library has none; `motionlib.embeddings.embed_labels` makes them.
        """
        embeddings, has_text = self.sub_motions.embeddings, self.sub_motions.has_text
        if embeddings is None or has_text is None:
            raise MotionError("this library has no text embeddings: make them with motionlib.embeddings.embed_labels")
        return embeddings.index_select(0, sub_motions), has_text.index_select(0, sub_motions)

    # --- other libraries ---------------------------------------------------------------------------------------------

    def to(self, device: torch.device | str) -> MotionLib:
        """The same library on another device."""
        return self._of(self.skeleton, self.index, self.frames, self.sub_motions, device)

    def select(self, names: Sequence[str]) -> MotionLib:
        """A library of some of the clips, in the order of `names`, with their weights.

        Raises:
            MotionError: listing the clips there are.
        """
        known = {name: clip for clip, name in reversed(list(enumerate(self.names)))}
        if unknown := [name for name in names if name not in known]:
            raise MotionError(f"no clip {unknown} in this library; it has {list(self.names)}")
        if not names:
            raise MotionError("a motion library needs at least one clip")
        ids = [known[name] for name in names]
        first, count = self.first_frames.tolist(), self.num_frames.tolist()
        spans = [slice(first[i], first[i] + count[i]) for i in ids]
        return self._of(
            self.skeleton,
            ClipIndex.joined([self.index.of_clips(i, i + 1) for i in ids]),
            self.frames.map(lambda table: torch.cat([table[span] for span in spans])),
            SubMotions.joined([self.sub_motions.of_clips(i, i + 1) for i in ids], [1] * len(ids)),
            self.device,
        )

    def with_weights(self, weights: Sequence[float] | Tensor) -> MotionLib:
        """The same clips with other weights `(M,)`; those of their sub-motions stay.

        Raises:
            MotionError: unless there is one for each clip, finite, not negative, and not all zero.
        """
        index = replace(self.index, weights=checked_weights(weights, self.num_motions))
        return self._of(self.skeleton, index, self.frames, self.sub_motions, self.device)

    def with_sub_motions(self, sub_motions: SubMotions) -> MotionLib:
        """The same clips, other parts of them."""
        return self._of(self.skeleton, self.index, self.frames, sub_motions, self.device)


def _only_balls(skeleton: Skeleton) -> bool:
    """Whether the joint coordinates are just the rotation vectors of all bodies but the root."""
    axes = [axis for joint in skeleton.joints[1:] for axis in joint.axes]
    unit = torch.eye(3).tolist() * (skeleton.num_bodies - 1)
    return all(joint.kind == "ball" for joint in skeleton.joints[1:]) and [list(axis) for axis in axes] == unit


def _cumulative(weights: Tensor) -> Tensor:
    total = weights.double().cumsum(0)
    return (total / total[-1]).float()


def _wrapped(clip: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """Whole cycles gone (0 for clips that end) and the time within the clip, both (N,)."""
    duration = clip[:, 1]
    cycles = (times / duration).floor_().mul_(clip[:, 2])
    return cycles, torch.minimum((times - cycles * duration).clamp_min_(0.0), duration)
