import json
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import yaml
from scipy import stats

from proto_agents.cli import runs_report
from proto_agents.cli.runs_report import chosen_metrics, find_runs
from proto_agents.config import load_experiment
from proto_agents.evaluation.learning_charts import mean_and_spread, smoothed
from proto_agents.evaluation.runs import differing_settings, grouped_runs, read_run
from proto_agents.parsing import ConfigError, merge, plain

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def make_run(folder, seed=0, values=(10.0, 30.0, 20.0), overrides=None, report=None, max_samples=300):
    """A run folder of cartpole as proto-train leaves it, with an evaluation every hundred samples."""
    folder.mkdir(parents=True)
    given = {"runner": {"seed": seed, "max_samples": max_samples, "run_dir": str(folder)}}
    settings = plain(load_experiment(["cartpole"], merge(given, overrides or {})))
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    rows = []
    for number, value in enumerate(values, 1):
        rows.append({"samples": 100 * number - 50, "episode/return": value - 5, "speed/samples_per_second": 50.0})
        rows.append({"samples": 100 * number, "episode/return": value - 4, "evaluation/mean_return": value})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if report is not None:
        (folder / "report.json").write_text(json.dumps(report))
    return folder


@pytest.fixture
def runs(tmp_path):
    """Three runs of one experiment and one with another learning rate."""
    folder = tmp_path / "runs"
    for seed in range(3):
        make_run(folder / f"cartpole-{seed}", seed, (10.0 + seed, 30.0, 20.0 + 2 * seed))
    report = {"mean_return": 40.0, "intervals": {"mean_return": [38.0, 42.5]}}
    make_run(folder / "slow", 0, (5.0, 6.0), {"algorithm": {"learning_rate": 1e-4}}, report)
    return folder


def report(*arguments):
    """Exit code, as a shell would see it."""
    try:
        runs_report.main([str(argument) for argument in arguments])
    except SystemExit as end:
        return end.code
    return 0


def test_a_run_is_read_as_far_as_it_has_come(tmp_path):
    run = read_run(make_run(tmp_path / "a", values=(10.0, 30.0, 20.0)))
    assert (run.name, run.seed, run.samples, run.speed, run.state) == ("cartpole", 0, 300, 50.0, "finished")
    assert run.curve("evaluation/mean_return") == ([100, 200, 300], [10, 30, 20])
    assert run.best() == ("mean_return", 30.0, 200.0) and run.final("mean_return") == (20.0, None)
    going_on = make_run(tmp_path / "b", max_samples=1000)
    assert read_run(going_on).state == "running"
    with (going_on / "metrics.jsonl").open("a") as lines:
        lines.write('{"samples": 400, "episo')
    assert read_run(going_on).samples == 300, "a line that is being written is left out"
    os.utime(going_on / "metrics.jsonl", (0, 0))
    assert read_run(going_on).state == "stopped"


def test_the_final_report_goes_before_the_last_evaluation(runs):
    assert read_run(runs / "slow").final("mean_return") == (40.0, (38.0, 42.5))


def test_broken_runs_are_named_and_the_others_reported(runs, tmp_path, capsys):
    for name, text in {"yaml": "env: {", "list": "- 1", "new": "name: new"}.items():
        (runs / name).mkdir()
        (runs / name / "config.yaml").write_text(text)
    (runs / "slow" / "report.json").write_text("{")
    (runs / "notes.txt").write_text("mine")
    found, notes = find_runs([str(runs / "*"), str(runs), "nothing/*"])
    assert len(found) == 4
    told = " ".join(notes)
    for what in ("yaml/config.yaml cannot be read", "list/config.yaml is no", "new: metrics.jsonl has no number yet"):
        assert what in told
    assert "notes.txt: no run" in told.replace("config.yaml cannot", "") or "notes.txt" in told
    assert "slow/report.json cannot be read" in told and "no folder fits 'nothing/*'" in told
    output = tmp_path / "report.html"
    assert report(runs / "*", "--output", output) == 0
    assert "left out: " in capsys.readouterr().out and "list/config.yaml is no" in output.read_text()
    assert report(runs / "new", "--output", tmp_path / "none.html") != 0 and not (tmp_path / "none.html").exists()


