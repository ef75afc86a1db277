"""proto-play: a video of a trained policy."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import gymnasium
import torch
import tyro

from proto_agents.checkpoint import CheckpointError
from proto_agents.cli.environments import INSTALL, find_run, make_environment
from proto_agents.cli.learners import load_policy
from proto_agents.config import Experiment, evaluated_with, program_arguments, split_free_flags
from proto_agents.environment import TensorEnvironment
from proto_agents.parsing import ConfigError, merge


class RenderError(RuntimeError):
    """The environment or the machine cannot render."""


@dataclass(frozen=True)
class PlayArguments:
    """Records a policy's behaviour. Keyword arguments of the environment: --env.KEY VALUE."""

    run: Annotated[str, tyro.conf.Positional]
    """run folder (best/, else last/), checkpoint folder, or pretrained/<name>"""
    overlays: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """laid over how it is evaluated, such as perturbation/projectiles"""
    output: Path = Path("video.mp4")
    """the video to write"""
    seconds: float = 10.0
    """simulated time"""
    seed: int = 0
    """of the environment's reset and of drawn actions"""
    stochastic: bool = False
    """draw actions from the policy instead of taking the most probable ones"""


def record(
    experiment: Experiment,
    checkpoint: Path,
    output: Path,
    *,
    seconds: float = 10.0,
    seed: int = 0,
    stochastic: bool = False,
    overlay: dict[str, Any] | None = None,
) -> int:
    """Plays a checkpoint in one environment and writes a video; returns the number of frames.

    Raises:
        RenderError: the environment cannot render, or the video writer is not installed.
    """
    try:
        from proto_envs import recording
    except ImportError as error:
        raise RenderError(f"writing a video needs the package proto-envs ({error}); install it: {INSTALL}") from error
    arguments = merge(experiment.evaluation.env, overlay or {})
    try:
        env = make_environment(experiment, 1, arguments, render_mode="rgb_array")
    except (ConfigError, ImportError, gymnasium.error.Error) as error:
        raise RenderError(f"{experiment.env.id} cannot be made with render_mode rgb_array: {error}") from error
    try:
        learner = load_policy(experiment, env, checkpoint)
        rate = getattr(env.unwrapped, "control_hz", None) or env.metadata.get("render_fps") or 30.0
        frames = max(1, round(seconds * float(rate)))
        stream = TensorEnvironment(env, learner.device)
        observations = stream.reset(seed=seed)
        generator = torch.Generator(learner.device).manual_seed(seed)
        with recording.VideoWriter(output, float(rate)) as writer:
            for _ in range(frames):
                writer.write(_frame(env))
                model = learner.model
                action = model.act(observations, generator) if stochastic else model.act_deterministic(observations)
                observations = stream.step(action).observations
        return frames
    except recording.RenderError as error:
        raise RenderError(str(error)) from error
    finally:
        env.close()


def _frame(env: Any) -> Any:  # noqa: ANN401 - any vector environment; (height, width, 3) uint8
    try:
        frames = env.render()
    except Exception as error:  # a missing display or driver shows up as whatever the renderer raises
        raise RenderError(f"rendering failed: {error}") from error
    if frames is None or len(frames) == 0 or frames[0] is None:
        raise RenderError("the environment rendered nothing")
    return frames[0]


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of proto-play."""
    rest, taken = split_free_flags(program_arguments(arguments), ("env",))
    options = tyro.cli(PlayArguments, args=rest, prog="proto-play")
    try:
        experiment, checkpoint = find_run(options.run)
        experiment = evaluated_with(experiment, options.overlays)
        frames = record(
            experiment,
            checkpoint,
            options.output,
            seconds=options.seconds,
            seed=options.seed,
            stochastic=options.stochastic,
            overlay=taken.get("env"),
        )
    except (CheckpointError, ConfigError, RenderError) as error:
        sys.exit(f"proto-play: {error}")
    print(f"wrote {options.output} ({frames} frames of {checkpoint})")


if __name__ == "__main__":
    main()
