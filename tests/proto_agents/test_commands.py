import builtins
import json
import sys
import types

import pytest
import torch

from proto_agents.checkpoint import load_state, load_tensors, policy_tensors
from proto_agents.cli import environments, evaluate, play, train

EXPERIMENT = """
name: point
env: {id: PointTest-v0, num_envs: 8}
model: {hidden_sizes: [16], critic_hidden_sizes: [16]}
algorithm: {horizon: 8, minibatch_size: 32, epochs: 2}
runner: {max_samples: 192, evaluate_every: 64, checkpoint_every: 64, logger: none, report: true}
evaluation: {num_envs: 4, seconds: 1}
expect: {survival_rate: [0, 1]}
"""


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environments, "register_environments", lambda identifier: None)
    (tmp_path / "point.yaml").write_text(EXPERIMENT)
    return tmp_path


@pytest.fixture
def video(monkeypatch):
    """Stands in for proto_envs.recording and keeps the frames."""
    frames = []

    class VideoWriter:
        def __init__(self, path, fps):
            self.path, self.fps = path, fps

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.path.write_bytes(b"mp4")

        def write(self, frame):
            frames.append((frame.shape, self.fps))

    recording = types.ModuleType("proto_envs.recording")
    recording.VideoWriter, recording.RenderError = VideoWriter, RuntimeError
    package = types.ModuleType("proto_envs")
    package.recording = recording
    monkeypatch.setitem(sys.modules, "proto_envs", package)
    monkeypatch.setitem(sys.modules, "proto_envs.recording", recording)
    return frames


def run(command, *arguments):
    """Exit code, as a shell would see it."""
    try:
        command.main(list(arguments))
    except SystemExit as end:
        return end.code or 0
    return 0


def test_train_evaluate_play_and_resume(workspace, video, capsys):
    assert run(train, "point.yaml", "--env.num-envs", "6", "--runner.max-samples", "192") == 0
    folder = workspace / "runs/point"
    files = {path.name for path in folder.iterdir()}
    assert files >= {"config.yaml", "last", "best", "metrics.jsonl", "report.json", "learning_curve.png", "video.mp4"}
    report = json.loads((folder / "report.json").read_text())
    assert report["num_envs"] == 4 and report["expect"]["survival_rate"]["passed"]
    output = capsys.readouterr().out
    assert "0 to 1" in output and "proto-play runs/point" in output
    assert video[0] == ((4, 6, 3), 10.0) and len(video) == 100

    assert run(evaluate, "runs/point", "--json", "--num-envs", "3", "--seed", "5") == 0
    last_line = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert last_line["num_envs"] == 3 and last_line["seed"] == 5 and last_line["expectations_met"]
    assert {"success_rate", "mpjpe_mm", "mpjpe_root_relative_mm"} <= last_line.keys()

    assert run(play, "runs/point/last", "--video", "clip.mp4", "--seconds", "0.5", "--stochastic") == 0
    assert (workspace / "clip.mp4").exists() and len(video) == 105

    assert run(train, "--resume", "runs/point", "--runner.max-samples", "400", "--runner.no-report") == 0
    assert load_state(folder / "last")["samples"] == 432
    assert run(train, "point.yaml", "--runner.run-dir", "runs/point") != 0


def test_proto_eval_writes_a_folder_and_a_page(workspace, video, capsys, monkeypatch):
    assert run(train, "point.yaml", "--runner.no-report") == 0
    flags = ("--seeds", "2", "--output", "out/deep", "--report", "page.html", "--json")
    monkeypatch.setattr("sys.argv", ["proto-eval", "runs/point", *flags])
    assert run(evaluate, "runs/point", *flags) == 0
    line = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    stored = json.loads((workspace / "out/deep/report.json").read_text())
    assert stored["mpjpe_mm"] == line["mpjpe_mm"] and stored["seeds"] == [1000, 1001]
    assert stored["expect"]["survival_rate"]["passed"] and stored["command"].startswith(
        "proto-eval runs/point --seeds 2"
    )
    assert "| survival rate |" in (workspace / "out/deep/summary.md").read_text()
    assert (workspace / "out/deep/failed_clips.txt").exists()
    page = (workspace / "page.html").read_text()
    assert page.count("<video") >= 2 and page.count("<svg") == 4 and "Learning curve" in page
    assert max(path.stat().st_size for path in (workspace / "out/deep").iterdir()) < 200_000


