import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

SAME_STEP, NEXT_STEP, DISABLED = MODES = (AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED)
GENTLE = {"action": "residual", "failure_weighting": False, "grace_steps": 0}
"""actions of zero follow the walk for a second, so that nothing fails"""


# --- ends and autoreset ----------------------------------------------------------------------------------------------


def test_the_final_observation_is_the_last_one_of_the_old_episode(make_env, noisy):
    task = {"episode_seconds": 0.5, "grace_steps": 2}
    env, twin = make_env(4, task=task), make_env(4, task=task, autoreset_mode=DISABLED)
    env.reset(seed=1)
    twin.reset(seed=1)
    ends = torch.zeros(4, dtype=torch.long)
    for step in range(40):
        a, *outcome, info = env.step(noisy(env, step))
        b, *true_outcome, _ = twin.step(noisy(env, step))
        assert all(map(torch.equal, outcome, true_outcome))
        done = outcome[1] | outcome[2]
        assert ("final_obs" in info) == bool(done.any())
        if done.any():
            assert torch.equal(info["_final_obs"], done)
            assert torch.equal(info["final_obs"][done], b[done])
            b, _ = twin.reset(options={"reset_mask": done})
            assert not torch.equal(info["final_obs"][done], a[done])
            ends += done
        # The twin draws the same starts, because both draw them for the same environments in the same order.
        assert torch.equal(a, b)
    assert (ends >= 2).all()


def test_next_step_mode_shows_the_end_first_and_resets_in_the_step_after(make_env, noisy):
    task = {"episode_seconds": 0.4, "termination_distance": None}
    env, twin = make_env(3, task=task, autoreset_mode=NEXT_STEP), make_env(3, task=task, autoreset_mode=DISABLED)
    env.reset(seed=5)
    twin.reset(seed=5)
    pending, resets = torch.zeros(3, dtype=torch.bool), 0
    for step in range(40):
        # Environments that wait for their reset ignore the action: the twin gets another one there.
        actions = noisy(env, step)
        if pending.all():
            fresh, _ = twin.reset(options={"reset_mask": pending})
            a, reward, terminated, truncated, info = env.step(actions)
            assert torch.equal(a, fresh)
            assert not (reward.any() or terminated.any() or truncated.any())
            assert not any(value.any() for value in info["metrics"].values())
            pending, resets = terminated | truncated, resets + 1
            continue
        a, reward, terminated, truncated, info = env.step(actions)
        b, true_reward, true_terminated, true_truncated, _ = twin.step(actions)
        assert torch.equal(a, b) and torch.equal(reward, true_reward)
        assert torch.equal(terminated, true_terminated) and torch.equal(truncated, true_truncated)
        assert "final_obs" not in info
        pending = terminated | truncated
        assert pending.all() or not pending.any(), "the test wants all to end together"
    assert resets >= 2


@pytest.mark.parametrize("mode", MODES)
def test_an_episode_that_runs_out_of_time_is_truncated(make_env, still, mode):
    env = make_env(2, task={**GENTLE, "episode_seconds": 0.3}, autoreset_mode=mode)
    env.reset(seed=0)
    assert env.max_episode_length == 9
    ends = []
    for _ in range(9):
        _, _, terminated, truncated, _ = env.step(still(env))
        assert not terminated.any()
        ends.append(truncated.tolist())
    assert ends == [[False, False]] * 8 + [[True, True]]


@pytest.mark.parametrize("clip", ["kick", "punch"])
def test_the_end_of_a_clip_that_does_not_repeat_truncates(make_env, still, clip):
    env = make_env(1, motions=clip, task={"start": "zero", "termination_distance": None, "grace_steps": 0})
    env.reset(seed=0)
    duration = float(env.components.controls["reference"].library.durations[0])
    ends = []
    for _ in range(round(duration * 30)):
        _, _, terminated, truncated, _ = env.step(still(env))
        assert not terminated
        ends.append(bool(truncated))
    assert ends == [False] * (len(ends) - 1) + [True]


def test_a_clip_that_repeats_does_not_end_the_episode(make_env, still):
    env = make_env(1, task={"start": "zero", "termination_distance": None})
    env.reset(seed=0)
    for _ in range(45):  # 1.5 s of a clip of 1.27 s
        *_, truncated, _ = env.step(still(env))
        assert not truncated


def test_losing_the_reference_terminates_when_the_farthest_body_is_too_far(make_env, noisy):
    env = make_env(6, task={"termination_distance": 0.3, "grace_steps": 0, "rewards": "tight"})
    env.reset(seed=0)
    seen = 0
    for step in range(40):
        _, _, terminated, truncated, info = env.step(noisy(env, step))
        assert torch.equal(terminated, info["metrics"]["max_body_error"] > 0.3)
        assert not truncated.any()
        seen += int(terminated.sum())
    assert seen >= 6


