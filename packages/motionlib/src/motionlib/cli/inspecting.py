"""Commands that look: inspect and list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from torch import Tensor

from motionlib.cli.inputs import Item, dataset_of, items_of, read_clips
from motionlib.cli.session import Command, ReadingCommand, Session, counted, lasting
from motionlib.datasets import Problem
from motionlib.exporters import EXPORTERS
from motionlib.importers import IMPORTERS, importer_of, packed_library
from motionlib.library import MotionLib
from motionlib.motion import Motion, MotionError
from motionlib.processing import character_of, clip_frames, skeleton_of
from motionlib.samples import sample_names, sample_path, sample_skeletons
from poselib import models

__all__ = ["Inspect", "List"]

_FRAMES_AT_ONCE = 65536

Extremes = dict[str, dict[str, Any]]
"""of each body: position_min, position_max (m), velocity_min, velocity_max (m/s), speed_max (m/s)"""


@dataclass(frozen=True, kw_only=True)
class Inspect(ReadingCommand):
    """Say what motion files, packed libraries or data sets hold.

    motionlib inspect amp/walk --stats
    """

    inputs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """files, packed libraries (.safetensors), folders, YAML data sets or samples (amp/walk)"""
    stats: bool = False
    """extremes of position and velocity of each body too"""
    split: str | None = None
    """look at this split of the data sets alone"""

    def run(self, session: Session) -> int:
        """Print the facts."""
        dataset, duplicates = dataset_of(self.inputs, self.split)
        for problem in duplicates:
            self.report(session, problem)
        single = len(self.inputs) == 1 and dataset.num_clips == 1
        tasks = [InspectTask(item, self.stats) for item in items_of(dataset, self.source)]
        if single and not tasks[0].item.file.sub_motions[0].labels:
            facts = describe(tasks[0])
            del facts["problems"]
            self._show(session, facts)
            session.result(facts)
            return 0
        found = []
        for task, facts in self.each(session, describe, tasks, "reading"):
            for reason in facts.pop("problems"):
                self.report(session, Problem(task.name, reason))
            found.append(facts)
        total = _summary(found)
        total["splits"] = {name: value for name, value in dataset.splits.items()}
        _show_groups(session, found)
        self._show_stats(session, total)
        session.say(_summary_line(session, total))
        session.result(total)
        return int(not found)

    def _show(self, session: Session, facts: Mapping[str, Any]) -> None:
        """One line per fact."""
        rate = _shortened([f"{value:.6g}" for value in _as_list(facts["fps"])])
        shown = {
            "format": facts["format"],
            "names": _shortened(facts["names"]),
            "character": facts["character"] or "none of the built-in ones",
            "frames": f"{facts['frames']} at {rate} per second, {facts['duration']:.3f} s",
            "loop": ", ".join(_as_list(facts["loop"])),
            "path": ""
            if "path" not in facts
            else f"{facts['path']:.2f} m over the ground, "
            f"height {facts['height'][0]:.2f} to {facts['height'][1]:.2f} m",
            "labels": _shortened(facts["labels"]),
            "source": facts["source"],
            "licence": facts["license"],
            "bodies": f"{len(facts['body_names'])}: {', '.join(facts['body_names'])}",
        }
        for name, fact in shown.items():
            if fact != "":
                session.say(f"{name:10s} {fact}")
        self._show_stats(session, facts)

    def _show_stats(self, session: Session, facts: Mapping[str, Any]) -> None:
        if not self.stats:
            return
        rows = []
        for body, own in facts["stats"].items():
            spans = [
                f"{low:.3f} … {high:.3f}"
                for what in ("position", "velocity")
                for low, high in zip(own[f"{what}_min"], own[f"{what}_max"], strict=True)
            ]
            rows.append((body, *spans, f"{own['speed_max']:.3f}"))
        titles = [f"{axis} m" for axis in "xyz"] + [f"v{axis} m/s" for axis in "xyz"] + ["speed m/s"]
        session.table({"body": False, **dict.fromkeys(titles, True)}, rows)


@dataclass(frozen=True)
class InspectTask:
    """One file to look into."""

    item: Item
    stats: bool

    @property
    def name(self) -> str:
        """The file, for messages."""
        return self.item.name


def describe(task: InspectTask) -> dict[str, Any]:
    """Facts of a file as plain values; "problems" are reasons why parts of it cannot be used.

    Raises:
        MotionError: if it cannot be read.
    """
    importer = importer_of(task.item.path)
    if importer is packed_library:
        return {"file": task.name, **_of_library(task.item.path, task.stats)}
    motions, problems = read_clips(task.item)
    if not motions:
        raise MotionError(problems[0].reason)
    first = motions[0]
    skeleton = skeleton_of(first)
    heights = torch.cat([motion.root_positions[:, 2] for motion in motions])
    return {
        "file": task.name,
        "format": importer.FORMAT,
        "names": [motion.name for motion in motions],
        "fps": _one_or_all(motion.fps for motion in motions),
        "duration": sum(motion.duration for motion in motions),
        "frames": sum(motion.num_frames for motion in motions),
        "clips": len(motions),
        "loop": _one_or_all(motion.loop for motion in motions),
        "character": character_of(first),
        "body_names": list(first.body_names),
        "dof_names": list(skeleton.dof_names),
        "labels": list(dict.fromkeys(label for motion in motions for label in motion.labels)),
        "source": first.source,
        "license": first.license,
        "path": sum(motion.path_length for motion in motions),
        "height": [float(heights.min()), float(heights.max())],
        "problems": [problem.reason for problem in problems],
    } | ({"stats": _joined([_extremes_of_clip(motion) for motion in motions])} if task.stats else {})


def _of_library(path: Path, stats: bool) -> dict[str, Any]:
    library = MotionLib.open(path)
    skeleton, parts = library.skeleton, library.sub_motions
    wraps = library.loops.tolist()
    facts: dict[str, Any] = {
        "format": packed_library.FORMAT,
        "names": list(library.names),
        "fps": _one_or_all(library.fps.tolist()),
        "duration": float(library.durations.double().sum()),
        "frames": int(library.num_frames.sum()),
        "clips": library.num_motions,
        "loop": _one_or_all("wrap" if loops else "none" for loops in wraps),
        "character": skeleton.name if skeleton.name in models.MODELS else None,
        "body_names": list(skeleton.body_names),
        "dof_names": list(skeleton.dof_names),
        "labels": list(dict.fromkeys(parts.captions)),
        "sub_motions": len(parts),
        "embeddings": None if parts.embeddings is None else list(parts.embeddings.shape[1:]),
        "source": _shortened(sorted(set(library.index.sources) - {""})),
        "license": _shortened(sorted(set(library.index.licenses) - {""})),
        "bytes": path.stat().st_size,
        "problems": [],
    }
    if stats:
        found = []
        for first in range(0, facts["frames"], _FRAMES_AT_ONCE):
            rows = slice(first, first + _FRAMES_AT_ONCE)
            frames = library.frames.map(itemgetter(rows))
            found.append(_extremes(skeleton.body_names, frames.vectors(0), frames.vectors(1)))
        facts["stats"] = _joined(found)
    return facts


def _extremes_of_clip(motion: Motion) -> Extremes:
    """As stored: heights stay, loops are not bent."""
    skeleton = skeleton_of(motion)
    frames = clip_frames(motion, skeleton, height_fix="none", loop_blend=0.0)
    return _extremes(skeleton.body_names, frames.positions, frames.velocities)


def _extremes(names: Sequence[str], positions: Tensor, velocities: Tensor) -> Extremes:
    """Of `(T, B, 3)` each."""
    columns = {
        "position_min": positions.amin(dim=0),
        "position_max": positions.amax(dim=0),
        "velocity_min": velocities.amin(dim=0),
        "velocity_max": velocities.amax(dim=0),
        "speed_max": velocities.norm(dim=-1).amax(dim=0),
    }
    return {name: {key: table[body].tolist() for key, table in columns.items()} for body, name in enumerate(names)}


def _joined(found: Iterable[Extremes]) -> Extremes:
    """Extremes over several clips, by name of body."""
    result: Extremes = {}
    for extremes in found:
        for body, own in extremes.items():
            known = result.setdefault(body, dict(own))
            for key, value in own.items():
                pick = min if key.endswith("min") else max
                known[key] = pick(known[key], value) if key == "speed_max" else list(map(pick, known[key], value))
    return result


# --- many files ------------------------------------------------------------------------------------------------------


def _summary(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    facts = {
        "format": _one_or_all(own["format"] for own in found) if found else [],
        "names": [name for own in found for name in own["names"]],
        "fps": _one_or_all(rate for own in found for rate in _as_list(own["fps"])) if found else [],
        "duration": sum(own["duration"] for own in found),
        "frames": sum(own["frames"] for own in found),
        "clips": sum(own["clips"] for own in found),
        "loop": _one_or_all(loop for own in found for loop in _as_list(own["loop"])) if found else [],
        "character": _one_or_all(own["character"] for own in found) if found else [],
        "files": [
            {key: own[key] for key in ("file", "format", "names", "fps", "duration", "frames", "loop", "character")}
            for own in found
        ],
        "labels": len({label for own in found for label in own["labels"]}),
    }
    return facts | ({"stats": _joined(own["stats"] for own in found)} if found and "stats" in found[0] else {})


def _show_groups(session: Session, found: Sequence[Mapping[str, Any]]) -> None:
    """Files by format, character and rate."""
    clips: Counter[tuple[str, ...]] = Counter()
    files: Counter[tuple[str, ...]] = Counter()
    seconds: Counter[tuple[str, ...]] = Counter()
    for own in found:
        rates = ", ".join(f"{rate:.4g}" for rate in _as_list(own["fps"]))
        group = (own["format"], own["character"] or f"other ({len(own['body_names'])} bodies)", rates)
        files[group] += 1
        clips[group] += own["clips"]
        seconds[group] += own["duration"]
    titles = {"format": False, "character": False, "fps": True, "files": True, "clips": True, "seconds": True}
    rows = [(*g, str(n), str(clips[g]), f"{seconds[g]:.1f}") for g, n in files.most_common()]
    session.table(titles, rows)


def _summary_line(session: Session, total: Mapping[str, Any]) -> str:
    text = f"{counted(len(total['files']), 'file')}, {counted(total['clips'], 'clip')}, "
    text += f"{total['frames']} frames, {lasting(total['duration'])}"
    if total["labels"]:
        text += f", {counted(total['labels'], 'caption')}"
    return text + (f", {len(session.problems)} skipped" if session.problems else "")


def _one_or_all(values: Iterable[Any]) -> Any:  # noqa: ANN401
    """The value, if all are the same; else each once, in order."""
    found = sorted(set(values), key=lambda value: (str(type(value)), value))
    return found[0] if len(found) == 1 else found


def _as_list(value: Any) -> list[Any]:  # noqa: ANN401
    return value if isinstance(value, list) else [value]


def _shortened(texts: Sequence[str], most: int = 6) -> str:
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


# --- list ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class List(Command):
    """List the clips, characters or file formats that come with the package.

    motionlib list

    motionlib list formats
    """

    what: Annotated[Literal["clips", "characters", "formats"], tyro.conf.Positional] = "clips"
    """sample clips (any command takes their names), built-in characters, or formats that can be read and written"""
    character: str | None = None
    """clips of this one alone"""

    def run(self, session: Session) -> int:
        """Print the table."""
        match self.what:
            case "clips":
                self._clips(session)
            case "characters":
                skeletons = [models.skeleton(name) for name in models.MODELS]
                titles = {"character": False, "bodies": True, "joint coordinates": True}
                session.table(titles, [(s.name, str(s.num_bodies), str(s.num_dofs)) for s in skeletons])
                facts = {s.name: {"bodies": s.num_bodies, "dofs": s.num_dofs} for s in skeletons}
                session.result({"characters": facts})
            case "formats":
                read = [importer.FORMAT for importer in IMPORTERS]
                write = {each.__name__.rpartition(".")[2]: (each.FORMAT, each.SUFFIX) for each in EXPORTERS}
                named = {text: f"{name} ({suffix})" for name, (text, suffix) in write.items()}
                named[packed_library.FORMAT] = "package (.safetensors)"
                rows = [(text, named.pop(text, "")) for text in read]
                session.table({"read": False, "written as": False}, [*rows, *(("", text) for text in named.values())])
                session.result({"read": read, "written": {name: text for name, (text, _) in write.items()}})
        return 0

    def _clips(self, session: Session) -> None:
        characters = sample_skeletons() if self.character is None else [self.character]
        paths = {f"{c}/{name}": sample_path(c, name) for c in characters for name in sample_names(c)}
        motions = {name: Motion.load(path) for name, path in paths.items()}
        titles = {"clip": False, "frames": True, "fps": True, "seconds": True, "loop": False, "path m": True}
        rows = [
            (
                name,
                str(motion.num_frames),
                f"{motion.fps:.4g}",
                f"{motion.duration:.2f}",
                motion.loop,
                f"{motion.path_length:.2f}",
                motion.license.partition(",")[0],
            )
            for name, motion in motions.items()
        ]
        session.table(titles | {"licence": False}, rows)
        clips = [
            {"name": name, "frames": m.num_frames, "fps": m.fps, "duration": m.duration, "loop": m.loop}
            for name, m in motions.items()
        ]
        session.result({"clips": clips})
