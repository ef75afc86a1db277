"""proto-train: from overlays and flags to a run folder."""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from gymnasium.vector import VectorEnv

from proto_agents import distributed
from proto_agents.algorithms.distillation import Distillation
from proto_agents.checkpoint import CheckpointError
from proto_agents.cli.beginning import begin
from proto_agents.cli.environments import (
    discriminator_reward,
    find_run,
    make_environment,
    make_training_environment,
)
from proto_agents.cli.learners import completed, make_learner
from proto_agents.cli.pictures import RenderError
from proto_agents.cli.recording import TrainingRecording
from proto_agents.cli.report import write_report
from proto_agents.config import (
    FREE_MAPPINGS,
    Experiment,
    load_experiment,
    program_arguments,
    split_free_flags,
)
from proto_agents.environment import NonFiniteError
from proto_agents.estimate import Estimate, estimate
from proto_agents.noise_env import EpisodeNoiseEnv
from proto_agents.parsing import ConfigError, merge, parse_dataclass, plain
from proto_agents.runner import Runner, RunResult

DESCRIPTION = """Trains a policy.

proto-train OVERLAYS... [FLAGS]: overlays are names of shipped configurations (quickstart, cartpole, robot/smpl, ...)
or YAML files, merged left to right; flags come after them. Keyword arguments of the environment that have no flag
below: --env.task.KEY VALUE, --env.kwargs.KEY VALUE, --evaluation.env.KEY VALUE."""


@dataclass(frozen=True)
class TrainArguments:
    """Flags of proto-train: every field of an experiment, and how to go on with a run."""

    experiment: Annotated[Experiment, tyro.conf.arg(name="")]
    """the experiment"""
    resume: Path | None = None
    """run folder to go on with, from its last/"""
    estimate: bool = False
    """measure a few iterations, say how fast the run would be, how long it would take and how much memory, and exit"""


def parse_arguments(arguments: Sequence[str]) -> TrainArguments:
    """Overlays, then flags; the merged overlays are the flags' defaults.

    Raises:
        ConfigError: an unknown overlay, key or value.
    """
    arguments = list(arguments)
    first_flag = next((i for i, argument in enumerate(arguments) if argument.startswith("-")), len(arguments))
    overlays, flags = arguments[:first_flag], arguments[first_flag:]
    flags, taken = split_free_flags(flags, FREE_MAPPINGS)
    resume = _resume_folder(flags)
    if resume is None:
        experiment = load_experiment(overlays, taken)
    elif overlays:
        raise ConfigError(f"--resume takes the experiment from {resume}; leave out the overlays {' '.join(overlays)}")
    else:
        stored, _ = find_run(str(resume), ("last",))
        merged = merge(plain(stored), taken)
        merged["runner"]["run_dir"] = str(resume)
        experiment = parse_dataclass(Experiment, merged, f"{resume} and the command line")
    return tyro.cli(
        TrainArguments,
        args=flags,
        default=TrainArguments(experiment=experiment, resume=resume),
        prog="proto-train",
        description=DESCRIPTION,
    )


def train(experiment: Experiment, resume: Path | None = None) -> RunResult:
    """Runs an experiment, or goes on with the run in the folder `resume`."""
    with prepared(experiment, resume) as runner:
        return runner.run()


def estimate_run(experiment: Experiment, resume: Path | None = None) -> Estimate:
    """What running an experiment would take, or what is left of the run in the folder `resume`; leaves no folder."""
    with tempfile.TemporaryDirectory() as scratch:
        if resume is None:
            experiment = replace(experiment, runner=replace(experiment.runner, run_dir=scratch))
        with prepared(experiment, resume) as runner:
            return estimate(runner)


@contextmanager
def prepared(experiment: Experiment, resume: Path | None = None) -> Iterator[Runner]:
    """Makes the environments, the learner and the runner, and closes the environments in the end."""
    if resume is None:
        experiment = completed(experiment)
    settings, here = experiment.evaluation, _on_own_device(experiment)
    env = make_training_environment(here)
    evaluation_env = None
    if distributed.is_main():
        render_mode = "rgb_array" if experiment.recording.video else None
        evaluation_env = make_environment(here, settings.num_envs, settings.env, render_mode)
    try:
        learner = make_learner(here, env, resumed=resume is not None)
        if isinstance(learner, Distillation):
            size, seed = learner.model.config.latent_size, experiment.runner.seed
            env = EpisodeNoiseEnv(env, size, seed=seed, device=learner.device)
            experiment = replace(experiment, masked_mimic=learner.model.config)
        runner = Runner(
            env,
            learner,
            experiment.runner,
            discriminator=discriminator_reward(here, env, learner.device),
            evaluation_env=evaluation_env,
            evaluation=settings,
            recording=_recording(experiment, evaluation_env),
            experiment=plain(experiment),
        )
        if resume is not None:
            runner.resume()
        yield runner
    finally:
        env.close()
        if evaluation_env is not None:
            evaluation_env.close()


def _recording(experiment: Experiment, env: VectorEnv | None) -> TrainingRecording | None:
    """What records evaluations in `env`, where there are any and they are to be recorded."""
    wanted = experiment.recording
    if env is None or not (wanted.video or wanted.motion):
        return None
    return TrainingRecording(env, wanted, experiment.evaluation, Path(experiment.runner.run_dir))


def _on_own_device(experiment: Experiment) -> Experiment:
    """The experiment with the GPU of this process where it says "cuda"."""
    env = replace(experiment.env, device=distributed.local_device(experiment.env.device))
    device = distributed.local_device(experiment.runner.device) or "auto"
    return replace(experiment, env=env, runner=replace(experiment.runner, device=device))


def _resume_folder(flags: Sequence[str]) -> Path | None:
    """The value of --resume, which decides what the other flags' defaults are."""
    for index, flag in enumerate(flags):
        name, equals, value = flag.partition("=")
        if name == "--resume":
            if not equals and index + 1 == len(flags):
                raise ConfigError("--resume needs a run folder")
            return Path(value if equals else flags[index + 1])
    return None


def run_command(words: Sequence[str]) -> int:
    """What proto-train does, in each of the processes that train together; returns the exit code."""
    parsed = distributed.from_main(lambda: parse_arguments(words))
    if parsed.estimate:
        estimated = estimate_run(parsed.experiment, parsed.resume)
        if distributed.is_main():
            print(*estimated.lines(), sep="\n")
        return 0
    experiment, resume = distributed.from_main(lambda: begin(parsed.experiment, parsed.resume))
    if distributed.is_main() and parsed.resume is None:
        how = "goes on in" if resume else "run folder"
        print(f"{experiment.name}: {experiment.env.id}, {how} {experiment.runner.run_dir}", flush=True)
    result = train(experiment, resume)
    if result.interrupted:
        return 130
    if not experiment.runner.report:
        return 0
    passed = distributed.from_main(lambda: write_report(result.folder))
    # A launcher would begin a run again that misses what it expects: to it, the run is done.
    return 0 if passed or distributed.world_size() > 1 else 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of proto-train."""
    distributed.take_cpus()
    try:
        with distributed.joined():
            code = run_command(program_arguments(arguments))
    except (CheckpointError, ConfigError, NonFiniteError, RenderError) as error:
        process = f"process {distributed.rank()}: " if distributed.world_size() > 1 else ""
        sys.exit(f"proto-train: {process}{error}")
    sys.exit(code)


if __name__ == "__main__":
    main()
