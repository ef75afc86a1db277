"""Many short texts as bytes in two tensors: a hundred thousand names are there at once, and read when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import torch
from torch import Tensor

__all__ = ["Texts"]


class Texts(Sequence[str]):
    """An immutable list of strings, UTF-8 one after the other. Each text is decoded when it is asked for."""

    def __init__(self, data: Tensor, ends: Tensor) -> None:
        """Take stored tensors as they are.

        Args:
            data: uint8, all bytes.
            ends: (M,) int64, where each text ends in `data`.
        """
        self.data, self.ends = data, ends

    @classmethod
    def of(cls, texts: Sequence[str]) -> Texts:
        """Store a list."""
        encoded = [text.encode() for text in texts]
        data = torch.frombuffer(bytearray(b"".join(encoded) or b"\0"), dtype=torch.uint8)
        return cls(data, torch.tensor([len(text) for text in encoded], dtype=torch.int64).cumsum(0))

    def __len__(self) -> int:
        """M."""
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Texts: ...
    def __getitem__(self, index: int | slice) -> str | Texts:
        """One text, or those of a slice."""
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                return Texts.of([self[i] for i in range(start, stop, step)])
            first, last = self._start(start), self._start(max(stop, start))
            data = self.data[first:last] if last > first else self.data[:1]
            return Texts(data, self.ends[start:stop] - first)
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} of {len(self)} texts")
        index %= len(self)
        return bytes(self.data[self._start(index) : int(self.ends[index])].numpy()).decode()

    def _start(self, index: int) -> int:
        return int(self.ends[index - 1]) if index else 0

    def __iter__(self) -> Iterator[str]:
        """All of them, decoded at once."""
        data, start = self.data.numpy().tobytes(), 0
        for end in self.ends.tolist():
            yield data[start:end].decode()
            start = end
