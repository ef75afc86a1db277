"""An experiment: the typed configuration of a run, composed from YAML overlays and command-line flags."""

import sys
from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import tyro

from proto_agents.algorithms.discriminator_reward import DiscriminatorConfig
from proto_agents.algorithms.distillation import DistillationConfig
from proto_agents.algorithms.ppo import PPOConfig
from proto_agents.algorithms.skill_reward import SkillConfig
from proto_agents.evaluation import EvaluationConfig
from proto_agents.models.actor_critic import ActorCriticConfig
from proto_agents.models.masked_mimic import MaskedMimicConfig
from proto_agents.models.task_tokens import TaskTokenConfig
from proto_agents.parsing import ConfigError, load_yaml, merge, nearest, nested, parse_dataclass, plain
from proto_agents.recording import RecordingConfig
from proto_agents.runner import RunnerConfig

__all__ = [
    "FREE_MAPPINGS",
    "EnvironmentConfig",
    "Experiment",
    "Free",
    "config_root",
    "decisive_settings",
    "default_run_folder",
    "evaluated_with",
    "find_overlay",
    "load_experiment",
    "load_overlays",
    "program_arguments",
    "split_arguments",
    "split_free_flags",
    "with_run_folder",
    "without_bookkeeping",
]

Free = Annotated[dict[str, Any], tyro.conf.Fixed]
"""A mapping whose keys only the environment knows; its flags are `--path.to.key VALUE`, see `split_free_flags`."""

FREE_MAPPINGS = ("env.task", "env.kwargs", "evaluation.env", "expect")
"""Where an experiment has free mappings."""


