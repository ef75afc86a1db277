"""Videos of the best, a median and the worst episode of an evaluation, played once more."""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gymnasium
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from proto_agents.cli.environments import make_environment
from proto_agents.cli.learners import load_policy
from proto_agents.cli.pictures import RenderError, frame_rate, load_recording, render
from proto_agents.config import Experiment
from proto_agents.environment import TensorEnvironment
from proto_agents.evaluation import EpisodeRecord, Policy
from proto_agents.evaluation.html import Video
from proto_agents.evaluation.labels import label_of
from proto_agents.parsing import ConfigError

LONGEST = 15.0
"""s of each video at most"""


def episode_videos(
    experiment: Experiment, checkpoint: Path, record: EpisodeRecord, clip_names: Sequence[str] = ()
) -> list[Video]:
    """Plays the episodes of a seed once more and films three of them.

    Args:
        experiment: with the settings that the evaluation had.
        checkpoint: of the policy.
        record: of the seed.
        clip_names: of the clips that the record numbers.

    Raises:
        RenderError: the environment cannot render, or the video writer is not installed.
    """
    settings = experiment.evaluation
    try:
        env = make_environment(experiment, settings.num_envs, settings.env, render_mode="rgb_array")
    except (ConfigError, ImportError, gymnasium.error.Error) as error:
        raise RenderError(f"{experiment.env.id} cannot be made with render_mode rgb_array: {error}") from error
    chosen = chosen_episodes(record)
    try:
        files = _film(experiment, checkpoint, env, record, sorted(set(chosen.values())))
    finally:
        env.close()
    return [Video(title, _caption(record, row, clip_names), files[row]) for title, row in chosen.items()]


def chosen_episodes(record: EpisodeRecord) -> dict[str, int]:
    """Number of the best, a median and the worst episode; as many as there are different ones."""
    order = ranking(record)
    picked = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
    return {title: row for title, row in picked.items() if title == "best" or row != picked["best"]}


def ranking(record: EpisodeRecord) -> list[int]:
    """Episodes from the best to the worst: those that failed last, the shortest of them at the very end; among the
    others by position error, or by return where there is none.
    """  # noqa: D205
    columns = record.columns
    good = columns.get("success_rate", columns["survival_rate"]) & columns["survival_rate"]
    error = columns.get("mpjpe_mm", -columns["mean_return"]).nan_to_num(torch.inf)
    length = columns["mean_episode_length"]

    def key(row: int) -> tuple[bool, float, float]:
        lost = not bool(good[row])
        return lost, -float(length[row]) if lost else 0.0, float(error[row])

    return sorted(range(len(error)), key=key)


def _film(
    experiment: Experiment, checkpoint: Path, env: VectorEnv, record: EpisodeRecord, rows: Sequence[int]
) -> dict[int, bytes]:
    """The mp4 file of each of the episodes `rows`."""
    recording = load_recording()
    rate = frame_rate(env)
    lengths = record.columns["mean_episode_length"]
    left = {row: max(1, min(int(lengths[row]), round(LONGEST * rate))) for row in rows}
    learner = load_policy(experiment, env, checkpoint)
    inner: Any = env.unwrapped
    if hasattr(inner, "rendered"):  # of ours, those few alone are drawn
        inner.rendered = rows
    stream = TensorEnvironment(env, learner.device)
    with tempfile.TemporaryDirectory() as folder:
        paths = {row: Path(folder) / f"{row}.mp4" for row in rows}
        try:
            with ExitStack() as stack:
                writers = {row: stack.enter_context(recording.VideoWriter(paths[row], rate)) for row in rows}
                _play(stream, learner.model.act_deterministic, record.seed, left, writers)
        except recording.RenderError as error:
            raise RenderError(str(error)) from error
        return {row: path.read_bytes() for row, path in paths.items()}


def _play(
    stream: TensorEnvironment, policy: Policy, seed: int, frames: Mapping[int, int], writers: Mapping[int, Any]
) -> None:
    observations = stream.reset(seed=seed)
    for step in range(max(frames.values())):
        pictures = _pictures(stream.env, list(frames))
        for row, count in frames.items():
            if step < count:
                writers[row].write(pictures[row])
        observations = stream.step(policy(observations)).observations


def _pictures(env: VectorEnv, rows: Sequence[int]) -> dict[int, Any]:
    """One of each environment in `rows`, (height, width, 3) uint8."""
    frames = render(env)
    if len(frames) == len(rows):
        return dict(zip(rows, frames, strict=True))
    if len(frames) != env.num_envs:
        raise RenderError(f"the environment rendered {len(frames)} pictures of {env.num_envs}")
    return {row: frames[row] for row in rows}


def _caption(record: EpisodeRecord, row: int, clip_names: Sequence[str]) -> str:
    """Which clip was played, and what the episode scored."""
    parts = [f"episode {row} of seed {record.seed}"]
    if record.clips is not None:
        clip = int(record.clips[row])
        parts.append(clip_names[clip] if clip_names else f"clip {clip}")
    for name in ("mpjpe_mm", "mean_return", "mean_episode_length"):
        if name in record.columns and not (name == "mean_return" and "mpjpe_mm" in record.columns):
            label = label_of(name)
            parts.append(f"{label.text} {label.format(_number(record.columns[name], row))} {label.unit}".rstrip())
    failed = "success_rate" in record.columns and not bool(record.columns["success_rate"][row])
    if failed or not bool(record.columns["survival_rate"][row]):
        parts.append("failed")
    return ", ".join(parts)


def _number(column: Tensor, row: int) -> float:
    return float(column[row])
