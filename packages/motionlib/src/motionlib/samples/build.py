"""Build the sample clips from a folder of DeepMimic files: `python -m motionlib.samples.build FOLDER [OUTPUT]`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from motionlib.importers import deepmimic
from motionlib.motion import Motion, MotionError
from motionlib.processing import retargeted

__all__ = ["CHARACTERS", "CLIPS", "build", "main"]

CLIPS = {
    "walk": ("humanoid3d_walk", "a person walks forward"),
    "run": ("humanoid3d_run", "a person runs forward"),
    "backflip": ("humanoid3d_backflip", "a person does a backflip"),
    "cartwheel": ("humanoid3d_cartwheel", "a person does a cartwheel"),
    "crawl": ("humanoid3d_crawl", "a person crawls on hands and knees"),
    "dance_a": ("humanoid3d_dance_a", "a person dances with a turning step"),
    "dance_b": ("humanoid3d_dance_b", "a person dances on the spot"),
    "getup_facedown": ("humanoid3d_getup_facedown", "a person lying face down gets up"),
    "getup_faceup": ("humanoid3d_getup_faceup", "a person lying on the back gets up"),
    "jump": ("humanoid3d_jump", "a person jumps forward"),
    "kick": ("humanoid3d_kick", "a person kicks"),
    "punch": ("humanoid3d_punch", "a person punches"),
    "roll": ("humanoid3d_roll", "a person does a forward roll"),
    "spin": ("humanoid3d_spin", "a person leaps with a spin"),
    "spinkick": ("humanoid3d_spinkick", "a person does a spin kick"),
    "walk_forward": ("0walk_forward", "a person walks straight ahead"),
    "turn_left0": ("turn_left0", "a person walks and turns slightly left"),
    "turn_left1": ("turn_left1", "a person walks and turns left"),
    "turn_right0": ("turn_right0", "a person walks and turns sharply right"),
    "turn_right1": ("turn_right1", "a person walks and turns right"),
}
"""name of each sample: stem of its DeepMimic file, and what it shows"""

CHARACTERS = ("amp", "smpl")
"""whom the samples are made for"""

SOURCE = "DeepMimic (Peng et al., 2018), {file}.txt"
LICENSE = "MIT, Copyright (c) 2018 Xue Bin Peng"


def build(folder: Path, names: Sequence[str] = tuple(CLIPS)) -> Iterator[tuple[str, Motion]]:
    """Each of the named clips on each of `CHARACTERS`, as (name of the character, clip)."""
    for name in names:
        stem, label = CLIPS[name]
        motion = deepmimic.read(folder / f"{stem}.txt")
        motion = replace(motion, name=name, labels=(label,), source=SOURCE.format(file=stem), license=LICENSE)
        for character in CHARACTERS:
            yield character, retargeted(motion, character)


def main(arguments: list[str]) -> int:
    """Write the clips below OUTPUT, or beside this file."""
    if len(arguments) not in (1, 2):
        print(__doc__, file=sys.stderr)
        return 2
    output = Path(arguments[1]) if len(arguments) == 2 else Path(__file__).parent
    try:
        for skeleton, motion in build(Path(arguments[0])):
            (output / skeleton).mkdir(parents=True, exist_ok=True)
            motion.save(output / skeleton / f"{motion.name}.npz")
    except (MotionError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
