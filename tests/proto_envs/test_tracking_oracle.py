"""A robot that is put into the reference pose each step is the best tracker there is, and must be told so."""

import gymnasium
import pytest
import torch

import proto_envs  # noqa: F401  registers the ids
from proto_envs.context import ResetState


def follow_reference(env, offset=(0.0, 0.0, 0.0)):
    """Replace the physics of `env` by its reference, moved by `offset`."""
    simulator, reference = env.unwrapped.simulator, env.unwrapped.components.controls["reference"]
    ids = torch.arange(env.num_envs)

    def step(targets):
        library = reference.library
        state = library.get_motion_state(reference.clips, reference.times + reference.dt)
        simulator.set_state(
            ids,
            ResetState(
                root_position=state.body_positions[:, 0] + torch.tensor(offset),
                local_rotations=state.local_rotations,
                dof_positions=library.skeleton.dofs_from_local_rotations(state.local_rotations),
                root_velocity=state.body_velocities[:, 0],
                root_angular_velocity=state.body_angular_velocities[:, 0],
                dof_velocities=state.dof_velocities,
            ),
        )

    simulator.step = step


def play(env, steps=25):
    """Metrics over a rollout, each (steps, N), and whether any episode failed."""
    env.reset(seed=0)
    metrics, failed = [], False
    for _ in range(steps):
        _, _, terminated, _, info = env.step(torch.zeros(env.action_space.shape))
        metrics.append(info["metrics"])
        failed |= bool(terminated.any())
    return {name: torch.stack([each[name].float() for each in metrics]) for name in metrics[0]}, failed


@pytest.mark.parametrize(
    ("task", "robot", "rewards"),
    [
        ("Mimic", "AMP", "v3"),
        ("Mimic", "SMPL", "v1"),
        ("Mimic", "AMP", "tight"),
        ("MaskedMimic", "SMPL", "v3"),
        ("MaskedMimic", "AMP", "v1"),
    ],
)
def test_the_reference_itself_gets_the_whole_reward_and_never_fails(task, robot, rewards):
    env = gymnasium.make_vec(
        f"Proto{task}-{robot}-v0", num_envs=3, motions=["walk", "run"], threads=1, task={"rewards": rewards}
    )
    follow_reference(env)
    metrics, failed = play(env)
    assert not failed
    tracking = {"reward/position", "reward/rotation", "reward/velocity", "reward/angular_velocity"}
    tracking |= {"reward/root_height"} & metrics.keys()
    for name in tracking:
        # Between the frames of a clip its velocities are not quite those of its joints.
        assert metrics[name].min() > 0.92 and metrics[name].mean() > 0.985, name
    assert metrics["mpjpe_mm"].max() < 5.0 and metrics["max_body_error"].max() < 0.02
    assert not metrics["failed"].any() and not metrics["failed_max_error"].any()
    env.close()


def test_success_ends_where_the_mean_error_passes_half_a_metre():
    for distance, missed in ((0.49, False), (0.51, True)):
        env = gymnasium.make_vec(
            "ProtoMimic-AMP-v0", num_envs=2, motions="walk", threads=1, task={"termination_distance": None}
        )
        follow_reference(env, (0.0, distance, 0.0))
        metrics, failed = play(env, 10)
        assert not failed and bool(metrics["failed"].any()) is missed
        env.close()


def test_key_poses_are_reached_by_who_follows_the_clip():
    env = gymnasium.make_vec(
        "ProtoMaskedMimic-AMP-v0", num_envs=3, motions="walk", threads=1, task={"goal": "inbetween"}
    )
    follow_reference(env)
    goals, due = env.unwrapped.components.controls["goals"], 0
    env.reset(seed=0)
    for _ in range(65):
        before = goals.goal.map(torch.clone)
        _, _, terminated, _, info = env.step(torch.zeros(env.action_space.shape))
        assert not terminated.any() and info["metrics"]["mean_body_error"].max() < 0.005
        now = before.wait[:, -1] == 1
        state = env.unwrapped.simulator.robot().body_positions[:, goals.shape.bodies]
        if now.any():
            assert (state - before.positions[:, -1])[now].norm(dim=-1).max() < 0.01
        due += int(now.sum())
    # A pose a second: two in 65 steps.
    assert due == 6
    env.close()
