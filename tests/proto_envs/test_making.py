import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.utils.env_checker import check_env

from proto_envs.motions import load_motions
from proto_envs.registration import environment_ids
from proto_envs.testing import check_vector_env

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
@pytest.mark.parametrize("id", environment_ids())
def test_every_id_keeps_the_contract(id):
    check_vector_env(lambda: gymnasium.make_vec(id, num_envs=3, threads=1, task={"episode_seconds": 0.2}), steps=12)


@pytest.mark.parametrize("id", QUICK)
def test_gymnasiums_checker_accepts_the_single_environment(id):
    env = gymnasium.make(id, threads=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        # A humanoid's state has no bounds; gymnasium only asks whether that is meant.
        warnings.filterwarnings("ignore", message=".*Box observation space (minimum|maximum) value is.*infinity")
        check_env(env.unwrapped, skip_render_check=True)
    env.close()


def test_the_single_environment_is_the_vector_environment_of_one(make_env, noisy):
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
        ({"task": {"grace_steps": -1}}, ValueError, "grace_steps must be finite and not negative, got -1"),
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
        ({"num_envs": True}, ValueError, "whole number of at least 1, got True"),
        ({"control_hz": 0}, ValueError, "control_hz must be positive"),
        ({"substeps": 0}, ValueError, "substeps must be at least 1"),
        ({"task_name": "Mimick"}, ValueError, r"no task 'Mimick'.*'Mimic'"),
    ],
)
def test_a_wrong_argument_is_refused_with_what_would_be_right(make_env, keywords, error, message):
    with pytest.raises(error, match=message):
        make_env(**{"num_envs": 2, **keywords})


def test_an_unknown_robot_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"'SMLP'.*'AMP'.*'SMPL'.*did you mean 'SMPL'"):
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


def test_stepping_before_a_reset_or_after_closing_is_an_error(make_env, still):
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


def test_inference_mode_around_a_step_does_not_break_what_comes_after(make_env, still, noisy):
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


# --- lists of clips --------------------------------------------------------------------------------------------------


def test_a_text_file_lists_clips(tmp_path, amp):
    listed = tmp_path / "failed_clips.txt"
    listed.write_text("# clips with a failed episode\nkick\n\nwalk  # the easy one\n")
    assert tuple(load_motions(str(listed), amp).names) == ("kick", "walk")
    assert tuple(load_motions(["punch", listed], amp).names) == ("punch", "kick", "walk")


def test_a_list_without_clips_is_refused(tmp_path, amp):
    (tmp_path / "none.txt").write_text("# nothing failed\n")
    with pytest.raises(ValueError, match=r"none\.txt lists no clip"):
        load_motions(tmp_path / "none.txt", amp)
    with pytest.raises(ValueError, match=r"no list of clips 'absent\.txt'"):
        load_motions("absent.txt", amp)


# --- shares of the clips ---------------------------------------------------------------------------------------------


def test_shares_of_a_list_hold_each_clip_once(amp):
    shares = [load_motions(["walk", "kick", "punch"], amp, shard=(rank, 2)).names for rank in range(2)]
    assert [list(names) for names in shares] == [["walk", "punch"], ["kick"]]
    with pytest.raises(ValueError, match="2 clips cannot be split into 3 shares"):
        load_motions(["walk", "kick"], amp, shard=(0, 3))


def test_a_packed_library_is_opened_whole_or_in_shares(tmp_path, amp, smpl, make_env):
    names = ["walk", "kick", "punch", "getup_faceup"]
    load_motions(names, amp).save(tmp_path / "clips.safetensors")
    assert list(load_motions(tmp_path / "clips.safetensors", amp).names) == names
    with pytest.raises(ValueError, match="skeleton with bodies"):
        load_motions(tmp_path / "clips.safetensors", smpl)
    envs = [make_env(2, motions=str(tmp_path / "clips.safetensors"), motion_shard=(k, 2)) for k in range(2)]
    assert [name for env in envs for name in env.clip_names] == names
    assert all(env.reset(seed=0)[0].isfinite().all() for env in envs)
    for shard in ((2, 2), (-1, 2), "01", (0,)):
        with pytest.raises(ValueError, match="motion_shard="):
            make_env(2, motion_shard=shard)
    with pytest.raises(ValueError, match="of which no share is taken"):
        make_env(2, motions=load_motions("walk", amp), motion_shard=(0, 2))
