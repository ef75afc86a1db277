"""Parts of the clips of a library that are drawn on their own: from when to when, how often, described how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor

from motionlib.datasets.entries import SubMotion
from motionlib.motion import Motion, MotionError
from motionlib.texts import Texts

__all__ = ["SubMotions"]


@dataclass(frozen=True, eq=False)
class SubMotions:
    """S parts, in the order of their clips; a clip without any of its own has itself as its one part."""

    clips: Tensor
    """(S,) int64, not falling"""
    times: Tensor
    """(S, 2) s, start and end from the clip's first frame"""
    weights: Tensor
    """(S,) how often each is drawn"""
    captions: Texts
    """the labels of all parts"""
    caption_ends: Tensor
    """(S,) int64, where each part's labels end in `captions`"""
    embeddings: Tensor | None = None
    """(S, L, E) of the first L labels, zero where there is none"""
    has_text: Tensor | None = None
    """(S, L) bool, which of the embeddings stand for a label"""

    @classmethod
    def of(
        cls, motions: Sequence[Motion], weights: Sequence[float], parts: Sequence[Sequence[SubMotion]]
    ) -> SubMotions:
        """Of clips in order.

        Args:
            motions: M clips.
            weights: of the clips; they multiply those of their parts.
            parts: of each clip; none stands for the whole clip with its own labels.

        Raises:
            MotionError: naming the clip whose part lies outside of it or has no weight.
        """
        if len(parts) != len(motions):
            raise MotionError(f"want the parts of each of the {len(motions)} clips, found {len(parts)} lists")
        rows = [
            (index, *_span(motion, part), weight * part.weight, part.labels or motion.labels)
            for index, (motion, weight, own) in enumerate(zip(motions, weights, parts, strict=True))
            for part in (own or (SubMotion(),))
        ]
        return cls(
            clips=torch.tensor([row[0] for row in rows], dtype=torch.int64),
            times=torch.tensor([row[1:3] for row in rows], dtype=torch.float32).reshape(-1, 2),
            weights=torch.tensor([row[3] for row in rows], dtype=torch.float32),
            captions=Texts.of([label for row in rows for label in row[4]]),
            caption_ends=torch.tensor([len(row[4]) for row in rows], dtype=torch.int64).cumsum(0),
        )

    @classmethod
    def joined(cls, groups: Sequence[SubMotions], counts: Sequence[int]) -> SubMotions:
        """Of libraries one after the other; `counts` are their numbers of clips. Embeddings stay if all have them."""
        first = [0, *accumulate(counts)][:-1]
        embeddings = [group.embeddings for group in groups if group.embeddings is not None]
        has_text = [group.has_text for group in groups if group.has_text is not None]
        kept = len(embeddings) == len(groups) and len({e.shape[1:] for e in embeddings}) == 1
        before = [0, *accumulate(len(group.captions) for group in groups)][:-1]
        return cls(
            clips=torch.cat([group.clips + start for group, start in zip(groups, first, strict=True)]),
            times=torch.cat([group.times for group in groups]),
            weights=torch.cat([group.weights for group in groups]),
            captions=Texts.of([text for group in groups for text in group.captions]),
            caption_ends=torch.cat([group.caption_ends + start for group, start in zip(groups, before, strict=True)]),
            embeddings=torch.cat(embeddings) if kept else None,
            has_text=torch.cat(has_text) if kept else None,
        )

    def __len__(self) -> int:
        """S."""
        return len(self.clips)

    def labels(self, part: int) -> tuple[str, ...]:
        """What a part shows, in words."""
        first = int(self.caption_ends[part - 1]) if part else 0
        return tuple(self.captions[first : int(self.caption_ends[part])])

    def of_clips(self, first: int, stop: int) -> SubMotions:
        """Those of the clips from `first` to before `stop`, which are then counted from 0."""
        begin, end = torch.searchsorted(self.clips.cpu(), torch.tensor([first, stop])).tolist()
        text = int(self.caption_ends[begin - 1]) if begin else 0
        last = int(self.caption_ends[end - 1]) if end else 0
        rows = slice(begin, end)
        return SubMotions(
            clips=self.clips[rows] - first,
            times=self.times[rows],
            weights=self.weights[rows],
            captions=self.captions[text:last],
            caption_ends=self.caption_ends[rows] - text,
            embeddings=None if self.embeddings is None else self.embeddings[rows],
            has_text=None if self.has_text is None else self.has_text[rows],
        )

    def map(self, function: Callable[[Tensor], Tensor]) -> SubMotions:
        """With `function` applied to what queries use: all but the texts."""
        return replace(
            self,
            clips=function(self.clips),
            times=function(self.times),
            weights=function(self.weights),
            embeddings=None if self.embeddings is None else function(self.embeddings),
            has_text=None if self.has_text is None else function(self.has_text),
        )


def _span(motion: Motion, part: SubMotion) -> tuple[float, float]:
    end = motion.duration if part.end is None else part.end
    # Times in data sets are rounded: a part may end a little after its clip.
    if not 0.0 <= part.start < end <= motion.duration + 0.1:
        raise MotionError(
            f"clip {motion.name!r} lasts {motion.duration:.3f} s: no part of it goes from {part.start} to {end} s"
        )
    if not 0.0 <= part.weight < float("inf"):
        raise MotionError(f"clip {motion.name!r}: the weight of a part must be finite and not negative: {part.weight}")
    return part.start, min(end, motion.duration)
