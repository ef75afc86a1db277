import math
from dataclasses import replace

import gymnasium
import pytest
import torch

import proto_envs  # noqa: F401  registers the ids
from poselib.rotations import quat_from_euler, quat_from_yaw, quat_multiply
from proto_envs.components.striking import STRIKE_TARGET, StrikeTarget
from proto_envs.context import ObjectState
from proto_envs.scenes import SceneSet
from proto_envs.simulators import Capabilities, SimulationSettings, UnsupportedError, make_simulator
from proto_envs.tasks.strike import _forearm, approach, down, foul, misses, target_distance, target_state, tilt


def settings(num_envs, **given):
    return SimulationSettings(scenes=SceneSet((STRIKE_TARGET,)).batch(num_envs), threads=1, **given)


def lies(ctx):
    return down(ctx, 0.2)


@pytest.fixture
def make():
    made = []

    def make(num_envs=4, robot="AMP", **task):
        fields = {"rest_share": 1.0, "fall_height": None, **task}
        env = gymnasium.make_vec(f"ProtoStrike-{robot}-v0", num_envs=num_envs, threads=1, motions="walk", task=fields)
        made.append(env)
        return env

    yield make
    for env in made:
        env.close()


def standing_at(places, lean=0.0):
    """Targets at `places` (n, 2) that lean about x."""
    n = len(places)
    rotation = quat_from_euler("xyz", torch.tensor([lean, 0.0, 0.0])).repeat(n, 1, 1)
    return ObjectState(
        positions=torch.tensor([[[x, y, 0.9]] for x, y in places]),
        rotations=rotation,
        velocities=torch.zeros(n, 1, 3),
        angular_velocities=torch.zeros(n, 1, 3),
    )


# --- the target in the engine ----------------------------------------------------------------------------------------


def test_where_targets_stand(amp, random_bodies, moment):
    n = 8000
    bodies = random_bodies(0, n, 15)
    control = StrikeTarget(distance=(0.5, 10.0), near_share=0.5, near_distance=1.5)
    state = control.begin(torch.arange(n), moment(amp, bodies), torch.Generator().manual_seed(0))
    offset = state.positions[:, 0] - bodies.body_positions[:, 0]
    distance = offset[:, :2].norm(dim=-1)
    assert distance.min() >= 0.5 - 1e-4 and distance.max() <= 10.0 + 1e-4
    # Half of them up to 1.5 m, and 1 / 9.5 of the others.
    assert (distance < 1.5).float().mean() == pytest.approx(0.5 + 0.5 / 9.5, abs=0.02)
    angle = torch.atan2(offset[:, 1], offset[:, 0])
    assert abs(float(torch.cos(angle).mean())) < 0.04 and abs(float(torch.sin(angle).mean())) < 0.04
    assert torch.equal(state.positions[:, 0, 2], torch.full((n,), 0.9))
    assert not state.velocities.any()


def test_what_is_set_is_read_back_and_others_stay(amp, drawn):
    simulator = make_simulator("mujoco", amp, 4, settings(4))
    state = ObjectState(
        drawn(0, 4, 1, 3),
        torch.nn.functional.normalize(drawn(1, 4, 1, 4), dim=-1),
        drawn(2, 4, 1, 3),
        drawn(3, 4, 1, 3),
    )
    simulator.set_objects(torch.arange(4), state)
    before, robots = simulator.objects(), simulator.robot().body_positions
    for name in ("positions", "velocities", "angular_velocities"):
        torch.testing.assert_close(getattr(before, name), getattr(state, name), atol=1e-5, rtol=0)
    torch.testing.assert_close((before.rotations * state.rotations).sum(-1).abs(), torch.ones(4, 1))
    some = torch.tensor([1, 3])
    simulator.set_objects(some, standing_at([(7.0, 0.0), (8.0, 0.0)]))
    after = simulator.objects()
    assert torch.equal(after.positions[[0, 2]], before.positions[[0, 2]])
    assert after.positions[[1, 3], 0, 0].tolist() == [7.0, 8.0]
    assert torch.equal(simulator.objects(some).positions, after.positions[some])
    assert torch.equal(simulator.robot().body_positions, robots)
    simulator.close()


