"""Where the feet stand and swing, and where the pelvis is over them, in the frame that moves along the path.

A foot that touches the ground rolls over one place: over the heel while its toes point up, over the ball (or the front
edge of a foot without toes) while they point down. So one *print* (where the level foot would stand) and the foot's
pitch give its pose for the whole stance, and nothing slides. In between the foot swings as the joint curves have it,
bent so that it leaves one print and arrives at the next with their velocities.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from motionlib.synth.figures import Figure, Side
from poselib import models
from poselib.rotations import quat_apply, quat_from_euler

__all__ = ["Course", "FootTargets", "Path", "Sole", "Support", "fit_support", "foot_targets", "smooth_cover", "sole_of"]

_MID_STANCE = 0.3
"""phase at which a print's direction is that of the path"""
_CLEARANCE = 0.012
"""m, that a swinging foot keeps from the ground"""


_SLOPE_FADES = 0.3
"""part of a swing after (before) which it goes on as the joint curves have it"""


@dataclass(frozen=True)
class Path:
    """A walk at constant speed and turn rate."""

    speed: float
    """m/s"""
    turn_rate: float
    """rad/s, to the left"""

    def at(self, seconds: Tensor) -> tuple[Tensor, Tensor]:
        """Position `(..., 2)` m and heading `(...)` rad of the moving frame, which starts at the origin facing x."""
        yaw = self.turn_rate * seconds
        half = 0.5 * yaw
        chord = self.speed * seconds * torch.special.sinc(half / math.pi)
        return torch.stack([chord * half.cos(), chord * half.sin()], dim=-1), yaw

    def seen_from(self, seconds: Tensor, points: Tensor) -> Tensor:
        """Points `(..., 2)` of the frame at time 0, in the frame `seconds` later."""
        position, yaw = self.at(seconds)
        x, y = (points - position).unbind(-1)
        return torch.stack([x * yaw.cos() + y * yaw.sin(), y * yaw.cos() - x * yaw.sin()], dim=-1)


@dataclass(frozen=True, eq=False)
class Sole:
    """The underside of a foot, in the foot's frame turned upright (x forward, z up), origin at the ankle."""

    heel: Tensor
    """(3,) m, about which it rolls with its toes up"""
    ball: Tensor
    """(3,) m, about which it rolls with its toes down"""
    points: Tensor
    """(P, 3) m of the foot that is in one piece, without the toes if they have a joint"""
    toes: Tensor
    """(Q, 3) m of the toes, from their joint; may be empty"""
    inner: float
    """m, how far the sole reaches from the ankle towards the other foot"""

    @property
    def depth(self) -> float:
        """m, of the sole below the ankle."""
        return -float(self.heel[2])

    def pivot_arm(self, pitch: Tensor) -> tuple[Tensor, Tensor]:
        """The point it rolls about, level and turned, both `(M, 3)` m from the ankle."""
        level = torch.where((pitch > 0).unsqueeze(-1), self.heel, self.ball)
        return level, quat_apply(_pitched(pitch), level)

    def lowest(self, pitch: Tensor, bend: Tensor) -> Tensor:
        """Height `(M,)` m of the lowest point over the ankle; `bend` is the toes' angle against the foot in rad, up."""
        heights = _turned(self.points, pitch)
        if len(self.toes):
            joint = quat_apply(_pitched(pitch), self.ball.expand(len(pitch), 3))
            heights = torch.cat([heights, joint[:, 2:] + _turned(self.toes, pitch + bend)], dim=-1)
        return heights.amin(dim=-1)


def _pitched(pitch: Tensor) -> Tensor:
    return quat_from_euler("XYZ", torch.stack([0 * pitch, -pitch, 0 * pitch], dim=-1))


def _turned(points: Tensor, pitch: Tensor) -> Tensor:
    return quat_apply(_pitched(pitch).unsqueeze(-2), points.expand(len(pitch), -1, 3))[..., 2]


