"""Makes the learner of an experiment, and brings trained policies back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from proto_agents.algorithms.distillation import Distillation, Teacher
from proto_agents.algorithms.ppo import PPO
from proto_agents.algorithms.skill_reward import DiversityLoss
from proto_agents.checkpoint import load_model
from proto_agents.cli.environments import (
    find_run,
    learner_device,
    make_environment,
    mirror_image,
    observation_tokens,
)
from proto_agents.config import Experiment
from proto_agents.models.masked_mimic import MaskedMimicModel
from proto_agents.models.task_tokens import TaskTokenModel
from proto_agents.parsing import ConfigError, merge
from proto_agents.spaces import Observations, observation_sizes

__all__ = ["completed", "load_policy", "make_learner"]


def completed(experiment: Experiment) -> Experiment:
    """The experiment with what it takes from other runs written into it, so that its folder needs them no more.

    A policy that adapts another one has the networks of that, and the environment shows what that sees.

    Raises:
        ConfigError: the foundation is no MaskedMimic policy, or none is named.
        CheckpointError: there is no such run.
    """
    if experiment.model.kind != "task_tokens":
        return experiment
    if not experiment.task_tokens.foundation:
        raise ConfigError("model.kind task_tokens adapts a MaskedMimic policy: --task-tokens.foundation RUN")
    asked = f"task_tokens.foundation {experiment.task_tokens.foundation}"
    base, _ = find_run(experiment.task_tokens.foundation)
    if base.model.kind != "masked_mimic":
        raise ConfigError(f"{asked}: want a policy of model.kind masked_mimic, it has {base.model.kind!r}")
    shown = {"observation": "groups", "foundation": base.env.task}
    env = replace(experiment.env, kwargs=merge(shown, experiment.env.kwargs))
    return replace(experiment, masked_mimic=base.masked_mimic, env=env)


def make_learner(
    experiment: Experiment, env: VectorEnv, *, training: bool = True, resumed: bool = False
) -> PPO | Distillation:
    """The experiment's learner, for an environment that was made for it.

    Args:
        experiment: which, from `completed`.
        env: the environment.
        training: whether it will be trained: then what it learns from is found, such as the teacher.
        resumed: whether all its weights will come from a checkpoint: then other runs that it began with are not needed.

    Raises:
        ConfigError: the environment does not show what the learner reads.
        CheckpointError: a run that it needs is not there.
    """
    try:
        match experiment.model.kind:
            case "masked_mimic":
                learner: PPO | Distillation = _student(experiment, env, training)
            case "task_tokens":
                learner = _adapted(experiment, env, training, begin=training and not resumed)
            case _:
                learner = _policy(experiment, env, training)
    except ConfigError:
        raise
    except ValueError as error:  # what the networks cannot be made for came from the configuration
        raise ConfigError(f"model.kind {experiment.model.kind}, {experiment.env.id}: {error}") from error
    if training and not resumed and experiment.runner.initial_policy:
        _, checkpoint = find_run(experiment.runner.initial_policy)
        load_model(learner.model, checkpoint, policy_only=True)
    return learner


def load_policy(experiment: Experiment, env: VectorEnv, checkpoint: Path) -> PPO | Distillation:
    """A learner with a checkpoint's weights, for an environment like the one it was trained in."""
    learner = make_learner(experiment, env, training=False)
    load_model(learner.model, checkpoint, policy_only=True)
    return learner


def _policy(experiment: Experiment, env: VectorEnv, training: bool) -> PPO:
    diverse = experiment.discriminator.kind == "ase" and experiment.skills.diversity_weight > 0.0
    return PPO(
        env.single_observation_space,
        env.single_action_space,
        experiment.algorithm,
        experiment.model,
        seed=experiment.runner.seed,
        device=learner_device(experiment, env),
        symmetry=mirror_image(env) if training and experiment.model.symmetric else None,
        reward_parts=experiment.discriminator.reward_parts if training else (),
        tokens=observation_tokens(experiment, env),
        auxiliary_loss=DiversityLoss(experiment.skills) if training and diverse else None,
    )


def _student(experiment: Experiment, env: VectorEnv, training: bool) -> Distillation:
    device = learner_device(experiment, env)
    return Distillation(
        env.single_observation_space,
        env.single_action_space,
        experiment.distillation,
        experiment.masked_mimic,
        teacher=_teacher(experiment, env, device) if training else None,
        seed=experiment.runner.seed,
        device=device,
    )


def _teacher(experiment: Experiment, env: VectorEnv, device: torch.device) -> Teacher:
    """Who says what the expert would do, as an action of this environment."""
    group, asked = experiment.masked_mimic.expert, f"--teacher {experiment.distillation.teacher}"
    if not experiment.distillation.teacher:
        raise ConfigError("model.kind masked_mimic learns from a tracker: --teacher RUN")
    if group not in observation_sizes(env.single_observation_space):
        raise ConfigError(f"{asked}: {experiment.env.id} shows nothing to an expert: it lacks the group {group!r}")
    taught, checkpoint = find_run(experiment.distillation.teacher)
    own_env = make_environment(taught, 1)
    try:
        seen = observation_sizes(own_env.single_observation_space)["policy"]
        model = load_policy(taught, own_env, checkpoint).model.requires_grad_(False).to(device)
    finally:
        own_env.close()
    shown = observation_sizes(env.single_observation_space)[group]
    if seen != shown:
        raise ConfigError(
            f"{asked} was shown {seen} numbers, {experiment.env.id} shows its expert {shown}: give the environment the"
            " task's fields of that run, and expert_action as its action"
        )
    translate = getattr(env.unwrapped, "expert_action", None)

    def act(observations: Observations) -> Tensor:
        action = model.act_deterministic({"policy": observations[group]})
        return action if translate is None else translate(action)

    return act


def _adapted(experiment: Experiment, env: VectorEnv, training: bool, *, begin: bool) -> PPO:
    """PPO of a policy that adapts another, whose weights are loaded to `begin` with."""
    settings, device, seed = experiment.task_tokens, learner_device(experiment, env), experiment.runner.seed
    weights = torch.Generator().manual_seed(seed)
    foundation = MaskedMimicModel(
        env.single_observation_space, env.single_action_space, experiment.masked_mimic, weights
    )
    if begin:
        _, checkpoint = find_run(settings.foundation)
        load_model(foundation, checkpoint, policy_only=True)
    parts = experiment.discriminator.reward_parts if training else ()
    spaces = (env.single_observation_space, env.single_action_space)
    model = TaskTokenModel(*spaces, foundation, settings, experiment.model, weights, max(1, len(parts)))
    return PPO(*spaces, experiment.algorithm, seed=seed, device=device, reward_parts=parts, model=model)
