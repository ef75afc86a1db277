from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from motionlib import MotionError, MotionLib
from motionlib.datasets import SubMotion
from motionlib.embeddings import embed_labels, sentence_transformer
from motionlib.packed import PackedWriter
from poselib import models

SKELETON = models.skeleton("amp")
PARTS = [(SubMotion(labels=("walks", "strolls", "ambles", "roams")), SubMotion(labels=("runs",))), ()]


def encode(texts: list[str]) -> np.ndarray:
    """Two numbers that tell the words of this test apart."""
    return np.array([[len(text), ord(text[0])] for text in texts])


def expected(*texts: str) -> torch.Tensor:
    rows = encode(list(texts)).tolist() + [[0.0, 0.0]] * (3 - len(texts))
    return torch.tensor(rows, dtype=torch.float32)


@pytest.fixture
def clips(make_motion):
    return [make_motion("a", frames=9), make_motion("b", frames=9, seed=1)]


@pytest.fixture
def library(clips):
    return MotionLib(clips, SKELETON, sub_motions=PARTS)


def test_each_sub_motion_has_up_to_three(library):
    embeddings, has_text = embed_labels(library, encode).text_embeddings(torch.tensor([2, 0, 1]))
    assert embeddings.dtype == torch.float32
    torch.testing.assert_close(embeddings[0], expected("a test", "moves"))
    torch.testing.assert_close(embeddings[1], expected("walks", "strolls", "ambles"))
    torch.testing.assert_close(embeddings[2], expected("runs"))
    assert has_text.tolist() == [[True, True, False], [True, True, True], [True, False, False]]


def test_the_library_itself_stays_as_it_is(library):
    embed_labels(library, encode)
    with pytest.raises(MotionError, match=r"no text embeddings: make them with motionlib\.embeddings\.embed_labels"):
        library.text_embeddings(torch.tensor([0]))


def test_each_text_is_encoded_once_and_in_batches(clips):
    library = MotionLib(clips * 3, SKELETON)
    calls: list[list[str]] = []

    def counting(texts: list[str]) -> np.ndarray:
        calls.append(texts)
        return encode(texts)

    embed_labels(library, counting, batch_size=1)
    assert calls == [["a test"], ["moves"]]


def test_they_are_stored_and_sharded(library, clips, tmp_path):
    path = tmp_path / "library.safetensors"
    embedded = embed_labels(library, encode)
    embedded.save(path)
    everything = torch.arange(3)
    for ours, theirs in zip(
        MotionLib.open(path).text_embeddings(everything), embedded.text_embeddings(everything), strict=True
    ):
        assert torch.equal(ours, theirs)
    last = MotionLib.open(path, rank=1, world_size=2)
    torch.testing.assert_close(last.text_embeddings(torch.tensor([0]))[0][0], expected("a test", "moves"))
    chosen = embedded.select(["b", "a"])
    torch.testing.assert_close(chosen.text_embeddings(torch.tensor([2]))[0][0], expected("runs"))

    with PackedWriter(tmp_path / "streamed.safetensors", SKELETON, encoder=encode) as writer:
        for clip, parts in zip(clips, PARTS, strict=True):
            writer.add(clip, sub_motions=parts)
    assert (tmp_path / "streamed.safetensors").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "wrong", [lambda texts: np.zeros((1, 4)), lambda texts: np.zeros(len(texts)), lambda texts: [[np.nan]] * len(texts)]
)
def test_a_wrong_encoder_is_named(library, wrong):
    with pytest.raises(MotionError, match=r"a text encoder must return finite numbers of shape \(6, E\)"):
        embed_labels(library, wrong)


def test_without_labels_there_is_nothing_to_embed(make_motion):
    library = MotionLib([replace(make_motion(), labels=())], SKELETON)
    with pytest.raises(MotionError, match="no sub-motion has a label"):
        embed_labels(library, encode)


def test_a_missing_package_says_its_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MotionError, match=r"pip install 'proto-motionlib\[text\]'"):
        sentence_transformer()
