import builtins
import json

import pytest

from proto_agents.logging import JsonLinesWriter, make_writers, read_json_lines
from proto_agents.plots import plot_learning_curve


def test_json_lines_are_flushed_and_valid(tmp_path):
    path = tmp_path / "metrics.jsonl"
    writer = JsonLinesWriter(path)
    writer.write(10, {"a": 1.5, "b": float("nan")})
    assert json.loads(path.read_text()) == {"samples": 10, "a": 1.5, "b": None}
    writer.close()


def test_tensorboard_gets_the_same_numbers(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for writer in make_writers(tmp_path, "tensorboard", {}):
        writer.write(10, {"episode/return": 2.0})
        writer.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("episode/return")] == [(10, 2.0)]
    assert read_json_lines(tmp_path / "metrics.jsonl") == [{"samples": 10, "episode/return": 2.0}]


def test_a_missing_wandb_says_how_to_install_it(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "wandb":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match="pip install wandb"):
        make_writers(tmp_path, "wandb", {})


def test_learning_curve_is_a_png(tmp_path):
    path = tmp_path / "metrics.jsonl"
    rows = [{"samples": i, "episode/return": i * 2.0, "evaluation/success_rate": 0.5} for i in range(5)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = plot_learning_curve(path, tmp_path / "curve.png")
    assert output.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["curve.png", "metrics.jsonl"]


def test_a_run_without_numbers_has_no_curve(tmp_path):
    with pytest.raises(ValueError, match="holds nothing to draw"):
        plot_learning_curve(tmp_path / "metrics.jsonl", tmp_path / "curve.png")
