import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from poselib.rotations import quat_apply, quat_from_exp_map
from proto_envs.components import motion_metrics as m
from proto_envs.context import RecentBodies

N, B = 4, 15
DT = 1 / 30
STEPS = torch.arange(4.0).view(4, 1, 1)
"""control steps before now"""


def recent(path, known=3, offsets=None):
    """The three moments before now of a path (4, B, 3), the latest first."""
    return RecentBodies(path[1:].unsqueeze(0), torch.tensor([known]), None if offsets is None else offsets[1:][None])


def test_jerk_of_a_cubic_is_its_third_derivative(moment, amp, random_bodies, drawn):
    direction = torch.nn.functional.normalize(drawn(1, B, 3), dim=-1)
    times = 1.0 - STEPS * DT
    path = direction * (2.0 + times - times**2 + 4.0 * times**3)  # third derivative 24 m/s³
    bodies = replace(random_bodies(0, 1, B), body_positions=path[:1])
    found = m.jerk_mps3(moment(amp, bodies, recent=recent(path.double().float())))
    assert found.item() == pytest.approx(24.0, rel=0.02)
    assert m.jerk_mps3(moment(amp, bodies, recent=recent(path, known=2))).isnan().all()


def test_velocity_and_acceleration_errors_are_differences_of_displacements(moment, amp, random_bodies, drawn):
    path, target = drawn(2, 4, B, 3), drawn(3, 4, B, 3)
    reference = random_bodies(0, 1, B)
    bodies, motion = replace(reference, body_positions=path[:1]), replace(reference, body_positions=target[:1])
    ctx = moment(amp, bodies, motion=motion, recent=recent(path, 2, path - target))
    moved = (path[0] - path[1]) - (target[0] - target[1])
    assert m.velocity_error_mm(ctx).item() == pytest.approx(1000 * moved.norm(dim=-1).mean().item(), rel=1e-4)
    bent = (path[0] - 2 * path[1] + path[2]) - (target[0] - 2 * target[1] + target[2])
    assert m.acceleration_error_mm(ctx).item() == pytest.approx(1000 * bent.norm(dim=-1).mean().item(), rel=1e-4)
    early = moment(amp, bodies, motion=motion, recent=recent(path, 1, path - target))
    assert m.velocity_error_mm(early).isfinite().all() and m.acceleration_error_mm(early).isnan().all()


def test_procrustes_against_scipy_and_without_reflections(drawn):
    points, target = drawn(4, N, B, 3), drawn(5, N, B, 3)
    points[1] = target[1] * torch.tensor([1.0, 1.0, -1.0])  # a mirror image is no turned copy
    found = m.procrustes_distances(points, target)
    for one, other, distances in zip(points.double().numpy(), target.double().numpy(), found, strict=True):
        one, other = one - one.mean(0), other - other.mean(0)
        rotation, _ = Rotation.align_vectors(other, one)
        turned = rotation.apply(one)
        scale = (turned * other).sum() / (turned**2).sum()
        np.testing.assert_allclose(distances, np.linalg.norm(scale * turned - other, axis=1), atol=2e-5)
    assert found[1].max() > 0.1
    turn = quat_from_exp_map(torch.tensor([0.3, -1.0, 0.5]))
    moved = 1.7 * quat_apply(turn.expand(N, B, 4), target) + torch.tensor([5.0, -2.0, 1.0])
    assert m.procrustes_distances(moved, target).max() < 1e-5
    points[2, 3, 0] = torch.nan
    again = m.procrustes_distances(points, target)
    assert again[2].isnan().all() and torch.equal(again[[0, 1, 3]], found[[0, 1, 3]])


