import builtins
import json
import time

import pytest

from proto_agents.logging import JsonLinesWriter, WandbWriter, make_writers, read_json_lines
from proto_agents.parsing import ConfigError
from proto_agents.plots import plot_learning_curve


def test_json_lines_are_flushed_and_valid(tmp_path):
    path = tmp_path / "metrics.jsonl"
    writer = JsonLinesWriter(path)
    writer.write(10, {"a": 1.5, "b": float("nan")})
    assert json.loads(path.read_text()) == {"samples": 10, "a": 1.5, "b": None}
    writer.close()


def test_tensorboard_gets_the_same_numbers(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    experiment = {"name": "walk", "algorithm": {"gamma": 0.9375, "schedule": "fixed"}, "env": {"motions": None}}
    for writer in make_writers(tmp_path, "tensorboard", experiment):
        writer.write(10, {"episode/return": 2.0})
        writer.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    (text,) = events.Tensors("settings/text_summary")
    assert b"gamma: 0.9375" in text.tensor_proto.string_val[0]
    plugin = HParamsPluginData.FromString(events.PluginTagToContent("hparams")["_hparams_/session_start_info"])
    given = plugin.session_start_info.hparams
    assert given["algorithm.gamma"].number_value == 0.9375 and given["env.motions"].string_value == "None"
    assert [(event.step, event.value) for event in events.Scalars("episode/return")] == [(10, 2.0)]
    assert read_json_lines(tmp_path / "metrics.jsonl") == [{"samples": 10, "episode/return": 2.0}]


def test_a_missing_wandb_says_how_to_install_it(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "wandb":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install 'proto-agents\[wandb\]'"):
        make_writers(tmp_path, "wandb", {})


@pytest.mark.slow
def test_wandb_keeps_settings_curves_films_and_the_report_without_a_network(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    film, report = tmp_path / "film.mp4", tmp_path / "report.json"
    film.write_bytes(b"a film")
    report.write_text("{}")
    for writer in make_writers(tmp_path, "wandb", {"name": "walk", "algorithm": {"gamma": 0.9375}}):
        writer.write(4096, {"episode/return": 2.8125})
        writer.write_video(4096, film)
        writer.close()
    first = (tmp_path / "wandb_id").read_text()
    writer = WandbWriter(tmp_path, {})
    writer.write_report({"success_rate": 0.6875}, [film, report])
    writer.close()
    assert (tmp_path / "wandb_id").read_text() == first, "the run goes on, it is no new one"
    kept = sorted((tmp_path / "wandb").glob(f"offline-run-*/run-{first}.wandb"))
    assert len(kept) == 2
    for what in (b"gamma", b"0.9375", b"episode/return", b"2.8125", b"4096"):
        assert what in kept[0].read_bytes()
    for _ in range(100):  # the library's own process writes the end of the file when it comes to it
        if b"success_rate" in (final := kept[1].read_bytes()):
            break
        time.sleep(0.2)
    assert b"success_rate" in final and b"0.6875" in final
    films = sorted((tmp_path / "wandb").glob("offline-run-*/files/media/videos/**/*.mp4"))
    assert [path.read_bytes() for path in films] == [b"a film"] * 2
    assert len(list((tmp_path / "wandb").glob("offline-run-*/files/report.json"))) == 1


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
