from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from poselib import models
from poselib.anatomy import anatomy_of
from poselib.kinematics import forward_kinematics
from poselib.retargeting import ground_shift, retarget
from poselib.rotations import angle_between, quat_from_exp_map, quat_identity, quat_multiply
from poselib.skeleton import Skeleton

AMP, SMPL = models.skeleton("amp"), models.skeleton("smpl")
LIMBS = {
    ("left_thigh", "left_shin"): ("L_Hip", "L_Knee"),
    ("left_shin", "left_foot"): ("L_Knee", "L_Ankle"),
    ("right_thigh", "right_shin"): ("R_Hip", "R_Knee"),
    ("right_shin", "right_foot"): ("R_Knee", "R_Ankle"),
    ("left_upper_arm", "left_lower_arm"): ("L_Shoulder", "L_Elbow"),
    ("left_lower_arm", "left_hand"): ("L_Elbow", "L_Wrist"),
    ("right_upper_arm", "right_lower_arm"): ("R_Shoulder", "R_Elbow"),
    ("right_lower_arm", "right_hand"): ("R_Elbow", "R_Wrist"),
}
ANATOMY = {name: anatomy_of(models.skeleton(name)) for name in ("amp", "smpl", "smplx", "g1", "h1")}
SAMPLES = Path(__file__).parents[2] / "packages" / "motionlib" / "src" / "motionlib" / "samples" / "amp"


def direction(skeleton: Skeleton, positions: torch.Tensor, bone: tuple[str, str]) -> torch.Tensor:
    start, end = skeleton.body_indices(bone)
    return torch.nn.functional.normalize((positions[..., end, :] - positions[..., start, :]).double(), dim=-1)


def worst_limb(amp: tuple[torch.Tensor, torch.Tensor], smpl: tuple[torch.Tensor, torch.Tensor]) -> float:
    """Largest angle in degrees between limbs of the same name."""
    ours, theirs = forward_kinematics(AMP, *amp)[0], forward_kinematics(SMPL, *smpl)[0]
    chords = [(direction(AMP, ours, a) - direction(SMPL, theirs, s)).norm(dim=-1) for a, s in LIMBS.items()]
    return float(torch.rad2deg(2 * torch.asin(torch.stack(chords).max() / 2)))


def random_pose(skeleton: Skeleton, frames: int, scale: float = 0.7) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    dofs = scale * torch.randn(frames, skeleton.num_dofs, generator=generator)
    root = quat_from_exp_map(torch.randn(frames, 3, generator=generator))
    return torch.randn(frames, 3, generator=generator), skeleton.local_rotations_from_dofs(dofs, root)


