"""`docs/engines.md`: its blocks run, and its tables are what was measured."""

import re
import sys
from pathlib import Path

import pytest

from proto_envs import simulators
from proto_envs.testing import ENGINE_CHECKS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "engines.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def tables(monkeypatch):
    """The module that writes the tables."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.delitem(sys.modules, "engine_tables", raising=False)
    import engine_tables

    return engine_tables


@pytest.mark.parametrize("index", range(len(BLOCKS)))
def test_a_block_runs_as_it_stands(monkeypatch, capsys, index):
    monkeypatch.setattr(simulators, "ENGINES", dict(simulators.ENGINES))
    names = {"__name__": "__main__"}
    exec(compile(BLOCKS[index], f"docs/engines.md, block {index}", "exec"), names)
    if "env" in names:
        names["env"].close()
    if "engine_outcomes(" in BLOCKS[index]:
        assert "free fall: passed, 0 m (at most 0.01)" in capsys.readouterr().out


def test_every_engine_is_in_the_table_of_choices():
    for name in simulators.ENGINES:
        assert f'| `"{name}"` |' in PAGE, f"docs/engines.md does not say when to take {name}"


def test_the_tables_are_what_was_measured(tables):
    assert tables.render(PAGE) == PAGE, "run python benchmarks/engine_tables.py"


def test_the_stored_results_are_of_the_checks_that_there_are(tables):
    rows = tables.read_rows(tables.RESULTS / "support.json")
    assert {row["engine"] for row in rows} >= {"mujoco"}
    for row in rows:
        names = [outcome["check"] for outcome in row["outcomes"]]
        assert names == list(ENGINE_CHECKS), f"{row['engine']}, {row['robot']}: run benchmarks/support.py again"


# --- tables ----------------------------------------------------------------------------------------------------------


def outcome(status="passed", error=0.001, detail="", unit="m"):
    return {"check": "fall", "status": status, "error": error, "allowed": 0.01, "unit": unit, "detail": detail}


def run(engine, robot, **fields):
    return {"engine": engine, "device": "cpu", "robot": robot, "outcomes": [outcome(**fields)]}


@pytest.mark.parametrize(
    ("rows", "cell", "note"),
    [
        ([run("mujoco", "AMP"), run("mujoco", "G1", error=0.002)], "0.002", None),
        ([run("mujoco", "AMP", unit="")], "yes", None),
        (
            [run("mujoco", "AMP"), run("mujoco", "G1", status="failed", error=0.5, detail="too | fast")],
            "**failed** (G1) (1)",
            "1. `mujoco`, fall: 0.5 m: too / fast",
        ),
        ([run("mujoco", "AMP", status="not offered", error=None, detail="no air")], "no (1)", "1. `mujoco`: no air"),
        ([run("mujoco", "AMP", detail="it is soft")], "0.001 (1)", "1. `mujoco`, fall: it is soft"),
        ([], None, None),
    ],
)
def test_a_cell_says_what_became_of_a_check(tables, rows, cell, note):
    table = tables.support_table(rows).splitlines()
    for name in simulators.ENGINES:
        assert f"`{name}`" in table[0]
    assert table[2].count("not run") == len(simulators.ENGINES) - bool(rows)
    if cell:
        assert table[3].startswith("| fall |") and f"| {cell} |" in table[3]
    assert [line for line in table if line.startswith("1.")] == ([note] if note else [])


def test_rows_of_other_runs_stay(tables, tmp_path):
    file = tmp_path / "rows.json"
    for engine, speed in (("b", 1), ("a", 2), ("b", 3)):
        tables.merge_row(file, {"engine": engine, "speed": speed}, ("engine",))
    assert tables.read_rows(file) == [{"engine": "a", "speed": 2}, {"engine": "b", "speed": 3}]
    assert [path.name for path in tmp_path.iterdir()] == ["rows.json"]


def test_errors_are_compared_with_the_same_episodes_at_home_alone(tables):
    def row(engine, mpjpe, seed):
        same = {"policy": "p", "device": "cpu", "trained_in": "mujoco", "episodes": 2, "seconds": 1.0, "seed": seed}
        same |= {"success_rate": 1.0, "success_rate_max_error": 0.5, "mpjpe_root_relative_mm": 10.0}
        return {"engine": engine, "mpjpe_mm": mpjpe, **same}

    rows = [row("mujoco", 40.0, 0), row("mujoco_warp", 44.0, 0), row("newton", 50.0, 1)]
    lines = tables.transfer_table(rows).splitlines()[2:]
    assert "| 40.0 mm |" in lines[0] and "| 44.0 mm (x 1.10) |" in lines[1] and "| 50.0 mm |" in lines[2]
    assert "| 50.0 % |" in lines[0]


def test_a_page_without_markers_is_refused(tables):
    with pytest.raises(ValueError, match="needs one line <!-- agreement: begin"):
        tables.render("no markers")


# --- where the time goes ---------------------------------------------------------------------------------------------


def test_sections_add_up_to_a_step_and_leave_the_environment_as_it_was(monkeypatch, make_env, still):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from sections import SECTIONS, profile

    env = make_env(3, task={"episode_seconds": 0.1})
    env.reset(seed=0)
    before = {name for owner in (env, env.simulator) for name in vars(owner)}
    seconds = profile(env, [still(env)] * 6)
    assert tuple(seconds) == SECTIONS
    assert all(value > 0.0 for value in seconds.values()), seconds
    assert {name for owner in (env, env.simulator) for name in vars(owner)} == before


def test_a_table_of_a_gpu_says_which_goals_are_reached(monkeypatch, tables, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from gpu_table import lines

    profile = {"physics": 0.7, "reading": 0.05, "resets": 0.25}
    row = {"env": "ProtoMimic-SMPL-v0", "engine": "mujoco_warp", "device": "cuda", "num_envs": 4096}
    row |= {"env_steps_per_s": 120_000.0, "training_samples_per_s": 60_000.0, "profile": profile}
    row |= {"kib_per_env": 10.0, "used_mib": 100.0}
    tables.merge_row(tmp_path / "throughput.json", row, ("num_envs",))
    tables.merge_row(tmp_path / "throughput.json", row | {"num_envs": 64}, ("num_envs",))
    found = {what: (measured, goal, verdict) for what, measured, goal, verdict in lines(tmp_path)}
    big, small = "ProtoMimic-SMPL-v0, 4096: ", "ProtoMimic-SMPL-v0, 64: "
    assert found[big + "env.step"] == ("120,000 /s", ">= 100,000 /s", "yes")
    assert found[big + "all but physics"] == ("30 % (resets 25 %, reading 5 %)", "<= 20 %", "NO")
    assert found[big + "training"] == ("60,000 /s (50 %)", ">= 60 % of env.step", "NO")
    assert found[small + "env.step"] == ("120,000 /s", "", "")
