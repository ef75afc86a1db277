"""Policies under perturbations, beside each other."""

import csv
import io
import json
import math
import re
import shlex
from pathlib import Path

import pytest
from scipy.stats import t as student

from proto_agents.cli import environments, evaluate, train
from proto_agents.cli.perturbations import (
    Perturbation,
    read_perturbations,
    unperturbed_values,
    without_own_perturbations,
)
from proto_agents.cli.robustness import Trained, check, find_trained, grouped_by_experiment
from proto_agents.config import EnvironmentConfig, Experiment
from proto_agents.evaluation import EvaluationConfig
from proto_agents.evaluation.charts import robustness_chart, svg_of
from proto_agents.evaluation.robustness import UNPERTURBED, Condition, Measurement, PolicyResult, Robustness, headline
from proto_agents.evaluation.robustness_page import render_robustness
from proto_agents.parsing import ConfigError

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
POINT = """
name: point
env: {id: PointTest-v0, num_envs: 4}
model: {hidden_sizes: [8], critic_hidden_sizes: [8]}
algorithm: {horizon: 4, minibatch_size: 16, epochs: 1}
runner: {max_samples: 16, evaluate_every: 16, logger: none}
evaluation: {num_envs: 4, seconds: 1}
"""
GRAVITY = Condition(perturbation="gravity", value="-14", number=-14.0)
ROUGH = Condition(perturbation="terrain", value="complex")


def exit_code(command, *arguments):
    try:
        command.main(list(arguments))
    except SystemExit as end:
        return end.code or 0
    return 0


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Two runs that differ by their seed, and one with other settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environments, "register_environments", lambda identifier: None)
    (tmp_path / "point.yaml").write_text(POINT)
    for folder, flags in {"a": ("0",), "b": ("1",), "c": ("0", "--algorithm.gamma", "0.5")}.items():
        seed, *others = flags
        arguments = ("point.yaml", "--runner.run-dir", f"runs/{folder}", "--runner.seed", seed, *others)
        assert exit_code(train, *arguments) == 0
    return tmp_path


def result(name, *rates, under=(UNPERTURBED, GRAVITY, ROUGH)):
    """Runs of one policy, whose success rate is that in the calm world and half of it elsewhere."""
    measured = {
        condition: [
            Measurement(
                values={"success_rate": rate if condition == UNPERTURBED else rate / 2, "mean_return": 10 * rate},
                intervals={"success_rate": (0.25, 0.75)},
                episodes=8,
            )
            for rate in rates
        ]
        for condition in under
    }
    checkpoints = tuple(f"runs/{name}-{i}" for i in range(len(rates)))
    return PolicyResult(name=name, checkpoints=checkpoints, measured=measured)


def table_of(*policies):
    conditions = (UNPERTURBED, GRAVITY, ROUGH)
    return Robustness(metrics=("success_rate", "mean_return"), conditions=conditions, policies=policies)


def test_every_value_is_a_condition_by_itself_and_keeps_its_type():
    found = read_perturbations(
        [
            "gravity=-14,-16",
            "friction=[0.3, 1.6]",
            "mass.R_Hand=2",
            "terrain=complex",
            "env.task.speed=1.5",
            "gravity=-14",
        ]
    )
    assert found[0] == Perturbation(condition=UNPERTURBED)
    assert [perturbation.arguments for perturbation in found[1:]] == [
        {"randomization": {"gravity": -14}},
        {"randomization": {"gravity": -16}},
        {"randomization": {"friction": [0.3, 1.6]}},
        {"randomization": {"mass": {"R_Hand": 2}}},
        {"randomization": {"terrain": "complex"}},
        {"task": {"speed": 1.5}},
    ]
    assert [p.condition.number for p in found] == [None, -14.0, -16.0, None, 2.0, None, 1.5]
    assert [p.condition.value for p in found] == ["", "-14", "-16", "[0.3, 1.6]", "2", "complex", "1.5"]


@pytest.mark.parametrize("item", ["gravity=", "=3", "mass.=2", "friction=[0.3", "perturbation/frction"])
def test_what_is_no_perturbation_is_refused(item):
    with pytest.raises(ConfigError, match=re.escape(item)):
        read_perturbations([item])


