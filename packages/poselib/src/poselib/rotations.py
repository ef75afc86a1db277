"""Rotations as unit quaternions (x, y, z, w), batched in torch.

Conventions, everywhere in the project: Hamilton product, active rotations, scalar last, world z up, characters facing
x. `q` and `-q` are the same rotation, and every function here treats them so; a turn by exactly pi has two rotation
vectors, of which either may come out. None divides by zero at the identity: the small-angle branches are chosen with
`torch.where`, so all of them run under `torch.compile` and have finite gradients.

Shapes are written as `(..., 4)`; leading dimensions broadcast. Results have the precision of the arguments.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = [
    "angle_between",
    "euler_from_quat",
    "exp_map_from_quat",
    "heading_angle",
    "heading_quat",
    "matrix_from_quat",
    "quat_apply",
    "quat_apply_inverse",
    "quat_canonical",
    "quat_conjugate",
    "quat_continuous",
    "quat_difference",
    "quat_from_angle_axis",
    "quat_from_euler",
    "quat_from_exp_map",
    "quat_from_matrix",
    "quat_from_rotation_6d",
    "quat_from_yaw",
    "quat_identity",
    "quat_multiply",
    "quat_normalize",
    "rotation_6d_from_quat",
    "slerp",
    "twist_angle",
    "wrap_angle",
    "wxyz_from_xyzw",
    "xyzw_from_wxyz",
]

_SMALL = 1e-4  # rad; below it the series used here are exact to float64


# --- construction and elementary operations -------------------------------------------------------------------------


def quat_identity(*shape: int, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Tensor:
    """Identity rotations, `(*shape, 4)`."""
    q = torch.zeros(*shape, 4, device=device, dtype=dtype)
    q[..., 3] = 1.0
    return q


def _join(components: list[Tensor]) -> Tensor:
    """Stack components as the last dimension, each one contiguous in memory.

    What comes next takes them apart again: working on whole rows of x, then y, ... is about twice as fast on a CPU.
    """
    return torch.stack(components).movedim(0, -1)


def quat_normalize(q: Tensor) -> Tensor:
    """Scale to unit length. A zero quaternion becomes zero, not NaN."""
    return q / q.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(q.dtype).tiny)


def quat_canonical(q: Tensor) -> Tensor:
    """The representative of `{q, -q}` with w >= 0."""
    return torch.where(q[..., 3:] < 0, -q, q)


def quat_continuous(q: Tensor, dim: int = 0) -> Tensor:
    """Choose signs along `dim` (time) so that neighbours lie in the same half-space.

    Args:
        q: `(..., 4)` with time at `dim`.
        dim: the time dimension.
    """
    q = q.movedim(dim, 0)
    dots = (q[1:] * q[:-1]).sum(-1, keepdim=True)
    flips = torch.cumprod(torch.where(dots < 0, -1.0, 1.0).to(q.dtype), dim=0)
    return torch.cat([q[:1], q[1:] * flips]).movedim(0, dim)


def quat_conjugate(q: Tensor) -> Tensor:
    """The inverse rotation of a unit quaternion."""
    return torch.cat([-q[..., :3], q[..., 3:]], dim=-1)


def quat_multiply(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product: first rotate by `b`, then by `a`. `(..., 4)`."""
    ax, ay, az, aw = a.unbind(-1)
    bx, by, bz, bw = b.unbind(-1)
    # Here and below, a multiply-add is one pass over memory and one launch on a GPU, where `x + y * z` is two of each.
    return _join(
        [
            (aw * bx).addcmul_(ax, bw).addcmul_(ay, bz).addcmul_(az, by, value=-1),
            (aw * by).addcmul_(ax, bz, value=-1).addcmul_(ay, bw).addcmul_(az, bx),
            (aw * bz).addcmul_(ax, by).addcmul_(ay, bx, value=-1).addcmul_(az, bw),
            (aw * bw).addcmul_(ax, bx, value=-1).addcmul_(ay, by, value=-1).addcmul_(az, bz, value=-1),
        ]
    )


def quat_difference(a: Tensor, b: Tensor) -> Tensor:
    """The turn from `a` to `b` in the frame of `a`: the product of the inverse of `a` and `b`. `(..., 4)`."""
    ax, ay, az, aw = a.unbind(-1)
    bx, by, bz, bw = b.unbind(-1)
    return _join(
        [
            (aw * bx).addcmul_(ax, bw, value=-1).addcmul_(ay, bz, value=-1).addcmul_(az, by),
            (aw * by).addcmul_(ax, bz).addcmul_(ay, bw, value=-1).addcmul_(az, bx, value=-1),
            (aw * bz).addcmul_(ax, by, value=-1).addcmul_(ay, bx).addcmul_(az, bw, value=-1),
            (aw * bw).addcmul_(ax, bx).addcmul_(ay, by).addcmul_(az, bz),
        ]
    )


