"""Which skills are known again, and whether one follows another without a fall: on an environment where it is known."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from scipy import stats

from proto_agents.checkpoint import CheckpointError
from proto_agents.cli import train
from proto_agents.cli.environments import find_run
from proto_agents.cli.evaluate import evaluate_checkpoint
from proto_agents.config import load_experiment
from proto_agents.environment import TensorEnvironment
from proto_agents.evaluation import EvaluationConfig, evaluate, style
from proto_agents.export import export_policy
from proto_agents.models.skills import SkillDiscriminator
from proto_agents.skill_env import SkillEnv
from proto_agents.skill_evaluation import Recovery, SkillEvaluator, clip_latents

CLIPS = ("east", "north", "west", "south")
SETTLE, STEPS = 3, 5


class Compass(gymnasium.vector.VectorEnv):
    """Points that move where the action says; "style" is where to. Who turns back falls: by more than 100 degrees."""

    def __init__(self, num_envs, mode=AutoresetMode.SAME_STEP):
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": mode}
        self.single_observation_space = gymnasium.spaces.Dict(
            {"policy": gymnasium.spaces.Box(-9, 9, (1,)), "style": gymnasium.spaces.Box(-9, 9, (2,))}
        )
        self.single_action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,))
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.random = np.random.default_rng(0)
        self.fallen = np.zeros(num_envs, bool)

    def reset(self, *, seed=None, options=None):
        self.heading, self.age = np.zeros((self.num_envs, 2), np.float32), np.zeros(self.num_envs, int)
        self.done = np.zeros(self.num_envs, bool)
        return self.observe(), {}

    def observe(self):
        return {"policy": np.ones((self.num_envs, 1), np.float32), "style": self.heading.copy()}

    def step(self, actions):
        late = self.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
        resetting = self.done if late else np.zeros(self.num_envs, bool)
        before = self.heading
        self.heading = np.asarray(actions, np.float32) / np.linalg.norm(actions, axis=1, keepdims=True)
        fallen = ((before * self.heading).sum(1) < np.cos(np.radians(100))) & ~resetting
        self.fallen |= fallen
        self.heading[resetting] = 0.0
        self.done, info = fallen, {}
        observation = self.observe()
        if not late:
            info = {"final_obs": observation, "_final_obs": fallen}
            self.heading = self.heading.copy()
            self.heading[fallen] = 0.0
            observation = self.observe()
        return observation, np.zeros(self.num_envs, np.float32), fallen, np.zeros_like(fallen), info

    def experts(self, clips):
        """A window of each clip, a little off its direction."""
        angle = torch.as_tensor(clips) * (np.pi / 2) + 0.1 * torch.as_tensor(self.random.normal(size=len(clips)))
        return torch.stack([angle.cos(), angle.sin()], dim=1).float()


@pytest.fixture
def encoder():
    """Latents are directions of motion: what the encoder says of them is exact."""
    model = SkillDiscriminator(2, 2, (4,), encoder_hidden_sizes=())
    (layer,) = model.encoder
    with torch.no_grad():
        layer.weight.copy_(torch.eye(2))
    return model


def obeys(observations):
    return observations["policy"][:, -2:]


def evaluator_in(env, encoder, policy, clips=CLIPS):
    evaluator = SkillEvaluator(encoder, policy, clips, env.experts, settle=SETTLE, steps=STEPS)
    stream = TensorEnvironment(SkillEnv(env, 2, (1, 3)))
    stream.reset(seed=0)
    evaluator.begin(stream, stream.observations)
    return evaluator


def test_the_latent_of_a_clip_is_what_the_encoder_makes_of_its_windows(encoder):
    latents = clip_latents(encoder, Compass(1).experts, 4)
    wanted = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    torch.testing.assert_close(latents, wanted, atol=0.06, rtol=0.0)
    torch.testing.assert_close(latents.norm(dim=1), torch.ones(4))


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_a_policy_that_does_what_it_is_told_is_known_again(encoder, mode):
    numbers = evaluator_in(Compass(8, mode), encoder, obeys).numbers()
    assert numbers["skills_recovered"] == numbers["skills_recovered_by_motion"] == 4
    assert numbers["skill_recall"] == numbers["skill_recall_by_motion"] == 1.0
    assert numbers["skill_chance"] == 0.25
    assert numbers["skill_recall/north"] == numbers["skill_confusion/north/north"] == 1.0
    assert numbers["skill_confusion/north/west"] == 0.0


def test_two_skills_that_were_exchanged_are_found_so(encoder):
    def mixes_up(observations):
        told = observations["policy"][:, -2:]
        return torch.where(told[:, :1].abs() > told[:, 1:].abs(), -told, told)  # east for west

    numbers = evaluator_in(Compass(8), encoder, mixes_up).numbers()
    assert numbers["skill_confusion/east/west"] == numbers["skill_confusion/west/east"] == 1.0
    assert numbers["skill_confusion/north/north"] == 1.0
    assert numbers["skills_recovered"] == numbers["skills_recovered_by_motion"] == 2


def test_who_always_does_the_same_has_no_skill(encoder):
    """East is always guessed, so it is guessed as often when others are played: by chance."""
    numbers = evaluator_in(Compass(8), encoder, lambda _: torch.tensor([[1.0, 0.0]]).expand(8, 2)).numbers()
    assert numbers["skill_recall/east"] == 1.0 and numbers["skill_recall"] == 0.25
    assert numbers["skills_recovered"] == numbers["skills_recovered_by_motion"] == 0


def test_who_falls_before_a_skill_shows_is_not_guessed(encoder):
    turn = torch.tensor([1.0])

    def turns_back(observations):
        turn.neg_()
        return turn * observations["policy"][:, -2:]

    evaluator = evaluator_in(Compass(8), encoder, turns_back)
    by_encoder, by_motion = evaluator.recover()
    assert by_encoder.episodes.tolist() == by_motion.episodes.tolist() == [16] * 4
    assert by_encoder.guesses.sum() == by_motion.guesses.sum() == 0
    numbers = evaluator.numbers()
    assert numbers["skill_survival"] == numbers["transition_survival"] == 0.0
    assert numbers["skills_recovered"] == 0


def test_transitions_fall_as_often_as_they_turn_back(encoder):
    """Of the three other directions one is behind: the others can be turned to."""
    env = Compass(300)
    found = evaluator_in(env, encoder, obeys).transitions()
    assert found["skill_survival"] == 1.0
    assert found["transition_survival"] == pytest.approx(2.0 / 3.0, abs=0.1)
    assert round(300 * (1.0 - found["transition_survival"])) == env.fallen.sum()


def test_without_clips_any_skill_follows_any_other(encoder):
    numbers = evaluator_in(Compass(400), encoder, obeys, clips=()).numbers()
    assert set(numbers) == {"skill_survival", "transition_survival"}
    assert numbers["transition_survival"] == pytest.approx(200.0 / 360.0, abs=0.08)


def test_above_chance_is_a_binomial_test_against_the_greater_of_two_chances():
    guesses = torch.tensor([[9, 3, 4, 0], [8, 7, 0, 1], [9, 0, 7, 0], [8, 0, 0, 5]])
    recovery = Recovery(guesses, torch.tensor([16] * 4))
    torch.testing.assert_close(recovery.recall, torch.tensor([9, 7, 7, 5]) / 16)
    chances = [25 / 48, 0.25, 0.25, 0.25]
    tests = [
        stats.binomtest(hits, 16, chance, alternative="greater")
        for hits, chance in zip((9, 7, 7, 5), chances, strict=True)
    ]
    for significance in (0.01, 0.1, 0.5):
        wanted = [test.pvalue < significance for test in tests]
        assert recovery.above_chance(significance).tolist() == wanted
    assert any(test.pvalue < 0.1 for test in tests) and any(test.pvalue > 0.1 for test in tests)


def test_it_adds_to_an_evaluation_and_says_the_same_each_time(encoder):
    env = SkillEnv(Compass(8), 2, (1, 3))
    evaluator = SkillEvaluator(encoder, obeys, CLIPS, env.experts, settle=SETTLE, steps=STEPS)
    config = EvaluationConfig(steps=4, seeds=2)
    reports = [evaluate(env, obeys, config, evaluators=[evaluator], intervals=True) for _ in range(2)]
    assert reports[0].values()["skills_recovered"] == 4
    assert reports[0].values() == reports[1].values()


def test_it_needs_an_environment_with_latents(encoder):
    env = Compass(2)
    evaluator = SkillEvaluator(encoder, obeys, CLIPS, env.experts)
    with pytest.raises(TypeError, match="SkillEnv, not in Compass"):
        evaluator.begin(TensorEnvironment(env), {})


# --- from checkpoints ------------------------------------------------------------------------------------------------

TINY = """
env: {num_envs: 6, motions: [walk, run], task: {style_steps: [0, 1]}}
model: {hidden_sizes: [16], critic_hidden_sizes: [16]}
algorithm: {horizon: 4, minibatch_size: 24, epochs: 1}
discriminator: {hidden_sizes: [16], minibatch_size: 32, gradient_steps: 2, replay_size: 100}
runner: {max_samples: 24, logger: none, report: false, threads: 1}
evaluation: {num_envs: 16, steps: 2}
"""


def test_a_run_and_what_is_exported_of_it_are_judged_alike(tmp_path, monkeypatch):
    pytest.importorskip("proto_envs")
    monkeypatch.setitem(SkillEvaluator.__init__.__kwdefaults__, "settle", 1)
    monkeypatch.setitem(SkillEvaluator.__init__.__kwdefaults__, "steps", 2)
    monkeypatch.setattr(style, "_EXPERTS", 300)
    (tmp_path / "tiny.yaml").write_text(TINY)
    run = tmp_path / "run"
    experiment = load_experiment(["ase-amp", str(tmp_path / "tiny.yaml")], {"runner": {"run_dir": str(run)}})
    train.train(experiment)
    values = evaluate_checkpoint(experiment, run / "last").values()
    assert set(experiment.expect) | {"skill_recall/run", "skill_confusion/walk/run"} <= set(values)
    assert values["skill_chance"] == 0.5

    export_policy(*find_run(str(run), ("last",)), tmp_path / "small")
    exported, checkpoint = find_run(str(tmp_path / "small"))
    assert evaluate_checkpoint(exported, checkpoint).values() == values
    (checkpoint / "discriminator.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"trainer\.safetensors is missing"):
        evaluate_checkpoint(exported, checkpoint)
