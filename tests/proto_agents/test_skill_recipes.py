"""The recipe of skills runs, measures what it expects, and is exported with its encoder; it is not trained here."""

import pytest

from proto_agents.checkpoint import CheckpointError
from proto_agents.cli import train
from proto_agents.cli.environments import find_run
from proto_agents.cli.evaluate import evaluate_checkpoint
from proto_agents.config import load_experiment
from proto_agents.evaluation import style
from proto_agents.export import export_policy
from proto_agents.skill_evaluation import SkillEvaluator

pytest.importorskip("proto_envs")

TINY = """
env: {num_envs: 6, motions: [walk, run]}
model: {hidden_sizes: [16], critic_hidden_sizes: [16]}
algorithm: {horizon: 6, minibatch_size: 36, epochs: 1}
discriminator: {hidden_sizes: [16], minibatch_size: 32, gradient_steps: 2, replay_size: 100}
runner: {max_samples: 72, evaluate_from: 0, logger: none, report: false, threads: 1}
evaluation: {num_envs: 16, steps: 2}
"""


def test_the_recipe_runs_and_its_policy_is_judged_and_exported(tmp_path, monkeypatch):
    monkeypatch.setitem(SkillEvaluator.__init__.__kwdefaults__, "settle", 1)
    monkeypatch.setitem(SkillEvaluator.__init__.__kwdefaults__, "steps", 2)
    monkeypatch.setattr(style, "_EXPERTS", 100)
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


def test_the_gpu_overlay_goes_with_it():
    experiment = load_experiment(["ase-amp", "opt/gpu"])
    samples = experiment.env.num_envs * experiment.algorithm.horizon
    assert samples % experiment.algorithm.minibatch_size == 0 and experiment.runner.max_samples > samples
    assert experiment.runner.evaluate_from < experiment.runner.max_samples
