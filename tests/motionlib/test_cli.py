from __future__ import annotations

import pytest

from motionlib import Motion, load, sample_path
from motionlib.cli import main


def test_list_shows_every_sample(capsys):
    assert main(["list", "--skeleton", "amp"]) == 0
    output = capsys.readouterr().out
    assert "cartwheel" in output
    assert "smpl" not in output
    assert len(output.splitlines()) == 21


def test_info_says_what_a_file_holds(capsys):
    assert main(["info", str(sample_path("smpl", "walk"))]) == 0
    output = capsys.readouterr().out
    for text in ("smpl", "39 at 30.0012 per second", "wrap", "a person walks forward", "Xue Bin Peng", "L_Ankle"):
        assert text in output


def test_convert_retargets(tmp_path, capsys):
    output = tmp_path / "walk.npz"
    assert main(["convert", str(sample_path("amp", "walk")), str(output), "--skeleton", "smpl"]) == 0
    assert str(output) in capsys.readouterr().out
    assert len(load(output).body_names) == 24
    assert Motion.load(output).num_frames == 39


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "missing.txt"], "no motion file at missing.txt"),
        (["info", __file__], "none of the known motion formats"),
        (["list", "--skeleton", "dog"], "no sample clips for 'dog'"),
        (["convert", str(sample_path("amp", "walk")), "out.bvh"], "saved as .npz"),
        (["convert", str(sample_path("amp", "walk")), "no/such/folder/out.npz"], "No such file"),
    ],
)
def test_failures_are_one_line(arguments, message, capsys):
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("motionlib: ")
    assert len(error.strip().splitlines()) == 1


def test_a_wrong_command_line_exits_with_2(capsys):
    with pytest.raises(SystemExit) as failure:
        main(["convert", "only_one"])
    assert failure.value.code == 2
