from __future__ import annotations

import pytest

from motionlib import Motion, MotionError, MotionLib, sample_names, sample_path
from motionlib.samples import sample_skeletons
from motionlib.samples.build import CHARACTERS, CLIPS


def test_every_clip_is_there_for_every_character():
    assert set(sample_skeletons()) == set(CHARACTERS)
    for skeleton in sample_skeletons():
        assert sample_names(skeleton) == sorted(CLIPS)


def test_samples_are_small_and_say_where_they_come_from():
    paths = [sample_path(skeleton, name) for skeleton in sample_skeletons() for name in sample_names(skeleton)]
    assert sum(path.stat().st_size for path in paths) < 2_000_000
    for path in paths:
        motion = Motion.load(path)
        assert motion.name == path.stem
        assert motion.labels
        assert motion.source.startswith("DeepMimic")
        assert motion.license == "MIT, Copyright (c) 2018 Xue Bin Peng"


@pytest.mark.parametrize("skeleton", sample_skeletons())
def test_samples_make_a_library(skeleton):
    library = MotionLib.from_samples(skeleton, ["walk", "kick"])
    assert library.names == ("walk", "kick")
    assert library.loops.tolist() == [True, False]


def test_wrong_names_list_the_right_ones():
    with pytest.raises(MotionError, match=r"no sample clip 'fly' for 'amp'; there are \['backflip'"):
        sample_path("amp", "fly")
    with pytest.raises(MotionError, match=r"no sample clips for 'dog'; there are some for \['amp', 'smpl'\]"):
        sample_names("dog")
    with pytest.raises(MotionError):
        sample_path("../amp", "walk")
