"""Robots, references and policies on uneven ground."""

import gymnasium
import numpy as np
import pytest
import torch

from poselib.kinematics import forward_kinematics
from poselib.rotations import quat_apply, quat_from_exp_map
from proto_envs.components import terminations
from proto_envs.components.ground import height_map
from proto_envs.context import ResetState
from proto_envs.recording import RenderError, SceneRenderer
from proto_envs.terrain import FLAT, Terrain, TerrainConfig, generate
from proto_envs.terrain.ground import Ground

KINDS = ("smooth_slope", "rough_slope", "stairs_up", "stairs_down", "discrete", "stepping_stones", "poles")
HARD = {"tile_size": 8.0, "border": 2.0, "levels": 3, "columns": 7, "proportions": dict.fromkeys(KINDS, 1.0)}
FOLLOW = {"action": "residual", "termination_distance": None, "episode_seconds": 60.0}


@pytest.fixture(scope="module")
def hard():
    return generate(TerrainConfig(**HARD))


@pytest.fixture(scope="module")
def plateau():
    """2 m high within 3 m of the origin, and a place to start in its middle."""
    grid = torch.zeros(81, 81)
    grid[10:71, 10:71] = 2.0
    whole = Terrain.from_grid(grid, 0.1)
    return Terrain(whole.grid, 0.1, torch.tensor([[0.5, -0.3]]), torch.tensor([0, 1]))


def still(env):
    return torch.zeros(env.action_space.shape)


def collision_points(robot, state):
    """World positions (N, P, 3) and radii (P,) of the robot's geometry."""
    points = robot.collision_points
    world = state.body_positions[:, points.bodies]
    return world + quat_apply(state.body_rotations[:, points.bodies], points.points.expand_as(world)), points.radii


# --- episodes on hard ground -----------------------------------------------------------------------------------------


def test_a_hundred_steps_on_every_kind_of_ground_are_stable(make_env, hard):
    env = make_env(14, terrain=hard, task=FOLLOW)
    env.reset(seed=0)
    for _ in range(100):
        observation, reward, _, _, info = env.step(still(env))
        assert torch.isfinite(observation).all() and torch.isfinite(reward).all()
        assert not info["metrics"]["unstable"].any()
    state = env.simulator.robot()
    assert state.body_velocities.norm(dim=-1).max() < 15
    # Nothing has sunk into the ground: origins of bodies stay above it.
    assert (state.body_positions[..., 2] > hard.heights(state.body_positions) - 0.05).all()


def test_robots_start_on_walkable_points_with_nothing_below_the_ground(make_env, hard):
    env = make_env(40, terrain=hard, task=FOLLOW)
    env.reset(seed=0)
    state = env.simulator.robot()
    known = {tuple(point) for point in hard.spawn_points.numpy().round(3).tolist()}
    assert all(tuple(p) in known for p in state.body_positions[:, 0, :2].numpy().round(3).tolist())
    assert len(set(map(tuple, state.body_positions[:, 0, :2].tolist()))) > 30
    points, radii = collision_points(env.robot, state)
    gap = points[..., 2] - radii - hard.heights(points)
    assert gap.min() > -1e-4
    # The lift is no larger than it must be: who is not at the reference's height touches the ground.
    lift = state.body_positions[:, 0, 2] - env._context(None).reference.body_positions[:, 0, 2]
    assert (lift > -1e-4).all() and (gap.amin(-1)[lift > 1e-3] < 1e-4).all()


def test_a_saved_environment_goes_on_bit_for_bit(make_env, hard, assert_equal):
    keywords = {"terrain": hard, "task": {"episode_seconds": 0.5}}
    env, other = make_env(4, **keywords), make_env(4, **keywords)
    env.reset(seed=3)
    for _ in range(7):
        env.step(still(env))
    state = env.state_dict()
    assert state["ground.offsets"].abs().sum() > 0
    other.load_state_dict(state)
    for _ in range(20):
        assert_equal(env.step(still(env)), other.step(still(env)))


def test_a_seed_decides_the_places(make_env, hard):
    a, b = make_env(4, terrain=hard), make_env(4, terrain=hard)
    first = a.reset(seed=5)[0]
    assert torch.equal(first, b.reset(seed=5)[0])
    assert not torch.equal(first, b.reset(seed=6)[0])


@pytest.mark.parametrize("id", ["ProtoSteering-AMP-v0", "ProtoPathFollow-AMP-v0"])
def test_tasks_with_goals_run_on_uneven_ground(id, hard):
    env, flat = (gymnasium.make_vec(id, num_envs=3, threads=1, terrain=t) for t in (hard, "flat"))
    assert env.single_observation_space.shape[0] == flat.single_observation_space.shape[0] + 256
    env.reset(seed=0)
    for _ in range(5):
        observation, reward, *_ = env.step(still(env))
    assert torch.isfinite(observation).all() and torch.isfinite(reward).all()
    env.close()
    flat.close()


