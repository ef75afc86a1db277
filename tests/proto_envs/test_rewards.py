import math
from dataclasses import replace
from functools import partial

import pytest
import torch

from poselib.rotations import quat_from_exp_map, quat_multiply
from proto_envs.components import rewards as r
from proto_envs.components.terminations import fallen, lost_track
from proto_envs.components.terms import Reward, Termination, any_failure, measure, total_reward
from proto_envs.robots import get_robot
from proto_envs.tasks.base import Setup
from proto_envs.tasks.mimic import Mimic, failed, mean_body_error, mpjpe_mm, mpjpe_root_relative_mm
from proto_envs.terrain import FLAT
from proto_envs.terrain.ground import Ground

CPU = torch.device("cpu")
N, B = 4, 15
NO_GRACE = torch.zeros(N, dtype=torch.bool)


@pytest.fixture
def reference(random_bodies):
    return random_bodies(0, N, B)


@pytest.fixture
def off(moment, amp, reference):
    """`off(body_positions=d, ...)`: the robot is the reference plus d in the named fields."""

    def make(**differences):
        fields = {name: getattr(reference, name) + torch.as_tensor(d) for name, d in differences.items()}
        return moment(amp, replace(reference, **fields), motion=reference)

    return make


def close(found, expected):
    torch.testing.assert_close(found, torch.full((N,), expected), atol=2e-5, rtol=2e-4)


# --- closed forms ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [0.0, 0.1, 0.5])
@pytest.mark.parametrize(
    ("kernel", "field"),
    [
        (r.position_tracking, "body_positions"),
        (r.velocity_tracking, "body_velocities"),
        (r.angular_velocity_tracking, "body_angular_velocities"),
    ],
)
def test_vector_errors_are_averaged_over_axes_and_bodies(off, kernel, field, error):
    close(kernel(off(**{field: error}), scale=7.0), math.exp(-7.0 * error**2))
    close(kernel(off(**{field: [0.0, error, 0.0]}), scale=7.0), math.exp(-7.0 * error**2 / 3))
    one_body = torch.zeros(B, 3)
    one_body[4, 0] = error
    close(kernel(off(**{field: one_body}), scale=7.0), math.exp(-7.0 * error**2 / (3 * B)))


def test_the_mean_of_squares_is_taken_before_the_exponential(off):
    some = torch.zeros(B, 3)
    some[:5, 2] = 0.6
    close(r.position_tracking(off(body_positions=some), scale=2.0), math.exp(-2.0 * (5 / B) * 0.36 / 3))


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("angle", [0.0, 0.4, 2.5])
def test_rotation_errors_are_angles(moment, amp, reference, drawn, power, angle):
    axis = torch.nn.functional.normalize(drawn(5, N, B, 3), dim=-1)
    turned = quat_multiply(reference.body_rotations, quat_from_exp_map(angle * axis))
    # A quaternion and its negative are the same rotation.
    ctx = moment(amp, replace(reference, body_rotations=-turned), motion=reference)
    expected = math.exp(-1.5 * angle**power)
    torch.testing.assert_close(
        r.rotation_tracking(ctx, scale=1.5, power=power), torch.full((N,), expected), atol=2e-3, rtol=1e-3
    )


def test_root_height_sees_the_height_of_the_root_alone(off):
    difference = torch.full((B, 3), 3.0)
    difference[0, 2] = 0.1
    close(r.root_height_tracking(off(body_positions=difference), scale=100.0), math.exp(-1.0))


def test_target_change_is_a_length(moment, amp, reference):
    ctx = moment(amp, reference, targets=torch.full((N, 28), 0.5), previous_targets=torch.full((N, 28), 0.2))
    close(r.target_change(ctx), 0.3 * math.sqrt(28))


def test_power_is_what_each_joint_turns_over(moment, amp, reference, drawn):
    forces, velocities = drawn(1, N, 28), drawn(2, N, 28)
    ctx = moment(amp, reference, joint_level={"dof_forces": forces, "dof_velocities": velocities})
    expected = [sum(abs(float(f) * float(v)) for f, v in zip(forces[i], velocities[i], strict=True)) for i in range(N)]
    torch.testing.assert_close(r.power(ctx), torch.tensor(expected))


def test_contact_mismatch_is_the_share_of_bodies_that_touch_otherwise(moment, amp, reference):
    contacts = torch.zeros(N, B, dtype=torch.bool)
    contacts[:, 3] = True
    forces = torch.zeros(N, B, 3)
    forces[1, 3, 2] = 50.0
    forces[2, [3, 7], 2] = 50.0
    forces[3, [3, 7], 0] = 0.5  # below the threshold
    ctx = moment(amp, reference, motion=replace(reference, contacts=contacts), joint_level={"contact_forces": forces})
    assert r.contact_mismatch(ctx, bodies=[3, 7]).tolist() == [0.5, 0.0, 0.5, 0.5]


# --- sums ------------------------------------------------------------------------------------------------------------


def constant(value):
    return lambda ctx: torch.full((N,), value)


def test_terms_are_weighted_and_reported_raw(off):
    terms = {"a": Reward(constant(2.0), 0.5), "b": Reward(constant(3.0), -0.1), "c": Reward(constant(1.0))}
    total, raw = total_reward(terms, off(), NO_GRACE)
    close(total, 1.0 - 0.3 + 1.0)
    assert {name: value.tolist() for name, value in raw.items()} == {"a": [2.0] * N, "b": [3.0] * N, "c": [1.0] * N}


