import math

import pytest
import torch

from proto_envs.components.steering import SteeringCommand
from proto_envs.goals import SteeringGoal
from proto_envs.tasks.facing import face, facing_error, facing_goal, follows_and_faces
from proto_envs.tasks.steering import follow_command, follows, misses, speed_error, steering_goal

DT = 1 / 30
CPU = torch.device("cpu")
NEAR = {"atol": 1e-4, "rtol": 0.0}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def command(n, **given):
    numbers = {
        "speed": (1.2, 6.0),
        "hold": (5.0, 6.6),
        "turn": math.pi / 2,
        "speed_change": 0.3,
        "fresh_share": 0.2,
        "stop_share": 0.05,
    }
    return SteeringCommand(n, DT, CPU, **{**numbers, **given})


@pytest.fixture
def at_origin(amp, random_bodies, moment):
    """A context of n robots, for controls."""
    return lambda n: moment(amp, random_bodies(0, n, 15))


@pytest.fixture
def walking(amp, random_bodies, moment):
    """`walking(velocities, speed, direction, facing, age)`: robots that face x and move so, under one command."""

    def make(velocities, speed, direction=(1.0, 0.0), facing=(1.0, 0.0), age=100):
        n = len(velocities)
        bodies = random_bodies(0, n, 15)
        bodies.body_rotations[:, 0] = torch.tensor([0.0, 0.0, 0.0, 1.0])
        bodies.body_velocities[:, 0, :2] = torch.tensor(velocities)
        goal = SteeringGoal(
            age=torch.full((n,), age),
            direction=torch.tensor([direction] * n),
            speed=torch.full((n,), float(speed)),
            facing=torch.tensor([facing] * n),
        )
        return moment(amp, bodies, steering=goal)

    return make


# --- commands --------------------------------------------------------------------------------------------------------


def test_first_commands_are_uniform(at_origin):
    n = 8000
    control = command(n)
    control.begin(torch.arange(n), at_origin(n), generator())
    goal = control.goal
    for vectors in (goal.direction, goal.facing):
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(n))
        # Uniform on the circle: means of cos, sin, cos 2a and sin 2a vanish.
        angle = torch.atan2(vectors[:, 1], vectors[:, 0])
        for wave in (angle, 2 * angle):
            assert abs(float(torch.cos(wave).mean())) < 0.04 and abs(float(torch.sin(wave).mean())) < 0.04
    assert (goal.speed == 0).float().mean() == pytest.approx(0.05, abs=0.01)
    speed = goal.speed[goal.speed > 0]
    assert speed.min() >= 1.2 and speed.max() <= 6.0
    assert speed.mean() == pytest.approx(3.6, abs=0.06) and speed.var() == pytest.approx(4.8**2 / 12, abs=0.1)
    cosine = (goal.direction * goal.facing).sum(-1)
    assert abs(float(cosine.mean())) < 0.04


def test_changes_come_in_time_and_each_robot_throws_its_own_coin(at_origin):
    n = 6000
    control, context = command(n, hold=(1.0, 2.0), stop_share=0.0), at_origin(6000)
    control.begin(torch.arange(n), context, generator())
    changed_at = torch.zeros(n, dtype=torch.long)
    before = control.goal.rows(torch.arange(n))
    after = {}
    for step in range(1, 61):
        control.step(generator(step))
        assert torch.equal(control.goal.age[changed_at == 0], torch.full_like(changed_at, step)[changed_at == 0])
        control.observe(context, generator(step))
        now = (changed_at == 0) & (control.goal.age == 0)
        changed_at[now] = step
        after |= {
            int(i): (control.goal.direction[i].clone(), float(control.goal.speed[i])) for i in now.nonzero()[:, 0]
        }
        if step < 60:
            same = changed_at == 0
            assert torch.equal(control.goal.direction[same], before.direction[same])
    # Uniform over 30 ... 60 steps.
    assert changed_at.min() == 30 and changed_at.max() == 60
    assert changed_at.float().mean() == pytest.approx(45, abs=0.5)
    directions = torch.stack([after[i][0] for i in range(n)])
    speeds = torch.tensor([after[i][1] for i in range(n)])
    cosine = (directions * before.direction).sum(-1)
    # A fifth goes anywhere, half of that by more than a right angle; the others never do.
    assert (cosine < -1e-3).float().mean() == pytest.approx(0.1, abs=0.015)
    assert ((speeds - before.speed).abs() > 0.3001).float().mean() == pytest.approx(0.2 * 0.88, abs=0.02)
    assert speeds.min() >= 1.2 and speeds.max() <= 6.0


def test_a_new_episode_leaves_the_commands_of_others(at_origin, amp, random_bodies, moment):
    control = command(4)
    control.begin(torch.arange(4), at_origin(4), generator(0))
    before = {name: value.clone() for name, value in control.state_dict().items()}
    control.begin(torch.tensor([2]), moment(amp, random_bodies(1, 1, 15)), generator(1))
    for name, value in control.state_dict().items():
        assert torch.equal(value[[0, 1, 3]], before[name][[0, 1, 3]])
    assert not torch.equal(control.goal.direction[2], before["direction"][2])


def test_arrows_stand_at_the_robots(at_origin):
    control, context = command(3, stop_share=0.0), at_origin(3)
    control.begin(torch.arange(3), context, generator())
    way, facing = control.markers()
    assert torch.equal(way.positions[:, 0], context.state.body_positions[:, 0])
    torch.testing.assert_close(way.arrows.norm(dim=-1)[:, 0], 0.5 * control.goal.speed)
    torch.testing.assert_close(facing.arrows.norm(dim=-1), torch.full((3, 1), 0.5))
    assert way.of(1).positions.shape == (1, 3)


