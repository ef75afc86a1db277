"""Zip archives of arrays: what is in them, and the arrays and tensors themselves, without running any pickle of theirs.

`numpy.savez` writes a zip with one `.npy` member per array, `torch.save` a zip whose `data.pkl` describes the tensors
that lie beside it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Collection
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch

from motionlib.files import check_archive
from motionlib.motion import MotionError

__all__ = ["ZIP_MAGIC", "array_names", "member_names", "read_arrays", "read_tensors", "torch_description"]

ZIP_MAGIC = b"PK\x03\x04"
_TORCH_DESCRIPTION = "/data.pkl"


class _StateConversion(Enum):
    """Stands for the one class of ProtoMotions that its clips may name."""

    SIMULATOR = "simulator"
    COMMON = "common"


_CLASSES: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_StateConversion, "protomotions.simulator.base_simulator.simulator_state.StateConversion")
]


def member_names(path: Path) -> list[str]:
    """Names in the directory of a zip archive; none if the file is no readable zip."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return []


def array_names(path: Path) -> set[str]:
    """Names of the arrays in a file of `numpy.savez`; none if it is something else."""
    return {name.removesuffix(".npy") for name in member_names(path) if name.endswith(".npy")}


def read_arrays(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Those of the named arrays that a file of `numpy.savez` holds.

    Raises:
        MotionError: naming the array that cannot be read, among them arrays of Python objects (pickles).
    """
    arrays: dict[str, np.ndarray] = {}
    reading = "its directory"
    try:
        check_archive(path)
        with np.load(path, allow_pickle=False) as archive:
            for reading in sorted(set(names) & set(archive.files)):
                arrays[reading] = archive[reading]
    except Exception as error:  # zipfile, zlib and numpy each have their own
        raise MotionError(f"{path}: cannot read {reading} of the .npz archive ({error})") from error
    return arrays


def torch_description(path: Path) -> bytes:
    """The bytes in which a file of `torch.save` says what it holds, keys of dictionaries readable among them.

    Empty if the file is something else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            name = next((name for name in archive.namelist() if name.endswith(_TORCH_DESCRIPTION)), None)
            return archive.read(name) if name is not None else b""
    except Exception:  # not a zip, or a damaged one: not ours
        return b""


def read_tensors(path: Path) -> dict[str, Any]:
    """The dictionary in a file of `torch.save`; classes that it may name are tensors and one enum of ProtoMotions.

    Raises:
        MotionError: if it names anything else (nothing of it is run), is damaged, or is no dictionary.
    """
    try:
        with torch.serialization.safe_globals(_CLASSES):
            if unsafe := torch.serialization.get_unsafe_globals_in_checkpoint(path):
                raise MotionError(f"{path}: refused, since it names {sorted(unsafe)}, which no motion needs")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except MotionError:
        raise
    except Exception as error:  # the zip reader, the unpickler and the tensors each have their own
        raise MotionError(f"{path}: damaged torch archive ({str(error).partition(chr(10))[0]})") from error
    if not isinstance(content, dict):
        raise MotionError(f"{path}: want a dictionary of tensors, found {type(content).__name__}")
    for key, value in content.items():
        if isinstance(value, torch.Tensor) and not _is_stored(value):
            raise MotionError(f"{path}: tensor {key!r} of shape {tuple(value.shape)} is not stored number by number")
    return content


def _is_stored(tensor: torch.Tensor) -> bool:
    """Dense numbers, each in the file: strides of zero, sparse layouts and other devices make much of few bytes."""
    if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
        return False
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()
