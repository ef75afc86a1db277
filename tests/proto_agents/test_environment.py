import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from proto_agents.environment import NonFiniteError, TensorEnvironment
from proto_agents.spaces import to_observations


def pendulum(mode):
    """Three numpy environments that are cut after 5 steps."""
    return gymnasium.make_vec(
        "Pendulum-v1",
        num_envs=3,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": mode},
        max_episode_steps=5,
    )


def test_every_autoreset_mode_gives_the_same_first_episode():
    last, first = {}, {}
    for mode in AutoresetMode:
        env = TensorEnvironment(pendulum(mode))
        first[mode] = [env.reset(seed=3)["policy"]]
        rewards, observation = [], None
        for _ in range(5):
            transition = env.step(torch.full((3, 1), 0.5))
            rewards.append(transition.reward)
            observation = transition.observations["policy"]
        assert transition.truncated.all() and transition.truncated_rows.tolist() == [0, 1, 2]
        last[mode] = torch.cat((transition.truncated_observations["policy"], torch.stack(rewards, dim=1)), dim=1)
        if mode != AutoresetMode.NEXT_STEP:  # already the new episode
            assert not torch.equal(observation, transition.truncated_observations["policy"])
        following = env.step(torch.zeros(3, 1))
        assert following.valid.all() == (mode != AutoresetMode.NEXT_STEP)
        env.close()
    torch.testing.assert_close(last[AutoresetMode.SAME_STEP], last[AutoresetMode.NEXT_STEP])
    torch.testing.assert_close(last[AutoresetMode.SAME_STEP], last[AutoresetMode.DISABLED])


def test_failure_wins_over_time_out(point_env):
    env = TensorEnvironment(point_env(4, limit=0.0))
    env.reset(seed=0)
    transition = env.step(torch.zeros(4, 1))
    assert transition.terminated.all() and not transition.truncated.any() and transition.truncated_rows.numel() == 0


def test_non_finite_observations_name_step_and_environment(point_env):
    env = TensorEnvironment(point_env(4, nan_at=3))
    env.reset(seed=0)
    env.step(torch.zeros(4, 1))
    env.step(torch.zeros(4, 1))
    with pytest.raises(NonFiniteError, match=r"non-finite observation .*at step 3 in environment 1 \(1 of 4\)"):
        env.step(torch.zeros(4, 1))


def test_discrete_actions_start_where_the_space_says():
    class Recorder(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(-1, 1, (1,))
        action_space = gymnasium.spaces.Discrete(2, start=5)
        seen = None

        def reset(self, *, seed=None, options=None):
            return np.zeros(1, np.float32), {}

        def step(self, action):
            Recorder.seen = int(action)
            return np.zeros(1, np.float32), 0.0, False, False, {}

    env = TensorEnvironment(gymnasium.vector.SyncVectorEnv([Recorder]))
    env.reset()
    env.step(torch.tensor([1]))
    assert Recorder.seen == 6


def test_observations_become_flat_floats():
    groups = to_observations({"policy": np.zeros((2, 3, 4)), "critic": torch.ones(2, 5).int()}, torch.device("cpu"))
    assert groups["policy"].shape == (2, 12) and groups["critic"].dtype == torch.float32
