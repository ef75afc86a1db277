"""What users get: the four wheels, built without a network, and looked into."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DISTRIBUTIONS = {
    "poselib": "proto-poselib",
    "motionlib": "proto-motionlib",
    "proto_envs": "proto-envs",
    "proto_agents": "proto-agents",
}
DATA = {".py", ".typed", ".npz", ".yaml", ".json", ".safetensors", ".html", ".js", ".css", ".md"}
"""kinds of file that belong into a wheel"""


@pytest.fixture(scope="module", params=DISTRIBUTIONS)
def wheel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT / "packages" / request.param, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    return request.param, path


def names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def metadata(path: Path) -> Message:
    with zipfile.ZipFile(path) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def test_wheel_has_its_package_and_no_stray_files(wheel: tuple[str, Path]):
    package, path = wheel
    inside = [n for n in names(path) if ".dist-info/" not in n]
    assert f"{package}/__init__.py" in inside
    assert f"{package}/py.typed" in inside
    assert {n.partition("/")[0] for n in inside} == {package}
    stray = [n for n in inside if "__pycache__" in n or "/tests/" in n or Path(n).suffix not in DATA]
    assert not stray, stray


def test_wheel_holds_every_source_file(wheel: tuple[str, Path]):
    package, path = wheel
    source = ROOT / "packages" / package / "src"
    wanted = {p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file() and p.suffix in DATA}
    assert wanted <= set(names(path)), wanted - set(names(path))


def test_wheel_carries_licence_and_notice(wheel: tuple[str, Path]):
    _, path = wheel
    with zipfile.ZipFile(path) as archive:
        texts = {Path(n).name: archive.read(n).decode() for n in archive.namelist() if "/licenses/" in n}
    assert "Apache License" in texts["LICENSE"]
    assert "Copyright (c) 2018 Xue Bin Peng" in texts["NOTICE"]


def test_metadata_name_the_distribution_and_depend_by_name_alone(wheel: tuple[str, Path]):
    package, path = wheel
    fields = metadata(path)
    assert fields["Name"] == DISTRIBUTIONS[package]
    assert fields["License-Expression"] == "Apache-2.0"
    assert fields["Requires-Python"] == ">=3.11"
    assert len(fields.get_payload()) > 200, "the README is the description"
    requirements = fields.get_all("Requires-Dist") or []
    assert not [r for r in requirements if "@" in r or "/" in r], requirements
    unconditional = {re.split(r"[ <>=!~;\[]", r)[0] for r in requirements if "extra ==" not in r}
    below = {"poselib": set(), "motionlib": {"proto-poselib"}, "proto_envs": {"proto-motionlib"}, "proto_agents": set()}
    assert {r for r in unconditional if r.startswith("proto-")} == below[package]


def test_data_files_come_along(wheel: tuple[str, Path]):
    package, path = wheel
    inside = names(path)
    if package == "motionlib":
        assert len([n for n in inside if n.startswith("motionlib/samples/") and n.endswith(".npz")]) >= 40
    if package == "proto_agents":
        assert "proto_agents/configs/exp/quickstart.yaml" in inside
