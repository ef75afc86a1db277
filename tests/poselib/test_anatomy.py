from __future__ import annotations

import pytest
import torch

from poselib import models
from poselib.anatomy import PARENTS, AnatomyError, anatomy_of
from poselib.rotations import quat_from_exp_map, quat_identity, quat_multiply
from poselib.skeleton import Joint, Skeleton

NAMINGS = {
    "CMU BVH": (
        "Hips",
        "LHipJoint LeftUpLeg LeftLeg LeftFoot LeftToeBase",
        "Spine",
        "LeftShoulder LeftArm LeftForeArm LeftHand",
    ),
    "ASF": ("root", "lhipjoint lfemur ltibia lfoot ltoes", "thorax", "lclavicle lhumerus lradius lwrist"),
    "Mixamo": (
        "mixamorig:Hips",
        "mixamorig:LeftUpLeg mixamorig:LeftLeg mixamorig:LeftFoot mixamorig:LeftToeBase",
        "mixamorig:Spine2",
        "mixamorig:LeftShoulder mixamorig:LeftArm mixamorig:LeftForeArm mixamorig:LeftHand",
    ),
    "Biped": (
        "Bip01 Pelvis",
        "Bip01 L Thigh;Bip01 L Calf;Bip01 L Foot;Bip01 L Toe",
        "Bip01 Spine1",
        "Bip01 L Clavicle;Bip01 L UpperArm;Bip01 L Forearm;Bip01 L Hand",
    ),
    "hips and knees": (
        "Hips",
        "LeftHip LeftKnee LeftAnkle LeftToe",
        "Chest",
        "LeftCollar LeftShoulder LeftElbow LeftWrist",
    ),
    "Blender": ("hips", "thigh.L shin.L foot.L toe.L", "chest", "shoulder.L upper_arm.L forearm.L hand.L"),
    "SMPL": ("Pelvis", "L_Hip L_Knee L_Ankle L_Foot", "Spine3", "L_Collar L_Shoulder L_Elbow L_Wrist L_Hand"),
}
LEG = [(0, 0.1, -0.05), (0, 0, -0.4), (0, 0, -0.4), (0.15, 0, -0.05)]
ARM = [(0, 0.05, 0.2), (0, 0.1, 0), (0, 0.3, 0), (0, 0.25, 0), (0, 0.1, 0)]


def mirrored(name: str) -> str:
    for left, right in (("Left", "Right"), ("L_", "R_"), (".L", ".R"), (" L ", " R "), ("L", "R")):
        if left in name:
            return name.replace(left, right)
    return "r" + name[1:]


def person(root: str, leg: str, chest: str, arm: str) -> Skeleton:
    """A standing figure with the names of its left side mirrored."""
    rows: list[tuple[str, str | None, tuple[float, float, float]]] = [(root, None, (0, 0, 1))]

    def limb(names: list[str], start: str, offsets: list[tuple[float, float, float]], side: int) -> None:
        for name, (x, y, z) in zip(names, offsets, strict=False):
            rows.append((name, start, (x, side * y, z)))
            start = name

    legs = leg.split(";") if ";" in leg else leg.split()
    arms = arm.split(";") if ";" in arm else arm.split()
    start = [(0.0, 0.0, 0.0)] * (len(legs) - 4)
    limb(legs, root, start + LEG, 1)
    limb([mirrored(name) for name in legs], root, start + LEG, -1)
    rows.append((chest, root, (0, 0, 0.3)))
    rows.append(("Head", chest, (0, 0, 0.3)))
    limb(arms, chest, ARM, 1)
    limb([mirrored(name) for name in arms], chest, ARM, -1)
    names = [name for name, _, _ in rows]
    ball = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    return Skeleton(
        "person",
        tuple(names),
        tuple(-1 if parent is None else names.index(parent) for _, parent, _ in rows),
        torch.tensor([offset for _, _, offset in rows], dtype=torch.float32),
        quat_identity(len(rows)),
        tuple(Joint("ball", (f"{n}x", f"{n}y", f"{n}z"), ball, (-3.0,) * 3, (3.0,) * 3) for n in names),
    )


