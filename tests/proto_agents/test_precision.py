"""Mixed precision: where it rounds, where it must not, and that learning stays the same."""

import gymnasium
import numpy as np
import pytest
import torch

from proto_agents.algorithms.ppo import PPO, PPOConfig
from proto_agents.models.mlp import mlp
from proto_agents.models.precision import mixed_precision, native_bfloat16

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
        assert torch.equal(network(observation), network(observation.clone()))
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


def _actions(precision: str) -> tuple[PPO, torch.Tensor, torch.Tensor]:
    ppo = PPO(OBSERVATIONS, ACTIONS, PPOConfig(precision=precision), seed=3)  # type: ignore[arg-type]
    observations = {"policy": torch.randn(256, 12, generator=torch.Generator().manual_seed(2))}
    step = ppo.act(observations)
    return ppo, step.log_prob, step.action


def test_rollout_and_update_round_alike_so_that_the_first_ratio_is_one() -> None:
    ppo, log_prob, action = _actions("bfloat16")
    observations = {"policy": torch.randn(256, 12, generator=torch.Generator().manual_seed(2))}
    normalized = ppo.model.normalize(observations)
    with ppo.mixed:
        again = ppo.model.distribution(normalized).log_prob(action)
    torch.testing.assert_close(again, log_prob, rtol=0.0, atol=1e-4)


def test_weights_and_gradients_stay_in_32_bits_and_point_the_same_way() -> None:
    gradients = []
    for precision in ("float32", "bfloat16"):
        ppo, _, _ = _actions(precision)
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
    wide, narrow = _actions("float32")[0], _actions("bfloat16")[0]
    observations = {"policy": torch.randn(8, 12)}
    assert torch.equal(wide.model.act_deterministic(observations), narrow.model.act_deterministic(observations))
