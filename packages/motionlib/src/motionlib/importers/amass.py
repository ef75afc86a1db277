"""AMASS `.npz`: poses of SMPL, SMPL-H or SMPL-X as rotation vectors, read on the characters "smpl" and "smplx".

Mahmood et al., AMASS, 2019. The SMPL-H release stores the rate as `mocap_framerate`, the SMPL-X one as
`mocap_frame_rate`. The shape (betas) is noted in the clip's source; the character keeps its own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from motionlib.importers.archives import ZIP_MAGIC, array_names, read_arrays
from motionlib.importers.smpl_poses import VARIANTS, motion_from_axis_angles
from motionlib.motion import Motion, MotionError

__all__ = ["FORMAT", "read", "recognizes", "recognizes_file"]

FORMAT = "AMASS .npz"

_RATES = ("mocap_frame_rate", "mocap_framerate")
_LICENSE = "AMASS: research only, not to be passed on"


def recognizes(head: bytes) -> bool:
    """A zip archive."""
    return head.startswith(ZIP_MAGIC)


def recognizes_file(path: Path) -> bool:
    """Poses with translations, or the shape of a body alone (which `read` says is no motion)."""
    names = array_names(path)
    return {"poses", "trans"} <= names or {"gender", "betas"} <= names


def read(path: Path, *, skeleton: str | None = None, fps: float | None = None) -> Motion:
    """Read the clip.

    Args:
        path: the file.
        skeleton: "smpl" or "smplx" to insist on that variant; the file says by itself which it is.
        fps: frames per second, for files that do not say.

    Raises:
        MotionError: if the file holds no poses, those of another variant than wanted, or no rate.
    """
    content = read_arrays(path, ("poses", "trans", "gender", "betas", *_RATES))
    if missing := [key for key in ("poses", "trans") if key not in content]:
        raise MotionError(f"{path}: no motion, {missing} missing; such AMASS files hold only the shape of a body")
    poses, trans = content["poses"], content["trans"]
    model, character = VARIANTS.get(poses.shape[-1] if poses.ndim else 0, ("no known body model", None))
    if skeleton is not None and skeleton != character:
        raise MotionError(f"{path}: poses are of {model} ({character!r}), not of {skeleton!r}")
    rates = [float(content[key].item()) for key in _RATES if key in content]
    if not rates and fps is None:
        raise MotionError(f"{path}: AMASS file without {' or '.join(_RATES)}; pass fps=")
    return motion_from_axis_angles(
        path,
        torch.from_numpy(np.asarray(poses, dtype=np.float64)),
        torch.from_numpy(np.asarray(trans, dtype=np.float64)),
        name=path.stem.removesuffix("_poses").removesuffix("_stageii"),
        fps=rates[0] if rates else float(fps or 0),
        source=f"AMASS {path.name}, {model}{_person(content)}",
        license=_LICENSE,
    )


def _person(content: dict[str, np.ndarray]) -> str:
    """Gender and shape in words."""
    parts = ""
    if "gender" in content:
        gender = content["gender"].item()
        parts += f", {gender.decode() if isinstance(gender, bytes) else gender}"
    if "betas" in content:
        betas = np.asarray(content["betas"], dtype=np.float64).ravel()[:16]
        parts += f", betas {' '.join(f'{beta:.3f}' for beta in betas)}"
    return parts
