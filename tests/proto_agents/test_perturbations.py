"""Overlays of perturbations, from their files to the environment."""

import json

import pytest

from proto_agents.cli import evaluate
from proto_agents.config import EnvironmentConfig, Experiment, config_root, evaluated_with, load_experiment
from proto_agents.evaluation import EvaluationConfig
from proto_agents.parsing import ConfigError

OVERLAYS = sorted(path.stem for path in (config_root() / "perturbation").glob("*.yaml"))


@pytest.mark.parametrize("name", [name for name in OVERLAYS if name != "none"])
def test_an_overlay_says_what_the_preset_of_its_name_says(name):
    reading = pytest.importorskip("proto_envs.randomization.reading")
    experiment = load_experiment(["quickstart", f"perturbation/{name}"])
    for overlay in (None, experiment.evaluation.env):
        arguments = experiment.env.keyword_arguments(overlay)
        assert reading.make_randomization(arguments["randomization"]) == reading.PRESETS[name]


def test_every_preset_has_an_overlay():
    reading = pytest.importorskip("proto_envs.randomization.reading")
    assert set(OVERLAYS) == {"none", *reading.PRESETS}


def test_perturbations_add_up_and_evaluations_may_do_without():
    experiment = load_experiment(["quickstart", "perturbation/pushes", "perturbation/delay", "perturbation/none"])
    assert experiment.env.kwargs["randomization"].keys() == {"pushes", "action_delay"}
    assert experiment.env.keyword_arguments(experiment.evaluation.env)["randomization"] is None


def test_an_overlay_of_an_evaluation_goes_before_what_the_run_says_of_its_evaluations(tmp_path):
    file = tmp_path / "hard.yaml"
    file.write_text("env: {kwargs: {randomization: {friction: 0.4}}}\nexpect: {success_rate: [0.5, 1]}")
    trained = Experiment(
        env=EnvironmentConfig(id="PointTest-v0", kwargs={"randomization": {"mass": 2}}),
        evaluation=EvaluationConfig(env={"randomization": None, "task": {"start": "zero"}}),
        expect={"success_rate": (0.9, 1.0)},
    )
    changed = evaluated_with(trained, [str(file)])
    assert changed.evaluation.env == {"randomization": {"friction": 0.4}, "task": {"start": "zero"}}
    assert changed.expect == {"success_rate": (0.5, 1.0)}
    assert changed.model == trained.model and changed.name == trained.name
    assert evaluated_with(trained, []) == trained


def test_an_evaluation_takes_no_training_settings_from_an_overlay():
    with pytest.raises(
        ConfigError, match=r"opt/smoke: an evaluation takes env, evaluation, expect and recording.*\['runner'\]"
    ):
        evaluated_with(Experiment(), ["opt/smoke"])
    with pytest.raises(ConfigError, match=r"no overlay 'perturbation/frction'.*did you mean 'perturbation/friction'"):
        evaluated_with(Experiment(), ["perturbation/frction"])


def test_a_shipped_policy_is_evaluated_under_perturbations(capsys):
    pytest.importorskip("proto_envs")
    reports = []
    for overlays in ([], ["perturbation/gravity"]):
        with pytest.raises(SystemExit) as end:
            evaluate.main(["pretrained/walk-amp", *overlays, "--json", "--num-envs", "4", "--steps", "30"])
        reports.append(json.loads(capsys.readouterr().out.strip().splitlines()[-1]))
    assert end.value.code == 0, "what the run expects of a calm world is not expected here"
    assert reports[0]["mpjpe_mm"] < reports[1]["mpjpe_mm"]
