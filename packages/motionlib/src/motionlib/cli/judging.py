"""Commands that judge clips: validate says what is wrong, filter keeps the good ones."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from motionlib.cli.datasets import moved
from motionlib.cli.inputs import Item, dataset_of, is_dataset, items_of, read_clips
from motionlib.cli.session import ReadingCommand, Session, UsageError, WritingCommand, counted
from motionlib.cli.writing import split_paths
from motionlib.datasets import Dataset, Problem, read_occlusions, without_occlusions
from motionlib.files import complete_file
from motionlib.motion import Motion, MotionError
from motionlib.processing import Finding, Limits, Quality, character_of, check_motion, quality, skeleton_of

__all__ = ["Filter", "Thresholds", "Validate"]


@dataclass(frozen=True)
class Thresholds:
    """What a clip's quality and length may be; what is not given is not checked."""

    foot_slide: float | None = None
    """mm/s, mean speed of a foot that stands"""
    penetration: float | None = None
    """mm below the ground, in the worst frame"""
    limit_excess: float | None = None
    """rad beyond a joint limit, of the worst joint"""
    jerk: float | None = None
    """m/s^3, mean over bodies"""
    min_seconds: float | None = None
    """s, shortest clip"""
    max_seconds: float | None = None
    """s, longest clip"""

    def findings(self, motion: Motion, found: Quality | None) -> list[str]:
        """What is beyond a threshold."""
        pairs = (
            ("feet slide at", "mm/s", self.foot_slide, "foot_slide"),
            ("it is below the ground by", "mm", self.penetration, "penetration_max"),
            ("a joint is beyond its limit by", "rad", self.limit_excess, "limit_excess"),
            ("its jerk is", "m/s^3", self.jerk, "jerk"),
        )
        wrong = []
        for text, unit, limit, name in pairs:
            if limit is not None and found is None:
                wrong.append(f"its {name} is not known")
            elif limit is not None and found is not None and getattr(found, name) > limit:
                wrong.append(f"{text} {getattr(found, name):.3g} {unit}, limit {limit:g} {unit}")
        if self.min_seconds is not None and motion.duration < self.min_seconds:
            wrong.append(f"it lasts {motion.duration:.3g} s, at least {self.min_seconds:g} s are wanted")
        if self.max_seconds is not None and motion.duration > self.max_seconds:
            wrong.append(f"it lasts {motion.duration:.3g} s, at most {self.max_seconds:g} s are wanted")
        return wrong


