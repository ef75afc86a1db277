import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

# --- seeds, saving, access -------------------------------------------------------------------------------------------


def test_the_seed_decides_the_rollout(make_env, assert_equal, roll):
    task = {"episode_seconds": 0.3}
    rollouts = []
    for seed in (7, 7, 8):
        env = make_env(3, motions=["walk", "run"], task=task)
        start, _ = env.reset(seed=seed)
        rollouts.append((start, *roll(env, 12)))
    assert_equal(rollouts[0], rollouts[1])
    assert not torch.equal(rollouts[0][0], rollouts[2][0])


def test_the_same_environment_begins_anew_with_the_same_seed(make_env, assert_equal, roll):
    env = make_env(3, task={"episode_seconds": 0.3, "failure_weighting": False})
    first = (env.reset(seed=7)[0], *roll(env, 12))
    assert_equal((env.reset(seed=7)[0], *roll(env, 12)), first)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_a_saved_state_goes_on_bit_for_bit(make_env, assert_equal, roll, mode):
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
        if mode is AutoresetMode.DISABLED:
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


def test_a_saved_state_does_not_change_with_the_environment(make_env, assert_equal, roll):
    env = make_env(2)
    env.reset(seed=0)
    state = env.state_dict()
    kept = {name: value.clone() for name, value in state.items()}
    roll(env, 3)
    assert_equal(state, kept)


def test_attributes_are_given_once_per_environment(make_env, still):
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


def test_gymnasiums_statistics_agree_with_ours(make_env, noisy):
    pytest.importorskip("array_api_compat", reason="gymnasium's ArrayConversion needs array-api-compat")
    from gymnasium.wrappers.vector import ArrayConversion, RecordEpisodeStatistics

    inner = make_env(3, task={"episode_seconds": 0.3, "termination_distance": None})
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
