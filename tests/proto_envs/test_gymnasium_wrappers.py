"""Gymnasium's own vector wrappers around environments that give arrays, as docs/libraries.md says."""

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import vector as wrappers

STEPS = 12


@pytest.mark.parametrize(
    "wrap",
    [
        lambda env: wrappers.RecordEpisodeStatistics(env, stats_key="statistics"),  # "episode" is there already
        wrappers.NormalizeReward,
        wrappers.ClipAction,
        lambda env: wrappers.ClipReward(env, 0.0, 0.5),
    ],
)
def test_wrappers_that_leave_observations_alone(make_env, noisy, wrap):
    env, twin = (make_env(3, motions="walk", output="numpy") for _ in range(2))
    wrapped = wrap(env)
    wrapped.reset(seed=0)
    twin.reset(seed=0)
    for step in range(STEPS):
        actions = noisy(twin, step).numpy()
        observation, reward, terminated, truncated, _ = wrapped.step(actions)
        wanted = twin.step(actions)
        np.testing.assert_array_equal(observation, wanted[0])
        np.testing.assert_array_equal(terminated | truncated, wanted[2] | wanted[3])
        assert np.isfinite(reward).all()


def test_observations_are_normalized_where_resets_take_a_step(make_env, noisy):
    env = make_env(64, motions="walk", output="numpy", autoreset_mode=AutoresetMode.NEXT_STEP)
    wrapped = wrappers.NormalizeObservation(env)
    wrapped.reset(seed=0)
    for step in range(STEPS):
        observation, *_ = wrapped.step(noisy(env, step).numpy())
    assert abs(observation.mean()) < 0.5 and 0.3 < observation.std() < 3
    with pytest.raises(ValueError, match="NEXT_STEP"):
        wrappers.NormalizeObservation(make_env(2, output="numpy"))