def test_runs_are_grouped_by_all_but_seed_and_length(runs):
    make_run(runs / "longer", 7, max_samples=900)
    groups = grouped_runs([read_run(folder) for folder in sorted(runs.iterdir())])
    assert [(group.name, len(group.runs)) for group in groups] == [("cartpole (1)", 4), ("cartpole (2)", 1)]
    assert differing_settings(groups) == {"algorithm.learning_rate": [1e-3, 1e-4]}


def test_mean_and_spread_are_of_the_runs_that_have_come_so_far():
    first = (np.array([0.0, 2.0]), np.array([0.0, 4.0]))
    second = (np.array([0.0, 1.0, 4.0]), np.array([2.0, 4.0, 10.0]))
    axis, mean, spread = mean_and_spread([first, second])
    assert axis.tolist() == [0, 1, 2, 4]
    np.testing.assert_allclose(mean, [1, 3, 5, np.nan])
    np.testing.assert_allclose(spread, [2**0.5, 2**0.5, 2**0.5, np.nan])


def test_smoothing_keeps_constants_and_ends_near_the_last_values():
    np.testing.assert_allclose(smoothed(np.full(5, 3.0), 0.9), 3.0)
    np.testing.assert_allclose(smoothed(np.array([1.0, 5.0]), 0.0), [1, 5])
    np.testing.assert_allclose(smoothed(np.array([1.0, 5.0]), 0.5)[1], (0.25 * 1 + 0.5 * 5) / 0.75)


def test_metrics_may_be_named_without_their_group(runs):
    found, _ = find_runs([str(runs)])
    assert chosen_metrics(found, ["mean_return", "episode/return"]) == ["evaluation/mean_return", "episode/return"]
    assert "evaluation/mean_return" in chosen_metrics(found, ())
    with pytest.raises(ConfigError, match=r"no run has it; did you mean 'episode/return'"):
        chosen_metrics(found, ["episode/retrn"])


def test_the_page_stands_alone_and_says_the_numbers(runs, tmp_path):
    (runs / "slow" / "video.mp4").write_bytes(b"film")
    (runs / "cartpole-0" / "video.mp4").write_bytes(b"f" * 2000)
    output = tmp_path / "report.html"
    assert report(runs, "--output", output, "--video-mb", "0.001", "--smooth", "none") == 0
    page = output.read_text()
    remote = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?!data:|#)[^"'\s>]+""", page)
    assert not [place for place in remote if "http" in place and "w3.org" not in place]
    assert page.count("<video") == 1, "the large one is left out"
    for chart in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(chart)
    cells = re.findall(r"<td>([^<]*)</td>", page)
    low, high = stats.t.interval(0.95, 2, 22.0, stats.sem([20.0, 22.0, 24.0]))
    assert {"22.00", f"{low:.2f} to {high:.2f}", "40.00", "38.00 to 42.50"} <= set(cells)
    assert "algorithm.learning_rate" in cells and "return 30.00 at 200" in cells
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["report.html"]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
def test_a_browser_shows_the_page(runs, tmp_path):
    from PIL import Image

    output, picture = tmp_path / "report.html", tmp_path / "page.png"
    assert report(runs, "--output", output) == 0
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1100,1400"]
    subprocess.run(
        [CHROMIUM, *flags, f"--screenshot={picture}", output.as_uri()], check=True, capture_output=True, timeout=120
    )
    pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    blue = (np.abs(pixels - np.array([0x2F, 0x6D, 0xB5])).max(-1) < 12).sum()
    orange = (np.abs(pixels - np.array([0xD9, 0x82, 0x2B])).max(-1) < 12).sum()
    assert min(blue, orange) > 50, "curves of both groups are seen"
