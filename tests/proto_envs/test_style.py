import math

import pytest
import torch

from poselib.rotations import quat_apply, quat_from_yaw, quat_multiply, quat_normalize, rotation_6d_from_quat
from proto_envs.components.start import StartStates
from proto_envs.components.style import StyleHistory, style_features, style_history
from proto_envs.context import Context, ResetState

DT = 1 / 30
CPU = torch.device("cpu")


def context_of(robot, state, **given):
    n = len(state.body_positions)
    zeros = torch.zeros(n, robot.skeleton.num_dofs)
    steps, ground = torch.zeros(n, dtype=torch.long), torch.zeros(n)
    return Context(
        robot=robot,
        dt=DT,
        state=state,
        steps=steps,
        targets=zeros,
        previous_targets=zeros,
        ground_height=ground,
        **given,
    )


def state_at(library, clips, times):
    moment = library.get_motion_state(clips, times)
    return ResetState(
        root_position=moment.body_positions[:, 0],
        local_rotations=moment.local_rotations,
        dof_positions=moment.dof_positions,
        root_velocity=moment.body_velocities[:, 0],
        root_angular_velocity=moment.body_angular_velocities[:, 0],
        dof_velocities=moment.dof_velocities,
    )


def seen(history, robot, ids=None):
    """What the observation kernel shows."""
    n = len(history.start.clips) if ids is None else len(ids)
    state = type("State", (), {"body_positions": torch.zeros(n, 1, 3)})()
    return style_history(context_of(robot, state, **history.context(ids)))


def test_playing_a_clip_and_sampling_it_are_the_same(robot, library, make_simulator):
    n, steps = 6, (0, 1, 4)
    clips = library("walk", "kick", robot=robot.model)
    start = StartStates(robot, n, CPU, clips)
    history = StyleHistory(robot, n, DT, clips, start, steps=steps)
    sample = history.sample(n, torch.Generator().manual_seed(5))
    # The same draws again, to know which moments were sampled.
    generator = torch.Generator().manual_seed(5)
    chosen = clips.sample_motions(n, generator)
    earliest = torch.where(clips.loops[chosen], 0.0, 4 * DT)
    times = earliest + torch.rand(n, generator=generator) * (clips.durations[chosen] - earliest)

    simulator = make_simulator(robot, n)
    everyone = torch.arange(n)
    history.begin(everyone, context_of(robot, simulator.robot()), generator)
    for back in range(4, -1, -1):
        simulator.set_state(everyone, state_at(clips, chosen, times - back * DT))
        history.observe(context_of(robot, simulator.robot()), generator)
    torch.testing.assert_close(seen(history, robot), sample, atol=2e-4, rtol=1e-4)


def test_an_episode_from_a_clip_has_the_clips_past_and_one_from_rest_has_stood_still(amp, library, make_simulator):
    n = 8
    clips = library("walk")
    start = StartStates(amp, n, CPU, clips, others_share=0.5)
    history = StyleHistory(amp, n, DT, clips, start, steps=(0, 1, 2))
    simulator, everyone, generator = make_simulator(amp, n), torch.arange(n), torch.Generator().manual_seed(1)
    simulator.set_state(everyone, start.reset(everyone, generator))
    history.begin(everyone, context_of(amp, simulator.robot()), generator)
    frames = seen(history, amp).unflatten(1, (3, -1))
    assert 0 < int(start.from_clip.sum()) < n
    for i in range(n):
        if not start.from_clip[i]:
            assert torch.equal(frames[i, 0], frames[i, 1]) and torch.equal(frames[i, 0], frames[i, 2])
            continue
        simulator.set_state(torch.tensor([0]), state_at(clips, start.clips[i : i + 1], start.times[i : i + 1] - 2 * DT))
        history.observe(context_of(amp, simulator.robot()), generator)
        torch.testing.assert_close(seen(history, amp)[0].unflatten(0, (3, -1))[0], frames[i, 2], atol=2e-4, rtol=1e-4)


