"""Makes an experiment's environments and finds its runs."""

import difflib
import importlib
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import gymnasium
import torch
from gymnasium.vector import VectorEnv

from proto_agents import distributed
from proto_agents.algorithms.discriminator_reward import GROUPS, DiscriminatorReward
from proto_agents.algorithms.skill_reward import SkillReward
from proto_agents.checkpoint import CheckpointError, find_checkpoint
from proto_agents.config import Experiment
from proto_agents.models.symmetry import Symmetry
from proto_agents.models.transformer import ObservationTokens
from proto_agents.parsing import ConfigError, load_yaml, merge, parse_dataclass
from proto_agents.skill_control import SkillControlEnv, frozen_policy
from proto_agents.skill_env import SkillEnv
from proto_agents.spaces import observation_sizes

INSTALL = "pip install 'proto-agents[humanoid]'"


def register_environments(identifier: str) -> None:
    """Imports the package that registers our ids, where the id is one of ours.

    Raises:
        ConfigError: it is not installed.
    """
    if not identifier.startswith("Proto"):
        return
    try:
        importlib.import_module("proto_envs")
    except ModuleNotFoundError as error:
        raise ConfigError(f"{identifier} needs the package proto-envs ({error}); install it with: {INSTALL}") from error


def make_environment(
    experiment: Experiment,
    num_envs: int | None = None,
    overlay: dict[str, Any] | None = None,
    render_mode: str | None = None,
) -> VectorEnv:
    """Makes the experiment's environment.

    Args:
        experiment: what to make.
        num_envs: instead of the experiment's own number.
        overlay: keyword arguments laid over the experiment's own.
        render_mode: such as "rgb_array".

    Raises:
        ConfigError: no such id, or the environment refuses an argument.
    """
    config = experiment.env
    if not config.id:
        raise ConfigError("the experiment names no environment; set env.id in an overlay or with --env.id")
    register_environments(config.id)
    if config.id not in gymnasium.registry:
        close = difflib.get_close_matches(config.id, list(gymnasium.registry), n=3, cutoff=0.4)
        raise ConfigError(f"no environment {config.id!r} is registered; nearest: {', '.join(close) or 'none'}")
    arguments = config.keyword_arguments(overlay)
    if render_mode is not None:
        arguments["render_mode"] = render_mode
    try:
        env = gymnasium.make_vec(config.id, num_envs=num_envs or config.num_envs, **arguments)
    except (TypeError, ValueError, LookupError, OSError, ImportError, NotImplementedError) as error:
        # What the environment refuses, an engine that is missing or cannot do it among that, came from the user's
        # configuration; its message says what would be right.
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        raise ConfigError(f"{config.id} cannot be made: {message}") from error
    return with_skills(experiment, env)


def make_evaluation_environment(experiment: Experiment, render_mode: str | None = None) -> VectorEnv:
    """Makes what the experiment's policy is judged in. Ours measure motion in detail there, unless told not to."""
    settings = experiment.evaluation
    ours: dict[str, Any] = {"detailed_metrics": True} if experiment.env.id.startswith("Proto") else {}
    return make_environment(experiment, settings.num_envs, merge(ours, settings.env), render_mode)


def of_whole_clips(experiment: Experiment) -> Experiment:
    """The experiment whose evaluation plays every clip from its first frame to its end, also after a failure.

    A clip that repeats is played as long as an episode otherwise is, but no shorter than the longest of the others.

    Raises:
        ConfigError: the environment does not play clips.
    """
    settings = experiment.evaluation
    env = make_environment(experiment, 1, settings.env)
    try:
        inner: Any = env.unwrapped
        reference = getattr(inner, "components", None) and inner.components.controls.get("reference")
        if reference is None:
            raise ConfigError(f"whole clips: {experiment.env.id} plays none")
        library, usual = reference.library, float(inner.task.episode_seconds)
        longest = float(library.durations.masked_fill(reference.repeats, 0.0).max())
    finally:
        env.close()
    task = {"start": "sequential", "termination_distance": None, "episode_seconds": max(usual, longest + 1.0)}
    seconds = None if settings.seconds is None else max(settings.seconds, longest + 1.0)
    return replace(
        experiment,
        evaluation=replace(
            settings,
            env=merge(settings.env, {"task": task}),
            num_envs=max(settings.num_envs, library.num_motions),
            seconds=seconds,
        ),
    )


def make_training_environment(experiment: Experiment) -> VectorEnv:
    """Makes this process's share of the environments, and has all processes practise what fails in any of them.

    Raises:
        ConfigError: the environments cannot be shared out evenly; or as `make_environment`.
    """
    config, processes = experiment.env, distributed.world_size()
    number, over = divmod(config.num_envs, processes)
    if over or not number:
        nearest = f"{number * processes} or {(number + 1) * processes}" if number else str(processes)
        raise ConfigError(f"env.num_envs {config.num_envs} cannot be split over {processes} processes; try {nearest}")
    sharded = config.shard_motions and processes > 1
    env = make_environment(experiment, number, {"motion_shard": [distributed.rank(), processes]} if sharded else None)
    if processes > 1 and not sharded:
        components: Any = getattr(env.unwrapped, "components", None)
        for control in components.controls.values() if components is not None else ():
            control.learn_together(distributed.sum_over_ranks)
    return env


