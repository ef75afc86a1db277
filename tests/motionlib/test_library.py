from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation, Slerp

from motionlib import MotionError, MotionLib
from motionlib.states import MotionState
from poselib import models
from poselib.kinematics import forward_kinematics, forward_velocities
from poselib.rotations import angle_between

SKELETON = models.skeleton("amp")


@pytest.fixture
def clips(make_motion):
    """One clip that ends, one that wraps and turns; rates and lengths differ."""
    return [
        make_motion("ends", frames=9, fps=10.0, seed=1),
        make_motion("wraps", frames=25, fps=30.0, loop="wrap", seed=2),
    ]


@pytest.fixture
def library(clips):
    return MotionLib(clips, SKELETON)


def at(library: MotionLib, clip: int, times: object) -> MotionState:
    times = torch.as_tensor(times, dtype=torch.float32)
    return library.get_motion_state(torch.full(times.shape, clip), times)


def fields(state: MotionState) -> dict[str, torch.Tensor]:
    return vars(state)


def test_sizes_and_names(library):
    assert library.num_motions == 2
    assert library.names == ("ends", "wraps")
    assert library.num_frames.tolist() == [9, 25]
    assert library.first_frames.tolist() == [0, 9]
    assert library.loops.tolist() == [False, True]
    torch.testing.assert_close(library.durations, torch.tensor([0.8, 0.8]))
    frames = {"body_positions": (15, 3), "body_rotations": (15, 4), "local_rotations": (15, 4), "dof_velocities": (28,)}
    for name, shape in (frames | {"contacts": (15,), "body_velocities": (15, 3)}).items():
        assert getattr(library, name).shape == (34, *shape)
    state = at(library, 1, [0.1, 0.2, 0.3])
    shapes = frames | {"body_velocities": (15, 3), "body_angular_velocities": (15, 3), "dof_positions": (28,)}
    for name, shape in shapes.items():
        assert getattr(state, name).shape == (3, *shape)
        assert getattr(state, name).is_contiguous()
    assert state.contacts.shape == (3, 15)
    assert state.contacts.dtype == torch.bool


def test_frame_times_give_the_stored_frames(library):
    for clip in range(2):
        first, count = int(library.first_frames[clip]), int(library.num_frames[clip])
        state = at(library, clip, torch.arange(count - 1) / library.fps[clip])
        rows = slice(first, first + count - 1)
        for name in ("body_positions", "body_velocities", "body_angular_velocities", "dof_velocities"):
            torch.testing.assert_close(getattr(state, name), getattr(library, name)[rows], rtol=1e-4, atol=1e-4)
        assert float(angle_between(state.body_rotations, library.body_rotations[rows]).max()) < 1e-4
        assert float(angle_between(state.local_rotations, library.local_rotations[rows]).max()) < 1e-4


def test_frames_are_forward_kinematics_of_local_rotations(library):
    state = at(library, 1, torch.arange(24) / 30.0)
    positions, rotations = forward_kinematics(SKELETON, state.body_positions[:, 0], state.local_rotations)
    # Joint rotations are stored to 16 bits: 6e-5 rad at most, along a chain of four joints.
    torch.testing.assert_close(state.body_positions, positions, rtol=0, atol=1e-4)
    assert float(angle_between(state.body_rotations, rotations).max()) < 2e-3
    again = SKELETON.local_rotations_from_dofs(state.dof_positions, state.body_rotations[:, 0])
    balls = [b for b, joint in enumerate(SKELETON.joints) if joint.kind == "ball"]
    assert float(angle_between(again, state.local_rotations)[:, balls].max()) < 1e-3


def test_interpolation_agrees_with_scipy(library):
    generator = np.random.default_rng(0)
    times = np.sort(generator.uniform(0, 0.8, 20))
    state = at(library, 0, times)
    knots = np.arange(9) / 10.0
    for body in (0, 3, 14):
        slerp = Slerp(knots, Rotation.from_quat(library.body_rotations[:9, body].numpy()))
        difference = slerp(np.minimum(times, 0.8)) * Rotation.from_quat(state.body_rotations[:, body].numpy()).inv()
        assert difference.magnitude().max() < 1e-5
        local = Slerp(knots, Rotation.from_quat(library.local_rotations[:9, body].numpy()))
        difference = local(times) * Rotation.from_quat(state.local_rotations[:, body].numpy()).inv()
        assert difference.magnitude().max() < 1e-5
    heights = np.interp(times, knots, library.body_positions[:9, 5, 2].numpy())
    np.testing.assert_allclose(state.body_positions[:, 5, 2], heights, atol=1e-5)
    norms = state.body_rotations.norm(dim=-1)
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=0, atol=2e-6)


def test_clips_that_end_stand_still_outside(library):
    before, start, end, after = (at(library, 0, [t]) for t in (-3.0, 0.0, 0.8, 100.0))
    for name, value in fields(before).items():
        torch.testing.assert_close(value, fields(start)[name])
        torch.testing.assert_close(fields(after)[name], fields(end)[name])


