from __future__ import annotations

from pathlib import Path

import pytest
import torch

from motionlib import Motion
from poselib import models
from poselib.rotations import quat_from_exp_map

SHARED_DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture
def shared_data() -> Path:
    """Real files; tests that need them are skipped without."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture
def make_motion():
    """A smooth random clip on the AMP skeleton; wrapped ones do not close."""

    def make(name: str = "clip", *, frames: int = 12, fps: float = 20.0, loop: str = "none", seed: int = 0) -> Motion:
        generator = torch.Generator().manual_seed(seed)
        skeleton = models.skeleton("amp")
        seconds = torch.arange(frames)[:, None, None] / fps
        speeds, starts = torch.randn(2, skeleton.num_bodies, 3, generator=generator)
        return Motion(
            name=name,
            fps=fps,
            body_names=skeleton.body_names,
            parents=skeleton.parents,
            offsets=skeleton.offsets,
            root_positions=torch.tensor([0.3, -0.2, 1.0]) + torch.tensor([1.0, 0.4, 0.0]) * seconds[:, 0],
            local_rotations=quat_from_exp_map(0.3 * starts + 0.8 * seconds * speeds),
            loop=loop,
            labels=("a test", "moves"),
            source="made up",
            license="none",
        )

    return make
