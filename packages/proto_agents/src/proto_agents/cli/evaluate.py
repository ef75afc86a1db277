"""proto-eval: what a trained policy achieves."""

import json
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import tyro
from gymnasium.vector import VectorEnv
from torch import Tensor

from proto_agents.algorithms.skill_reward import SkillReward
from proto_agents.checkpoint import CheckpointError, discriminator_tensors
from proto_agents.cli.environments import find_run, learner_device, make_evaluation_environment, of_whole_clips
from proto_agents.cli.evaluation_files import DRAWN, command_line, write_folder, write_page
from proto_agents.cli.learners import load_policy
from proto_agents.cli.perturbations import read_perturbations, without_own_perturbations
from proto_agents.cli.pictures import RenderError
from proto_agents.cli.recording import EpisodeRecorder, seed_labels
from proto_agents.cli.robustness import (
    check,
    find_trained,
    grouped_by_experiment,
    measure,
    print_robustness,
    write_robustness,
)
from proto_agents.cli.summary import print_report
from proto_agents.config import Experiment, evaluated_with, program_arguments, split_free_flags
from proto_agents.evaluation import EvaluationReport, Evaluator, Policy, check_expectations, evaluate
from proto_agents.evaluation.curves import CurveEvaluator
from proto_agents.evaluation.style import StyleEvaluator
from proto_agents.parsing import ConfigError, merge, parse_dataclass, plain
from proto_agents.progress import Progress
from proto_agents.recording import RecordingConfig
from proto_agents.skill_evaluation import SkillEvaluator
from proto_agents.spaces import observation_sizes


@dataclass(frozen=True)
class EvaluateArguments:
    """Plays one episode per environment with deterministic actions; exit code 1 where the experiment's `expect:` is
    missed. With --perturb or --checkpoints: a table of all of them, which `expect:` has no say in. Keyword arguments of
    the environment: --env.KEY VALUE, such as --env.task.speed 2. With opt/record_video or opt/record_motion:
    --recording.KEY VALUE, such as --recording.cameras "[side, top]".
    """  # noqa: D205

    run: Annotated[str, tyro.conf.Positional] = ""
    """run folder (best/, else last/), checkpoint folder, or pretrained/<name>; may be left out with --checkpoints"""
    overlays: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """laid over how it is evaluated, such as perturbation/pushes; `expect:` is then theirs"""
    backend: str | None = None
    """physics engine to play in, instead of the one that the policy was trained in"""
    device: str | None = None
    """where engine and policy run, such as cpu, cuda or cuda:1"""
    json: bool = False
    """print one JSON line, the last line of the output"""
    num_envs: int | None = None
    """episodes, one per environment"""
    seconds: float | None = None
    """longest episode in simulated time"""
    steps: int | None = None
    """longest episode in control steps"""
    seed: int | None = None
    """of the environments' first reset"""
    seeds: Annotated[int | None, tyro.conf.arg(aliases=["--games"])] = None
    """how many evaluations are made, with seed, seed + 1, ...; every number gets its mean and 95 % interval"""
    whole_clips: bool = False
    """play every clip from its first frame to its end, also after a failure (tracking)"""
    output: Path | None = None
    """folder for report.json, summary.md and failed_clips.txt, a motion list of the clips that failed, and for videos/
    and motions/ of opt/record_video and opt/record_motion (left out: the run folder); with --perturb or --checkpoints
    for robustness.json and robustness.csv"""
    report: Path | None = None
    """HTML file for a page with tables, charts and videos of the best, a median and the worst episode; with --perturb
    or --checkpoints with curves and the table"""
    perturb: tuple[str, ...] = ()
    """KEY=VALUE,VALUE,... of `randomization=` (gravity=-14,-16 friction=0.4 mass.right_hand=2,4 terrain=complex), or
    env.KEY=... of the environment's keyword arguments, or overlays; each value is evaluated by itself, and no value"""
    checkpoints: tuple[str, ...] = ()
    """more of them, or patterns such as 'runs/*/best'; runs that differ by their seed alone are shown as one policy"""
    metric: tuple[str, ...] = ()
    """numbers of the table with --perturb or --checkpoints, the one that matters most first; success_rate by default"""


