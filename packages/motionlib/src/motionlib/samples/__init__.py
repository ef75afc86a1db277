"""The clips that come with the package: the 20 of DeepMimic (MIT licence), on two characters.

Built by `python -m motionlib.samples.build FOLDER` and kept as `samples/<skeleton>/<clip>.npz`.
"""

from __future__ import annotations

from pathlib import Path

from motionlib.motion import MotionError

__all__ = ["sample_names", "sample_path", "sample_skeletons"]

_FOLDER = Path(__file__).parent


def sample_skeletons() -> list[str]:
    """Characters that there are clips for."""
    return sorted(folder.name for folder in _FOLDER.iterdir() if any(folder.glob("*.npz")))


def sample_names(skeleton: str) -> list[str]:
    """Names of the clips of a character.

    Raises:
        MotionError: listing the characters there are clips for.
    """
    names = sorted(path.stem for path in (_FOLDER / skeleton).glob("*.npz")) if skeleton in sample_skeletons() else []
    if not names:
        raise MotionError(f"no sample clips for {skeleton!r}; there are some for {sample_skeletons()}")
    return names


def sample_path(skeleton: str, name: str) -> Path:
    """The file of a clip.

    Raises:
        MotionError: listing the characters or clips there are.
    """
    names = sample_names(skeleton)
    if name not in names:
        raise MotionError(f"no sample clip {name!r} for {skeleton!r}; there are {names}")
    return _FOLDER / skeleton / f"{name}.npz"
