"""Rotations against scipy, and the laws they must obey."""

import math
from itertools import permutations

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from poselib import rotations as R

settings.register_profile("poselib", deadline=None, max_examples=30, derandomize=True)
settings.load_profile("poselib")

TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6}
ORDERS = ["".join(p) for p in permutations("xyz")] + ["".join(p) for p in permutations("XYZ")]
TINY = [1e-8, 1e-7, 1e-6, 1e-5, 0.99e-4, 1.01e-4, 1e-3]


def edge_vectors() -> np.ndarray:
    """Rotation vectors at which formulas break (none, tiny, a quarter turn, nearly half a turn) and 40 random ones."""
    axes = np.vstack([np.eye(3), -np.eye(3), [[1, 1, 1], [1, -2, 0.5]] / np.array([[3**0.5], [5.25**0.5]])])
    angles = [0.0, *TINY, math.pi / 2, math.pi - 1e-3, math.pi - 1e-6, math.pi]
    random = Rotation.random(40, rng=np.random.default_rng(0)).as_rotvec()
    return np.vstack([*(angle * axes for angle in angles), random])


VECTORS = edge_vectors()
SCIPY = Rotation.from_rotvec(VECTORS)


@pytest.fixture(params=[torch.float64, torch.float32], ids=["f64", "f32"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


def quats(dtype: torch.dtype, sign: int = 1) -> torch.Tensor:
    return torch.tensor(sign * SCIPY.as_quat(), dtype=dtype)


def assert_same_rotation(q: torch.Tensor, expected: Rotation, tolerance: float) -> None:
    difference = (Rotation.from_quat(q.double().numpy()) * expected.inv()).magnitude()
    assert difference.max() < tolerance, difference.max()


def test_product_applies_the_right_factor_first(dtype):
    other = Rotation.random(len(VECTORS), rng=np.random.default_rng(1))
    product = R.quat_multiply(quats(dtype), torch.tensor(other.as_quat(), dtype=dtype))
    assert product.dtype == dtype
    assert_same_rotation(product, SCIPY * other, TOLERANCE[dtype])


@pytest.mark.parametrize("sign", [1, -1])
def test_apply_and_its_inverse(dtype, sign):
    v = np.random.default_rng(2).normal(size=(len(VECTORS), 3))
    t = torch.tensor(v, dtype=dtype)
    np.testing.assert_allclose(R.quat_apply(quats(dtype, sign), t), SCIPY.apply(v), atol=4 * TOLERANCE[dtype])
    np.testing.assert_allclose(
        R.quat_apply_inverse(quats(dtype, sign), t), SCIPY.inv().apply(v), atol=4 * TOLERANCE[dtype]
    )
    assert_same_rotation(R.quat_conjugate(quats(dtype, sign)), SCIPY.inv(), TOLERANCE[dtype])


def test_leading_dimensions_broadcast():
    one, many = R.quat_identity(), R.quat_identity(5, 2)
    v = torch.randn(3)
    assert R.quat_multiply(one, many).shape == (5, 2, 4)
    assert R.quat_apply(many, v).shape == (5, 2, 3)
    assert R.quat_apply_inverse(one, torch.randn(7, 3)).shape == (7, 3)
    assert R.angle_between(one, many).shape == (5, 2)
    assert R.slerp(one, many, torch.rand(2, 1)).shape == (5, 2, 4)
    assert R.quat_from_angle_axis(torch.rand(6), torch.tensor([0.0, 0.0, 1.0])).shape == (6, 4)
    assert R.quat_from_angle_axis(torch.tensor(1.0), torch.eye(3)).shape == (3, 4)
    assert R.twist_angle(many, torch.tensor([1.0, 0.0, 0.0])).shape == (5, 2)


def test_exponential(dtype):
    q = R.quat_from_exp_map(torch.tensor(VECTORS, dtype=dtype))
    assert q.dtype == dtype
    assert_same_rotation(q, SCIPY, TOLERANCE[dtype])
    # The vector part keeps its relative precision however small the angle is.
    np.testing.assert_allclose(q, SCIPY.as_quat(), rtol=20 * TOLERANCE[dtype], atol=TOLERANCE[dtype] * 1e-3 + 1e-7)


@pytest.mark.parametrize("sign", [1, -1])
def test_logarithm(dtype, sign):
    below_pi = np.linalg.norm(VECTORS, axis=-1) < math.pi - 1e-4  # at pi, either of two vectors is right
    phi = R.exp_map_from_quat(quats(dtype, sign))
    assert phi.dtype == dtype
    np.testing.assert_allclose(phi[below_pi], VECTORS[below_pi], rtol=2 * TOLERANCE[dtype], atol=TOLERANCE[dtype])
    assert_same_rotation(R.quat_from_exp_map(phi), SCIPY, 2 * TOLERANCE[dtype])
    assert phi.norm(dim=-1).max() <= math.pi + 1e-6


@pytest.mark.parametrize("angle", TINY)
def test_tiny_rotations_keep_their_relative_precision(angle):
    phi = torch.tensor([0.0, angle, 0.0])
    q = R.quat_from_exp_map(phi)
    assert R.exp_map_from_quat(q)[1].item() == pytest.approx(angle, rel=1e-6)
    assert R.angle_between(R.quat_identity(), q).item() == pytest.approx(angle, rel=1e-6)
    assert R.twist_angle(q, torch.tensor([0.0, 1.0, 0.0])).item() == pytest.approx(angle, rel=1e-6)
    assert R.wrap_angle(phi)[1].item() == pytest.approx(angle, rel=1e-6)


def test_angle_between(dtype):
    other = Rotation.random(len(VECTORS), rng=np.random.default_rng(3))
    expected = (SCIPY.inv() * other).magnitude()
    found = R.angle_between(quats(dtype), torch.tensor(-other.as_quat(), dtype=dtype))
    np.testing.assert_allclose(found, expected, atol=2 * TOLERANCE[dtype])


def test_matrices_both_ways(dtype):
    np.testing.assert_allclose(R.matrix_from_quat(quats(dtype)), SCIPY.as_matrix(), atol=2 * TOLERANCE[dtype])
    q = R.quat_from_matrix(torch.tensor(SCIPY.as_matrix(), dtype=dtype))
    assert_same_rotation(q, SCIPY, 2 * TOLERANCE[dtype])
    assert (q[:, 3] >= 0).all()


def test_rotation_6d_is_the_first_and_third_column(dtype):
    columns = SCIPY.as_matrix()[:, :, [0, 2]].transpose(0, 2, 1).reshape(-1, 6)
    encoding = R.rotation_6d_from_quat(quats(dtype))
    np.testing.assert_allclose(encoding, columns, atol=2 * TOLERANCE[dtype])
    assert_same_rotation(R.quat_from_rotation_6d(encoding), SCIPY, 4 * TOLERANCE[dtype])


@given(hnp.arrays(np.float64, 6, elements=st.floats(-10, 10)))
def test_any_six_numbers_give_a_unit_quaternion(numbers):
    x, z = numbers[:3], numbers[3:]
    assume(np.linalg.norm(np.cross(x, z)) > 1e-3)
    q = R.quat_from_rotation_6d(torch.tensor(numbers))
    assert q.norm().item() == pytest.approx(1.0, abs=1e-12)
    along_x = R.quat_apply(q, torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))
    np.testing.assert_allclose(along_x, x / np.linalg.norm(x), atol=1e-9)


# --- interpolation ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("angle", [*TINY, 0.5, math.pi / 2, math.pi - 1e-3])
@pytest.mark.parametrize("sign", [1, -1])
def test_slerp_agrees_with_scipy_for_near_and_far_rotations(dtype, angle, sign):
    start = Rotation.from_rotvec([0.3, -1.2, 0.7])
    end = start * Rotation.from_rotvec(angle * np.array([2.0, -1.0, 2.0]) / 3.0)
    blend = np.linspace(0, 1, 7)
    expected = Slerp([0, 1], Rotation.concatenate([start, end]))(blend)
    a, b = (torch.tensor(r.as_quat(), dtype=dtype) for r in (start, end))
    q = R.slerp(a, sign * b, torch.tensor(blend, dtype=dtype).unsqueeze(-1))
    assert q.dtype == dtype
    assert_same_rotation(q, expected, 2 * TOLERANCE[dtype])
    np.testing.assert_allclose(q.norm(dim=-1), 1.0, atol=TOLERANCE[dtype])


unit_quaternions = hnp.arrays(np.float64, 4, elements=st.floats(-1, 1)).filter(lambda q: np.linalg.norm(q) > 0.1)


def unit(q: np.ndarray) -> torch.Tensor:
    return torch.tensor(q / np.linalg.norm(q))


@given(unit_quaternions, unit_quaternions, st.floats(0, 1))
def test_slerp_moves_at_constant_speed_along_the_shorter_arc(a, b, blend):
    a, b = unit(a), unit(b)
    arc = R.angle_between(a, b)
    assume(arc < math.pi - 1e-3)
    q = R.slerp(a, b, torch.tensor([blend], dtype=torch.float64))
    assert R.angle_between(a, q).item() == pytest.approx(blend * arc.item(), abs=1e-8)
    assert R.angle_between(q, b).item() == pytest.approx((1 - blend) * arc.item(), abs=1e-8)


# --- properties ------------------------------------------------------------------------------------------------------


@given(hnp.arrays(np.float64, 3, elements=st.floats(-1.8, 1.8)))
def test_log_inverts_exp_inside_the_half_turn(phi):
    assume(np.linalg.norm(phi) < math.pi - 1e-6)
    np.testing.assert_allclose(R.exp_map_from_quat(R.quat_from_exp_map(torch.tensor(phi))), phi, atol=1e-9)


@given(unit_quaternions, unit_quaternions)
def test_both_signs_mean_the_same(a, b):
    a, b = unit(a), unit(b)
    assume(abs(a[3]) > 1e-6)
    axis = torch.tensor([0.0, 0.6, 0.8], dtype=torch.float64)
    half = torch.tensor([0.25], dtype=torch.float64)
    functions = [
        R.exp_map_from_quat,
        R.matrix_from_quat,
        R.rotation_6d_from_quat,
        R.heading_angle,
        R.quat_canonical,
        lambda q: R.angle_between(q, b),
        lambda q: R.quat_apply(q, axis),
        lambda q: R.matrix_from_quat(R.slerp(b, q, half)),
        lambda q: R.matrix_from_quat(R.quat_from_euler("XYZ", R.euler_from_quat("XYZ", q))),
    ]
    assume(abs((a * b).sum()) > 1e-6)
    for function in functions:
        torch.testing.assert_close(function(a), function(-a), atol=1e-9, rtol=1e-9)
    twist = R.twist_angle(a, axis) - R.twist_angle(-a, axis)
    assert abs(R.wrap_angle(twist).item()) < 1e-9


@given(unit_quaternions, st.floats(-3.1, 3.1))
def test_heading_follows_the_x_axis_and_adds_up(q, yaw):
    q = unit(q)
    forward = R.quat_apply(q, torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))
    assume(forward[:2].norm() > 1e-3)
    heading = R.heading_quat(q)
    assert R.heading_angle(q).item() == pytest.approx(math.atan2(forward[1], forward[0]), abs=1e-9)
    np.testing.assert_allclose(heading[:2], 0.0, atol=0)
    local = R.quat_apply_inverse(heading, forward)
    assert local[1].item() == pytest.approx(0.0, abs=1e-9)
    assert local[0].item() > 0
    turned = R.heading_angle(R.quat_multiply(R.quat_from_yaw(torch.tensor(yaw, dtype=torch.float64)), q))
    assert abs(R.wrap_angle(turned - R.heading_angle(q) - yaw).item()) < 1e-9


