import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from proto_envs.motions import load_motions
from proto_envs.registration import environment_ids

SAME_STEP, NEXT_STEP, DISABLED = AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED
MODES = (SAME_STEP, NEXT_STEP, DISABLED)
GENTLE = {"action": "residual", "failure_weighting": False, "grace_steps": 0}
"""actions of zero follow the walk for a second, so that nothing fails"""


def still(env):
    """Zero actions."""
    return torch.zeros(env.action_space.shape)


def noisy(env, step):
    """Actions that make robots fall in different ways."""
    return torch.rand(env.action_space.shape, generator=torch.Generator().manual_seed(step)) * 2 - 1


def roll(env, steps, first=0):
    """Everything that `steps` steps return, copied."""
    return [env.step(noisy(env, first + k)) for k in range(steps)]


def velocities(env):
    """The engine's own (N, nv) array of generalised velocities."""
    return env.simulator.batch.bind("qvel")


QUICK = [id for id in environment_ids() if id.endswith(("-AMP-v0", "-SMPL-v0")) or id.startswith("ProtoMimic-")]
"""every task and every robot; other pairs first retarget several clips"""


# --- making ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", QUICK)
def test_every_task_and_every_robot_makes_a_vector_environment(id):
    env = gymnasium.make_vec(id, num_envs=2, threads=1)
    observation, _ = env.reset(seed=0)
    observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
    assert env.observation_space.contains(observation.numpy())
    assert isinstance(observation, torch.Tensor) and observation.device == env.device
    assert reward.dtype == torch.float32 and terminated.dtype == truncated.dtype == torch.bool
    assert env.spec.id == id
    assert set(info["metrics"]) >= {"failed", "unstable"}
    env.close()


@pytest.mark.slow
@pytest.mark.parametrize("id", [id for id in environment_ids() if id not in QUICK])
def test_every_pair_of_task_and_robot_steps(id):
    env = gymnasium.make_vec(id, num_envs=2, threads=1)
    env.reset(seed=0)
    for _ in range(8):
        observation, reward, *_ = env.step(env.action_space.sample())
        assert torch.isfinite(observation).all() and torch.isfinite(reward).all()
    env.close()