def test_the_newest_moment_comes_first_and_a_new_episode_forgets_the_old(amp, library, make_simulator, resting):
    n = 2
    clips = library("walk")
    start = StartStates(amp, n, CPU, None)
    history = StyleHistory(amp, n, DT, clips, start, steps=(0, 2))
    simulator, everyone, generator = make_simulator(amp, n), torch.arange(n), torch.Generator()
    heights = []
    for step in range(7):
        simulator.set_state(everyone, resting(amp, n, height=1.0 + step))
        now = context_of(amp, simulator.robot())
        if step == 0:
            history.begin(everyone, now, generator)
        else:
            history.observe(now, generator)
        heights.append(seen(history, amp).unflatten(1, (2, -1))[0, :, 0].tolist())
    assert heights == [[1 + k, 1 + max(k - 2, 0)] for k in range(7)]
    simulator.set_state(everyone, resting(amp, n, height=50.0))
    history.begin(torch.tensor([1]), context_of(amp, simulator.robot(torch.tensor([1]))), generator)
    both = seen(history, amp).unflatten(1, (2, -1))[:, :, 0]
    assert both.tolist() == [[7.0, 5.0], [50.0, 50.0]]
    assert torch.equal(seen(history, amp, torch.tensor([1])), seen(history, amp)[1:])


def test_features_by_hand(amp, drawn):
    local = quat_normalize(drawn(0, 1, 15, 4))
    yaw = quat_from_yaw(torch.tensor([math.pi / 2]))
    root = (
        torch.tensor([[1.0, 2.0, 0.9]]),
        yaw,
        torch.tensor([[0.0, 3.0, 0.5]]),
        torch.tensor([[1.0, 0.0, 2.0]]),
    )
    keys = root[0].unsqueeze(1) + torch.tensor([[[0.0, 1.0, 0.0], [-1.0, 0.0, 0.2]]])
    speeds = drawn(1, 1, 28)
    found = style_features(amp.skeleton, root, torch.tensor([0.8]), local, speeds, keys)[0]
    # Facing y: forward is y, left is -x.
    expected = [0.8, 1, 0, 0, 0, 0, 1, 3.0, 0.0, 0.5, 0.0, -1.0, 2.0]
    torch.testing.assert_close(found[:13], torch.tensor(expected), atol=1e-6, rtol=0)
    moving = [i for i, joint in enumerate(amp.skeleton.joints) if i and joint.names]
    assert len(moving) == 12
    torch.testing.assert_close(found[13:85], rotation_6d_from_quat(local[0, moving]).flatten())
    torch.testing.assert_close(found[85:113], speeds[0])
    torch.testing.assert_close(found[113:], torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.2]), atol=1e-6, rtol=0)


def test_features_do_not_depend_on_place_and_direction(smpl, drawn):
    n = 5
    local, speeds, keys = quat_normalize(drawn(0, n, 24, 4)), drawn(1, n, 69), drawn(2, n, 4, 3)
    position, orientation, velocity, angular = (
        drawn(3, n, 3),
        quat_normalize(drawn(4, n, 4)),
        drawn(5, n, 3),
        drawn(6, n, 3),
    )
    yaw, shift = quat_from_yaw(drawn(7, n)), drawn(8, n, 3)
    a = style_features(smpl.skeleton, (position, orientation, velocity, angular), position[:, 2], local, speeds, keys)
    root = (
        quat_apply(yaw, position) + shift,
        quat_multiply(yaw, orientation),
        quat_apply(yaw, velocity),
        quat_apply(yaw, angular),
    )
    moved_keys = quat_apply(yaw.unsqueeze(1), keys) + shift.unsqueeze(1)
    b = style_features(smpl.skeleton, root, position[:, 2], local, speeds, moved_keys)
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_samples_of_a_clip_that_ends_have_their_whole_past_in_it(amp, library):
    clips = library("kick")
    history = StyleHistory(amp, 1, DT, clips, StartStates(amp, 1, CPU, clips))
    drawn_clips, drawn_times = [], []

    def watch(ids, times):
        drawn_clips.append(ids)
        drawn_times.append(times)
        return real(ids, times)

    real = clips.get_motion_state
    clips.get_motion_state = watch
    history.sample(500, torch.Generator().manual_seed(0))
    times = drawn_times[0]
    assert times.min() >= -1e-6 and times.max() <= float(clips.durations[0]) + 1e-6
    newest = times.view(500, 10)[:, 0]
    middle = 0.5 * (9 * DT + float(clips.durations[0]))
    assert newest.mean() == pytest.approx(middle, abs=0.05)


