"""From names and keyword arguments to an environment, with errors that say what would be right."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import torch
from gymnasium.vector import AutoresetMode

from proto_envs.motions import Motions, load_motions, samples_of
from proto_envs.randomization.config import Randomization
from proto_envs.randomization.projectiles import boxes
from proto_envs.randomization.reading import RandomizationLike, make_randomization
from proto_envs.registration import TASKS
from proto_envs.robots import Robot, get_robot
from proto_envs.scenes import SceneBatch, SceneSet, ScenesLike, make_scenes
from proto_envs.simulators import SimulationSettings, make_simulator
from proto_envs.tasks.base import Task
from proto_envs.tasks.foundation import Foundation
from proto_envs.terrain import FLAT, TerrainLike, make_terrain
from proto_envs.vector_env import ProtoVectorEnv

__all__ = ["make_vector_env"]

AUTO = "auto"
"""stands for the samples that the task names, as far as the robot has them"""
_VALID: dict[str, tuple[object, ...]] = {
    "observation": ("flat", "groups"),
    "output": ("torch", "numpy"),
    "render_mode": (None, "rgb_array"),
}


def make_vector_env(
    num_envs: int = 1,
    *,
    task_name: str,
    robot: str | Path | Robot | None = None,
    backend: str = "auto",
    device: str = "auto",
    motions: Motions = AUTO,
    motion_shard: tuple[int, int] | None = None,
    control_hz: float | None = None,
    substeps: int | None = None,
    threads: int = 0,
    max_contacts: int = 0,
    task: Mapping[str, Any] | None = None,
    observation: Literal["flat", "groups"] = "flat",
    output: Literal["torch", "numpy"] = "torch",
    autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
    render_mode: Literal["rgb_array"] | None = None,
    terrain: TerrainLike = "flat",
    force_flat: bool = False,
    scenes: ScenesLike | None = None,
    randomization: RandomizationLike = None,
    foundation: Mapping[str, Any] | None = None,
    detailed_metrics: bool = False,
    **unknown: Any,  # noqa: ANN401
) -> ProtoVectorEnv:
    """Make N environments of a task; this is what `gymnasium.make_vec("Proto<Task>-<Robot>-v0", num_envs=N)` calls.

    Args:
        num_envs: N.
        task_name: from the id.
        robot: from the id; or a built-in robot's name, an MJCF or YAML file, or a `Robot`.
        backend: physics engine, "auto" or a name of `proto_envs.simulators.ENGINES`.
        device: where the tensors live, "cpu", "cuda" or "cuda:1"; "auto" is the engine's own.
        motions: clips to imitate or to take the style of; "auto" takes the samples that suit the task, None takes none.
        motion_shard: (k, n) takes the k-th of n shares of the clips alone, k from 0; None takes all.
        control_hz: control steps per second; None: the robot's.
        substeps: physics steps per control step; None: the robot's.
        threads: physics threads on the CPU; 0 takes all.
        max_contacts: per environment, that a GPU engine makes room for; 0: what robot and objects may need.
        task: fields of the task's dataclass to override.
        observation: "flat" gives the policy's observation as one Box, "groups" a Dict of all groups.
        output: "torch" tensors or "numpy" arrays.
        autoreset_mode: of `gymnasium.vector.AutoresetMode`.
        render_mode: "rgb_array" to allow `render()`.
        terrain: "flat", "complex", "harsh", a file, fields of `proto_envs.terrain.TerrainConfig`, or a `Terrain`.
        force_flat: put flat ground under an environment made for `terrain`; what the policy sees keeps its size.
        scenes: what stands beside the robots, one of `proto_envs.scenes.ScenesLike`; None: the task's own.
        randomization: perturbations: a preset's name, a YAML file, fields of `Randomization`, or one; None: none.
        foundation: show what a MaskedMimic policy sees as well, see `proto_envs.tasks.foundation.Foundation`.
        detailed_metrics: also measure what only an evaluation asks for, see `proto_envs.components.motion_metrics`.
        **unknown: refused, with the nearest valid name.

    Raises:
        TypeError, ValueError, ImportError: for an unknown name or value, a file that makes none, or a missing engine.
    """
    border: dict[str, Any] = {"observation": observation, "output": output, "render_mode": render_mode}
    _check(num_envs, unknown, device, **border)
    robot, ground, perturbed = _robot(robot), make_terrain(terrain), make_randomization(randomization)
    under = FLAT if force_flat else ground if perturbed.terrain is None else make_terrain(perturbed.terrain)
    configured = task_class(task_name).configured(task or {})
    shown = dict(foundation=_foundation(foundation, observation), detailed_metrics=detailed_metrics, **border)
    mode, uneven = _autoreset(autoreset_mode), not ground.is_flat
    beside = _scenes(scenes, task_name, configured, num_envs)
    made = dict(terrain=under, scenes=beside, threads=threads, max_contacts=max_contacts, device=str(device))
    chosen = dict(control_hz=control_hz, substeps=substeps, contact_forces=detailed_metrics, **made)
    engine = make_simulator(backend, robot, num_envs, _settings(configured, robot, perturbed, num_envs, chosen))
    clips = load_motions(_clips(motions, configured, robot, beside), robot, engine.device, _shard(motion_shard))
    parts = (robot, configured, engine, clips)
    return ProtoVectorEnv(*parts, autoreset_mode=mode, uneven=uneven, randomization=perturbed, **shown)


def _settings(
    task: Task, robot: Robot, perturbed: Randomization, num_envs: int, chosen: dict[str, Any]
) -> SimulationSettings:
    """What was chosen, a rate of None being the robot's, and what task and perturbations need of an engine besides."""
    own: dict[str, Any] = {"control_hz": robot.control_hz, "substeps": robot.substeps}
    needed: dict[str, Any] = {
        "contact_forces": chosen["contact_forces"] or task.needs_contact_forces,
        "object_forces": task.needs_object_forces,
        "projectiles": None if perturbed.projectiles is None else boxes(perturbed.projectiles, num_envs),
    }
    rates = {name: robots if chosen[name] is None else chosen[name] for name, robots in own.items()}
    return SimulationSettings(**(chosen | rates | needed))