@pytest.mark.parametrize("id", QUICK)
def test_gymnasiums_checker_accepts_the_single_environment(id):
    env = gymnasium.make(id, threads=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        # A humanoid's state has no bounds; gymnasium only asks whether that is meant.
        warnings.filterwarnings("ignore", message=".*Box observation space (minimum|maximum) value is.*infinity")
        check_env(env.unwrapped, skip_render_check=True)
    env.close()


def test_the_single_environment_is_the_vector_environment_of_one(make_env):
    single = gymnasium.make("ProtoMimic-AMP-v0", threads=1).unwrapped
    many = make_env(1, autoreset_mode="disabled")
    a, b = single.reset(seed=3)[0], many.reset(seed=3)[0]
    np.testing.assert_array_equal(a, b[0])
    for step in range(8):
        a = single.step(noisy(many, step)[0].numpy())
        b = many.step(noisy(many, step))
        np.testing.assert_array_equal(a[0], b[0][0])
        assert a[1:4] == (float(b[1][0]), bool(b[2][0]), bool(b[3][0]))
    assert a[4]["metrics"]["mpjpe_mm"] == float(b[4]["metrics"]["mpjpe_mm"][0])
    with pytest.raises(ValueError, match="'mask'"):
        single.reset(options={"mask": [True]})
    single.close()


def test_importing_the_package_loads_neither_torch_nor_an_engine():
    code = (
        "import sys, proto_envs, gymnasium;"
        "assert 'ProtoMimic-SMPL-v0' in gymnasium.registry;"
        "print([m for m in ('torch', 'mujoco', 'motionlib', 'poselib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"motion": "walk"}, TypeError, r"'motion'.*did you mean 'motions'.*'control_hz'"),
        ({"task": {"acton": "residual"}}, TypeError, r"'acton'.*did you mean 'action'.*'episode_seconds'"),
        ({"task": {"episode_seconds": "ten"}}, TypeError, r"'episode_seconds' wants float, got 'ten'"),
        ({"task": {"episode_seconds": None}}, TypeError, r"'episode_seconds' wants float, got None"),
        ({"task": {"grace_steps": 2.5}}, TypeError, r"'grace_steps' wants int, got 2\.5"),
        ({"task": {"failure_weighting": 1}}, TypeError, r"'failure_weighting' wants bool, got 1"),
        ({"task": {"future_steps": ["one"]}}, TypeError, r"'future_steps' wants tuple\[int, \.\.\.\], got \['one'\]"),
        ({"task": {"termination_distance": "far"}}, TypeError, r"'termination_distance' wants float \| None"),
        ({"task": {"action": "relative"}}, ValueError, r"'action' is 'relative'.*'absolute', 'residual'"),
        ({"task": {"rewards": "v2"}}, ValueError, r"'rewards' is 'v2'.*'v3', 'v1', 'tight'"),
        ({"task": {"start": "middle"}}, ValueError, r"'start' is 'middle'.*'random', 'zero', 'sequential'"),
        ({"task": {"episode_seconds": 0}}, ValueError, "episode_seconds must be positive"),
        ({"task": {"grace_steps": -1}}, ValueError, "grace_steps must not be negative"),
        ({"task": ["action"]}, TypeError, r"task=\['action'\]: want a mapping of fields of Mimic"),
        ({"backend": "bullet"}, ValueError, r"'bullet'.*'auto'.*'mujoco'"),
        ({"device": "tpu"}, ValueError, r"'tpu'.*'cpu'"),
        ({"motions": "wlak"}, ValueError, r"'wlak'.*did you mean 'walk'.*samples are .*'kick'"),
        ({"motions": ["walk", "no/such/file.npz"]}, ValueError, r"no clip 'no/such/file\.npz'.*no such file"),
        ({"motions": []}, ValueError, "empty list"),
        ({"motions": None}, ValueError, "Mimic needs motions"),
        ({"observation": "dict"}, ValueError, "'flat', 'groups'"),
        ({"output": "jax"}, ValueError, "'torch', 'numpy'"),
        ({"autoreset_mode": "never"}, ValueError, r"'disabled', 'next_step', 'same_step'"),
        ({"render_mode": "human"}, ValueError, "None, 'rgb_array'"),
        ({"num_envs": 0}, ValueError, "at least 1, got 0"),
        ({"num_envs": 1.5}, ValueError, r"whole number of at least 1, got 1\.5"),
        ({"control_hz": 0}, ValueError, "control_hz must be positive"),
        ({"substeps": 0}, ValueError, "substeps must be at least 1"),
        ({"task_name": "Mimick"}, ValueError, r"no task 'Mimick'.*'Mimic'"),
    ],
)
def test_a_wrong_argument_is_refused_with_what_would_be_right(make_env, keywords, error, message):
    with pytest.raises(error, match=message):
        make_env(**{"num_envs": 2, **keywords})


def test_an_unknown_robot_is_refused_with_the_nearest():
    with pytest.raises(KeyError, match=r"'SMLP'.*'AMP'.*'SMPL'.*did you mean 'SMPL'"):
        gymnasium.make_vec("ProtoMimic-v0", num_envs=1, robot="SMLP")


def test_motions_of_another_character_are_refused(make_env, smpl):
    with pytest.raises(ValueError, match=r"bodies \['Pelvis'.*robot AMP has \['pelvis'"):
        make_env(2, motions=load_motions("walk", smpl))


def test_task_fields_from_yaml_are_accepted(make_env):
    env = make_env(2, task={"future_steps": [1, 4], "episode_seconds": 2, "termination_distance": None})
    assert env.task.future_steps == (1, 4)
    assert env.max_episode_length == 60


