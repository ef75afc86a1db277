"""A library as one `.safetensors` file: clips are added one after the other, and opening reads next to nothing.

The file holds the four tables of a `FrameStore`, the columns of a `ClipIndex` and of `SubMotions`, texts as bytes with
their ends, and the skeleton as JSON in the header. Any safetensors reader can read it; ours maps it to memory, so that
a frame comes from the disk when a query asks for it.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from motionlib.clip_index import ClipIndex, checked_weights
from motionlib.datasets.entries import SubMotion
from motionlib.embeddings import Encoder, embedded
from motionlib.files import complete_file
from motionlib.frame_store import FrameStore
from motionlib.motion import Motion, MotionError
from motionlib.processing.frames import clip_frames
from motionlib.processing.heights import HeightFix
from motionlib.sub_motions import SubMotions
from motionlib.texts import Texts
from poselib.ground import CollisionPoints
from poselib.skeleton import Joint, Skeleton

if TYPE_CHECKING:
    from motionlib.library import MotionLib

__all__ = ["PackedWriter", "read_packed", "write_packed"]

_FORMAT, _VERSION = "motionlib-packed", 1
_SUFFIX = ".safetensors"
_TABLES = {"positions": "F32", "body_rates": "F16", "joint_rates": "F16", "poses": "I16"}
"""the tables of a `FrameStore`, of F rows each"""
_COLUMNS = ("first_frames", "num_frames", "loops", "weights", "table")
_TEXTS = ("names", "sources", "licenses")
_PART_COLUMNS = ("clips", "times", "weights", "caption_ends")
_EMBEDDINGS = ("embeddings", "has_text")
_TYPES = {torch.int64: "I64", torch.float32: "F32", torch.uint8: "U8", torch.bool: "BOOL"}
_COMPACT = 512
"""clips after which their small tensors are joined"""


class PackedWriter:
    """Writes a packed library clip by clip; of all but the clip at work, only names and numbers are in memory.

        with PackedWriter("library.safetensors", skeleton) as writer:
            for clip in dataset.clips():
                writer.add(clip.motion)

    Frames wait in files beside the library's, so that the disk must have room for half as much again. The file appears
    when the block ends; after an error there is none.
    """

    def __init__(
        self,
        path: str | Path,
        skeleton: Skeleton,
        *,
        height_fix: HeightFix = "lift",
        loop_blend: float = 0.25,
        collision_points: CollisionPoints | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        """Prepare to write.

        Args:
            path: of the file, `.safetensors`.
            skeleton: of the character; clips are matched with it by name.
            height_fix: as in `MotionLib`.
            loop_blend: as in `MotionLib`.
            collision_points: as in `MotionLib`.
            encoder: gives the text embeddings of the labels, at the end; see `motionlib.embeddings`.

        Raises:
            MotionError: for another suffix, or if there is no such folder.
        """
        self.path = Path(path)
        if self.path.suffix != _SUFFIX:
            found = self.path.suffix or "without a suffix"
            raise MotionError(f"{path}: a packed library is saved as {_SUFFIX}, not {found!r}")
        if not self.path.parent.is_dir():
            raise MotionError(f"{path}: no folder {self.path.parent}")
        self.skeleton = skeleton
        self._settings = {"height_fix": height_fix, "loop_blend": loop_blend, "points": collision_points}
        self._encoder = encoder
        self._groups: list[tuple[ClipIndex, SubMotions]] = []
        self._recent: list[tuple[ClipIndex, SubMotions]] = []
        self._widths: dict[str, int] = {}
        self._stack = ExitStack()
        self._parts: dict[str, BinaryIO] = {}

    def __enter__(self) -> Self:
        """Open the files that frames wait in."""
        waiting = tempfile.TemporaryDirectory(prefix=f".{self.path.name}.", dir=self.path.parent)
        folder = self._stack.enter_context(waiting)
        self._parts = {n: self._stack.enter_context((Path(folder) / n).open("w+b")) for n in _TABLES}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the file, unless there was an error, and tidy up."""
        with self._stack:
            if kind is None:
                self._finish()

    @property
    def num_motions(self) -> int:
        """Clips added so far."""
        return sum(len(index) for index, _ in (*self._groups, *self._recent))

    def add(self, motion: Motion, weight: float = 1.0, sub_motions: Sequence[SubMotion] = ()) -> None:
        """Add a clip.

        Args:
            motion: matched with the skeleton by name.
            weight: how often it is drawn against the others; multiplies the weights of its parts.
            sub_motions: its parts; none stands for all of it, with its own labels.

        Raises:
            MotionError: if the clip does not fit; nothing of it is added then.
        """
        clip = clip_frames(motion, self.skeleton, **self._settings)  # type: ignore[arg-type]
        frames = FrameStore.of_clip(clip, motion.name)
        if not 0.0 <= weight < float("inf"):
            raise MotionError(f"clip {motion.name!r}: weight must be finite and not negative, found {weight}")
        parts = SubMotions.of([motion], [weight], [sub_motions])
        self._append(ClipIndex.of([motion], [clip.cycle], torch.tensor([weight])), frames, parts)

    def add_library(self, library: MotionLib) -> None:
        """Add all clips of a library.

        Raises:
            MotionError: if its skeleton is another.
        """
        if _skeleton_to_json(library.skeleton) != _skeleton_to_json(self.skeleton):
            theirs, ours = library.skeleton.name, self.skeleton.name
            raise MotionError(f"a library on skeleton {theirs!r} cannot be added to one on {ours!r}")
        self._append(library.index, library.frames, library.sub_motions)

    def _append(self, index: ClipIndex, frames: FrameStore, parts: SubMotions) -> None:
        for name, file in self._parts.items():
            table = getattr(frames, name)
            self._widths[name] = table.shape[1]
            file.write(table.cpu().contiguous().numpy())
        self._recent.append((index.map(Tensor.cpu), parts.map(Tensor.cpu)))
        if len(self._recent) >= _COMPACT:
            self._groups.append(_joined(self._recent))
            self._recent = []

    def _finish(self) -> None:
        groups = [*self._groups, *self._recent]
        if not groups:
            raise MotionError(f"{self.path}: a motion library needs at least one clip")
        index, parts = _joined(groups)
        checked_weights(index.weights, len(index))
        if self._encoder is not None:
            parts = embedded(parts, self._encoder)
        columns = _columns(index, parts)
        frames = int(index.num_frames.sum())
        with complete_file(self.path) as temporary, temporary.open("wb") as file:
            file.write(_header(self.skeleton, columns, frames, self._widths))
            for name in _in_order(columns):
                if name in self._parts:
                    with self._parts[name] as part:
                        part.seek(0)
                        shutil.copyfileobj(part, file, 1 << 24)
                    Path(part.name).unlink()  # before the next one: the disk needs room for one table twice, not all
                else:
                    file.write(columns[name].contiguous().numpy())  # type: ignore[arg-type]


