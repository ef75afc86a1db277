"""From names and keyword arguments to an environment, with errors that say what would be right."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping, Sequence
from importlib import import_module
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import torch
from gymnasium.vector import AutoresetMode

from motionlib import MotionLib, load, sample_names, sample_path
from proto_envs.registration import TASKS
from proto_envs.robots import Robot, get_robot
from proto_envs.simulators import SimulationSettings, make_simulator
from proto_envs.tasks.base import Task
from proto_envs.vector_env import ProtoVectorEnv

__all__ = ["Motions", "load_motions", "make_vector_env"]

Motions = str | Path | Sequence[str | Path] | MotionLib | None
"""a clip's name among the samples or its file, several of them, "all" samples, or a library"""

AUTO = "auto"
"""stands for the samples that the task names, as far as the robot has them"""


def make_vector_env(
    num_envs: int = 1,
    *,
    task_name: str,
    robot_name: str,
    backend: str = "auto",
    device: str = "auto",
    motions: Motions = AUTO,
    control_hz: float = 30.0,
    substeps: int = 4,
    threads: int = 0,
    task: Mapping[str, Any] | None = None,
    observation: Literal["flat", "groups"] = "flat",
    output: Literal["torch", "numpy"] = "torch",
    autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
    render_mode: Literal["rgb_array"] | None = None,
    **unknown: Any,  # noqa: ANN401
) -> ProtoVectorEnv:
    """Make N environments of a task; this is what `gymnasium.make_vec("Proto<Task>-<Robot>-v0", num_envs=N)` calls.

    Args:
        num_envs: N.
        task_name: from the id.
        robot_name: from the id.
        backend: physics engine, "auto" or a name of `proto_envs.simulators.ENGINES`.
        device: where the tensors live; "auto" is the engine's own.
        motions: clips to imitate or to take the style of; "auto" takes the samples that suit the task, None takes none.
        control_hz: control steps per second.
        substeps: physics steps per control step.
        threads: physics threads on the CPU; 0 takes all.
        task: fields of the task's dataclass to override.
        observation: "flat" gives the policy's observation as one Box, "groups" a Dict of all groups.
        output: "torch" tensors or "numpy" arrays.
        autoreset_mode: of `gymnasium.vector.AutoresetMode`.
        render_mode: "rgb_array" to allow `render()`.
        **unknown: refused, with the nearest valid name.

    Raises:
        TypeError: for an unknown keyword or task field.
        ValueError: for an unknown value; the message lists the valid ones.
        KeyError: for an unknown robot.
    """
    _refuse_unknown(unknown)
    if not isinstance(num_envs, Integral) or num_envs < 1:
        raise ValueError(f"num_envs must be a whole number of at least 1, got {num_envs!r}")
    _require_one_of("observation", observation, ("flat", "groups"))
    _require_one_of("output", output, ("torch", "numpy"))
    _require_one_of("render_mode", render_mode, (None, "rgb_array"))
    _require_one_of("device", device, ("auto", "cpu"))
    robot = get_robot(robot_name)
    configured = task_class(task_name).configured(task or {})
    settings = SimulationSettings(
        control_hz=control_hz,
        substeps=substeps,
        threads=threads,
        contact_forces=configured.needs_contact_forces,
    )
    if motions == AUTO:
        samples = sample_names(robot.model)
        motions = [name for name in configured.clips if name in samples] or None
    library = load_motions(motions, robot)
    simulator = make_simulator(backend, robot, num_envs, settings)
    return ProtoVectorEnv(
        robot,
        configured,
        simulator,
        library,
        observation=observation,
        output=output,
        autoreset_mode=_autoreset(autoreset_mode),
        render_mode=render_mode,
    )


def task_class(name: str) -> type[Task]:
    """The dataclass of a task by its name.

    Raises:
        ValueError: naming the tasks.
    """
    if name not in TASKS:
        raise ValueError(f"no task {name!r}; there are {sorted(TASKS)}")
    module, _, attribute = TASKS[name].partition(":")
    return getattr(import_module(module), attribute)


def load_motions(motions: Motions, robot: Robot, device: torch.device | str = "cpu") -> MotionLib | None:
    """Clips for a robot, by sample name or file, as a library.

    Raises:
        ValueError: for an empty list, a clip that is neither a sample nor a file, or a library of another skeleton.
    """
    if motions is None:
        return None
    if isinstance(motions, MotionLib):
        if motions.skeleton.body_names != robot.skeleton.body_names:
            raise ValueError(
                f"motions are of a skeleton with bodies {list(motions.skeleton.body_names)}; robot {robot.name} has"
                f" {list(robot.skeleton.body_names)}"
            )
        return motions
    names = [motions] if isinstance(motions, (str, Path)) else list(motions)
    if names == ["all"]:
        names = list(sample_names(robot.model))
    if not names:
        raise ValueError("motions is an empty list: name at least one clip")
    clips = [load(_clip_path(name, robot)) for name in names]
    return MotionLib(clips, robot.skeleton, collision_points=robot.collision_points, device=device)


def _clip_path(name: str | Path, robot: Robot) -> Path:
    samples = sample_names(robot.model)
    if str(name) in samples:
        return sample_path(robot.model, str(name))
    if not Path(name).is_file():
        near = difflib.get_close_matches(str(name), samples, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"no clip {str(name)!r}: {hint}there is no such file, and the samples are {samples}")
    return Path(name)


def _autoreset(mode: AutoresetMode | str) -> AutoresetMode:
    if isinstance(mode, AutoresetMode):
        return mode
    names = {m.name.lower(): m for m in AutoresetMode}
    if str(mode).lower() not in names:
        raise ValueError(f"autoreset_mode={mode!r}: there are {sorted(names)}")
    return names[str(mode).lower()]


def _require_one_of(name: str, value: object, valid: tuple[object, ...]) -> None:
    if value not in valid:
        raise ValueError(f"{name}={value!r}: there are {', '.join(map(repr, valid))}")


def _refuse_unknown(unknown: Mapping[str, Any]) -> None:
    if not unknown:
        return
    valid = [p.name for p in inspect.signature(make_vector_env).parameters.values() if p.kind is not p.VAR_KEYWORD]
    valid = [name for name in valid if name not in ("task_name", "robot_name")]
    key = next(iter(unknown))
    near = difflib.get_close_matches(key, valid, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise TypeError(f"unknown argument {key!r}: {hint}valid are {valid}")
