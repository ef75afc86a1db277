"""The task Scene, and Mimic in scenes."""

import math
from dataclasses import replace
from functools import partial

import gymnasium
import numpy as np
import pytest
import torch

import proto_envs  # noqa: F401  registers the ids
from motionlib import MotionLib
from poselib.rotations import quat_from_yaw
from proto_envs.context import ObjectState, SceneView
from proto_envs.recording import RenderError
from proto_envs.scenes import Box, Scene, SceneObject, SceneSet, Trajectory
from proto_envs.tasks import scene as task
from proto_envs.testing import check_vector_env

STILL = [[0, 0, 0, 1]]


def crate(**given):
    fields = {"name": "crate", "parts": (Box(size=(0.4, 0.4, 0.4)),), "mobility": "dynamic", "mass": 4.0, **given}
    return Scene(name=fields.pop("scene", "crate"), objects=(SceneObject(**fields),))


@pytest.fixture
def make():
    made = []

    def make(num_envs=4, name="Scene", robot="AMP", task=None, **given):
        fields = {"rest_share": 1.0, **(task or {})} if name == "Scene" else (task or {})
        keywords = {"threads": 1, **given}
        made.append(gymnasium.make_vec(f"Proto{name}-{robot}-v0", num_envs=num_envs, task=fields, **keywords))
        return made[-1]

    yield make
    for env in made:
        env.close()


@pytest.fixture
def stands(amp, random_bodies, moment):
    """`stands(root, place, yaw, velocity, hands, object_velocity, destination)`: a robot and a crate of 0.4 m."""

    def make(
        root=(0, 0, 0.9),
        place=(3, 0, 0.2),
        velocity=(0, 0, 0),
        hands=None,
        object_velocity=(0, 0, 0),
        destination=(0, 4, 0.2),
        steps=100,
    ):
        batch = SceneSet((crate(seat=(0, 0, 0.2), position=(0, 0, 0.2)),)).batch(1)
        bodies = random_bodies(0, 1, 15)
        bodies.body_positions[:, 0] = torch.tensor(root, dtype=torch.float32)
        bodies.body_rotations[:, 0] = quat_from_yaw(torch.tensor([0.7]))
        bodies.body_velocities[:, 0] = torch.tensor(velocity, dtype=torch.float32)
        for hand, position in (hands or {}).items():
            bodies.body_positions[:, hand] = torch.tensor(position, dtype=torch.float32)
        rows = torch.tensor([place, object_velocity], dtype=torch.float32).view(2, 1, 1, 3)
        objects = ObjectState(rows[0], torch.tensor([[STILL[0]]]).float(), rows[1], torch.zeros(1, 1, 3))
        view = SceneView(batch.tables, batch.assignment, None, torch.tensor([destination], dtype=torch.float32))
        return moment(amp, bodies, objects=objects, scene=view, steps=torch.tensor([steps]))

    return make


# --- rewards and success by hand -------------------------------------------------------------------------------------


def test_the_way_there(stands):
    approach = partial(task.on_the_way, speed=1.5, arrival=0.5, start=task.root_position, velocity=task.root_velocity)
    point = partial(approach, end=task.target_position)
    assert point(stands(velocity=(1.0, 5.0, 2.0))).item() == pytest.approx(math.exp(-2 * 0.25))
    assert point(stands(velocity=(2.5, 0, 0))).item() == 1.0, "no reward is lost by being faster"
    assert point(stands(velocity=(-0.1, 0, 0))).item() == point(stands(velocity=(0, 1, 0))).item() == 0.0
    assert point(stands(root=(2.6, 0, 0.9), velocity=(-1, 0, 0))).item() == 1.0, "it has arrived"


