"""Whoever waits for kernels is told why, once."""

import logging
import time

from proto_envs.simulators import compilation
from proto_envs.simulators.compilation import news_of_compilation


def test_only_a_long_wait_is_told_and_only_once_for_each_engine(monkeypatch, caplog):
    monkeypatch.setattr(compilation, "_TOLD", set())
    with caplog.at_level(logging.WARNING, logger="proto_envs"):
        with news_of_compilation("Warp", "/cache", patience=0.05):
            pass
        time.sleep(0.1)
        assert not caplog.records, "it was not long"
        for engine in ("Warp", "Warp", "Genesis"):
            with news_of_compilation(engine, "/cache", patience=0.05):
                time.sleep(0.2)
    assert [record.getMessage() for record in caplog.records] == [
        f"{engine} compiles its kernels for this model, a minute or more, once. They stay in /cache"
        for engine in ("Warp", "Genesis")
    ]
