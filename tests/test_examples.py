"""The examples run as they stand, with small numbers."""

import importlib.util
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture
def example(monkeypatch, tmp_path):
    """`example(name, *arguments)`: what its `main` returns."""

    def run(name, *arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.main()

    return run


def test_single_file_ppo_runs(example, capsys):
    assert example("ppo_single_file", "--num-envs", "16", "--iterations", "4") > 1
    assert capsys.readouterr().out.count("samples") == 4


@pytest.mark.slow
def test_single_file_ppo_learns(example):
    """At first episodes last 9 steps."""
    assert example("ppo_single_file", "--iterations", "40") > 18


def test_sb3_trains(example, tmp_path):
    pytest.importorskip("stable_baselines3")
    example("train_sb3", "--num-envs", "8", "--samples", "128")
    assert (tmp_path / "sb3_walk.zip").exists()


@pytest.mark.slow
def test_rsl_rl_trains(example, tmp_path):
    pytest.importorskip("rsl_rl")
    example("train_rsl_rl", "--num-envs", "8", "--iterations", "1")
    assert list(tmp_path.rglob("model_*.pt"))
