"""The recipes of skills start, learn, and measure what they expect; none of them is trained here."""

import json

import pytest

from proto_agents.checkpoint import load_tensors
from proto_agents.cli import train
from proto_agents.cli.evaluate import evaluate_checkpoint
from proto_agents.config import load_experiment

pytest.importorskip("proto_envs")

TINY = """
env: {num_envs: 6}
model: {hidden_sizes: [16], critic_hidden_sizes: [16]}
algorithm: {horizon: 4, minibatch_size: 24, epochs: 1}
discriminator: {hidden_sizes: [16], minibatch_size: 32, gradient_steps: 2, replay_size: 100}
runner: {max_samples: 24, logger: none, report: false, threads: 1}
evaluation: {num_envs: 2, steps: 2}
"""


def test_skills_are_taught_and_then_chosen_to_do_a_task(tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY)
    overlays = {"skills": ["ase-amp"], "task": ["skill-steering"]}
    for name, recipe in overlays.items():
        given = {"runner": {"run_dir": str(tmp_path / name)}}
        if name == "task":
            given["skills"] = {"controller": str(tmp_path / "skills")}
        experiment = load_experiment([*recipe, str(tmp_path / "tiny.yaml")], given)
        assert experiment.expect
        before = load_tensors(tmp_path / "skills/last/model.safetensors") if name == "task" else {}
        result = train.train(experiment)
        assert result.report is not None and experiment.runner.best_metric in result.report.values()
        line = json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[-1])
        assert ("skills/encoder_loss" in line) == (name == "skills")
    after = load_tensors(tmp_path / "skills/last/model.safetensors")
    assert all(value.equal(before[key]) for key, value in after.items())
    assert set(experiment.expect) <= set(result.report.values())
    again = evaluate_checkpoint(experiment, tmp_path / "task" / "last").values()
    assert again.items() >= result.report.values().items()
