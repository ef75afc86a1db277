"""The frames of many clips in four tables, small and quick to read between: what a query of the library works on.

A frame of SMPL (24 bodies) takes 1,218 bytes where all that a query answers takes 2,208 in float32:

- positions in float32, velocities in float16 (relative error 5e-4, below that of any finite difference).
  `embedding_bag` fetches two frames and blends them in one pass over memory;
- rotations, of bodies in the world and of joints, as 16-bit integers (within 1e-4 rad), component by component (all x,
  then all y, ...), so that arithmetic runs over long rows. With them stands what makes a linear blend a spherical one;
- coordinates of joints follow from their rotations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from motionlib.loops import Cycle
from motionlib.motion import MotionError
from motionlib.processing.frames import ClipFrames
from poselib.rotations import quat_normalize

__all__ = ["FrameStore", "Moment"]

_QUATERNION_UNIT = 1.0 / 32767
_BEND_UNIT = 0.125 / 32767
"""two neighbouring rotations lie at most pi apart, where the bend is 0.117"""
_WORLD, _LOCAL, _BOTH = slice(0, 1), slice(1, 2), slice(0, 2)
"""which of the two sets of rotations"""


@dataclass(frozen=True, eq=False)
class Moment:
    """Where N moments lie among the stored frames, and how far their wrapped clips have gone on."""

    rows: Tensor
    """(N,) the earlier frame; the later one is the next row"""
    blend: Tensor
    """(N, 1) from the earlier to the later frame, in [0, 1]"""
    cycle: Cycle | None = None
    """of each moment's clip; None where no clip wraps"""
    cycles: Tensor | None = None
    """(N,) whole cycles gone"""

    @cached_property
    def yaw(self) -> Tensor | None:
        """(N,) rad turned by the cycles gone; None where no clip wraps."""
        return None if self.cycle is None or self.cycles is None else self.cycle.yaw * self.cycles

    def shift(self, cosine: Tensor, sine: Tensor) -> Tensor:
        """What positions are moved by `(N, 2)` m once they are turned, by the cosine and sine `(N, 1)` of `yaw`."""
        assert self.cycle is not None
        assert self.cycles is not None
        _, step = self.cycle.power(self.cycles)
        x, y = self.cycle.center.split(1, dim=1)
        turned = torch.cat([cosine * x - sine * y, sine * x + cosine * y], dim=1)
        return self.cycle.center + step - turned


