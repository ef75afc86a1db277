"""Retarget clips to the built-in characters and measure the results; the last line is JSON.

    uv run python benchmarks/retargeting.py                          # the sample clips, all characters
    uv run python benchmarks/retargeting.py take.bvh --characters g1 h1 --clips walk run

A sample on its own character ("amp") is cleaned. Stances are the source's, so a foot counts as standing where the actor
stood. Every row: slide of stance feet (mm/s), penetration (mean and worst frame, mm), share of joint coordinates at
their limits and the worst excess (rad), jerk against the mere transfer (m/s^3), key-point error (mm), seconds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from motionlib import Motion, load, sample_names, sample_path
from motionlib.processing import retargeted_with_report

CHARACTERS = ("amp", "smpl", "smplx", "g1", "h1")
BOUNDS = {"foot_slide": 50.0, "penetration_max": 5.0, "limit_excess": 0.0}
"""what a result should stay below: mm/s, mm, rad"""


def clips(arguments: argparse.Namespace) -> Iterator[Motion]:
    """The samples that are asked for, then the files."""
    for name in sample_names("amp"):
        if arguments.clips is None or name in arguments.clips:
            yield Motion.load(sample_path("amp", name))
    for path in arguments.files:
        yield load(path)


def measure(motion: Motion, character: str, ik: bool) -> dict[str, object]:
    """One row."""
    start = time.perf_counter()
    _, report = retargeted_with_report(motion, character, ik=ik)
    seconds = time.perf_counter() - start
    row = {"clip": motion.name, "character": character, "frames": motion.num_frames, "fps": round(motion.fps, 2)}
    row |= {name: value and round(value, 4) for name, value in report.result.as_dict().items()}
    row |= {"slide_before": round(report.transferred.foot_slide, 1), "seconds": round(seconds, 2)}
    row |= {"penetration_before": round(report.transferred.penetration_max, 1)}
    row |= {"jerk_before": round(report.transferred.jerk, 1)}
    return row


def line(row: dict[str, object]) -> str:
    """A row of the table."""
    return (
        f"{row['clip']:15.15} {row['character']:6} {row['slide_before']:6.0f} {row['foot_slide']:6.1f}"
        f" {row['penetration_before']:6.0f} {row['penetration_mean']:6.2f} {row['penetration_max']:6.2f}"
        f" {row['limit_share']:7.4f} {row['limit_excess']:7.4f} {row['jerk_before']:7.0f} {row['jerk']:7.0f}"
        f" {row['key_point_error']:6.1f} {row['seconds']:7.1f}"
    )


def main() -> int:
    """Print the table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="further clips, of any format")
    parser.add_argument("--characters", nargs="+", default=list(CHARACTERS))
    parser.add_argument("--clips", nargs="*", help="names of samples; all of them if not given")
    parser.add_argument("--no-ik", dest="ik", action="store_false", help="rotation transfer alone")
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0 leaves its own choice")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    head = "clip", "onto", "slide<", "slide", "pen<", "pen", "worst", "limits", "excess", "jerk<", "jerk", "key mm", "s"
    print("{:15} {:6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>7} {:>7} {:>7} {:>7} {:>6} {:>7}".format(*head))
    rows = []
    for motion in clips(arguments):
        for character in arguments.characters:
            rows.append(measure(motion, character, arguments.ik))
            print(line(rows[-1]), flush=True)
    worst = {name: max(row[name] for row in rows) for name in BOUNDS}
    missed = [f"{r['clip']} on {r['character']}" for r in rows if any(r[n] > bound for n, bound in BOUNDS.items())]
    print(json.dumps({"rows": rows, "worst": worst, "bounds": BOUNDS, "missed": missed}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
