"""What docs/tracking.md shows runs, and what it names is there."""

import re
import shlex
from pathlib import Path

import pytest

from proto_agents.cli.train import parse_arguments
from proto_agents.config import config_root, load_experiment
from proto_agents.models.transformer import TransformerConfig

PAGE = (Path(__file__).parents[2] / "docs" / "tracking.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^proto-train (.*?)(?:  #.*)?$", PAGE, re.MULTILINE)
RECIPES = dict(re.findall(r"^\| `([a-z][a-z0-9 -]*)` \| .* \| ([\d.]+ M)(?: samples)? \|$", PAGE, re.MULTILINE))
"""overlays to budget, from the table"""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command):
    parse_arguments(shlex.split(command))


def test_budgets_are_those_of_the_recipes_and_none_is_forgotten():
    for overlays, budget in RECIPES.items():
        experiment = load_experiment(overlays.split())
        assert experiment.expect and budget == f"{experiment.runner.max_samples / 1e6:g} M"
    shipped = {path.stem for path in (config_root() / "exp").glob("*.yaml")}
    shipped = {name for name in shipped if name.startswith(("library-", "g1-"))}
    assert shipped <= {name for overlays in RECIPES for name in overlays.split()}


def test_the_table_has_the_defaults_of_the_transformer():
    table = PAGE.split("| setting of `model.transformer`")[1].split("\n\n")[0]
    defaults = TransformerConfig()
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", table, re.MULTILINE)
    assert {name for name, _ in rows} == set(TransformerConfig.__dataclass_fields__)
    for name, value in rows:
        assert getattr(defaults, name) in (int(value), (int(value),))


def test_the_example_runs(capsys):
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "docs/tracking.md", "exec"), {"__name__": "__main__"})
    assert "[5, 3]" in capsys.readouterr().out