def quat_apply(q: Tensor, v: Tensor) -> Tensor:
    """Rotate vectors `v` `(..., 3)` by `q` `(..., 4)`."""
    return _turn(q, v, 2.0)


def quat_apply_inverse(q: Tensor, v: Tensor) -> Tensor:
    """Rotate vectors `v` `(..., 3)` by the inverse of `q` `(..., 4)`."""
    return _turn(q, v, -2.0)


def _turn(q: Tensor, v: Tensor, twice: float) -> Tensor:
    """`v + 2 w t + 2 q x t` with `t = q x v`; with -2 in the middle term it is the inverse rotation's."""
    x, y, z, w = q.unbind(-1)
    a, b, c = v.unbind(-1)
    tx = (y * c).addcmul_(z, b, value=-1)
    ty = (z * a).addcmul_(x, c, value=-1)
    tz = (x * b).addcmul_(y, a, value=-1)
    return _join(
        [
            torch.addcmul(a, w, tx, value=twice).addcmul_(y, tz, value=2).addcmul_(z, ty, value=-2),
            torch.addcmul(b, w, ty, value=twice).addcmul_(z, tx, value=2).addcmul_(x, tz, value=-2),
            torch.addcmul(c, w, tz, value=twice).addcmul_(x, ty, value=2).addcmul_(y, tx, value=-2),
        ]
    )


# --- exponential map -------------------------------------------------------------------------------------------------


def quat_from_exp_map(phi: Tensor) -> Tensor:
    """Exponential: rotation vector `(..., 3)` in rad (axis times angle, any length) to quaternion."""
    x, y, z = phi.unbind(-1)
    squared = (x * x).addcmul_(y, y).addcmul_(z, z)
    small = squared < _SMALL**2
    angle = torch.where(small, 1.0, squared).sqrt()
    half_sinc = torch.where(small, 0.5 - squared / 48.0, torch.sin(0.5 * angle) / angle)
    w = torch.where(small, 1.0 - squared / 8.0, torch.cos(0.5 * angle))
    return _join([x * half_sinc, y * half_sinc, z * half_sinc, w])


def exp_map_from_quat(q: Tensor) -> Tensor:
    """Logarithm: quaternion to the shortest rotation vector `(..., 3)`, length in [0, pi]."""
    x, y, z, w = q.unbind(-1)
    squared = (x * x).addcmul_(y, y).addcmul_(z, z)
    small = squared < _SMALL**2
    sine = torch.where(small, 1.0, squared).sqrt()
    scale = torch.where(small, 2.0 + squared / 3.0, 2.0 * torch.atan2(sine, w.abs()) / sine)
    scale = torch.where(w < 0, -scale, scale)
    return _join([x * scale, y * scale, z * scale])


def quat_from_angle_axis(angle: Tensor, axis: Tensor) -> Tensor:
    """Rotation by `angle` `(...)` rad about the unit vector `axis` `(..., 3)`."""
    half = 0.5 * angle.unsqueeze(-1)
    vector = axis * torch.sin(half)
    return torch.cat([vector, torch.cos(half).expand_as(vector[..., :1])], dim=-1)


def twist_angle(q: Tensor, axis: Tensor) -> Tensor:
    """Angle `(...)` in [-pi, pi] of the part of `q` that turns about the unit vector `axis` (swing-twist)."""
    along, w = (q[..., :3] * axis).sum(-1), q[..., 3]
    return 2.0 * torch.atan2(torch.where(w < 0, -along, along), w.abs())


def wrap_angle(angle: Tensor) -> Tensor:
    """The same angle in [-pi, pi]; angles already there stay as they are, to the last digit."""
    return angle - 2.0 * math.pi * torch.round(angle / (2.0 * math.pi))


# --- distance and interpolation --------------------------------------------------------------------------------------


def angle_between(a: Tensor, b: Tensor) -> Tensor:
    """Geodesic distance `(...)` of two rotations, rad in [0, pi].

    By `atan2` of the relative rotation, which keeps its precision near 0 where `acos(w)` loses half the digits.
    """
    relative = quat_difference(a, b)
    sine = relative[..., :3].contiguous().norm(dim=-1)  # a norm over numbers that lie apart takes 10 times as long
    return 2.0 * torch.atan2(sine, relative[..., 3].abs())