@given(st.floats(-math.pi, math.pi), hnp.arrays(np.float64, 3, elements=st.floats(-1, 1)))
def test_swing_does_not_change_the_twist(angle, other):
    axis = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
    swing_vector = torch.tensor(other) - (torch.tensor(other) @ axis) * axis
    assume(swing_vector.norm() < 2.5)
    twist = R.quat_from_angle_axis(torch.tensor(angle, dtype=torch.float64), axis)
    q = R.quat_multiply(R.quat_from_exp_map(swing_vector), twist)
    assert abs(R.wrap_angle(R.twist_angle(q, axis) - angle).item()) < 1e-7


@given(st.floats(-50, 50))
def test_wrapped_angles_are_the_same_angles(angle):
    wrapped = R.wrap_angle(torch.tensor(angle, dtype=torch.float64)).item()
    assert -math.pi - 1e-12 <= wrapped <= math.pi + 1e-12
    assert math.cos(wrapped - angle) == pytest.approx(1.0, abs=1e-12)


def test_continuous_quaternions_never_jump():
    rng = np.random.default_rng(5)
    time = torch.linspace(0, 20, 200, dtype=torch.float64)
    smooth = R.quat_from_exp_map(time[:, None, None] * torch.tensor([[[0.3, 0.2, 1.0], [1.0, 0.0, 0.0]]]).double())
    flipped = smooth * torch.tensor(rng.choice([-1.0, 1.0], size=(200, 2, 1)))
    fixed = R.quat_continuous(flipped)
    assert (fixed[1:] - fixed[:-1]).norm(dim=-1).max() < 0.2
    assert R.angle_between(fixed, smooth).max() < 1e-7
    torch.testing.assert_close(R.quat_continuous(flipped.movedim(0, 1), dim=1), fixed.movedim(0, 1))