@dataclass(frozen=True, kw_only=True)
class EnvironmentConfig:
    """Which environment, and how it is made: `gymnasium.make_vec(id, num_envs=num_envs, ...)`."""

    id: str = ""
    """registered id, such as ProtoMimic-AMP-v0 or CartPole-v1"""
    num_envs: int = 512
    """environments simulated side by side, in all processes that train together"""
    motions: str | tuple[str, ...] | None = None
    """motion clips or a packed library; None: the environment's default"""
    shard_motions: bool = False
    """where several processes train together: each has its share of the clips alone, and practises those for itself"""
    backend: str | None = None
    """simulator; None: the environment's default"""
    device: str | None = None
    """of the simulator; None: the environment's default"""
    control_hz: float | None = None
    """actions per second; None: the environment's default"""
    task: Free = field(default_factory=dict)
    """fields of the task, such as --env.task.KEY VALUE"""
    kwargs: Free = field(default_factory=dict)
    """any other keyword argument of the environment, such as --env.kwargs.KEY VALUE"""

    def keyword_arguments(self, overlay: dict[str, Any] | None = None) -> dict[str, Any]:
        """What `make_vec` gets besides id and num_envs: only what is set, with an overlay laid over it."""
        named = {name: getattr(self, name) for name in ("motions", "backend", "device", "control_hz")}
        given = {name: plain(value) for name, value in named.items() if value is not None}
        if self.task:
            given["task"] = self.task
        return merge(merge(given, self.kwargs), overlay or {})


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Everything that defines a run."""

    name: str = "experiment"
    """name of the run folder"""
    env: EnvironmentConfig = field(default_factory=EnvironmentConfig)
    """the environment"""
    model: ActorCriticConfig = field(default_factory=ActorCriticConfig)
    """the networks"""
    masked_mimic: MaskedMimicConfig = field(default_factory=MaskedMimicConfig)
    """the networks of `model.kind: masked_mimic`, and of the policy that `task_tokens` adapts"""
    task_tokens: TaskTokenConfig = field(default_factory=TaskTokenConfig)
    """what `model.kind: task_tokens` adapts, and how"""
    algorithm: PPOConfig = field(default_factory=PPOConfig)
    """the learner of all policies but masked_mimic"""
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    """the learner of `model.kind: masked_mimic`"""
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    """a learned reward beside that of the environment; `kind` says which"""
    skills: SkillConfig = field(default_factory=SkillConfig)
    """latent skills: what `discriminator.kind: ase` teaches, or the `controller` that plays them"""
    runner: RunnerConfig = field(default_factory=RunnerConfig)
    """length and bookkeeping"""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """how the policy is judged"""
    recording: RecordingConfig = field(default_factory=RecordingConfig)
    """what is kept of the episodes by which it is judged"""
    expect: Annotated[dict[str, tuple[float, float]], tyro.conf.Fixed] = field(default_factory=dict)
    """metric of the evaluation: [least, greatest] accepted value"""

    def __post_init__(self) -> None:
        """Refuse parts that contradict each other.

        Raises:
            ConfigError: naming the keys.
        """
        if self.model.kind in ("masked_mimic", "task_tokens") and self.model.symmetric:
            raise ConfigError(f"model.kind {self.model.kind} needs model.symmetric: false")
        if self.model.kind == "masked_mimic" and self.discriminator.kind != "none":
            raise ConfigError("model.kind masked_mimic imitates a teacher: it needs discriminator.kind: none")
        teaches, plays = self.discriminator.kind == "ase", bool(self.skills.controller)
        if teaches and plays:
            raise ConfigError(
                "discriminator.kind ase teaches skills, skills.controller plays those of another policy: leave one out"
            )
        if (teaches or plays) and self.model.symmetric:
            which = "discriminator.kind ase" if teaches else "skills.controller"
            raise ConfigError(
                f"{which} needs model.symmetric: false; nobody knows which latent is the mirror image of another"
            )
        if teaches and not self.discriminator.trained:
            raise ConfigError(
                "discriminator.kind ase needs discriminator.trained: an untrained encoder finds no skills"
            )


def config_root() -> Path:
    """Folder of the shipped configurations."""
    return Path(str(files("proto_agents"))) / "configs"


def find_overlay(name: str) -> Path:
    """The file that an overlay's name means: a path, `configs/exp/<name>.yaml` or `configs/<group>/<name>.yaml`.

    Raises:
        ConfigError: there is none; names the nearest.
    """
    root = config_root()
    for candidate in (Path(name), root / "exp" / f"{name}.yaml", root / f"{name}.yaml"):
        if candidate.is_file():
            return candidate
    known = sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.yaml"))
    names = [name.removeprefix("exp/") for name in known]
    raise ConfigError(f"no overlay {name!r}: neither a file nor a shipped configuration; {nearest(name, names)}")


def load_overlays(names: Sequence[str]) -> dict[str, Any]:
    """Merges overlays left to right; each is checked alone, so that a mistake names its file."""
    merged: dict[str, Any] = {}
    for name in names:
        path = find_overlay(name)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read: {error}") from error
        data = load_yaml(text, str(path)) or {}
        parse_dataclass(Experiment, data, str(path))
        merged = merge(merged, data)
    return merged


def load_experiment(names: Sequence[str], overrides: dict[str, Any] | None = None) -> Experiment:
    """The experiment that overlays describe. overrides: a last overlay, from the command line."""
    merged = merge(load_overlays(names), overrides or {})
    return parse_dataclass(Experiment, merged, "the command line" if overrides else " + ".join(names))


def evaluated_with(experiment: Experiment, names: Sequence[str]) -> Experiment:
    """The experiment with overlays laid over how it is evaluated and recorded, such as perturbations.

    What overlays say of the environment goes before what the experiment says of its evaluations. What is expected then
    is for the overlays to say: the experiment's own ranges are of other conditions. What is recorded is for them to say
    in any case: what the experiment says is about its training.

    Raises:
        ConfigError: no such overlay, or one about more than environment, evaluation, recording and expectations.
    """
    if not names:
        return replace(experiment, recording=RecordingConfig())
    given, where = load_overlays(names), " + ".join(names)
    if other := sorted(set(given) - {"env", "evaluation", "expect", "recording"}):
        raise ConfigError(
            f"{where}: an evaluation takes env, evaluation, expect and recording from overlays, not {other}"
        )
    alone = parse_dataclass(Experiment, given, where)
    merged = parse_dataclass(Experiment, merge(plain(experiment), given), where)
    arguments = merge(experiment.evaluation.env, alone.env.keyword_arguments())
    evaluation = replace(merged.evaluation, env=merge(arguments, alone.evaluation.env))
    expect = alone.expect if set(given) - {"recording"} else experiment.expect
    return replace(experiment, env=merged.env, evaluation=evaluation, expect=expect, recording=alone.recording)


def split_free_flags(arguments: Sequence[str], prefixes: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Takes the flags of free mappings out of a command line.

    Args:
        arguments: such as ["--env.task.speed", "3", "--env.num-envs=8"].
        prefixes: dotted places of the free mappings, such as "env.task".

    Returns:
        The other arguments, and a nested mapping of what was taken; values are read as YAML.
    """
    rest: list[str] = []
    taken: dict[str, Any] = {}
    queue = list(arguments)
    while queue:
        argument = queue.pop(0)
        key, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--") or not any(key.startswith(f"{prefix}.") for prefix in prefixes):
            rest.append(argument)
            continue
        if not equals:
            if not queue:
                raise ConfigError(f"{argument} needs a value")
            value = queue.pop(0)
        taken = merge(taken, nested(key.replace("-", "_").split("."), load_yaml(value, argument)))
    return rest, taken


