"""Adapters to other RL libraries give what the environment gives, in each library's form.

The oracle is the same environment, stepped beside it with the same seed and actions.
"""

import importlib
import sys

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

N = 4
TASK = {"episode_seconds": 0.3}  # 9 control steps; noise makes robots fall after 6


@pytest.fixture
def twins(make_env):
    """`twins(**keywords)`: two environments that do the same."""
    return lambda **keywords: [make_env(N, motions="walk", task=TASK, **keywords) for _ in range(2)]


def endings(twin, noisy, steps=12):
    """What the plain environment gives for noisy actions: a list of (actions, outcome)."""
    played = []
    for step in range(steps):
        actions = noisy(twin, step)
        actions[::2] = 0.0  # these stay up until their time is over
        played.append((actions, twin.step(actions)))
    for kind in (2, 3):
        assert any(bool(outcome[kind].any()) for _, outcome in played)
    return played


def true_next(outcome):
    """The observation that a step led to, before any reset."""
    observation, info = outcome[0], outcome[4]
    return (
        torch.where(info["_final_obs"][:, None], info["final_obs"], observation) if "final_obs" in info else observation
    )


# --- Stable-Baselines3 -----------------------------------------------------------------------------------------------


def test_sb3_gets_arrays_and_true_last_observations(twins, noisy):
    pytest.importorskip("stable_baselines3")
    from proto_envs.adapters.sb3 import Sb3VecEnv

    env, twin = twins()
    adapter = Sb3VecEnv(env)
    adapter.seed(7)
    np.testing.assert_array_equal(adapter.reset(), twin.reset(seed=7)[0])
    for actions, outcome in endings(twin, noisy):
        observation, reward, done, infos = adapter.step(actions.numpy())
        np.testing.assert_array_equal(observation, outcome[0])
        np.testing.assert_array_equal(reward, outcome[1])
        np.testing.assert_array_equal(done, outcome[2] | outcome[3])
        for i in range(N):
            assert ("terminal_observation" in infos[i]) == done[i]
            if done[i]:
                np.testing.assert_array_equal(infos[i]["terminal_observation"], true_next(outcome)[i])
                assert infos[i]["TimeLimit.truncated"] == bool(outcome[3][i])
                assert infos[i]["episode"]["l"] == int(outcome[4]["episode"]["l"][i])


def test_sb3s_own_wrappers_fit_around(twins, noisy):
    pytest.importorskip("stable_baselines3")
    from stable_baselines3.common.vec_env import VecMonitor, VecNormalize

    from proto_envs.adapters.sb3 import Sb3VecEnv

    env, twin = twins(output="numpy")
    adapter = VecNormalize(VecMonitor(Sb3VecEnv(env)))
    adapter.reset()
    twin.reset()
    lengths = []
    for step in range(12):
        _, _, done, infos = adapter.step(noisy(twin, step).numpy())
        lengths += [infos[i]["episode"]["l"] for i in done.nonzero()[0]]
    assert lengths and max(lengths) <= 9 and np.isfinite(adapter.obs_rms.mean).all()


def test_sb3_shares_attributes_as_one_object(twins):
    pytest.importorskip("stable_baselines3")
    from proto_envs.adapters.sb3 import Sb3VecEnv

    adapter = Sb3VecEnv(twins()[0])
    assert adapter.get_attr("num_envs", indices=[0, 2]) == [N, N]
    assert len(adapter.env_method("get_attr", "device")) == N
    with pytest.raises(ValueError, match="one object: indices=0 must be None"):
        adapter.set_attr("rendered", [0], indices=0)


# --- rsl_rl ----------------------------------------------------------------------------------------------------------


def test_rsl_rl_gets_groups_and_time_outs(make_env, noisy):
    pytest.importorskip("rsl_rl")
    from proto_envs.adapters.rsl_rl import RslRlVecEnv

    keywords = {"robot": "G1", "name": "DeployableMimic", "observation": "groups", "task": TASK}
    env, twin = (make_env(N, **keywords) for _ in range(2))
    adapter = RslRlVecEnv(env, seed=3)
    first, _ = twin.reset(seed=3)
    assert set(adapter.get_observations().keys()) == set(first) >= {"policy", "critic"}
    with torch.inference_mode():
        for step in range(12):
            actions = noisy(twin, step)
            observation, reward, dones, extras = adapter.step(actions)
            wanted, wanted_reward, terminated, truncated, info = twin.step(actions)
            assert all(torch.equal(observation[name], wanted[name]) for name in wanted)
            assert torch.equal(reward, wanted_reward) and torch.equal(dones, (terminated | truncated).long())
            assert torch.equal(extras["time_outs"], truncated)
            for name, value in info["metrics"].items():
                torch.testing.assert_close(extras["log"][name], value.float().mean())
    env.reset()  # steps in inference mode leave nothing behind that could not be written outside of it


