"""Pickles of other projects, read without importing or running anything of theirs.

A pickle is a small program that may call any function it names. Those of motion files name five things: `OrderedDict`,
and four of numpy by which arrays are rebuilt (three more in pickles of Python 2 and of new protocols). Each name is
bound to a stand-in of ours that checks its arguments; any other name is an error, and nothing behind it is imported.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from motionlib.motion import MotionError

__all__ = ["PICKLE_MAGICS", "StandIn", "read_pickle"]

PICKLE_MAGICS = (b"\x80", b"(dp", b"(d")
"""how pickles of protocol 2 and up begin, and dictionaries in those of protocol 0 and 1"""

_NUMBER = re.compile(r"[biuf][1248]|[SUO]\d{0,6}|b1|\?")


class StandIn:
    """Takes the place of another project's class: keeps the state that the pickle gives it, and does nothing."""

    __slots__ = ("state",)

    def __new__(cls, *_: object) -> Any:  # noqa: ANN401
        """Empty, whatever the pickle would construct it with."""
        self = super().__new__(cls)
        self.state = None
        return self

    def __init__(self, *_: object) -> None:
        """Nothing to do."""

    def __setstate__(self, state: object) -> None:
        """Keep the state."""
        self.state = state

    def value(self, plain: Callable[[object], Any]) -> Any:  # noqa: ANN401
        """What stands for the object in the result; `plain` turns parts of the state. None here."""
        return None


MoreNames = Callable[[str, str], type[StandIn] | None]
"""module and name to what stands in for it; None for a name that is not to be let in"""


def read_pickle(data: bytes, path: Path, *, more: MoreNames | None = None, what: str = "motion") -> Any:  # noqa: ANN401
    """What a pickle holds: dictionaries, lists, tuples, texts, numbers and numpy arrays.

    Texts of Python 2 are read as Latin-1.

    Args:
        data: the pickle.
        path: named in errors.
        more: classes that this kind of file names besides those of motion files.
        what: kind of file, for errors.

    Raises:
        MotionError: if the pickle names anything else, or is damaged.
    """
    try:
        _check_program(data)
        content = _Unpickler(data, more).load()
        if (items := _written_out(content, {})) > len(data):
            raise ValueError(f"its {len(data)} bytes would become {items:.3g} items, lists that repeat lists")
        return _plain(content, {})
    except _ForbiddenError as error:
        raise MotionError(f"{path}: refused, since its pickle names {error}, which no {what} needs") from None
    except Exception as error:  # a damaged program fails in any of its steps
        raise MotionError(f"{path}: damaged pickle ({type(error).__name__}: {error})") from error


def _check_program(data: bytes) -> None:
    """Read the program without running it: every argument complete, no memo slot so high that memory runs out."""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if "PUT" in opcode.name and not 0 <= int(argument or 0) <= max(count, 255):
            raise ValueError(f"memo slot {argument} after {count} steps")


class _ForbiddenError(Exception):
    """A name that is not bound to a stand-in."""


class _Unpickler(pickle.Unpickler):
    """Knows the names in `_STAND_INS`, what `more` knows, and no other."""

    def __init__(self, data: bytes, more: MoreNames | None) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")
        self._more = more

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        stand_in = _STAND_INS.get((module.replace("numpy._core", "numpy.core"), name))
        if stand_in is None and self._more is not None:
            stand_in = self._more(module, name)
        if stand_in is None:
            raise _ForbiddenError(f"{module}.{name}")
        return stand_in

    def persistent_load(self, reference: Any) -> NoReturn:  # noqa: ANN401
        raise _ForbiddenError(f"an object outside of the file, {reference!r:.40}")


# The stand-ins are classes without attributes of their own, even where a function would do: a pickle may set attributes
# of what it has named, and those of a class whose instances have `__setstate__` are out of its reach.


class _DataType:
    """`numpy.dtype` of plain numbers, texts and objects."""

    __slots__ = ("code", "order")

    def __init__(self, code: object, *_: object) -> None:
        text = code.decode("ascii") if isinstance(code, bytes) else str(code)
        if not _NUMBER.fullmatch(text.lstrip("<>|=")):
            raise ValueError(f"arrays of {text!r:.20} are not read")
        self.code, self.order = text.lstrip("<>|="), "<"

    def __setstate__(self, state: tuple) -> None:
        order = state[1]
        self.order = ">" if order in (">", b">") else "<"

    @property
    def plain(self) -> np.dtype:
        return np.dtype(self.code).newbyteorder(self.order)  # type: ignore[arg-type]


