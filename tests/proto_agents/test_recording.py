import imageio.v3 as iio
import numpy as np
import pytest
import torch
from gymnasium.vector import VectorEnv

import proto_envs  # noqa: F401  registers the ids
from motionlib import load
from proto_agents.cli import environments, train
from proto_agents.cli.environments import make_environment
from proto_agents.cli.evaluate import recordings_folder
from proto_agents.cli.pictures import Pictures, RenderError, tiled
from proto_agents.cli.recording import EpisodeRecorder, seed_labels
from proto_agents.config import Experiment, evaluated_with, load_experiment
from proto_agents.evaluation import EvaluationConfig, evaluate
from proto_agents.parsing import ConfigError, merge, parse_dataclass
from proto_agents.recording import RecordingConfig


class States:
    """An evaluator that keeps where all bodies were."""

    def begin(self, env, observations):
        self.simulator = env.env.unwrapped.simulator
        self.seen = [self.simulator.robot().body_positions]

    def step(self, transition, active):
        self.seen.append(self.simulator.robot().body_positions)

    def numbers(self):
        return {}


@pytest.fixture(scope="module")
def falling():
    """Robots that drop as they are and lose track of the clip at different times, and who watched them."""
    settings = {"env": {"id": "ProtoMimic-AMP-v0", "motions": "walk", "task": {"termination_distance": 0.7}}}
    env = make_environment(parse_dataclass(Experiment, settings, "here"), 3)
    yield env
    env.close()


def rendering(*arguments):
    try:
        return EpisodeRecorder(*arguments)
    except RenderError as error:
        pytest.skip(str(error))


def test_episodes_are_filmed_and_written_to_their_ends(falling, tmp_path):
    evaluation = EvaluationConfig(num_envs=3, steps=25, seed=7)
    config = RecordingConfig(video=True, motion=True, video_episodes=3, cameras=("follow", "top"), size=(64, 48))
    states = States()
    with rendering(falling, config, tmp_path, seed_labels(evaluation)) as recorder:
        effort = torch.tensor([[0.0], [0.5], [-0.5]]).expand(3, 28)
        report = evaluate(falling, lambda seen: effort, evaluation, evaluators=[states, recorder])
    assert sorted(path.name for path in recorder.motions) == ["walk-000.npz", "walk-001.npz", "walk-002.npz"]
    columns = report.records[0].columns
    lengths, ended = columns["mean_episode_length"].long(), ~columns["survival_rate"]
    assert ended.any() and len(set(lengths.tolist())) > 1, "episodes must end at different times to show something"
    skeleton, frames = falling.unwrapped.robot.skeleton, []
    for index, path in enumerate(recorder.motions):
        clip = load(path)
        frames.append(int(lengths[index]) + int(not ended[index]))  # the last pose of a lost episode is of the next
        assert clip.num_frames == frames[-1]
        simulated = torch.stack([positions[index] for positions in states.seen[: frames[-1]]])
        positions, _ = clip.world_poses(skeleton)
        torch.testing.assert_close(positions, simulated, atol=1e-5, rtol=0)
    (film,) = recorder.videos
    pictures = iio.imread(film)
    assert film == tmp_path / "videos/seed-7.mp4" and pictures.shape == (max(frames), 3 * 48, 2 * 64, 3)
    tiles = pictures.reshape(max(frames), 3, 48, 2, 64, 3).swapaxes(2, 3)
    assert (tiles[0].reshape(6, -1).std(axis=1) > 5).all(), "no tile is blank"
    first, last = int(np.argmin(frames)), int(np.argmax(frames))
    colour = (tiles[-1].max(-1).astype(int) - tiles[-1].min(-1)).mean(axis=(2, 3))
    assert (colour[first] < 0.5 * colour[last]).all(), "who has ended is grey"