def slerp(a: Tensor, b: Tensor, blend: Tensor) -> Tensor:
    """Spherical interpolation along the shorter arc.

    Args:
        a: start, `(..., 4)`.
        b: end, `(..., 4)`.
        blend: 0 gives `a`, 1 gives `b`; broadcasts against `(..., 1)`.

    Returns:
        Unit quaternions `(..., 4)`.
    """
    b = torch.where((a * b).sum(-1, keepdim=True) < 0, -b, b)
    # |a - b| = 2 sin(angle / 2) and |a + b| = 2 cos(angle / 2): exact for near rotations, where acos(a . b) is not.
    angle = 2.0 * torch.atan2((a - b).norm(dim=-1, keepdim=True), (a + b).norm(dim=-1, keepdim=True))
    sine = torch.sin(angle)
    near = sine < _SMALL
    safe = torch.where(near, torch.ones_like(sine), sine)
    wa = torch.where(near, 1.0 - blend, torch.sin((1.0 - blend) * angle) / safe)
    wb = torch.where(near, blend, torch.sin(blend * angle) / safe)
    return quat_normalize(wa * a + wb * b)


# --- matrices and the 6-number encoding ------------------------------------------------------------------------------


def matrix_from_quat(q: Tensor) -> Tensor:
    """Rotation matrices `(..., 3, 3)`; columns are the rotated axes."""
    x, y, z, w = q.unbind(-1)
    xx, yy, zz, xy, xz, yz, wx, wy, wz = x * x, y * y, z * z, x * y, x * z, y * z, w * x, w * y, w * z
    rows = [
        1 - 2 * (yy + zz),
        2 * (xy - wz),
        2 * (xz + wy),
        2 * (xy + wz),
        1 - 2 * (xx + zz),
        2 * (yz - wx),
        2 * (xz - wy),
        2 * (yz + wx),
        1 - 2 * (xx + yy),
    ]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def quat_from_matrix(matrix: Tensor) -> Tensor:
    """Unit quaternion with w >= 0 of a rotation matrix `(..., 3, 3)`.

    Shepperd's method: of the four numbers, the largest is the pivot by which the others are divided.
    """
    m = matrix
    m00, m11, m22 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    # Rows of 4·q_i·(x, y, z, w) for pivots i = x, y, z, w; the pivot row with the largest diagonal is well conditioned.
    a, b, c = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    d, e, f = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    table = torch.stack(
        [
            torch.stack([1 + m00 - m11 - m22, a, b, d], dim=-1),
            torch.stack([a, 1 - m00 + m11 - m22, c, e], dim=-1),
            torch.stack([b, c, 1 - m00 - m11 + m22, f], dim=-1),
            torch.stack([d, e, f, 1 + m00 + m11 + m22], dim=-1),
        ],
        dim=-2,
    )
    pivot = torch.diagonal(table, dim1=-2, dim2=-1).argmax(dim=-1)
    row = torch.take_along_dim(table, pivot[..., None, None], dim=-2).squeeze(-2)
    return quat_canonical(quat_normalize(row))


def rotation_6d_from_quat(q: Tensor) -> Tensor:
    """Continuous 6-number encoding `(..., 6)`: the rotated x axis, then the rotated z axis (tangent and normal)."""
    x, y, z, w = q.unbind(-1)
    return _join(
        [
            1 - 2 * (y * y + z * z),
            2 * (x * y + w * z),
            2 * (x * z - w * y),
            2 * (x * z + w * y),
            2 * (y * z - w * x),
            1 - 2 * (x * x + y * y),
        ],
    )


def quat_from_rotation_6d(encoding: Tensor) -> Tensor:
    """Inverse of `rotation_6d_from_quat`; any two independent vectors are made orthonormal (Gram-Schmidt, x first)."""
    x = encoding[..., :3] / encoding[..., :3].norm(dim=-1, keepdim=True).clamp_min(1e-12)
    z = encoding[..., 3:]
    z = z - (x * z).sum(-1, keepdim=True) * x
    z = z / z.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    return quat_from_matrix(torch.stack([x, torch.linalg.cross(z, x, dim=-1), z], dim=-1))


# --- heading ---------------------------------------------------------------------------------------------------------