def test_sitting(stands):
    seat = partial(task.seat_for_root, height=0.1)
    distance = partial(task.root_distance, point=seat)
    sit = partial(task.closeness, distance=distance, scale=10.0)
    # The seat is 0.2 m above the crate's middle: the root belongs at (3, 0, 0.5).
    assert distance(stands(root=(3.0, 0.3, 0.9))).item() == pytest.approx(0.5)
    assert sit(stands(root=(3.0, 0.3, 0.9))).item() == pytest.approx(math.exp(-2.5))
    near = partial(task.within, distance=distance, limit=0.2)
    judged = [
        (near(context).item(), task.misses(context, near, end=300).item())
        for context in (
            stands(root=(3.0, 0.0, 0.69)),
            stands(root=(3.0, 0.0, 0.71)),
            stands(root=(3.0, 0.0, 0.69), steps=300),
            stands(root=(3.0, 0.0, 0.71), steps=300),
        )
    ]
    assert judged == [(True, False), (False, False), (True, False), (False, True)]


def test_touching_and_carrying(stands):
    # Surface points are a few cm apart, and so are distances to them.
    hands = {5: (2.3, 0.0, 0.2), 8: (3.0, -1.2, 0.2)}  # 0.5 m and 1 m from the faces
    context = stands(hands=hands)
    assert task.hand_distance(context, [5, 8]).item() == pytest.approx(0.5, abs=0.02)
    assert task.holding(context, [5, 8]).item() == pytest.approx(math.exp(-5 * 0.75**2), rel=0.1)
    assert task.carry_error(stands(destination=(3, 4, 3.2))).item() == pytest.approx(5.0)
    nearest = task.nearest_to_root(stands())[0]
    assert nearest[0] == pytest.approx(2.8, abs=0.02) and nearest[2] > 0.2
    moved = partial(
        task.on_the_way,
        speed=1.5,
        arrival=0.5,
        start=task.target_position,
        velocity=task.target_velocity,
        end=task.destination,
    )
    hold = partial(task.holding, hands=[5, 8])
    going = stands(hands=hands, object_velocity=(-0.6, 0.8, 0), destination=(0, 4, 0.2))
    assert moved(going).item() == pytest.approx(math.exp(-2 * 0.25))
    assert task.both(going, hold, moved).item() == pytest.approx(hold(going).item() * math.exp(-0.5))


def test_what_is_asked_for_is_seen_in_the_heading_frame(stands):
    points = task.goal_points(stands(), (task.target_position, task.destination))[0]
    cosine, sine = math.cos(0.7), math.sin(0.7)
    want = [3 * cosine, -3 * sine, -0.7, 4 * sine, 4 * cosine, -0.7]
    assert points.tolist() == pytest.approx(want, abs=1e-5)


# --- the environment -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["sit", "reach", "carry"])
def test_contract_of_the_task_in_each_mode(mode):
    def make():
        fields = {"mode": mode, "rest_share": 0.5, "episode_seconds": 0.8}
        return gymnasium.make_vec("ProtoScene-AMP-v0", num_envs=4, threads=1, task=fields)

    check_vector_env(make, steps=30)


def test_sizes_of_what_is_seen(make):
    def goal(**given):
        return make(observation="groups", task=given).single_observation_space["goal"].shape[0]

    assert goal() == 3 + 37 + 6
    assert goal(mode="carry") == 6 + 37 + 6
    assert goal(see="points") == 3 + 3 * 64 + 6
    assert goal(mode="reach", see_objects="all") == 3 + 2 * (37 + 6), "table or lever, and ball"


