import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from proto_envs.testing import ConformanceError, check_vector_env

MODES = tuple(AutoresetMode)


# --- what must pass --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["torch", "numpy"])
@pytest.mark.parametrize("observation", ["flat", "groups"])
@pytest.mark.parametrize("mode", MODES)
def test_our_environments_pass(make_env, mode, observation, output):
    def make():
        return make_env(3, autoreset_mode=mode, observation=observation, output=output, task={"episode_seconds": 0.5})

    check_vector_env(make, steps=20)


def test_smpl_passes(make_env):
    check_vector_env(lambda: make_env(2, "SMPL", task={"episode_seconds": 0.3}), steps=12)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1"])
def test_gymnasiums_own_environments_pass(name, mode):
    def single():
        return gymnasium.make(name, max_episode_steps=20)

    check_vector_env(lambda: SyncVectorEnv([single] * 3, autoreset_mode=mode), steps=50)


# --- what must not ---------------------------------------------------------------------------------------------------


class Broken(gymnasium.vector.VectorWrapper):
    """A vector environment that is the wrapped one but for one fault."""

    @property
    def metadata(self):
        return self.env.metadata


class AliasedBuffer(Broken):
    def step(self, actions):
        observation, *rest = self.env.step(actions)
        if not hasattr(self, "buffer"):
            self.buffer = observation
        self.buffer[...] = observation
        return self.buffer, *rest


class WrongType(Broken):
    def step(self, actions):
        observation, *rest = self.env.step(actions)
        return observation.astype(np.float64), *rest


class WrongShape(Broken):
    def reset(self, **keywords):
        observation, info = self.env.reset(**keywords)
        return observation[:, :-1], info


class NotFinite(Broken):
    def step(self, actions):
        observation, *rest = self.env.step(actions)
        observation[0, 0] = np.nan
        return observation, *rest


class RewardColumn(Broken):
    def step(self, actions):
        observation, reward, *rest = self.env.step(actions)
        return observation, reward[:, None], *rest


class EndsAsNumbers(Broken):
    def step(self, actions):
        observation, reward, terminated, truncated, info = self.env.step(actions)
        return observation, reward, terminated.astype(np.float32), truncated, info


class SeedIgnored(Broken):
    def reset(self, *, seed=None, options=None):
        return self.env.reset(options=options)


class FinalObservationMissing(Broken):
    def step(self, actions):
        *rest, info = self.env.step(actions)
        info.pop("final_obs", None)
        return *rest, info


class FinalMaskWrong(Broken):
    def step(self, actions):
        *rest, info = self.env.step(actions)
        if "_final_obs" in info:
            info["_final_obs"] = ~info["_final_obs"]
        return *rest, info


class RewardOnReset(Broken):
    def step(self, actions):
        observation, reward, *rest = self.env.step(actions)
        return observation, reward + 1.0, *rest


class AnyAction(Broken):
    def step(self, actions):
        return self.env.step(np.resize(np.asarray(actions), self.env.action_space.shape))


@pytest.mark.parametrize(
    ("fault", "mode", "rule"),
    [
        (AliasedBuffer, AutoresetMode.SAME_STEP, "handed out before was overwritten"),
        (WrongType, AutoresetMode.SAME_STEP, "float64, want float32"),
        (WrongShape, AutoresetMode.SAME_STEP, r"step 0: observation .*want \(3, 611\)"),
        (NotFinite, AutoresetMode.SAME_STEP, "not finite"),
        (RewardColumn, AutoresetMode.SAME_STEP, r"reward has shape \(3, 1\), want \(3,\)"),
        (EndsAsNumbers, AutoresetMode.SAME_STEP, "ends must be bool"),
        (SeedIgnored, AutoresetMode.SAME_STEP, "same seed, different observations"),
        (FinalObservationMissing, AutoresetMode.SAME_STEP, r'without info\["final_obs"\]'),
        (FinalMaskWrong, AutoresetMode.SAME_STEP, r'info\["_final_obs"\] is not the mask'),
        (RewardOnReset, AutoresetMode.NEXT_STEP, "must have reward 0"),
        (AnyAction, AutoresetMode.SAME_STEP, "one number short was accepted"),
    ],
)
def test_a_fault_is_found_and_named(make_env, fault, mode, rule):
    def make():
        return fault(make_env(3, output="numpy", autoreset_mode=mode, task={"episode_seconds": 0.2}))

    with pytest.raises(ConformanceError, match=rule):
        check_vector_env(make, steps=12)


def test_spaces_that_do_not_belong_together_are_found(make_env):
    def make():
        env = make_env(2)
        env.observation_space = env.single_observation_space
        return env

    with pytest.raises(ConformanceError, match="observation_space is not batch_space"):
        check_vector_env(make)


def test_a_missing_autoreset_mode_is_found(make_env):
    def make():
        env = make_env(2)
        del env.metadata["autoreset_mode"]
        return env

    with pytest.raises(ConformanceError, match=r"autoreset_mode.*want an AutoresetMode"):
        check_vector_env(make)


def test_a_rollout_that_ends_no_episode_is_not_taken_for_a_proof(make_env):
    with pytest.raises(ConformanceError, match="no episode ended in 3 steps"):
        check_vector_env(lambda: make_env(2), steps=3)


def test_a_single_environment_is_refused():
    with pytest.raises(ConformanceError, match=r"want a gymnasium\.vector\.VectorEnv"):
        check_vector_env(lambda: gymnasium.make("CartPole-v1"))


def test_an_observation_of_torch_is_checked_like_one_of_numpy(make_env):
    class Double(Broken):
        def step(self, actions):
            observation, *rest = self.env.step(actions)
            return observation.double(), *rest

    def make():
        return Double(make_env(2))

    with pytest.raises(ConformanceError, match="float64, want float32"):
        check_vector_env(make)
    assert isinstance(make().reset(seed=0)[0], torch.Tensor)
