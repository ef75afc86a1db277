import pytest
import torch

from poselib.rotations import angle_between, quat_conjugate, quat_multiply
from proto_envs.components.actions import absolute_targets, reference_offsets
from proto_envs.components.control import MotionReference, ResetNoise
from proto_envs.context import ResetState

DT = 1 / 30


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def everyone(n):
    return torch.arange(n)


# --- where episodes start --------------------------------------------------------------------------------------------


def test_random_starts_spread_over_clips_and_times(library):
    clips = library("walk", "getup_faceup")
    reference = MotionReference(clips, 2000, DT)
    reference.reset(everyone(2000), generator())
    share = reference.times / clips.durations[reference.clips]
    for clip in (0, 1):
        mine = share[reference.clips == clip]
        assert len(mine) == pytest.approx(1000, abs=100)
        # Uniform on [0, 1]: mean 1/2, variance 1/12.
        assert mine.mean() == pytest.approx(0.5, abs=0.04) and mine.var() == pytest.approx(1 / 12, abs=0.01)
        assert mine.min() >= 0 and mine.max() <= 1


def test_zero_starts_are_at_zero_with_random_clips(library):
    reference = MotionReference(library("walk", "run"), 100, DT, start="zero")
    reference.reset(everyone(100), generator())
    assert not reference.times.any()
    assert set(reference.clips.tolist()) == {0, 1}


def test_sequential_starts_give_each_environment_its_clip(library):
    reference = MotionReference(library("walk", "run", "kick"), 7, DT, start="sequential")
    reference.reset(everyone(7), generator())
    assert reference.clips.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert not reference.times.any()
    reference.reset(torch.tensor([4, 5]), generator())
    assert reference.clips.tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_a_share_of_random_starts_is_at_zero(library):
    reference = MotionReference(library("walk"), 2000, DT, start_at_zero=0.3)
    reference.reset(everyone(2000), generator())
    assert (reference.times == 0).float().mean() == pytest.approx(0.3, abs=0.05)


def test_an_unknown_start_is_refused(library):
    with pytest.raises(ValueError, match=r"start='middle'.*'random', 'zero' and 'sequential'"):
        MotionReference(library("walk"), 1, DT, start="middle")


def test_a_reset_touches_the_named_environments_alone(library):
    reference = MotionReference(library("walk", "run"), 6, DT)
    reference.reset(everyone(6), generator(0))
    clips, times = reference.clips.clone(), reference.times.clone()
    start = reference.reset(torch.tensor([1, 4]), generator(1))
    assert start.root_position.shape == (2, 3)
    untouched = [0, 2, 3, 5]
    assert torch.equal(reference.clips[untouched], clips[untouched])
    assert torch.equal(reference.times[untouched], times[untouched])
    assert not torch.equal(reference.times, times)


def test_the_start_state_is_the_reference_pose(library):
    clips = library("walk", "cartwheel")
    reference = MotionReference(clips, 5, DT)
    start = reference.reset(everyone(5), generator())
    state = clips.get_motion_state(reference.clips, reference.times)
    assert torch.equal(start.root_position, state.body_positions[:, 0])
    assert torch.equal(start.local_rotations, state.local_rotations)
    assert torch.equal(start.root_velocity, state.body_velocities[:, 0])
    assert torch.equal(start.root_angular_velocity, state.body_angular_velocities[:, 0])
    assert torch.equal(start.dof_velocities, state.dof_velocities)


# --- playback --------------------------------------------------------------------------------------------------------


def test_the_reference_moves_on_by_one_control_step(library):
    reference = MotionReference(library("walk"), 4, DT)
    reference.reset(everyone(4), generator())
    start = reference.times.clone()
    for _ in range(60):
        reference.step(generator())
    torch.testing.assert_close(reference.times - start, torch.full((4,), 2.0), atol=1e-5, rtol=0)


def test_future_moments_are_those_of_the_library(library):
    clips = library("walk", "kick", "run")
    reference = MotionReference(clips, 6, DT, future_steps=(1, 3, 40))
    reference.reset(everyone(6), generator())
    context = reference.context(None)
    some = reference.context(torch.tensor([2, 5]))
    for i in range(6):
        clip = reference.clips[i : i + 1]
        for k, ahead in enumerate((0, 1, 3, 40)):
            expected = clips.get_body_state(clip, reference.times[i : i + 1] + ahead * DT)
            found = context["motion"] if ahead == 0 else context["upcoming"].map(lambda f, k=k: f[:, k - 1])
            for name in ("body_positions", "body_rotations", "body_velocities", "body_angular_velocities"):
                torch.testing.assert_close(getattr(found, name)[i], getattr(expected, name)[0], atol=1e-5, rtol=0)
    assert torch.equal(some["upcoming"].body_positions, context["upcoming"].body_positions[[2, 5]])
    assert torch.equal(some["motion"].body_rotations, context["motion"].body_rotations[[2, 5]])


