"""PoseLib's `SkeletonMotion` as JSON: the dictionary of its `.npy` files, arrays as lists with a type and a shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from motionlib.importers.poselib_npy import motion_from_skeleton_motion
from motionlib.motion import Motion, MotionError

__all__ = ["FORMAT", "read", "recognizes"]

FORMAT = "PoseLib .json"


def recognizes(head: bytes) -> bool:
    """A JSON object with arrays in PoseLib's notation."""
    return head.lstrip().startswith(b"{") and b'"__ndarray__"' in head and b'"arr"' in head


def read(path: Path) -> Motion:
    """Read the clip.

    Raises:
        MotionError: if the text is no JSON, or no moving skeleton.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_hook=_array)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise MotionError(f"{path}: not valid JSON ({error})") from error
    return motion_from_skeleton_motion(content, path)


def _array(entry: dict[str, Any]) -> Any:  # noqa: ANN401
    if "__ndarray__" not in entry:
        return entry
    return np.asarray(entry["__ndarray__"], dtype=np.float64).reshape(entry["shape"])