def write_packed(path: Path, skeleton: Skeleton, index: ClipIndex, frames: FrameStore, parts: SubMotions) -> None:
    """Write a library that is there; it appears complete or not at all."""
    with PackedWriter(path, skeleton) as writer:
        writer._append(index, frames, parts)


def read_packed(path: Path, rank: int, world_size: int) -> tuple[Skeleton, ClipIndex, FrameStore, SubMotions]:
    """Map a packed library, or one share of it, to memory.

    Args:
        path: of the file.
        rank: which share; see `ClipIndex.shard`.
        world_size: how many shares.

    Raises:
        MotionError: if the file is missing, damaged, of a newer version, or no packed library.
    """
    if not path.is_file():
        raise MotionError(f"no packed library at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = list(file.keys())
            if metadata.get("format") != _FORMAT:
                raise MotionError(f"{path}: a safetensors file, but no packed library; it holds {sorted(names)[:20]}")
            if int(metadata["version"]) > _VERSION:
                raise MotionError(
                    f"{path}: packed format version {metadata['version']}, this motionlib reads up to {_VERSION}"
                )
            tensors = {name: file.get_tensor(name) for name in names}
        skeleton = _skeleton_from_json(metadata["skeleton"])
        index, frames, parts = _from_columns(tensors)
    except (SafetensorError, OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise MotionError(f"{path}: not a readable packed library ({type(error).__name__}: {error})") from error
    _check(path, skeleton, index, frames, parts)
    if world_size == 1 and rank == 0:
        return skeleton, index, frames, parts
    first, stop = index.shard(rank, world_size)
    rows = slice(int(index.first_frames[first]), int(index.first_frames[stop - 1] + index.num_frames[stop - 1]))
    return (
        skeleton,
        index.of_clips(first, stop),
        frames.map(lambda table: table[rows]),
        parts.of_clips(first, stop),
    )


# --- the file --------------------------------------------------------------------------------------------------------


def _joined(groups: Sequence[tuple[ClipIndex, SubMotions]]) -> tuple[ClipIndex, SubMotions]:
    if len(groups) == 1:
        return groups[0]
    indices, parts = [index for index, _ in groups], [part for _, part in groups]
    return ClipIndex.joined(indices), SubMotions.joined(parts, [len(index) for index in indices])


def _columns(index: ClipIndex, parts: SubMotions) -> dict[str, Tensor]:
    """Everything but the frames, by its name in the file."""
    columns = {f"clips.{name}": getattr(index, name) for name in _COLUMNS}
    columns |= {f"sub_motions.{name}": getattr(parts, name) for name in _PART_COLUMNS}
    texts: dict[str, Texts] = {f"clips.{name}": getattr(index, name) for name in _TEXTS}
    for name, text in (texts | {"sub_motions.captions": parts.captions}).items():
        columns |= {name: text.data, f"{name}.ends": text.ends}
    if parts.embeddings is not None and parts.has_text is not None:
        columns |= {"sub_motions.embeddings": parts.embeddings, "sub_motions.has_text": parts.has_text}
    return columns


def _from_columns(tensors: Mapping[str, Tensor]) -> tuple[ClipIndex, FrameStore, SubMotions]:
    def texts(name: str) -> Texts:
        return Texts(tensors[name], tensors[f"{name}.ends"])

    index = ClipIndex(
        names=texts("clips.names"),
        sources=texts("clips.sources"),
        licenses=texts("clips.licenses"),
        **{name: tensors[f"clips.{name}"] for name in _COLUMNS},
    )
    parts = SubMotions(
        captions=texts("sub_motions.captions"),
        **{name: tensors[f"sub_motions.{name}"] for name in _PART_COLUMNS},
        **{name: tensors.get(f"sub_motions.{name}") for name in _EMBEDDINGS},  # type: ignore[arg-type]
    )
    return index, FrameStore(**{name: tensors[f"frames.{name}"] for name in _TABLES}), parts


def _in_order(columns: Mapping[str, Tensor]) -> list[str]:
    """Names of all tensors as they stand in the file: wide numbers first, so that each is aligned."""
    sizes = {name: column.element_size() for name, column in columns.items()}
    sizes |= {name: 4 if kind == "F32" else 2 for name, kind in _TABLES.items()}
    return sorted(sizes, key=lambda name: -sizes[name])


def _header(skeleton: Skeleton, columns: Mapping[str, Tensor], frames: int, widths: Mapping[str, int]) -> bytes:
    """What a safetensors file begins with: the header's length, and as JSON where each tensor stands."""
    metadata = {"format": _FORMAT, "version": str(_VERSION), "skeleton": _skeleton_to_json(skeleton)}
    header: dict[str, object] = {"__metadata__": metadata}
    start = 0
    for name in _in_order(columns):
        if name in _TABLES:
            key, kind, shape = f"frames.{name}", _TABLES[name], [frames, widths[name]]
            size = frames * widths[name] * (4 if kind == "F32" else 2)
        else:
            column = columns[name]
            key, kind, shape, size = name, _TYPES[column.dtype], list(column.shape), column.nbytes
        header[key] = {"dtype": kind, "shape": shape, "data_offsets": [start, start + size]}
        start += size
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    return len(text).to_bytes(8, "little") + text


def _check(path: Path, skeleton: Skeleton, index: ClipIndex, frames: FrameStore, parts: SubMotions) -> None:
    """What a query relies on: equal lengths, widths of the skeleton, clips one after the other."""
    bodies, dofs, clips = skeleton.num_bodies, skeleton.num_dofs, len(index)
    widths = {"positions": 3 * bodies, "body_rates": 6 * bodies, "joint_rates": dofs}
    widths["poses"] = 10 * bodies + (bodies + 1) // 2
    for name, width in widths.items():
        table = getattr(frames, name)
        if table.shape != (len(frames), width):
            raise MotionError(f"{path}: want {name} of shape ({len(frames)}, {width}), found {tuple(table.shape)}")
    ends = index.num_frames.cumsum(0)
    good = (
        clips > 0
        and all(len(getattr(index, name)) == clips for name in (*_COLUMNS, *_TEXTS))
        and index.table.shape == (clips, 9)
        and bool((index.num_frames >= 2).all())
        and torch.equal(ends - index.num_frames, index.first_frames)
        and int(ends[-1]) == len(frames)
        and torch.equal(index.table[:, 3], index.num_frames - 2.0)
        and all(len(getattr(parts, name)) == len(parts) for name in _PART_COLUMNS)
        and bool(((parts.clips >= 0) & (parts.clips < clips)).all())
    )
    if not good:
        raise MotionError(f"{path}: not a readable packed library (its index does not fit its {len(frames)} frames)")


def _skeleton_to_json(skeleton: Skeleton) -> str:
    record = {
        "name": skeleton.name,
        "body_names": skeleton.body_names,
        "parents": skeleton.parents,
        "offsets": skeleton.offsets.tolist(),
        "rest_rotations": skeleton.rest_rotations.tolist(),
        "joints": [asdict(joint) for joint in skeleton.joints],
    }
    return json.dumps(record)


def _skeleton_from_json(text: str) -> Skeleton:
    record = json.loads(text)

    def joint(values: dict[str, object]) -> Joint:
        return Joint(
            kind=values["kind"],  # type: ignore[arg-type]
            names=tuple(values["names"]),  # type: ignore[arg-type]
            axes=tuple(tuple(axis) for axis in values["axes"]),  # type: ignore[attr-defined]
            lower=tuple(values["lower"]),  # type: ignore[arg-type]
            upper=tuple(values["upper"]),  # type: ignore[arg-type]
        )

    return Skeleton(
        name=record["name"],
        body_names=tuple(record["body_names"]),
        parents=tuple(record["parents"]),
        offsets=torch.tensor(record["offsets"]),
        rest_rotations=torch.tensor(record["rest_rotations"]),
        joints=tuple(joint(values) for values in record["joints"]),
    )
