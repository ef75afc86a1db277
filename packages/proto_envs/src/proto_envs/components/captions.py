"""Words for what a clip shows, drawn from a library's labels as embeddings of sentences."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from motionlib import MotionLib

__all__ = ["Captions", "label_embedding"]


class Captions:
    """The texts of a library's clips.

    A clip has parts, a part has up to L labels with embeddings (`motionlib.embeddings.embed_labels`); the text of a
    moment is one of the labels of one of the parts that the moment lies in.
    """

    def __init__(self, library: MotionLib, size: int) -> None:
        """Look up which parts each clip has.

        Args:
            library: with embeddings, or without any: then no moment has a text.
            size: E, numbers of an embedding.

        Raises:
            ValueError: if the library's embeddings are of another size.
        """
        parts = library.sub_motions
        if size and parts.embeddings is not None and parts.embeddings.shape[-1] != size:
            raise ValueError(
                f"text_size is {size}, and the motions have embeddings of {parts.embeddings.shape[-1]} numbers"
            )
        self.library, self.size = library, size
        self._present = size > 0 and parts.embeddings is not None
        counts = torch.bincount(parts.clips, minlength=library.num_motions)
        self._firsts, self._counts = counts.cumsum(0) - counts, counts
        self._most = torch.arange(int(counts.max()), device=library.device)

    def draw(self, clips: Tensor, times: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """One text of each moment.

        Args:
            clips: (n,) long.
            times: (n,) s from the first frame of the clip.
            generator: of the draw.

        Returns:
            Embeddings (n, E), zero where there is none; (n,) s, when in the clip the text ends to be true; and (n,)
            bool, where there is one.
        """
        if not self._present:
            empty = times.new_zeros(len(clips), self.size)
            return empty, torch.zeros_like(times), torch.zeros_like(clips, dtype=torch.bool)
        parts = (self._firsts[clips].unsqueeze(1) + self._most).clamp_max(len(self.library.sub_motions) - 1)
        start, end = self.library.sub_motions.times[parts].unbind(-1)
        holds = (self._most < self._counts[clips].unsqueeze(1)) & (start <= times.unsqueeze(1))
        holds &= times.unsqueeze(1) <= end
        part = self._one_of(holds, generator)
        chosen = parts.gather(1, part).squeeze(1)
        embeddings, labelled = self.library.text_embeddings(chosen)
        label = self._one_of(labelled, generator)
        text = embeddings[torch.arange(len(clips), device=clips.device), label.squeeze(1)]
        shown = holds.any(1) & labelled.any(1)
        return text * shown.unsqueeze(1), end.gather(1, part).squeeze(1), shown

    def embedding(self, text: str) -> Tensor:
        """The embedding (E,) of a label of the motions.

        Raises:
            ValueError: for a text that no clip is labelled with.
        """
        known = self._known
        if not known:
            raise ValueError(f"text {text!r}: the motions have no embeddings (motionlib.embeddings.embed_labels)")
        if text not in known:
            raise ValueError(f"text {text!r}: no clip is labelled so; there are {sorted(known)[:20]}")
        return known[text]

    @property
    def labels(self) -> tuple[str, ...]:
        """All texts that have an embedding, in alphabetical order."""
        return tuple(sorted(self._known))

    @cached_property
    def _known(self) -> dict[str, Tensor]:
        """Label to its embedding (E,)."""
        parts = self.library.sub_motions
        if not self._present or parts.embeddings is None:
            return {}
        return {
            label: embedding
            for part in range(len(parts))
            for label, embedding in zip(parts.labels(part), parts.embeddings[part], strict=False)
        }

    @staticmethod
    def _one_of(options: Tensor, generator: torch.Generator) -> Tensor:
        """One of the true columns of each row (n, P), equally often, as (n, 1); any where none is true."""
        draw = torch.rand(options.shape, generator=generator, device=options.device)
        return (draw * options).argmax(1, keepdim=True)


def label_embedding(motions: MotionLib | None, size: int, text: str) -> Tensor:
    """The embedding (size,) of a label of the motions.

    Raises:
        ValueError: without motions, or for a text that none of them is labelled with.
    """
    if motions is None:
        raise ValueError(f"text {text!r}: without motions there are no labels to take it from")
    return Captions(motions, size).embedding(text)
