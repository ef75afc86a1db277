"""The recipes that track many clips start, learn, and measure what they expect; none of them is trained here."""

import gymnasium
import pytest
import torch

from motionlib import sample_names
from proto_agents.cli import train
from proto_agents.cli.environments import make_environment
from proto_agents.cli.evaluate import evaluate_checkpoint
from proto_agents.config import load_experiment

pytest.importorskip("proto_envs")

TINY = """
env: {num_envs: 20}
model: {hidden_sizes: [16], critic_hidden_sizes: [16], transformer: {width: 8, layers: 1, token_hidden_sizes: [8]}}
algorithm: {horizon: 4, minibatch_size: 40, epochs: 1}
runner: {max_samples: 160, logger: none, report: false, threads: 1}
evaluation: {num_envs: 20, steps: 2}
"""
LIBRARY = (["library-amp"], ["library-amp", "library-smpl"], ["library-amp", "library-amp-transformer"])
RECIPES = (*LIBRARY, ["g1-track"])
ALL = (*RECIPES, ["g1-track", "g1-track-all"])


@pytest.mark.parametrize("overlays", RECIPES, ids=lambda overlays: overlays[-1])
def test_every_recipe_runs_and_measures_what_it_expects(tmp_path, overlays):
    (tmp_path / "tiny.yaml").write_text(TINY)
    run = {"runner": {"run_dir": str(tmp_path / "run")}}
    experiment = load_experiment([*overlays, str(tmp_path / "tiny.yaml")], run)
    assert experiment.name == overlays[-1] and experiment.expect
    assert experiment.evaluation.env["task"]["start"] == "sequential"
    result = train.train(experiment)
    assert result.report is not None
    assert set(experiment.expect) | {experiment.runner.best_metric} <= set(result.report.values())
    assert len(result.report.clips) == (20 if overlays in LIBRARY else 6)
    alone = evaluate_checkpoint(experiment, tmp_path / "run" / "last").values()  # it asks for metrics in detail as well
    assert alone | result.report.values() == alone


@pytest.mark.parametrize(("overlay", "skeleton"), [("library-amp", "amp"), ("library-smpl", "smpl")])
def test_the_library_is_all_samples_and_every_clip_is_evaluated_equally_often(overlay, skeleton):
    experiment = load_experiment(["library-amp", overlay])
    names = sample_names(skeleton)
    assert len(names) == 20 and experiment.evaluation.num_envs % 20 == 0 and experiment.evaluation.num_envs >= 100
    settings = experiment.evaluation
    env = make_environment(experiment, 40, settings.env)
    env.reset(seed=settings.seed)
    assert sorted(env.unwrapped.clip_names) == sorted(names)
    *_, info = env.step(torch.zeros(env.action_space.shape))
    assert torch.equal(info["clip"], torch.arange(40) % 20)
    control = env.unwrapped.components.controls["reference"]
    assert torch.equal(control.times, torch.full((40,), control.dt))
    longest = control.library.durations.max()
    assert experiment.evaluation.env["task"]["episode_seconds"] > longest
    env.close()


def test_the_gpu_overlay_goes_with_every_recipe():
    for overlays in ALL:
        experiment = load_experiment([*overlays, "opt/gpu"])
        samples = experiment.env.num_envs * experiment.algorithm.horizon
        assert experiment.env.backend is None and samples % experiment.algorithm.minibatch_size == 0
        assert experiment.runner.max_samples > samples
        assert experiment.env.id in gymnasium.registry