def test_sitting_on_the_chair_is_success_and_lying_elsewhere_is_not(make):
    env = make(2, scenes="chair", task={"fall_height": None, "episode_seconds": 0.4})
    env.reset(seed=0)
    sitting = env.robot.default_dofs.clone()
    for name in ("right_hip_y", "left_hip_y", "right_knee", "left_knee"):
        sitting[env.robot.skeleton.dof_names.index(name)] = -1.5
    goal = env.components.controls["goal"]
    states = env.components.controls["start"].reset(torch.arange(2), env.generator)
    point = task.seat_for_root(env._context(None), task._sitting_height(env.robot))
    turn = quat_from_yaw(goal.yaws)
    local = env.robot.skeleton.local_rotations_from_dofs(sitting.repeat(2, 1), turn)
    place = point + torch.tensor([[0.0, 0.0, 0.05], [3.0, 0.0, 0.5]])
    state = replace(states, root_position=place, local_rotations=local, dof_positions=sitting.repeat(2, 1))
    objects = env.simulator.objects()
    env.simulator.set_state(torch.arange(2), state)
    env.simulator.set_objects(None, objects)
    action = (sitting - env.robot.action_offset) / env.robot.action_scale
    for _ in range(12):
        *_, info = env.step(action.repeat(2, 1))
    assert info["metrics"]["success"].tolist() == [1.0, 0.0]
    assert info["metrics"]["failed"].tolist() == [False, True]
    assert info["metrics"]["reward/sit"][0] > 0.7 and info["metrics"]["reward/approach"][0] == 1.0


