"""SAMP: people who walk up to furniture, sit or lie down, and get up again, as a data set.

Hassan et al., Stochastic Scene-Aware Motion Prediction, 2021. What a recording shows is in its file's name,
"armchair001_stageII.pkl"; the names of objects are those of ProtoMotions 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from motionlib.datasets.dataset import Dataset
from motionlib.datasets.entries import Problem, SubMotion
from motionlib.motion import MotionError
from motionlib.processing.goals import goal_states
from motionlib.processing.retargeting import character_of
from poselib import models
from poselib.skeleton import Skeleton

__all__ = ["samp", "samp_action", "with_goals"]

_ACTIONS = {
    "armchair": ("Sit", "Armchairs"),
    "highstool": ("Sit", "HighStools"),
    "reebokstep": ("Sit", "LowStools"),
    "chair": ("Sit", "StraightChairs"),
    "sofa": ("Sit", "Sofas"),
    "table": ("Sit", "Tables"),
    "lie_down": ("LieDown", "LargeSofas"),
    "locomotion": ("Locomotion", ""),
    "run": ("Run", ""),
}
"""how a file's name begins, to action and object"""


def samp_action(file: str) -> tuple[str, str] | None:
    """Action type and object category ("" for none) that a file's name tells; None if it is no name of SAMP."""
    name = PurePosixPath(file).stem.lower()
    return next((action for begin, action in _ACTIONS.items() if name.startswith(begin)), None)


def samp(
    folder: str | Path, pattern: str = "**/*", scenes: Mapping[str, tuple[str, ...]] | None = None
) -> tuple[Dataset, tuple[Problem, ...]]:
    """The recordings in a folder, whole, with action type and object category.

    Args:
        folder: of the `.pkl` files, or of clips made of them under the same names.
        pattern: of the files.
        scenes: ids of the scenes for each object category.

    Returns:
        The data set, and the files whose names are not SAMP's.

    Raises:
        MotionError: if the folder holds no file.
    """
    problems = []

    def change(index: int, file: str) -> SubMotion | None:
        if (action := samp_action(file)) is None:
            problems.append(Problem(file, f"no name of SAMP; they begin with one of {sorted(_ACTIONS)}"))
            return None
        kind, category = action
        return SubMotion(action_type=kind, object_category=category, supported_scenes=(scenes or {}).get(category, ()))

    dataset = Dataset.of_folder(folder, pattern).map_parts(lambda index, file, part: change(index, file.file))
    return dataset, tuple(problems)


def with_goals(
    dataset: Dataset,
    skeleton: Skeleton | None = None,
    *,
    workers: int = 1,
    report: Callable[[Problem], None] | None = None,
    options: Mapping[str, object] | None = None,
) -> Dataset:
    """The data set with the goal of each part: the longest span for which it has arrived and stays.

    Parts without one (locomotion), and those that cannot be read, stay as they are.

    Args:
        dataset: its files are read.
        skeleton: of all clips; if left out, that of the built-in character with a clip's bodies.
        workers: threads that read ahead.
        report: takes what could not be read.
        options: for the importers.

    Raises:
        MotionError: if a clip is of no built-in character and no skeleton is given.
    """
    goals: dict[int, tuple[float, float]] = {}
    for clip in dataset.clips(workers=workers, report=report, options=options):
        own = skeleton
        if own is None:
            if (character := character_of(clip.motion)) is None:
                raise MotionError(f"{clip.file.file}: of no built-in character; pass its skeleton")
            own = models.skeleton(character)
        found = goal_states(clip.motion, own)
        if found:
            longest = max(found, key=lambda goal: goal.end - goal.start)
            offset = clip.sub_motion.start
            goals[clip.index] = (round(offset + longest.start, 6), round(offset + longest.end, 6))
    return dataset.map_parts(lambda index, file, part: replace(part, goal=goals[index]) if index in goals else part)
