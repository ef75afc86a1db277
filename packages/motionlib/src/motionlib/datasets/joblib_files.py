"""What `joblib.dump` writes, read without joblib and without running anything.

Without arrays a file of joblib is a plain pickle, compressed or not. An array leaves a description of itself in the
pickle (`NumpyArrayWrapper`) and its bytes right behind that, in the middle of the pickle. Only the names that take part
in this are known, each bound to a stand-in of ours; any other is an error, and nothing behind it is imported.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import zlib
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np

from motionlib.motion import MotionError

__all__ = ["read_joblib"]

_MAX_BYTES = 1 << 30
"""of a decompressed file"""
_NUMBER = re.compile(r"[biuf][1248]")


def read_joblib(path: Path) -> Any:  # noqa: ANN401
    """Dictionaries, lists, tuples, texts, numbers, and arrays of numbers.

    Raises:
        MotionError: if the file is damaged, or names anything that such values do not take.
    """
    data = path.read_bytes()
    try:
        if data[:1] == b"\x78" or data[:2] == b"\x1f\x8b":  # zlib, gzip
            data = zlib.decompressobj(wbits=47).decompress(data, _MAX_BYTES)
        return _Unpickler(io.BytesIO(data)).load()
    except _ForbiddenError as error:
        raise MotionError(f"{path}: refused, since its pickle names {error}, which no table needs") from None
    except Exception as error:  # a damaged program fails in any of its steps
        raise MotionError(f"{path}: damaged joblib file ({type(error).__name__}: {error})") from error


class _ForbiddenError(Exception):
    """A name that is not bound to a stand-in."""


# Stand-ins define `__setstate__` even where they have no state: a pickle may otherwise set attributes of a class.


class _DataType:
    """`numpy.dtype` of numbers."""

    def __init__(self, code: object, *_: object) -> None:
        if not _NUMBER.fullmatch(str(code)):
            raise ValueError(f"arrays of {code!r:.20} are not read")
        self.plain = np.dtype(str(code))

    def __setstate__(self, state: tuple) -> None:
        self.plain = self.plain.newbyteorder(">" if state[1] == ">" else "<")


class _Array:
    """`numpy.ndarray`, which is only named."""

    def __init__(self, *_: object) -> None:
        raise ValueError("an array that is not described by joblib")

    def __setstate__(self, state: object) -> NoReturn:
        raise ValueError("an array that is not described by joblib")


class _Scalar:
    """`numpy.core.multiarray.scalar`."""

    def __new__(cls, kind: _DataType, content: bytes) -> Any:  # noqa: ANN401
        return np.frombuffer(content, kind.plain, 1)[0]

    def __setstate__(self, state: object) -> NoReturn:
        raise ValueError("a function has no state")


class _ArrayWrapper:
    """`joblib.numpy_pickle.NumpyArrayWrapper`: the description of an array whose bytes follow."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.shape, self.order, self.kind = state["shape"], state["order"], state["dtype"]
        self.is_padded = state.get("numpy_array_alignment_bytes") is not None

    def read(self, file: io.BytesIO) -> np.ndarray:
        """The array; the file goes on behind it."""
        if self.is_padded:
            file.read(file.read(1)[0])
        size = math.prod(self.shape) * self.kind.plain.itemsize
        array = np.frombuffer(file.read(size), self.kind.plain)
        return array.reshape(self.shape, order="F" if self.order == "F" else "C").copy()


_STAND_INS = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DataType,
    ("numpy.core.multiarray", "scalar"): _Scalar,
    ("joblib.numpy_pickle", "NumpyArrayWrapper"): _ArrayWrapper,
}


_PythonUnpickler: Any = pickle._Unpickler
"""the unpickler of the standard library that is written in Python, and so can read something else between two steps"""


class _Unpickler(_PythonUnpickler):
    """Knows the names in `_STAND_INS` and no other."""

    dispatch: ClassVar = dict(_PythonUnpickler.dispatch)

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, encoding="latin1")
        self._file = file

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        stand_in = _STAND_INS.get((module.replace("numpy._core", "numpy.core"), name))
        if stand_in is None:
            raise _ForbiddenError(f"{module}.{name}")
        return stand_in

    def persistent_load(self, reference: Any) -> NoReturn:  # noqa: ANN401
        raise _ForbiddenError(f"an object outside of the file, {reference!r:.40}")

    def load_build(self) -> None:
        """A finished description is replaced by its array."""
        super().load_build()
        if isinstance(self.stack[-1], _ArrayWrapper):
            self.stack[-1] = self.stack[-1].read(self._file)

    dispatch[pickle.BUILD[0]] = load_build
