"""The whole reward and all metrics of every task at one moment, worked out by hand from the formulas of its sources."""

import math
from dataclasses import replace

import gymnasium
import pytest
import torch

from motionlib import BodyState
from poselib.kinematics import forward_kinematics
from poselib.rotations import quat_from_euler
from proto_envs.components.terms import measure, total_reward
from proto_envs.context import ObjectState
from proto_envs.goals import JumpGoal, PathGoal, ReachGoal, SteeringGoal
from proto_envs.registration import TASKS
from proto_envs.tasks.scene import both, closeness, misses, on_the_way, within

HEAD, RIGHT_HAND, FEET = 2, 5, (11, 14)
EXP = math.exp


@pytest.fixture(scope="module")
def components():
    """`components(task, **fields)`: what the task is made of on the AMP humanoid; each is made once."""
    made = {}

    def make(name, **fields):
        key = (name, *sorted(fields.items()))
        if key not in made:
            made[key] = gymnasium.make_vec(f"Proto{name}-AMP-v0", num_envs=1, threads=1, task=fields)
        return made[key].components

    yield make
    for env in made.values():
        env.close()


@pytest.fixture
def judged(components, moment, amp):
    """`judged(task, bodies, fields={}, **context)`: total reward, raw terms and metrics of one moment, in floats."""

    def judge(name, bodies, fields=None, steps=100, **given):
        parts = components(name, **(fields or {}))
        joint_level = {"contact_forces": torch.zeros(1, 15, 3), **given.pop("joint_level", {})}
        ctx = moment(amp, bodies, joint_level=joint_level, steps=torch.tensor([steps]), **given)
        total, raw = total_reward(parts.rewards, ctx, torch.tensor([False]))
        metrics = measure(parts.metrics, ctx)
        return total.item(), {k: v.item() for k, v in raw.items()}, {k: v.item() for k, v in metrics.items()}

    return judge


def standing(height=0.9, velocity=(0.0, 0.0, 0.0)):
    """All 15 bodies at one point over the origin, unturned."""
    return BodyState(
        body_positions=torch.tensor([0.0, 0.0, height]).repeat(1, 15, 1),
        body_rotations=torch.tensor([0.0, 0.0, 0.0, 1.0]).repeat(1, 15, 1),
        body_velocities=torch.tensor(velocity).repeat(1, 15, 1),
        body_angular_velocities=torch.zeros(1, 15, 3),
        contacts=torch.zeros(1, 15, dtype=torch.bool),
    )


def about(value):
    return pytest.approx(value, abs=2e-4)


# --- one moment of each task -----------------------------------------------------------------------------------------


@pytest.fixture
def tracked(judged, amp):
    """`tracked(task, **fields)`: every body is (0.3, 0, 0.1) m and 0.2 rad off its reference, and too fast."""

    def judge(name, **fields):
        reference = standing()
        bodies = standing()
        bodies.body_positions[..., :] += torch.tensor([0.3, 0.0, 0.1])
        bodies.body_rotations[:] = quat_from_euler("xyz", torch.tensor([0.0, 0.2, 0.0]))
        bodies.body_velocities[:] = 0.6
        bodies.body_angular_velocities[..., 1] = 1.0
        targets, forces, velocities, contact = (torch.zeros(1, 28) for _ in range(4))
        targets[0, 3], targets[0, 20] = 3.0, -4.0  # a change of 5 rad
        forces[0, :3], velocities[0, :3] = 10.0, -2.0  # 60 W
        contact = torch.zeros(1, 15, 3)
        contact[0, FEET[0], 2] = 300.0  # the reference touches with no foot
        middle, half = amp.skeleton.dof_limits.mean(-1), 0.5 * amp.skeleton.dof_limits.diff(dim=-1).squeeze(-1)
        positions = middle.unsqueeze(0).clone()
        positions[0, 7], positions[0, 9] = middle[7] + 0.8 * half[7], middle[9] - 0.9 * half[9] - 0.02
        joint_level = {"dof_forces": forces, "dof_velocities": velocities, "contact_forces": contact}
        joint_level["dof_positions"] = positions
        return judged(name, bodies, fields, motion=reference, targets=targets, joint_level=joint_level)

    return judge


SQUARE = (0.09 + 0.01) / 3  # of the position error, per axis