def test_a_run_s_own_perturbations_do_not_count_but_given_overlays_stay():
    trained = Experiment(
        env=EnvironmentConfig(kwargs={"randomization": {"mass": 2}, "observation": "groups"}),
        evaluation=EvaluationConfig(env={"randomization": {"friction": 2}, "task": {"start": "zero"}}),
    )
    calm = without_own_perturbations(trained)
    assert calm.env.kwargs == {"observation": "groups"} and calm.evaluation.env == {"task": {"start": "zero"}}
    pushed, heavy = read_perturbations(["perturbation/pushes", "mass=2"])[1:]
    both = heavy.applied(pushed.applied(calm)).evaluation.env["randomization"]
    assert both.keys() == {"pushes", "mass"} and both["mass"] == 2
    assert heavy.applied(calm).evaluation.env == {"task": {"start": "zero"}, "randomization": {"mass": 2}}
    preset = Experiment(evaluation=EvaluationConfig(env={"randomization": "pushes"}))
    with pytest.raises(ConfigError, match="perturbation/pushes"):
        heavy.applied(preset)


def test_one_run_has_its_interval_over_episodes_and_several_one_over_runs():
    table = table_of(result("single", 0.8), result("three", 0.4, 0.6, 0.8))
    single, three = (row.numbers["success_rate"] for row in table.rows()[:2])
    assert (single.mean, single.interval, single.change) == (0.8, (0.25, 0.75), None)
    reach = student.ppf(0.975, 2) * 0.2 / math.sqrt(3)  # the standard deviation of 0.4, 0.6 and 0.8 is 0.2
    assert three.mean == pytest.approx(0.6)
    assert three.interval == pytest.approx((0.6 - reach, 1.0)), "no share is above 1"
    returns = table.rows()[1].numbers["mean_return"]
    assert returns.interval == pytest.approx((6.0 - 10 * reach, 6.0 + 10 * reach))
    assert table.rows()[3].numbers["success_rate"].change == pytest.approx(-0.3)


def test_the_table_is_the_same_as_csv_and_json():
    table = table_of(result("single", 0.8), result("two", 0.5, 0.6))
    lines = list(csv.DictReader(io.StringIO(table.to_csv())))
    rows = json.loads(json.dumps(table.to_dict()))["rows"]
    assert len(lines) == len(rows) == 6
    for line, row in zip(lines, rows, strict=True):
        number = row["numbers"]["success_rate"]
        assert float(line["success_rate"]) == number["mean"]
        assert [float(line["success_rate_low"]), float(line["success_rate_high"])] == number["interval"]
        assert (line["perturbation"], line["policy"]) == (row["condition"]["perturbation"], row["policy"])
    assert len(table.to_dict()["runs"]) == 3 * 3


def test_curves_go_through_the_unperturbed_world():
    table = table_of(result("single", 0.8), result("two", 0.5, 0.7))
    panels = robustness_chart(table, "success_rate", {"gravity": -9.81}).axes
    assert [panel.get_title() for panel in panels] == ["gravity", "terrain"]
    calm, curve = panels[0].lines[:2]
    assert list(calm.get_ydata()) == [80.0, 80.0]
    assert list(curve.get_xdata()) == [-14.0, -9.81] and list(curve.get_ydata()) == [40.0, 80.0]
    assert [label.get_text() for label in panels[1].get_xticklabels()] == ["complex"]
    assert "<svg" in svg_of(robustness_chart(table, "absent"))
    assert robustness_chart(Robustness(metrics=("x",), conditions=(UNPERTURBED,), policies=()), "x") is None


def test_the_page_stands_alone():
    page = render_robustness(table_of(result("a<b", 0.5), result("two", 0.5, 0.6)), "title", "command")
    assert page.count("<svg") == 2 and "a&lt;b" in page and "a<b" not in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)


def test_success_goes_before_what_training_watched():
    assert headline({"success_rate", "mean_return"}, "mean_return") == "success_rate"
    assert headline({"mean_return", "speed"}, "speed") == "speed"
    assert headline({"mean_return"}, "gone") == "mean_return"


def test_runs_that_differ_by_their_seed_alone_are_one_policy(runs):
    trained = find_trained(["runs/*/last", "runs/a/last"], lambda experiment: experiment)
    assert [str(one.checkpoint) for one in trained] == ["runs/a/last", "runs/b/last", "runs/c/last"]
    groups = grouped_by_experiment(trained)
    assert {name: len(group) for name, group in groups.items()} == {"point (runs/a/last)": 2, "point (runs/c/last)": 1}
    assert list(grouped_by_experiment(trained[:2])) == ["point"]
    twice = find_trained(["runs/a/best", "runs/a/last"], lambda experiment: experiment)
    assert len(grouped_by_experiment(twice)) == 2, "two checkpoints of one run are not two runs"


