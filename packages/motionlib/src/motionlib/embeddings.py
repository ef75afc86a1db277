"""Labels of motions as vectors, so that a policy can be told in words what to do.

Any function from texts to an array will do as encoder. ProtoMotions 1 takes the text part of X-CLIP (512 numbers);
`sentence_transformer` gives any model that the package of that name knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from motionlib.motion import MotionError
from motionlib.sub_motions import SubMotions

if TYPE_CHECKING:
    from motionlib.library import MotionLib

__all__ = ["Encoder", "embed_labels", "embedded", "sentence_transformer"]

Encoder = Callable[[list[str]], object]
"""takes n texts, returns (n, E) numbers: an array, a CPU tensor, or nested lists"""


def embed_labels(library: MotionLib, encoder: Encoder, *, max_labels: int = 3, batch_size: int = 256) -> MotionLib:
    """The library with embeddings of its labels, which `MotionLib.text_embeddings` returns and `save` stores.

    Args:
        library: its sub-motions have the labels.
        encoder: each different label is given to it once.
        max_labels: L, how many of a sub-motion's labels count; MaskedMimic draws one of three.
        batch_size: labels per call of the encoder.

    Raises:
        MotionError: if no sub-motion has a label, or the encoder returns something else than n rows of finite numbers.
    """
    parts = embedded(library.sub_motions, encoder, max_labels=max_labels, batch_size=batch_size)
    return library.with_sub_motions(parts)


def embedded(parts: SubMotions, encoder: Encoder, *, max_labels: int = 3, batch_size: int = 256) -> SubMotions:
    """`embed_labels` for the sub-motions alone."""
    labels = [parts.labels(part)[:max_labels] for part in range(len(parts))]
    texts = list(dict.fromkeys(text for own in labels for text in own))
    if not texts:
        raise MotionError("no sub-motion has a label to embed")
    batches = [texts[i : i + batch_size] for i in range(0, len(texts), batch_size)]
    table = torch.cat([_encoded(encoder, batch) for batch in batches])
    row = {text: index for index, text in enumerate(texts)}
    rows = torch.full((len(parts), max_labels), len(texts))
    for part, own in enumerate(labels):
        rows[part, : len(own)] = torch.tensor([row[text] for text in own], dtype=torch.long)
    table = torch.cat([table, table.new_zeros(1, table.shape[1])])
    device = parts.clips.device
    return replace(parts, embeddings=table[rows].to(device), has_text=(rows < len(texts)).to(device))


def _encoded(encoder: Encoder, texts: list[str]) -> torch.Tensor:
    result = torch.from_numpy(np.array(encoder(texts), dtype=np.float32))
    if result.ndim != 2 or len(result) != len(texts) or not bool(torch.isfinite(result).all()):
        raise MotionError(
            f"a text encoder must return finite numbers of shape ({len(texts)}, E) for {len(texts)} texts, "
            f"found shape {tuple(result.shape)}"
        )
    return result


def sentence_transformer(name: str = "all-MiniLM-L6-v2", device: str | None = None) -> Encoder:
    """The encoder of a sentence-transformers model; downloaded by that package when first used.

    Args:
        name: of the model, or its folder.
        device: torch device; the package's choice if left out.

    Raises:
        MotionError: with the install command, if the package is missing.
    """
    try:
        from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise MotionError("sentence-transformers is not installed: pip install 'proto-motionlib[text]'") from error
    model = SentenceTransformer(name, device=device)

    def encode(texts: Sequence[str]) -> object:
        return model.encode(list(texts), show_progress_bar=False, convert_to_numpy=True)

    return encode