def test_contacts_join_both_frames(library):
    state = at(library, 1, (torch.arange(24) + 0.5) / 30.0)
    stored = library.contacts[9:]
    torch.testing.assert_close(state.contacts, stored[:-1] | stored[1:])
    walk = MotionLib.from_samples("amp", ["walk"])
    feet = SKELETON.body_indices(["left_foot", "right_foot"])
    assert walk.contacts[:, feet].any(dim=1).float().mean() > 0.3
    assert not walk.contacts[:, SKELETON.body_indices(["head", "pelvis", "left_hand"])].any()


@pytest.mark.parametrize("name", ["walk", "turn_right0", "turn_left1", "crawl", "backflip", "spinkick"])
def test_loops_have_no_seam(name):
    library = MotionLib.from_samples("amp", [name])
    duration = float(library.durations[0])
    # float32 seconds: an instant on either side of the seam, well away from rounding.
    instant = 1e-4
    for cycle in range(-3, 6):
        before, after = at(library, 0, [cycle * duration - instant]), at(library, 0, [cycle * duration + instant])
        speed = float(before.body_velocities.norm(dim=-1).max())
        turning = float(before.body_angular_velocities.norm(dim=-1).max())
        gap = (before.body_positions - after.body_positions).norm(dim=-1).max()
        assert float(gap) < 2e-4 + 4 * instant * speed
        angle = angle_between(before.body_rotations, after.body_rotations).max()
        assert float(angle) < 2e-3 + 4 * instant * turning
        assert float((before.body_velocities - after.body_velocities).norm(dim=-1).max()) < 0.05
        assert float((before.body_angular_velocities - after.body_angular_velocities).norm(dim=-1).max()) < 0.2
        assert float((before.dof_velocities - after.dof_velocities).abs().max()) < 0.2


@pytest.mark.parametrize("name", ["walk", "turn_left1", "turn_right0"])
def test_cycles_repeat_one_rigid_motion(name):
    """Cycle k + 1 lies to cycle k as cycle 1 to cycle 0: same distances, same turn, in both directions of time."""
    library = MotionLib.from_samples("amp", [name])
    duration = float(library.durations[0])
    times = 0.3 * duration + duration * torch.arange(-4.0, 6.0)
    state = at(library, 0, times)
    yaw = float(library.index.cycles.yaw[0])
    turn = Rotation.from_euler("z", yaw)
    steps = state.body_positions[1:, 0] - state.body_positions[:-1, 0]
    np.testing.assert_allclose(turn.apply(steps[:-1].numpy()), steps[1:].numpy(), atol=2e-4)
    for body in (0, 6):
        rotations = Rotation.from_quat(state.body_rotations[:, body].numpy())
        error = (turn * rotations[:-1]) * rotations[1:].inv()
        assert error.magnitude().max() < 2e-3
    np.testing.assert_allclose(
        turn.apply(state.body_velocities[:-1, 4].numpy()), state.body_velocities[1:, 4].numpy(), atol=5e-3
    )
    torch.testing.assert_close(
        state.dof_positions, state.dof_positions[:1].expand_as(state.dof_positions), rtol=0, atol=2e-3
    )


def test_walking_on_for_minutes_stays_straight():
    library = MotionLib.from_samples("amp", ["walk"])
    state = at(library, 0, [600.0])
    assert torch.isfinite(state.body_positions).all()
    assert 0.8 < float(state.body_positions[0, 0, 2]) < 0.95


@pytest.mark.parametrize("name", ["walk", "turn_left1", "getup_faceup"])
def test_velocities_are_the_rate_of_change(name):
    library = MotionLib.from_samples("amp", [name])
    gap = 1.0 / float(library.fps[0])
    frames = torch.arange(2, int(library.num_frames[0]) - 2) if name == "getup_faceup" else torch.arange(0, 80)
    times = frames * gap
    state, later, earlier = (at(library, 0, times + shift) for shift in (0.0, gap, -gap))
    rate = (later.body_positions - earlier.body_positions) / (2 * gap)
    assert float((rate - state.body_velocities).norm(dim=-1).max()) < 0.02
    a, b, c = (Rotation.from_quat(s.body_rotations.reshape(-1, 4).numpy()) for s in (earlier, state, later))
    turning = ((c * b.inv()).as_rotvec() + (b * a.inv()).as_rotvec()).reshape(-1, 15, 3) / (2 * gap)
    assert np.abs(turning - state.body_angular_velocities.numpy()).max() < 0.05


