"""Half a minute of every environment: whatever the policy does, what comes back is finite and nothing breaks.

`pytest -m slow tests/proto_envs/test_soak.py` takes about two hours of one core; `-k Reach` or `-k SMPL-` a part of it.
"""

import gymnasium
import pytest
import torch

from proto_envs.registration import environment_ids


def still(shape, step, generator):
    return torch.zeros(shape)


def random(shape, step, generator):
    return 2.0 * torch.rand(shape, generator=generator) - 1.0


def extreme(shape, step, generator):
    """All joints from one end of their range to the other, each environment at a rate of its own; far beyond it."""
    periods = 1 + torch.arange(shape[0]) % 8
    signs = torch.where((step // periods) % 2 == 0, 1.0, -1.0).unsqueeze(-1)
    return signs * torch.where(torch.arange(shape[1]) % 2 == 0, 1e30, -1.0)


def mixed(shape, step, generator):
    """One after the other, environment by environment."""
    kinds = torch.stack([kind(shape, step, generator) for kind in (still, random, extreme)])
    return kinds[torch.arange(shape[0]) % 3, torch.arange(shape[0])]


def soak(id, num_envs, seconds, act):
    """Step an environment and check everything that comes back; returns how many episodes ended."""
    env = gymnasium.make_vec(id, num_envs=num_envs, threads=1)
    generator, ends = torch.Generator().manual_seed(0), 0
    observation, _ = env.reset(seed=0)
    for step in range(round(seconds / env.simulator.dt)):
        observation, reward, terminated, truncated, info = env.step(act(env.action_space.shape, step, generator))
        values = {"observation": observation, "reward": reward, **info["metrics"]}
        if "final_obs" in info:
            values["final_obs"] = info["final_obs"]
        broken = [name for name, value in values.items() if not torch.isfinite(value.float()).all()]
        assert not broken, f"step {step}: {broken}"
        ends += int((terminated | truncated).sum())
    env.close()
    return ends


@pytest.mark.parametrize("id", [id for id in environment_ids() if id.endswith("-AMP-v0")])
def test_any_actions_for_half_a_second(id):
    soak(id, 6, 0.5, mixed)


@pytest.mark.slow
@pytest.mark.parametrize("act", [still, random], ids=lambda act: act.__name__)
@pytest.mark.parametrize("id", environment_ids())
def test_half_a_minute(id, act):
    assert soak(id, 64, 30.0, act) >= 64, "an episode takes at most 10 s"


@pytest.mark.slow
@pytest.mark.parametrize("id", environment_ids())
def test_extreme_actions_end_episodes_and_not_the_process(id):
    assert soak(id, 64, 10.5, extreme) >= 64