# --- flat ground -----------------------------------------------------------------------------------------------------


def test_flat_ground_forced_under_an_environment_changes_the_ground_alone(make_env, hard, assert_equal):
    plain = make_env(3)
    forced = make_env(3, terrain=hard, force_flat=True)
    blind = make_env(3, terrain=hard, force_flat=True, task={"see_ground": False})
    seeing = make_env(3, task={"see_ground": True})
    assert forced.observation_space == seeing.observation_space
    assert forced.single_observation_space.shape[0] == plain.single_observation_space.shape[0] + 256
    assert forced.ground.terrain is FLAT
    assert plain.state_dict().keys() == forced.state_dict().keys()
    for env in (plain, forced, blind, seeing):
        env.reset(seed=0)
    for _ in range(8):
        a, b, c, d = (env.step(still(env)) for env in (plain, blind, forced, seeing))
        assert_equal(a, b)
        assert_equal(c, d)
        assert torch.equal(a[1], c[1])


# --- physics ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [(0.3, -0.2), (6.0, 0.0)], ids=["height field", "block beyond it"])
def test_contact_forces_carry_the_weight(amp, make_simulator, resting, plateau, place):
    simulator = make_simulator(amp, 1, contact_forces=True, terrain=plateau)
    start = resting(amp, 1, height=0.95)
    start.root_position[0, :2] = torch.tensor(place)
    start.root_position[0, 2] += plateau.heights(torch.tensor(place))
    simulator.set_state(torch.tensor([0]), start)
    upward = 0.0
    for step in range(180):
        simulator.step(torch.zeros(1, amp.skeleton.num_dofs))
        upward += float(simulator.robot().contact_forces[..., 2].sum()) / 30 * (step >= 150)
    weight = 9.81 * float(amp.spec().compile().body_mass.sum())
    assert upward == pytest.approx(weight, rel=0.05)


def test_the_engine_is_the_same_for_a_plane_and_a_level_height_field(amp, make_simulator, resting, plateau):
    """Free fall, before any contact: the ground has no part in it."""
    finals = []
    for terrain in (FLAT, plateau):
        simulator = make_simulator(amp, 1, terrain=terrain)
        simulator.set_state(torch.tensor([0]), resting(amp, 1, height=6.0))
        for _ in range(10):
            simulator.step(torch.zeros(1, amp.skeleton.num_dofs))
        finals.append(simulator.robot().body_positions)
    assert torch.equal(*finals)


# --- placing and lifting ---------------------------------------------------------------------------------------------


def test_a_robot_in_the_air_stays_as_high_over_the_ground(amp, resting, plateau):
    ground = Ground(plateau, amp, 3, torch.device("cpu"))
    start = resting(amp, 2, height=3.0)
    placed = ground.place(torch.tensor([0, 2]), start, torch.Generator())
    np.testing.assert_allclose(placed.root_position, [[0.5, -0.3, 5.0]] * 2, atol=1e-6)
    np.testing.assert_allclose(ground.offsets, [[0.5, -0.3], [0.0, 0.0], [0.5, -0.3]], atol=1e-6)
    assert torch.equal(start.root_position[:, 2], torch.tensor([3.0, 3.0])), "the state given is not changed"


def test_a_robot_that_would_be_in_the_ground_is_lifted_out(amp, resting, plateau):
    ground = Ground(plateau, amp, 1, torch.device("cpu"))
    placed = ground.place(torch.tensor([0]), resting(amp, 1, height=0.2), torch.Generator())
    state = amp.collision_points.lowest(*forward_kinematics(amp.skeleton, placed.root_position, placed.local_rotations))
    assert float(state.min()) == pytest.approx(2.0, abs=1e-5)


def test_a_reference_is_shifted_and_lifted_by_its_root_or_body_by_body(amp, random_bodies, plateau):
    ground = Ground(plateau, amp, 4, torch.device("cpu"))
    ground.offsets[:] = torch.tensor([[0.0, 0.0], [2.5, 0.0], [9.0, 1.0], [0.0, -3.5]])
    clip = random_bodies(0, 2, 3, amp.skeleton.num_bodies)
    ids = torch.tensor([1, 3])
    for lift in ("root", "bodies"):
        there = ground.lifted(clip, ids, lift)
        moved = clip.body_positions[..., :2] + ground.offsets[ids].view(2, 1, 1, 2)
        assert torch.equal(there.body_positions[..., :2], moved)
        below = plateau.heights(moved) if lift == "bodies" else plateau.heights(moved[:, :, :1])
        np.testing.assert_allclose(there.body_positions[..., 2], clip.body_positions[..., 2] + below, atol=1e-6)
        assert 0 < (below > 1.9).float().mean() < 1, "some are on the plateau, some are not"
        assert torch.equal(there.body_rotations, clip.body_rotations)
        assert torch.equal(there.body_velocities, clip.body_velocities)
    level = Ground(FLAT, amp, 4, torch.device("cpu"))
    assert level.lifted(clip, ids) is clip


