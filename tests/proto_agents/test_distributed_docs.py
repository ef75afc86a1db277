"""What docs/distributed.md says can be done."""

import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest

from proto_agents import distributed
from proto_agents.cli import submit
from proto_agents.cli.train import parse_arguments
from proto_agents.config import split_arguments

PAGE = (Path(__file__).parents[2] / "docs" / "distributed.md").read_text(encoding="utf-8")
COMMANDS = PAGE.replace("\\\n", " ")
TRAINING = re.findall(r"^torchrun .*--no-python proto-train ([^#\n]*)", COMMANDS, re.MULTILINE)
SUBMISSIONS = re.findall(r"^(?:\$ )?proto-submit ([^#\n]*)", COMMANDS, re.MULTILINE)


@pytest.mark.parametrize("command", [words for words in TRAINING if not words.startswith("--resume")])
def test_every_training_is_understood(command):
    experiment = parse_arguments(shlex.split(command)).experiment
    assert experiment.env.num_envs % 16 == 0


def test_every_submission_is_understood_and_the_printed_script_is_what_comes_of_it(capsys, monkeypatch):
    for words in SUBMISSIONS:
        own, flags = split_arguments(shlex.split(words), submit.OWN_FLAGS)
        submit.main([word for word in [*own, *flags] if word != "--submit"])
    assert capsys.readouterr().out.splitlines()[-1] == "exit $status"
    shown = re.search(r"\$ proto-submit ([^\n]*)\n(.*?)```", PAGE, re.DOTALL)
    submit.main(shlex.split(shown[1]))
    assert capsys.readouterr().out == shown[2]


def test_the_page_names_every_flag_of_proto_submit():
    named = set(re.findall(r"`--(?:no-)?(\w+)", PAGE.split("## SLURM")[1].split("```")[0]))
    assert named >= {field.name for field in fields(submit.SubmitArguments)} - {"overlays"}


def test_the_script_runs_in_one_process_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1]
    exec(script.replace("8_192", "2_048"), {})
    assert (tmp_path / "runs/mine/best").is_dir() and f"{distributed.SEED_STRIDE:,}" in PAGE