def sole_of(figure: Figure, side: Side) -> Sole:
    """The sole of one foot of the character's collision geometry."""
    points = models.collision_points(figure.character)
    skeleton = figure.skeleton

    def of(body: str) -> Tensor:
        index = skeleton.body_indices([body])[0]
        rows = [i for i, b in enumerate(points.bodies) if b == index]
        level = quat_apply(figure.rest_rotations[index].expand(len(rows), 4), points.points[rows].double())
        return level - torch.tensor([0.0, 0.0, 1.0]) * points.radii[rows, None]

    foot = of(side.ankle[-1])
    toes = of(side.toe) if side.toe else foot[:0]
    depth = -foot[:, 2].min()
    heel = torch.stack([foot[:, 0].min(), torch.zeros(()).double(), -depth])
    if side.toe:
        a, b = skeleton.body_indices([side.ankle[-1], side.toe])
        ball = figure.rest_positions[b] - figure.rest_positions[a]
    else:
        ball = torch.stack([foot[:, 0].max(), torch.zeros(()).double(), -depth])
    return Sole(heel, ball, foot, toes, inner=-float((side.sign * foot[:, 1]).min()))


@dataclass(frozen=True, eq=False)
class Support:
    """What the joint curves ask of the ground."""

    stride: float
    """m, that a stride of these legs is long"""
    root: Tensor
    """(M, 3) m, the root over the moving frame: it swings about the path and stands at its height"""
    print_ahead: float
    """m, of a print before the moving frame at mid-stance"""
    print_aside: float
    """m, of the prints from the path"""


def fit_support(phase: Tensor, flat: Tensor, foot_off: float, depths: tuple[float, float]) -> Support:
    """Place the root so that level feet stand still: least squares over the stances of both legs.

    The root's course is a few harmonics of the stride (forward and up twice in a stride, to the sides once), so it is
    smooth where one leg takes over from the other.

    Args:
        phase: `(M,)` of the left leg, one stride.
        flat: `(M, 2, 3)` m, ankle of the left and right foot from the root, rolled back to level.
        foot_off: phase at which a stance ends.
        depths: m, of both soles below the ankles.
    """
    own = torch.stack([phase, phase + 0.5], dim=-1) % 1.0
    weight = torch.where(own < foot_off, torch.cos(0.5 * math.pi * own / foot_off).square() + 0.05, 0.0)

    def harmonics(orders: tuple[int, ...], at: Tensor) -> Tensor:
        turn = 2.0 * math.pi * at.unsqueeze(-1) * torch.tensor(orders)
        return torch.cat([turn.cos(), turn.sin()], dim=-1)

    def solve(columns: Tensor, wanted: Tensor) -> Tensor:
        scale = weight.sqrt().reshape(-1, 1)
        rows = columns.reshape(-1, columns.shape[-1]) * scale
        return torch.linalg.lstsq(rows, wanted.reshape(-1, 1) * scale).solution[:, 0]

    both = phase.unsqueeze(-1).expand(-1, 2)
    one = torch.ones_like(own).unsqueeze(-1)
    side = torch.tensor([1.0, -1.0]).double().expand_as(own).unsqueeze(-1)
    # x: root + flat = ahead - stride * (own phase - mid-stance)
    # y: root + flat = +-aside
    # z: root + flat = depth of the sole
    x = solve(torch.cat([harmonics((2, 4), both), -one, (own - _MID_STANCE).unsqueeze(-1)], dim=-1), -flat[..., 0])
    y = solve(torch.cat([harmonics((1, 3), both), -side], dim=-1), -flat[..., 1])
    z = solve(torch.cat([harmonics((2, 4), both), one], dim=-1), torch.tensor(depths) - flat[..., 2])
    root = torch.stack(
        [harmonics((2, 4), phase) @ x[:4], harmonics((1, 3), phase) @ y[:4], harmonics((2, 4), phase) @ z[:4] + z[4]],
        dim=-1,
    )
    return Support(stride=float(x[5]), root=root, print_ahead=float(x[4]), print_aside=float(y[4]))


@dataclass(frozen=True, eq=False)
class FootTargets:
    """One foot over a stride, in the moving frame."""

    position: Tensor
    """(M, 3) m, of the ankle"""
    yaw: Tensor
    """(M,) rad"""
    toe_bend: Tensor
    """(M,) rad, of the toes against the foot, up"""
    stands: Tensor
    """(M,) bool"""


@dataclass(frozen=True, eq=False)
class Course:
    """What one foot does when."""

    path: Path
    """of the moving frame"""
    period: float
    """s of a stride"""
    own: Tensor
    """(M,) phase of the leg, evenly over one stride"""
    foot_off: float
    """phase at which the foot leaves the ground"""
    pitch: Tensor
    """(M,) rad, toes up"""


