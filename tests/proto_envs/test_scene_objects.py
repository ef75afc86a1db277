"""Objects in the engine, where scenes stand, and what is seen of them."""

import math
from dataclasses import replace
from types import SimpleNamespace

import mujoco
import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from poselib.rotations import quat_apply, quat_from_yaw, quat_normalize
from proto_envs.components import objects as kernels
from proto_envs.components.scenery import Scenery, SceneryAround
from proto_envs.context import ObjectState, SceneView
from proto_envs.scenes import Box, Cylinder, Mesh, Scene, SceneBatch, SceneObject, SceneSet, Sphere, Trajectory
from proto_envs.simulators.objects import add_objects
from proto_envs.terrain import FLAT, Terrain
from proto_envs.terrain.ground import Ground


def thing(name="thing", *parts, **given):
    return SceneObject(name=name, parts=parts or (Box(size=(0.4, 0.4, 0.4)),), **given)


CHAIR = thing(
    "chair",
    Box(size=(0.4, 0.4, 0.05), position=(0, 0, 0.425)),
    Box(size=(0.05, 0.4, 0.5), position=(-0.2, 0, 0.65)),
    Cylinder(radius=0.1, height=0.4, position=(0, 0, 0.2)),
    mobility="dynamic",
    density=300.0,
    category="straight_chair",
)
TABLE = thing("table", Box(size=(1.0, 1.0, 0.7), position=(0, 0, 0.35)), position=(1.0, 0, 0), category="table")
BALL = thing("ball", Sphere(radius=0.2), mobility="dynamic", mass=2.0, friction=0.3, position=(2.0, 0.5, 0.2))
CRATE = thing("crate", mobility="dynamic", mass=5.0, position=(0, 0, 0.2))
TWO = (Scene(name="room", objects=(CHAIR, TABLE)), Scene(name="toys", objects=(CRATE, BALL)))


def batch_of(*scenes, num_envs=4, order="sequential"):
    return SceneSet(tuple(scenes), order).batch(num_envs)


def ground_of(amp, num_envs, terrain=FLAT):
    return Ground(terrain, amp, num_envs, torch.device("cpu"))


# --- the engine ------------------------------------------------------------------------------------------------------


def test_every_environment_has_the_masses_and_sizes_of_its_own_scene(amp, make_simulator, tmp_path):
    trimesh.creation.cone(radius=0.3, height=0.8).export(tmp_path / "cone.obj")
    cone = thing("cone", Mesh(file=str(tmp_path / "cone.obj")), mobility="dynamic", mass=3.0)
    scenes = (*TWO, Scene(name="cone", objects=(cone,)))
    batch = batch_of(*scenes, num_envs=6)
    simulator = make_simulator(amp, 6, scenes=batch)
    for env in range(6):
        model = simulator.batch.get_model(env)
        alone = mujoco.MjSpec()
        add_objects(alone, SceneBatch((scenes[env % 3],), torch.zeros(1, dtype=torch.long)), 0, 1.0)
        want, row = alone.compile(), [t for t in batch.places[env % 3] if t is not None]
        for number, placed in enumerate(row):
            place = batch.places[env % 3].index(placed)
            body, other = model.body(f"object_{place}").id, want.body(f"object_{number}").id
            assert model.body_mass[body] == pytest.approx(want.body_mass[other])
            np.testing.assert_allclose(model.body_inertia[body], want.body_inertia[other])
            if placed.mass is not None:
                assert model.body_mass[body] == pytest.approx(placed.mass)
            here = model.body_geomadr[body] + np.arange(len(placed.parts))
            there = want.body_geomadr[other] + np.arange(len(placed.parts))
            for field in ("geom_type", "geom_size", "geom_pos", "geom_quat", "geom_rbound", "geom_friction"):
                np.testing.assert_allclose(getattr(model, field)[here], getattr(want, field)[there], err_msg=field)
            rest = np.arange(here[-1] + 1, model.body_geomadr[body] + model.body_geomnum[body])
            assert not model.geom_conaffinity[rest].any(), "what another scene has there meets nothing here"


