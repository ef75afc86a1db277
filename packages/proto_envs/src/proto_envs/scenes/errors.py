"""The error of this folder."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["SceneError", "nearest"]


class SceneError(ValueError):
    """A scene that cannot be made: the message says where, what was found and what would be right."""


def nearest(word: object, valid: Iterable[str]) -> str:
    """`did you mean 'box'? ` for a word that is close to a valid one, else nothing."""
    near = difflib.get_close_matches(str(word), list(valid), n=1)
    return f"did you mean {near[0]!r}? " if near else ""
