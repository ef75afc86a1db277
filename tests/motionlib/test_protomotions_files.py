"""ProtoMotions files: the beginning of a real one (see NOTICE), whole ones where there are, and what we write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from motionlib import Motion, MotionError, load, load_all, sample_path
from motionlib.exporters import save
from motionlib.importers.archives import read_tensors
from poselib import models
from poselib.kinematics import forward_kinematics
from poselib.rotations import angle_between, matrix_from_quat, quat_from_exp_map

GOLDEN = Path(__file__).parent / "golden" / "protomotions_g1.motion"
SMPL_BACKFLIP = sample_path("smpl", "backflip")


def assert_positions(motion: Motion, stored: torch.Tensor, character: str) -> None:
    """Our kinematics on the clip's own offsets, and on the built-in character's, leads to the stored positions."""
    skeleton = models.skeleton(character)
    for one in (skeleton, replace(skeleton, offsets=motion.offsets)):
        positions, _ = forward_kinematics(one, motion.root_positions.double(), motion.local_rotations.double())
        assert float((positions - stored).abs().max()) < 1e-5


def test_positions_and_joints_of_a_real_file():
    motion, content = load(GOLDEN), read_tensors(GOLDEN)
    assert (motion.fps, motion.num_frames, len(motion.body_names)) == (30.0, 8, 33)
    assert torch.equal(motion.root_positions, content["rigid_body_pos"][:, 0])
    assert_positions(motion, content["rigid_body_pos"], "g1")
    skeleton = models.skeleton("g1")
    dofs = skeleton.dofs_from_local_rotations(motion.local_rotations)
    torch.testing.assert_close(dofs, content["dof_pos"], rtol=0, atol=1e-6)
    steps = (content["dof_pos"][1:] - content["dof_pos"][:-1]) * motion.fps  # theirs is the forward difference
    torch.testing.assert_close(torch.diff(dofs, dim=0) * motion.fps, steps, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("name", "character"), [("g1_walk", "g1"), ("smplx_walking", "smplx")])
def test_whole_real_files(shared_data, name, character):
    path = shared_data / "protomotions" / f"{name}.motion"
    motion, content = load(path), read_tensors(path)
    assert (motion.num_frames, motion.fps, motion.duration) == (150, 30.0, pytest.approx(4.967, abs=1e-3))
    assert_positions(motion, content["rigid_body_pos"], character)
    skeleton = models.skeleton(character)
    dofs = skeleton.dofs_from_local_rotations(motion.local_rotations)
    torch.testing.assert_close(dofs, content["dof_pos"], rtol=0, atol=1e-5)
    if "local_rigid_body_rot" in content:
        assert float(angle_between(motion.local_rotations, content["local_rigid_body_rot"]).max()) < 1e-6


def test_stored_velocities_are_those_of_the_poses(shared_data):
    """Theirs are forward differences over one to three frames, the smallest one for each body and frame."""
    path = shared_data / "protomotions" / "smplx_walking.motion"
    motion, content = load(path), read_tensors(path)
    positions, _ = motion.world_poses(models.skeleton("smplx"))
    steps = [(positions[h:] - positions[:-h]) * (motion.fps / h) for h in (1, 2, 3)]
    frames = motion.num_frames - 3
    candidates = torch.stack([s[:frames] for s in steps])
    smallest = candidates.norm(dim=-1).argmin(dim=0)
    ours = candidates.gather(0, smallest[None, ..., None].expand(1, *smallest.shape, 3))[0]
    assert float((ours - content["rigid_body_vel"][:frames]).norm(dim=-1).quantile(0.99)) < 1e-3


def package(path: Path, motions: list[Motion], character: str, **extra: object) -> Path:
    """As their packager writes it."""
    skeleton = models.skeleton(character)
    poses = [m.world_poses(skeleton) for m in motions]
    counts = torch.tensor([m.num_frames for m in motions])
    content = {
        "gts": torch.cat([p for p, _ in poses]),
        "grs": torch.cat([r for _, r in poses]),
        "lrs": torch.cat([m.local_rotations for m in motions]),
        "dps": torch.cat([skeleton.dofs_from_local_rotations(m.local_rotations) for m in motions]),
        "length_starts": torch.cumsum(counts, 0) - counts,
        "motion_num_frames": counts,
        "motion_dt": torch.tensor([1 / m.fps for m in motions]),
        "motion_lengths": torch.tensor([m.duration for m in motions]),
        "motion_weights": torch.ones(len(motions)),
        "motion_files": tuple(f"data/{m.name}.motion" for m in motions),
    } | extra
    torch.save(content, path)
    return path


def test_packages_hold_many_clips(tmp_path):
    motions = [Motion.load(sample_path("smpl", name)) for name in ("backflip", "walk")]
    path = package(tmp_path / "two.pt", motions, "smpl")
    for ours, theirs in zip(load_all(path), motions, strict=True):
        assert (ours.name, ours.fps) == (theirs.name, pytest.approx(theirs.fps, rel=1e-6))
        assert torch.equal(ours.root_positions, theirs.root_positions)
        assert torch.equal(ours.local_rotations, theirs.local_rotations)
        torch.testing.assert_close(ours.offsets, models.skeleton("smpl").offsets, rtol=0, atol=1e-6)
    with pytest.raises(MotionError, match=r"holds 2 clips; read them with motionlib.load_all"):
        load(path)
    assert load(package(tmp_path / "one.pt", motions[:1], "smpl", motion_files=())).name == "one-0"
    assert len(load_all(SMPL_BACKFLIP)) == 1
    for wrong in (torch.tensor([500, 3]), torch.tensor([0, -1])):
        with pytest.raises(MotionError, match="frames from"):
            load_all(package(tmp_path / "wrong.pt", motions, "smpl", length_starts=wrong))


def test_h1_with_hands(tmp_path):
    """A torch archive called .npy, with the poses of the 20 links and two hands."""
    skeleton = models.skeleton("h1_hands")
    generator = torch.Generator().manual_seed(3)
    dofs = 0.4 * torch.randn(6, skeleton.num_dofs, generator=generator)
    root = torch.randn(6, 3, generator=generator)
    local = skeleton.local_rotations_from_dofs(dofs, quat_from_exp_map(torch.randn(6, 3, generator=generator)))
    positions, rotations = forward_kinematics(skeleton, root, local)
    path = tmp_path / "h1_extended_hands_punch.npy"
    content = {
        "global_translation": positions,
        "global_rotation": rotations,
        "global_rotation_mat": matrix_from_quat(rotations),
        "dof_pos": dofs,
        "fps": 30,
    }
    torch.save(content, path)
    motion = load(path)
    assert motion.body_names == skeleton.body_names
    assert_positions(motion, positions, "h1_hands")
    torch.testing.assert_close(skeleton.dofs_from_local_rotations(motion.local_rotations), dofs, rtol=0, atol=1e-5)
    torch.save({k: v for k, v in content.items() if k != "fps"}, path)
    with pytest.raises(MotionError, match=r"without \['fps'\]"):
        load(path)


@pytest.mark.parametrize(("character", "name"), [("smpl", "walk"), ("smpl", "backflip"), ("amp", "dance_a")])
def test_what_is_written_is_read_again(tmp_path, character, name):
    motion = Motion.load(sample_path(character, name))
    path = tmp_path / "clip.motion"
    save(motion, path)
    again, content = load(path), torch.load(path, weights_only=True)
    assert torch.equal(again.root_positions, motion.root_positions)
    assert again.fps == motion.fps
    if character == "smpl":  # where local rotations are part of the format
        assert torch.equal(again.local_rotations, motion.local_rotations)
        vectors = torch.from_numpy(np.asarray(content["dof_pos"])).reshape(motion.num_frames, 23, 3)
        assert float(angle_between(quat_from_exp_map(vectors), motion.local_rotations[:, 1:]).max()) < 1e-6
    else:
        assert float(angle_between(again.local_rotations, motion.local_rotations).max()) < 1e-6
        assert "local_rigid_body_rot" not in content, "their reader takes these for three numbers per joint"
    save(again, tmp_path / "again.motion")
    twice = torch.load(tmp_path / "again.motion", weights_only=True)
    for key in ("rigid_body_pos", "rigid_body_rot", "dof_pos"):
        exact = 0 if character == "smpl" else 2e-6
        torch.testing.assert_close(twice[key], content[key], rtol=0, atol=exact)


def test_written_files_have_the_keys_and_types_of_real_ones(tmp_path):
    golden = read_tensors(GOLDEN)
    save(load(GOLDEN), tmp_path / "clip.motion")
    ours = torch.load(tmp_path / "clip.motion", weights_only=True)
    assert set(golden) - set(ours) == {"state_conversion"}
    for key, value in ours.items():
        if isinstance(value, torch.Tensor):
            assert (value.dtype, value.shape) == (golden[key].dtype, golden[key].shape), key
    for key in ("rigid_body_pos", "dof_pos"):
        torch.testing.assert_close(ours[key], golden[key], rtol=0, atol=1e-5)
    assert (type(ours["fps"]), ours["fps"]) == (int, 30)


def test_characters_that_are_not_known(tmp_path, make_motion):
    content = read_tensors(GOLDEN)
    torch.save(
        {k: v for k, v in content.items() if k != "state_conversion"} | {"dof_pos": torch.zeros(8, 66)}, tmp_path / "a"
    )
    with pytest.raises(MotionError, match=r"33 bodies and 66 degrees .* pass skeleton=.* g1 \(33, 29\)"):
        load(tmp_path / "a")
    with pytest.raises(MotionError, match="'g1' has 33 bodies and 29 degrees"):
        load(tmp_path / "a", skeleton="g1")
    with pytest.raises(MotionError, match=r"no built-in character 'g2'; there are .*'g1'"):
        load(tmp_path / "a", skeleton="g2")
    assert load(GOLDEN, skeleton=models.skeleton("g1")).num_frames == 8
    with pytest.raises(MotionError, match=r"no option \['robot'\] for ProtoMotions .motion, which takes the options"):
        load(GOLDEN, robot="g1")
    odd = replace(make_motion(), body_names=tuple(f"b{i}" for i in range(15)))
    with pytest.raises(MotionError, match="those of no built-in character"):
        save(odd, tmp_path / "odd.motion")


def test_poses_that_do_not_hang_together(tmp_path):
    content = {k: v for k, v in read_tensors(GOLDEN).items() if k != "state_conversion"}
    positions = content["rigid_body_pos"].clone()
    positions[3, 5, 0] += 0.01
    for change, message in [
        ({"rigid_body_pos": positions}, "'left_knee_link' moves by .* in the frame of 'left_hip_yaw_link'"),
        ({"rigid_body_rot": content["rigid_body_rot"][:, :, :3]}, "rotations must have shape"),
        ({"rigid_body_pos": positions * torch.nan}, "not finite"),
        ({"fps": "fast"}, "damaged ProtoMotions .motion"),
        ({"dof_pos": [1.0]}, r"\['dof_pos'\] must be tensors"),
    ]:
        torch.save(content | change, tmp_path / "a.motion")
        with pytest.raises(MotionError, match=message):
            load(tmp_path / "a.motion")
    (tmp_path / "a.motion").write_bytes(GOLDEN.read_bytes()[:-3000])
    with pytest.raises(MotionError, match="cut off or damaged"):
        load(tmp_path / "a.motion")