def evaluate_checkpoint(
    experiment: Experiment,
    checkpoint: Path,
    *,
    evaluators: Sequence[Evaluator] = (),
    intervals: bool = False,
    recordings: Path | None = None,
) -> EvaluationReport:
    """Evaluates a checkpoint as its experiment says, watched by evaluators.

    Args:
        experiment: of the checkpoint.
        checkpoint: its folder.
        evaluators: beside those that the environment has numbers for, see `evaluators_for`.
        intervals: also say how sure each number is.
        recordings: folder for what the experiment says is to be recorded; None: nothing is.

    Raises:
        RenderError: it is to be filmed, and cannot be.
    """
    settings, recording = experiment.evaluation, experiment.recording
    films = recordings is not None and recording.video
    env = make_evaluation_environment(experiment, "rgb_array" if films else None)
    try:
        learner = load_policy(experiment, env, checkpoint)
        policy = learner.model.act_deterministic
        skills = skill_evaluators(experiment, env, checkpoint, policy)
        watching = [*evaluators_for(env, settings.seed), *skills, *evaluators]
        with ExitStack() as stack:
            if recordings is not None and (recording.video or recording.motion):
                recorder = EpisodeRecorder(env, recording, recordings, seed_labels(settings))
                watching.append(stack.enter_context(recorder))
            return evaluate(env, policy, settings, learner.device, evaluators=watching, intervals=intervals)
    finally:
        env.close()


def evaluators_for(env: VectorEnv, seed: int = 0) -> list[Evaluator]:
    """What an environment has numbers for beyond its metrics: its style, where it shows style and has experts."""
    inner: Any = env.unwrapped
    if "style" not in observation_sizes(env.single_observation_space) or not hasattr(inner, "sample_style"):
        return []
    env.reset(seed=seed)  # so that the same experts are drawn each time
    clips = tuple(getattr(inner, "style_clips", ()))
    sample_of = partial(_experts_of, inner.sample_style) if clips else None
    return [StyleEvaluator(inner.sample_style, clips, sample_of)]


def skill_evaluators(experiment: Experiment, env: VectorEnv, checkpoint: Path, policy: Policy) -> list[Evaluator]:
    """What there is to know of a policy with skills (ASE): how many are known again, and whether one follows another.

    Raises:
        CheckpointError: the encoder is missing or does not fit.
    """
    if experiment.discriminator.kind != "ase":
        return []
    inner: Any = env.unwrapped
    size = observation_sizes(env.single_observation_space)["style"]
    encoder = SkillReward.skill_model(size, experiment.discriminator, experiment.skills)
    try:
        encoder.load_state_dict(discriminator_tensors(checkpoint))
    except RuntimeError as error:
        raise CheckpointError(f"the encoder in {checkpoint} does not fit this environment: {error}") from error
    env.reset(seed=experiment.evaluation.seed)  # so that the same windows of clips are drawn each time
    clips = tuple(getattr(inner, "style_clips", ()))
    sample_of = partial(_experts_of, inner.sample_style) if clips else None
    return [SkillEvaluator(encoder.to(learner_device(experiment, env)), policy, clips, sample_of)]


def _experts_of(sample: Callable[..., Tensor], clips: Tensor) -> Tensor:
    return sample(len(clips), clips=clips)