def test_a_run_may_begin_with_the_policy_of_another(workspace):
    assert run(train, "point.yaml", "--runner.no-report") == 0
    again = ("--runner.initial-policy", "runs/point/last", "--runner.max-samples", "0", "--runner.run-dir", "again")
    assert run(train, "point.yaml", "--runner.no-report", *again) == 0
    first, second = (load_tensors(workspace / f / "last/model.safetensors") for f in ("runs/point", "again"))
    policy = policy_tensors(first)
    assert all(torch.equal(policy[name], second[name]) for name in policy)
    assert any(not torch.equal(first[name], second[name]) for name in first.keys() - policy.keys())
    assert run(train, "point.yaml", "--runner.initial-policy", "nowhere") != 0


def test_a_missed_expectation_is_exit_code_1(workspace, capsys):
    arguments = ("--runner.no-report", "--expect.mpjpe_mm", "[0, 0]", "--evaluation.env.limit", "0.1")
    assert run(train, "point.yaml", *arguments) == 0
    assert run(evaluate, "runs/point") == 1
    assert "missed" in capsys.readouterr().out


def test_without_a_renderer_the_report_goes_on(workspace, monkeypatch, capsys):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("proto_envs"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert run(train, "point.yaml") == 0
    assert "no video" in capsys.readouterr().out
    assert (workspace / "runs/point/report.json").exists()
    assert "pip install" in str(run(play, "runs/point"))


def test_our_ids_say_what_to_install(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(environments.importlib, "import_module", missing)
    with pytest.raises(Exception, match=r"ProtoMimic-AMP-v0 needs .*pip install 'proto-agents\[humanoid\]'"):
        environments.register_environments("ProtoMimic-AMP-v0")
    environments.register_environments("CartPole-v1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("poin.yaml",), "no overlay 'poin.yaml'"),
        (("point.yaml", "--env.id", "PointTst-v0"), "nearest: PointTest-v0"),
        (("--resume", "nowhere"), "nowhere is not a folder"),
        (("point.yaml", "--resume", "runs"), "leave out the overlays"),
        (("--name", "x"), "names no environment"),
        (("point.yaml", "--env.kwargs.nan-at", "3"), "non-finite observation"),
    ],
)
def test_mistakes_end_with_a_sentence(workspace, arguments, message):
    assert message in str(run(train, *arguments))


def test_a_checkpoint_without_its_configuration_is_refused(workspace):
    assert run(train, "point.yaml", "--runner.no-report") == 0
    (workspace / "runs/point/config.yaml").unlink()
    assert "config.yaml is missing" in str(run(evaluate, "runs/point"))
    assert "no pretrained policy" in str(run(evaluate, "pretrained/nothing"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--backend", "mujocco"), "no engine 'mujocco'"),
        (("--backend", "mujoco", "--device", "cuda:7"), "device='cuda:7'"),
        (("--backend", "absent"), "engine absent needs the module absent_engine: pip install"),
    ],
)
def test_a_checkpoint_is_played_in_the_engine_that_is_asked_for(monkeypatch, flags, message):
    simulators = pytest.importorskip("proto_envs.simulators")
    monkeypatch.setitem(simulators.ENGINES, "absent", "absent_engine:Engine")
    monkeypatch.setitem(simulators.NEEDS, "absent", ("absent_engine", "absent-engine"))
    assert message in str(run(evaluate, "pretrained/walk-amp", "--num-envs", "1", "--steps", "1", *flags))
