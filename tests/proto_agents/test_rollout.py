from dataclasses import replace

import pytest
import torch
from gymnasium.vector import AutoresetMode

from proto_agents.environment import TensorEnvironment
from proto_agents.rollout import PolicyStep, RolloutBuffer, generalized_advantages

GAMMA, LAMBDA = 0.9, 0.8


def scalar_advantage(transitions, start, value, part=float):
    """Advantage of one transition of one environment, by the definition: sum of (gamma lambda)^k delta_k."""
    total, weight = 0.0, 1.0
    for observation, reward, after, terminated, truncated in transitions[start:]:
        following = 0.0 if terminated else value(after)
        total += weight * (part(reward) + GAMMA * following - value(observation))
        if terminated or truncated:
            break
        weight *= GAMMA * LAMBDA
    return total


@pytest.mark.parametrize("seed", range(5))
def test_generalized_advantages_against_a_scalar_loop(seed):
    generator = torch.Generator().manual_seed(seed)
    rewards, values, next_values = (torch.randn(20, 3, generator=generator) for _ in range(3))
    ends = torch.rand(20, 3, generator=generator)
    terminated, done = ends < 0.1, ends < 0.25
    ours = generalized_advantages(rewards, values, next_values, terminated, done, GAMMA, LAMBDA)
    for env in range(3):
        for t in range(20):
            total, weight = 0.0, 1.0
            for k in range(t, 20):
                following = 0.0 if terminated[k, env] else next_values[k, env].item()
                total += weight * (rewards[k, env].item() + GAMMA * following - values[k, env].item())
                if done[k, env]:
                    break
                weight *= GAMMA * LAMBDA
            assert ours[t, env].item() == pytest.approx(total, abs=1e-5)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_a_rollout_has_the_advantages_of_the_true_transitions(mode, point_env):
    """Two consecutive rollouts, so that an episode also ends on their border, in every autoreset mode."""
    raw = point_env(5, autoreset_mode=mode, limit=1.2)
    env = TensorEnvironment(raw)
    generator = torch.Generator().manual_seed(1)
    weights = torch.tensor([0.7, -1.3, 0.4])

    def value(observations):
        return observations["policy"] @ weights

    observations = env.reset(seed=4)
    ends = 0
    for rollout in range(4):
        buffer = RolloutBuffer(11, 5, torch.device("cpu"))
        raw.log.clear()
        acted_on = []
        for _ in range(11):
            action = torch.randn(5, 1, generator=generator)
            acted_on.append(observations["policy"])
            step = PolicyStep(
                action=action,
                log_prob=torch.zeros(5),
                value=value(observations),
                parameters=action,
                normalized=observations,
            )
            transition = env.step(action)
            buffer.add(step, transition, value(transition.truncated_observations))
            observations = transition.observations
        batch = buffer.batch(value(observations), GAMMA, LAMBDA)
        ends += int((buffer.terminated | buffer.truncated).sum())

        per_env = {n: [row[2:] for row in raw.log if row[1] == n] for n in range(5)}
        position = dict.fromkeys(range(5), 0)
        expected, expected_observations = [], []
        for _, n, observation, *_ in raw.log:
            expected.append(scalar_advantage(per_env[n], position[n], lambda o: float(o @ weights)))
            expected_observations.append(observation)
            position[n] += 1
        torch.testing.assert_close(batch.advantage, torch.tensor(expected), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(batch.observations["policy"], torch.stack(expected_observations))
        if mode == AutoresetMode.NEXT_STEP and rollout:
            assert batch.advantage.numel() < 55
    assert ends > 8


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_parts_of_a_reward_are_estimated_apart_and_their_advantages_summed(mode, point_env):
    """Against one scalar loop for each part, with values and rewards of their own."""
    raw = point_env(5, autoreset_mode=mode, limit=1.2)
    env = TensorEnvironment(raw)
    generator = torch.Generator().manual_seed(1)
    weights = torch.tensor([[0.7, -1.3, 0.4], [2.0, 0.1, -0.5]])
    parts = (lambda reward: 2.0 * float(reward), lambda reward: 0.5 - float(reward))
    buffer = RolloutBuffer(40, 5, torch.device("cpu"), reward_parts=2)
    observations = env.reset(seed=4)
    for _ in range(40):
        action = torch.randn(5, 1, generator=generator)
        value = observations["policy"] @ weights.T
        step = PolicyStep(
            action=action, log_prob=torch.zeros(5), value=value, parameters=action, normalized=observations
        )
        transition = env.step(action)
        both = torch.stack((2.0 * transition.reward, 0.5 - transition.reward), dim=-1)
        transition = replace(transition, reward=both.sum(-1), reward_parts=both)
        buffer.add(step, transition, transition.truncated_observations["policy"] @ weights.T)
        observations = transition.observations
    batch = buffer.batch(observations["policy"] @ weights.T, GAMMA, LAMBDA)
    assert buffer.terminated.any() and buffer.truncated.any()

    per_env = {n: [row[2:] for row in raw.log if row[1] == n] for n in range(5)}
    position = dict.fromkeys(range(5), 0)
    expected = []
    for _, n, *_ in raw.log:
        expected.append(
            [
                scalar_advantage(per_env[n], position[n], lambda o, row=row: float(o @ row), part)
                for row, part in zip(weights, parts, strict=True)
            ]
        )
        position[n] += 1
    expected = torch.tensor(expected)
    torch.testing.assert_close(batch.advantage, expected.sum(-1), atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(batch.returns, expected + batch.value, atol=2e-5, rtol=1e-5)


def test_parts_that_are_missing_are_missed(point_env):
    env = TensorEnvironment(point_env(2))
    observations = env.reset(seed=0)
    action = torch.zeros(2, 1)
    step = PolicyStep(
        action=action, log_prob=torch.zeros(2), value=torch.zeros(2, 2), parameters=action, normalized=observations
    )
    with pytest.raises(RuntimeError, match="values 2 parts of a reward that is one whole"):
        RolloutBuffer(1, 2, torch.device("cpu"), 2).add(step, env.step(action), torch.zeros(0, 2))


def test_a_buffer_is_filled_exactly_once(point_env):
    env = TensorEnvironment(point_env(2))
    observations = env.reset(seed=0)
    buffer = RolloutBuffer(1, 2, torch.device("cpu"))
    with pytest.raises(RuntimeError, match="holds 0 of 1 steps"):
        buffer.batch(torch.zeros(2), GAMMA, LAMBDA)
    action = torch.zeros(2, 1)
    step = PolicyStep(
        action=action, log_prob=torch.zeros(2), value=torch.zeros(2), parameters=action, normalized=observations
    )
    transition = env.step(action)
    buffer.add(step, transition, torch.zeros(0))
    with pytest.raises(RuntimeError, match="full"):
        buffer.add(step, transition, torch.zeros(0))
    buffer.clear()
    buffer.add(step, transition, torch.zeros(0))