def test_multiplicative_terms_are_multiplied_before_they_are_added(off):
    terms = {
        "a": Reward(constant(0.5), 2.0, multiplicative=True),
        "b": Reward(constant(7.0), 1.0),
        "c": Reward(constant(0.3), 1.0, multiplicative=True),
    }
    close(total_reward(terms, off(), NO_GRACE)[0], 2.0 * 0.5 * 0.3 + 7.0)


def test_a_minimum_bounds_the_weighted_value(off):
    terms = {"a": Reward(constant(1e6), -1e-3, minimum=-0.5), "b": Reward(constant(1.0), -0.1, minimum=-0.5)}
    close(total_reward(terms, off(), NO_GRACE)[0], -0.5 - 0.1)


def test_grace_silences_the_terms_that_ask_for_it(off):
    terms = {"a": Reward(constant(1.0), -1.0, skip_grace=True), "b": Reward(constant(1.0), 0.25)}
    grace = torch.tensor([True, False, True, False])
    total, raw = total_reward(terms, off(), grace)
    assert total.tolist() == [0.25, -0.75, 0.25, -0.75]
    assert raw["a"].tolist() == [1.0] * N, "the raw value is reported all the same"


@pytest.mark.parametrize("wrong", [(N, 1), (1,), ()])
def test_a_term_of_the_wrong_shape_is_named(off, wrong):
    ctx = off()
    with pytest.raises(ValueError, match=r"reward 'odd': want \(4,\), got"):
        total_reward({"odd": Reward(lambda ctx: torch.zeros(wrong))}, ctx, NO_GRACE)
    with pytest.raises(ValueError, match=r"termination 'odd': want \(4,\), got"):
        any_failure({"odd": Termination(lambda ctx: torch.zeros(wrong, dtype=torch.bool))}, ctx)
    with pytest.raises(ValueError, match=r"metric 'odd': want \(4,\), got"):
        measure({"odd": lambda ctx: torch.zeros(wrong)}, ctx)


@pytest.mark.parametrize(("kernels", "best"), [("v3", 1.3), ("v1", 1.2), ("tight", 1.0)])
def test_perfect_tracking_earns_the_sum_of_the_tracking_weights(moment, library, kernels, best):
    amp = get_robot("AMP")
    motion = library("walk").get_body_state(torch.zeros(N, dtype=torch.long), torch.linspace(0.0, 1.0, N))
    forces = 100.0 * motion.contacts.unsqueeze(-1).expand(-1, -1, 3)
    still = torch.zeros(N, 28)
    ctx = moment(
        amp,
        motion,
        motion=motion,
        joint_level={"dof_forces": still, "dof_velocities": still, "contact_forces": forces},
    )
    setup = Setup(amp, N, 1 / 30, CPU, library("walk"), Ground(FLAT, amp, N, CPU))
    components = Mimic(rewards=kernels).components(setup)
    total, raw = total_reward(components.rewards, ctx, NO_GRACE)
    close(total, best)
    assert set(raw) == set(components.rewards)


# --- metrics and terminations ----------------------------------------------------------------------------------------


def test_position_errors_are_distances(off):
    ctx = off(body_positions=[0.03, 0.04, 0.0])
    close(mpjpe_mm(ctx), 50.0)
    close(mean_body_error(ctx), 0.05)
    torch.testing.assert_close(mpjpe_root_relative_mm(ctx), torch.zeros(N), atol=1e-3, rtol=0)
    arm = torch.zeros(B, 3)
    arm[6, 1] = 0.15
    close(mpjpe_mm(off(body_positions=arm)), 10.0)
    close(mpjpe_root_relative_mm(off(body_positions=arm)), 10.0)


@pytest.mark.parametrize(("distance", "fails"), [(0.499, False), (0.501, True), (math.nan, True), (math.inf, True)])
def test_success_is_lost_where_the_mean_distance_exceeds_half_a_metre(off, distance, fails):
    assert failed(off(body_positions=[0.0, 0.0, distance])).tolist() == [fails] * N


def test_track_is_lost_where_any_body_is_too_far(off):
    one = torch.zeros(N, B, 3)
    one[1, 8, 1] = 0.26
    one[2, 8, 1] = 0.24
    assert lost_track(off(body_positions=one), distance=0.25).tolist() == [False, True, False, False]


def test_a_fall_needs_a_low_body_that_touches(moment, amp, reference, plateau):
    positions = torch.full((N, B, 3), 1.0)
    forces = torch.zeros(N, B, 3)
    positions[0, 2, 2] = 0.1  # low, in the air
    forces[1, 2, 2] = 80.0  # touches something high up
    positions[2, 2, 2], forces[2, 2, 2] = 0.1, 80.0
    positions[3, 5, 2], forces[3, 5, 2] = 0.1, 80.0  # a foot
    ctx = moment(amp, replace(reference, body_positions=positions), joint_level={"contact_forces": forces})
    assert fallen(ctx, bodies=[1, 2], height=0.15).tolist() == [False, False, True, False]
    on_a_hill = moment(
        amp,
        replace(reference, body_positions=positions),
        joint_level={"contact_forces": forces},
        terrain=plateau(0.9),
    )
    assert fallen(on_a_hill, bodies=[1, 2], height=0.15).tolist() == [False, True, True, False]


def test_terminations_add_up(off):
    terms = {
        "first": Termination(lambda ctx: torch.tensor([True, False, False, False])),
        "second": Termination(lambda ctx: torch.tensor([False, False, True, False])),
        "never": Termination(partial(lost_track, distance=9.0)),
    }
    assert any_failure(terms, off()).tolist() == [True, False, True, False]
    assert any_failure({}, off()).tolist() == [False] * N
