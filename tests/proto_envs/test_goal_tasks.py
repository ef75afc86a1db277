"""What holds for every task without a reference."""

import math
from dataclasses import fields, replace

import gymnasium
import pytest
import torch

from motionlib import BodyState, MotionLib
from poselib.rotations import quat_apply, quat_from_yaw, quat_multiply
from proto_envs.components.start import StartStates, default_state
from proto_envs.components.terms import any_failure, measure, observe, total_reward
from proto_envs.context import ObjectState
from proto_envs.factory import task_class
from proto_envs.goals import JumpGoal, PathGoal, ReachGoal, SteeringGoal
from proto_envs.registration import TASKS
from proto_envs.tasks.steering import follow_command
from proto_envs.testing import check_vector_env

DT = 1 / 30
TASK_NAMES = ("Style", "Steering", "Facing", "PathFollow", "Reach", "Strike", "LongJump", "GetUp")
GOAL_SIZES = {"Steering": 3, "Facing": 5, "PathFollow": 33, "Reach": 3, "Strike": 15, "LongJump": 4}
QUICK = {"GetUp": {"dropped": 2}}
"""task fields that make a task quick to build"""


@pytest.fixture(scope="module")
def walks():
    return {robot: MotionLib.from_samples(robot.lower(), ["walk", "kick"]) for robot in ("AMP", "SMPL")}


@pytest.fixture
def make(walks):
    made = []

    def make(name, robot="AMP", num_envs=3, **keywords):
        fields_of_task = {**QUICK.get(name, {}), **keywords.pop("task", {})}
        given = {"threads": 1, "motions": walks[robot], "observation": "groups", "task": fields_of_task, **keywords}
        env = gymnasium.make_vec(f"Proto{name}-{robot}-v0", num_envs=num_envs, **given)
        made.append(env)
        return env

    yield make
    for env in made:
        env.close()


def noisy(env, step):
    return torch.rand(env.action_space.shape, generator=torch.Generator().manual_seed(step)) * 2 - 1


# --- as environments -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASK_NAMES)
@pytest.mark.parametrize("robot", ["AMP", "SMPL"])
def test_every_task_keeps_the_contract(make, task, robot):
    check_vector_env(lambda: make(task, robot, 2, task={"episode_seconds": 0.2}), steps=10)


@pytest.mark.parametrize("task", TASK_NAMES)
def test_groups_have_their_sizes(make, task):
    env = make(task)
    sizes = {name: box.shape[0] for name, box in env.single_observation_space.spaces.items()}
    goal = GOAL_SIZES.get(task, 0)
    expected = {"policy": 223 + goal, "style": 10 * 125}
    assert sizes == (expected | {"goal": goal} if goal else expected)
    assert env.sample_style(4).shape == (4, 1250)
    observation, _ = env.reset(seed=0)
    if goal:
        assert torch.equal(observation["policy"][:, -goal:], observation["goal"])


@pytest.mark.parametrize("task", TASK_NAMES)
def test_a_saved_state_goes_on_bit_for_bit(make, assert_equal, task):
    settings = {"episode_seconds": 0.5}
    if task in ("Steering", "Facing", "Reach"):
        settings["hold"] = (0.1, 0.3)
    a, b = make(task, task=settings), make(task, task=settings)
    a.reset(seed=0)
    b.reset(seed=9)
    for step in range(8):
        a.step(noisy(a, step))
        if step < 3:
            b.step(noisy(b, step))
    b.load_state_dict(a.state_dict())
    assert torch.equal(a.sample_style(3), b.sample_style(3))
    for step in range(12):
        assert_equal(a.step(noisy(a, step)), b.step(noisy(b, step)))
    assert_equal(a.state_dict(), b.state_dict())


@pytest.mark.parametrize("task", [name for name in TASK_NAMES if name != "Style"])
def test_without_motions_episodes_begin_at_rest_and_there_is_no_style(make, task):
    env = make(task, motions=None)
    observation, _ = env.reset(seed=0)
    assert "style" not in observation
    assert not env.simulator.robot().dof_velocities.any()
    with pytest.raises(RuntimeError, match=f"task {task} has no motions"):
        env.sample_style(1)