@pytest.mark.parametrize(
    ("rewards", "total"),
    [
        (
            "v3",
            0.5 * EXP(-25 * SQUARE)
            + 0.3 * EXP(-5 * 0.04)
            + 0.1 * EXP(-0.5 * 0.36)
            + 0.2 * EXP(-0.1 / 3)
            + 0.2 * EXP(-100 * 0.01)
            - 0.02 * 5
            - 1e-5 * 60
            - 0.1 * 0.5,
        ),
        (
            "v1",
            0.5 * EXP(-100 * SQUARE)
            + 0.3 * EXP(-2 * 0.2)
            + 0.1 * EXP(-0.5 * 0.36)
            + 0.1 * EXP(-0.1 / 3)
            + 0.2 * EXP(-100 * 0.01)
            - 0.0005 * 60,
        ),
        (
            "tight",
            0.5 * EXP(-100 * SQUARE) + 0.3 * EXP(-5 * 0.04) + 0.1 * EXP(-2.1 * 0.36) + 0.1 * EXP(-0.15 / 3),
        ),
    ],
)
def test_mimic(tracked, rewards, total):
    found, _, metrics = tracked("Mimic", rewards=rewards)
    assert found == about(total)
    distance = math.sqrt(0.1)
    assert metrics["mpjpe_mm"] == pytest.approx(1000 * distance, rel=1e-5)
    assert metrics["mpjpe_root_relative_mm"] == pytest.approx(0.0, abs=1e-3)
    assert [metrics["mean_body_error"], metrics["max_body_error"]] == pytest.approx([distance] * 2, rel=1e-5)
    assert not metrics["failed"] and not metrics["failed_max_error"]


def test_mimic_is_lost_by_the_mean_or_more_strictly_by_one_body(judged):
    bodies, reference = standing(), standing()
    bodies.body_positions[0, 7, 0] = 3.0
    for distance, fails in ((0.5, False), (0.51, True)):
        bodies.body_positions[0, 3:7, 1] = (15 * distance - 3.0) / 4
        _, _, metrics = judged("Mimic", bodies, {"rewards": "tight"}, motion=reference)
        assert metrics["mean_body_error"] == pytest.approx(distance, rel=1e-5) and metrics["failed"] == fails
        assert metrics["max_body_error"] == pytest.approx(3.0) and metrics["failed_max_error"]
    bodies.body_positions[0, 3, 1] = math.nan
    assert judged("Mimic", bodies, {"rewards": "tight"}, motion=reference)[2]["failed"], "NaN is no success"


def test_masked_mimic(tracked):
    found, _, metrics = tracked("MaskedMimic")
    assert found == about(
        0.5 * EXP(-100 * SQUARE)
        + 0.3 * EXP(-2 * 0.2)
        + 0.1 * EXP(-0.5 * 0.36)
        + 0.1 * EXP(-0.1 / 3)
        + 0.2 * EXP(-100 * 0.01)
        - 0.0005 * 60
    )
    assert metrics["mpjpe_mm"] == pytest.approx(1000 * math.sqrt(0.1), rel=1e-5)


def test_deployable_mimic(tracked):
    found, raw, metrics = tracked("DeployableMimic")
    assert found == about(
        0.5 * EXP(-((0.2 / 0.4) ** 2))
        + EXP(-0.01 / 0.3**2)  # only the height is off: the reference comes along over the ground
        + EXP(-((0.2 / 0.4) ** 2))
        + EXP(-3 * 0.36)
        + EXP(-1.0 / 3.14**2)
        - 0.1 * 5
        - 10 * 0.02
    )
    assert raw["joint_limits"] == about(0.02)
    assert metrics["mpjpe_carried_mm"] == pytest.approx(100, rel=1e-4)
    assert metrics["mpjpe_mm"] == pytest.approx(1000 * math.sqrt(0.1), rel=1e-5)
    assert not metrics["failed"] and not metrics["failed_max_error"]
    assert tracked("DeployableMimic", height_distance=0.09)[2]["failed"]


def test_style(judged):
    total, raw, metrics = judged("Style", standing(), {"alive": 0.25})
    assert (total, raw, metrics) == (0.25, {"alive": 1.0}, {"success": 1.0, "failed": False})


@pytest.fixture
def command():
    """2 m/s along x for a second, facing 60 degrees to the left."""
    return SteeringGoal(
        age=torch.tensor([30]),
        direction=torch.tensor([[1.0, 0.0]]),
        speed=torch.tensor([2.0]),
        facing=torch.tensor([[0.5, math.sqrt(0.75)]]),
    )


