"""The process in which Isaac Gym runs: starting it, calling it, sharing memory with it, and seeing to its end."""

from __future__ import annotations

import json
import math
import mmap
import os
import shutil
import socket
import subprocess
import tempfile
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["PYTHON", "TIMEOUT", "Link", "WorkerError", "interpreter"]

PYTHON = "PROTO_ISAACGYM_PYTHON"
"""environment variable that names the Python that has Isaac Gym"""
TIMEOUT = "PROTO_ISAACGYM_TIMEOUT"
"""environment variable with the s that an answer may take; 600 without it"""

_WORKER = Path(__file__).with_name("isaacgym_worker.py")
_CODES = {torch.float32: "f", torch.int32: "i", torch.uint8: "B"}
_ALIGNED = 64
"""bytes that arrays begin at multiples of"""
_GRACE = 10.0
"""s that a worker that has nothing left to do may take to end"""
_LAST_WORDS = 4000
"""bytes of a worker's output that are told of"""


class WorkerError(RuntimeError):
    """Isaac Gym's process failed, ended, or does not answer; the message has what it said last."""


def interpreter() -> str:
    """The Python that has Isaac Gym.

    Raises:
        ImportError: if the environment variable does not name one.
    """
    named = os.environ.get(PYTHON, "")
    found = shutil.which(named) if named else None
    if found is None:
        problem = f"{PYTHON}={named!r} is no program" if named else f"{PYTHON} is not set"
        raise ImportError(
            f"engine isaacgym needs NVIDIA's Isaac Gym in a Python 3.8 of its own: {problem}; let it name that "
            "environment's python (docs/isaac.md)",
            name="isaacgym",
        )
    return found


class Link:
    """A worker, and the arrays that it and this process both see."""

    def __init__(self, arrays: Mapping[str, tuple[tuple[int, ...], torch.dtype]]) -> None:
        """Start a worker.

        Args:
            arrays: name to shape and type of what is shared; all zero at first.

        Raises:
            ImportError: if there is no interpreter for it.
        """
        program = interpreter()
        self._timeout = float(os.environ.get(TIMEOUT, "600"))
        self._calls = 0
        self._received = b""
        memory = self._share(arrays)
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(self._timeout)
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  open as long as the worker lives
        with theirs:
            self._process = subprocess.Popen(
                [program, "-u", str(_WORKER), str(theirs.fileno()), str(memory)],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs.fileno(), memory),
                env=_environment(program),
            )
        os.close(memory)
        self._end = weakref.finalize(self, _end, self._process, self._socket)

    def _share(self, arrays: Mapping[str, tuple[tuple[int, ...], torch.dtype]]) -> int:
        """Lay the arrays out in a block without a name, which is gone with its last user. Returns its descriptor."""
        self.layout: list[tuple[str, list[int], str, int]] = []
        """name, shape, code of the type, and offset in bytes of each array"""
        size = 0
        for name, (shape, dtype) in arrays.items():
            self.layout.append((name, list(shape), _CODES[dtype], size))
            size += -(-math.prod(shape) * dtype.itemsize // _ALIGNED) * _ALIGNED
        file = os.memfd_create("proto-isaacgym")
        os.ftruncate(file, size)
        block = mmap.mmap(file, size)
        self.arrays: dict[str, Tensor] = {}
        """live views by name, on the CPU"""
        for (name, lengths, _, offset), (_, dtype) in zip(self.layout, arrays.values(), strict=True):
            flat = torch.frombuffer(block, dtype=dtype, count=math.prod(lengths), offset=offset)
            self.arrays[name] = flat.view(lengths)
        return file

    def call(self, name: str, /, **arguments: Any) -> Any:  # noqa: ANN401
        """Let the worker do something, and wait for its answer.

        Raises:
            WorkerError: with the worker's traceback; or that it has ended or does not answer, after which it is gone.
        """
        self._calls += 1
        request = {"id": self._calls, "call": name, "arguments": arguments}
        answer: dict[str, Any] = {"id": 0}
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            while answer["id"] != self._calls:  # an interrupted call may have left its answer behind
                answer = self._receive()
        except TimeoutError as error:
            self._end()
            said = self._last_words()
            raise WorkerError(f"Isaac Gym did not answer {name!r} for {self._timeout:g} s ({TIMEOUT}){said}") from error
        except OSError as error:
            code = self._exit_code()
            raise WorkerError(f"Isaac Gym's process ended in {name!r} with code {code}{self._last_words()}") from error
        if "error" in answer:
            raise WorkerError(f"Isaac Gym failed in {name!r}: {answer['error'].strip()}{self._last_words()}")
        return answer["result"]

    def _receive(self) -> dict[str, Any]:
        while b"\n" not in self._received:
            piece = self._socket.recv(1 << 16)
            if not piece:
                raise ConnectionResetError
            self._received += piece
        line, _, self._received = self._received.partition(b"\n")
        return json.loads(line)

    def _exit_code(self) -> int:
        """Of a worker that has hung up; one that lingers is ended."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=_GRACE)
        self._end()
        return self._process.returncode

    def _last_words(self) -> str:
        # Read without moving the position, which this process and the worker share.
        size = os.fstat(self._output.fileno()).st_size
        said = os.pread(self._output.fileno(), _LAST_WORDS, max(0, size - _LAST_WORDS)).decode(errors="replace").strip()
        return f"; it said:\n{said}" if said else ""

    def close(self) -> None:
        """Let the worker end, and end it if it does not; closing again does nothing."""
        if self._end.alive and self._process.poll() is None:
            with suppress(WorkerError):
                self.call("close")
            self._exit_code()
        self.arrays.clear()


def _end(process: subprocess.Popen[bytes], ours: socket.socket) -> None:
    ours.close()
    process.kill()
    process.wait()


def _environment(program: str) -> dict[str, str]:
    """This process's, in which the interpreter's own libraries are found: Isaac Gym links to libpython3.8."""
    libraries = [str(Path(program).resolve().parents[1] / "lib"), os.environ.get("LD_LIBRARY_PATH", "")]
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(filter(None, libraries))}
