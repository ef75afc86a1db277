"""Which module may import what."""

import ast
from pathlib import Path

import proto_agents

ROOT = Path(proto_agents.__file__).parent


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_only_the_commands_know_our_environments():
    outside = [path for path in ROOT.rglob("*.py") if "cli" not in path.relative_to(ROOT).parts]
    assert len(outside) > 10
    for path in outside:
        roots = {name.split(".")[0] for name in imported(path)}
        assert not roots & {"proto_envs", "motionlib", "poselib", "mujoco", "pickle"}, path
        assert not any(name.startswith("proto_agents.cli") for name in imported(path)), path


def test_the_commands_import_our_environments_lazily():
    for path in (ROOT / "cli").rglob("*.py"):
        top = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        assert not any("proto_envs" in ast.unparse(node) for node in top), path
