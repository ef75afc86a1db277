from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from poselib.rotations import quat_from_yaw, quat_multiply
from proto_envs.components import deployable
from proto_envs.components.terms import any_failure

N, ANCHOR = 6, 2


def moved(bodies, yaw, shift):
    """The same bodies in a world that is turned about z and shifted."""
    matrix = torch.tensor(Rotation.from_euler("z", yaw).as_matrix()).float()
    turn = quat_from_yaw(torch.tensor(yaw)).expand_as(bodies.body_rotations)
    return replace(
        bodies,
        body_positions=bodies.body_positions @ matrix.T + torch.tensor(shift),
        body_rotations=quat_multiply(turn, bodies.body_rotations),
        body_velocities=bodies.body_velocities @ matrix.T,
        body_angular_velocities=bodies.body_angular_velocities @ matrix.T,
    )


def kernels():
    return {
        **{kernel.__name__: kernel for kernel in deployable.SENSES},
        "distances": partial(deployable.carried_distances, anchor=ANCHOR),
        "position": partial(deployable.carried_position_tracking, anchor=ANCHOR, deviation=0.3),
        "rotation": partial(deployable.carried_rotation_tracking, anchor=ANCHOR, deviation=0.4),
        "lost_limb": partial(deployable.lost_limb, anchor=ANCHOR, bodies=[5, 8], height=0.3),
        "lost_anchor": partial(deployable.lost_anchor, anchor=ANCHOR, height=0.3, tilt=0.5),
    }


@pytest.fixture
def situation(amp, random_bodies, moment, drawn):
    """`situation(yaw, shift)`: a robot near nothing in particular, with the world turned under it."""

    def make(yaw=0.0, shift=(0.0, 0.0, 0.0)):
        joints = {"dof_positions": drawn(9, N, 28), "dof_velocities": drawn(10, N, 28)}
        return moment(
            amp,
            moved(random_bodies(0, N, 15), yaw, shift),
            motion=random_bodies(3, N, 15),
            upcoming=random_bodies(6, N, 2, 15),
            joint_level=joints,
        )

    return make


@pytest.mark.parametrize("name", kernels())
def test_where_the_robot_is_and_faces_changes_nothing(situation, name):
    kernel = kernels()[name]
    here, there = kernel(situation()), kernel(situation(2.0, (3.0, -5.0, 0.0)))
    torch.testing.assert_close(here.float(), there.float(), atol=2e-4, rtol=1e-4)


def test_the_policy_sees_the_heading_against_the_reference_but_no_place(situation):
    kernel = partial(deployable.future_joints, anchor=ANCHOR)
    assert torch.equal(kernel(situation()), kernel(situation(0.0, (3.0, -5.0, 1.0))))
    turned = (kernel(situation()) - kernel(situation(1.0))).view(N, 2, -1)
    assert not turned[..., :-6].any() and bool((turned[..., -6:].abs().amax(-1) > 0.1).all())


def test_the_carried_reference_meets_the_anchor_but_for_its_height(situation):
    """Against scipy: the rotation about z that brings the one anchor's heading nearest to the other's."""
    ctx = situation(0.7, (1.0, 2.0, 0.3))
    found = deployable.carried_distances(ctx, ANCHOR)
    for i in range(N):
        here, there = (Rotation.from_quat(s.body_rotations[i, ANCHOR]) for s in (ctx.state, ctx.reference))
        x, y, _ = (here * there.inv()).apply([1.0, 0.0, 0.0])
        turn = Rotation.from_euler("z", np.arctan2(y, x))
        place = ctx.reference.body_positions[i].numpy()
        goal = turn.apply(place - place[ANCHOR]) + place[ANCHOR]
        goal[:, :2] += (ctx.state.body_positions[i, ANCHOR] - ctx.reference.body_positions[i, ANCHOR])[:2].numpy()
        expected = np.linalg.norm(ctx.state.body_positions[i].numpy() - goal, axis=-1)
        np.testing.assert_allclose(found[i], expected, atol=2e-4)
    error = deployable.anchor_height_error(ctx, ANCHOR)
    torch.testing.assert_close(found[:, ANCHOR], error)


