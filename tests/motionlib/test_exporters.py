from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from motionlib import MotionError, load, save
from motionlib.exporters import EXPORTERS
from poselib import models
from poselib.rotations import angle_between


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_each_format_is_chosen_by_name_and_read_back(make_motion, tmp_path, exporter):
    skeleton, path = models.skeleton("amp"), tmp_path / f"clip{exporter.SUFFIX}"
    free = make_motion().local_rotations
    dofs = skeleton.dofs_from_local_rotations(free)  # what hinges can do, since some formats store nothing else
    motion = replace(make_motion(), local_rotations=skeleton.local_rotations_from_dofs(dofs, free[:, 0]))
    save(motion, path, exporter.__name__.rpartition(".")[2])
    assert [file.name for file in tmp_path.iterdir()] == [path.name], "nothing temporary stays"
    again = load(path)
    assert again.body_names == motion.body_names
    torch.testing.assert_close(again.root_positions, motion.root_positions, rtol=0, atol=1e-5)
    assert float(angle_between(again.local_rotations, motion.local_rotations).max()) < 1e-4


def test_the_suffix_chooses_the_format(make_motion, tmp_path):
    motion = make_motion()
    for name, start in (("a.BVH", b"HIERARCHY"), ("a.csv", b"root_x"), ("a.motion", b"PK"), ("a.npz", b"PK")):
        save(motion, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(start)
    with np.load(tmp_path / "a.npz") as archive:
        assert str(archive["format"]) == "motionlib-clip", "our own before BeyondMimic's"


def test_unknown_formats_are_named(make_motion, tmp_path):
    with pytest.raises(MotionError, match=r"suffix '\.fbx'; there are .*bvh \(\.bvh\)"):
        save(make_motion(), tmp_path / "a.fbx")
    with pytest.raises(MotionError, match="no export format 'fbx'; there are"):
        save(make_motion(), tmp_path / "a.bvh", "fbx")
    assert list(tmp_path.iterdir()) == []
