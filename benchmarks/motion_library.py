"""The packed motion library: queries per second, memory and opening, beside the plain way to do the same.

    uv run python benchmarks/motion_library.py --json

Writes a library of the sample clips on SMPL (24 bodies), 30 frames a second, repeated to 40
hours, to a temporary folder. Then:

- opening: a fresh process opens all of it: how long, and how much more memory is resident before a first query than the
  imports (torch, mostly) hold already;
- queries: `get_motion_state` of 4,096 random moments of a quarter of it (10 hours), against the plain implementation:
  eight float32 tensors as ProtoMotions 3 stores them (`FullSet`), two rows gathered from each, lerp and slerp. Both
  run in turn, so that a busy machine slows them alike, on clips that end (the plain one knows no others);
- memory: bytes per frame of both; accuracy: how far the answers differ.

The last line with --json is one JSON object. `query_speedup` compares the quickest rounds, `query_speedup_median` is
the median over rounds of the ratio.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor

from motionlib import Motion, MotionLib, sample_names, sample_path
from motionlib.packed import PackedWriter
from motionlib.processing import clip_frames, resampled
from poselib import models
from poselib.rotations import angle_between, slerp


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What to measure."""

    hours: float = 40.0
    """of the file that is opened; queries go to a quarter of it"""
    queries: int = 4096
    """moments asked for together"""
    rounds: int = 30
    """measurements of each kind, in turn"""
    folder: str = ""
    """where the file is written for the time of the run; the system's temporary folder if left out"""
    json: bool = False
    """print the result as one JSON line at the end"""
    output: str = ""
    """file to write the JSON to"""


@dataclass(frozen=True)
class FullSet:
    """All that a query answers, stored frame by frame in float32 under the names of ProtoMotions 3."""

    gts: Tensor
    grs: Tensor
    lrs: Tensor
    gvs: Tensor
    gavs: Tensor
    dps: Tensor
    dvs: Tensor
    contacts: Tensor

    def repeated(self, count: int) -> FullSet:
        """The same frames `count` times, one after the other."""
        tensors = (getattr(self, field.name) for field in fields(self))
        return FullSet(*(tensor.repeat(count, *[1] * (tensor.ndim - 1)) for tensor in tensors))

    def nbytes(self) -> int:
        """Of all tensors."""
        return sum(getattr(self, field.name).nbytes for field in fields(self))

    def query(self, library: MotionLib, ids: Tensor, times: Tensor) -> tuple[Tensor, ...]:
        """The plain way: two rows of each tensor, then blend."""
        count, fps = library.num_frames[ids], library.fps[ids]
        phase = (times / library.durations[ids]).clamp(0.0, 1.0)
        early = (phase * (count - 1)).long()
        late = torch.minimum(early + 1, count - 1)
        blend = (times * fps - early).clamp(0.0, 1.0)
        first = library.first_frames[ids]
        a, b = first + early, first + late
        flat, cube = blend[:, None], blend[:, None, None]
        return (
            torch.lerp(self.gts[a], self.gts[b], cube),
            slerp(self.grs[a], self.grs[b], cube),
            torch.lerp(self.gvs[a], self.gvs[b], cube),
            torch.lerp(self.gavs[a], self.gavs[b], cube),
            self.contacts[a] | self.contacts[b],
            slerp(self.lrs[a], self.lrs[b], cube),
            torch.lerp(self.dps[a], self.dps[b], flat),
            torch.lerp(self.dvs[a], self.dvs[b], flat),
        )


def main(args: Arguments) -> None:
    """Measure and print."""
    skeleton = models.skeleton("smpl")
    samples = [replace(Motion.load(sample_path("smpl", name)), loop="none") for name in sample_names("smpl")]
    motions = [resampled(motion, 30.0) for motion in samples]
    frames = sum(motion.num_frames for motion in motions)
    seconds = sum(motion.duration for motion in motions)
    quarter = max(round(args.hours * 900.0 / seconds), 1)
    with tempfile.TemporaryDirectory(dir=args.folder or None) as folder:
        path = Path(folder) / "library.safetensors"
        start = time.perf_counter()
        library = MotionLib(motions, skeleton)
        with PackedWriter(path, skeleton) as writer:
            for _ in range(4 * quarter):
                writer.add_library(library)
        writing = time.perf_counter() - start
        size = path.stat().st_size
        opening = _opening(path)
        library = MotionLib.open(path, rank=0, world_size=4)
        assert len(library.frames) == quarter * frames
        full = _full_set(motions).repeated(quarter)
        queries = _queries(library, full, args)
    bytes_per_frame, full_bytes = size / (4 * quarter * frames), full.nbytes() / (quarter * frames)
    result: dict[str, Any] = {
        **queries,
        "memory_ratio": round(bytes_per_frame / full_bytes, 4),
        "bytes_per_frame": round(bytes_per_frame, 1),
        "full_set_bytes_per_frame": full_bytes,
        **opening,
        "open_hours": round(4 * quarter * seconds / 3600, 2),
        "open_clips": 4 * quarter * len(motions),
        "file_mb": round(size / 1e6, 1),
        "write_seconds": round(writing, 1),
        "query_hours": round(quarter * seconds / 3600, 2),
        "threads": torch.get_num_threads(),
        "settings": asdict(args),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "processor": platform.processor() or platform.machine(),
        "commit": _commit(),
    }
    for key, value in result.items():
        print(f"{key:28} {value}")
    if args.output:
        Path(args.output).write_text(json.dumps(result, indent=2) + "\n")
    if args.json:
        print(json.dumps(result))


