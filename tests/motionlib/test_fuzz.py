"""Damaged files of every format: each gives a clip or a `MotionError`, soon, and without asking for much memory.

`pytest -m slow tests/motionlib/test_fuzz.py` tries 10,000 of them.
"""

from __future__ import annotations

import io
import re
import resource
import signal
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from motionlib import Motion, MotionError
from motionlib.importers import IMPORTERS, importer_of, load_all

SECONDS = 5.0
MEMORY = 512 * 2**20
"""bytes that reading a file of some kilobytes may take beyond what the process has"""
FORMATS = [importer.__name__.rpartition(".")[2] for importer in IMPORTERS]


# --- damage ----------------------------------------------------------------------------------------------------------

HOSTILE = b"nan inf -inf 1e308 -1e308 1e-320 -1 0 99999999999 4294967296 2147483647 1e9 x {} [] , \n".split(b" ")
NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
WORD = re.compile(rb"[A-Za-z_]{3,}")


def span(random: Random, data: bytes, longest: int = 400) -> tuple[int, int]:
    start = random.randrange(len(data) + 1)
    return start, min(len(data), start + random.randrange(1, longest))


def flip_bits(random: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 2, 8, 64)) if data else 0):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def truncate(random: Random, data: bytes) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def delete(random: Random, data: bytes) -> bytes:
    start, end = span(random, data)
    return data[:start] + data[end:]


def duplicate(random: Random, data: bytes) -> bytes:
    start, end = span(random, data)
    return data[:end] + data[start:end] * random.choice((1, 1, 2, 50)) + data[end:]


def overwrite(random: Random, data: bytes) -> bytes:
    start, end = span(random, data, 40)
    fill = random.choice((b"\0", b"\xff", b"\x7f", bytes([random.randrange(256)])))
    return data[:start] + fill * (end - start) + data[end:]


def replace_tokens(random: Random, data: bytes, pattern: re.Pattern, new: Callable[[bytes], bytes]) -> bytes:
    found = list(pattern.finditer(data))
    for match in sorted(random.sample(found, min(len(found), random.choice((1, 1, 3)))), key=lambda m: -m.start()):
        data = data[: match.start()] + new(match[0]) + data[match.end() :]
    return data


def replace_numbers(random: Random, data: bytes) -> bytes:
    return replace_tokens(random, data, NUMBER, lambda _: random.choice(HOSTILE))


def rename(random: Random, data: bytes) -> bytes:
    def other(word: bytes) -> bytes:  # as long as before, so that files that count characters stay readable
        return random.choice((word[::-1], word.swapcase(), b"x" * len(word), word[:-1] + b"q"))

    return replace_tokens(random, data, WORD, other)


PLAIN = (flip_bits, truncate, delete, duplicate, overwrite, replace_numbers, rename)


def repack(random: Random, data: bytes) -> bytes:
    """Damage what is in an archive and pack it again, so that its checksums are right."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    target = random.randrange(len(members))
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as archive:
        for index, (info, content) in enumerate(members):
            name = info.filename
            if index == target:
                damage = random.choice((*PLAIN, None, rename, replace_numbers))
                if damage is None and random.random() < 0.5:
                    continue
                if damage is None:
                    name = rename(random, name.encode()).decode(errors="replace")
                else:
                    content = damage(random, content)
            archive.writestr(name, content, compress_type=info.compress_type)
    return output.getvalue()


def damaged(random: Random, data: bytes) -> bytes:
    archive = data.startswith(b"PK\x03\x04")
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        if archive and random.random() < 0.7:
            try:
                data = repack(random, data)
                continue
            except Exception:  # damaged before
                pass
        data = random.choice(PLAIN)(random, data)
    return data


# --- the test --------------------------------------------------------------------------------------------------------


class Hang(BaseException):
    """Not an `Exception`, so that no reader takes it for damage."""


@contextmanager
def limits() -> Iterator[None]:
    """At most `SECONDS` and `MEMORY` for what is done inside."""

    def stop(*_: object) -> None:
        raise Hang

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, hard))
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def outcome(path: Path) -> str:
    """ "clip" or "error"; anything else fails."""
    try:
        with limits():
            motions = load_all(path)
    except MotionError as error:
        text = str(error)
        assert str(path.parent) in text, f"the error does not name the file: {text}"
        assert not re.search("allocate|MemoryError", text), text
        return "error"
    assert motions
    assert all(isinstance(motion, Motion) for motion in motions)
    return "clip"


def fuzz(name: str, write: Callable[[Path], Path], count: int, folder: Path) -> Counter[str]:
    path = write(folder)
    files = {file: file.read_bytes() for file in sorted(folder.iterdir())}
    random = Random(f"{name} {count}")
    outcomes: Counter[str] = Counter()
    for index in range(count):
        target = random.choice(list(files))
        target.write_bytes(damaged(random, files[target]))
        started = time.perf_counter()
        try:
            outcomes[outcome(path)] += 1
        except BaseException as error:
            kept = folder.parent / f"{name}-{index}{target.suffix}"
            kept.write_bytes(target.read_bytes())
            raise AssertionError(f"{kept}: {type(error).__name__} {error}") from error
        outcomes["slowest ms"] = max(outcomes["slowest ms"], round(1e3 * (time.perf_counter() - started)))
        target.write_bytes(files[target])
    return outcomes


def test_every_importer_has_a_seed(seeds):
    assert list(seeds) == FORMATS


@pytest.mark.parametrize("name", FORMATS)
def test_seeds_are_read_by_their_importer(name, tmp_path, seeds):
    path = seeds[name](tmp_path)
    assert importer_of(path).__name__.rpartition(".")[2] == name
    assert all(motion.num_frames == 4 for motion in load_all(path))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits memory as Linux does")
@pytest.mark.parametrize("name", FORMATS)
def test_damaged_files_are_clips_or_errors(name, tmp_path, seeds):
    folder = tmp_path / "files"
    folder.mkdir()
    outcomes = fuzz(name, seeds[name], 20, folder)
    assert outcomes["clip"] + outcomes["error"] == 20


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits memory as Linux does")
@pytest.mark.parametrize("name", FORMATS)
def test_ten_thousand_damaged_files(name, tmp_path, seeds):
    folder = tmp_path / "files"
    folder.mkdir()
    count = -(-10_000 // len(FORMATS))
    outcomes = fuzz(name, seeds[name], count, folder)
    print(f"{name:22s} {count} files: {dict(outcomes)}")
    assert outcomes["clip"] + outcomes["error"] == count
