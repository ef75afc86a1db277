"""proto-info says what is there and what would bring the rest."""

import json
import subprocess
import sys
from importlib.metadata import version

import pytest

from proto_envs import info, simulators


def test_json_is_what_a_report_of_a_fault_needs(capsys):
    info.main(["--json", "--no-rendering"])
    found = json.loads(capsys.readouterr().out)
    assert found["engines"].keys() == simulators.ENGINES.keys()
    assert found["engines"]["mujoco"] == {"installed": True, "install": None}
    for engine in found["engines"].values():
        assert (engine["install"] is None) == engine["installed"], "what is absent can be brought"
    assert found["auto"] in found["engines"]
    assert found["packages"]["mujoco"] == version("mujoco")
    assert found["system"]["cpus_usable"] >= 1 and found["system"]["python"].startswith("3.")
    assert found["rendering"] is None


def test_an_engine_that_is_absent_comes_with_its_install_command(monkeypatch, capsys):
    monkeypatch.setitem(simulators.ENGINES, "absent", "absent_engine:Engine")
    monkeypatch.setitem(simulators.NEEDS, "absent", ("absent_engine", "proto-envs[absent]"))
    assert info.collect(rendering=False)["engines"]["absent"] == {
        "installed": False,
        "install": "pip install 'proto-envs[absent]'",
    }
    info.main(["--no-rendering"])
    shown = capsys.readouterr().out
    assert "pip install 'proto-envs[absent]'" in shown and "Packages" in shown


@pytest.mark.parametrize(
    ("program", "found"),
    [
        ("import os; print('egl')", {"by": "egl", "problem": None}),
        ("raise RuntimeError('no driver')", {"by": None, "problem": "RuntimeError: no driver"}),
        ("import os; os.abort()", {"by": None, "problem": "the process ended with -6"}),
        ("import time; time.sleep(60)", {"by": None, "problem": "no picture within 2 s"}),
    ],
)
def test_a_picture_is_tried_in_another_process(monkeypatch, program, found):
    monkeypatch.setattr(info, "_GL_TRIAL", program)
    monkeypatch.setattr(info, "_PATIENCE", 2.0)
    assert info.collect()["rendering"] == found


def test_no_engine_but_mujoco_is_imported():
    program = (
        "import sys; from proto_envs.info import collect; collect(rendering=False);"
        "print([m for m in ('warp', 'mujoco_warp', 'newton', 'genesis', 'isaaclab') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
