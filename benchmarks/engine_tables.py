"""Results of engines: rows of JSON files that runs in several environments add to, and their tables in the docs.

    uv run python benchmarks/engine_tables.py            # writes the tables into docs/engines.md
    uv run python benchmarks/engine_tables.py --check    # exit code 1 where they are not what the files say

Each engine has its own virtual environment, so each run adds its rows to the same file.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from proto_envs.info import package_versions

__all__ = [
    "RESULTS",
    "agreement_table",
    "merge_row",
    "provenance",
    "read_rows",
    "render",
    "support_table",
    "transfer_table",
]

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "engines.md"
RESULTS = ROOT / "benchmarks" / "results"


def provenance() -> dict[str, Any]:
    """What was measured when, of which commit, with which packages."""
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return {
        "commit": found.stdout.strip() or "unknown",
        "date": datetime.now(tz=UTC).strftime("%Y-%m-%d"),
        "packages": {name: number for name, number in package_versions().items() if number},
    }


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a file; none where there is no file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def merge_row(path: Path, row: dict[str, Any], keys: Sequence[str]) -> None:
    """Put a row into a file, in the place of the one that has the same `keys`."""

    def key(of: dict[str, Any]) -> tuple[str, ...]:
        return tuple(str(of[name]) for name in keys)

    rows = [other for other in read_rows(path) if key(other) != key(row)] + [row]
    rows.sort(key=key)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    new.replace(path)


def _engines() -> list[str]:
    """Names of all engines, in the order of the tables."""
    from proto_envs.simulators import ENGINES  # with torch, which takes seconds and whoever only reads does without

    return list(ENGINES)


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


# --- what engines do -------------------------------------------------------------------------------------------------


def support_table(rows: list[dict[str, Any]]) -> str:
    """Checks by engines: the largest error over the robots, or what became of the check; then notes."""
    runs = {
        (name, device): [r for r in rows if (r["engine"], r["device"]) == (name, device)] for name, device in _of(rows)
    }
    columns = [*runs, *((name, "") for name in _engines() if name not in {engine for engine, _ in runs})]
    checks = list(dict.fromkeys(outcome["check"] for row in rows for outcome in row["outcomes"]))
    notes: list[str] = []
    table = [["robots", "", *(", ".join(r["robot"] for r in runs.get(column, [])) or "not run" for column in columns)]]
    for check in checks:
        allowed = {f"{o['allowed']:g} {o['unit']}".strip() for r in rows for o in r["outcomes"] if o["check"] == check}
        cells = [_support_cell(check, runs.get(column, []), notes) for column in columns]
        table.append([check, min(allowed) if len(allowed) == 1 else " or ".join(sorted(allowed)), *cells])
    header = ["check", "at most", *(f"`{name}`{f' on {device}' if device else ''}" for name, device in columns)]
    said = "".join(f"\n{number}. {note}" for number, note in enumerate(notes, start=1))
    return _markdown(header, table) + ("\n" + said if said else "")


def _of(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    found = {(row["engine"], row["device"]) for row in rows}
    return [(name, device) for name in _engines() for engine, device in sorted(found) if engine == name]


def _support_cell(check: str, runs: list[dict[str, Any]], notes: list[str]) -> str:
    found = [(run["robot"], outcome) for run in runs for outcome in run["outcomes"] if outcome["check"] == check]
    if not found:
        return "not run"
    engine = f"`{runs[0]['engine']}`"
    failed = [(robot, outcome) for robot, outcome in found if outcome["status"] == "failed"]
    passed = [outcome for _, outcome in found if outcome["status"] == "passed"]
    if failed:
        robots = ", ".join(robot for robot, _ in failed)
        return f"**failed** ({robots}) {_note(notes, f'{engine}, {check}: {_why(failed[0][1])}')}"
    if not passed:
        return f"no {_note(notes, f'{engine}: ' + found[0][1]['detail'])}"
    worst = max(passed, key=lambda outcome: outcome["error"])
    reasons = [outcome["detail"] for outcome in passed if outcome["detail"]]
    mark = f" {_note(notes, f'{engine}, {check}: {reasons[0]}')}" if reasons else ""
    return (f"{worst['error']:.1g}" if worst["unit"] else "yes") + mark


def _why(outcome: dict[str, Any]) -> str:
    error = "" if outcome["error"] is None else f"{outcome['error']:.2g} {outcome['unit']}: "
    return " ".join((error + outcome["detail"]).split()).replace("|", "/")


def _note(notes: list[str], text: str) -> str:
    if text not in notes:
        notes.append(text)
    return f"({notes.index(text) + 1})"


# --- what policies reach in them -------------------------------------------------------------------------------------


def transfer_table(rows: list[dict[str, Any]]) -> str:
    """Policies by engines, each beside the engine that the policy was trained in."""
    table = []
    for row in rows:
        home = home_of(row, rows)
        table.append(
            [
                f"`{row['policy']}`",
                f"`{row['engine']}` on {row['device']}",
                str(row["episodes"]),
                f"{100 * row['success_rate']:.1f} %",
                f"{100 * row['success_rate_max_error']:.1f} %",
                f"{row['mpjpe_mm']:.1f} mm{_ratio(row, home, 'mpjpe_mm')}",
                f"{row['mpjpe_root_relative_mm']:.1f} mm{_ratio(row, home, 'mpjpe_root_relative_mm')}",
            ]
        )
    for policy in dict.fromkeys(row["policy"] for row in rows):
        run = {row["engine"] for row in rows if row["policy"] == policy}
        table += [[f"`{policy}`", f"`{name}`", "", *["not run"] * 4] for name in _engines() if name not in run]
    return _markdown(["policy", "engine", "episodes", "success", "strict", "MPJPE", "root-relative"], table)


def home_of(row: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The same episodes of the same policy in the engine that it was trained in."""
    same = ("policy", "episodes", "seconds", "seed")
    homes = [r for r in rows if r["engine"] == row["trained_in"] and all(r[key] == row[key] for key in same)]
    return homes[0] if homes else None