def evaluated_as_asked(
    experiment: Experiment, options: EvaluateArguments, env: dict[str, Any], recording: dict[str, Any] | None = None
) -> Experiment:
    """The experiment, evaluated as the command line says.

    Args:
        experiment: as it was trained.
        options: of the command line.
        env: keyword arguments of the environment from there.
        recording: settings of what is recorded from there.
    """
    experiment = evaluated_with(experiment, options.overlays)
    if recording:
        wanted = merge(plain(experiment.recording), recording)
        parsed = parse_dataclass(RecordingConfig, wanted, "the command line", "recording")
        experiment = replace(experiment, recording=parsed)
    given = {name: getattr(options, name) for name in ("num_envs", "seconds", "steps", "seed", "seeds")}
    changes = {name: value for name, value in given.items() if value is not None}
    if options.seconds is not None and options.steps is None:
        changes["steps"] = None
    engine = {"backend": options.backend, "device": options.device}
    overlay = merge(experiment.evaluation.env, {name: value for name, value in engine.items() if value is not None})
    if options.device is not None:
        experiment = replace(experiment, runner=replace(experiment.runner, device=options.device))
    experiment = replace(experiment, evaluation=replace(experiment.evaluation, env=merge(overlay, env), **changes))
    return of_whole_clips(experiment) if options.whole_clips else experiment


def recordings_folder(options: EvaluateArguments, experiment: Experiment, checkpoint: Path) -> Path:
    """Where recordings go: --output, else the run folder, or recordings/ for what is no run of one's own."""
    if options.output is not None:
        return options.output
    is_run = (checkpoint.parent / "metrics.jsonl").is_file()
    return checkpoint.parent if is_run else Path("recordings") / experiment.name


def compare(options: EvaluateArguments, env: dict[str, Any]) -> None:
    """Evaluates every checkpoint under every perturbation, and shows and writes what came of it."""

    def prepared(experiment: Experiment) -> Experiment:
        return evaluated_as_asked(without_own_perturbations(experiment), options, env)

    perturbations = read_perturbations(options.perturb)
    trained = find_trained([*([options.run] if options.run else []), *options.checkpoints], prepared)
    check(trained, perturbations)
    evaluate_one = partial(evaluate_checkpoint, intervals=True)
    with Progress(enabled=not options.json) as progress:
        found = measure(grouped_by_experiment(trained), perturbations, options.metric, evaluate_one, progress)
    command = command_line()
    written = write_robustness(found, command, options.output, options.report)
    if options.json:
        print(json.dumps({"command": command} | found.to_dict()))
        return
    print_robustness(found)
    if written:
        print(f"wrote {', '.join(map(str, written))}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of proto-eval."""
    rest, taken = split_free_flags(program_arguments(arguments), ("env", "recording"))
    options = tyro.cli(EvaluateArguments, args=rest, prog="proto-eval")
    env = taken.get("env", {})
    try:
        if options.perturb or options.checkpoints:
            compare(options, env)
            return
        if not options.run:
            raise CheckpointError("which policy? Name a run folder, a checkpoint folder or pretrained/<name>")
        if options.metric:
            raise ConfigError("--metric chooses what the table of --perturb or --checkpoints shows; all is shown here")
        trained, checkpoint = find_run(options.run)
        experiment = evaluated_as_asked(trained, options, env, taken.get("recording"))
        curves = CurveEvaluator(DRAWN if options.report else ())
        recordings = recordings_folder(options, experiment, checkpoint)
        report = evaluate_checkpoint(experiment, checkpoint, evaluators=[curves], intervals=True, recordings=recordings)
    except (CheckpointError, ConfigError, RenderError) as error:
        sys.exit(f"proto-eval: {error}")
    if (experiment.recording.video or experiment.recording.motion) and not options.json:
        print(f"recorded into {recordings}")
    expectations = check_expectations(report, experiment.expect)
    passed = all(result.passed for result in expectations)
    if options.output is not None:
        write_folder(options.output, experiment, checkpoint, report, expectations)
    if options.report is not None:
        write_page(options.report, experiment, checkpoint, report, expectations, curves)
    if options.json:
        print(json.dumps(report.to_dict() | {"checkpoint": str(checkpoint), "expectations_met": passed}))
    else:
        print_report(report, expectations, str(checkpoint))
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
