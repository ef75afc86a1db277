"""`benchmarks/soak.py` tells a leak from caches that fill in the beginning."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def soak(monkeypatch):
    """The benchmark."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    for name in ("soak", "engine_tables"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import soak

    return soak


@pytest.mark.parametrize("leak", [0.0, 3.0])
def test_the_slope_is_of_the_time_after_the_beginning(soak, leak):
    """600 s at 1000 steps/s; 100 MiB fill in the first 60 s; `leak` MiB are lost per million steps."""
    samples = [
        soak.Sample(second, 1000 * second, 0, 500.0 + 100.0 * min(second / 60, 1.0) + leak * second / 1000)
        for second in range(0, 601, 5)
    ]
    row = soak.summary(samples, soak.Arguments())
    assert row["mib_per_million_steps"] == pytest.approx(leak, abs=1e-3)
    assert row["mib_per_hour"] == pytest.approx(3.6 * leak, abs=1e-3)
    assert row["resident_mib"]["first"] == 500.0


def test_memory_that_is_held_is_resident(soak):
    before = soak.resident_bytes()
    held = b"\1" * (64 << 20)
    assert 60 << 20 <= soak.resident_bytes() - before <= 80 << 20
    assert len(held) == 64 << 20
