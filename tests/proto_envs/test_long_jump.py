import math

import pytest
import torch

from poselib.rotations import quat_from_yaw
from proto_envs.components.jumping import JumpTrack
from proto_envs.goals import JumpGoal
from proto_envs.tasks.long_jump import (
    flight,
    forward_speed,
    jump_goal,
    landed,
    landing_length,
    long_enough,
    misses,
    off_track,
    progress,
)

FEET = [11, 14]
LINE = 20.0


@pytest.fixture
def jumper(amp, random_bodies, moment):
    """`jumper(way, across, forces, previous, steps)`: all bodies `way` m along a track that goes along y."""

    def make(way, across=0.0, forces=(), previous=10.0, steps=100, ground=0.0):
        bodies = random_bodies(0, 1, 15)
        bodies.body_positions[:] = torch.tensor([5.0 - across, 1.0 + way, ground + 0.9])
        bodies.body_rotations[:, 0] = quat_from_yaw(torch.tensor([math.pi / 2]))
        contact = torch.zeros(1, 15, 3)
        for body, (place, force) in dict(forces).items():
            bodies.body_positions[0, body, 1] = 1.0 + place
            contact[0, body] = torch.tensor(force)
        goal = JumpGoal(
            age=torch.tensor([steps]),
            start=torch.tensor([[5.0, 1.0]]),
            direction=torch.tensor([[0.0, 1.0]]),
            previous_distance=torch.tensor([previous]),
        )
        given = {"steps": torch.tensor([steps]), "ground_height": torch.tensor([ground])}
        return moment(amp, bodies, joint_level={"contact_forces": contact}, jump=goal, **given)

    return make


def land(ctx):
    return landed(ctx, LINE, 50.0)


def test_what_the_policy_sees(jumper):
    found = jump_goal(jumper(12.0, across=0.2, ground=3.0), line=LINE, target=30.0, height=0.95)
    torch.testing.assert_close(found, torch.tensor([[18.0, -0.2, 0.05, 8.0]]), atol=1e-5, rtol=0)


def test_progress_by_hand(jumper):
    def made(way, previous):
        return progress(jumper(way, previous=previous), target=30.0).item()

    assert made(20.0, 10.25) == pytest.approx(0.25, abs=1e-5)
    assert made(20.0, 9.0) == 0.0  # farther than before
    assert made(20.0, 15.0) == 1.0  # no step is that long


def test_speed_counts_along_the_track(jumper):
    context = jumper(3.0)
    torch.testing.assert_close(forward_speed(context), context.state.body_velocities[:, 0, 1])


def test_flight_counts_once_a_foot_is_behind_the_line(jumper):
    assert flight(jumper(19.9), FEET, LINE).item() == 0.0
    assert flight(
        jumper(19.9, forces={FEET[0]: (20.1, (0.0, 0.0, 0.0))}, ground=2.0), FEET, LINE
    ).item() == pytest.approx(0.9)
    assert flight(jumper(19.9, forces={3: (20.1, (0.0, 0.0, 0.0))}), FEET, LINE).item() == 0.0


def test_a_foot_that_takes_off_before_the_line_does_not_land(jumper):
    push = (0.0, 0.0, 800.0)
    taking_off = {FEET[0]: (19.8, push), FEET[1]: (20.3, (0.0, 0.0, 0.0))}
    assert not land(jumper(19.9, forces=taking_off)).item()
    assert land(jumper(19.9, forces={FEET[1]: (20.3, push)})).item()
    assert not land(jumper(22.0, forces={FEET[1]: (22.0, (0.0, 0.0, 49.0))})).item()
    together = {FEET[0]: (22.0, (0.0, 0.0, 26.0)), FEET[1]: (22.0, (0.0, 0.0, 26.0))}
    assert land(jumper(22.0, forces=together)).item()


def test_the_length_is_that_of_the_middle_of_the_body_at_the_landing(jumper):
    touch = {FEET[0]: (23.5, (0.0, 0.0, 100.0))}
    context = jumper(22.0, forces=touch)
    assert landing_length(context, land, LINE).item() == pytest.approx((14 * 2.0 + 3.5) / 15, abs=1e-5)
    assert landing_length(jumper(22.0), land, LINE).item() == 0.0
    assert long_enough(context, land, LINE, 1.5).item() and not long_enough(context, land, LINE, 2.2).item()


def test_an_episode_that_ends_without_a_long_jump_has_failed(jumper):
    def judged(context):
        return misses(
            context,
            land=land,
            outside=lambda ctx: off_track(ctx, 0.5),
            success=lambda ctx: long_enough(ctx, land, LINE, 1.5),
            end=300,
        ).item()

    touch = (0.0, 0.0, 100.0)
    assert not judged(jumper(10.0)) and not judged(jumper(22.0))
    assert not judged(jumper(22.0, forces={FEET[0]: (22.0, touch)}))
    assert judged(jumper(21.0, forces={FEET[0]: (21.0, touch)}))
    assert judged(jumper(10.0, across=0.51)) and judged(jumper(10.0, across=-0.51))
    assert not judged(jumper(10.0, across=0.49))
    assert judged(jumper(10.0, steps=300))


def test_a_track_lies_before_the_robot_and_the_last_distance_is_remembered(amp, random_bodies, moment):
    bodies = random_bodies(0, 2, 15)
    bodies.body_rotations[:, 0] = quat_from_yaw(torch.tensor([0.0, math.pi / 2]))
    generator = torch.Generator()
    track = JumpTrack(2, torch.device("cpu"), line=20.0, goal=30.0)
    track.begin(torch.arange(2), moment(amp, bodies), generator)
    goal = track.context(None)["jump"]
    torch.testing.assert_close(goal.direction, torch.tensor([[1.0, 0.0], [0.0, 1.0]]), atol=1e-6, rtol=0)
    assert torch.equal(goal.start, bodies.body_positions[:, 0, :2])
    assert goal.previous_distance.tolist() == [30.0, 30.0]
    bodies.body_positions[0, 0, 0] += 4.0
    track.step(generator)
    assert goal.previous_distance.tolist() == [30.0, 30.0]
    track.observe(moment(amp, bodies), generator)
    torch.testing.assert_close(track.context(None)["jump"].previous_distance, torch.tensor([26.0, 30.0]))
    line, end = track.markers()
    torch.testing.assert_close(
        end.positions[1, 0, :2], bodies.body_positions[1, 0, :2] + torch.tensor([0.0, 30.0]), atol=1e-4, rtol=0
    )
    assert line.arrows.shape == (2, 1, 3)