@pytest.mark.parametrize("naming", NAMINGS)
def test_usual_namings_are_understood(naming: str):
    skeleton = person(*NAMINGS[naming])
    anatomy = anatomy_of(skeleton)
    assert list(anatomy.parts) == list(PARENTS)
    joints, _ = anatomy.standing()
    root = joints["pelvis"]
    torch.testing.assert_close(joints["left_ankle"] - root, torch.tensor([0.0, 0.1, -0.85]))
    torch.testing.assert_close(joints["right_wrist"] - root, torch.tensor([0.0, -0.7, 0.5]))
    torch.testing.assert_close(joints["left_toe"] - root, torch.tensor([0.15, 0.1, -0.9]))
    torch.testing.assert_close(joints["left_collar"] - root, torch.tensor([0.0, 0.05, 0.5]))


@pytest.mark.parametrize("name", sorted(models.MODELS))
def test_built_in_characters_are_mirror_images(name: str):
    anatomy = anatomy_of(models.skeleton(name))
    joints, _ = anatomy.standing()
    for part in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist"):
        left, right = joints[f"left_{part}"], joints[f"right_{part}"]
        torch.testing.assert_close(left * torch.tensor([1.0, -1.0, 1.0]), right, rtol=0, atol=0.06)
    straight = joints["left_hip"] - joints["left_ankle"]
    assert float(straight[2] / straight.norm()) > 0.98


def test_a_row_of_hinges_is_one_joint_where_its_axes_meet():
    anatomy = anatomy_of(models.skeleton("g1"))
    hip = anatomy.parts["left_hip"]
    names = [anatomy.skeleton.body_names[b] for b in hip.joint]
    assert names == ["left_hip_pitch_link", "left_hip_roll_link", "left_hip_yaw_link"]
    joints, _ = anatomy.standing()
    torch.testing.assert_close(joints["left_hip"], torch.tensor([0.01, 0.1165, -0.118]), rtol=0, atol=0.02)


def test_a_rest_pose_that_does_not_stand_is_replaced_by_a_frame_that_does():
    upright = person(*NAMINGS["Mixamo"])
    turn = quat_from_exp_map(torch.tensor([0.0, 1.4, 0.0]))
    legs = upright.body_indices(["mixamorig:LeftUpLeg", "mixamorig:RightUpLeg"])
    folded = Skeleton(
        "folded", upright.body_names, upright.parents, upright.offsets.clone(), upright.rest_rotations, upright.joints
    )
    below = [b + 1 for b in legs]
    folded.offsets[below] = torch.tensor([0.0, 0.0, 0.4])  # shins lie along the spine
    with pytest.raises(AnatomyError, match="neither its rest pose nor a frame stands upright"):
        anatomy_of(folded)
    poses = quat_identity(3, folded.num_bodies)
    poses[:, legs] = torch.tensor([1.0, 0.0, 0.0, 0.0])  # half a turn about x
    poses[1] = poses[1].clone()
    poses[:, 0] = quat_multiply(quat_from_exp_map(torch.tensor([0.0, 0.0, 2.0])), turn)
    poses[1, 0] = quat_from_exp_map(torch.tensor([0.0, 0.0, 2.0]))
    folded.offsets[[b + 1 for b in below]] = torch.tensor([0.0, 0.0, 0.4])
    joints, _ = anatomy_of(folded, poses=poses).standing()
    across = joints["left_hip"] - joints["right_hip"]
    torch.testing.assert_close(across / across.norm(), torch.tensor([0.0, 1.0, 0.0]), rtol=0, atol=1e-4)
    assert float(joints["left_ankle"][2]) < float(joints["left_hip"][2])


def test_what_cannot_be_found_is_asked_for_by_part():
    skeleton = person("a", "Lb Lc Ld Le", "f", "Lg Lh Li Lj")
    with pytest.raises(AnatomyError, match=r"found no bodies for \['left_hip'"):
        anatomy_of(skeleton)
    with pytest.raises(AnatomyError, match=r"there is no part \['tail'\]"):
        anatomy_of(skeleton, bodies={"tail": "a"})
    names = ("hip", "knee", "ankle", "toe")
    legs = {f"{s}_{p}": f"{s[0].upper()}{n}" for s in ("left", "right") for p, n in zip(names, "bcde", strict=True)}
    anatomy = anatomy_of(skeleton, bodies=legs)
    assert set(anatomy.parts) == {"pelvis", "head", *legs}, "no arms, so no chest"