def test_an_environment_among_others_does_what_it_does_alone(amp, make_simulator, resting, drawn):
    mixed = make_simulator(amp, 4, scenes=batch_of(*TWO))
    alone = make_simulator(amp, 2, scenes=batch_of(TWO[0], num_envs=2))
    turn = quat_normalize(drawn(0, 4))
    for simulator, envs in ((mixed, 4), (alone, 2)):
        simulator.set_state(torch.arange(envs), resting(amp, envs, height=3.0))
        state = simulator.objects()
        # The chair, dropped onto the ground and against the table.
        state.positions[:, 1], state.rotations[:, 1] = torch.tensor([0.5, 0.0, 1.2]), turn
        simulator.set_objects(None, state)
        for _ in range(30):
            simulator.step(torch.zeros(envs, 28))
    a, b = mixed.objects(), alone.objects()
    torch.testing.assert_close(a.positions[0, :2], b.positions[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(a.positions[0], a.positions[2], atol=0, rtol=0)
    assert (a.positions[1, 1:] - a.positions[0, 1:]).abs().max() > 0.1
    assert a.positions[0, 2, 2] == pytest.approx(-50.0, abs=0.01), "the place that the room leaves empty"
    torch.testing.assert_close(mixed.robot().body_positions[0], alone.robot().body_positions[0], atol=1e-5, rtol=0)


def test_resets_leave_other_environments_as_they_were(amp, make_simulator, resting):
    found = []
    for touch in (False, True):
        simulator = make_simulator(amp, 4, scenes=batch_of(*TWO))
        simulator.set_state(torch.arange(4), resting(amp, 4, height=1.0))
        for _ in range(5):
            simulator.step(torch.zeros(4, 28))
        if touch:
            some = torch.tensor([1, 2])
            simulator.set_state(some, resting(amp, 2, height=2.0))
            simulator.set_objects(some, replace(simulator.objects(some), positions=torch.rand(2, 3, 3)))
        simulator.step(torch.zeros(4, 28))
        found.append((simulator.objects(), simulator.robot().body_positions))
    for name in ("positions", "rotations", "velocities", "angular_velocities"):
        assert torch.equal(getattr(found[0][0], name)[[0, 3]], getattr(found[1][0], name)[[0, 3]])
    assert torch.equal(found[0][1][[0, 3]], found[1][1][[0, 3]])


def test_a_state_of_objects_is_saved_whole(amp, make_simulator, resting, drawn):
    first, second = (make_simulator(amp, 4, scenes=batch_of(*TWO)) for _ in range(2))
    first.set_state(torch.arange(4), resting(amp, 4, height=1.0))
    moved = ObjectState(drawn(0, 4, 3, 3), quat_normalize(drawn(1, 4, 3, 4)), drawn(2, 4, 3, 3), drawn(3, 4, 3, 3))
    first.set_objects(None, moved)
    second.load_state_dict({name: value.clone() for name, value in first.state_dict().items()})
    for simulator in (first, second):
        simulator.step(torch.zeros(4, 28))
    for name in ("positions", "rotations", "velocities", "angular_velocities"):
        assert torch.equal(getattr(first.objects(), name), getattr(second.objects(), name)), name
    assert torch.equal(first.objects().velocities[:, 0], moved.velocities[:, 0]), "held objects say what they were told"


def test_friction_set_per_environment_scales_that_of_its_own_objects(amp, make_simulator):
    simulator = make_simulator(amp, 4, scenes=batch_of(*TWO))
    own = [simulator.batch.get_model(env).geom_friction[:, 0].copy() for env in range(4)]
    assert not np.array_equal(own[0], own[1])
    simulator.set_params("friction", torch.tensor([1, 2]), torch.tensor([0.5, 2.0]))
    for env, factor in enumerate((1.0, 0.5, 2.0, 1.0)):
        np.testing.assert_allclose(simulator.batch.get_model(env).geom_friction[:, 0], factor * own[env])


def test_an_objects_own_friction_decides(amp, make_simulator, resting):
    """On rough ground, a slippery crate slides and v²/(2 μ g) later it lies; a rough one tips or stops at once."""
    slippery = replace(CRATE, friction=0.2, parts=(Box(size=(0.6, 0.6, 0.1)),), position=(3.0, 0, 0.05))
    simulator = make_simulator(amp, 1, scenes=batch_of(Scene(name="s", objects=(slippery,)), num_envs=1))
    simulator.set_state(torch.arange(1), resting(amp, 1, height=0.95))
    state = simulator.objects()
    state.velocities[:, 0, 0] = 2.0
    simulator.set_objects(None, state)
    for _ in range(60):
        simulator.step(torch.zeros(1, 28))
    slid = float(simulator.objects().positions[0, 0, 0]) - 3.0
    assert slid == pytest.approx(4.0 / (2 * 0.2 * 9.81), rel=0.05)


# --- where scenes stand ----------------------------------------------------------------------------------------------


@pytest.fixture
def somewhere(amp, random_bodies, moment):
    """`somewhere(n, terrain)`: robots anywhere, turned any way about z."""

    def make(n, terrain=FLAT):
        bodies = random_bodies(3, n, 15)
        bodies.body_rotations[:, 0] = quat_from_yaw(torch.linspace(-3, 3, n))
        return moment(amp, bodies, terrain=terrain)

    return make


def test_scenes_around_robots(amp, somewhere):
    n = 4000
    batch = batch_of(*TWO, num_envs=n)
    control = SceneryAround(
        batch, 1 / 30, ground_of(amp, n), distance=(0.5, 5.0), near_share=0.25, near_distance=1.0, carry=(1.0, 4.0)
    )
    context, generator = somewhere(n), torch.Generator().manual_seed(0)
    state = control.begin(torch.arange(n), context, generator)
    root, view = context.state.body_positions[:, 0, :2], control.context(None)["scene"]
    target = state.positions[torch.arange(n), view.targets]
    # The room is the chair and, 1.5 m from it, the far corners of the table; the toys' rim is the ball's.
    rims = torch.tensor([math.hypot(1.5, 0.5), math.hypot(2.2, 0.7)])[batch.assignment]
    away = (target[:, :2] - root).norm(dim=-1) - rims
    assert away.min() >= 0.5 - 1e-4 and away.max() <= 5.0 + 1e-4
    assert (away < 1.0).float().mean() == pytest.approx(0.25 + 0.75 * 0.5 / 4.5, abs=0.03)
    for o in range(3):
        here = view.tables.present[batch.assignment][:, o]
        assert ((state.positions[:, o, :2] - root).norm(dim=-1)[here] > 0.5).all()
    # Objects keep their places among each other.
    apart = (state.positions[::2, 0] - state.positions[::2, 1]).norm(dim=-1)
    torch.testing.assert_close(apart, torch.ones(n // 2), atol=1e-4, rtol=0)
    way = (view.destination - target)[:, :2].norm(dim=-1)
    assert way.min() >= 1.0 - 1e-4 and way.max() <= 4.0 + 1e-4 and way.mean() == pytest.approx(2.5, abs=0.06)
    torch.testing.assert_close(view.destination[1::2, 2], torch.full((n // 2,), 0.2))  # where a crate stands
    direction = torch.atan2(*(target - context.state.body_positions[:, 0])[:, [1, 0]].unbind(-1))
    assert abs(float(torch.cos(direction).mean())) < 0.05 and abs(float(torch.sin(control.yaws).mean())) < 0.05


def test_objects_stand_on_uneven_ground_and_on_each_other(amp, somewhere):
    heights = torch.zeros(41, 41)
    heights[1:-1, 1:-1] = torch.rand(39, 39, generator=torch.Generator().manual_seed(0))
    terrain = Terrain.from_grid(heights, 1.0, walkable_slope=9.0)
    vase = thing("vase", stands_on="table", position=(1.3, 0.2, 0.9))
    batch = batch_of(Scene(name="room", objects=(TABLE, vase)), num_envs=50)
    control = SceneryAround(batch, 1 / 30, ground_of(amp, 50, terrain), distance=(1.0, 5.0))
    state = control.begin(torch.arange(50), somewhere(50, terrain), torch.Generator().manual_seed(1))
    below = terrain.heights(state.positions[:, 0])
    torch.testing.assert_close(state.positions[:, 0, 2], below, atol=1e-5, rtol=0)
    torch.testing.assert_close(state.positions[:, 1, 2], below + 0.9, atol=1e-5, rtol=0)
    assert below.max() > 0.5 and (terrain.heights(state.positions[:, 1]) - below).abs().max() > 0.05


def test_objects_move_along_their_trajectories_in_the_clips_frame(amp, somewhere):
    turn = [[0, 0, 0, 1], [0, 0, math.sin(0.5), math.cos(0.5)]]
    way = Trajectory(fps=1.0, positions=[[0, 0, 0.5], [2, 0, 0.5]], rotations=turn)
    lift = thing("lift", mobility="kinematic", trajectory=way)
    batch = batch_of(Scene(name="lift", objects=(lift, CRATE)), num_envs=2)
    ground = ground_of(amp, 2, Terrain.from_grid(torch.full((41, 41), 0.3), 5.0))
    ground.offsets[:] = torch.tensor([[10.0, 0.0], [0.0, 20.0]])
    times = torch.tensor([0.5, 0.0])
    control = Scenery(batch, 1 / 30, ground, clock=lambda: times)
    state = control.begin(torch.arange(2), somewhere(2), torch.Generator())
    torch.testing.assert_close(state.positions[:, 0], torch.tensor([[11.0, 0, 0.8], [0, 20.0, 0.8]]))
    times = torch.tensor([1.0, 0.25])
    control.step(torch.Generator())
    held = control.held_objects()
    torch.testing.assert_close(held.positions[:, 0], torch.tensor([[12.0, 0, 0.8], [0.5, 20.0, 0.8]]))
    spin = Rotation.from_quat(held.rotations[1, 0]).as_rotvec()
    np.testing.assert_allclose(spin, [0, 0, 0.25], atol=1e-3)
    assert held.velocities[1, 0].tolist() == [2.0, 0.0, 0.0] and not held.velocities[0, 0].any()
    view = control.context(torch.tensor([1]))["scene"]
    assert torch.equal(view.reference.positions, held.positions[1:]) and view.tables.moves.tolist() == [[True, False]]
    saved = {name: value.clone() for name, value in control.state_dict().items()}
    other = Scenery(batch, 1 / 30, ground, clock=lambda: times)
    other.load_state_dict(saved)
    assert torch.equal(other.held_objects().positions, held.positions)


# --- what is seen ----------------------------------------------------------------------------------------------------


@pytest.fixture
def seen(amp, random_bodies, moment, drawn):
    """`seen(**view)`: four robots in two scenes, objects anywhere."""

    def make(**given):
        batch = batch_of(*TWO)
        state = ObjectState(
            drawn(10, 4, 3, 3), quat_normalize(drawn(11, 4, 3, 4)), drawn(12, 4, 3, 3), drawn(13, 4, 3, 3)
        )
        view = SceneView(batch.tables, batch.assignment, **given)
        context = moment(amp, random_bodies(0, 4, 15), objects=state, scene=view)
        yaw = Rotation.from_quat(context.state.body_rotations[:, 0].numpy()).apply([1.0, 0, 0])
        back = Rotation.from_euler("z", -np.arctan2(yaw[:, 1], yaw[:, 0])[:, None])
        return SimpleNamespace(context=context, batch=batch, state=state, back=back)

    return make


def test_bounding_boxes_are_those_of_trimesh(seen):
    given = seen()
    boxes = kernels.bounding_boxes(given.context, "all").view(4, 3, 37)
    for env in range(4):
        root = given.context.state.body_positions[env, 0].numpy()
        for place, placed in enumerate(given.batch.places[env % 2]):
            if placed is None:
                assert not boxes[env, place].any()
                continue
            solid = trimesh.util.concatenate([part.surface() for part in placed.parts])
            corners = trimesh.bounds.corners(solid.bounds)
            turn = Rotation.from_quat(given.state.rotations[env, place].numpy())
            world = turn.apply(corners) + given.state.positions[env, place].numpy()
            want = given.back[env].apply(world - root)
            found = boxes[env, place, :24].view(8, 3).numpy()
            assert cKDTree(found).query(want)[0].max() < 5e-3
            axes = given.back[env].apply(turn.apply(np.eye(3)[[0, 2]]))
            np.testing.assert_allclose(boxes[env, place, 24:30].view(2, 3), axes, atol=1e-5)
            kinds = [float(placed.category == name) for name in ("straight_chair", "table")]
            assert boxes[env, place, 30:].tolist() == [0.0, kinds[0], 0.0, 0.0, 0.0, kinds[1], 0.0]
    target = torch.stack([boxes[env, 1] for env in range(4)])
    assert torch.equal(kernels.bounding_boxes(given.context), target)


def test_points_and_nearest_ones_are_those_of_scipy(seen):
    given = seen()
    clouds = kernels.point_clouds(given.context, "all").view(4, 3, -1, 3)
    near = kernels.nearest_surface(given.context, [2, 5]).view(4, 2, 3)
    hands = kernels.target_surface(given.context, [2, 5])
    for env in range(4):
        root, bodies = (given.context.state.body_positions[env, i].numpy() for i in (0, [2, 5]))
        worlds = []
        for place, placed in enumerate(given.batch.places[env % 2]):
            if placed is None:
                assert not clouds[env, place].any()
                worlds.append(np.full((1, 3), np.inf))
                continue
            local = given.batch.tables.points[env % 2, place].numpy()
            turn = Rotation.from_quat(given.state.rotations[env, place].numpy())
            worlds.append(turn.apply(local) + given.state.positions[env, place].numpy())
            np.testing.assert_allclose(clouds[env, place], given.back[env].apply(worlds[-1] - root), atol=1e-5)
        points = np.concatenate([w for w in worlds if np.isfinite(w).all()])
        want = points[cKDTree(points).query(bodies)[1]] - bodies
        np.testing.assert_allclose(near[env], given.back[env].apply(want), atol=1e-4)
        target = worlds[1]
        want = target[cKDTree(target).query(bodies)[1]] - bodies
        np.testing.assert_allclose(hands[env], want, atol=1e-4)


def test_velocities_and_points_of_the_target(seen):
    given = seen()
    speeds = kernels.object_velocities(given.context).view(4, 2, 3)
    np.testing.assert_allclose(speeds[:, 0], given.back.apply(given.state.velocities[:, 1].numpy()), atol=1e-5)
    np.testing.assert_allclose(speeds[:, 1], given.back.apply(given.state.angular_velocities[:, 1].numpy()), atol=1e-5)
    local = torch.tensor([0.1, 0.2, 0.3]).expand(4, 3)
    want = given.state.positions[:, 1] + quat_apply(given.state.rotations[:, 1], local)
    torch.testing.assert_close(kernels.on_target(given.context, local), want)


def test_errors_of_objects_by_hand(amp, random_bodies, moment):
    way = Trajectory(fps=1.0, positions=[[0, 0, 0]], rotations=[[0, 0, 0, 1]])
    moving = [thing(name, mobility="dynamic", trajectory=way) for name in "ab"]
    batch = batch_of(Scene(name="s", objects=(*moving, thing("c"))), num_envs=1)  # places: c, a, b
    zeros, identity = torch.zeros(1, 3, 3), torch.tensor([0, 0, 0, 1.0]).expand(1, 3, 4)
    reference = ObjectState(zeros, identity, zeros, zeros)
    turned = identity.clone()
    turned[0, 2] = torch.tensor([0, 0, math.sin(0.2), math.cos(0.2)])
    positions = torch.tensor([[[9.0, 9, 9], [0.3, 0, 0.4], [0, 0.1, 0]]])
    objects = ObjectState(positions, turned, zeros, zeros)
    view = SceneView(batch.tables, batch.assignment, reference)
    bodies = random_bodies(0, 1, 15)
    bodies.body_rotations[:, 0] = quat_from_yaw(torch.tensor([math.pi / 2]))
    context = moment(amp, bodies, objects=objects, scene=view)
    assert kernels.object_error(context).item() == pytest.approx(0.3)
    assert kernels.object_angle(context).item() == pytest.approx(0.2, abs=1e-3)
    want = math.exp(-10 * (0.25 + 0.01) / 2 - 0.16 / 2)
    assert kernels.object_tracking(context, 10.0, 1.0).item() == pytest.approx(want, rel=1e-3)
    assert [kernels.lost_object(context, d).item() for d in (0.49, 0.51)] == [True, False]
    deviation = kernels.object_deviation(context).view(3, 9)
    assert not deviation[0, :3].any()
    # Facing y, what is at +x lies to the right; it should be brought back from there.
    torch.testing.assert_close(deviation[1, :3], torch.tensor([0.0, 0.3, -0.4]), atol=1e-5, rtol=0)
    torch.testing.assert_close(deviation[2, 3:5], torch.tensor([math.cos(0.4), -math.sin(0.4)]), atol=1e-5, rtol=0)