@pytest.mark.parametrize("name", ["AMP", "SMPL"])
def test_a_foot_slides_as_fast_as_the_point_it_stands_on(moment, make_simulator, resting, name):
    from proto_envs.robots import get_robot

    robot = get_robot(name)
    simulator = make_simulator(robot, 1)
    simulator.set_state(torch.tensor([0]), resting(robot, 1))
    state = simulator.robot()
    zeros = torch.zeros_like(state.body_positions)
    feet = robot.skeleton.body_indices(robot.feet)

    def slide(velocities, turning, standing):
        forces = zeros.clone()
        forces[0, standing, 2] = 100.0
        bodies = type("Bodies", (), {"body_positions": state.body_positions})()
        ctx = moment(robot, _bodies(bodies.body_positions, state.body_rotations, velocities, turning))
        ctx.state.contact_forces = forces
        return m.foot_slide_mmps(ctx).item()

    velocities = zeros.clone()
    velocities[0, feet[0]] = torch.tensor([0.3, -0.4, 7.0])  # 0.5 m/s along the ground
    assert slide(velocities, zeros, feet[:1]) == pytest.approx(500.0, rel=1e-4)
    assert slide(velocities, zeros, [feet[0], feet[-1]]) == pytest.approx(250.0, rel=1e-4)
    assert math.isnan(slide(velocities, zeros, []))
    # A foot that rolls over its lowest point does not slide: v = -ω × arm.
    points = robot.collision_points
    rows = [row for row, body in enumerate(points.bodies) if body == feet[0]]
    arms = (
        quat_apply(state.body_rotations[:, feet[0]], points.points[rows]) - points.radii[rows, None] * torch.eye(3)[2]
    )
    lowest, turning = arms[arms[:, 2].argmin()], zeros.clone()
    turning[0, feet[0]] = torch.tensor([0.0, 4.0, 0.0])
    velocities[0, feet[0]] = -torch.linalg.cross(turning[0, feet[0]], lowest)
    assert slide(velocities, turning, feet[:1]) == pytest.approx(0.0, abs=1e-3)
    assert slide(zeros, turning, feet[:1]) == pytest.approx(4000.0 * abs(lowest[2].item()), rel=1e-4)


def _bodies(positions, rotations, velocities, turning):
    from motionlib import BodyState

    return BodyState(positions, rotations, velocities, turning, torch.zeros(positions.shape[:2]))


def test_speed_against_the_clips(library):
    clips = library("walk")
    wanted = clips.body_velocities[:, 0, :2].norm(dim=-1).mean().item()
    assert m.mean_speed(clips) == pytest.approx(wanted, rel=0.02) and 0.8 < wanted < 1.2


def test_an_environment_measures_them_only_when_asked(make_env, roll):
    given = {"motions": "walk", "task": {"termination_distance": None, "start": "zero"}, "autoreset_mode": "Disabled"}
    plain, detailed = make_env(2, **given), make_env(2, detailed_metrics=True, **given)
    plain.reset(seed=3), detailed.reset(seed=3)
    without, found = roll(plain, 5), roll(detailed, 5)
    extra = found[-1][4]["metrics"].keys() - without[-1][4]["metrics"].keys()
    assert extra == {
        *("speed_mps", "speed_ratio", "power_w", "jerk_mps3", "foot_slide_mmps"),
        *("mpjpe_procrustes_mm", "velocity_error_mm", "acceleration_error_mm"),
    }
    assert "body_memory" not in plain.unwrapped.components.controls
    for a, b in zip(without, found, strict=True):  # looking changes nothing
        assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


def test_in_an_environment_differences_are_those_of_the_true_paths(make_env, noisy, assert_equal):
    env = make_env(2, motions="walk", detailed_metrics=True, task={"termination_distance": None}).unwrapped
    env.reset(seed=1)
    offsets, positions, metrics = [], [], []

    def look():
        ctx = env._context(None)
        offsets.append(ctx.tracking.offsets)
        positions.append(ctx.state.body_positions)

    look()
    for step in range(5):
        metrics.append(env.step(noisy(env, step))[4]["metrics"])
        look()
    saved = env.state_dict()
    o, p = torch.stack(offsets), torch.stack(positions)
    for t in range(5):
        moved = 1000 * (o[t + 1] - o[t]).norm(dim=-1).mean(-1)
        torch.testing.assert_close(metrics[t]["velocity_error_mm"], moved, atol=1e-3, rtol=1e-3)
        if t >= 1:
            bent = 1000 * (o[t + 1] - 2 * o[t] + o[t - 1]).norm(dim=-1).mean(-1)
            torch.testing.assert_close(metrics[t]["acceleration_error_mm"], bent, atol=2e-3, rtol=1e-3)
        if t >= 2:
            jerk = (p[t + 1] - 3 * p[t] + 3 * p[t - 1] - p[t - 2]).norm(dim=-1).mean(-1) / env.simulator.dt**3
            torch.testing.assert_close(metrics[t]["jerk_mps3"], jerk, rtol=1e-2, atol=0.1)
    assert metrics[0]["acceleration_error_mm"].isnan().all() and metrics[1]["jerk_mps3"].isnan().all()
    wanted = env.step(noisy(env, 9))
    env.reset(seed=7)
    env.load_state_dict(saved)
    assert_equal(env.step(noisy(env, 9)), wanted)