def test_steering(judged, command):
    total, _, metrics = judged("Steering", standing(velocity=(1.5, 0.3, 0.7)), steering=command)
    assert total == about(EXP(-(10 * 0.25**2 + 0.1 * 0.3**2)))
    assert metrics == {"success": 0.0, "failed": False, "speed_error": about(0.5)}
    late = replace(command, age=torch.tensor([61]))
    _, _, metrics = judged("Steering", standing(velocity=(1.5, 0.3, 0.7)), steering=late)
    assert metrics["failed"], "judged after 60 steps"
    _, _, metrics = judged("Steering", standing(velocity=(1.7, 0.3, 0.7)), steering=late)
    assert metrics == {"success": 1.0, "failed": False, "speed_error": about(0.3)}
    total, _, metrics = judged("Steering", standing(velocity=(1.5, 0.3, 0)), {"rule": "absolute"}, steering=command)
    assert total == about(EXP(-0.25 * (0.5**2 + 0.1 * 0.3**2)))


def test_facing(judged, command):
    total, raw, metrics = judged("Facing", standing(velocity=(1.7, 0.3, 0.7)), steering=command)
    assert total == about(0.7 * EXP(-(10 * 0.15**2 + 0.1 * 0.3**2)) + 0.3 * 0.5)
    assert raw["face"] == about(0.5) and metrics["facing_error"] == about(math.pi / 3)
    assert metrics["success"] == 0.0, "60 degrees are more than 45"


def test_path_follow(judged):
    path = torch.tensor([[0.3, -0.4, 1.0]])
    goal = PathGoal(age=torch.tensor([15]), now=path, ahead=path.repeat(1, 11, 1))
    total, _, metrics = judged("PathFollow", standing(), path=goal)
    place, height = EXP(-2 * 0.25), EXP(-10 * 0.01)
    assert total == about(2 * place * height / (place + height))
    assert metrics == {"success": 1.0, "failed": False, "path_distance": about(0.5)}
    assert judged("PathFollow", standing(), {"with_height": False}, path=goal)[0] == about(place)
    assert judged("PathFollow", standing(), {"success_distance": 0.49}, path=goal)[2]["failed"]


def test_reach(judged):
    goal = ReachGoal(age=torch.tensor([61]), target=torch.tensor([[0.3, 0.0, 1.3]]))
    total, _, metrics = judged("Reach", standing(), reach=goal)
    assert total == about(EXP(-1))
    assert metrics == {"success": 0.0, "failed": True, "reach_distance": about(0.5)}
    bodies = standing()
    bodies.body_positions[0, RIGHT_HAND] = torch.tensor([0.3, 0.1, 1.2])
    total, _, metrics = judged("Reach", bodies, reach=goal)
    assert total == about(EXP(-4 * 0.02)) and metrics["success"] == 1.0 and not metrics["failed"]


def target(lean, robot_forces=0.0):
    """2 m before the robot, leaning by an angle in rad."""
    zeros = torch.zeros(1, 1, 3)
    return ObjectState(
        positions=torch.tensor([[[2.0, 0.0, 0.9]]]),
        rotations=quat_from_euler("xyz", torch.tensor([[[lean, 0.0, 0.0]]])),
        velocities=zeros,
        angular_velocities=zeros,
        robot_forces=torch.full((1, 1, 15, 3), robot_forces),
    )


def test_strike(judged):
    leans = target(math.pi / 3)
    total, _, metrics = judged("Strike", standing(velocity=(0.5, 2.0, 0.0)), objects=leans)
    assert total == about(0.6 * 0.5 + 0.4 * EXP(-4 * 0.25))
    assert metrics == {"success": 0.0, "failed": False, "target_distance": about(2.0)}
    assert judged("Strike", standing(velocity=(1.5, 0.0, 0.0)), objects=leans)[0] == about(0.6 * 0.5 + 0.4)
    assert judged("Strike", standing(velocity=(-0.1, 0.0, 0.0)), objects=leans)[0] == about(0.6 * 0.5)
    total, _, metrics = judged("Strike", standing(), objects=target(1.4))
    assert total == about(1.0) and metrics["success"] == 1.0
    assert judged("Strike", standing(), objects=target(0.0, robot_forces=2.0))[2]["failed"], "touched by all bodies"
    assert judged("Strike", standing(), steps=300, objects=leans)[2]["failed"]


