"""The package's README runs as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch

from motionlib import MotionLib
from motionlib.cli import COMMANDS, main

README = (Path(__file__).parents[2] / "packages/motionlib/README.md").read_text()


def test_the_example_answers_queries(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]
    names: dict = {}
    exec(code, names)
    assert names["state"].body_positions.shape == (1024, 15, 3)
    assert torch.isfinite(names["state"].body_positions).all()
    assert (tmp_path / "kick.bvh").is_file()


def commands() -> list[list[str]]:
    """The lines of the block that begins with `motionlib list`."""
    (block,) = re.findall(r"```bash\n(motionlib list .*?)```", README, re.DOTALL)
    return [shlex.split(line, comments=True)[1:] for line in block.splitlines()]


@pytest.mark.slow
def test_the_commands_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("viser")
    for arguments in commands():
        if arguments[0] == "play":  # its page is looked at in test_viewing.py
            arguments += ["--serve-seconds", "0.5", "--port", "18951"]
        assert main(arguments) == 0, (arguments, capsys.readouterr().err)
    assert MotionLib.open("train.safetensors").num_motions == 17


def test_every_command_is_in_the_readme():
    named = {arguments[0] for arguments in commands()}
    assert named == set(COMMANDS)
