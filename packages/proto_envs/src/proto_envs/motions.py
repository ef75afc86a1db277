"""Clips for a robot: samples by name, files, or a library that is ready."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import torch

from motionlib import Motion, MotionLib, load, sample_names, sample_path
from motionlib.processing import retargeted, retargeted_to
from motionlib.samples import sample_skeletons
from poselib.anatomy import AnatomyError, anatomy_of
from proto_envs.robots import Robot

__all__ = ["Motions", "load_motions", "samples_of"]

Motions = str | Path | Sequence[str | Path] | MotionLib | None
"""a clip's name among the samples or its file, a .txt list of these (one a line; # begins a comment), several of them,
"all" samples, a packed library's .safetensors file, or a library"""

_MODEL = "amp"
"""whose samples are retargeted onto robots that have none of their own"""


def samples_of(robot: Robot) -> list[str]:
    """Names of the samples that a robot can be given: its own, or those that are retargeted onto it."""
    return sample_names(robot.model if robot.model in sample_skeletons() else _MODEL)


def load_motions(
    motions: Motions, robot: Robot, device: torch.device | str = "cpu", shard: tuple[int, int] = (0, 1)
) -> MotionLib | None:
    """Clips for a robot, by sample name or file, as a library.

    Samples are shipped for AMP and SMPL. For other robots those of AMP are retargeted when they are first asked for,
    always with the same result: about 2 s for a walk, 10 s for the longest, on one core.

    Args:
        motions: which.
        robot: whose they are to be.
        device: where they go; on the CPU frames of a packed library stay in its file.
        shard: which share of them is taken, and how many shares there are: every n-th clip of a list, a contiguous
            part of a packed library.

    Raises:
        TypeError: for what is no clip.
        ValueError: for an empty list, a list that is not there, a clip that is neither a sample nor a file, a library
            of another skeleton or on another device, a sample for a robot in which no person is recognised, or shares
            of fewer clips than there are shares.
    """
    if motions is None:
        return None
    if isinstance(motions, MotionLib):
        if shard != (0, 1):
            raise ValueError("motions are a library, of which no share is taken: open the share that you want of it")
        if motions.device != torch.device(device):
            raise ValueError(f"motions are on {motions.device}, the environment is on {device}: make them there")
        return _fitting(motions, robot)
    if isinstance(motions, (str, Path)) and Path(motions).suffix == ".safetensors":
        return _fitting(MotionLib.open(motions, device=device, rank=shard[0], world_size=shard[1]), robot)
    names: Sequence[str | Path] = [motions] if isinstance(motions, (str, Path)) else motions
    if not isinstance(names, Sequence) or not all(isinstance(name, (str, Path)) for name in names):
        raise TypeError(f"motions={motions!r}: want a sample's name, a file, a list of these, or a MotionLib")
    if list(names) == ["all"]:
        names = samples_of(robot)
    names = [clip for name in names for clip in (_listed(name) if str(name).endswith(".txt") else [name])]
    if not names:
        raise ValueError("motions is an empty list: name at least one clip")
    if len(names) < shard[1]:
        raise ValueError(f"{len(names)} clips cannot be split into {shard[1]} shares: each needs at least one")
    clips = [_clip(name, robot) for name in names[shard[0] :: shard[1]]]
    return MotionLib(clips, robot.skeleton, collision_points=robot.collision_points, device=device)


def _fitting(library: MotionLib, robot: Robot) -> MotionLib:
    if library.skeleton.body_names != robot.skeleton.body_names:
        raise ValueError(
            f"motions are of a skeleton with bodies {list(library.skeleton.body_names)}; robot {robot.name} has"
            f" {list(robot.skeleton.body_names)}"
        )
    return library


def _listed(file: str | Path) -> list[str]:
    """The clips that a file lists, such as those that failed an evaluation."""
    if not Path(file).is_file():
        raise ValueError(f"no list of clips {str(file)!r}")
    lines = (line.partition("#")[0].strip() for line in Path(file).read_text(encoding="utf-8").splitlines())
    if not (names := [line for line in lines if line]):
        raise ValueError(f"{file} lists no clip")
    return names


def _clip(name: str | Path, robot: Robot) -> Motion:
    samples = samples_of(robot)
    if str(name) in samples:
        return _sample(robot, str(name))
    if not Path(name).is_file():
        near = difflib.get_close_matches(str(name), samples, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"no clip {str(name)!r}: {hint}there is no such file, and the samples are {samples}")
    return load(Path(name))


@lru_cache(maxsize=256)
def _sample(robot: Robot, name: str) -> Motion:
    if robot.model in sample_skeletons():
        return load(sample_path(robot.model, name))
    motion = load(sample_path(_MODEL, name))
    if set(motion.body_names) == set(robot.skeleton.body_names):  # the same figure with other joints
        return motion
    if robot.own_model is None:
        return retargeted(motion, robot.model)
    try:
        anatomy = anatomy_of(robot.skeleton, bodies=robot.parts)
    except AnatomyError as error:
        raise ValueError(
            f"sample {name!r} cannot be put on robot {robot.name}: {error} (`parts` of its RobotOptions); or pass clips"
            " of its own"
        ) from error
    return retargeted_to(motion, anatomy, robot.collision_points)
