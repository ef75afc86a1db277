"""What docs/foundation.md shows is understood, and the defaults that it names are those of the code."""

import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

from proto_agents.algorithms.distillation import DistillationConfig
from proto_agents.cli.train import parse_arguments
from proto_agents.config import find_overlay
from proto_agents.models.masked_mimic import MaskedMimicConfig
from proto_agents.models.task_tokens import TaskTokenConfig

PAGE = (Path(__file__).parents[2] / "docs" / "foundation.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", re.findall(r"^proto-train (.*?)(?:  +#.*)?$", PAGE, re.MULTILINE))
def test_every_command_is_understood(command):
    parse_arguments(shlex.split(command))


def test_overlays_are_there():
    named = re.findall(r"(?:`|runs/masked-mimic )((?:adapt|constraint|goal|opt)/\w+)", PAGE)
    assert len(named) >= 6
    for name in named:
        find_overlay(name)


def test_settings_are_settings_and_have_these_defaults():
    defaults = DistillationConfig()
    assert (defaults.kl_weights, defaults.kl_ramp) == ((1e-4, 1e-2), (0.2, 0.6))
    assert (defaults.epochs, defaults.learning_rate, defaults.rollout) == (2, 3e-4, "posterior")
    assert MaskedMimicConfig().latent_size == 64
    known = {field.name for config in (MaskedMimicConfig, TaskTokenConfig) for field in fields(config)}
    table = PAGE.split("settings (`masked_mimic`) |")[1].split("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", table)) <= known
    assert set(re.findall(r"`task_tokens\.(\w+)", PAGE)) <= known
