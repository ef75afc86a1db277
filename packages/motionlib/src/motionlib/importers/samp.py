"""SAMP `.pkl`: SMPL-X poses of people who sit down on, walk to and lie on furniture, read on the character "smplx".

Hassan et al., Stochastic Scene-Aware Motion Prediction, 2021: pickles of Python 2 as MoSh++ wrote them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from motionlib.importers.pickles import PICKLE_MAGICS, read_pickle
from motionlib.importers.smpl_poses import motion_from_axis_angles
from motionlib.motion import Motion, MotionError

__all__ = ["FORMAT", "read", "recognizes", "recognizes_file"]

FORMAT = "SAMP .pkl"

_POSES, _TRANSLATIONS, _RATE = "pose_est_fullposes", "pose_est_trans", "mocap_framerate"


def recognizes(head: bytes) -> bool:
    """A pickle."""
    return head.startswith(PICKLE_MAGICS)


def recognizes_file(path: Path) -> bool:
    """It has the name that MoSh++ gives to poses."""
    return _POSES.encode() in path.read_bytes()


def read(path: Path) -> Motion:
    """Read the clip.

    Raises:
        MotionError: if the pickle is damaged, names what no motion needs, or lacks poses, translations or the rate.
    """
    content = read_pickle(path.read_bytes(), path)
    if not isinstance(content, dict) or (missing := [k for k in (_POSES, _TRANSLATIONS, _RATE) if k not in content]):
        raise MotionError(f"{path}: {FORMAT} without {missing if isinstance(content, dict) else 'a dictionary'}")
    source = f"SAMP {path.name}"
    if "shape_est_betas" in content:
        betas = np.asarray(content["shape_est_betas"], dtype=np.float64).ravel()[:16]
        source += f", betas {' '.join(f'{beta:.3f}' for beta in betas)}"
    return motion_from_axis_angles(
        path,
        torch.from_numpy(np.asarray(content[_POSES], dtype=np.float64)),
        torch.from_numpy(np.asarray(content[_TRANSLATIONS], dtype=np.float64)),
        name=path.stem.removesuffix("_stageII"),
        fps=float(np.asarray(content[_RATE]).item()),
        source=source,
        license="SAMP: research only, not to be passed on",
    )
