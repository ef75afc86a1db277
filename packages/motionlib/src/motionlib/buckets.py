"""Practice where it fails: the time of all clips cut into short buckets, drawn by how often episodes failed there.

The dynamic sampling of ProtoMotions 1: every few epochs the weight of each bucket that was visited becomes its failure
rate plus 0.7 of what it was. Buckets that were never visited come first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

__all__ = ["TimeBuckets"]


class TimeBuckets:
    """Buckets of equal length over M clips (the last of each clip is shorter) and how episodes went in them.

    `record` counts, `update` makes weights of the counts, `sample` draws by weight. Nothing waits for the device.
    """

    def __init__(
        self,
        durations: Tensor,
        *,
        clip_weights: Tensor | None = None,
        loops: Tensor | None = None,
        seconds: float = 2.0,
        keep: float = 0.7,
        floor: float = 1e-6,
        start_share: float = 0.15,
        uniform_share: float = 0.05,
    ) -> None:
        """Cut the clips.

        Args:
            durations: (M,) s, positive; the buckets live on its device.
            clip_weights: (M,) multiplied into the weights of each clip's buckets; equal if left out.
            loops: (M,) bool, clips that wrap, whose times go on beyond their end; none if left out.
            seconds: length of a bucket.
            keep: share of a bucket's old weight in its new one, in [0, 1).
            floor: the least weight of a visited bucket.
            start_share: of the draws that begin at time 0 of their clip.
            uniform_share: of the draws that ignore what failed: uniform over time, by clip weight.

        Raises:
            ValueError: for a number out of its range.
        """
        ranges = {"seconds": seconds > 0, "keep": 0 <= keep < 1, "floor": floor > 0}
        ranges |= {"start_share": 0 <= start_share <= 1, "uniform_share": 0 <= uniform_share <= 1}
        if wrong := [name for name, right in ranges.items() if not right]:
            raise ValueError(f"{wrong[0]} is out of its range")
        if durations.ndim != 1 or len(durations) == 0 or not bool((durations > 0).all()):
            raise ValueError(f"want positive durations (M,) of at least one clip, found shape {tuple(durations.shape)}")
        weights = torch.ones_like(durations) if clip_weights is None else clip_weights.to(durations)
        if weights.shape != durations.shape or not bool((weights >= 0).all()) or not bool(weights.any()):
            raise ValueError(
                f"want {len(durations)} clip weights, not negative and not all zero, found {weights.tolist()}"
            )
        self.loops = torch.zeros_like(durations, dtype=torch.bool) if loops is None else loops
        self.durations = durations
        self.seconds, self.keep, self.floor = seconds, keep, floor
        self.start_share, self.uniform_share = start_share, uniform_share
        # A clip of 4.0000002 s has two buckets, not three.
        self._counts = torch.ceil(durations / seconds - 1e-4).long().clamp_min_(1)
        self._firsts = self._counts.cumsum(0) - self._counts
        self.clips = torch.repeat_interleave(torch.arange(len(durations), device=durations.device), self._counts)
        number = torch.arange(len(self.clips), device=durations.device) - self._firsts[self.clips]
        self.starts = number * seconds
        self.lengths = torch.minimum(durations[self.clips] - self.starts, torch.full_like(self.starts, seconds))
        self._base = weights[self.clips] * self.lengths
        self.weights = torch.ones_like(self.starts)
        self.visits = torch.zeros_like(self.starts)
        self.failures = torch.zeros_like(self.starts)
        self.seen = torch.zeros_like(self.starts, dtype=torch.bool)

    @property
    def num_buckets(self) -> int:
        """K, of all clips."""
        return len(self.clips)

    def bucket(self, ids: Tensor, times: Tensor) -> Tensor:
        """Which bucket `(N,)` a time of a clip lies in; outside of a clip that ends it is its first or last."""
        times = torch.where(self.loops[ids], times.remainder(self.durations[ids]), times)
        number = (times / self.seconds).long().clamp_min_(0)
        return self._firsts[ids] + torch.minimum(number, self._counts[ids] - 1)

    def record(self, ids: Tensor, times: Tensor, failed: Tensor, visits: float = 1.0) -> None:
        """Count visits.

        Args:
            ids: (N,) clips.
            times: (N,) s, where an episode was (a success) or ended (a failure, perhaps).
            failed: (N,) bool.
            visits: how much of a visit each of them is; less than 1 where one visit is counted in parts.
        """
        buckets = self.bucket(ids, times)
        self.visits.index_add_(0, buckets, torch.full_like(times, visits, dtype=self.visits.dtype))
        self.failures.index_add_(0, buckets, failed.to(self.failures.dtype))

    def update(self, reduce: Callable[[Tensor], object] | None = None) -> None:
        """Turn the counts into weights and begin to count anew.

        Args:
            reduce: adds a tensor up over all processes, in place, such as `torch.distributed.all_reduce`: then all of
                them, who must have the same clips, go on with the same weights.
        """
        if reduce is not None:
            counts = torch.stack([self.visits, self.failures])
            reduce(counts)
            self.visits, self.failures = counts.unbind(0)
        visited = (self.visits > 0) | (self.failures > 0)
        renewed = (self.failures / self.visits.clamp_min(1.0) + self.keep * self.weights).clamp_min_(self.floor)
        # The first visit replaces the weight that every bucket starts with.
        first = (self.failures / self.visits.clamp_min(1.0)).clamp_min_(self.floor)
        renewed = torch.where(self.seen, renewed, first)
        self.weights = torch.where(visited, renewed, self.weights)
        self.seen = self.seen | visited
        self.visits, self.failures = torch.zeros_like(self.visits), torch.zeros_like(self.failures)

    def merge(self, other: TimeBuckets) -> None:
        """Add the counts that another process made on the same clips.

        Raises:
            ValueError: if its buckets are others.
        """
        if other.num_buckets != self.num_buckets or not torch.equal(other.starts.to(self.starts), self.starts):
            raise ValueError(f"{other.num_buckets} buckets cannot be merged into {self.num_buckets} others")
        self.visits += other.visits.to(self.visits)
        self.failures += other.failures.to(self.failures)
        self.seen |= other.seen.to(self.seen.device)

    def probabilities(self) -> Tensor:
        """How probable it is that `sample` draws each bucket, `(K,)`, not counting what begins at time 0."""
        unseen = (~self.seen & (self._base > 0)).to(self._base)
        # Until all were visited, those that were not share the draws.
        chosen = torch.where(unseen.any(), unseen * self._base, self.weights * self._base)
        return (1.0 - self.uniform_share) * chosen / chosen.sum() + self.uniform_share * self._base / self._base.sum()

    def sample(
        self, count: int, generator: torch.Generator | None = None, margin: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Draw clips `(count,)` int64 and times in them `(count,)` s.

        Args:
            count: how many.
            generator: on the buckets' device.
            margin: s before the end of a clip that no time lies in (as far as the clip is longer).
        """
        device = self.starts.device
        cumulative = self.probabilities().double().cumsum(0)
        draws = torch.rand(3, count, generator=generator, device=device)
        buckets = torch.searchsorted((cumulative / cumulative[-1]).float(), draws[0], right=True)
        buckets.clamp_max_(self.num_buckets - 1)
        clips = self.clips[buckets]
        times = self.starts[buckets] + draws[1] * self.lengths[buckets]
        times = torch.minimum(times, (self.durations[clips] - margin).clamp_min_(0.0))
        return clips, times.masked_fill_(draws[2] < self.start_share, 0.0)

    def state_dict(self) -> dict[str, Tensor]:
        """Everything needed to go on exactly from here."""
        return {"weights": self.weights, "visits": self.visits, "failures": self.failures, "seen": self.seen}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore `state_dict`.

        Raises:
            ValueError: if it is of other clips.
        """
        for name, live in self.state_dict().items():
            if state[name].shape != live.shape:
                raise ValueError(f"want {self.num_buckets} buckets, found {name} of shape {tuple(state[name].shape)}")
            live.copy_(state[name])