def test_style_without_motions_is_refused(make):
    with pytest.raises(ValueError, match="task Style needs motions"):
        make("Style", motions=None)


def test_a_fall_ends_the_episode_and_counts_as_failed(make):
    env = make("Steering", num_envs=8)
    env.reset(seed=0)
    ended = torch.zeros(8, dtype=torch.bool)
    for step in range(60):
        _, _, terminated, truncated, info = env.step(noisy(env, step))
        assert not truncated.any()
        assert torch.equal(info["metrics"]["failed"] & terminated, terminated)
        ended |= terminated
    assert ended.all()


def test_a_step_is_judged_by_the_goal_that_the_policy_saw(make):
    env = make("Steering", task={"hold": (DT, DT), "stop_share": 0.0}, motions=None)
    env.reset(seed=0)
    command = env.components.controls["goal"]
    for _ in range(3):
        seen = command.goal.rows(torch.arange(3))
        *_, info = env.step(torch.zeros(env.action_space.shape))
        context = env._bare_context(None, env.simulator.robot(), steering=seen)
        torch.testing.assert_close(info["metrics"]["reward/follow_command"], follow_command(context, "relative"))
        assert not torch.equal(command.goal.direction, seen.direction)


def test_success_of_a_goal_is_0_or_1(make):
    env = make("Reach")
    env.reset(seed=0)
    *_, info = env.step(noisy(env, 0))
    assert info["metrics"]["success"].dtype == torch.float32
    assert set(info["metrics"]["success"].tolist()) <= {0.0, 1.0}


def test_clips_that_suit_the_task_are_taken_by_themselves(make):
    env = make("Steering", num_envs=1, motions="auto")
    assert "run" in env.components.controls["style"].motions.names


