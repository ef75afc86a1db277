import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from poselib.rotations import quat_from_yaw
from proto_envs.components.reaching import ReachTargets
from proto_envs.goals import ReachGoal
from proto_envs.tasks.reach import Reach, closeness, distance_to_target, misses, reach_goal, reached

DT = 1 / 30
CPU = torch.device("cpu")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def facing(bodies, yaw):
    bodies.body_rotations[:, 0] = quat_from_yaw(torch.full((len(bodies.body_positions),), yaw))
    return bodies


def test_targets_are_uniform_in_a_box_that_turns_with_the_robot(amp, random_bodies, moment, plateau):
    n, yaw = 8000, 0.7
    bodies = facing(random_bodies(0, n, 15), yaw)
    context = moment(amp, bodies, terrain=plateau(2.0))
    control = ReachTargets(n, DT, CPU, reach=0.75, heights=(0.05, 1.6), hold=(3.0, 4.0))
    control.begin(torch.arange(n), context, generator())
    offset = control.goal.target - bodies.body_positions[:, 0]
    forward = math.cos(yaw) * offset[:, 0] + math.sin(yaw) * offset[:, 1]
    left = -math.sin(yaw) * offset[:, 0] + math.cos(yaw) * offset[:, 1]
    for side in (forward, left):
        assert side.abs().max() <= 0.75 + 1e-5
        assert side.mean() == pytest.approx(0.0, abs=0.02) and side.var() == pytest.approx(1.5**2 / 12, abs=0.01)
    height = control.goal.target[:, 2] - 2.0
    assert height.min() >= 0.05 - 1e-5 and height.max() <= 1.6 + 1e-5
    assert height.mean() == pytest.approx(0.825, abs=0.02)


def test_a_target_stays_for_3_to_4_s_then_moves_to_around_where_the_robot_is(amp, random_bodies, moment):
    n = 2000
    control = ReachTargets(n, DT, CPU, reach=0.75, heights=(0.05, 1.6), hold=(3.0, 4.0))
    here = facing(random_bodies(0, n, 15), 0.0)
    control.begin(torch.arange(n), moment(amp, here), generator())
    there = facing(random_bodies(0, n, 15), 0.0)
    there.body_positions[:] += 100.0
    before, changed = control.goal.target.clone(), torch.zeros(n)
    for step in range(1, 121):
        control.step(generator())
        control.observe(moment(amp, there), generator(step))
        now = (changed == 0) & (control.goal.target != before).any(-1)
        changed[now] = step
    assert changed.min() == 90 and changed.max() == 120
    assert changed.mean() == pytest.approx(105, abs=1)
    assert (control.goal.target[:, :2] - there.body_positions[:, 0, :2]).abs().max() <= 0.75 + 1e-4


def test_kernels_by_hand(amp, random_bodies, moment):
    bodies = facing(random_bodies(0, 3, 15), math.pi / 2)
    bodies.body_positions[:, 0] = torch.tensor([1.0, 1.0, 0.9])
    target = bodies.body_positions[:, 5] + torch.tensor([[0.0, 0.0, 0.0], [0.1, 0.1, -0.1], [0.0, 0.3, 0.4]])
    goal = ReachGoal(age=torch.full((3,), 61), target=target)
    context = moment(amp, bodies, reach=goal)
    distance = torch.tensor([0.0, math.sqrt(0.03), 0.5])
    torch.testing.assert_close(distance_to_target(context, 5), distance, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(closeness(context, 5), torch.tensor([1.0, math.exp(-0.12), math.exp(-1.0)]))
    near = lambda ctx: reached(ctx, 5, 0.2)  # noqa: E731
    assert near(context).tolist() == [True, True, False]
    assert misses(context, near, 2.0).tolist() == [False, False, True]
    early = moment(amp, bodies, reach=ReachGoal(age=torch.full((3,), 60), target=target))
    assert not misses(early, near, 2.0).any()
    x, y, z = (target[1] - torch.tensor([1.0, 1.0, 0.9])).tolist()
    torch.testing.assert_close(reach_goal(context)[1], torch.tensor([y, -x, z]), atol=1e-5, rtol=0)


def test_a_robot_without_that_hand_is_refused(amp):
    handless = SimpleNamespace(robot=replace(amp, semantic={"head": "head"}))
    with pytest.raises(ValueError, match=r"robot AMP has no 'right_hand'; it has \['head'\]"):
        Reach().goal(handless)
