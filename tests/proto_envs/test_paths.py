import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from proto_envs.components.paths import PathFollower, PathShape, clamped_walk, draw_paths
from proto_envs.goals import PathGoal
from proto_envs.tasks.path_follow import follow_path, misses, near_path, off_path, path_ahead, path_distance

DT = 1 / 30
SHAPE = PathShape(
    vertices=156,
    spacing=0.1,
    start_speed=1.5,
    max_speed=5.0,
    acceleration=1.0,
    turn_rate=2.0,
    sharp_turn_share=0.02,
    start_turn=math.pi,
    heights=(0.7, 1.5),
)
HEAD = 2


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@given(seed=st.integers(0, 1000), steps=st.integers(1, 40), size=st.floats(0.0, 3.0), width=st.floats(0.0, 2.0))
@settings(max_examples=50, deadline=None)
def test_a_clamped_walk_is_the_one_made_step_by_step(seed, steps, size, width):
    draw = torch.rand(4, 3, steps, generator=generator(seed))
    increments, low = size * (2 * draw[0] - 1), draw[1] - 1.0
    high = low + width * draw[2]
    start = draw[3, :, 0] - 0.5
    expected = [start]
    for t in range(steps):
        expected.append(torch.minimum(torch.maximum(expected[-1] + increments[:, t], low[:, t]), high[:, t]))
    torch.testing.assert_close(clamped_walk(start, increments, low, high), torch.stack(expected, 1), atol=1e-5, rtol=0)


def test_paths_keep_to_their_numbers():
    n = 400
    start, heading = torch.randn(n, 2, generator=generator(1)), torch.rand(n, generator=generator(2)) * 6.0
    paths = draw_paths(SHAPE, start, heading, generator(3))
    assert paths.shape == (n, 156, 3)
    torch.testing.assert_close(paths[:, 0, :2], start)
    height = paths[..., 2]
    assert height.min() >= 0.7 - 1e-6 and height.max() <= 1.5 + 1e-6
    assert height[:, 0].mean() == pytest.approx(1.1, abs=0.04) and height[:, 0].std() == pytest.approx(
        0.8 / 12**0.5, abs=0.02
    )
    climb = height.diff(dim=1) / 0.1
    assert climb.abs().max() <= 0.5 + 1e-4
    steps = paths[..., :2].diff(dim=1)
    speed = steps.norm(dim=-1) / 0.1
    assert speed.max() <= 5.0 + 1e-3
    assert (speed <= 1.0 + 4.0 * (height[:, :-1] - 0.7) / 0.5 + 1e-3).all()
    assert speed[:, 0].max() <= 1.5 and speed[:, 0].mean() > 0.5
    # Faster by at most 1 m/s2; slower by more only where the height forbids the speed.
    assert (speed.diff(dim=1) <= 0.1 + 1e-3).all()
    moving = (speed[:, 1:] > 0.05) & (speed[:, :-1] > 0.05)
    angle = torch.atan2(steps[..., 1], steps[..., 0])
    bend = (angle.diff(dim=1) + math.pi) % (2 * math.pi) - math.pi
    sharp = bend.abs()[moving] > 0.2 + 2e-2
    assert sharp.float().mean() == pytest.approx(0.02 * (1 - 0.2 / math.pi), abs=0.004)
    first = (angle[:, 0] - heading + math.pi) % (2 * math.pi) - math.pi
    assert abs(float(torch.cos(first).mean())) < 0.12 and first.abs().max() > 2.5


def test_paths_can_begin_straight_on():
    shape = replace(SHAPE, vertices=11, start_turn=0.0, turn_rate=0.0, sharp_turn_share=0.0)
    heading = torch.tensor([0.3, -2.0])
    steps = draw_paths(shape, torch.zeros(2, 2), heading, generator())[..., :2].diff(dim=1)
    torch.testing.assert_close(
        torch.atan2(steps[..., 1], steps[..., 0]), heading.unsqueeze(1).expand(2, 10), atol=1e-3, rtol=0
    )


@pytest.fixture
def follower(amp, random_bodies, moment):
    control = PathFollower(3, DT, torch.device("cpu"), shape=SHAPE, head=HEAD, samples=11, sample_spacing=0.5)
    context = moment(amp, random_bodies(0, 3, 15))
    control.begin(torch.arange(3), context, generator())
    return control, context