def test_a_number_of_environments_may_be_a_numpy_integer(make_env):
    assert make_env(np.int64(3)).num_envs == 3


# --- actions and options ---------------------------------------------------------------------------------------------


def test_wrong_actions_are_refused(make_env):
    env = make_env(3)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"want shape \(3, 28\).*got \(3, 27\)"):
        env.step(np.zeros((3, 27)))
    with pytest.raises(ValueError, match=r"want shape \(3, 28\).*got \(28,\)"):
        env.step(np.zeros(28))
    for bad in (np.nan, np.inf):
        actions = np.zeros((3, 28))
        actions[2, 5] = bad
        with pytest.raises(ValueError, match=r"environments \[2\] are NaN or infinite; want numbers in \[-1, 1\]"):
            env.step(actions)


def test_actions_beyond_one_mean_one(make_env):
    a, b = make_env(2), make_env(2)
    for env in (a, b):
        env.reset(seed=0)
    # The largest float is finite, and so is a mistake of the policy, not of the number.
    far = torch.full(a.action_space.shape, torch.finfo(torch.float32).max)
    assert torch.equal(a.step(far)[0], b.step(torch.ones(far.shape))[0])


def test_stepping_before_a_reset_or_after_closing_is_an_error(make_env):
    env = make_env(2)
    with pytest.raises(ResetNeeded, match="before reset"):
        env.step(still(env))
    saved = make_env(2)
    saved.reset(seed=0)
    env.load_state_dict(saved.state_dict())
    env.step(still(env))
    env.close()
    for call in (lambda: env.step(still(env)), env.reset):
        with pytest.raises(ClosedEnvironmentError, match="make a new one"):
            call()


def test_wrong_reset_options_are_refused(make_env):
    env = make_env(3, autoreset_mode="disabled")
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"\['mask'\] are unknown; there is only 'reset_mask'"):
        env.reset(options={"mask": np.ones(3, bool)})
    for bad in (np.ones(2, bool), np.zeros(3, bool), np.ones(3, np.int64), np.ones((3, 1), bool)):
        with pytest.raises(ValueError, match=r"want \(3,\) bool with at least one true"):
            env.reset(options={"reset_mask": bad})


def test_inference_mode_around_a_step_does_not_break_what_comes_after(make_env):
    env = make_env(3, task={"episode_seconds": 0.2})
    with torch.inference_mode():
        env.reset(seed=0)
        for step in range(8):
            env.step(noisy(env, step))
        mask = torch.ones(3, dtype=torch.bool)
        env.reset(options={"reset_mask": mask})
        state = env.state_dict()
    observation, _ = env.reset(options={"reset_mask": mask})
    for step in range(8):
        observation, *_ = env.step(noisy(env, step))
    env.load_state_dict(state)
    env.step(still(env))
    assert not observation.is_inference()


# --- episodes --------------------------------------------------------------------------------------------------------


def test_the_final_observation_is_the_last_one_of_the_old_episode(make_env):
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


def test_next_step_mode_shows_the_end_first_and_resets_in_the_step_after(make_env):
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
def test_an_episode_that_runs_out_of_time_is_truncated(make_env, mode):
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
def test_the_end_of_a_clip_that_does_not_repeat_truncates(make_env, clip):
    env = make_env(1, motions=clip, task={"start": "zero", "termination_distance": None, "grace_steps": 0})
    env.reset(seed=0)
    duration = float(env.components.controls["reference"].library.durations[0])
    ends = []
    for _ in range(round(duration * 30)):
        _, _, terminated, truncated, _ = env.step(still(env))
        assert not terminated
        ends.append(bool(truncated))
    assert ends == [False] * (len(ends) - 1) + [True]


def test_a_clip_that_repeats_does_not_end_the_episode(make_env):
    env = make_env(1, task={"start": "zero", "termination_distance": None})
    env.reset(seed=0)
    for _ in range(45):  # 1.5 s of a clip of 1.27 s
        *_, truncated, _ = env.step(still(env))
        assert not truncated


