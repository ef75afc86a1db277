"""Records evaluations: films of the first episodes, and the motion of all as clips."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from proto_agents.cli.environments import INSTALL
from proto_agents.cli.pictures import Pictures, RenderError, frame_rate, load_recording
from proto_agents.environment import TensorEnvironment, Transition
from proto_agents.evaluation import EvaluationConfig, Evaluator
from proto_agents.parsing import ConfigError
from proto_agents.recording import RecordingConfig
from proto_agents.spaces import Observations


class EpisodeRecorder:
    """An evaluator that writes what it sees; an episode is recorded up to its last step, after which the environment
    shows another. Use as a context manager: an error inside leaves no unfinished film.
    """  # noqa: D205

    def __init__(self, env: VectorEnv, config: RecordingConfig, folder: Path, labels: Sequence[str]) -> None:
        """Get ready to record.

        Args:
            env: the evaluation's.
            config: what is recorded.
            folder: gets `videos/<label>.mp4` and `motions/<label>/<clip>-<environment>.npz`.
            labels: one for each seed of the evaluation.

        Raises:
            RenderError: the machine or the environment cannot render.
            ConfigError: the environment moves nothing that could be a clip.
        """
        self._env, self._config, self._folder, self._labels = env, config, folder, list(labels)
        self.videos: list[Path] = []
        self.motions: list[Path] = []
        self._pictures: Pictures | None = None
        self._stack = ExitStack()
        self._video: Any = None
        self._inner: Any = env.unwrapped
        if config.motion and not hasattr(self._inner, "robot"):
            raise ConfigError("recording.motion: only environments of proto_envs have motion to record")
        if config.video:
            filmed = range(min(config.video_episodes, env.num_envs))
            self._pictures = Pictures(env, filmed, config.cameras, config.size)

    def begin(self, env: TensorEnvironment, observations: Observations) -> None:
        """Another seed: open its film, and take the first poses."""
        del observations
        self._label = self._labels.pop(0)
        self._clips: Tensor | None = None
        self._going = torch.ones(env.num_envs, dtype=torch.bool, device=env.device)
        self._frames = torch.zeros(env.num_envs, dtype=torch.long, device=env.device)
        self._poses: Any = None
        if self._config.motion:
            self._poses = _motion_recorder(self._inner, self._config.motion_episodes or env.num_envs)
        if self._pictures is not None:
            recording, path = load_recording(), self._folder / "videos" / f"{self._label}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            rate = frame_rate(self._env)
            self._frames_left = max(1, round(self._config.seconds * rate))
            try:
                self._video = self._stack.enter_context(recording.VideoWriter(path, rate))
            except recording.RenderError as error:
                raise RenderError(str(error)) from error
        self._take()

    def step(self, transition: Transition, active: Tensor) -> None:
        """Take what each episode that goes on has come to."""
        if self._clips is None and "clip" in transition.info:
            self._clips = torch.as_tensor(transition.info["clip"]).cpu()
        self._going &= active & ~(transition.terminated | transition.truncated)
        self._take()

    def numbers(self) -> Mapping[str, float | Tensor]:
        """None; the seed is over, and what was recorded is written."""
        self._finish_video()
        if self._poses is not None:
            self._write_motions()
        return {}

    def _take(self) -> None:
        self._frames += self._going
        if self._poses is not None and bool(self._going.any()):
            self._poses.add()
        if self._pictures is None or self._video is None:
            return
        filmed = min(self._config.video_episodes, self._env.num_envs)
        ended = [index for index, going in enumerate(self._going[:filmed].tolist()) if not going]
        if len(ended) == filmed or self._frames_left == 0:
            self._finish_video()
            return
        self._video.write(self._pictures.take(ended))
        self._frames_left -= 1

    def _finish_video(self) -> None:
        if self._video is not None:
            path, self._video = self._video.path, None
            self._stack.close()
            self.videos.append(path)

    def _write_motions(self) -> None:
        """One clip of each episode; those of a single pose are none."""
        folder = self._folder / "motions" / self._label
        folder.mkdir(parents=True, exist_ok=True)
        names: Sequence[str] = tuple(getattr(self._inner, "clip_names", None) or ())
        counts = self._frames.tolist()[: self._config.motion_episodes or None]
        for index, frames in enumerate(counts):
            if frames < 2:
                continue
            clip = "episode" if self._clips is None or not names else names[int(self._clips[index])]
            path = folder / f"{clip}-{index:03d}.npz"
            self._poses.motion(index, path.stem, frames).save(path)
            self.motions.append(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # An error inside makes the writer of the video leave nothing behind.
        self._stack.__exit__(kind, error, trace)
        if self._pictures is not None:
            self._pictures.close()


class TrainingRecording:
    """Records evaluations in training, those that come after every so many samples."""

    def __init__(self, env: VectorEnv, config: RecordingConfig, evaluation: EvaluationConfig, folder: Path) -> None:
        """Get ready to record; errors as of `EpisodeRecorder`, before anything is trained."""
        self._env, self._config, self._evaluation, self._folder = env, config, evaluation, folder
        self._recorded: int | None = None
        self._videos: list[Path] = []
        with EpisodeRecorder(env, config, folder, ()):
            pass

    @contextmanager
    def of(self, samples: int) -> Iterator[Sequence[Evaluator]]:
        """What watches the evaluation after so many samples; nothing where the last recording was a moment ago."""
        every = self._config.every
        if every and self._recorded is not None and samples // every == self._recorded // every:
            yield ()
            return
        self._recorded = samples
        labels = seed_labels(self._evaluation, f"step-{samples:09d}")
        with EpisodeRecorder(self._env, self._config, self._folder, labels) as recorder:
            yield (recorder,)
        self._videos += recorder.videos

    def take_videos(self) -> Sequence[Path]:
        """Films that were finished since the last call."""
        taken, self._videos = self._videos, []
        return taken


def seed_labels(evaluation: EvaluationConfig, prefix: str = "") -> list[str]:
    """What the recordings of each seed are called. prefix: is enough by itself where there is one seed."""
    seeds = range(evaluation.seed, evaluation.seed + evaluation.seeds)
    if prefix and len(seeds) == 1:
        return [prefix]
    return [f"{prefix}-seed-{seed}".removeprefix("-") for seed in seeds]


def _motion_recorder(env: Any, count: int) -> Any:  # noqa: ANN401 - a `ProtoVectorEnv`; a `MotionRecorder`
    try:
        from proto_envs.motion_recording import MotionRecorder
    except ImportError as error:
        raise ConfigError(f"recording.motion needs the package proto-envs ({error}); install it: {INSTALL}") from error
    return MotionRecorder(env, range(min(count, env.num_envs)))
