"""Motion files of other projects: one file per format, found by what the file holds, not by how it is called.

To add a format, write `importers/<format>.py` and add it to `IMPORTERS`. It has `FORMAT`, `recognizes(head) -> bool`
for the first 64 KiB of a file, and `read(path) -> Motion`, or `read_all(path) -> list[Motion]` where a file may hold
many clips. Where the head does not decide (archives), it also has `recognizes_file(path) -> bool`, asked only if the
head fits. What a file does not say, the reader takes as keyword-only arguments with a default, named alike in all
formats: `skeleton` (a built-in character's name or a `Skeleton`), `fps`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from motionlib.importers import (
    amass,
    archives,
    asf_amc,
    beyondmimic,
    bvh,
    clip,
    csv,
    deepmimic,
    gmr,
    h1_hands,
    locomujoco,
    locomujoco_trajectory,
    mimickit,
    packed_library,
    poselib_json,
    poselib_npy,
    protomotions,
    protomotions_package,
    samp,
)
from motionlib.motion import Motion, MotionError

__all__ = ["IMPORTERS", "importer_of", "load", "load_all", "options_of"]

IMPORTERS: tuple[ModuleType, ...] = (
    clip,
    packed_library,
    deepmimic,
    poselib_npy,
    poselib_json,
    protomotions,
    protomotions_package,
    h1_hands,
    amass,
    samp,
    mimickit,
    gmr,
    beyondmimic,
    locomujoco,
    locomujoco_trajectory,
    bvh,
    asf_amc,
    csv,
)

_HEAD_BYTES = 65536


def load(path: str | Path, **options: object) -> Motion:
    """Read a motion file of any known format.

    Args:
        path: the file.
        options: what the file does not say, such as `skeleton="g1"` for formats that name no bodies, or `fps`.

    Raises:
        MotionError: if there is no such file, no importer recognizes it, it is damaged, it holds several clips, or the
            format has no such option.
    """
    motions = load_all(path, **options)
    if len(motions) > 1:
        raise MotionError(f"{path}: holds {len(motions)} clips; read them with motionlib.load_all")
    return motions[0]


def load_all(path: str | Path, **options: object) -> list[Motion]:
    """Read every clip of a motion file of any known format; most hold one.

    Args:
        path: the file.
        options: as for `load`.

    Raises:
        MotionError: as for `load`.
    """
    importer = importer_of(path)
    result = _guarded(importer, Path(path), options)
    return result if isinstance(result, list) else [result]


def importer_of(path: str | Path) -> ModuleType:
    """The importer that recognizes a file.

    Raises:
        MotionError: if there is no such file or none recognizes it.
    """
    path = Path(path)
    if not path.is_file():
        raise MotionError(f"no motion file at {path}")
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    for importer in IMPORTERS:
        if importer.recognizes(head) and (not hasattr(importer, "recognizes_file") or importer.recognizes_file(path)):
            return importer
    members = archives.member_names(path)
    found = f"; it is an archive of {sorted(members)[:12]}" if members else ""
    if head.startswith(archives.ZIP_MAGIC) and not members:
        found = "; it begins like a zip archive, but is cut off or damaged"
    raise MotionError(f"{path}: none of the known motion formats (`motionlib list formats` names them){found}")


def options_of(importer: ModuleType) -> list[str]:
    """What a format takes besides the file, in the order of its reader."""
    return [p.name for p in inspect.signature(_reader(importer)).parameters.values() if p.kind is p.KEYWORD_ONLY]


def _reader(importer: ModuleType) -> Callable[..., Motion | list[Motion]]:
    return importer.read_all if hasattr(importer, "read_all") else importer.read


def _guarded(importer: ModuleType, path: Path, options: dict[str, object]) -> Motion | list[Motion]:
    """What the importer makes of the file; whatever a damaged file makes it stumble over becomes a `MotionError`."""
    valid = options_of(importer)
    if unknown := sorted(set(options) - set(valid)):
        takes = f"takes the options {valid}" if valid else "takes none"
        raise MotionError(f"{path}: no option {unknown} for {importer.FORMAT}, which {takes}")
    try:
        return _reader(importer)(path, **options)
    except MotionError as error:
        if str(path) in str(error):
            raise
        raise MotionError(f"{path}: {error}") from error
    except Exception as error:  # parsers of other projects' formats raise many kinds on damaged bytes
        raise MotionError(f"{path}: damaged {importer.FORMAT} ({type(error).__name__}: {error})") from error