@dataclass(frozen=True, eq=False)
class FrameStore:
    """F frames of B bodies and D degrees of freedom, clip after clip."""

    positions: Tensor
    """(F, 3 B) float32, m, world; x, y, z of one body after the other"""
    body_rates: Tensor
    """(F, 6 B) float16, m/s and rad/s, world: all velocities, then all angular velocities"""
    joint_rates: Tensor
    """(F, D) float16, rad/s"""
    poses: Tensor
    """(F, 10 B + B / 2 rounded up) int16: five rows (x, y, z, w, bend) of B bodies in the world and B joints each; the
    contacts, a byte per body"""

    @classmethod
    def of_clip(cls, clip: ClipFrames, name: str) -> FrameStore:
        """Pack one clip.

        Raises:
            MotionError: if it moves too fast to be stored; `name` says which clip.
        """
        frames, bodies = clip.contacts.shape
        rates = torch.cat([clip.velocities.flatten(1), clip.angular_velocities.flatten(1)], dim=1)
        fastest = float(torch.cat([rates, clip.dof_velocities], dim=1).abs().max())
        if fastest > torch.finfo(torch.float16).max:
            raise MotionError(f"clip {name!r}: velocities must stay below 65504 m/s or rad/s, found {fastest:.3g}")
        sets = torch.stack([_integers(clip.rotations), _integers(clip.local_rotations)], dim=2)
        contacts = torch.zeros(frames, bodies + bodies % 2, dtype=torch.uint8)
        contacts[:, :bodies] = clip.contacts
        return cls(
            positions=clip.positions.flatten(1).contiguous(),
            body_rates=rates.half(),
            joint_rates=clip.dof_velocities.half().contiguous(),
            poses=torch.cat([sets.flatten(1), contacts.view(torch.int16)], dim=1),
        )

    @classmethod
    def joined(cls, parts: Sequence[FrameStore]) -> FrameStore:
        """One after the other."""
        return cls(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The same tables with `function` applied to each, to move them or to take rows."""
        return type(self)(*(function(getattr(self, field.name)) for field in fields(self)))

    def __len__(self) -> int:
        """F."""
        return len(self.positions)

    @property
    def num_bodies(self) -> int:
        """B."""
        return self.positions.shape[1] // 3

    @property
    def bytes_per_frame(self) -> int:
        """What a frame takes."""
        return sum(getattr(self, f.name).shape[1] * getattr(self, f.name).element_size() for f in fields(self))

    # --- what is stored ----------------------------------------------------------------------------------------------

    def vectors(self, kind: int) -> Tensor:
        """All positions (0), velocities (1) or angular velocities (2), `(F, B, 3)` float32."""
        if kind == 0:
            return self.positions.unflatten(1, (-1, 3))
        return self.body_rates.unflatten(1, (2, -1, 3))[:, kind - 1].float()

    def rotations(self, kind: int) -> Tensor:
        """All rotations of bodies in the world (0) or of joints (1), `(F, B, 4)`."""
        numbers = self._numbers(self.poses)[:, :4, kind].transpose(1, 2)
        return quat_normalize(numbers.float())

    def contacts(self) -> Tensor:
        """All of them, `(F, B)` bool."""
        return self._contact_bytes(self.poses) > 0

    def _numbers(self, poses: Tensor) -> Tensor:
        """Rows of `poses` `(..., P)` as `(..., 5, 2, B)` integers."""
        bodies = self.num_bodies
        return poses[..., : 10 * bodies].unflatten(-1, (5, 2, bodies))

    def _contact_bytes(self, poses: Tensor) -> Tensor:
        """Rows of `poses` `(..., P)` as `(..., B)` uint8."""
        bodies = self.num_bodies
        return poses[..., 10 * bodies :].view(torch.uint8)[..., :bodies]

    # --- between frames ----------------------------------------------------------------------------------------------

    def bodies_at(self, moment: Moment) -> tuple[Tensor, ...]:
        """Positions, rotations, velocities, angular velocities `(N, B, .)` and contacts `(N, B)` bool."""
        bags, neighbours = _Bags(moment), self._neighbours(moment.rows)
        planes = self._blended_rotations(neighbours, moment, _WORLD)
        rotations, _ = _unit(planes)
        positions, velocities, turning = self._vectors_at(moment, bags)
        return positions, rotations[0], velocities, turning, self._contacts_at(neighbours)

    def joints_at(self, moment: Moment) -> tuple[Tensor, Tensor]:
        """Local rotations `(N, B, 4)` and joint velocities `(N, D)`."""
        planes = self._blended_rotations(self._neighbours(moment.rows), moment, _LOCAL)
        rotations, _ = _unit(planes)
        return rotations[0], _Bags(moment).halves(self.joint_rates).float()

    def all_at(self, moment: Moment) -> tuple[Tensor, ...]:
        """What `bodies_at` and `joints_at` return, and the joints' rotation vectors without the root `(N, 3 (B - 1))`.

        In fewer and longer steps than one after the other.
        """
        bags, neighbours = _Bags(moment), self._neighbours(moment.rows)
        planes = self._blended_rotations(neighbours, moment, _BOTH)
        rotations, squared_sine = _unit(planes)
        vectors = _rotation_vectors(planes[:, :, 1, 1:], squared_sine[:, 1, 1:])
        positions, velocities, turning = self._vectors_at(moment, bags)
        contacts, joint_rates = self._contacts_at(neighbours), bags.halves(self.joint_rates).float()
        return positions, rotations[0], velocities, turning, contacts, rotations[1], joint_rates, vectors

    def _vectors_at(self, moment: Moment, bags: _Bags) -> tuple[Tensor, Tensor, Tensor]:
        positions = bags.singles(self.positions).unflatten(1, (-1, 3))
        rates = bags.halves(self.body_rates).unflatten(1, (2, -1, 3)).transpose(0, 1)
        both = rates.to(torch.float32, memory_format=torch.contiguous_format)
        if moment.yaw is not None:
            cosine, sine = torch.cos(moment.yaw).unsqueeze(1), torch.sin(moment.yaw).unsqueeze(1)
            _turn(positions, cosine, sine)
            _turn(both, cosine, sine)
            positions += F.pad(moment.shift(cosine, sine), (0, 1)).unsqueeze(1)  # faster than to x and y alone
        return positions, both[0], both[1]

    def _neighbours(self, rows: Tensor) -> Tensor:
        """`poses` of each row and the next, `(N, 2, P)`; both lie side by side in memory and are fetched as one."""
        width = self.poses.shape[1]
        table = self.poses.as_strided((len(self) - 1, 2 * width), (width, 1))
        return table.index_select(0, rows).unflatten(1, (2, width))

    def _contacts_at(self, neighbours: Tensor) -> Tensor:
        early, late = self._contact_bytes(neighbours).unbind(1)
        return (early | late).view(torch.bool)

    def _blended_rotations(self, neighbours: Tensor, moment: Moment, sets: slice) -> Tensor:
        """Spherical interpolation but for the length, `(4, N, S, B)` for S sets of rotations.

        `lerp(a, b, share)` points to `slerp(a, b, t)` for share = 1/2 + tan((2 t - 1) p) / (2 tan p), p a quarter of
        the angle between the rotations. With u = t (1 - t) and f = (t - 1/2) u this is the series

            share = t - 8 bend f (1 - 9.6 bend (u - 1/6) + ...)

        where the stored bend makes it exact at u = 1/6. What is left out turns by less than 1e-6 rad for 1 rad between
        frames, 3e-5 rad for 2, 1e-3 rad for the most there can be, pi.
        """
        numbers = self._numbers(neighbours)[..., sets, :]
        early = numbers[:, 0].transpose(0, 1).to(torch.float32, memory_format=torch.contiguous_format)
        late = numbers[:, 1, :4].transpose(0, 1).to(torch.float32, memory_format=torch.contiguous_format)
        blend = moment.blend.unsqueeze(2)
        product = torch.addcmul(blend, blend, blend, value=-1.0)
        first = (blend - 0.5).mul_(product)
        second = (product - 1.0 / 6.0).mul_(first)
        share = torch.addcmul(first, early[4], second, value=-9.6 * _BEND_UNIT)
        share = torch.addcmul(blend, early[4], share, value=-8.0 * _BEND_UNIT)
        planes = torch.lerp(early[:4], late, share, out=late)
        if moment.yaw is not None:
            # Given in the world are the rotations of all bodies in the first set, and of the root in the second.
            turned = 1 if sets == _LOCAL else self.num_bodies + (sets == _BOTH)
            _turn_rotations(planes.flatten(2)[..., :turned], 0.5 * moment.yaw.unsqueeze(1))
        return planes


# --- packing ---------------------------------------------------------------------------------------------------------


def _integers(rotations: Tensor) -> Tensor:
    """Rotations of one clip, sign-continuous, `(T, B, 4)` to `(T, 5, B)` int16: x, y, z, w and the bend."""
    rotations = quat_normalize(rotations.double())
    now, later = rotations[:-1], rotations[1:]
    quarter = torch.atan2((later - now).norm(dim=-1), (later + now).norm(dim=-1)).clamp_min(1e-6)
    s = 1.0 / math.sqrt(3.0)
    bend = (torch.tan(s * quarter) / torch.tan(quarter) - s) / (2.0 * s * (s * s - 1.0))
    bend = torch.cat([bend, bend[-1:]]).unsqueeze(1) / _BEND_UNIT
    numbers = torch.cat([rotations.transpose(1, 2) / _QUATERNION_UNIT, bend], dim=1)
    return numbers.round().to(torch.int16)


# --- the arithmetic of a query ---------------------------------------------------------------------------------------


class _Bags:
    """Rows and weights of the two frames around each moment, for `embedding_bag`: it fetches rows and adds them up."""

    def __init__(self, moment: Moment) -> None:
        self._rows = torch.stack([moment.rows, moment.rows + 1], dim=1).view(-1)
        self._starts = torch.arange(0, len(self._rows), 2, device=self._rows.device)
        self._weights = torch.cat([1.0 - moment.blend, moment.blend], dim=1).view(-1)

    def singles(self, table: Tensor) -> Tensor:
        """Rows of a float32 table, blended, `(N, columns)`."""
        return self._sums(table, self._weights)

    def halves(self, table: Tensor) -> Tensor:
        """Rows of a float16 table, blended, float16; by multiples of 2^-11, so that both weights add up to 1."""
        return self._sums(table, (self._weights * 2048.0).round_().mul_(1.0 / 2048.0).half())

    def _sums(self, table: Tensor, weights: Tensor) -> Tensor:
        # torch.nn.functional.embedding_bag calls this as well, and takes as long again to get there.
        return torch.embedding_bag(table, self._rows, self._starts, False, 0, False, weights, False)[0]


def _unit(planes: Tensor) -> tuple[Tensor, Tensor]:
    """Quaternions `(4, N, S, B)` to unit ones `(S, N, B, 4)`, and the squared length `(N, S, B)` of x, y, z."""
    x, y, z, w = planes.unbind(0)
    squared_sine = (x * x).addcmul_(y, y).addcmul_(z, z)
    scale = torch.addcmul(squared_sine, w, w).rsqrt_().transpose(0, 1)
    result = planes.new_empty(*scale.shape, 4)
    # All x, then all y, ...: much quicker than quaternion by quaternion.
    for plane, target in zip(planes.transpose(1, 2).unbind(0), result.unbind(-1), strict=True):
        torch.mul(plane, scale, out=target)
    return result, squared_sine


def _rotation_vectors(planes: Tensor, squared_sine: Tensor) -> Tensor:
    """Logarithm of rotations of any length `(4, N, B)`; see `poselib.rotations.exp_map_from_quat`. Returns (N, 3 B)."""
    sine, w = squared_sine.sqrt(), planes[3]
    scale = torch.atan2(sine, w.abs()).mul_(2.0).div_(sine.clamp_min_(1e-6)).copysign_(w)
    result = planes.new_empty(*scale.shape, 3)
    for plane, target in zip(planes[:3].unbind(0), result.unbind(-1), strict=True):
        torch.mul(plane, scale, out=target)
    return result.flatten(1)


def _turn(vectors: Tensor, cosine: Tensor, sine: Tensor) -> None:
    """Turn vectors `(..., N, B, 3)` about z, in place; `cosine` and `sine` are (N, 1)."""
    x, y = vectors[..., 0], vectors[..., 1]
    turned = (x * cosine).addcmul_(y, sine, value=-1.0)
    y.mul_(cosine).addcmul_(x, sine)
    x.copy_(turned)


def _turn_rotations(planes: Tensor, half_yaw: Tensor) -> None:
    """Turn rotations `(4, N, B)` about the world's z axis by twice `half_yaw` `(N, 1)`, in place."""
    sine = torch.sin(half_yaw)
    old_x, old_y, old_z, old_w = (planes * sine).unbind(0)
    x, y, z, w = planes.mul_(torch.cos(half_yaw)).unbind(0)
    x.sub_(old_y)
    y.add_(old_x)
    z.add_(old_w)
    w.sub_(old_z)