def test_what_was_ahead_is_the_present_a_step_later(library):
    reference = MotionReference(library("walk", "run"), 4, DT, future_steps=(1, 2))
    reference.reset(everyone(4), generator())
    ahead = reference.context(None)["upcoming"].body_positions
    reference.step(generator())
    later = reference.context(None)
    torch.testing.assert_close(later["motion"].body_positions, ahead[:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(later["upcoming"].body_positions[:, 0], ahead[:, 1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("dt", [DT, 1 / 40, 1 / 50])
def test_only_clips_that_end_are_finished_at_the_nearest_step(library, dt):
    clips = library("walk", "kick")
    reference = MotionReference(clips, 2, dt, start="sequential")
    reference.reset(everyone(2), generator())
    finished_at = None
    for step in range(1, 80):
        reference.step(generator())
        walk, kick = reference.finished().tolist()
        assert not walk
        if kick and finished_at is None:
            finished_at = step
    assert finished_at == round(float(clips.durations[1]) / dt)


@pytest.mark.parametrize(
    ("repeat", "ending"), [(True, [False] * 3), (False, [True] * 3), (["run", "crawl"], [True, False, True])]
)
def test_clips_that_wrap_end_unless_they_are_to_repeat(library, repeat, ending):
    clips = library("walk", "run", "turn_left0")
    reference = MotionReference(clips, 3, DT, start="sequential", repeat=repeat)
    reference.reset(everyone(3), generator())
    ended = torch.zeros(3, dtype=torch.bool)
    for step in range(1, 60):
        left = reference.remaining()
        reference.step(generator())
        assert torch.equal(reference.finished(), left <= 1)
        ended |= reference.finished()
        for clip in reference.finished().nonzero().flatten().tolist():
            assert step >= round(float(clips.durations[clip]) / DT)
    assert ended.tolist() == ending


def test_a_clip_that_cannot_repeat_is_refused(library):
    with pytest.raises(ValueError, match=r"repeat: 'kick' is not a clip that wraps; those that do are \['walk'\]"):
        MotionReference(library("walk", "kick"), 1, DT, repeat=["kick", "crawl"])


# --- learning from failures ------------------------------------------------------------------------------------------


def shares(reference, n=4000):
    reference.reset(everyone(n), generator(3))
    return torch.bincount(reference.clips, minlength=reference.library.num_motions) / n


def test_clips_that_fail_are_drawn_more_often(library):
    reference = MotionReference(library("walk", "run", "kick"), 4000, DT, failure_rate_step=0.05, failure_floor=0.1)
    torch.testing.assert_close(shares(reference), torch.full((3,), 1 / 3), atol=0.03, rtol=0)
    reference.clips[:300] = torch.arange(3).repeat(100)
    reference.episode_ended(everyone(300), (torch.arange(3) == 1).repeat(100))
    # After 100 episodes each, the rates are 0.5·0.95¹⁰⁰ from 0, 1 and 0; the floor is added.
    rest = 0.5 * 0.95**100
    expected = torch.tensor([rest, 1 - rest, rest])
    torch.testing.assert_close(reference.failure_rates, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(shares(reference), (expected + 0.1) / (expected + 0.1).sum(), atol=0.03, rtol=0)


def test_the_failure_rate_is_a_running_mean_over_episodes(library):
    reference = MotionReference(library("walk", "run"), 1, DT, failure_rate_step=0.2)
    reference.reset(everyone(1), generator())
    rate = 0.5
    for failed in (True, True, False, True):
        reference.clips[0] = 1
        reference.episode_ended(everyone(1), torch.tensor([failed]))
        rate += 0.2 * (float(failed) - rate)
    torch.testing.assert_close(reference.failure_rates, torch.tensor([0.5, rate]))


def test_without_failure_weighting_failures_change_nothing(library):
    reference = MotionReference(library("walk", "run"), 4000, DT, failure_weighting=False)
    reference.failure_rates.copy_(torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(shares(reference), torch.full((2,), 0.5), atol=0.03, rtol=0)


@pytest.mark.parametrize("failure_weighting", [False, True])
def test_the_librarys_own_weights_count(library, failure_weighting):
    clips = library("walk", "run", "kick").with_weights([3.0, 1.0, 0.0])
    reference = MotionReference(clips, 4000, DT, failure_weighting=failure_weighting)
    torch.testing.assert_close(shares(reference), torch.tensor([0.75, 0.25, 0.0]), atol=0.03, rtol=0)


def test_saved_controls_go_on_where_they_were(library):
    a, b = (MotionReference(library("walk", "run"), 3, DT) for _ in range(2))
    a.reset(everyone(3), generator(0))
    a.episode_ended(everyone(3), torch.tensor([True, False, True]))
    b.load_state_dict({name: value.clone() for name, value in a.state_dict().items()})
    a.step(generator())
    b.step(generator())
    for name, value in a.state_dict().items():
        assert torch.equal(b.state_dict()[name], value)


# --- noise -----------------------------------------------------------------------------------------------------------


def noisy(skeleton, library, noise, n=400):
    clean = MotionReference(library, n, DT, start="zero").reset(everyone(n), generator())
    return clean, noise.apply(clean, skeleton, generator(1))


def test_no_noise_changes_nothing(amp, library):
    clean, same = noisy(amp.skeleton, library("walk"), ResetNoise(), n=3)
    assert same is clean


def test_noise_has_the_standard_deviations_asked_for(robot, library):
    skeleton = robot.skeleton
    noise = ResetNoise(joints=0.05, root_velocity=0.3, joint_velocities=0.7)
    clean, found = noisy(skeleton, library("walk", robot=robot.model), noise)
    turn = quat_multiply(quat_conjugate(clean.local_rotations), found.local_rotations)
    joints = skeleton.dofs_from_local_rotations(turn)
    assert torch.equal(found.root_position, clean.root_position)
    assert angle_between(found.local_rotations[:, 0], clean.local_rotations[:, 0]).max() < 1e-3
    for difference, deviation in (
        (joints, 0.05),
        (found.root_velocity - clean.root_velocity, 0.3),
        (found.dof_velocities - clean.dof_velocities, 0.7),
    ):
        assert difference.mean() == pytest.approx(0.0, abs=0.1 * deviation)
        assert difference.std() == pytest.approx(deviation, rel=0.05)
        assert torch.equal(difference.std(0) > 0.5 * deviation, torch.ones(difference.shape[1], dtype=torch.bool))


def test_each_kind_of_noise_is_on_its_own(amp, library):
    clean, found = noisy(amp.skeleton, library("walk"), ResetNoise(root_velocity=0.3), n=3)
    assert isinstance(found, ResetState)
    assert torch.equal(found.local_rotations, clean.local_rotations)
    assert torch.equal(found.dof_positions, clean.dof_positions)
    assert torch.equal(found.dof_velocities, clean.dof_velocities)
    assert not torch.equal(found.root_velocity, clean.root_velocity)


# --- actions ---------------------------------------------------------------------------------------------------------


def test_absolute_targets_are_offset_plus_scale(robot):
    apply = absolute_targets(robot, torch.device("cpu"))
    zero = torch.zeros(2, robot.skeleton.num_dofs)
    assert torch.equal(apply(zero), robot.action_offset.expand_as(zero))
    torch.testing.assert_close(apply(zero + 0.2), (robot.action_offset + 0.2 * robot.action_scale).expand_as(zero))


def test_a_residual_of_zero_is_the_next_reference_pose(robot, library):
    clips = library("walk", robot=robot.model)
    reference = MotionReference(clips, 3, DT)
    reference.reset(everyone(3), generator())
    apply = reference_offsets(robot, reference, scale=0.5, lead=0.0)
    goal = clips.get_motion_state(reference.clips, reference.times + DT)
    zero = torch.zeros(3, robot.skeleton.num_dofs)
    torch.testing.assert_close(apply(zero), goal.dof_positions, atol=1e-5, rtol=0)


def test_a_residual_turns_the_joint_in_its_own_frame_and_the_lead_makes_up_for_the_lag(amp, library, drawn):
    clips = library("run")
    reference = MotionReference(clips, 3, DT)
    reference.reset(everyone(3), generator())
    action = 0.5 * drawn(0, 3, 28)
    goal = clips.get_motion_state(reference.clips, reference.times + DT)
    lag = torch.tensor([drive.damping / drive.stiffness for drive in amp.dof_drives])
    turn = amp.skeleton.local_rotations_from_dofs(0.4 * action + lag * goal.dof_velocities)
    expected = quat_multiply(goal.local_rotations, turn)[:, 1:]
    targets = reference_offsets(amp, reference, scale=0.4, lead=1.0)(action)
    assert angle_between(amp.skeleton.local_rotations_from_dofs(targets)[:, 1:], expected).max() < 2e-3