def test_rsl_rl_spreads_the_ends_of_episodes(twins):
    pytest.importorskip("rsl_rl")
    from proto_envs.adapters.rsl_rl import RslRlVecEnv

    adapter = RslRlVecEnv(twins()[0], seed=0)
    steps = torch.tensor([0, 3, 7, 8])
    adapter.episode_length_buf = steps
    assert torch.equal(adapter.episode_length_buf, steps)
    _, _, dones, extras = adapter.step(torch.zeros(N, adapter.num_actions))
    assert dones.tolist() == [0, 0, 0, 1] and extras["time_outs"].tolist() == [False, False, False, True]
    assert adapter.episode_length_buf.tolist() == [1, 4, 8, 0]


# --- skrl ------------------------------------------------------------------------------------------------------------


def test_skrl_gets_columns_and_the_critics_group_as_state(make_env, noisy):
    pytest.importorskip("skrl")
    from proto_envs.adapters.skrl import SkrlWrapper

    keywords = {"robot": "G1", "name": "DeployableMimic", "observation": "groups", "task": TASK}
    env, twin = (make_env(N, **keywords) for _ in range(2))
    wrapper = SkrlWrapper(env, seed=5)
    first, _ = twin.reset(seed=5)
    observation, _ = wrapper.reset()
    assert torch.equal(observation, first["policy"]) and torch.equal(wrapper.state(), first["critic"])
    assert wrapper.observation_space.shape == observation.shape[1:]
    assert wrapper.state_space.shape == wrapper.state().shape[1:]
    actions = noisy(twin, 0)
    observation, reward, terminated, truncated, info = wrapper.step(actions)
    wanted = twin.step(actions)
    assert torch.equal(observation, wanted[0]["policy"]) and torch.equal(wrapper.state(), wanted[0]["critic"])
    assert torch.equal(reward, wanted[1][:, None]) and reward.shape == terminated.shape == truncated.shape == (N, 1)
    assert set(info["log"]) == set(wanted[4]["metrics"])
    again, _ = wrapper.reset()  # its trainers reset again where episodes already go on
    assert torch.equal(again, observation)


def test_skrl_without_groups_has_no_state(twins):
    pytest.importorskip("skrl")
    from proto_envs.adapters.skrl import SkrlWrapper

    wrapper = SkrlWrapper(twins()[0])
    wrapper.reset()
    assert wrapper.state_space is None and wrapper.state() is None
    assert wrapper.num_envs == N


# --- TorchRL ---------------------------------------------------------------------------------------------------------


def test_torchrl_resets_itself_and_sees_what_was_last(make_env, noisy):
    pytest.importorskip("torchrl")
    from torchrl.envs.utils import check_env_specs

    from proto_envs.adapters.torchrl import torchrl_env

    keywords = {"motions": "walk", "task": TASK, "autoreset_mode": AutoresetMode.DISABLED}
    env, twin = (make_env(N, **keywords) for _ in range(2))
    adapter = torchrl_env(env)
    check_env_specs(adapter)
    state = adapter.reset()
    twin.reset()
    twin.load_state_dict(env.state_dict())
    resets = 0
    for step in range(12):
        actions = noisy(twin, step)
        stepped, state = adapter.step_and_maybe_reset(state.set("action", actions))
        observation, reward, terminated, truncated, _ = twin.step(actions)
        assert torch.equal(stepped["next", "observation"], observation)
        assert torch.equal(stepped["next", "reward"], reward[:, None])
        assert torch.equal(stepped["next", "terminated"], terminated[:, None])
        assert torch.equal(stepped["next", "truncated"], truncated[:, None])
        if (done := terminated | truncated).any():
            observation, _ = twin.reset(options={"reset_mask": done})
            resets += 1
        assert torch.equal(state["observation"], observation)
    assert resets


# --- border ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "name"),
    [("sb3", "Sb3VecEnv"), ("rsl_rl", "RslRlVecEnv"), ("skrl", "SkrlWrapper")],
)
def test_what_a_library_cannot_work_with_is_refused(make_env, module, name):
    pytest.importorskip({"sb3": "stable_baselines3"}.get(module, module))
    adapter = getattr(importlib.import_module(f"proto_envs.adapters.{module}"), name)
    with pytest.raises(TypeError, match="wraps environments of proto_envs, got object"):
        adapter(object())
    env = make_env(1, autoreset_mode=AutoresetMode.NEXT_STEP)
    with pytest.raises(ValueError, match=r"needs autoreset_mode=AutoresetMode\.SAME_STEP, .* has NEXT_STEP"):
        adapter(env)


@pytest.mark.parametrize(
    ("module", "library", "extra"),
    [
        ("sb3", "stable_baselines3", "sb3"),
        ("rsl_rl", "rsl_rl", "rsl-rl"),
        ("skrl", "skrl", "skrl"),
        ("rl_games", "rl_games", "rl-games"),
        ("torchrl", "torchrl", "torchrl"),
        ("tianshou", "tianshou", "tianshou"),
    ],
)
def test_a_missing_library_says_how_to_get_it(monkeypatch, module, library, extra):
    for known in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.delitem(sys.modules, known)
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"proto_envs.adapters.{module}", raising=False)
    with pytest.raises(ImportError, match=rf'pip install "proto-envs\[{extra}\]"'):
        importlib.import_module(f"proto_envs.adapters.{module}")