def test_velocities_of_bodies_and_joints_fit_together():
    library = MotionLib.from_samples("amp", ["walk"])
    state = at(library, 0, torch.arange(1, 20) / library.fps[0])
    linear, angular = forward_velocities(
        SKELETON,
        state.body_positions,
        state.body_rotations,
        state.body_velocities[:, 0],
        state.body_angular_velocities[:, 0],
        state.dof_velocities,
    )
    # Hinges drop what is not about their axis, which differences of turning axes are by a little.
    assert float((angular - state.body_angular_velocities).norm(dim=-1).max()) < 0.15
    # Differences of positions cut the corners of quick turns.
    assert float((linear - state.body_velocities).norm(dim=-1).max()) < 0.3


def test_parts_of_a_query_agree_with_the_whole(library):
    ids, times = torch.tensor([0, 1, 1]), torch.tensor([0.33, -1.7, 5.01])
    whole, bodies = library.get_motion_state(ids, times), library.get_body_state(ids, times)
    for name, value in vars(bodies).items():
        assert torch.equal(value, getattr(whole, name))
    local, velocities = library.get_joint_state(ids, times)
    assert torch.equal(local, whole.local_rotations)
    assert torch.equal(velocities, whole.dof_velocities)


def test_inference_mode_and_moving_change_nothing(library):
    ids, times = torch.tensor([0, 1, 1]), torch.tensor([0.33, -1.7, 5.01])
    plain = library.get_motion_state(ids, times)
    moved = library.to("cpu")
    with torch.inference_mode():
        inside, outside = moved.get_motion_state(ids, times), library.get_motion_state(ids, times)
    for name, value in fields(plain).items():
        assert torch.equal(fields(inside)[name], value)
        assert torch.equal(fields(outside)[name], value)
    if torch.cuda.is_available():
        there = library.to("cuda").get_motion_state(ids.cuda(), times.cuda())
        for name, value in fields(there).items():
            torch.testing.assert_close(value.cpu(), fields(plain)[name], rtol=1e-4, atol=1e-4)


def test_results_are_not_views_of_the_library(library):
    ids, times = torch.tensor([0]), torch.tensor([0.0])
    before = library.get_motion_state(ids, times)
    for value in fields(before).values():
        value.zero_()
    assert float(library.get_motion_state(ids, times).body_positions.abs().max()) > 0.1


def test_sampling_follows_the_weights(clips, make_motion):
    library = MotionLib([*clips, make_motion("never")], SKELETON, weights=[3.0, 1.0, 0.0])
    generator = torch.Generator().manual_seed(0)
    ids = library.sample_motions(20_000, generator)
    counts = torch.bincount(ids, minlength=3) / 20_000
    torch.testing.assert_close(counts, torch.tensor([0.75, 0.25, 0.0]), rtol=0, atol=0.015)
    assert (library.sample_motions(1000, generator, weights=torch.tensor([0.0, 0.0, 1.0])) == 2).all()
    other = library.with_weights([0.0, 1.0, 0.0])
    assert (other.sample_motions(1000, generator) == 1).all()
    assert library.weights.tolist() == [3.0, 1.0, 0.0]
    again = library.sample_motions(50, torch.Generator().manual_seed(7))
    assert torch.equal(again, library.sample_motions(50, torch.Generator().manual_seed(7)))

    times = library.sample_times(ids, generator, margin=0.3)
    assert 0.0 <= float(times.min()) < 0.01
    assert 0.49 < float(times.max()) <= 0.5
    assert float(times.mean()) == pytest.approx(0.25, abs=0.01)
    assert (library.sample_times(ids[:9], generator, margin=99.0) == 0).all()


def test_selecting_keeps_the_clips(library):
    chosen = library.select(["wraps"])
    assert chosen.names == ("wraps",)
    ours, theirs = at(chosen, 0, [0.5, 2.0]), at(library, 1, [0.5, 2.0])
    for name, value in fields(ours).items():
        assert torch.equal(value, fields(theirs)[name])
    assert library.names == ("ends", "wraps")
    with pytest.raises(MotionError, match=r"no clip \['runs'\] in this library; it has \['ends', 'wraps'\]"):
        library.select(["runs"])


def test_wrong_inputs_are_named(clips, library):
    with pytest.raises(MotionError, match="at least one clip"):
        MotionLib([], SKELETON)
    with pytest.raises(MotionError, match=r"clip 'ends' does not fit skeleton 'smpl': missing bodies \['Pelvis'"):
        MotionLib(clips, models.skeleton("smpl"))
    with pytest.raises(MotionError, match="one weight for each of the 2 clips"):
        MotionLib(clips, SKELETON, weights=[1.0])
    with pytest.raises(MotionError, match="not negative"):
        MotionLib(clips, SKELETON, weights=[1.0, -1.0])
    with pytest.raises(MotionError, match="height_fix must be one of"):
        MotionLib(clips, SKELETON, height_fix="highest")  # type: ignore[arg-type]
    with pytest.raises(MotionError, match=r"ids \(N,\) and times \(N,\)"):
        library.get_motion_state(torch.zeros(3, dtype=torch.long), torch.zeros(2))
    with pytest.raises(MotionError, match="no sample clip 'fly'"):
        MotionLib.from_samples("amp", ["fly"])