def decisive_settings(experiment: Experiment) -> dict[str, Any]:
    """The experiment as plain values, without those that its result does not depend on: where and how it is kept."""
    return without_bookkeeping(plain(experiment))


def without_bookkeeping(settings: dict[str, Any]) -> dict[str, Any]:
    """Plain values of an experiment, such as a run's config.yaml, without where and how it is kept."""
    runner = {key: value for key, value in settings.get("runner", {}).items() if key not in _BOOKKEEPING}
    return {key: value for key, value in settings.items() if key != "recording"} | {"runner": runner}


_BOOKKEEPING = ("run_dir", "auto_resume", "threads", "logger", "report", "device", "checkpoint_every", "keep_every")


def default_run_folder(name: str) -> Path:
    """runs/<name>, or runs/<name>-2, ... where that exists."""
    folder, number = Path("runs") / name, 2
    while folder.exists():
        folder, number = Path("runs") / f"{name}-{number}", number + 1
    return folder


def with_run_folder(experiment: Experiment) -> Experiment:
    """The experiment with its run folder chosen.

    Raises:
        ConfigError: the run folder that was asked for already holds a run.
    """
    chosen = experiment.runner.run_dir
    if chosen and (Path(chosen) / "config.yaml").exists():
        raise ConfigError(f"{chosen} already holds a run; go on with --resume {chosen}, or choose another run folder")
    folder = chosen or str(default_run_folder(experiment.name))
    return replace(experiment, runner=replace(experiment.runner, run_dir=folder))


def split_arguments(arguments: Sequence[str], names: Set[str]) -> tuple[list[str], list[str]]:
    """What a command takes for itself, overlays first, and the flags that are for proto-train.

    Args:
        arguments: of the command.
        names: of its own flags, without "--".
    """
    own: list[str] = []
    others: list[str] = []
    taking = own  # words before the first flag are overlays
    for word in arguments:
        if word.startswith("--"):
            taking = own if word.removeprefix("--").partition("=")[0] in {*names, "help"} else others
        (own if word == "-h" else taking).append(word)
    return own, others


def program_arguments(arguments: Sequence[str] | None) -> list[str]:
    """The given arguments, or those of the process."""
    return list(sys.argv[1:] if arguments is None else arguments)
