from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from poselib.rotations import heading_quat, quat_from_yaw, quat_multiply
from proto_envs.components.observations import future_poses, pose_difference, previous_targets, proprioception
from proto_envs.components.terms import observe

N, K = 5, 3


def heading(quat):
    """Yaw of the rotated x axis, as a scipy rotation."""
    x, y, _ = Rotation.from_quat(quat).apply([1.0, 0.0, 0.0])
    return Rotation.from_euler("z", np.arctan2(y, x))


def axes_in(frame, quat):
    """The rotated x and z axes, 6 numbers, in a frame."""
    rotation = frame.inv() * Rotation.from_quat(quat)
    return np.concatenate([rotation.apply([1.0, 0.0, 0.0]), rotation.apply([0.0, 0.0, 1.0])])


def moved(bodies, yaw, shift):
    """The same bodies in a world that is turned about z and shifted."""
    turn = quat_from_yaw(torch.tensor(yaw))
    matrix = torch.tensor(Rotation.from_euler("z", yaw).as_matrix()).float()
    return replace(
        bodies,
        body_positions=bodies.body_positions @ matrix.T + shift,
        body_rotations=quat_multiply(turn.expand_as(bodies.body_rotations), bodies.body_rotations),
        body_velocities=bodies.body_velocities @ matrix.T,
        body_angular_velocities=bodies.body_angular_velocities @ matrix.T,
    )


def repeated(bodies, times):
    """One state as a future of several equal moments."""
    return bodies.map(lambda field: field.unsqueeze(1).repeat_interleave(times, 1))


# --- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "own", "dofs"), [("AMP", 223, 28), ("SMPL", 358, 69)])
def test_sizes_are_those_of_protomotions(request, random_bodies, moment, name, own, dofs):
    robot = request.getfixturevalue(name.lower())
    bodies = robot.skeleton.num_bodies
    ctx = moment(robot, random_bodies(0, N, bodies), upcoming=random_bodies(3, N, K, bodies))
    assert proprioception(ctx).shape == (N, own) == (N, 15 * bodies - 2)
    assert future_poses(ctx).shape == (N, 24 * bodies * K)
    assert previous_targets(ctx).shape == (N, dofs)
    together = observe((proprioception, future_poses, previous_targets), ctx)
    assert together.shape == (N, own + 24 * bodies * K + dofs)


def test_the_flat_observation_of_mimic_is_its_kernels_side_by_side(make_env):
    env = make_env(2, task={"future_steps": (1, 5)})
    observation, _ = env.reset(seed=0)
    ctx = env._context(None)
    expected = torch.cat([proprioception(ctx), future_poses(ctx), previous_targets(ctx)], dim=-1)
    assert torch.equal(observation, expected)
    assert env.single_observation_space.shape == (223 + 2 * 24 * 15 + 28,)


# --- layout, body by body --------------------------------------------------------------------------------------------


def test_proprioception_is_laid_out_as_documented(robot, random_bodies, moment, drawn):
    bodies = random_bodies(0, N, robot.skeleton.num_bodies)
    ground = drawn(9, N)
    found = proprioception(moment(robot, bodies, ground_height=ground)).numpy()
    for i in range(N):
        p, q, v, w = (
            f[i].double().numpy()
            for f in (
                bodies.body_positions,
                bodies.body_rotations,
                bodies.body_velocities,
                bodies.body_angular_velocities,
            )
        )
        frame = heading(q[0])
        expected = [
            [p[0, 2] - float(ground[i])],
            *(frame.inv().apply(p[b] - p[0]) for b in range(1, len(p))),
            *(axes_in(frame, q[b]) for b in range(len(p))),
            *(frame.inv().apply(v[b]) for b in range(len(p))),
            *(frame.inv().apply(w[b]) for b in range(len(p))),
        ]
        np.testing.assert_allclose(found[i], np.concatenate(expected), atol=1e-5)


def test_future_poses_are_laid_out_as_documented(amp, random_bodies, moment):
    bodies = amp.skeleton.num_bodies
    now, later = random_bodies(0, N, bodies), random_bodies(3, N, K, bodies)
    found = future_poses(moment(amp, now, upcoming=later)).numpy()
    for i in range(N):
        q = now.body_rotations[i].double().numpy()
        frame, vectors, turns = heading(q[0]), [], []

        def local(difference, frame=frame):
            return frame.inv().apply(difference.double().numpy()).flatten()

        for k in range(K):
            vectors += [
                local(later.body_positions[i, k] - now.body_positions[i]),
                local(later.body_positions[i, k] - now.body_positions[i, 0]),
                local(later.body_velocities[i, k] - now.body_velocities[i]),
                local(later.body_angular_velocities[i, k] - now.body_angular_velocities[i]),
                *(axes_in(frame, later.body_rotations[i, k, b].double().numpy()) for b in range(bodies)),
            ]
            turns += [
                axes_in(Rotation.from_quat(q[b]), later.body_rotations[i, k, b].double().numpy()) for b in range(bodies)
            ]
        np.testing.assert_allclose(found[i], np.concatenate([*vectors, *turns]), atol=1e-5)


