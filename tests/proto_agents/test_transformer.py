"""The policy that reads tokens; on environments that have nothing to do with ours."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from proto_agents import PPO, ActorCritic, ActorCriticConfig, PPOConfig, Runner, RunnerConfig
from proto_agents.checkpoint import load_tensors
from proto_agents.cli import train
from proto_agents.cli.environments import find_run
from proto_agents.cli.evaluate import evaluate_checkpoint
from proto_agents.config import EnvironmentConfig, Experiment
from proto_agents.evaluation import EvaluationConfig
from proto_agents.export import export_policy
from proto_agents.models.transformer import TransformerConfig, TransformerPolicy
from proto_agents.parsing import ConfigError

TOKENS = {"state": [[0, 1]], "marks": [[2, 3], [4, 5], [6, 7]]}
SMALL = TransformerConfig(width=8, layers=2, heads=2, feedforward=16, token_hidden_sizes=(8,))
CONFIG = ActorCriticConfig(
    kind="transformer", transformer=SMALL, hidden_sizes=(8,), critic_hidden_sizes=(16,), output_gain=1.0
)
BOX = gymnasium.spaces.Box(-np.inf, np.inf, (8,), np.float32)
ACTION = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)


class Marks(VectorEnv):
    """Three marks, one of which is flagged: say its number. An episode is one step."""

    observation_tokens = TOKENS
    control_hz = 10.0

    def __init__(self, num_envs=4, render_mode=None):
        self.num_envs, self.render_mode = num_envs, render_mode
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space, self.single_action_space = BOX, ACTION
        self.observation_space, self.action_space = batch_space(BOX, num_envs), batch_space(ACTION, num_envs)
        self.generator = torch.Generator().manual_seed(0)

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self.generator.manual_seed(seed)
        return self._draw(), {}

    def _draw(self):
        numbers = torch.rand(self.num_envs, 4, 2, generator=self.generator) * 2 - 1
        chosen = torch.randint(3, (self.num_envs,), generator=self.generator)
        numbers[:, 1:, 0] = torch.nn.functional.one_hot(chosen, 3)
        self.wanted = numbers[torch.arange(self.num_envs), chosen + 1, 1]
        self.seen = numbers.flatten(1)
        return self.seen

    def step(self, actions):
        error = (torch.as_tensor(actions)[:, 0] - self.wanted).abs()
        done = torch.ones(self.num_envs, dtype=torch.bool)
        info = {"metrics": {"error": error}, "final_obs": self.seen, "_final_obs": done}
        return self._draw(), -error, torch.zeros_like(done), done, info


gymnasium.register("Marks-v0", vector_entry_point=Marks)


def policy(config=SMALL, seed=0, **changes):
    options = {"hidden_sizes": (8,), "output_gain": 1.0, "generator": torch.Generator().manual_seed(seed)}
    return TransformerPolicy(TOKENS, 8, 3, config, **(options | changes))


def observations(count=6):
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(1))


def slow_attention(layer, hidden):
    """Attention of one sequence (T, W) by its definition, head by head."""
    attention, width = layer.self_attn, hidden.shape[1]
    query, key, value = (
        hidden @ w.T + b
        for w, b in zip(attention.in_proj_weight.split(width), attention.in_proj_bias.split(width), strict=True)
    )
    size = width // attention.num_heads
    outputs = []
    for head in range(attention.num_heads):
        part = slice(head * size, (head + 1) * size)
        weights = torch.softmax(query[:, part] @ key[:, part].T / size**0.5, dim=-1)
        outputs.append(weights @ value[:, part])
    return attention.out_proj(torch.cat(outputs, dim=1))


def test_it_is_what_the_definition_says():
    network, seen = policy(), observations()
    expected = []
    for row in seen:
        embed = network.embedders
        hidden = torch.stack([embed[0](row[:2])] + [embed[1](row[i : i + 2]) for i in (2, 4, 6)]) + network.places
        for layer in network.layers:
            hidden = hidden + slow_attention(layer, layer.norm1(hidden))
            hidden = hidden + layer.linear2(torch.relu(layer.linear1(layer.norm2(hidden))))
        expected.append(network.head(network.norm(hidden[0])))
    torch.testing.assert_close(network(seen), torch.stack(expected), rtol=1e-4, atol=1e-5)


def test_every_token_and_its_place_count():
    network, seen = policy(), observations()
    for number in range(8):
        changed = seen.clone()
        changed[:, number] += 1.0
        assert (network(changed) - network(seen)).abs().amax(1).min() > 1e-4
    swapped = seen[:, [0, 1, 4, 5, 2, 3, 6, 7]]
    assert (network(swapped) - network(seen)).abs().amax(1).min() > 1e-5


def test_the_generator_alone_decides_the_weights():
    state = torch.get_rng_state()
    first, again, other = policy(seed=3).state_dict(), policy(seed=3).state_dict(), policy(seed=4).state_dict()
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["layers.0.linear1.weight"], other["layers.0.linear1.weight"])
    assert not torch.equal(first["layers.0.linear1.weight"], first["layers.1.linear1.weight"])


def test_a_fresh_policy_acts_close_to_zero():
    model = ActorCritic(BOX, ACTION, replace(CONFIG, output_gain=0.01), tokens=TOKENS)
    assert model.act_deterministic({"policy": observations(50)}).abs().max() < 0.1


def test_a_symmetric_one_does_the_mirrored_thing():
    symmetry = {"policy": ([0, 1, 4, 5, 2, 3, 6, 7], [1, -1] * 4), "action": ([0], [-1])}
    config = replace(CONFIG, symmetric=True)
    model = ActorCritic(BOX, ACTION, config, torch.Generator().manual_seed(0), symmetry, tokens=TOKENS)
    here = observations()
    there = here[:, symmetry["policy"][0]] * torch.tensor(symmetry["policy"][1])
    model.update_normalizers({"policy": here})
    action = model.act_deterministic({"policy": here})
    torch.testing.assert_close(model.act_deterministic({"policy": there}), -action)
    assert action.abs().min() > 1e-4


def test_it_learns_which_token_matters(tmp_path):
    env = Marks(64)
    learner = PPO(
        BOX,
        ACTION,
        PPOConfig(horizon=4, minibatch_size=256, epochs=8, learning_rate=5e-3, gamma=0.0, kl_target=0.3, kl_stop=None),
        replace(CONFIG, std=0.2, transformer=replace(SMALL, width=16, layers=1), hidden_sizes=(16,)),
        tokens=env.observation_tokens,
    )
    runner = Runner(env, learner, RunnerConfig(run_dir=str(tmp_path), logger="none"), quiet=True)
    buffer = learner.make_buffer(env.num_envs)
    errors = [runner.iterate(buffer)["metrics/error"] for _ in range(20)]
    # Who says 0 is off by 0.5 on average; the noise alone makes 0.16.
    assert errors[0] > 0.45 and np.mean(errors[-3:]) < 0.25


def experiment(tmp_path, **changes):
    return Experiment(
        env=EnvironmentConfig(id="Marks-v0", num_envs=8),
        model=CONFIG,
        algorithm=PPOConfig(horizon=4, minibatch_size=32, epochs=1),
        runner=RunnerConfig(max_samples=64, run_dir=str(tmp_path / "run"), logger="none"),
        evaluation=EvaluationConfig(num_envs=16, steps=1),
        **changes,
    )


def test_it_is_trained_exported_and_evaluated_by_command(tmp_path):
    result = train.train(experiment(tmp_path))
    trained = load_tensors(tmp_path / "run" / "last" / "model.safetensors")
    export_policy(experiment(tmp_path), tmp_path / "run" / "last", tmp_path / "small")
    exported, checkpoint = find_run(str(tmp_path / "small"))
    assert exported.model == CONFIG
    kept = load_tensors(checkpoint / "model.safetensors")
    assert not any(name.startswith("critic.") for name in kept)
    assert all(torch.equal(kept[name], trained[name]) for name in trained if name.startswith("actor."))
    assert evaluate_checkpoint(exported, checkpoint).values() == result.report.values()


def test_a_run_goes_on_exactly(tmp_path):
    def learner():
        return PPO(BOX, ACTION, PPOConfig(horizon=4, minibatch_size=16, epochs=2), CONFIG, tokens=TOKENS)

    first, second = learner(), learner()
    runner = Runner(Marks(8), first, RunnerConfig(run_dir=str(tmp_path), logger="none"), quiet=True)
    buffer = first.make_buffer(8)
    runner.iterate(buffer)
    runner._collect(buffer)
    second.model.load_state_dict(first.model.state_dict())
    second.load_state_dict({name: value.clone() for name, value in first.state_dict().items()})
    last = first.value(runner.observations)
    assert first.update(buffer, last) == second.update(buffer, last)
    for one, other in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_what_is_missing_or_wrong_is_named(tmp_path):
    with pytest.raises(ValueError, match="needs observation tokens"):
        ActorCritic(BOX, ACTION, CONFIG)
    for tokens, message in (
        ({}, "empty"),
        ({"state": [0, 1]}, r"'state': want indices \(tokens, numbers\)"),
        ({"state": [[0, 8]]}, r"'state': indices must lie in 0 ... 7"),
        ({"state": [[0, 1, 2]]}, "5 of 8 numbers are in no token, such as 3"),
    ):
        with pytest.raises(ValueError, match=message):
            ActorCritic(BOX, ACTION, CONFIG, tokens=tokens)
    with pytest.raises(ValueError, match="3 heads cannot share a width of 8"):
        replace(SMALL, heads=3)
    with pytest.raises(ValueError, match="sizes of at least 1"):
        replace(SMALL, layers=0)
    other = replace(experiment(tmp_path), env=EnvironmentConfig(id="PointTest-v0", num_envs=4))
    with pytest.raises(ConfigError, match="PointTest-v0 shows no tokens: it lacks 'observation_tokens'"):
        train.train(other)
