"""proto-play: watch a trained policy, or an environment, live in the browser; or film it."""

import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import gymnasium
import torch
import tyro
from gymnasium.vector import VectorEnv
from torch import Tensor

from proto_agents.checkpoint import CheckpointError
from proto_agents.cli.environments import INSTALL, find_run, make_environment
from proto_agents.cli.learners import load_policy
from proto_agents.cli.pictures import Pictures, RenderError, frame_rate, load_recording
from proto_agents.cli.watching import actor, watch
from proto_agents.config import Experiment, evaluated_with, program_arguments, split_free_flags
from proto_agents.environment import TensorEnvironment
from proto_agents.parsing import ConfigError, merge, parse_dataclass
from proto_agents.recording import CameraName
from proto_agents.spaces import Observations


@dataclass(frozen=True)
class PlayArguments:
    """Shows a policy, or an environment, live in the browser. Keyword arguments of the environment: --env.KEY VALUE."""

    run: Annotated[str, tyro.conf.Positional]
    """run folder (best/, else last/), checkpoint folder, pretrained/<name>, or the id of an environment"""
    overlays: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """laid over how it is evaluated, such as perturbation/projectiles"""
    agent: Literal["zero", "random", "reference"] = "zero"
    """who acts where an id is given: zero actions, random ones, or the targets of the clip"""
    video: Path | None = None
    """write a video instead, such as video.mp4"""
    filmed: int = 1
    """robots in the video, tiled"""
    cameras: tuple[CameraName, ...] = ("follow",)
    """of the video; with several, each robot has a row and each camera a column"""
    size: tuple[int, int] = (640, 480)
    """px of the video, width and height of one robot from one camera; multiples of 16"""
    window: bool = False
    """MuJoCo's own window instead of the browser; needs a display"""
    num_envs: int = 4
    """robots to choose from in the viewer"""
    seconds: float | None = None
    """simulated time of a video (10 if left out); wall time after which the viewer ends (never)"""
    seed: int = 0
    """of the environment's reset and of drawn actions"""
    stochastic: bool = False
    """draw actions from the policy instead of taking the most probable ones"""
    recordings: Path = Path("recordings")
    """folder for what is recorded in the viewer"""
    host: str = "127.0.0.1"
    """address that the viewer listens at; 0.0.0.0 lets other machines look, and act"""
    port: int = 8080
    """of the viewer's page; the next free one is taken where it is in use"""


def record(
    experiment: Experiment,
    checkpoint: Path | None,
    output: Path,
    *,
    seconds: float = 10.0,
    seed: int = 0,
    stochastic: bool = False,
    overlay: dict[str, Any] | None = None,
    agent: str = "zero",
    filmed: int = 1,
    cameras: Sequence[CameraName] = ("follow",),
    size: tuple[int, int] = (640, 480),
) -> int:
    """Plays a checkpoint, or an agent without one, and writes a video, picture by picture; returns their number.

    Raises:
        RenderError: the environment cannot render, or the video writer is not installed.
    """
    recording = load_recording()
    arguments = merge(experiment.evaluation.env, overlay or {})
    try:
        env = make_environment(experiment, filmed, arguments, render_mode="rgb_array")
    except (ConfigError, ImportError, gymnasium.error.Error) as error:
        raise RenderError(f"{experiment.env.id} cannot be made with render_mode rgb_array: {error}") from error
    try:
        act, device = _actor(experiment, env, checkpoint, agent, seed, stochastic=stochastic)
        rate = frame_rate(env)
        frames = max(1, round(seconds * rate))
        stream = TensorEnvironment(env, device)
        observations = stream.reset(seed=seed)
        drawn = Pictures(env, range(filmed), cameras, size)
        with closing(drawn) as pictures, recording.VideoWriter(output, rate) as writer:
            for _ in range(frames):
                writer.write(pictures.take())
                observations = stream.step(act(observations)).observations
        return frames
    except recording.RenderError as error:
        raise RenderError(str(error)) from error
    finally:
        env.close()


def _actor(
    experiment: Experiment, env: VectorEnv, checkpoint: Path | None, agent: str, seed: int, *, stochastic: bool
) -> tuple[Callable[[Observations], Tensor], torch.device | None]:
    """Who acts in a video, and on which device; None: the environment's."""
    if checkpoint is not None:
        learner = load_policy(experiment, env, checkpoint)
        return actor(learner, seed, stochastic=stochastic), learner.device
    from proto_envs.viewer import ScriptedAgent, ViewerError
    from proto_envs.viewer.session import innermost

    try:
        return ScriptedAgent(innermost(env), agent, seed=seed).act, None
    except ViewerError as error:
        raise RenderError(str(error)) from error


def _what(name: str) -> tuple[Experiment, Path | None]:
    """The experiment and checkpoint that a name means; no checkpoint where it is an environment's id.

    Raises:
        CheckpointError, ConfigError: there is none of that name.
    """
    if Path(name).exists() or name.startswith("pretrained/") or "-v" not in name:
        return find_run(name)
    return parse_dataclass(Experiment, {"env": {"id": name}}, name), None


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of proto-play."""
    rest, taken = split_free_flags(program_arguments(arguments), ("env",))
    options = tyro.cli(PlayArguments, args=rest, prog="proto-play")
    try:
        experiment, checkpoint = _what(options.run)
        experiment = evaluated_with(experiment, options.overlays)
        if options.video is None:
            _watch(options, experiment, checkpoint, taken.get("env"))
            return
        frames = record(
            experiment,
            checkpoint,
            options.video,
            seconds=10.0 if options.seconds is None else options.seconds,
            seed=options.seed,
            stochastic=options.stochastic,
            overlay=taken.get("env"),
            agent=options.agent,
            filmed=options.filmed,
            cameras=options.cameras,
            size=options.size,
        )
    except (CheckpointError, ConfigError, RenderError) as error:
        sys.exit(f"proto-play: {error}")
    print(f"wrote {options.video} ({frames} frames of {checkpoint or options.run})")


def _watch(
    options: PlayArguments, experiment: Experiment, checkpoint: Path | None, overlay: dict[str, Any] | None
) -> None:
    """Show it live.

    Raises:
        RenderError: it cannot be shown.
        ConfigError, CheckpointError: as `watch`.
    """
    try:
        from proto_envs.viewer import ViewerError
    except ImportError as error:
        raise RenderError(f"the viewer needs the package proto-envs ({error}); install it: {INSTALL}") from error
    try:
        watch(
            experiment,
            checkpoint,
            options.agent,
            num_envs=options.num_envs,
            seed=options.seed,
            stochastic=options.stochastic,
            overlay=overlay,
            recordings=options.recordings,
            host=options.host,
            port=options.port,
            window=options.window,
            seconds=options.seconds,
        )
    except ViewerError as error:
        raise RenderError(str(error)) from error


if __name__ == "__main__":
    main()