# --- in an environment: a history that is not begun or not moved on is a style that nobody can learn ------------------


def past_of_clips(env, ids):
    """What the ten latest moments were, had the robots played the clips up to where their episodes begin."""
    style, start = env.components.controls["style"], env.components.controls["start"]
    return style._frames_at(start.clips[ids], start.times[ids], torch.arange(10))


def test_every_episode_begins_with_the_past_of_its_clip_however_it_begins(make_env):
    env = make_env(3, name="Style", observation="groups", motions=["walk", "kick"], task={"episode_seconds": 0.2})
    everyone = torch.arange(3)
    observation, _ = env.reset(seed=0)
    torch.testing.assert_close(
        observation["style"].unflatten(1, (10, -1)), past_of_clips(env, everyone), atol=1e-3, rtol=0
    )
    began = 0
    for step in range(20):
        if step == 8:
            mask = torch.tensor([False, True, False])
            observation, _ = env.reset(options={"reset_mask": mask})
            style = observation["style"].unflatten(1, (10, -1))
            torch.testing.assert_close(style[1], past_of_clips(env, everyone[1:2])[0], atol=1e-3, rtol=0)
        before = observation["style"].unflatten(1, (10, -1))
        observation, _, terminated, truncated, info = env.step(torch.randn(3, 28))
        style = observation["style"].unflatten(1, (10, -1))
        for i in everyone.tolist():
            after = style[i]
            if terminated[i] or truncated[i]:
                began += 1
                torch.testing.assert_close(after, past_of_clips(env, everyone[i : i + 1])[0], atol=1e-3, rtol=0)
                after = info["final_obs"]["style"][i].unflatten(0, (10, -1))
            assert torch.equal(after[1:], before[i, :-1]) and not torch.equal(after[0], before[i, 0])
    assert began >= 6


def test_after_ten_steps_nothing_of_the_clip_is_left(make_env):
    """The newest moment is where the robot is now, the oldest where it was nine steps ago."""
    env = make_env(2, name="Style", observation="groups", motions="walk", task={"fall_height": None})
    env.reset(seed=0)
    simulator = env.simulator
    for step in range(10):
        observation, *_ = env.step(torch.stack([torch.zeros(28), torch.ones(28)]))
        heights = simulator.robot().body_positions[:, 0, 2]
        newest = observation["style"].unflatten(1, (10, -1))[:, 0]
        torch.testing.assert_close(newest[:, 0], heights)
        if step == 0:
            first = newest
    oldest = observation["style"].unflatten(1, (10, -1))[:, 9]
    assert torch.equal(oldest, first)


def test_samples_may_be_asked_of_certain_clips(make_env):
    env = make_env(2, name="Style", observation="groups", motions=["walk", "kick"]).unwrapped
    assert env.style_clips == ("walk", "kick")
    env.reset(seed=0)
    draws = {clip: env.sample_style(400, clips=torch.full((400,), i)) for i, clip in enumerate(env.style_clips)}
    # The walk goes on all the time, the kick hardly: what is seen of the root's speed is of that clip alone.
    alone = {clip: make_env(2, name="Style", observation="groups", motions=clip).unwrapped for clip in env.style_clips}
    for clip, only in alone.items():
        only.reset(seed=1)
        drawn, of_one = draws[clip], only.sample_style(400)
        error = (drawn.var(0) / 400 + of_one.var(0) / 400).sqrt()
        assert ((drawn.mean(0) - of_one.mean(0)).abs() <= 5.0 * error + 1e-3).all()  # 1 in 2 million for each number
    assert (draws["walk"].mean(0) - draws["kick"].mean(0)).abs().max() > 1.0
    assert make_env(2, name="Reach", motions=None).unwrapped.style_clips == ()