# --- rewards and success ---------------------------------------------------------------------------------------------


def test_relative_reward_by_hand(walking):
    context = walking([(2.0, 0.0), (1.5, 0.4), (2.0, -0.4), (-0.4, 0.0), (-0.6, 0.0)], speed=2.0)
    expected = [1.0, math.exp(-(10 * 0.25**2 + 0.1 * 0.16)), math.exp(-0.016), math.exp(-10 * 1.2**2), 0.0]
    torch.testing.assert_close(follow_command(context, "relative"), torch.tensor(expected))


def test_the_speed_across_counts_whichever_way_the_command_points(walking):
    """The signed sum of the two components would vanish here."""
    diagonal = (math.sqrt(0.5), math.sqrt(0.5))
    context = walking([(1.0 + 0.5, 1.0 - 0.5)], speed=math.sqrt(2.0), direction=diagonal)
    torch.testing.assert_close(follow_command(context, "relative"), torch.tensor([math.exp(-0.1 * 0.5)]))


def test_absolute_reward_by_hand(walking):
    context = walking([(2.0, 0.0), (1.5, 0.4), (-0.1, 0.0)], speed=2.0)
    expected = [1.0, math.exp(-0.25 * (0.25 + 0.016)), 0.0]
    torch.testing.assert_close(follow_command(context, "absolute"), torch.tensor(expected))


@pytest.mark.parametrize(("rule", "scale"), [("relative", 10.0), ("absolute", 0.25)])
def test_to_stand_is_rewarded_when_it_is_commanded(walking, rule, scale):
    context = walking([(0.0, 0.0), (-0.2, 0.0)], speed=0.0)
    torch.testing.assert_close(follow_command(context, rule), torch.tensor([1.0, math.exp(-scale * 0.04)]))
    assert follows(context, rule).tolist() == [True, rule == "absolute" or abs(-0.2) <= 0.2]


def test_success_by_hand(walking):
    context = walking([(2.0, 0.0), (1.61, 0.0), (1.59, 0.0), (2.39, 3.0), (2.41, 0.0)], speed=2.0)
    assert follows(context, "relative").tolist() == [True, True, False, True, False]
    context = walking([(2.0, 0.0), (1.51, 0.0), (1.49, 0.0), (2.0, 1.9), (2.0, 2.1)], speed=2.0)
    assert follows(context, "absolute").tolist() == [True, True, False, True, False]
    torch.testing.assert_close(speed_error(context), torch.tensor([0.0, 0.49, 0.51, 0.0, 0.0]))


def test_a_command_is_judged_only_some_time_after_it_is_given(walking):
    def judged(age):
        met = lambda ctx: follows(ctx, "relative")  # noqa: E731
        return misses(walking([(0.0, 0.0)], speed=2.0, age=age), met, after=2.0).item()

    assert [judged(age) for age in (1, 60, 61, 198)] == [False, False, True, True]


def test_a_mean_speed_is_judged_by_the_way_made(moment, amp, random_bodies):
    """Robots that pulsate between 0 and 2 m/s, three times in the time that counts; one begins anew on the way."""
    control = command(2, average=0.2, hold=(60.0, 60.0))

    def at(x, speed):
        bodies = random_bodies(0, len(x), 15)
        bodies.body_positions[:, 0] = torch.stack([x, torch.zeros_like(x), torch.ones_like(x)], dim=-1)
        bodies.body_velocities[:, 0] = torch.tensor([speed, 0.0, 0.0])
        shown = control.context(None) if len(x) == 2 else {}
        return moment(amp, bodies, **shown)

    def begin(ids):
        control.begin(torch.tensor(ids), at(x[ids], 1.0), generator())
        control.goal.speed.fill_(1.0)
        control.goal.direction.copy_(torch.tensor([1.0, 0.0]))

    x = torch.tensor([0.0, 100.0])
    begin([0, 1])
    for step in range(40):
        speed = 2.0 if step % 2 == 0 else 0.0
        x = x + DT * speed
        control.step(generator())
        context = at(x, speed)
        # At an even step the window of six begins and ends after a fast one.
        torch.testing.assert_close(speed_error(context, 0.2)[0].item(), 0.0 if step > 5 or step % 2 else 1 / 6, **NEAR)
        assert step <= 5 or follows(context, "relative", 0.2).all()
        assert not follows(context, "relative").any()
        control.observe(context, generator())
        if step == 21:
            x[1] = -50.0
            begin([1])
    other = command(2, average=0.2)
    other.load_state_dict(control.state_dict())
    assert torch.equal(other.context(None)["place_before"], control.context(None)["place_before"])


def test_what_the_policy_sees(walking):
    context = walking([(0.0, 0.0)], speed=2.5, direction=(0.0, 1.0), facing=(-1.0, 0.0))
    assert steering_goal(context).tolist() == [[0.0, 1.0, 2.5]]
    assert facing_goal(context).tolist() == [[-1.0, 0.0]]


def test_facing_by_hand(walking):
    for degrees, within in ((0, True), (44, True), (46, False), (90, False), (180, False), (-44, True)):
        angle = math.radians(degrees)
        context = walking([(2.0, 0.0)], speed=2.0, facing=(math.cos(angle), math.sin(angle)))
        assert face(context).item() == pytest.approx(max(math.cos(angle), 0.0), abs=1e-6)
        assert facing_error(context).item() == pytest.approx(abs(angle), abs=1e-6)
        assert follows_and_faces(context, "relative", math.pi / 4).item() is within