def _full_set(motions: list[Motion]) -> FullSet:
    skeleton = models.skeleton("smpl")
    clips = [clip_frames(motion, skeleton) for motion in motions]

    def joined(name: str) -> Tensor:
        return torch.cat([getattr(clip, name) for clip in clips])

    local = joined("local_rotations")
    return FullSet(
        gts=joined("positions"),
        grs=joined("rotations"),
        lrs=local,
        gvs=joined("velocities"),
        gavs=joined("angular_velocities"),
        dps=skeleton.dofs_from_local_rotations(local),
        dvs=joined("dof_velocities"),
        contacts=joined("contacts"),
    )


def _queries(library: MotionLib, full: FullSet, args: Arguments) -> dict[str, Any]:
    """Speed and difference of both, at the same moments."""
    generator = torch.Generator().manual_seed(0)
    for table in vars(library.frames).values():
        table.max()  # reads the file, so that queries measure queries
    ids = [library.sample_motions(args.queries, generator) for _ in range(8)]
    moments = [(i, library.sample_times(i, generator)) for i in ids]
    ours, plain = library.get_motion_state(*moments[0]), full.query(library, *moments[0])
    errors = {
        "position_error_m": float((ours.body_positions - plain[0]).abs().max()),
        "rotation_error_rad": float(angle_between(ours.body_rotations, plain[1]).max()),
        "local_rotation_error_rad": float(angle_between(ours.local_rotations, plain[5]).max()),
        "velocity_error_relative": float((ours.body_velocities - plain[2]).norm() / plain[2].norm()),
        "angular_velocity_error_relative": float((ours.body_angular_velocities - plain[3]).norm() / plain[3].norm()),
        "contacts_differ": int((ours.contacts != plain[4]).sum()),
    }
    times: dict[str, list[float]] = {"plain": [], "ours": [], "body": [], "joint": []}
    for number in range(args.rounds):
        moment = moments[number % len(moments)]
        times["plain"].append(_seconds(lambda: full.query(library, *moment)))  # noqa: B023
        times["ours"].append(_seconds(lambda: library.get_motion_state(*moment)))  # noqa: B023
        times["body"].append(_seconds(lambda: library.get_body_state(*moment)))  # noqa: B023
        times["joint"].append(_seconds(lambda: library.get_joint_state(*moment)))  # noqa: B023
    rates = {name: round(args.queries / min(values)) for name, values in times.items()}
    ratios = [p / o for p, o in zip(times["plain"], times["ours"], strict=True)]
    return {
        "query_speedup": round(min(times["plain"]) / min(times["ours"]), 3),
        "query_speedup_median": round(statistics.median(ratios), 3),
        "queries_per_s": rates["ours"],
        "plain_queries_per_s": rates["plain"],
        "body_queries_per_s": rates["body"],
        "joint_queries_per_s": rates["joint"],
        **errors,
    }


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


_OPEN = """
import json, sys, time
import torch
from motionlib import MotionLib

def memory(kind):
    lines = open("/proc/self/status").read().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(kind)) / 1000

before, private = memory("VmRSS"), memory("RssAnon")
start = time.perf_counter()
library = MotionLib.open(sys.argv[1])
opened = time.perf_counter() - start
result = {"open_seconds": opened, "open_rss_mb": memory("VmRSS") - before, "process_rss_mb": memory("VmRSS")}
result |= {"imports_rss_mb": before, "open_private_mb": memory("RssAnon") - private}
start = time.perf_counter()
ids = library.sample_motions(4096)
library.get_motion_state(ids, library.sample_times(ids))
result["first_query_seconds"] = time.perf_counter() - start
result["first_query_private_mb"] = memory("RssAnon") - private
print(json.dumps(result))
"""


def _opening(path: Path) -> dict[str, float]:
    """In a fresh process: seconds, and MB that opening adds to what the imports (torch, mostly) hold already."""
    command = [sys.executable, "-c", _OPEN, str(path)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {name: round(value, 4) for name, value in json.loads(output.splitlines()[-1]).items()}


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
