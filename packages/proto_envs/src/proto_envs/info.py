"""proto-info: what is installed, which engines can run here, on what, and what would install the others."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

__all__ = ["collect", "main", "package_versions", "processor"]

PACKAGES = (
    *("proto-envs", "proto-agents", "proto-motionlib", "proto-poselib"),
    *("torch", "numpy", "gymnasium", "mujoco", "mujoco-warp", "warp-lang", "newton", "genesis-world", "isaaclab"),
)
"""distributions whose versions matter for what is computed"""

_GL_TRIAL = """
import mujoco
from motionlib.viewing.pictures import open_renderer
renderer = open_renderer(mujoco.MjModel.from_xml_string("<mujoco/>"), 64, 64)
renderer.render()
import os
print(os.environ.get("MUJOCO_GL", "window"))
renderer.close()
"""
_PATIENCE = 60.0
"""s that a trial in another process may take"""


def package_versions() -> dict[str, str | None]:
    """Versions of the packages that matter; None where one is absent."""
    return {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def collect(*, rendering: bool = True) -> dict[str, Any]:
    """Everything that proto-info says. No engine is imported but MuJoCo; most of the time goes into importing torch.

    Args:
        rendering: also try to draw a picture, in another process meanwhile.
    """
    trial = _start_drawing() if rendering else None
    import torch

    from proto_envs.simulators import ENGINES, NEEDS, fitting_engine, installed
    from proto_envs.simulators.mujoco import cpu_count

    gpus = [_gpu(index) for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return {
        "system": {
            "os": platform.platform(),
            "python": platform.python_version(),
            "executable": sys.executable,
            "processor": processor(),
            "cpus": os.cpu_count(),
            "cpus_usable": cpu_count(),
        },
        "devices": {"cuda": torch.version.cuda, "gpus": gpus},
        "engines": {
            name: {
                "installed": installed(name),
                "install": None if installed(name) else _install(name, NEEDS),
            }
            for name in ENGINES
        },
        "auto": fitting_engine("auto"),
        "packages": package_versions(),
        "rendering": None if trial is None else _drawn(trial),
        "environment": {name: value for name, value in sorted(os.environ.items()) if name in _VARIABLES},
    }


def _install(engine: str, needs: Mapping[str, tuple[str, str]]) -> str:
    """The command that installs an engine, or where it is said how."""
    return f"pip install '{needs[engine][1]}'" if engine in needs else "see docs/isaac.md"


_VARIABLES = (
    *("CUDA_VISIBLE_DEVICES", "MUJOCO_GL", "OMP_NUM_THREADS", "PYOPENGL_PLATFORM", "WARP_CACHE_PATH"),
    *("PROTO_ISAACGYM_PYTHON", "PROTO_ISAACGYM_TIMEOUT"),
)
"""environment variables that change what is computed, where, or how fast"""


def _gpu(index: int) -> dict[str, Any]:
    import torch

    found = torch.cuda.get_device_properties(index)
    return {"name": found.name, "memory_gib": round(found.total_memory / 2**30, 1)}


def processor() -> str:
    """Name of the CPU."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            named = next(line for line in file if line.startswith("model name"))
        return named.partition(":")[2].strip()
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _start_drawing() -> subprocess.Popen[str]:
    """Draw in another process: a broken driver ends that one, not this one."""
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", _GL_TRIAL], stdout=pipe, stderr=pipe, text=True)


def _drawn(trial: subprocess.Popen[str]) -> dict[str, str | None]:
    """By what a picture was drawn, or why it was not."""
    try:
        output, errors = trial.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        trial.kill()
        trial.communicate()
        return {"by": None, "problem": f"no picture within {_PATIENCE:.0f} s"}
    if trial.returncode:
        lines = errors.strip().splitlines()
        return {"by": None, "problem": lines[-1] if lines else f"the process ended with {trial.returncode}"}
    return {"by": output.split()[-1], "problem": None}


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of proto-info."""
    parser = argparse.ArgumentParser(prog="proto-info", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object, for a report of a fault")
    parser.add_argument("--no-rendering", action="store_true", help="do not try to draw a picture")
    options = parser.parse_args(arguments)
    found = collect(rendering=not options.no_rendering)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        _show(found, Console())


def _show(found: dict[str, Any], console: Console) -> None:
    """Tables for people."""
    engines = Table("engine", "found", "to install it", title="Engines", title_justify="left")
    for name, engine in found["engines"].items():
        mark = "[green]yes[/]" if engine["installed"] else "no"
        engines.add_row(f"{name} (auto)" if name == found["auto"] else name, mark, escape(engine["install"] or ""))
    console.print(engines)
    system, devices, rendering = found["system"], found["devices"], found["rendering"]
    gpus = [f"{gpu['name']}, {gpu['memory_gib']} GiB" for gpu in devices["gpus"]]
    rows = [
        ("OS", system["os"]),
        ("Python", f"{system['python']}, {system['executable']}"),
        ("CPU", f"{system['processor']}, {system['cpus_usable']} of {system['cpus']} usable"),
        ("CUDA", f"{devices['cuda']}: {'; '.join(gpus)}" if gpus else "torch finds none"),
    ]
    if rendering is not None:
        rows.append(("pictures", f"by {rendering['by']}" if rendering["by"] else f"none: {rendering['problem']}"))
    rows += [(name, value) for name, value in found["environment"].items()]
    machine = Table(show_header=False, title="Machine", title_justify="left")
    packages = Table(show_header=False, title="Packages", title_justify="left")
    for row in rows:
        machine.add_row(*map(escape, row))
    for name, number in found["packages"].items():
        packages.add_row(name, number or "absent")
    console.print(machine)
    console.print(packages)


if __name__ == "__main__":
    main()