def test_grace_steps_hold_terminations_back(make_env, still):
    env = make_env(3, task={"termination_distance": 0.0, "grace_steps": 4})
    env.reset(seed=0)
    ends = [bool(env.step(still(env))[2].all()) for _ in range(10)]
    assert ends == [False] * 4 + [True] + [False] * 4 + [True]


def test_an_end_is_a_failure_or_a_time_out_and_never_both(make_env, still):
    env = make_env(2, task={"termination_distance": 0.0, "grace_steps": 8, "episode_seconds": 0.3})
    env.reset(seed=0)
    for _ in range(9):
        _, _, terminated, truncated, _ = env.step(still(env))
    assert terminated.all() and not truncated.any()


def test_the_change_of_targets_is_measured_from_one_step_to_the_next(make_env, noisy):
    env = make_env(2, task={"termination_distance": None})
    env.reset(seed=0)
    pose = env.simulator.robot().dof_positions
    for step in range(3):
        actions = noisy(env, step)
        targets = env.components.action(actions)
        change = env.step(actions)[-1]["metrics"]["reward/target_change"]
        # The first change is from the pose in which the episode began.
        torch.testing.assert_close(change, (targets - pose).norm(dim=-1), atol=1e-3, rtol=0)
        pose = targets


def test_episode_statistics_match_a_count_by_hand(make_env, noisy):
    env = make_env(4, task={"episode_seconds": 0.5, "grace_steps": 1, "termination_distance": 0.25})
    env.reset(seed=0)
    returns, lengths, ended = np.zeros(4), np.zeros(4, int), 0
    for step in range(50):
        _, reward, terminated, truncated, info = env.step(noisy(env, step))
        returns += reward.numpy()
        lengths += 1
        done = (terminated | truncated).numpy()
        assert ("episode" in info) == done.any()
        if done.any():
            np.testing.assert_array_equal(info["_episode"], done)
            np.testing.assert_allclose(info["episode"]["r"].numpy()[done], returns[done], rtol=1e-5)
            np.testing.assert_array_equal(info["episode"]["l"].numpy()[done], lengths[done])
            returns[done], lengths[done] = 0, 0
            ended += int(done.sum())
    assert ended >= 12


def test_the_clip_that_is_reported_is_the_one_of_the_step(make_env, still):
    env = make_env(5, motions=["walk", "run", "kick"], task={"start": "sequential", "episode_seconds": 0.2})
    env.reset(seed=0)
    assert env.clip_names == ("walk", "run", "kick")
    for _ in range(7):
        *_, info = env.step(still(env))
        assert info["clip"].tolist() == [0, 1, 2, 0, 1]


# --- lost states -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e12])
@pytest.mark.parametrize("mode", MODES)
def test_a_lost_state_ends_its_own_episode_and_reaches_nobody(make_env, still, mode, bad):
    env = make_env(3, task={**GENTLE, "grace_steps": 5, "rewards": "v3"}, autoreset_mode=mode)
    twin = make_env(3, task={**GENTLE, "grace_steps": 5, "rewards": "v3"}, autoreset_mode=mode)
    for each in (env, twin):
        each.reset(seed=0)
        each.step(still(each))
    env.simulator.batch.bind("qvel")[1] = bad
    unstable = torch.zeros(3)
    others = torch.tensor([0, 2])
    for step in range(4):
        observation, reward, terminated, truncated, info = env.step(still(env))
        expected = twin.step(still(twin))
        unstable += info["metrics"]["unstable"]
        if step == 0:
            assert terminated.tolist() == [False, True, False] and not truncated.any()
            assert info["metrics"]["failed"].tolist() == [False, True, False]
            assert reward[1] == 0
            if mode is SAME_STEP:
                assert not info["final_obs"][1].any()
        elif mode is not DISABLED:
            assert not (terminated | truncated).any()
        if mode is DISABLED and step == 1:
            # Another environment is reset before the lost one.
            observation, _ = env.reset(options={"reset_mask": torch.tensor([True, False, False])})
            twin.reset(options={"reset_mask": torch.tensor([True, False, False])})
            assert torch.isfinite(observation).all()
            observation, _ = env.reset(options={"reset_mask": torch.tensor([False, True, False])})
        elif not (mode is DISABLED and step > 1):
            assert torch.equal(observation[others], expected[0][others])
        assert torch.isfinite(observation).all() and torch.isfinite(reward).all()
        assert all(torch.isfinite(value.float()).all() for value in info["metrics"].values())
    assert unstable.tolist() == [0, 2 if mode is DISABLED else 1, 0]