def test_losing_the_reference_terminates_when_the_farthest_body_is_too_far(make_env):
    env = make_env(6, task={"termination_distance": 0.3, "grace_steps": 0, "rewards": "tight"})
    env.reset(seed=0)
    seen = 0
    for step in range(40):
        _, _, terminated, truncated, info = env.step(noisy(env, step))
        assert torch.equal(terminated, info["metrics"]["max_body_error"] > 0.3)
        assert not truncated.any()
        seen += int(terminated.sum())
    assert seen >= 6


def test_grace_steps_hold_terminations_back(make_env):
    env = make_env(3, task={"termination_distance": 0.0, "grace_steps": 4})
    env.reset(seed=0)
    ends = [bool(env.step(still(env))[2].all()) for _ in range(10)]
    assert ends == [False] * 4 + [True] + [False] * 4 + [True]


def test_an_end_is_a_failure_or_a_time_out_and_never_both(make_env):
    env = make_env(2, task={"termination_distance": 0.0, "grace_steps": 8, "episode_seconds": 0.3})
    env.reset(seed=0)
    for _ in range(9):
        _, _, terminated, truncated, _ = env.step(still(env))
    assert terminated.all() and not truncated.any()


def test_the_change_of_targets_is_measured_from_one_step_to_the_next(make_env):
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


def test_episode_statistics_match_a_count_by_hand(make_env):
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


def test_the_clip_that_is_reported_is_the_one_of_the_step(make_env):
    env = make_env(5, motions=["walk", "run", "kick"], task={"start": "sequential", "episode_seconds": 0.2})
    env.reset(seed=0)
    assert env.clip_names == ("walk", "run", "kick")
    for _ in range(7):
        *_, info = env.step(still(env))
        assert info["clip"].tolist() == [0, 1, 2, 0, 1]


# --- lost states -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e12])
@pytest.mark.parametrize("mode", MODES)
def test_a_lost_state_ends_its_own_episode_and_reaches_nobody(make_env, mode, bad):
    env = make_env(3, task={**GENTLE, "grace_steps": 5, "rewards": "v3"}, autoreset_mode=mode)
    twin = make_env(3, task={**GENTLE, "grace_steps": 5, "rewards": "v3"}, autoreset_mode=mode)
    for each in (env, twin):
        each.reset(seed=0)
        each.step(still(each))
    velocities(env)[1] = bad
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


# --- seeds, saving, access -------------------------------------------------------------------------------------------


def test_the_seed_decides_the_rollout(make_env, assert_equal):
    task = {"episode_seconds": 0.3}
    rollouts = []
    for seed in (7, 7, 8):
        env = make_env(3, motions=["walk", "run"], task=task)
        start, _ = env.reset(seed=seed)
        rollouts.append((start, *roll(env, 12)))
    assert_equal(rollouts[0], rollouts[1])
    assert not torch.equal(rollouts[0][0], rollouts[2][0])


def test_the_same_environment_begins_anew_with_the_same_seed(make_env, assert_equal):
    env = make_env(3, task={"episode_seconds": 0.3, "failure_weighting": False})
    first = (env.reset(seed=7)[0], *roll(env, 12))
    assert_equal((env.reset(seed=7)[0], *roll(env, 12)), first)


@pytest.mark.parametrize("mode", MODES)
def test_a_saved_state_goes_on_bit_for_bit(make_env, assert_equal, mode):
    task = {"episode_seconds": 0.4, "grace_steps": 1, "termination_distance": 0.3, "joint_noise": 0.02}
    a, b = (make_env(4, motions=["walk", "run", "kick"], task=task, autoreset_mode=mode) for _ in range(2))
    a.reset(seed=0)
    b.reset(seed=99)
    roll(a, 9)
    roll(b, 3)
    state = a.state_dict()
    b.load_state_dict({name: value.clone() for name, value in state.items()})
    everyone = torch.ones(4, dtype=torch.bool)
    for part in range(3):
        assert_equal(tuple(roll(a, 12, first=part)), tuple(roll(b, 12, first=part)))
        if mode is DISABLED:
            again = {"reset_mask": everyone}
            assert_equal(a.reset(options=again)[0], b.reset(options=again)[0])
    assert_equal(a.state_dict(), b.state_dict())
    assert not torch.equal(state["control.reference.failure_rates"], a.state_dict()["control.reference.failure_rates"])


