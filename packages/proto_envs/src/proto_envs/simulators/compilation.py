"""News of kernels that compile: whoever waits for a minute wants to know what for, and that it is only once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["news_of_compilation"]

_LOG = logging.getLogger(__name__)

_PATIENCE = 3.0
"""s after which a first run is said to be compiling"""
_TOLD: set[str] = set()


@contextmanager
def news_of_compilation(engine: str, folder: str, patience: float = _PATIENCE) -> Iterator[None]:
    """Say, once in a process, that kernels are compiling, if what is done here takes so long that they must be.

    Args:
        engine: whose kernels.
        folder: where they are kept.
        patience: s that it takes at most where they are kept already.
    """

    def tell() -> None:
        if engine not in _TOLD:
            _TOLD.add(engine)
            _LOG.warning(
                "%s compiles its kernels for this model, a minute or more, once. They stay in %s", engine, folder
            )

    timer = threading.Timer(patience, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