def test_a_path_begins_under_the_head_and_plays_in_time(follower):
    control, context = follower
    goal = control.context(None)["path"]
    torch.testing.assert_close(goal.now[:, :2], context.state.body_positions[:, HEAD, :2])
    for step in range(1, 301):
        control.step(generator())
        if step % 30 == 0:  # exactly at a vertex, ten of which make a second
            goal = control.context(None)["path"]
            torch.testing.assert_close(goal.now, control.paths[:, step // 3], atol=1e-4, rtol=0)
            torch.testing.assert_close(goal.ahead[:, 4], control.paths[:, step // 3 + 20], atol=1e-4, rtol=0)
    # The last sample, five seconds ahead, is still on the path.
    assert not torch.equal(goal.ahead[:, -1], goal.ahead[:, -2])
    some = torch.tensor([2, 0])
    assert torch.equal(control.context(some)["path"].ahead, goal.ahead[some])


def test_between_vertices_a_path_is_straight_and_at_its_end_it_rests(follower):
    control, _ = follower
    middle = control.at(torch.tensor([[1.05]] * 3))[:, 0]
    torch.testing.assert_close(middle, 0.5 * (control.paths[:, 10] + control.paths[:, 11]), atol=1e-4, rtol=0)
    assert torch.equal(control.at(torch.tensor([[99.0]] * 3))[:, 0], control.paths[:, -1])


@pytest.fixture
def heads(amp, random_bodies, moment, plateau):
    """`heads(offsets, age)`: heads that are off their points by (dx, dy, dz)."""

    def make(offsets, age=100, ground=0.0):
        n = len(offsets)
        bodies = random_bodies(0, n, 15)
        now = torch.tensor([[3.0, 4.0, 1.2]]).repeat(n, 1)
        bodies.body_positions[:, HEAD] = now - torch.tensor(offsets) + torch.tensor([0.0, 0.0, ground])
        bodies.body_rotations[:, 0] = torch.tensor([0.0, 0.0, math.sin(math.pi / 4), math.cos(math.pi / 4)])
        ahead = now.unsqueeze(1) + torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.1]])
        goal = PathGoal(age=torch.full((n,), age), now=now, ahead=ahead)
        return moment(amp, bodies, path=goal, terrain=plateau(ground))

    return make


def test_reward_by_hand(heads):
    context = heads([(0.0, 0.0, 0.0), (0.3, 0.4, 0.0), (0.3, -0.4, 0.2)])
    place, height = math.exp(-2 * 0.25), math.exp(-10 * 0.04)
    expected = [1.0, 2 * place / (place + 1), 2 * place * height / (place + height)]
    torch.testing.assert_close(follow_path(context, HEAD, True), torch.tensor(expected), atol=1e-5, rtol=0)
    torch.testing.assert_close(follow_path(context, HEAD, False), torch.tensor([1.0, place, place]))
    on_a_hill = heads([(0.3, -0.4, 0.2)], ground=7.0)
    torch.testing.assert_close(follow_path(on_a_hill, HEAD, True), torch.tensor(expected[2:]), atol=1e-5, rtol=0)


def test_what_the_policy_sees(heads):
    context = heads([(0.5, 0.0, 0.3)])
    # Facing y: what is on x lies to the right.
    expected = [0.0, -0.5, 0.3, 0.0, -1.5, 0.4]
    torch.testing.assert_close(path_ahead(context, HEAD, True)[0], torch.tensor(expected), atol=1e-5, rtol=0)
    flat = [0.0, -0.5, 0.0, -1.5]
    torch.testing.assert_close(path_ahead(context, HEAD, False)[0], torch.tensor(flat), atol=1e-5, rtol=0)


def test_failures_by_hand(heads):
    offsets = [(1.9, 0.0, 3.0), (2.1, 0.0, 0.0), (0.0, 0.0, 0.6), (2.5, 2.5, 2.5), (0.0, 0.0, 0.4)]
    late = heads(offsets, age=21)
    near = lambda ctx: near_path(ctx, HEAD, 2.0)  # noqa: E731
    assert near(late).tolist() == [True, False, True, False, True]
    assert misses(late, near).tolist() == [False, True, False, True, False]
    assert not misses(heads(offsets, age=10), near).any()
    assert off_path(late, HEAD, 4.0, 0.5).tolist() == [True, False, True, True, False]
    assert off_path(late, HEAD, 4.0, math.inf).tolist() == [False, False, False, True, False]
    assert not off_path(heads(offsets, age=20), HEAD, 4.0, 0.5).any()
    torch.testing.assert_close(path_distance(late, HEAD)[:2], torch.tensor([1.9, 2.1]), atol=1e-5, rtol=0)