def test_normalize_keeps_zero_finite():
    q = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 3.0, 0.0, 4.0]])
    torch.testing.assert_close(R.quat_normalize(q), torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 0.6, 0.0, 0.8]]))


def test_scalar_first_and_back():
    q = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert R.wxyz_from_xyzw(q).tolist() == [4.0, 1.0, 2.0, 3.0]
    assert torch.equal(R.xyzw_from_wxyz(R.wxyz_from_xyzw(q)), q)


# --- Euler angles ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
def test_euler_angles_agree_with_scipy(dtype, order):
    angles = np.random.default_rng(6).uniform([-3, -1.5, -3], [3, 1.5, 3], size=(50, 3))
    expected = Rotation.from_euler(order, angles)
    q = R.quat_from_euler(order, torch.tensor(angles, dtype=dtype))
    assert_same_rotation(q, expected, TOLERANCE[dtype])
    found = R.euler_from_quat(order, q)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected.as_euler(order), atol=1e-9 if dtype == torch.float64 else 1e-4)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("gap", [0.0, 1e-8, 1e-6, 1e-5, 1e-4, 1e-3])
def test_euler_angles_near_the_gimbal_lock_give_the_same_rotation(dtype, order, gap):
    outer = np.random.default_rng(7).uniform(-3, 3, size=(40, 2))
    for pole in (math.pi / 2 - gap, -math.pi / 2 + gap):
        angles = np.stack([outer[:, 0], np.full(40, pole), outer[:, 1]], axis=-1)
        expected = Rotation.from_euler(order, angles)
        found = R.euler_from_quat(order, torch.tensor(expected.as_quat(), dtype=dtype))
        assert found.isfinite().all()
        assert_same_rotation(R.quat_from_euler(order, found), expected, 4 * TOLERANCE[dtype])