def test_previous_targets_are_those_of_the_step_just_made(amp, random_bodies, moment, drawn):
    targets, older = drawn(0, N, 28), drawn(1, N, 28)
    ctx = moment(amp, random_bodies(0, N, 15), targets=targets, previous_targets=older)
    assert torch.equal(previous_targets(ctx), targets)


# --- invariance and identities ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("yaw", [0.7, -2.9])
def test_observations_do_not_see_where_in_the_world_they_are(robot, random_bodies, moment, yaw):
    bodies = robot.skeleton.num_bodies
    now, later, shift = random_bodies(0, N, bodies), random_bodies(3, N, K, bodies), torch.tensor([30.0, -7.0, 2.0])
    here = moment(robot, now, upcoming=later)
    there = moment(
        robot,
        moved(now, yaw, shift),
        upcoming=moved(later, yaw, shift),
        ground_height=torch.full((N,), 2.0),
    )
    torch.testing.assert_close(proprioception(here), proprioception(there), atol=1e-4, rtol=0)
    torch.testing.assert_close(future_poses(here), future_poses(there), atol=1e-4, rtol=0)


def test_observations_do_see_a_tilt(amp, random_bodies, moment):
    bodies = random_bodies(0, N, 15)
    turn = torch.tensor(Rotation.from_euler("y", 0.3).as_quat()).float()
    tilted = replace(bodies, body_rotations=quat_multiply(turn.expand_as(bodies.body_rotations), bodies.body_rotations))
    difference = proprioception(moment(amp, bodies)) - proprioception(moment(amp, tilted))
    assert (difference.abs().amax(-1) > 0.1).all()


def test_a_future_equal_to_the_present_has_no_differences(amp, random_bodies, moment):
    bodies = 15
    now = random_bodies(0, N, bodies)
    found = future_poses(moment(amp, now, upcoming=repeated(now, K)))
    vectors, turns = found.split([18 * bodies * K, 6 * bodies * K], dim=-1)
    own, against_root, velocity, angular, _ = vectors.unflatten(-1, (K, -1)).split(
        [3 * bodies, 3 * bodies, 3 * bodies, 3 * bodies, 6 * bodies], dim=-1
    )
    for zero in (own, velocity, angular):
        assert not zero.any()
    assert not against_root[..., :3].any() and against_root[..., 3:].any()
    identity = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    torch.testing.assert_close(turns.unflatten(-1, (-1, 6)), identity.expand(N, K * bodies, 6), atol=1e-5, rtol=0)


def test_a_kernel_of_the_wrong_shape_is_named(amp, random_bodies, moment):
    def height(ctx):
        return ctx.state.body_positions[:, 0, 2]

    with pytest.raises(ValueError, match=r"observation height: want \(5, F\), got \(5,\)"):
        observe((proprioception, height), moment(amp, random_bodies(0, N, 15)))


def test_a_task_without_a_reference_says_what_is_missing(amp, random_bodies, moment):
    with pytest.raises(LookupError, match="add a MotionReference"):
        future_poses(moment(amp, random_bodies(0, N, 15)))


def test_the_difference_is_what_takes_a_robot_to_its_reference(amp, random_bodies, moment):
    """scipy turns by the rotation vectors, in the world, to where the reference is."""
    bodies, count = amp.skeleton.num_bodies, 4
    now, wanted = random_bodies(0, count, bodies), random_bodies(9, count, bodies)
    ctx = moment(amp, now, motion=wanted)
    seen = pose_difference(ctx).view(count, 4, bodies, 3)
    yaw = Rotation.from_quat(heading_quat(now.body_rotations[:, 0]).numpy())
    position, turn, velocity, angular = (
        np.stack([yaw[i].apply(seen[i, part]) for i in range(count)]) for part in range(4)
    )
    for step, field in ((position, "positions"), (velocity, "velocities"), (angular, "angular_velocities")):
        here, there = (getattr(state, f"body_{field}").numpy() for state in (now, wanted))
        np.testing.assert_allclose(here + step, there, atol=1e-5)
    turned = Rotation.from_rotvec(turn.reshape(-1, 3)) * Rotation.from_quat(now.body_rotations.reshape(-1, 4).numpy())
    left = turned.inv() * Rotation.from_quat(wanted.body_rotations.reshape(-1, 4).numpy())
    assert left.magnitude().max() < 1e-4
    assert not pose_difference(moment(amp, now, motion=now)).abs().max() > 1e-6