def heading_angle(q: Tensor) -> Tensor:
    """Yaw `(...)` in rad of the rotated x axis on the ground plane; 0 where that axis is vertical."""
    x, y, z, w = q.unbind(-1)
    return torch.atan2(2 * (x * y + w * z), 1 - 2 * (y * y + z * z))


def quat_from_yaw(yaw: Tensor) -> Tensor:
    """Rotation about the world's z axis by `yaw` `(...)` rad."""
    zero = torch.zeros_like(yaw)
    return torch.stack([zero, zero, torch.sin(0.5 * yaw), torch.cos(0.5 * yaw)], dim=-1)


def heading_quat(q: Tensor) -> Tensor:
    """The rotation about z alone that points where `q` turns the x axis: the heading frame of a root."""
    return quat_from_yaw(heading_angle(q))


# --- Euler angles and other conventions ------------------------------------------------------------------------------

_AXES = {"x": 0, "y": 1, "z": 2}


def quat_from_euler(order: str, angles: Tensor) -> Tensor:
    """Quaternion of three angles `(..., 3)` in rad.

    Args:
        order: like "XYZ" (upper case: intrinsic, each turn about the already turned axes) or "xyz" (extrinsic).
        angles: one per letter of `order`.
    """
    axes = _euler_axes(order)
    basis = torch.eye(3, dtype=angles.dtype, device=angles.device)
    turns = [quat_from_angle_axis(angles[..., i], basis[a].expand(*angles.shape[:-1], 3)) for i, a in enumerate(axes)]
    if order.islower():
        turns.reverse()
    return quat_multiply(quat_multiply(turns[0], turns[1]), turns[2])


def euler_from_quat(order: str, q: Tensor) -> Tensor:
    """Angles `(..., 3)` of a rotation about three different axes; inverse of `quat_from_euler`.

    The middle angle lies in [-pi/2, pi/2], the others in [-pi, pi]. At the ends of the middle one (gimbal lock) only
    the sum or the difference of the other two is determined; there the last angle of an intrinsic order, and the first
    of an extrinsic one, is 0. Bernardes and Viollet, "Quaternion to Euler angles conversion", PLoS ONE 2022: the outer
    angles come as half sum and half difference, so their errors cancel in the rotation however near the lock is.

    Args:
        order: three different letters, "XYZ" (intrinsic) or "xyz" (extrinsic) style.
        q: `(..., 4)`.
    """
    axes = _euler_axes(order)
    if len(set(axes)) != 3:
        raise ValueError(f"Euler order {order!r}: the three axes must differ")
    if order.islower():
        return euler_from_quat(order[::-1].upper(), q).flip(-1)
    # A left-handed order (such as "XZY") is a right-handed one of the negated axes: negate the angles.
    sign = 1.0 if (axes[1] - axes[0]) % 3 == 1 else -1.0
    x, y, z = (sign * q[..., axis] for axis in axes)
    w = q[..., 3]
    # With b half the middle angle: (w + y, x + z) is (cos b + sin b) times cosine and sine of the outer angles' half
    # sum, (w - y, x - z) is (cos b - sin b) times those of their half difference.
    plus, minus = torch.hypot(w + y, x + z), torch.hypot(w - y, x - z)
    half_sum, half_difference = torch.atan2(x + z, w + y), torch.atan2(x - z, w - y)
    tiny = 4.0 * torch.finfo(q.dtype).eps
    half_difference = torch.where(minus < tiny, half_sum, half_difference)
    half_sum = torch.where(plus < tiny, half_difference, half_sum)
    first, last = wrap_angle(half_sum + half_difference), wrap_angle(half_sum - half_difference)
    middle = 2.0 * torch.atan2(plus, minus) - 0.5 * math.pi
    return sign * torch.stack([first, middle, last], dim=-1)


def _euler_axes(order: str) -> list[int]:
    if len(order) != 3 or not (order.islower() or order.isupper()) or any(c not in _AXES for c in order.lower()):
        raise ValueError(
            f"Euler order {order!r}: want three of x, y, z, all lower case (extrinsic) or upper (intrinsic)"
        )
    return [_AXES[c] for c in order.lower()]


def xyzw_from_wxyz(q: Tensor) -> Tensor:
    """Reorder from scalar-first (MuJoCo, Genesis, DeepMimic) to ours."""
    return torch.cat([q[..., 1:], q[..., :1]], dim=-1)


def wxyz_from_xyzw(q: Tensor) -> Tensor:
    """Reorder from ours to scalar-first."""
    return torch.cat([q[..., 3:], q[..., :3]], dim=-1)
