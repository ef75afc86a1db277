"""A student that acts by absolute joint targets imitates a tracker that acts by offsets from the reference."""

from __future__ import annotations

import pytest
import torch

RESIDUAL = {"residual_scale": 0.5, "residual_lead": 0.8, "rewards": "v1", "termination_distance": None}


@pytest.fixture
def pair(make_env):
    """`pair(robot, **task)`: the tracker's environment and the student's, side by side at the same moments of clips."""

    def make(robot, motions=("walk", "kick"), **task):
        fields = {**RESIDUAL, **task}
        tracker = make_env(4, robot, motions=list(motions), task={**fields, "action": "residual"})
        asked = {"observation": "groups", "task": {**fields, "expert_action": "residual"}}
        return tracker, make_env(4, robot, "MaskedMimic", motions=list(motions), **asked)

    return make


def state(env):
    return env.unwrapped.simulator.robot()


def targets(env):
    return env.unwrapped._context(None).targets


@pytest.mark.parametrize("robot", ["AMP", "SMPL"])
def test_the_students_action_leads_where_the_experts_does(pair, robot):
    tracker, student = pair(robot)
    seen, _ = tracker.reset(seed=3)
    shown, _ = student.reset(seed=3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(15):
        torch.testing.assert_close(shown["expert"], seen, atol=1e-3, rtol=1e-4)
        action = 0.4 * torch.rand(tracker.action_space.shape, generator=generator) - 0.2
        same = student.unwrapped.expert_action(action)
        assert same.abs().max() < 1.0
        seen, *_ = tracker.step(action)
        shown, *_ = student.step(same)
        torch.testing.assert_close(targets(student), targets(tracker), atol=1e-6, rtol=1e-6)
        for name in ("body_positions", "body_rotations", "body_velocities"):
            torch.testing.assert_close(getattr(state(student), name), getattr(state(tracker), name), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("robot", "own", "future", "targets"), [("AMP", 223, 360, 28), ("SMPL", 358, 576, 69)])
def test_the_experts_group_is_what_such_a_tracker_sees(pair, robot, own, future, targets):
    for steps in ((1,), (1, 4)):
        tracker, student = pair(robot, future_steps=steps, see_ground=True)
        size = own + 256 + len(steps) * future
        assert tracker.single_observation_space.shape == (size,)
        assert student.single_observation_space["expert"].shape == (size,)
        assert student.single_observation_space["previous_targets"].shape == (targets,)


def test_the_expert_acts_on_the_moment_that_it_is_shown_also_where_an_episode_has_just_begun(pair):
    _, student = pair("AMP", episode_seconds=0.2, residual_lead=0.0)
    student.reset(seed=0)
    skeleton, began = student.unwrapped.robot.skeleton, 0
    for _ in range(13):
        reference = student.unwrapped.components.controls["reference"]
        pose, _ = reference.joints_at(reference.dt)
        action = student.unwrapped.expert_action(torch.zeros(student.action_space.shape))
        _, _, terminated, truncated, _ = student.step(action)
        going_on = ~(terminated | truncated)
        wanted = skeleton.dofs_from_local_rotations(pose)[going_on]
        torch.testing.assert_close(targets(student)[going_on], wanted, atol=1e-5, rtol=1e-5)
        began += int((~going_on).sum())
    assert began >= 8


def test_targets_beyond_the_range_are_clamped(pair):
    tracker, student = pair("AMP", residual_scale=3.0)
    tracker.reset(seed=1)
    student.reset(seed=1)
    far = torch.full(tracker.action_space.shape, 5.0)
    action = student.unwrapped.expert_action(far)
    assert action.abs().max() == 1.0
    assert torch.equal(action, student.unwrapped.expert_action(far.clamp(-1.0, 1.0)))
    tracker.step(far)
    student.step(action)
    robot = student.unwrapped.robot
    inside = action.abs() < 1.0
    balls = torch.tensor(robot.skeleton.ball_dofs)
    inside[:, balls] = inside[:, balls].all(-1, keepdim=True).expand(-1, -1, 3)
    assert inside.any() and not inside.all()
    torch.testing.assert_close(targets(student)[inside], targets(tracker)[inside], atol=2e-6, rtol=1e-6)


def test_an_expert_that_acts_alike_is_taken_at_its_word(make_env):
    env = make_env(2, name="MaskedMimic", motions="walk", observation="groups", output="numpy")
    env.reset(seed=0)
    action = env.action_space.sample()
    assert (env.unwrapped.expert_action(action) == action).all()
    with pytest.raises(ValueError, match=r"want shape \(2, 28\)"):
        env.unwrapped.expert_action(action[:1])


def test_who_shows_no_expert_anything_has_no_actions_of_one(make_env):
    for name, task in (("Mimic", {}), ("MaskedMimic", {"goal": "steering"})):
        env = make_env(2, name=name, motions="walk", task=task)
        with pytest.raises(RuntimeError, match=f"task {name} shows no expert"):
            env.unwrapped.expert_action(torch.zeros(2, 28))
