"""A motion clip: what was recorded, of which bodies, how fast, and how it repeats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from motionlib.files import check_archive, complete_file
from poselib.kinematics import forward_kinematics
from poselib.rotations import quat_continuous, quat_normalize
from poselib.skeleton import Skeleton

__all__ = ["Loop", "Motion", "MotionError"]

Loop = Literal["none", "wrap"]

_FORMAT, _VERSION = "motionlib-clip", 1
_ARRAYS = ("offsets", "root_positions", "local_rotations")
_TEXTS = ("name", "loop", "source", "license")
_LISTS = ("body_names", "labels")


class MotionError(ValueError):
    """A clip or file that cannot be used: the message says which one, what was found and what would be right."""


@dataclass(frozen=True, eq=False)
class Motion:
    """One clip: T frames of B bodies at a fixed rate. Checked at construction."""

    name: str
    fps: float
    """frames per second; need not be whole"""
    body_names: tuple[str, ...]
    """what the columns of `local_rotations` belong to; the root comes first"""
    parents: tuple[int, ...]
    """index of each body's parent, -1 for the root"""
    offsets: Tensor
    """(B, 3) m, origin of each body in its parent's frame, of the character that was recorded"""
    root_positions: Tensor
    """(T, 3) m, world"""
    local_rotations: Tensor
    """(T, B, 4) xyzw as `Skeleton` defines them: identity = rest pose, the root's is its orientation in the world"""
    loop: Loop = "none"
    """"wrap": the last frame is the first of the next cycle, up to a turn about z and a shift on the ground"""
    labels: tuple[str, ...] = ()
    """short descriptions in words"""
    source: str = ""
    license: str = ""

    def __post_init__(self) -> None:
        """Check everything; store float32 and unit, sign-continuous quaternions."""
        for name in _ARRAYS:
            array = getattr(self, name).detach().to("cpu", torch.float32).contiguous()
            if not torch.isfinite(array).all():
                raise MotionError(f"clip {self.name!r}: {name} holds values that are not finite in float32")
            object.__setattr__(self, name, array)
        self._check_shapes()
        errors = (self.local_rotations.norm(dim=-1, keepdim=True) - 1).abs()
        if float(errors.max()) > 1e-2:
            raise MotionError(
                f"clip {self.name!r}: local_rotations must be unit quaternions, lengths are {errors.max():.3g} off"
            )
        # What is unit already stays as it is to the last digit: a clip read again is the same clip.
        unit = torch.where(errors > 1e-6, quat_normalize(self.local_rotations), self.local_rotations)
        rotations = quat_continuous(unit)
        object.__setattr__(self, "local_rotations", rotations)

    def _check_shapes(self) -> None:
        bodies = len(self.body_names)
        where = f"clip {self.name!r}"
        if len(set(self.body_names)) != bodies or bodies == 0:
            raise MotionError(f"{where}: want at least one body and no name twice, found {list(self.body_names)}")
        if len(self.parents) != bodies or self.parents[0] != -1:
            raise MotionError(f"{where}: want {bodies} parents with -1 first, found {list(self.parents)}")
        if any(not 0 <= p < b for b, p in enumerate(self.parents) if b):
            raise MotionError(f"{where}: each parent must stand before its child, found parents {list(self.parents)}")
        frames = self.root_positions.shape[0] if self.root_positions.ndim else 0
        shapes = {"offsets": (bodies, 3), "root_positions": (frames, 3), "local_rotations": (frames, bodies, 4)}
        for name, shape in shapes.items():
            found = tuple(getattr(self, name).shape)
            if found != shape:
                raise MotionError(f"{where}: {name} must have shape {shape}, found {found}")
        if frames < 2:
            raise MotionError(f"{where}: want at least 2 frames, found {frames}")
        if not 0 < self.fps < float("inf"):
            raise MotionError(f"{where}: fps must be a positive number, found {self.fps}")
        if self.loop not in get_args(Loop):
            raise MotionError(f"{where}: loop must be one of {list(get_args(Loop))}, found {self.loop!r}")

    # --- sizes -------------------------------------------------------------------------------------------------------

    @property
    def num_frames(self) -> int:
        """T."""
        return self.root_positions.shape[0]

    @property
    def duration(self) -> float:
        """Seconds from the first frame to the last."""
        return (self.num_frames - 1) / self.fps

    @property
    def path_length(self) -> float:
        """Meters that the root travels over the ground."""
        return float(self.root_positions[:, :2].diff(dim=0).norm(dim=-1).sum())

    # --- skeletons ---------------------------------------------------------------------------------------------------

    def for_skeleton(self, skeleton: Skeleton) -> Motion:
        """The same clip with bodies in the order of `skeleton`, matched by name, and with the skeleton's offsets.

        Raises:
            MotionError: naming the bodies that the clip lacks, has too many, or hangs on another parent.
        """
        missing = [name for name in skeleton.body_names if name not in self.body_names]
        extra = [name for name in self.body_names if name not in skeleton.body_names]
        if missing or extra:
            raise MotionError(
                f"clip {self.name!r} does not fit skeleton {skeleton.name!r}: "
                f"missing bodies {missing}, extra bodies {extra}"
            )
        order = [self.body_names.index(name) for name in skeleton.body_names]
        for body, index in enumerate(order):
            ours, theirs = _parent_name(self.body_names, self.parents[index]), skeleton.parents[body]
            wanted = _parent_name(skeleton.body_names, theirs)
            if ours != wanted:
                raise MotionError(
                    f"clip {self.name!r}: body {self.body_names[index]!r} hangs on {ours!r}, "
                    f"in skeleton {skeleton.name!r} on {wanted!r}"
                )
        return replace(
            self,
            body_names=skeleton.body_names,
            parents=skeleton.parents,
            offsets=skeleton.offsets,
            local_rotations=self.local_rotations[:, order],
        )

    def world_poses(self, skeleton: Skeleton) -> tuple[Tensor, Tensor]:
        """Positions `(T, B, 3)` m and rotations `(T, B, 4)` in the world, bodies in the skeleton's order."""
        motion = self.for_skeleton(skeleton)
        return forward_kinematics(skeleton, motion.root_positions, motion.local_rotations)

    # --- files -------------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write a compressed `.npz` that `load` reads. The file appears complete or not at all."""
        path = Path(path)
        if path.suffix != ".npz":
            raise MotionError(f"{path}: a clip is saved as .npz, not {path.suffix or 'without a suffix'!r}")
        fields: dict[str, np.ndarray] = {
            "format": np.array(_FORMAT),
            "version": np.array(_VERSION),
            "fps": np.array(self.fps, dtype=np.float64),
            "parents": np.array(self.parents, dtype=np.int64),
        }
        fields |= {name: getattr(self, name).numpy() for name in _ARRAYS}
        fields |= {name: np.array(getattr(self, name)) for name in _TEXTS}
        fields |= {name: np.array(getattr(self, name), dtype=np.str_) for name in _LISTS}
        with complete_file(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **fields)

    @classmethod
    def load(cls, path: str | Path) -> Motion:
        """Read a clip that `save` wrote.

        Raises:
            MotionError: if the file is missing, damaged, of a newer version, or no clip.
        """
        path = Path(path)
        if not path.is_file():
            raise MotionError(f"no motion file at {path}")
        try:
            check_archive(path)
            with np.load(path, allow_pickle=False) as archive:
                fields = {name: archive[name] for name in archive.files}
        except Exception as error:  # numpy, zipfile and zlib each have their own
            raise MotionError(f"{path}: not a readable .npz archive ({error})") from error
        if str(fields.get("format", "")) != _FORMAT:
            raise MotionError(f"{path}: an .npz archive, but no motionlib clip; it holds {sorted(fields)}")
        if int(fields["version"]) > _VERSION:
            raise MotionError(f"{path}: clip format version {fields['version']}, this motionlib reads up to {_VERSION}")
        wanted = {"fps", "parents", *_ARRAYS, *_TEXTS, *_LISTS}
        if missing := sorted(wanted - set(fields)):
            raise MotionError(f"{path}: clip without {missing}")
        return cls(
            fps=float(fields["fps"]),
            parents=tuple(int(p) for p in fields["parents"]),
            **{name: torch.from_numpy(fields[name]) for name in _ARRAYS},  # type: ignore[arg-type]
            **{name: str(fields[name]) for name in _TEXTS},  # type: ignore[arg-type]
            **{name: tuple(str(text) for text in fields[name]) for name in _LISTS},  # type: ignore[arg-type]
        )


def _parent_name(names: Sequence[str], parent: int) -> str | None:
    return names[parent] if parent >= 0 else None
