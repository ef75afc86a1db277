"""The recipes of styles start, learn, and measure what they expect; none of them is trained here."""

import json

import pytest

from proto_agents.cli import train
from proto_agents.cli.evaluate import evaluate_checkpoint
from proto_agents.config import load_experiment

pytest.importorskip("proto_envs")

TINY = """
env: {num_envs: 6}
model: {hidden_sizes: [16], critic_hidden_sizes: [16]}
algorithm: {horizon: 6, minibatch_size: 36, epochs: 1}
discriminator: {hidden_sizes: [16], minibatch_size: 32, gradient_steps: 2, replay_size: 100}
runner: {max_samples: 72, logger: none, report: false, threads: 1}
evaluation: {num_envs: 2, steps: 2}
"""
RECIPES = ("walk-random", "steering", "facing", "path", "reach", "strike")


@pytest.mark.parametrize("name", [None, *RECIPES])
def test_every_recipe_runs_and_measures_what_it_expects(tmp_path, name):
    overlays = ["style-walk"] + ([] if name is None else [f"style-{name}"])
    (tmp_path / "tiny.yaml").write_text(TINY)
    experiment = load_experiment(
        [*overlays, str(tmp_path / "tiny.yaml")], {"runner": {"run_dir": str(tmp_path / "run")}}
    )
    assert experiment.name == overlays[-1] and experiment.expect
    result = train.train(experiment)
    assert result.report is not None
    assert set(experiment.expect) | {experiment.runner.best_metric} <= set(result.report.values())
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 2
    assert ("discriminator/loss" in lines[-1]) == (name != "walk-random")
    assert ("loss/value_task" in lines[-1]) == (name not in (None, "walk-random"))
    alone = evaluate_checkpoint(experiment, tmp_path / "run" / "last").values()  # it asks for metrics in detail as well
    assert alone | result.report.values() == alone


def test_the_gpu_overlay_goes_with_every_recipe():
    for name in RECIPES:
        experiment = load_experiment(["style-walk", f"style-{name}", "opt/gpu"])
        samples = experiment.env.num_envs * experiment.algorithm.horizon
        assert experiment.env.backend is None and samples % experiment.algorithm.minibatch_size == 0
        assert experiment.runner.max_samples > samples