def test_checkpoints_are_compared_under_perturbations_in_any_environment(runs, capsys):
    flags = ("--perturb", "env.limit=0.1,0.5", "--games", "2", "--output", "out", "--report", "page.html", "--json")
    assert exit_code(evaluate, "runs/c", "--checkpoints", "runs/[ab]/best", *flags) == 0
    line = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    rows = line["rows"]
    assert [(row["condition"]["value"], row["policy"], row["runs"]) for row in rows[2:4]] == [
        ("0.1", "point (runs/c/best)", 1),
        ("0.1", "point (runs/a/best)", 2),
    ]
    assert all(row["episodes"] == 8 for row in rows)
    survival = {r["condition"]["value"]: r["values"]["survival_rate"] for r in line["runs"] if "/c/" in r["checkpoint"]}
    assert survival["0.1"] < survival["0.5"] <= survival[""]
    assert json.loads(Path("out/robustness.json").read_text())["rows"] == rows
    assert len(Path("out/robustness.csv").read_text().splitlines()) == 7
    assert "env.limit" in Path("page.html").read_text()

    assert exit_code(evaluate, "--checkpoints", "runs/a", "runs/c", "--metric", "survival_rate", "--steps", "2") == 0
    assert "survival rate" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "which policy"),
        (("runs/a", "--metric", "success_rate"), "--perturb or --checkpoints"),
        (("--checkpoints", "runs/x*"), "no folder fits 'runs/x*'"),
        (("runs/a", "--perturb", "env.limit=2", "--metric", "succes_rate"), "did you mean 'success_rate'"),
    ],
)
def test_mistakes_end_with_a_sentence(runs, arguments, message):
    assert message in str(exit_code(evaluate, *arguments))


def test_environments_that_know_no_perturbations_say_what_they_do_know(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ("--runner.max-samples", "64", "--env.num-envs", "2", "--algorithm.horizon", "8", "--runner.no-report")
    assert exit_code(train, "cartpole", "--runner.logger", "none", "--evaluation.num-envs", "2", *small) == 0
    refusal = str(exit_code(evaluate, "runs/cartpole", "--perturb", "gravity=3"))
    assert "runs/cartpole/best, gravity 3: CartPole-v1 cannot be made" in refusal and "env.KEY=VALUE" in refusal
    assert exit_code(evaluate, "runs/cartpole", "--perturb", "env.sutton_barto_reward=true", "--steps", "5") == 0


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("gravity_z=-14", "did you mean 'gravity'"),
        ("mass.R_Hnd=2", "did you mean 'R_Hand'"),
        ("friction=-1", "friction must be at least 0"),
        ("terrain=compex", "did you mean 'complex'"),
    ],
)
def test_mistakes_in_perturbations_name_what_is_valid_before_anything_is_played(item, message):
    pytest.importorskip("proto_envs")
    refusal = str(exit_code(evaluate, "pretrained/walk-smpl", "--perturb", "gravity=-12", item))
    assert message in refusal and item.partition("=")[0] in refusal


def test_a_shipped_policy_under_more_and_more_gravity(capsys):
    pytest.importorskip("proto_envs")
    flags = ("--num-envs", "4", "--steps", "30", "--metric", "mpjpe_mm", "--json")
    assert exit_code(evaluate, "pretrained/walk-smpl", "--perturb", "gravity=-9.81,-30", *flags) == 0
    calm, same, heavy = json.loads(capsys.readouterr().out.strip().splitlines()[-1])["rows"]
    assert same["numbers"]["mpjpe_mm"]["change"] == pytest.approx(0.0, abs=0.01)
    assert heavy["numbers"]["mpjpe_mm"]["change"] > 1.0 and calm["numbers"]["mpjpe_mm"]["change"] is None


def test_unperturbed_values_are_known_for_parts_too():
    pytest.importorskip("proto_envs")
    keys = ("gravity", "gravity.x", "mass.R_Hand", "observation_noise.policy", "pushes.force", "env.task.speed", "none")
    found = unperturbed_values([Condition(perturbation=key) for key in keys])
    wanted = {"gravity": -9.81, "gravity.x": 0.0, "mass.R_Hand": 1.0, "observation_noise.policy": 0.0}
    assert found == wanted


@pytest.mark.parametrize("items", re.findall(r"--perturb ((?:'?[\w./]+=[^\s`]+ ?)+)", PAGE))
def test_perturbations_in_the_docs_are_perturbations(items):
    pytest.importorskip("proto_envs")
    words = shlex.split(items)
    perturbations = read_perturbations(words)
    experiment, checkpoint = environments.find_run("pretrained/walk-smpl")
    check([Trained(experiment, checkpoint, "")], perturbations)
    assert len(perturbations) > len(words)