@pytest.mark.parametrize("order", ORDERS)
def test_at_the_lock_the_free_angle_is_zero(order):
    angles = torch.tensor([[0.4, math.pi / 2, 0.9], [0.4, -math.pi / 2, -2.0]], dtype=torch.float64)
    found = R.euler_from_quat(order, R.quat_from_euler(order, angles))
    free = 2 if order.isupper() else 0
    np.testing.assert_allclose(found[:, free], 0.0, atol=1e-12)


def test_repeated_axes_have_no_inverse_but_a_quaternion():
    angles = np.array([0.1, 0.2, 0.3])
    q = R.quat_from_euler("ZXZ", torch.tensor(angles))
    assert_same_rotation(q, Rotation.from_euler("ZXZ", angles), 1e-12)
    with pytest.raises(ValueError, match="must differ"):
        R.euler_from_quat("ZXZ", q)


@pytest.mark.parametrize("order", ["xy", "xyw", "xYz", ""])
def test_unknown_euler_orders_are_named(order):
    with pytest.raises(ValueError, match="Euler order"):
        R.quat_from_euler(order, torch.zeros(3))


# --- gradients and compilation ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0])
def test_gradients_are_finite_at_and_near_the_identity(scale):
    phi = (scale * torch.tensor([[0.1, -0.7, 0.7]])).requires_grad_()
    q = R.quat_from_exp_map(phi)
    other = R.quat_identity(1)
    parts = [
        R.exp_map_from_quat(q),
        R.angle_between(q, other),
        R.slerp(q, other, torch.tensor([0.3])),
        R.quat_from_matrix(R.matrix_from_quat(q)),
        R.quat_from_rotation_6d(R.rotation_6d_from_quat(q)),
        R.heading_quat(q),
        R.euler_from_quat("XYZ", q),
        R.twist_angle(q, torch.tensor([0.0, 0.0, 1.0])),
    ]
    for part in parts:
        (gradient,) = torch.autograd.grad(part.sum(), phi, retain_graph=True)
        assert gradient.isfinite().all()


def test_exp_and_log_pass_gradcheck():
    phi = torch.tensor([[0.0, 0.0, 0.0], [2e-5, 0.0, 0.0], [0.5, -1.0, 0.3]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: R.exp_map_from_quat(R.quat_from_exp_map(v)), phi)


def everything(phi: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    q = R.quat_continuous(R.quat_canonical(R.quat_normalize(R.quat_from_exp_map(phi))))
    q = R.slerp(q, R.quat_multiply(q, R.quat_conjugate(other)), torch.tensor([0.3]))
    q = R.quat_from_rotation_6d(R.rotation_6d_from_quat(R.quat_from_matrix(R.matrix_from_quat(q))))
    q = R.quat_multiply(R.heading_quat(q), R.quat_from_euler("XYZ", R.euler_from_quat("zyx", q)))
    turned = R.quat_apply_inverse(other, R.quat_apply(q, R.exp_map_from_quat(q)))
    angle = R.twist_angle(q, turned.detach()) + R.angle_between(q, other)
    return torch.cat([turned, R.wrap_angle(angle).unsqueeze(-1)], dim=-1)


@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_all_of_it_compiles_into_one_graph(backend):
    compiled = torch.compile(everything, backend=backend, fullgraph=True)
    phi, other = torch.tensor(VECTORS[-8:]).float(), quats(torch.float32)[:8]
    torch.testing.assert_close(compiled(phi, other), everything(phi, other), atol=1e-4, rtol=1e-4)
