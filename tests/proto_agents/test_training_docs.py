"""What docs/training.md shows runs, and what it names is there."""

import json
import re
import shlex
from pathlib import Path

import pytest

from proto_agents.algorithms.discriminator_reward import DiscriminatorConfig
from proto_agents.cli.train import parse_arguments
from proto_agents.config import config_root, load_experiment

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^proto-train (.*?)(?:  #.*)?$", PAGE, re.MULTILINE)
RECIPES = dict(re.findall(r"^\| `([a-z][a-z -]*)` \| .* \| ([\d.]+ M)(?: samples)? \|$", PAGE, re.MULTILINE))
"""overlays to budget, from the tables"""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command):
    if "RUN" not in command:
        parse_arguments(shlex.split(command))


@pytest.mark.parametrize("overlays", RECIPES)
def test_budgets_are_those_of_the_recipes(overlays):
    experiment = load_experiment(overlays.split())
    assert experiment.expect
    assert RECIPES[overlays] == f"{experiment.runner.max_samples / 1e6:.2g} M"


def test_no_style_is_forgotten():
    shipped = {path.stem for path in (config_root() / "exp").glob("style-*.yaml")}
    assert shipped <= {name for overlays in RECIPES for name in overlays.split()}


def test_settings_in_the_tables_are_settings():
    table = PAGE.split("| setting of `discriminator`")[1].split("\n\n")[0]
    named = {name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)", row.split("|")[1])}
    assert named and named <= set(DiscriminatorConfig.__dataclass_fields__)


def test_an_environment_of_another_s_learns_a_style_as_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "Sliders" in block]
    exec(compile(block, "docs/training.md", "exec"), {"__name__": "__main__"})
    lines = [json.loads(line) for line in (tmp_path / "runs/sliders/metrics.jsonl").read_text().splitlines()]
    speeds = [line["metrics/speed"] for line in lines]
    assert abs(speeds[0]) < 0.1 and abs(sum(speeds[-8:]) / 8 - 1.0) < 0.25
