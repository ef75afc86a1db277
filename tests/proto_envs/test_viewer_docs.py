"""`docs/viewer.md` says what there is."""

import re
from pathlib import Path

import pytest

from proto_envs.viewer.actions import ACTIONS
from proto_envs.viewer.agents import AGENTS

PAGE = (Path(__file__).parents[2] / "docs" / "viewer.md").read_text(encoding="utf-8")


def test_every_key_and_agent_is_on_the_page():
    table = PAGE[PAGE.index("| key | does |") : PAGE.index("They act wherever")]
    for action in ACTIONS:
        assert (action.keys[0] if action.keys[0] == "space" else f"`{action.keys[0].upper()}`") in table, action.label
    assert all(f"`{agent}`" in PAGE for agent in AGENTS)


def test_the_example_runs(monkeypatch, tmp_path):
    pytest.importorskip("viser")
    pytest.importorskip("trimesh")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(blocks[0], {})
    names = {}
    exec(blocks[1], names)
    assert names["session"].time > 0
