from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from motionlib import Motion, MotionError
from poselib import models
from poselib.rotations import angle_between


def test_a_clip_survives_its_file(tmp_path, make_motion):
    motion = make_motion(loop="wrap")
    motion.save(tmp_path / "clip.npz")
    loaded = Motion.load(tmp_path / "clip.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["clip.npz"]
    for name in ("name", "fps", "body_names", "parents", "loop", "labels", "source", "license"):
        assert getattr(loaded, name) == getattr(motion, name)
    for name in ("offsets", "root_positions", "local_rotations"):
        torch.testing.assert_close(getattr(loaded, name), getattr(motion, name), rtol=0, atol=1e-7)


def test_a_failed_save_leaves_nothing(tmp_path, make_motion):
    with pytest.raises(MotionError, match=r"saved as \.npz"):
        make_motion().save(tmp_path / "clip.txt")
    with pytest.raises(OSError):
        make_motion().save(tmp_path / "no_such_folder" / "clip.npz")
    assert not list(tmp_path.iterdir())


def test_duration_counts_the_gaps(make_motion):
    motion = make_motion(frames=13, fps=12.0)
    assert motion.duration == pytest.approx(1.0)
    assert motion.path_length == pytest.approx(np.hypot(1.0, 0.4), abs=1e-5)


def test_quaternions_are_stored_continuous(make_motion):
    motion = make_motion()
    flipped = motion.local_rotations.clone()
    flipped[3::2] *= -1
    stored = replace(motion, local_rotations=flipped).local_rotations
    assert ((stored[1:] * stored[:-1]).sum(-1) > 0).all()
    assert float(angle_between(stored, motion.local_rotations).max()) < 1e-3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fps": 0.0}, "fps must be a positive number"),
        ({"loop": "again"}, "loop must be one of"),
        ({"root_positions": torch.zeros(5, 3)}, r"local_rotations must have shape \(5, 15, 4\)"),
        ({"offsets": torch.zeros(14, 3)}, r"offsets must have shape \(15, 3\)"),
        ({"root_positions": torch.full((12, 3), torch.nan)}, "root_positions holds values that are not finite"),
        ({"local_rotations": torch.ones(12, 15, 4)}, "unit quaternions"),
        ({"parents": (0,) * 15}, "-1 first"),
        ({"parents": (-1, 2, *([0] * 13))}, "before its child"),
        ({"body_names": ("pelvis",) * 15}, "no name twice"),
    ],
)
def test_wrong_fields_are_named(make_motion, change, message):
    with pytest.raises(MotionError, match=message):
        replace(make_motion(), **change)


def test_one_frame_is_too_few(make_motion):
    with pytest.raises(MotionError, match="at least 2 frames, found 1"):
        make_motion(frames=1)


def test_bodies_are_matched_by_name(make_motion):
    motion = make_motion()
    skeleton = models.skeleton("amp")
    # The right leg before the arms: still parents before children, but another order.
    order = [0, 9, 10, 11, 1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 14]
    shuffled = replace(
        motion,
        body_names=tuple(motion.body_names[i] for i in order),
        parents=tuple(order.index(motion.parents[i]) if i else -1 for i in order),
        offsets=motion.offsets[order],
        local_rotations=motion.local_rotations[:, order],
    )
    torch.testing.assert_close(shuffled.for_skeleton(skeleton).local_rotations, motion.local_rotations)
    torch.testing.assert_close(shuffled.world_poses(skeleton), motion.world_poses(skeleton))


def test_another_skeleton_is_an_error_that_names_the_bodies(make_motion):
    with pytest.raises(
        MotionError, match=r"clip 'clip' does not fit skeleton 'smpl': missing bodies \['Pelvis'.*extra"
    ):
        make_motion().for_skeleton(models.skeleton("smpl"))
    motion = make_motion()
    moved = replace(motion, parents=(*motion.parents[:2], 0, *motion.parents[3:]))
    with pytest.raises(MotionError, match="'head' hangs on 'pelvis', in skeleton 'amp' on 'torso'"):
        moved.for_skeleton(models.skeleton("amp"))


def test_files_that_are_no_clips(tmp_path, make_motion):
    with pytest.raises(MotionError, match="no motion file at"):
        Motion.load(tmp_path / "missing.npz")
    (tmp_path / "text.npz").write_text("not a zip archive")
    with pytest.raises(MotionError, match="not a readable"):
        Motion.load(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", poses=np.zeros(3))
    with pytest.raises(MotionError, match=r"no motionlib clip; it holds \['poses'\]"):
        Motion.load(tmp_path / "other.npz")
    np.savez(tmp_path / "objects.npz", format=np.array([{}], dtype=object))
    with pytest.raises(MotionError, match="not a readable"):
        Motion.load(tmp_path / "objects.npz")

    make_motion().save(tmp_path / "clip.npz")
    whole = (tmp_path / "clip.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MotionError, match="not a readable"):
        Motion.load(tmp_path / "cut.npz")
    (tmp_path / "bits.npz").write_bytes(whole[:2000] + bytes(64) + whole[2064:])
    with pytest.raises(MotionError):
        Motion.load(tmp_path / "bits.npz")

    with np.load(tmp_path / "clip.npz") as archive:
        fields = dict(archive)
    np.savez(tmp_path / "newer.npz", **{**fields, "version": np.array(99)})
    with pytest.raises(MotionError, match="version 99"):
        Motion.load(tmp_path / "newer.npz")
    fields.pop("fps")
    np.savez(tmp_path / "partial.npz", **fields)
    with pytest.raises(MotionError, match=r"clip without \['fps'\]"):
        Motion.load(tmp_path / "partial.npz")
