"""Motion clips in, batched reference states out.

`Motion` is one clip, `load` reads one from a file of any known format, `load_all` those of a file of many, `save`
writes one for another program, `MotionLib` packs many and answers queries. `Dataset` lists files with their parts and
captions.
"""

from motionlib.datasets import Dataset
from motionlib.exporters import save
from motionlib.importers import load, load_all
from motionlib.library import MotionLib
from motionlib.motion import Motion, MotionError
from motionlib.samples import sample_names, sample_path
from motionlib.states import BodyState, MotionState

__all__ = [
    "BodyState",
    "Dataset",
    "Motion",
    "MotionError",
    "MotionLib",
    "MotionState",
    "load",
    "load_all",
    "sample_names",
    "sample_path",
    "save",
]