def test_the_robot_is_judged_against_the_reference_on_the_ground(make_env, plateau):
    env = make_env(2, terrain=plateau, task=FOLLOW)
    env.reset(seed=0)
    context = env._context(None)
    assert (context.reference.body_positions[:, 0, 2] > 2.5).all()
    assert context.tracking.distances.max() < 2e-3, "soles that are a hair below the ground are lifted out"
    assert (context.ground_height == 2.0).all()
    own = context.state.body_positions[:, 0, 2] - 2.0
    proprioception = env.step(still(env))[0][:, 0]
    np.testing.assert_allclose(proprioception, own, atol=0.05)


# --- what is seen ----------------------------------------------------------------------------------------------------


def test_the_height_map_turns_with_the_heading(amp, moment, random_bodies, plateau):
    bodies = random_bodies(0, 3, amp.skeleton.num_bodies)
    # On the wall of the plateau at x = 3.05: with the back to the plateau, facing it, and with it to the right.
    yaw = torch.tensor([0.0, np.pi, -np.pi / 2]).float()
    bodies.body_positions[:, 0] = torch.tensor([3.05, 0.0, 3.0])
    bodies.body_rotations[:, 0] = quat_from_exp_map(torch.stack([0 * yaw, 0 * yaw, yaw], dim=-1))
    seen = height_map(moment(amp, bodies, terrain=plateau)).view(3, 16, 16)
    up, down = torch.tensor(1.0), torch.tensor(3.0)  # m below the root: the plateau, the ground beside it
    for turned in (seen[0], seen[1].flip(0), seen[2].T):
        assert torch.allclose(turned[:8], up) and torch.allclose(turned[8:], down)


def test_the_height_map_has_16_by_16_points_2_15_m_apart(amp, moment, random_bodies):
    slope = Terrain.from_grid(torch.linspace(0, 4, 41).repeat(41, 1).T.contiguous(), 0.1, walkable_slope=99.0)
    bodies = random_bodies(0, 1, amp.skeleton.num_bodies)
    bodies.body_positions[:, 0] = torch.tensor([0.0, 0.0, 5.0])
    bodies.body_rotations[:, 0] = torch.tensor([0.0, 0.0, 0.0, 1.0])
    seen = height_map(moment(amp, bodies, terrain=slope))
    assert seen.shape == (1, 256)
    # The ground rises by 1 m per m along x: from 1 m under the point 1 m behind to 3 m under that before.
    want = 5.0 - (2.0 + torch.linspace(-1, 1, 16)).repeat_interleave(16)
    np.testing.assert_allclose(seen[0], want, atol=1e-5)
    assert float(seen[0, 0] - seen[0, 16]) == pytest.approx(2 / 15, abs=1e-5)


def test_a_fall_is_a_fall_on_a_hill(amp, moment, random_bodies, plateau):
    bodies = random_bodies(0, 2, amp.skeleton.num_bodies)
    bodies.body_positions[:] = torch.tensor([0.0, 0.0, 2.1])
    bodies.body_positions[1, :, 0] = 3.5
    forces = torch.ones(2, amp.skeleton.num_bodies, 3)
    context = moment(amp, bodies, joint_level={"contact_forces": forces}, terrain=plateau)
    assert terminations.fallen(context, [1, 2], 0.15).tolist() == [True, False]


# --- pictures --------------------------------------------------------------------------------------------------------


def test_a_picture_shows_the_ground(amp, plateau):
    try:
        renderer = SceneRenderer(amp, plateau, width=160, height=128)
    except RenderError as error:
        pytest.skip(f"no OpenGL without a display: {error}")
    qpos = renderer.model.qpos0[: renderer._picture.robot_nq].copy()
    frames = []
    for x, z in ((0.0, 2.9), (30.0, 0.9), (3.0, 2.9)):
        renderer._look_at.clear()
        qpos[0], qpos[2] = x, z
        frames.append(renderer.frame(qpos).astype(int)[80:])
    middle, far, edge = frames
    # Near by, the plateau's middle looks like the plain; its edge does not.
    assert np.abs(far - middle).mean() < 1
    assert np.abs(edge - middle).mean() > 5
    renderer.close()


def test_a_start_state_is_untouched_on_flat_ground(amp, resting):
    start = resting(amp, 2)
    placed = Ground(FLAT, amp, 2, torch.device("cpu")).place(torch.tensor([0, 1]), start, torch.Generator())
    assert isinstance(placed, ResetState) and placed is start