def test_long_jump(judged):
    goal = JumpGoal(
        age=torch.tensor([100]),
        start=torch.tensor([[-22.0, 0.0]]),
        direction=torch.tensor([[1.0, 0.0]]),
        previous_distance=torch.tensor([8.2]),
    )
    flying = standing(velocity=(3.0, 0.0, 0.0))  # 22 m along the track: 2 m behind the line, 8 m from the goal
    total, _, metrics = judged("LongJump", flying, jump=goal)
    assert total == about(0.2 + 0.01 * 3.0 + 0.1 * 0.9)
    assert metrics == {"success": 0.0, "failed": False, "jump_length": 0.0}
    contact = torch.zeros(1, 15, 3)
    contact[0, FEET[0], 2] = 100.0
    total, _, metrics = judged("LongJump", flying, jump=goal, joint_level={"contact_forces": contact})
    assert total == about(0.2 + 0.01 * 3.0 + 0.1 * 0.9 + 30 * 2.0)
    assert metrics == {"success": 1.0, "failed": False, "jump_length": about(2.0)}


def test_get_up(judged, amp):
    skeleton = amp.skeleton
    rest, _ = forward_kinematics(skeleton, torch.zeros(3), skeleton.local_rotations_from_dofs(amp.default_dofs))
    head = float(rest[HEAD, 2]) + amp.default_root_height
    half = standing(height=head / 2)
    half.body_rotations[:] = quat_from_euler("xyz", torch.tensor([0.5, 0.0, 2.0]))
    total, _, metrics = judged("GetUp", half)
    assert total == about(0.5 * 0.5 + 0.3 * math.cos(0.5))
    assert metrics == {"success": 0.0, "failed": False}
    assert judged("GetUp", half, steps=300)[2]["failed"]
    total, _, metrics = judged("GetUp", standing(height=head, velocity=(0.3, 0.4, 0.0)), steps=300)
    assert total == about(0.5 + 0.3 + 0.2 * EXP(-0.25)) and metrics == {"success": 1.0, "failed": False}


# --- scenes (more in test_scene_task.py) -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "weights"),
    [
        ("sit", {"sit": 0.7, "approach": 0.3}),
        ("reach", {"touch": 0.7, "approach": 0.3}),
        ("carry", {"approach": 0.2, "hold": 0.3, "carry": 0.3, "place": 0.2}),
    ],
)
def test_scene_weights(components, mode, weights):
    assert {name: term.weight for name, term in components("Scene", mode=mode).rewards.items()} == weights


def test_scene_kernels(moment, amp):
    ctx = moment(amp, standing(), steps=torch.tensor([299]))

    def at(*point):
        return lambda ctx: torch.tensor([point])

    def way(velocity, start=(1.0, 1.0, 5.0), end=(4.0, 5.0, 0.0)):  # 5 m on the ground, along (0.6, 0.8)
        return on_the_way(ctx, 1.5, 0.5, at(*start), at(*velocity), at(*end)).item()

    assert way((0.6, 0.8, 3.0)) == about(EXP(-2 * 0.25))
    assert way((0.6, 0.8, 0.0), start=(3.8, 4.6, 0.0)) == 1.0, "there"
    assert way((-0.8, 0.6, 0.0)) == way((-0.6, -0.8, 0.0)) == 0.0, "across, and away"
    assert way((3.0, 4.0, 0.0)) == 1.0, "fast enough"

    def far(ctx):
        return torch.tensor([0.3])

    assert closeness(ctx, far, scale=10.0).item() == about(EXP(-0.9))
    assert both(ctx, far, far).item() == about(0.09)
    assert within(ctx, far, 0.3).item() and not within(ctx, far, 0.29).item()
    near = lambda ctx: within(ctx, far, 0.29)  # noqa: E731
    assert not misses(ctx, near, end=300).item() and misses(ctx, near, end=299).item()


# --- success and failure of every goal -------------------------------------------------------------------------------


def test_a_fall_or_a_lost_state_is_a_failure_whatever_the_goal(judged, command):
    low = standing(height=0.1)
    contact = torch.zeros(1, 15, 3)
    contact[0, RIGHT_HAND, 2] = 5.0
    fallen = {"steering": command, "joint_level": {"contact_forces": contact}}
    assert judged("Steering", low, **fallen)[2]["failed"]
    assert not judged("Steering", low, steps=1, **fallen)[2]["failed"], "the first step does not count"
    assert not judged("Steering", low, steering=command)[2]["failed"], "low, but nothing touches"
    lost = standing()
    lost.body_positions[0, 0, 2] = math.nan
    assert judged("Steering", lost, steering=command)[2]["failed"]


def test_every_task_is_here():
    names = "".join(name for name in globals() if name.startswith("test_"))
    assert not [task for task in TASKS if "".join(f"_{c.lower()}" if c.isupper() else c for c in task) not in names]