def test_resume_is_exact_and_a_reset_touches_nobody_else(make, assert_equal):
    first, second = (make(task={"mode": "carry", "episode_seconds": 0.5}) for _ in range(2))
    first.reset(seed=1)
    actions = torch.rand(40, 4, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for action in actions[:10]:
        first.step(action)
    second.load_state_dict(first.state_dict())
    for action in actions[10:]:
        assert_equal(first.step(action), second.step(action))
    before = first.simulator.objects()
    first.reset(options={"reset_mask": torch.tensor([False, True, False, False])})
    after = first.simulator.objects()
    assert torch.equal(before.positions[[0, 2, 3]], after.positions[[0, 2, 3]])
    assert not torch.equal(before.positions[1], after.positions[1])


def test_what_cannot_be_is_refused(make):
    with pytest.raises(ValueError, match=r"scene 'chair'.*'chair' must be dynamic, it is static"):
        make(scenes="chair", task={"mode": "carry"})
    with pytest.raises(ValueError, match=r"task Steering takes none; those that do are .*'Scene'"):
        make(name="Steering", scenes="chair", task={})
    with pytest.raises(ValueError, match="did you mean 'chair'"):
        make(scenes="chairs")
    with pytest.raises(ValueError, match="there are"):
        make(task={"mode": "eat"})


def test_pictures_show_the_scene(make):
    with_chair = make(1, scenes="chair", render_mode="rgb_array", task={"distance": (0.5, 0.6)})
    with_chair.reset(seed=0)
    try:
        (seen,) = with_chair.render()
    except RenderError as error:
        pytest.skip(str(error))
    away = with_chair.simulator.objects()
    with_chair.simulator.set_objects(None, replace(away, positions=away.positions + 100.0))
    (empty,) = with_chair.render()
    assert (np.abs(seen.astype(int) - empty).max(axis=-1) > 20).sum() > 500


# --- Mimic -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def dance(amp):
    """A scene whose box moves with the walk at 1 m/s, kinematic or not."""
    length = 61
    positions = torch.stack([torch.arange(length) / 30, torch.full((length,), 2.0), torch.full((length,), 0.2)], dim=-1)
    way = Trajectory(fps=30.0, positions=positions, rotations=STILL * length)

    def make(mobility, **given):
        return replace(crate(mobility=mobility, trajectory=way, scene=mobility), **given)

    return make


def test_kinematic_objects_follow_and_dynamic_ones_start_on_their_trajectories(make, dance):
    scenes = {"scenes": [dance("kinematic"), dance("dynamic")], "order": "sequential"}
    env = make(2, "Mimic", scenes=scenes, motions="walk", task={"start": "zero", "object_reward": 0.5})
    env.reset(seed=0)
    places = [0, 1]
    start = env.simulator.objects()
    assert start.positions[[0, 1], places].tolist() == [[0.0, 2.0, pytest.approx(0.2)]] * 2
    torch.testing.assert_close(start.velocities[[0, 1], places], torch.tensor([[1.0, 0, 0]] * 2))
    for step in range(1, 4):
        *_, info = env.step(torch.zeros(2, 28))
        found = env.simulator.objects().positions
        assert found[0, 0, 0] == pytest.approx(step / 30, abs=1e-5)
    error = info["metrics"]["object_error"]
    assert error[0] == pytest.approx(0.0, abs=1e-5)
    # Friction slows the sliding crate down: with μ = 1 by 9.81 m/s², so that it stops after 5 cm.
    assert 0.02 < error[1] < 0.1
    assert info["metrics"]["reward/object"][0] == pytest.approx(1.0, abs=1e-4)
    assert info["metrics"]["reward/object"][1] == pytest.approx(math.exp(-10 * error[1] ** 2), abs=2e-2)
    assert info["metrics"]["object_angle"].shape == (2,)


def test_an_episode_ends_when_an_object_is_lost(make, dance):
    env = make(1, "Mimic", scenes=dance("dynamic"), motions="walk", task={"start": "zero", "object_termination": 0.5})
    env.reset(seed=0)
    ends = [env.step(torch.zeros(1, 28))[2].item() for _ in range(4)]
    objects = env.simulator.objects()
    env.simulator.set_objects(None, replace(objects, positions=objects.positions + 2.0))
    ends += [env.step(torch.zeros(1, 28))[2].item() for _ in range(2)]
    assert not any(ends[:4]) and any(ends[4:])


def test_environments_play_the_clips_of_their_scenes(make, dance):
    given = [
        dance("kinematic", motions=("run",)),
        dance("dynamic", motions=("walk", "kick")),
        crate(position=(5, 5, 0.2)),
    ]
    env = make(60, "Mimic", scenes={"scenes": given, "order": "sequential"})
    assert set(env.clip_names) == {"run", "walk", "kick"}, "the clips are those of the scenes"
    names = [env.clip_names[i] for i in _clips(env)]
    assert set(names[0::3]) == {"run"} and set(names[1::3]) == {"walk", "kick"}
    assert set(names[2::3]) == {"run", "walk", "kick"}
    told = make(6, "Mimic", scenes={"scenes": given, "order": "sequential"}, task={"start": "sequential"})
    assert {told.clip_names[i] for i in _clips(told)[1::3]} == {"walk", "kick"}
    with pytest.raises(ValueError, match="clip 'kick' is not among"):
        make(3, "Mimic", scenes=given, motions=["run", "walk"])


def _clips(env):
    env.reset(seed=0)
    return env.components.controls["reference"].clips.tolist()


def test_mimic_with_a_scene_keeps_the_contract(dance):
    def make():
        scenes = [dance("kinematic"), crate(position=(3.0, 0, 0.2))]
        fields = {"object_reward": 0.2, "start_at_zero": 0.5}
        return gymnasium.make_vec(
            "ProtoMimic-AMP-v0", num_envs=4, threads=1, scenes=scenes, task=fields, terrain="flat"
        )

    check_vector_env(make, steps=40)


def test_scenes_are_where_the_clips_are_on_uneven_ground(make, dance):
    env = make(
        8, "Mimic", scenes=dance("kinematic"), motions=MotionLib.from_samples("amp", ["walk"]), terrain="complex"
    )
    env.reset(seed=0)
    env.step(torch.zeros(8, 28))
    found = env.simulator.objects().positions[:, 0]
    times = env.components.controls["reference"].times
    want = env.ground.offsets + torch.stack([times.clamp(max=2.0), torch.full_like(times, 2.0)], dim=-1)
    torch.testing.assert_close(found[:, :2], want, atol=1e-4, rtol=0)
    torch.testing.assert_close(found[:, 2], env.ground.terrain.heights(found) + 0.2, atol=1e-4, rtol=0)
    assert env.ground.offsets.abs().max() > 1.0