def move(source: str, target: str, root: torch.Tensor, local: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames or a single pose."""
    single = root.ndim == 1
    if single:
        root, local = root[None], local[None]
    result = retarget(ANATOMY[source], ANATOMY[target], root, local)
    frames = result.root_positions, result.local_rotations
    return (frames[0][0], frames[1][0]) if single else frames


def to_smpl(root: torch.Tensor, local: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return move("amp", "smpl", root, local)


def to_amp(root: torch.Tensor, local: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return move("smpl", "amp", root, local)


def test_rest_becomes_the_same_posture():
    """Arms that hang stay hanging on a body whose own arms are stretched out at rest."""
    rest = AMP.offsets[0], quat_identity(15)
    result = to_smpl(*rest)
    assert worst_limb(rest, result) < 0.1
    positions, _ = forward_kinematics(SMPL, *result)
    assert float(positions[SMPL.body_indices(["L_Wrist"])[0], 2]) < float(result[0][2])
    still = [b for b, n in enumerate(SMPL.body_names) if n in ("Pelvis", "Torso", "Spine", "Chest", "Neck", "Head")]
    torch.testing.assert_close(result[1][still], quat_identity(len(still)), rtol=0, atol=1e-6)


def test_stretched_arms_stay_stretched():
    rest = SMPL.offsets[0], quat_identity(24)
    result = to_amp(*rest)
    assert worst_limb(result, rest) < 1.0, "arms are not quite straight, so their elbows' plane is half trusted"
    positions, _ = forward_kinematics(AMP, *result)
    shoulder, hand = positions[AMP.body_indices(["left_upper_arm", "left_hand"])]
    assert float(hand[1] - shoulder[1]) > 0.5


def test_rest_becomes_rest_on_the_same_skeleton():
    root, local = random_pose(AMP, 6)
    new_root, new_local = move("amp", "amp", root, local)
    torch.testing.assert_close(new_root, root, rtol=0, atol=1e-5)
    assert float(angle_between(new_local, local).max()) < 2e-3


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.npz")), ids=lambda path: path.stem)
def test_limbs_of_real_motion_keep_their_directions(path):
    with np.load(path) as clip:
        motion = torch.from_numpy(clip["root_positions"]), torch.from_numpy(clip["local_rotations"])
    smpl = to_smpl(*motion)
    assert worst_limb(motion, smpl) < 0.1
    back = to_amp(*smpl)
    assert worst_limb(back, smpl) < 0.5
    assert float(torch.rad2deg(angle_between(back[1], motion[1]).max())) < 3.0


def test_spine_and_neck_share_a_turn_evenly():
    root, local = AMP.offsets[0], quat_identity(15)
    turn = torch.tensor([0.0, 0.9, 0.0])
    local[AMP.body_indices(["torso", "head"])] = quat_from_exp_map(torch.stack([turn, 0.5 * turn]))
    _, result = to_smpl(root, local)
    shares = result[SMPL.body_indices(["Torso", "Spine", "Chest", "Neck", "Head"])]
    expected = quat_from_exp_map(turn * torch.tensor([[1 / 3], [1 / 3], [1 / 3], [1 / 4], [1 / 4]]))
    assert float(angle_between(shares, expected).max()) < 1e-3


def test_hinges_bend_in_the_plane_of_their_bones():
    """Any posture of ball joints: knees and elbows of the other body can follow, bones keep their directions."""
    smpl = random_pose(SMPL, 50, scale=0.5)
    amp = to_amp(*smpl)
    assert worst_limb(amp, smpl) < 3.0
    for body in AMP.body_indices(["left_shin", "right_lower_arm"]):
        assert float(amp[1][:, body, [0, 2]].abs().max()) < 1e-4, "hinges turn about y alone"


def test_root_path_is_scaled_by_the_legs():
    root, local = random_pose(AMP, 1)
    moved = root + torch.tensor([2.0, -1.0, 0.3])
    step = to_smpl(moved, local)[0] - to_smpl(root, local)[0]
    ratio = ANATOMY["smpl"].leg_length() / ANATOMY["amp"].leg_length()
    torch.testing.assert_close(step[0], torch.tensor([2.0, -1.0, 0.3]) * ratio)


def test_turning_the_source_turns_the_result():
    root, local = random_pose(AMP, 4)
    turn = quat_from_exp_map(torch.tensor([0.0, 0.0, 1.1]))
    turned = local.clone()
    turned[:, 0] = quat_multiply(turn.expand(4, 4), local[:, 0])
    a, b = to_smpl(root, local)[1], to_smpl(root, turned)[1]
    assert float(angle_between(b[:, 1:], a[:, 1:]).max()) < 2e-3
    assert float(angle_between(b[:, 0], quat_multiply(turn.expand(4, 4), a[:, 0])).max()) < 2e-3


def test_ground_shift_follows_the_frames_on_the_ground():
    foot = torch.cat([torch.zeros(30), torch.ones(20), torch.full((10,), 0.3)])
    hand = torch.cat([torch.full((30,), 0.9), torch.full((20,), 1.9), torch.zeros(10)])
    source = torch.stack([foot, hand], dim=-1)
    target = torch.cat([torch.full((30,), -0.1), torch.full((20,), 5.0), torch.full((10,), -0.3)])[:, None]
    assert ground_shift(source, target, [0]) == pytest.approx(0.1), "standing, not flying, not on its hands"
    assert ground_shift(source[50:], target[50:], [0]) == pytest.approx(0.3), "on its hands alone"