def test_a_film_ends_after_its_time(falling, tmp_path):
    evaluation = EvaluationConfig(num_envs=3, steps=6, seeds=2, seed=4)
    config = RecordingConfig(video=True, video_episodes=1, size=(64, 48), seconds=0.1)
    with rendering(falling, config, tmp_path, seed_labels(evaluation)) as recorder:
        evaluate(falling, lambda seen: torch.zeros(3, 28), evaluation, evaluators=[recorder])
    assert [path.name for path in recorder.videos] == ["seed-4.mp4", "seed-5.mp4"]
    assert len(iio.imread(recorder.videos[1])) == 3 and not recorder.motions


def test_an_error_leaves_no_film(falling, tmp_path):
    config = RecordingConfig(video=True, video_episodes=1, size=(64, 48))
    evaluation = EvaluationConfig(num_envs=3, steps=6)

    def lost(seen):
        raise RuntimeError("lost")

    with pytest.raises(RuntimeError, match="lost"), rendering(falling, config, tmp_path, ["a"]) as recorder:
        evaluate(falling, lost, evaluation, evaluators=[recorder])
    assert list((tmp_path / "videos").iterdir()) == []


class Flat(VectorEnv):
    """Two pictures of one colour each."""

    metadata = {"render_fps": 10}  # noqa: RUF012
    num_envs = 2

    def render(self):
        return [np.full((16, 16, 3), (200, 100, 0), np.uint8), np.full((16, 16, 3), (0, 0, 240), np.uint8)]


def test_pictures_lie_row_by_row_and_go_grey():
    one, two, three = (np.full((2, 3, 3), level, np.uint8) for level in (1, 2, 3))
    assert tiled([one, two, three], 2)[:, :, 0].tolist() == [[1] * 3 + [2] * 3] * 2 + [[3] * 3 + [255] * 3] * 2
    pictures = Pictures(Flat(), [0, 1])
    assert pictures.take()[0, 0].tolist() == [200, 100, 0]
    seen = pictures.take(ended=[0])
    assert seen[0, 0].tolist() == [100, 100, 100] and seen[0, -1].tolist() == [0, 0, 240]
    with pytest.raises(RenderError, match="has one picture"):
        Pictures(Flat(), [0], ["top"])


def test_training_records_now_and_then(tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "register_environments", lambda identifier: None)
    runner = {"max_samples": 256, "evaluate_every": 64, "logger": "none", "run_dir": str(tmp_path / "run")}
    settings = {
        "env": {"id": "PointTest-v0", "num_envs": 8},
        "algorithm": {"horizon": 8, "minibatch_size": 32, "epochs": 1},
        "runner": runner,
        "evaluation": {"num_envs": 2, "steps": 3},
        "recording": {"video": True, "every": 128, "video_episodes": 2},
    }
    train.train(parse_dataclass(Experiment, settings, "here"))
    films = sorted((tmp_path / "run/videos").iterdir())
    assert [film.name for film in films] == ["step-000000064.mp4", "step-000000128.mp4", "step-000000256.mp4"]
    motion = merge(settings, {"recording": {"video": False, "motion": True}})
    with pytest.raises(ConfigError, match="only environments of proto_envs have motion"):
        train.train(parse_dataclass(Experiment, motion, "here"))


def test_an_evaluation_records_what_its_overlays_say(tmp_path):
    trained = load_experiment(["quickstart", "opt/record_video"])
    assert not evaluated_with(trained, []).recording.video
    recorded = evaluated_with(trained, ["opt/record_motion"])
    assert recorded.recording.motion and not recorded.recording.video
    assert recorded.expect == trained.expect, "recording changes nothing of what is to be expected"
    (tmp_path / "metrics.jsonl").touch()
    options = parse_options()
    assert recordings_folder(options, trained, tmp_path / "best") == tmp_path
    assert recordings_folder(options, trained, tmp_path / "other/walk").as_posix() == "recordings/quickstart"


def parse_options():
    from proto_agents.cli.evaluate import EvaluateArguments

    return EvaluateArguments()


@pytest.mark.parametrize("mistake", [{"size": [100, 48]}, {"cameras": []}, {"seconds": 0}])
def test_what_cannot_be_filmed_is_refused(mistake):
    with pytest.raises(ConfigError, match="recording"):
        parse_dataclass(RecordingConfig, mistake, "here")