def _ratio(row: dict[str, Any], home: dict[str, Any] | None, key: str) -> str:
    return "" if home is None or home is row else f" (x {row[key] / home[key]:.2f})"


# --- how far they are from MuJoCo ------------------------------------------------------------------------------------


def agreement_table(rows: list[dict[str, Any]]) -> str:
    """Robots by engines and numbers of steps."""
    columns = [(name, device, steps) for name, device in _of(rows) for steps in sorted({row["steps"] for row in rows})]
    table = []
    for robot in dict.fromkeys(row["robot"] for row in rows):
        found = {(row["engine"], row["device"], row["steps"]): row for row in rows if row["robot"] == robot}
        cells = [f"{found[c]['median']:.0e}, {found[c]['apart']:.0%}" if c in found else "not run" for c in columns]
        table.append([robot, *cells])
    header = ["robot", *(f"`{name}` on {device}, {steps} steps" for name, device, steps in columns)]
    return _markdown(header, table)


# --- the page --------------------------------------------------------------------------------------------------------

TABLES: dict[str, tuple[str, Callable[[list[dict[str, Any]]], str]]] = {
    "agreement": ("agreement.json", agreement_table),
    "support": ("support.json", support_table),
    "transfer": ("transfer.json", transfer_table),
}
"""name of the markers in the page to the file of the rows, and what makes a table of them"""


def render(page: str) -> str:
    """The page with its tables as the files say.

    Raises:
        ValueError: naming the markers that the page lacks.
    """
    for name, (file, table) in TABLES.items():
        begin, end = f"<!-- {name}: begin, written by benchmarks/engine_tables.py -->", f"<!-- {name}: end -->"
        if page.count(begin) != 1 or page.count(end) != 1:
            raise ValueError(f"{PAGE.name} needs one line {begin} and one line {end}")
        written = f"{begin}\n\n{table(read_rows(RESULTS / file))}\n\n{end}"
        page = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _, new=written: new, page, flags=re.DOTALL)
    return page


def main() -> None:
    """Write the tables, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if something would change")
    options = parser.parse_args()
    now = PAGE.read_text(encoding="utf-8")
    if options.check:
        sys.exit(0 if render(now) == now else f"{PAGE}: tables differ from {RESULTS}; run {Path(__file__).name}")
    PAGE.write_text(render(now), encoding="utf-8")


if __name__ == "__main__":
    main()