def test_a_target_stands_by_itself_falls_when_it_leans_and_weighs_what_its_boxes_do(amp, resting):
    simulator = make_simulator("mujoco", amp, 2, settings(2))
    assert simulator.model.body("object_0").mass[0] == pytest.approx(30 * (0.2 * 0.2 * 1.4 + 0.4**3))
    state = standing_at([(3.0, 0.0), (3.0, 0.0)])
    state.rotations[1] = quat_from_euler("xyz", torch.tensor([0.3, 0.0, 0.0]))
    simulator.set_state(torch.arange(2), resting(amp, 2, height=0.95))
    simulator.set_objects(torch.arange(2), state)
    for _ in range(60):
        simulator.step(torch.zeros(2, 28))
    objects = simulator.objects()
    torch.testing.assert_close(objects.positions[0], state.positions[0], atol=2e-3, rtol=0)
    assert objects.positions[1, 0, 2] < 0.4
    simulator.close()


def test_a_body_that_pushes_the_target_is_named_and_feels_the_ground_alone_as_before(amp, resting):
    given = settings(2, object_forces=True, contact_forces=True)
    simulator = make_simulator("mujoco", amp, 2, given)
    plain = make_simulator("mujoco", amp, 2, replace(given, scenes=None, object_forces=False))
    hand = amp.skeleton.body_names.index("right_hand")
    # In the air, a target that flies up against the hand and meets it in the last substep; the other one far away.
    state = resting(amp, 2, height=3.0)
    for each in (simulator, plain):
        each.set_state(torch.arange(2), state)
    x, y, z = simulator.robot().body_positions[0, hand].tolist()
    objects = standing_at([(x, y - 0.17), (30.0, 0.0)])
    objects.positions[:, 0, 2] = z - 0.9 - 0.1
    objects.velocities[0, 0, 2] = 3.0
    simulator.set_objects(torch.arange(2), objects)
    for each in (simulator, plain):
        each.step(torch.zeros(2, 28))
    forces = simulator.objects().robot_forces.norm(dim=-1)
    assert forces[0, 0].nonzero().tolist() == [[hand]] and forces[0, 0, hand] > 1.0
    assert not forces[1].any()
    assert simulator.objects().velocities[0, 0, 2] < 2.5
    assert not simulator.robot().contact_forces.any()
    torch.testing.assert_close(simulator.robot().body_positions[1], plain.robot().body_positions[1], atol=1e-5, rtol=0)
    simulator.close()
    plain.close()


def test_an_engine_without_objects_is_refused(amp, monkeypatch):
    class Bare:
        capabilities = Capabilities(name="bare")

        def __init__(self, robot, num_envs, settings):
            pass

        def close(self):
            pass

    monkeypatch.setattr("proto_envs.simulators.mujoco.MujocoSimulator", Bare)
    with pytest.raises(UnsupportedError, match="engine mujoco has no objects"):
        make_simulator("mujoco", amp, 1, settings(1))


# --- the task --------------------------------------------------------------------------------------------------------


def test_the_right_forearm_and_hand_may_strike(amp, smpl):
    assert [amp.skeleton.body_names[i] for i in _forearm(amp)] == ["right_lower_arm", "right_hand"]
    assert [smpl.skeleton.body_names[i] for i in _forearm(smpl)] == ["R_Elbow", "R_Wrist", "R_Hand"]


@pytest.fixture
def strikes(amp, random_bodies, moment):
    """`strikes(lean, velocity, forces, steps)`: a robot at (1, 2) that faces y, its target 3 m on along y."""

    def make(lean=0.0, velocity=(0.0, 0.0), forces=(), steps=100):
        bodies = random_bodies(0, 1, 15)
        bodies.body_positions[:, 0] = torch.tensor([1.0, 2.0, 0.9])
        bodies.body_rotations[:, 0] = quat_from_yaw(torch.tensor(math.pi / 2))
        bodies.body_velocities[:, 0, :2] = torch.tensor(velocity)
        objects = standing_at([(1.0, 5.0)], lean)
        pushes = torch.zeros(1, 1, 15, 3)
        for body, force in dict(forces).items():
            pushes[0, 0, body, 2] = force
        objects = replace(objects, robot_forces=pushes)
        return moment(amp, bodies, objects=objects, steps=torch.tensor([steps]))

    return make