class _Array:
    """`numpy.ndarray`, and what `_reconstruct` makes: empty until its state comes."""

    __slots__ = ("value",)

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, column_major, content = state
        self.value = _array(shape, kind, "F" if column_major else "C", content)


class _Reconstruct:
    """`numpy.core.multiarray._reconstruct`."""

    __slots__ = ()

    def __new__(cls, *_: object) -> Any:  # noqa: ANN401
        return _Array()

    def __setstate__(self, state: object) -> NoReturn:
        raise ValueError("a function has no state")


class _FromBuffer(_Reconstruct):
    """`numpy.core.numeric._frombuffer`."""

    __slots__ = ()

    def __new__(cls, content: object, kind: object, shape: object, order: object) -> Any:  # noqa: ANN401
        array = _Array()
        array.value = _array(shape, kind, "F" if order == "F" else "C", content)
        return array


class _Scalar(_Reconstruct):
    """`numpy.core.multiarray.scalar`."""

    __slots__ = ()

    def __new__(cls, kind: object, content: object) -> Any:  # noqa: ANN401
        return _array((), kind, "C", content)[()]


class _Encode(_Reconstruct):
    """`_codecs.encode`, by which protocol 2 writes bytes."""

    __slots__ = ()

    def __new__(cls, text: str, encoding: str) -> Any:  # noqa: ANN401
        if encoding != "latin1":
            raise ValueError(f"bytes in the encoding {encoding!r:.20}")
        return text.encode("latin1")


_STAND_INS: dict[tuple[str, str], type] = {
    ("collections", "OrderedDict"): dict,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DataType,
    ("numpy.core.multiarray", "_reconstruct"): _Reconstruct,
    ("numpy.core.multiarray", "scalar"): _Scalar,
    ("numpy.core.numeric", "_frombuffer"): _FromBuffer,
    ("_codecs", "encode"): _Encode,
}


def _array(shape: Any, kind: Any, order: Any, content: Any) -> Any:  # noqa: ANN401
    """The array of a state; an array of objects as (nested lists of) its objects."""
    if not isinstance(kind, _DataType) or not isinstance(shape, tuple):
        raise ValueError("an array without a type or a shape")
    if kind.code.startswith("O"):
        if not isinstance(content, list) or len(content) != math.prod(shape):
            raise ValueError(f"an array of objects of shape {shape} without as many objects")
        return content[0] if shape == () else content
    raw = content.encode("latin1") if isinstance(content, str) else content
    return np.frombuffer(raw, dtype=kind.plain).reshape(shape, order=order).copy()


def _written_out(value: Any, counted: dict[int, float]) -> float:  # noqa: ANN401
    """Items of nested lists if each is counted as often as it is referred to, as an array of them would."""
    if isinstance(value, _Array):
        return _written_out(value.value, counted)
    if not isinstance(value, dict | list | tuple):
        return 1.0
    if id(value) not in counted:
        counted[id(value)] = math.inf  # for lists that hold themselves
        items = value.values() if isinstance(value, dict) else value
        counted[id(value)] = sum(_written_out(item, counted) for item in items)
    return counted[id(value)]


def _plain(value: Any, seen: dict[int, Any]) -> Any:  # noqa: ANN401
    """The value with arrays in place of their stand-ins; what is referred to twice is turned once."""
    if isinstance(value, str | bytes | int | float | np.ndarray | np.generic | None):
        return value
    if id(value) in seen:
        return seen[id(value)]
    result: Any
    if isinstance(value, dict):
        result = seen[id(value)] = {}
        result.update((_plain(key, seen), _plain(item, seen)) for key, item in value.items())
    elif isinstance(value, list):
        result = seen[id(value)] = []
        result.extend(_plain(item, seen) for item in value)
    elif isinstance(value, tuple):
        result = seen[id(value)] = tuple(_plain(item, seen) for item in value)
    elif isinstance(value, _Array):
        result = seen[id(value)] = _plain(value.value, seen)
    elif isinstance(value, StandIn):
        result = seen[id(value)] = value.value(lambda part: _plain(part, seen))
    else:
        raise ValueError(f"a {type(value).__name__} where values are wanted")
    return result