def test_future_joints_are_those_of_the_library(make_env):
    env = make_env(3, name="DeployableMimic", motions=["spin", "kick"], task={"future_steps": (1, 4)})
    env.reset(seed=0)
    reference = env.components.controls["reference"]
    (tokens,) = [value for kind, value in env.observation_tokens.items() if kind != "state"]
    observation = env.step(torch.zeros(3, 28))[0]
    for row, ahead in zip(tokens, (1, 4), strict=True):
        seen = observation[:, row]
        expected = reference.library.get_motion_state(reference.clips, reference.times + ahead * env.simulator.dt)
        torch.testing.assert_close(seen[:, :28], expected.dof_positions, atol=5e-3, rtol=1e-3)
        torch.testing.assert_close(seen[:, 28:56], expected.dof_velocities, atol=0.2, rtol=0.05)


def test_the_senses_are_what_a_gyroscope_and_an_accelerometer_say(make_env):
    env = make_env(2, name="DeployableMimic", task={"action": "residual"})
    seen = env.reset(seed=3)[0]
    state = env.simulator.robot()
    root = Rotation.from_quat(state.body_rotations[:, 0])
    np.testing.assert_allclose(seen[:, :3], root.inv().apply([0.0, 0.0, -1.0]), atol=1e-5)
    np.testing.assert_allclose(seen[:, 3:6], root.inv().apply(state.body_angular_velocities[:, 0]), atol=1e-4)
    assert torch.equal(seen[:, 6:34], state.dof_positions) and torch.equal(seen[:, 34:62], state.dof_velocities)


def test_the_critic_alone_sees_the_body_in_the_world(make_env):
    env = make_env(2, name="DeployableMimic", robot="G1", observation="groups", motions="walk")
    sizes = {name: space.shape[0] for name, space in env.single_observation_space.items()}
    dofs, bodies = 29, 33
    own = 2 * dofs + 6 + 4 * (2 * dofs + 6) + dofs
    assert sizes["policy"] == own == 349
    assert sizes["critic"] == own + 15 * bodies - 2 + 12 * bodies


@pytest.mark.parametrize("yaw", [0.0, 2.5])
def test_episodes_end_by_height_and_tilt_not_by_place(make_env, yaw):
    env = make_env(1, name="DeployableMimic", motions="walk")
    env.reset(seed=0)
    anchor, (left_hand, *_) = env.task._bodies(env_setup(env))
    ctx = env._context(None)

    def fails(change):
        bodies = moved(ctx.reference, yaw, (4.0, 1.0, 0.0))
        change(bodies)
        state = type(ctx.state)(
            bodies.body_positions,
            bodies.body_rotations,
            bodies.body_velocities,
            bodies.body_angular_velocities,
            read=lambda name: getattr(ctx.state, name),
        )
        return any_failure(env.components.terminations, replace(ctx, state=state)).item()

    def lift(body, height):
        return lambda bodies: bodies.body_positions[:, body, 2].add_(height)

    def lay(bodies):
        down = torch.tensor(Rotation.from_euler("y", 1.5).as_quat()).float()
        bodies.body_rotations[:] = quat_multiply(down.expand_as(bodies.body_rotations), bodies.body_rotations)

    assert not fails(lambda bodies: None)
    assert fails(lift(anchor, 0.26)) and not fails(lift(anchor, -0.24))
    assert fails(lift(left_hand, -0.26)) and not fails(lift(left_hand, 0.24))
    assert fails(lay)


def env_setup(env):
    """The part of a setup that `_bodies` reads."""
    return type("Setup", (), {"robot": env.robot})


def test_an_evaluation_may_play_on_after_failures(make_env):
    env = make_env(1, name="DeployableMimic", task={"fail_early": False})
    assert not env.components.terminations


def test_mirrored_robots_see_and_earn_alike(make_env):
    env = make_env(1, name="DeployableMimic", robot="G1", observation="groups", motions="walk")
    assert set(env.symmetry) == {"action", "policy", "critic"}