def test_rewards_by_hand(strikes):
    assert tilt(strikes(), lies).item() == 0.0
    assert tilt(strikes(lean=0.5), lies).item() == pytest.approx(1 - math.cos(0.5), abs=1e-6)
    assert tilt(strikes(lean=1.4), lies).item() == 1.0

    def going(*velocity, **given):
        return approach(strikes(velocity=velocity, **given), lies, 1.0).item()

    assert going(0.0, 1.0) == going(0.0, 3.0) == 1.0
    assert going(5.0, 0.5) == pytest.approx(math.exp(-1.0), abs=1e-6)
    assert going(0.0, -0.1) == 0.0 and going(0.0, 0.0) == 0.0
    assert going(0.0, -2.0, lean=1.5) == 1.0


def test_success_and_failures_by_hand(strikes):
    others = [0, 1, 2]

    def wrong(ctx):
        return foul(ctx, others, lies, 1.0)

    assert [lies(strikes(lean=a)).item() for a in (0.0, 1.3, 1.4, 2.5)] == [False, False, True, True]
    assert wrong(strikes(forces={1: 2.0})).item() and not wrong(strikes(forces={1: 0.5})).item()
    assert not wrong(strikes(forces={5: 200.0})).item(), "a striking body may push"
    assert not wrong(strikes(forces={1: 2.0}, lean=1.5)).item(), "the target is down already"
    judged = [
        misses(context, lies, wrong, end=300).item()
        for context in (strikes(), strikes(steps=300), strikes(steps=300, lean=1.5), strikes(forces={0: 9.0}))
    ]
    assert judged == [False, True, False, True]


def test_what_the_policy_sees(strikes):
    context = strikes(lean=0.4)
    found = target_state(context)[0]
    # 3 m ahead, its middle at 0.9 m; turned by a right angle to the right against the robot, leaning about its own x.
    torch.testing.assert_close(found[:3], torch.tensor([3.0, 0.0, 0.9]), atol=1e-5, rtol=0)
    torch.testing.assert_close(found[3:6], torch.tensor([0.0, -1.0, 0.0]), atol=1e-5, rtol=0)
    up = torch.tensor([-math.sin(0.4), 0.0, math.cos(0.4)])
    torch.testing.assert_close(found[6:9], up, atol=1e-5, rtol=0)
    assert not found[9:].any()
    assert target_distance(context).item() == pytest.approx(3.0)


def test_a_target_that_falls_is_success_and_a_leg_in_it_ends_the_episode(make):
    env = make(3, distance=(3.0, 4.0), near_share=0.0)
    env.reset(seed=0)
    ids = torch.tensor([0, 1])
    objects = env.simulator.objects(ids)
    fallen = quat_multiply(objects.rotations, quat_from_euler("xyz", torch.tensor([1.5, 0.0, 0.0])))
    leg = env.simulator.robot().body_positions[1, env.robot.skeleton.body_names.index("left_thigh")]
    place = objects.positions.clone()
    place[0, 0, 2] = 0.25
    place[1, 0, :2] = leg[:2]
    upright = torch.stack([fallen[0], objects.rotations[1]])
    env.simulator.set_objects(ids, replace(objects, positions=place, rotations=upright))
    ended, success = torch.zeros(3, dtype=torch.bool), torch.zeros(3)
    for _ in range(4):
        _, _, terminated, _, info = env.step(torch.zeros(env.action_space.shape))
        ended |= terminated
        success = torch.maximum(success, info["metrics"]["success"])
    assert ended.tolist() == [False, True, False]
    assert success[0] == 1 and success[2] == 0