def with_skills(experiment: Experiment, env: VectorEnv) -> VectorEnv:
    """The environment in which skills are taught, or played by a controller; the environment itself otherwise.

    Raises:
        ConfigError: the controller's policy has no skills, or they are not for this environment.
        CheckpointError: there is no such policy.
    """
    skills, device = experiment.skills, learner_device(experiment, env)
    if experiment.discriminator.kind == "ase":
        return SkillEnv(env, skills.size, skills.hold, seed=experiment.runner.seed, device=device)
    if not skills.controller:
        return env
    taught, checkpoint = find_run(skills.controller)
    asked = f"skills.controller {skills.controller}"
    if taught.discriminator.kind != "ase":
        raise ConfigError(f"{asked} has no skills: it was trained with discriminator.kind {taught.discriminator.kind}")
    try:
        model = frozen_policy(checkpoint, taught.model, env.single_action_space, device)
        return SkillControlEnv(env, model, taught.skills.size, skills.controller_steps, device=device)
    except ValueError as error:
        raise ConfigError(f"{asked} cannot play in {experiment.env.id}: {error}") from error


def learner_device(experiment: Experiment, env: VectorEnv) -> torch.device:
    """Where the networks live: as configured, or where the environment's tensors are."""
    if experiment.runner.device != "auto":
        return torch.device(experiment.runner.device)
    return torch.device(getattr(env.unwrapped, "device", "cpu"))


def mirror_image(env: VectorEnv) -> Symmetry:
    """What the environment says of its mirror image, for `model.symmetric`.

    Raises:
        ConfigError: it says nothing, or has none.
    """
    name = env.spec.id if env.spec is not None else type(env.unwrapped).__name__
    if not hasattr(type(env.unwrapped), "symmetry") and "symmetry" not in vars(env.unwrapped):
        raise ConfigError(f"model.symmetric: {name} has no mirror image: it lacks the attribute 'symmetry'")
    try:
        return env.unwrapped.symmetry  # type: ignore[attr-defined]
    except ValueError as error:
        raise ConfigError(f"model.symmetric: {name} has no mirror image: {error}") from error


def observation_tokens(experiment: Experiment, env: VectorEnv) -> ObservationTokens | None:
    """How the environment's observation splits into tokens, for `model.kind: transformer`; None for other models.

    Raises:
        ConfigError: it does not say so.
    """
    if experiment.model.kind != "transformer":
        return None
    name = env.spec.id if env.spec is not None else type(env.unwrapped).__name__
    if not hasattr(type(env.unwrapped), "observation_tokens") and "observation_tokens" not in vars(env.unwrapped):
        raise ConfigError(f"model.kind transformer: {name} shows no tokens: it lacks 'observation_tokens'")
    try:
        return env.unwrapped.observation_tokens  # type: ignore[attr-defined]
    except ValueError as error:
        raise ConfigError(f"model.kind transformer: {name} shows no tokens: {error}") from error


def discriminator_reward(experiment: Experiment, env: VectorEnv, device: torch.device) -> DiscriminatorReward | None:
    """The reward of a discriminator that the experiment asks for; None if it asks for none.

    Raises:
        ConfigError: the environment does not show what the discriminator reads, or has no experts.
    """
    config, name = experiment.discriminator, experiment.env.id
    if config.kind == "none":
        return None
    asked, group = f"discriminator.kind {config.kind}: {name}", GROUPS[config.kind]
    sizes = observation_sizes(env.single_observation_space)
    if group not in sizes:
        raise ConfigError(
            f"{asked} shows {sorted(sizes)}, no observations {group!r}; a Proto environment shows all of its groups "
            "with env.kwargs.observation: groups"
        )
    sample = getattr(env.unwrapped, "sample_style", None)
    if sample is None and config.kind != "add":
        raise ConfigError(f"{asked} has no experts: it lacks 'sample_style'")
    seed = experiment.runner.seed
    try:
        if config.kind == "ase" and sample is not None:
            return SkillReward(sizes[group], sample, config, experiment.skills, seed=seed, device=device)
        return DiscriminatorReward(sizes[group], sample, config, seed=seed, device=device)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"{asked}: {error}") from error


def find_run(name: str, prefer: tuple[str, ...] = ("best", "last")) -> tuple[Experiment, Path]:
    """The experiment and checkpoint folder of a run folder, a checkpoint folder, or `pretrained/<name>`.

    Raises:
        CheckpointError: there is none.
        ConfigError: its config.yaml is missing or wrong.
    """
    path = Path(name)
    if not path.exists() and name.startswith("pretrained/"):
        root = Path(str(files("proto_agents"))) / "pretrained"
        path = root / name.removeprefix("pretrained/")
        if not path.is_dir():
            shipped = ", ".join(sorted(child.name for child in root.iterdir() if child.is_dir())) or "none"
            raise CheckpointError(f"no pretrained policy {name!r}; shipped: {shipped}")
    checkpoint = find_checkpoint(path, prefer)
    for folder in (checkpoint, checkpoint.parent):
        config = folder / "config.yaml"
        if config.is_file():
            data = load_yaml(config.read_text(encoding="utf-8"), str(config))
            return parse_dataclass(Experiment, data, str(config)), checkpoint
    raise ConfigError(f"config.yaml is missing beside {checkpoint}: it says which environment the policy is for")
