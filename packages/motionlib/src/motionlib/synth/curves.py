"""Published mean joint angles of human walking, at any speed and phase of the stride (`gait.yaml`)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import torch
import yaml
from torch import Tensor

__all__ = ["ANGLES", "GaitCurves", "adult_stride", "gait_curves", "speed_range"]

ANGLES = (
    "pelvis_tilt",
    "pelvis_obliquity",
    "pelvis_rotation",
    "hip_flexion",
    "hip_adduction",
    "hip_rotation",
    "knee_flexion",
    "ankle_dorsiflexion",
    "thorax_obliquity",
    "thorax_rotation",
)
"""as `gait.yaml` explains them"""


@dataclass(frozen=True, eq=False)
class GaitCurves:
    """The curves of one speed."""

    coefficients: Tensor
    """(A, 2 H + 1) rad, float64: mean, then H cosines, then H sines, of each of `ANGLES`"""
    foot_off: float
    """phase at which the foot leaves the ground; it touches down at 0"""

    def at(self, phase: Tensor) -> dict[str, Tensor]:
        """Angles `(...)` in rad of the leg that touched down at phase 0, by name."""
        harmonics = (self.coefficients.shape[1] - 1) // 2
        turn = 2.0 * math.pi * phase.double().unsqueeze(-1) * torch.arange(1, harmonics + 1)
        basis = torch.cat([torch.ones_like(turn[..., :1]), turn.cos(), turn.sin()], dim=-1)
        return dict(zip(ANGLES, (basis @ self.coefficients.T).unbind(-1), strict=True))


def speed_range() -> tuple[float, float]:
    """Lowest and highest speed that there are curves for, as v / sqrt(g x leg length)."""
    speeds, _, _ = _groups()
    return float(speeds[0]), float(speeds[-1])


def gait_curves(speed: float) -> GaitCurves:
    """The curves at a speed, linear between the two groups that walk slower and faster.

    Args:
        speed: v / sqrt(g x leg length), within `speed_range`.
    """
    speeds, foot_off, coefficients = _groups()
    upper = int(torch.searchsorted(speeds, torch.tensor(speed)).clamp(1, len(speeds) - 1))
    share = (speed - float(speeds[upper - 1])) / float(speeds[upper] - speeds[upper - 1])
    return GaitCurves(
        coefficients=torch.lerp(coefficients[upper - 1], coefficients[upper], share),
        foot_off=float(torch.lerp(foot_off[upper - 1], foot_off[upper], share)),
    )


def adult_stride(speed: float) -> float:
    """Length of an adult's stride at a speed as v / sqrt(g x leg length), in leg lengths."""
    line = _data()["adult_stride"]
    return line["constant"] + line["slope"] * speed


@cache
def _data() -> dict[str, Any]:
    return yaml.safe_load(files("motionlib.synth").joinpath("gait.yaml").read_text(encoding="utf-8"))


@cache
def _groups() -> tuple[Tensor, Tensor, Tensor]:
    """Speeds `(G,)`, foot-off phases `(G,)` and coefficients `(G, A, 2 H + 1)` in rad of the groups."""
    groups = _data()["groups"]
    rows = [[group["angles"][name] for name in ANGLES] for group in groups]
    degrees = [[[row["mean"], *row["cos"], *row["sin"]] for row in angles] for angles in rows]
    return (
        torch.tensor([group["speed"] for group in groups]),
        torch.tensor([group["foot_off"] for group in groups], dtype=torch.float64),
        torch.deg2rad(torch.tensor(degrees, dtype=torch.float64)),
    )