def test_a_state_of_another_environment_is_refused_and_changes_nothing(make_env, assert_equal):
    env = make_env(3, motions=["walk", "run"])
    env.reset(seed=0)
    before = env.state_dict()
    for other in (
        make_env(4, motions=["walk", "run"]),
        make_env(3, motions=["walk"]),
        make_env(3, "SMPL", motions=["walk", "run"]),
    ):
        with pytest.raises(ValueError, match=r"want shape .*got .*another number of environments"):
            env.load_state_dict(other.state_dict())
        assert_equal(env.state_dict(), before)
    with pytest.raises(ValueError, match=r"lacks \['control\.reference\.starts'"):
        env.load_state_dict({k: v for k, v in before.items() if k != "control.reference.starts"})
    assert_equal(env.state_dict(), before)


def test_a_saved_state_does_not_change_with_the_environment(make_env, assert_equal):
    env = make_env(2)
    env.reset(seed=0)
    state = env.state_dict()
    kept = {name: value.clone() for name, value in state.items()}
    roll(env, 3)
    assert_equal(state, kept)


def test_attributes_are_given_once_per_environment(make_env):
    env = make_env(1)
    assert env.call("clip_names") == (("walk",),)
    assert env.get_attr("max_episode_length") == (300,)
    assert env.call("render") == (None,)
    env.set_attr("max_episode_length", 2)
    env.reset(seed=0)
    assert [bool(env.step(still(env))[3]) for _ in range(2)] == [False, True]
    with pytest.raises(AttributeError, match="max_episode_lenght"):
        env.set_attr("max_episode_lenght", 3)
    with pytest.raises(AttributeError):
        env.get_attr("max_episode_lenght")


# --- with gymnasium's wrappers ---------------------------------------------------------------------------------------


def test_gymnasiums_statistics_agree_with_ours(make_env):
    pytest.importorskip("array_api_compat", reason="gymnasium's ArrayConversion needs array-api-compat")
    from gymnasium.wrappers.vector import ArrayConversion, RecordEpisodeStatistics

    inner = make_env(3, task={"episode_seconds": 0.3})
    env = RecordEpisodeStatistics(ArrayConversion(inner, env_xp=torch, target_xp=np), stats_key="gymnasium")
    observation, _ = env.reset(seed=0)
    assert isinstance(observation, np.ndarray)
    ended = 0
    for step in range(20):
        observation, reward, _, _, info = env.step(noisy(inner, step).numpy())
        assert isinstance(observation, np.ndarray) and isinstance(reward, np.ndarray)
        if "gymnasium" in info:
            done = info["_gymnasium"]
            np.testing.assert_allclose(info["gymnasium"]["r"][done], info["episode"]["r"][done], rtol=1e-4)
            np.testing.assert_array_equal(info["gymnasium"]["l"][done], info["episode"]["l"][done])
            ended += int(done.sum())
    assert ended == 6


def test_numpy_output_is_numpy_throughout(make_env):
    env = make_env(2, output="numpy", observation="groups", task={"episode_seconds": 0.1})
    observation, _ = env.reset(seed=0)

    def check(value):
        if isinstance(value, dict):
            assert all(map(check, value.values()))
            return True
        return isinstance(value, np.ndarray)

    assert check(observation)
    for _ in range(4):
        *parts, info = env.step(env.action_space.sample())
        assert all(map(check, parts)) and check(info)