@pytest.mark.parametrize(
    ("task", "wrong", "message"),
    [
        ("Steering", {"speed": (2.0, 1.0)}, r"speed must grow from low to high, got \(2.0, 1.0\)"),
        ("Steering", {"stop_share": 1.5}, r"stop_share must be in \[0, 1\]"),
        ("Reach", {"reach": -1.0}, "reach must be finite and not negative"),
        ("Style", {"style_steps": (1, 2)}, r"style steps must grow from 0, .* got \(1, 2\)"),
        ("PathFollow", {"samples": 0}, "samples must be at least 1"),
        ("GetUp", {"dropped": 0}, "dropped must be at least 1"),
        ("LongJump", {"line": math.inf}, "line must be finite"),
        ("Facing", {"rule": "other"}, "there are"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(make, task, wrong, message):
    with pytest.raises(ValueError, match=message):
        make(task, task=wrong)


# --- where episodes begin --------------------------------------------------------------------------------------------


def test_the_default_pose_stands_on_the_ground(robot):
    state = default_state(robot, 2, torch.device("cpu"))
    assert float(state.root_position[0, 2]) == robot.default_root_height
    assert not state.dof_velocities.any()


def test_a_share_of_the_episodes_begins_at_rest(amp, walks):
    n = 2000
    start = StartStates(amp, n, torch.device("cpu"), walks["AMP"], others_share=0.25)
    state = start.reset(torch.arange(n), torch.Generator().manual_seed(0))
    resting = ~state.dof_velocities.any(-1)
    assert torch.equal(resting, ~start.from_clip)
    assert resting.float().mean() == pytest.approx(0.25, abs=0.03)
    clip, time = start.clips[start.from_clip], start.times[start.from_clip]
    expected = walks["AMP"].get_motion_state(clip, time)
    torch.testing.assert_close(state.dof_positions[start.from_clip], expected.dof_positions)
    torch.testing.assert_close(state.root_position[start.from_clip], expected.body_positions[:, 0])


# --- the world has no preferred place or direction -------------------------------------------------------------------

YAW, SHIFT = 2.1, torch.tensor([5.0, -3.0, 0.0])


def turned(vectors):
    wide = torch.nn.functional.pad(vectors, (0, 3 - vectors.shape[-1]))
    return quat_apply(quat_from_yaw(torch.tensor(YAW)), wide)[..., : vectors.shape[-1]]


def moved(bodies):
    return BodyState(
        turned(bodies.body_positions) + SHIFT,
        quat_multiply(quat_from_yaw(torch.tensor(YAW)), bodies.body_rotations),
        turned(bodies.body_velocities),
        turned(bodies.body_angular_velocities),
        bodies.contacts,
    )


def goals(drawn, n):
    """For each field of the context: a goal, and the same one in the moved world."""

    def unit(seed):
        return torch.nn.functional.normalize(drawn(seed, n, 2), dim=-1)

    age = torch.full((n,), 100)
    steering = SteeringGoal(age=age, direction=unit(1), speed=drawn(2, n).abs(), facing=unit(3))
    path = PathGoal(age=age, now=drawn(4, n, 3), ahead=drawn(5, n, 11, 3))
    reach = ReachGoal(age=age, target=drawn(6, n, 3))
    jump = JumpGoal(age=age, start=drawn(7, n, 2) - 20.0, direction=unit(8), previous_distance=drawn(9, n) + 30.0)
    jump = replace(jump, start=-20.0 * jump.direction)
    rotations = torch.nn.functional.normalize(drawn(13, n, 1, 4), dim=-1)
    target = ObjectState(drawn(14, n, 1, 3), rotations, drawn(15, n, 1, 3), drawn(16, n, 1, 3), drawn(17, n, 1, 15, 3))
    turn = quat_from_yaw(torch.tensor(YAW))
    return {
        "objects": (
            target,
            ObjectState(
                turned(target.positions) + SHIFT,
                quat_multiply(turn, rotations),
                turned(target.velocities),
                turned(target.angular_velocities),
                turned(target.robot_forces),
            ),
        ),
        "steering": (
            steering,
            replace(steering, direction=turned(steering.direction), facing=turned(steering.facing)),
        ),
        "path": (path, replace(path, now=turned(path.now) + SHIFT, ahead=turned(path.ahead) + SHIFT)),
        "reach": (reach, replace(reach, target=turned(reach.target) + SHIFT)),
        "jump": (jump, replace(jump, start=turned(jump.start) + SHIFT[:2], direction=turned(jump.direction))),
    }


@pytest.mark.parametrize("task", TASK_NAMES)
def test_turning_and_moving_the_world_changes_nothing(task, amp, make, random_bodies, moment, drawn):
    n = 16
    components = make(task, num_envs=1).components
    bodies, forces = random_bodies(0, n, 15), 100.0 * drawn(10, n, 15, 3)
    both = goals(drawn, n)
    joints = {"dof_positions": drawn(11, n, 28), "dof_velocities": drawn(12, n, 28)}
    results = []
    for which, state, force in ((0, bodies, forces), (1, moved(bodies), turned(forces))):
        given = {name: pair[which] for name, pair in both.items()}
        context = moment(amp, state, joint_level={"contact_forces": force, **joints}, **given)
        groups = {k: observe(v, context) for k, v in components.observations.items() if k != "style"}
        reward, raw = total_reward(components.rewards, context, torch.zeros(n, dtype=torch.bool))
        ended = any_failure(components.terminations, context)
        results.append((*groups.values(), reward, *raw.values(), ended, *measure(components.metrics, context).values()))
        if task != "GetUp":
            assert raw or task == "Style"
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, atol=2e-4, rtol=1e-4)


def test_every_registered_task_is_here_or_has_tests_of_its_own():
    assert set(TASKS) >= set(TASK_NAMES)
    assert {field.name for field in fields(task_class("Facing"))} >= {"speed", "rule", "facing_tolerance"}
