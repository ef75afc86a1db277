"""What docs/skills.md shows runs, and what it names is there."""

import re
import shlex
from dataclasses import fields
from pathlib import Path

import gymnasium
import pytest
import torch

from proto_agents.algorithms.skill_reward import SkillConfig
from proto_agents.cli.train import parse_arguments

PAGE = (Path(__file__).parents[2] / "docs" / "skills.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^proto-train (.*?)(?:  +#.*)?$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command):
    parse_arguments(shlex.split(command))


def test_settings_in_the_table_are_settings_with_these_defaults():
    table = PAGE.split("| part | what | settings |")[1].split("\n\n")[0]
    cells = [row.rsplit("|", 2)[1] for row in table.splitlines()[2:]]
    named = re.findall(r"`(\w+)`(?: ([\d.]+)(?: to (\d+))?)?", ",".join(cells))
    defaults = {field.name: field.default for field in fields(SkillConfig)}
    assert {name for name, _, _ in named} == {name for name in defaults if not name.startswith("controller")}
    for name, low, high in named:
        if low:
            assert defaults[name] == ((int(low), int(high)) if high else float(low))


def test_the_example_runs_on_any_environment(tmp_path, point_env):
    names = {}
    exec(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0], names)
    env = point_env(8, groups=True)
    env.single_observation_space = gymnasium.spaces.Dict(
        {name: env.single_observation_space["policy"] for name in ("policy", "style")}
    )
    observe = env._observe
    env._observe = lambda: {"policy": (seen := observe())["policy"], "style": seen["critic"]}
    env.sample_style = lambda count: torch.ones(count, 3)
    policy, encoder = names["skills_of"](env, str(tmp_path / "run"), 128)
    assert policy.normalizers["policy"].shape == (3 + 8,)
    assert encoder.encode(torch.ones(2, 3)).norm(dim=-1).tolist() == pytest.approx([1.0, 1.0])