def task_class(name: str) -> type[Task]:
    """The dataclass of a task by its name.

    Raises:
        ValueError: naming the tasks.
    """
    if name not in TASKS:
        raise ValueError(f"no task {name!r}; there are {sorted(TASKS)}")
    task = TASKS[name]
    if isinstance(task, type):
        return task
    module, _, attribute = task.partition(":")
    return getattr(import_module(module), attribute)


def _robot(robot: str | Path | Robot | None) -> Robot:
    if robot is None:
        raise TypeError("robot is missing: pass robot=<name, MJCF or YAML file, or Robot>")
    return robot if isinstance(robot, Robot) else get_robot(robot)


def _foundation(given: Mapping[str, Any] | None, observation: str) -> Foundation | None:
    if given is None:
        return None
    if observation != "groups":
        raise ValueError(f"foundation: what its policy sees are groups beside the task's; observation={observation!r}")
    return Foundation.of(given)


def _scenes(given: ScenesLike | None, task_name: str, task: Task, num_envs: int) -> SceneBatch | None:
    """The scenes that were given, or those of the task, spread over the environments."""
    if given is None:
        return SceneSet(task.scenes).batch(num_envs) if task.scenes else None
    if not task.takes_scenes:
        able = [name for name in TASKS if task_class(name).takes_scenes]
        raise ValueError(f"scenes={given!r}: task {task_name} takes none; those that do are {able}")
    return make_scenes(given).batch(num_envs)


def _clips(motions: Motions, task: Task, robot: Robot, scenes: SceneBatch | None) -> Motions:
    """What "auto" stands for (the clips of the scenes, or those of the task), or the clips that were named."""
    if motions != AUTO:
        return motions
    if bound := list(dict.fromkeys(m for scene in scenes.scenes for m in scene.motions) if scenes else ()):
        return bound
    samples = samples_of(robot)
    return [name for name in task.clips if name in samples] or None


def _shard(given: tuple[int, int] | None) -> tuple[int, int]:
    if given is None:
        return 0, 1
    if not (isinstance(given, Sequence) and len(given) == 2 and all(isinstance(part, int) for part in given)):
        raise ValueError(f"motion_shard={given!r}: want two numbers, (which share, how many)")
    which, number = given
    if not 0 <= which < number:
        raise ValueError(f"motion_shard={given!r}: shares of {number} are numbered 0 to {number - 1}")
    return which, number


def _autoreset(mode: AutoresetMode | str) -> AutoresetMode:
    if isinstance(mode, AutoresetMode):
        return mode
    names = {m.name.lower(): m for m in AutoresetMode}
    if str(mode).lower() not in names:
        raise ValueError(f"autoreset_mode={mode!r}: there are {sorted(names)}")
    return names[str(mode).lower()]


def _check(num_envs: object, unknown: Mapping[str, Any], device: object, **values: object) -> None:
    """Refuse what is no keyword, no number of environments, no device here, or no value that a keyword has."""
    _refuse_unknown(unknown)
    if isinstance(num_envs, bool) or not isinstance(num_envs, Integral) or num_envs < 1:
        raise ValueError(f"num_envs must be a whole number of at least 1, got {num_envs!r}")
    for name, value in values.items():
        if value not in _VALID[name]:
            raise ValueError(f"{name}={value!r}: there are {', '.join(map(repr, _VALID[name]))}")
    if re.fullmatch(r"auto|cpu|cuda(:\d+)?", str(device)) is None:
        raise ValueError(f"device={device!r}: there are 'auto', 'cpu', 'cuda' and 'cuda:<number>'")
    if str(device).startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device={device!r}: torch finds no CUDA here; take 'cpu'")


def _refuse_unknown(unknown: Mapping[str, Any]) -> None:
    if not unknown:
        return
    valid = [p.name for p in inspect.signature(make_vector_env).parameters.values() if p.kind is not p.VAR_KEYWORD]
    valid = [name for name in valid if name != "task_name"]
    key = next(iter(unknown))
    near = difflib.get_close_matches(key, valid, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise TypeError(f"unknown argument {key!r}: {hint}valid are {valid}")