@dataclass(frozen=True)
class JudgeTask:
    """One file to judge."""

    item: Item
    limits: Limits
    thresholds: Thresholds

    @property
    def name(self) -> str:
        """The file, for messages."""
        return self.item.name


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a clip."""

    name: str
    index: int
    """of the part in the data set"""
    findings: tuple[Finding, ...]
    others: tuple[str, ...]
    """what is beyond a threshold, or cannot be read"""
    quality: Quality | None

    @property
    def reasons(self) -> list[str]:
        """All that is wrong, in words."""
        return [*map(str, self.findings), *self.others]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        findings = [vars(finding) for finding in self.findings]
        numbers = None if self.quality is None else self.quality.as_dict()
        return {"name": self.name, "reasons": self.reasons, "findings": findings, "quality": numbers}


def judge(task: JudgeTask) -> list[Verdict]:
    """Judge the clips of a file.

    Raises:
        MotionError: if it cannot be read.
    """
    clips, problems = read_clips(task.item)
    verdicts = [Verdict(problem.file, problem.index or 0, (), (problem.reason,), None) for problem in problems]
    lost = {verdict.index for verdict in verdicts}
    parts = len(task.item.file.sub_motions)
    free = [i for i in range(task.item.first, task.item.first + parts) if i not in lost]
    # A file of several clips is one entry of the data set.
    indices = free if len(free) == len(clips) else [task.item.first] * len(clips)
    for index, clip in zip(indices, clips, strict=True):
        skeleton = skeleton_of(clip)
        try:
            numbers = quality(clip, skeleton)
        except MotionError:
            numbers = None  # no person is recognised in it
        findings = check_motion(clip, None if character_of(clip) else skeleton, task.limits)
        verdicts.append(Verdict(clip.name, index, findings, tuple(task.thresholds.findings(clip, numbers)), numbers))
    return sorted(verdicts, key=lambda verdict: verdict.index)


@dataclass(frozen=True, kw_only=True)
class Validate(ReadingCommand):
    """Check clips against what a body can do: ground, speeds, flight, self-penetration. Exit code 1 if one is wrong.

    motionlib validate amp/walk amp/run
    """

    inputs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """files, folders, YAML data sets or samples (amp/walk)"""
    limits: Limits = field(default_factory=Limits)
    quality: Thresholds = field(default_factory=Thresholds)
    split: str | None = None
    """check this split of the data sets alone"""

    def run(self, session: Session) -> int:
        """Print what is wrong and the table of qualities."""
        dataset, _ = dataset_of(self.inputs, self.split)
        tasks = [JudgeTask(item, self.limits, self.quality) for item in items_of(dataset, self.source)]
        verdicts: list[Verdict] = []
        for _, found in self.each(session, judge, tasks, "checking"):
            verdicts += found
        session.table(_TITLES, [_row(verdict) for verdict in verdicts])
        wrong = [verdict for verdict in verdicts if verdict.reasons]
        for verdict in wrong:
            for reason in verdict.reasons:
                session.say(f"{verdict.name}: {reason}")
        text = f"{counted(len(verdicts), 'clip')} checked, {len(wrong)} wrong"
        session.say(text + (f", {counted(len(session.problems), 'file')} unreadable" if session.problems else ""))
        clips = [verdict.as_dict() for verdict in verdicts]
        session.result({"checked": len(verdicts), "wrong": len(wrong), "clips": clips})
        return int(bool(wrong or session.problems))


_TITLES = {
    "clip": False,
    "verdict": False,
    "foot slide mm/s": True,
    "sunk mm (worst)": True,
    "at limits %": True,
    "jerk m/s3": True,
}


def _row(verdict: Verdict) -> Sequence[str]:
    kinds = Counter(finding.kind.replace("_", " ") for finding in verdict.findings)
    kinds["out of range"] += len(verdict.others)
    told = (kind + (f" ({number} times)" if number > 1 else "") for kind, number in kinds.items() if number)
    said = ", ".join(told) or "good"
    numbers = verdict.quality
    if numbers is None:
        return (verdict.name, said, "", "", "", "")
    share = f"{100 * numbers.limit_share:.1f}"
    return (
        verdict.name, said, f"{numbers.foot_slide:.0f}", f"{numbers.penetration_max:.0f}", share, f"{numbers.jerk:.0f}"
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Filter(ReadingCommand, WritingCommand):
    """Keep the clips that pass: as a YAML data set, or as copies in a folder. Each reason is told.

    motionlib filter clips/ good.yaml --quality.foot-slide 200
    """

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="INPUT [INPUT ...] OUTPUT")]
    """files, folders or YAML data sets; last, the .yaml file or the folder to write (whole files are copied)"""
    limits: Limits = field(default_factory=Limits)
    quality: Thresholds = field(default_factory=Thresholds)
    occlusions: Path | None = None
    """table of AMASS files in which the actor stands on something that is not there (.pkl of PHC); left out too"""

    def run(self, session: Session) -> int:
        """Write what passes."""
        inputs, output = split_paths(self.paths)
        dataset, duplicates = dataset_of(inputs)
        if is_dataset(output) and output.exists() and not self.overwrite:
            raise MotionError(f"{output} is there already; --overwrite replaces it")
        if not is_dataset(output) and output.suffix:
            raise UsageError(f"want a .yaml file or a folder to write, found {output}")
        left_out = list(duplicates)
        if self.occlusions is not None:
            dataset, occluded = without_occlusions(dataset, read_occlusions(self.occlusions))
            left_out += occluded
        tasks = [JudgeTask(item, self.limits, self.quality) for item in items_of(dataset, self.source)]
        judged = set()
        for task, verdicts in self.each(session, judge, tasks, "checking"):
            judged.add(task.name)
            left_out += [Problem(task.name, "; ".join(v.reasons), v.index) for v in verdicts if v.reasons]
        unread = [Problem(file.file, "not read") for file in dataset.files if file.file not in judged]
        kept = dataset.without([*left_out, *unread])
        for problem in left_out:
            session.say(f"left out {problem}")
        existing = self._write(kept, output)
        text = f"{counted(kept.num_clips, 'clip')} of {counted(len(kept.files), 'file')} pass"
        text += f", {len(left_out)} left out"
        text += f", {len(session.problems)} skipped as broken" if session.problems else ""
        text += f", {existing} already there (--overwrite replaces them)" if existing else ""
        session.say(text + f"; {'would be written' if self.dry_run else 'written'} to {output}")
        reasons = [{"file": problem.file, "index": problem.index, "reason": problem.reason} for problem in left_out]
        names = [file.file for file in kept.files]
        content = {"written": [str(output)], "kept": names, "clips": kept.num_clips, "left_out": reasons}
        session.result({**content, "dry_run": self.dry_run})
        return int(bool(session.problems) and not judged)

    def _write(self, kept: Dataset, output: Path) -> int:
        """The data set, or copies of its files; returns how many are there already."""
        if is_dataset(output):
            if not self.dry_run:
                moved(kept, output.parent).save(output)
            return 0
        items = items_of(kept, self.source)
        targets = [output / item.stem.with_name(item.path.name) for item in items]
        there = 0
        for item, target in zip(items, targets, strict=True):
            if target.exists() and not self.overwrite:
                there += 1
            elif not self.dry_run:
                target.parent.mkdir(parents=True, exist_ok=True)
                with complete_file(target) as temporary:
                    shutil.copyfile(item.path, temporary)
        return there
