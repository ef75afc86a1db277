"""Data sets: files, their parts, captions and weights as YAML, and what is made of them.

`Dataset` reads and writes them and streams their clips. Functions make other data sets: `split_by_hash`, `merged`,
`flipped_dataset`, `without_occlusions`, `with_rates`, `with_goals`; `humanml3d` and `samp` make them of other projects'
folders.
"""

from motionlib.datasets.dataset import Dataset
from motionlib.datasets.entries import MotionFile, Problem, SubMotion
from motionlib.datasets.flipping import flipped_dataset, flipped_file
from motionlib.datasets.humanml3d import humanml3d
from motionlib.datasets.loading import Clip
from motionlib.datasets.merging import merged
from motionlib.datasets.occlusion import read_occlusions, without_occlusions
from motionlib.datasets.rates import rate_table, read_rates, with_rates, write_rates
from motionlib.datasets.samp import samp, with_goals
from motionlib.datasets.splitting import hash_share, split_by_hash

__all__ = [
    "Clip",
    "Dataset",
    "MotionFile",
    "Problem",
    "SubMotion",
    "flipped_dataset",
    "flipped_file",
    "hash_share",
    "humanml3d",
    "merged",
    "rate_table",
    "read_occlusions",
    "read_rates",
    "samp",
    "split_by_hash",
    "with_goals",
    "with_rates",
    "without_occlusions",
    "write_rates",
]
