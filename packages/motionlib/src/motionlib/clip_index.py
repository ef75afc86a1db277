"""What a library knows of its clips besides their frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from motionlib.loops import Cycle
from motionlib.motion import Motion, MotionError
from motionlib.texts import Texts

__all__ = ["ClipIndex", "checked_weights"]


@dataclass(frozen=True, eq=False)
class ClipIndex:
    """M clips whose frames stand one after the other."""

    names: Texts
    sources: Texts
    licenses: Texts
    first_frames: Tensor
    """(M,) int64, row of each clip's first frame"""
    num_frames: Tensor
    """(M,) int64"""
    loops: Tensor
    """(M,) bool, which clips wrap"""
    weights: Tensor
    """(M,) how often each is drawn"""
    table: Tensor
    """(M, 9) what a query looks up at once: fps, duration (s), 1 if it wraps, last frame that has a next one, and the
    yaw (rad), center (2, m) and step (2, m) of its `Cycle`"""

    @classmethod
    def of(cls, motions: Sequence[Motion], cycles: Sequence[Cycle], weights: Tensor) -> ClipIndex:
        """Of clips in order."""
        numbers = [
            (m.fps, m.duration, float(m.loop == "wrap"), m.num_frames - 2.0, *c.yaw.reshape(1), *c.center, *c.step)
            for m, c in zip(motions, cycles, strict=True)
        ]
        lengths = torch.tensor([motion.num_frames for motion in motions])
        return cls(
            names=Texts.of([motion.name for motion in motions]),
            sources=Texts.of([motion.source for motion in motions]),
            licenses=Texts.of([motion.license for motion in motions]),
            first_frames=lengths.cumsum(0) - lengths,
            num_frames=lengths,
            loops=torch.tensor([motion.loop == "wrap" for motion in motions]),
            weights=weights,
            table=torch.tensor([[float(n) for n in row] for row in numbers]),
        )

    @classmethod
    def joined(cls, groups: Sequence[ClipIndex]) -> ClipIndex:
        """Of libraries one after the other."""
        lengths = torch.cat([group.num_frames for group in groups])
        return cls(
            names=Texts.of([name for group in groups for name in group.names]),
            sources=Texts.of([source for group in groups for source in group.sources]),
            licenses=Texts.of([terms for group in groups for terms in group.licenses]),
            first_frames=lengths.cumsum(0) - lengths,
            num_frames=lengths,
            loops=torch.cat([group.loops for group in groups]),
            weights=torch.cat([group.weights for group in groups]),
            table=torch.cat([group.table for group in groups]),
        )

    def __len__(self) -> int:
        """M."""
        return len(self.num_frames)

    @property
    def cycles(self) -> Cycle:
        """How each clip goes on."""
        return Cycle(self.table[:, 4], self.table[:, 5:7], self.table[:, 7:9])

    def of_clips(self, first: int, stop: int) -> ClipIndex:
        """The clips from `first` to before `stop`; rows are counted from the first one's first frame."""
        chosen = {field.name: getattr(self, field.name)[first:stop] for field in fields(self)}
        return replace(ClipIndex(**chosen), first_frames=chosen["first_frames"] - chosen["first_frames"][:1])

    def shard(self, rank: int, world_size: int) -> tuple[int, int]:
        """First and last + 1 of the clips of one of `world_size` processes, which get about equally many frames.

        Each gets the clips whose middle lies in its share of the frames, and at least one.

        Raises:
            MotionError: if there is no such rank, or there are fewer clips than ranks.
        """
        if not 0 <= rank < world_size:
            raise MotionError(f"rank must be in [0, {world_size}), found {rank}")
        clips = len(self)
        if clips < world_size:
            raise MotionError(f"{clips} clips cannot be shared by {world_size} processes: each needs at least one")
        middles = 2 * self.first_frames + self.num_frames
        total = 2 * int(self.first_frames[-1] + self.num_frames[-1])
        shares = torch.tensor([total * r // world_size for r in range(1, world_size)], dtype=torch.int64)
        bounds = [0, *torch.searchsorted(middles, shares).tolist(), clips]
        for r in range(1, world_size):
            bounds[r] = min(max(bounds[r], bounds[r - 1] + 1), clips - (world_size - r))
        return bounds[rank], bounds[rank + 1]

    def map(self, function: Callable[[Tensor], Tensor]) -> ClipIndex:
        """With `function` applied to every tensor that queries use."""
        return replace(
            self,
            first_frames=function(self.first_frames),
            num_frames=function(self.num_frames),
            loops=function(self.loops),
            weights=function(self.weights),
            table=function(self.table),
        )


def checked_weights(weights: Sequence[float] | Tensor | None, count: int) -> Tensor:
    """Weights of `count` clips as `(count,)` float32; all 1 for None.

    Raises:
        MotionError: unless there is one for each and, on the CPU, they are finite, not negative, and not all zero.
    """
    if weights is None:
        return torch.ones(count)
    table = torch.as_tensor(weights, dtype=torch.float32)
    if table.shape != (count,):
        raise MotionError(f"want one weight for each of the {count} clips, found shape {tuple(table.shape)}")
    if table.device.type != "cpu":
        return table  # to look at them, the host would wait for the GPU
    if not bool(torch.isfinite(table).all()) or bool((table < 0).any()) or float(table.sum()) <= 0:
        raise MotionError(f"weights must be finite, not negative and not all zero, found {table.tolist()}")
    return table
