"""Mixed precision: where it rounds, where it must not, and that learning stays the same."""

import gymnasium
import numpy as np
import pytest
import torch

from proto_agents.algorithms.ppo import PPO, PPOConfig
from proto_agents.environment import Transition
from proto_agents.models.actor_critic import ActorCriticConfig
from proto_agents.models.mlp import mlp
from proto_agents.models.precision import Precision, mixed_precision, native_bfloat16

CPU = torch.device("cpu")
OBSERVATIONS = gymnasium.spaces.Box(-np.inf, np.inf, (12,))
ACTIONS = gymnasium.spaces.Box(-1.0, 1.0, (5,))


def test_hidden_layers_round_to_16_bits_and_the_last_layer_does_not() -> None:
    network = mlp((12, 32, 5), generator=torch.Generator().manual_seed(0))
    observation = torch.randn(64, 12, generator=torch.Generator().manual_seed(1))
    with mixed_precision("bfloat16", CPU):
        output = network(observation)
        hidden = network[:-1](observation)
    assert hidden.dtype == torch.bfloat16
    assert output.dtype == torch.float32
    # The last layer by hand, in 64 bits, of what the rounded layers gave.
    want = hidden.double() @ network[-1].weight.double().T + network[-1].bias.double()
    torch.testing.assert_close(output.double(), want, rtol=1e-5, atol=1e-6)
    exact = network(observation)
    error = (output - exact).norm() / exact.norm()
    assert 1e-5 < error < 1e-2  # 2**-8 and some: it did round, and no more than that


def test_float32_changes_nothing() -> None:
    network = mlp((12, 32, 5), generator=torch.Generator().manual_seed(0))
    observation = torch.randn(64, 12)
    with mixed_precision("float32", CPU):
        inside = network(observation)
    assert torch.equal(inside, network(observation))


def test_auto_is_16_bits_where_the_processor_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for native in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda native=native: native, raising=False)
        assert native_bfloat16(CPU) is native
        with mixed_precision("auto", CPU):
            assert torch.is_autocast_enabled("cpu") is native


def test_a_torch_that_cannot_say_gets_32_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert not native_bfloat16(CPU)


def _learner(precision: Precision) -> PPO:
    ppo = PPO(OBSERVATIONS, ACTIONS, PPOConfig(precision=precision), seed=3)
    observations = {"policy": torch.randn(256, 12, generator=torch.Generator().manual_seed(2))}
    ppo.act(observations)  # the running statistics have seen something
    return ppo


def test_rollout_and_update_round_alike_so_that_the_first_ratio_is_one() -> None:
    # Large means, so that rounding on one side alone would show; one minibatch, so that no step has moved the policy.
    config = PPOConfig(precision="bfloat16", horizon=2, epochs=1, minibatch_size=512)
    ppo = PPO(OBSERVATIONS, ACTIONS, config, ActorCriticConfig(output_gain=1.0), seed=3)
    buffer = ppo.make_buffer(256)
    source = torch.Generator().manual_seed(2)
    never = torch.zeros(256, dtype=torch.bool)
    for _ in range(2):
        observations = {"policy": torch.randn(256, 12, generator=source)}
        transition = Transition(
            observations=observations,
            outcome=observations,
            reward=torch.randn(256, generator=source),
            terminated=never,
            truncated=never,
            valid=~never,
            truncated_rows=torch.zeros(0, dtype=torch.long),
            truncated_observations={"policy": torch.zeros(0, 12)},
            metrics={},
            info={},
        )
        buffer.add(ppo.act(observations), transition, torch.zeros(0))
    assert ppo.update(buffer, torch.zeros(256))["policy/kl"] < 1e-6


def test_weights_and_gradients_stay_in_32_bits_and_point_the_same_way() -> None:
    gradients = []
    kinds: tuple[Precision, ...] = ("float32", "bfloat16")
    for precision in kinds:
        ppo = _learner(precision)
        observations = {"policy": torch.randn(256, 12, generator=torch.Generator().manual_seed(5))}
        target = torch.randn(256, generator=torch.Generator().manual_seed(6))
        with ppo.mixed:
            value = ppo.model.normalized_value(observations)
        (value - target).square().mean().backward()
        parts = [p.grad for p in ppo.model.critic.parameters() if p.grad is not None]
        assert {part.dtype for part in parts} == {torch.float32}
        gradients.append(torch.cat([part.flatten() for part in parts]))
    cosine = torch.nn.functional.cosine_similarity(*gradients, dim=0)
    assert cosine > 0.999


def test_who_acts_after_training_computes_in_32_bits() -> None:
    wide, narrow = _learner("float32"), _learner("bfloat16")
    observations = {"policy": torch.randn(8, 12)}
    assert torch.equal(wide.model.act_deterministic(observations), narrow.model.act_deterministic(observations))