def foot_targets(
    sole: Sole, course: Course, nominal: Tensor, footprint: tuple[float, float], toe_out: float
) -> FootTargets:
    """The course of one foot in the moving frame.

    Args:
        sole: of the foot.
        course: when it does what.
        nominal: `(M, 3)` m, the ankle as the joint curves have it.
        footprint: m, ahead and to the left of the moving frame at mid-stance.
        toe_out: rad, of the print against the path, to the left.
    """
    path, period, foot_off = course.path, course.period, course.foot_off
    order = course.own.argsort()
    back = order.argsort()
    own, pitch, nominal = course.own[order], course.pitch[order], nominal[order]
    middle = torch.tensor(footprint).double()
    spot = path.seen_from((own - _MID_STANCE) * period, middle.expand(len(own), 2))
    yaw = toe_out - path.turn_rate * (own - _MID_STANCE) * period

    level, turned = sole.pivot_arm(pitch)
    ahead = torch.stack([yaw.cos(), yaw.sin()], dim=-1) * (level - turned)[:, :1]
    stance = torch.cat([spot + ahead, (sole.depth + level - turned)[:, 2:]], dim=-1)

    stands = own <= foot_off
    offset = _bridge(own, stands, torch.cat([stance - nominal, yaw.unsqueeze(-1)], dim=-1))
    fade = ((own - foot_off) / 0.15).clamp(0.0, 1.0)
    toe_bend = -pitch.clamp(max=0.0) * (1.0 - fade * fade * (3.0 - 2.0 * fade)) if len(sole.toes) else 0 * pitch
    position = torch.where(stands.unsqueeze(-1), stance, nominal + offset[:, :3])
    position[:, 2] += _lift(own, stands, position[:, 2] + sole.lowest(pitch, toe_bend), foot_off)
    yaw = torch.where(stands, yaw, offset[:, 3])
    return FootTargets(position[back], yaw[back], toe_bend[back], stands[back])


def _bridge(own: Tensor, stands: Tensor, values: Tensor) -> Tensor:
    """Values `(M, K)` of the stance, carried through the swing: they meet both ends, and their slopes fade out soon."""
    count = int(stands.sum())
    step = float(own[1] - own[0])
    first, last = values[0], values[count - 1]
    slope_first, slope_last = (values[1] - values[0]) / step, (values[count - 1] - values[count - 2]) / step
    length = 1.0 + float(own[0]) - float(own[count - 1])
    s = ((own - own[count - 1]) / length).clamp(0.0, 1.0).unsqueeze(-1)
    rise = s * s * (3.0 - 2.0 * s)

    def fading(s: Tensor) -> Tensor:
        u = (s / _SLOPE_FADES).clamp(max=1.0)
        return length * _SLOPE_FADES * u * (1.0 - u).square()

    return last * (1.0 - rise) + first * rise + slope_last * fading(s) - slope_first * fading(1.0 - s)


def _lift(own: Tensor, stands: Tensor, lowest: Tensor, foot_off: float) -> Tensor:
    """How much higher `(M,)` m a swinging foot must go: it leaves the ground, and comes down to it, at a slope."""
    s = ((own - foot_off) / (1.0 - foot_off)).clamp(0.0, 1.0)
    near = (torch.minimum(s, 1.0 - s) / _SLOPE_FADES).clamp(max=1.0)
    wanted = _CLEARANCE * (1.0 - (1.0 - near) ** 3)
    return torch.where(stands, 0.0, (wanted - lowest).clamp(min=0.0))


def smooth_cover(values: Tensor, reach: int) -> Tensor:
    """A smooth curve `(M,)` over one period that is nowhere below `values`: local maxima, then their average."""
    reach = max(reach, 1)
    around = torch.arange(-2 * reach, len(values) + 2 * reach) % len(values)
    peaks = F.max_pool1d(values[around][None, None], 2 * reach + 1, stride=1)
    kernel = torch.hann_window(2 * reach + 3, periodic=False, dtype=values.dtype)[1:-1]
    return F.conv1d(peaks, (kernel / kernel.sum())[None, None])[0, 0]
