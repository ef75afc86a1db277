"""The built-in characters against the published tables."""

import mujoco
import numpy as np
import pytest
import torch

from poselib import models
from poselib.kinematics import forward_kinematics

# kg, of the characters' own MJCF files compiled by MuJoCo
MASSES = {
    "amp": {
        "pelvis": 9.996,
        "torso": 12.011,
        "head": 4.448,
        "right_upper_arm": 1.499,
        "right_lower_arm": 1.0,
        "right_hand": 0.5,
        "left_upper_arm": 1.499,
        "left_lower_arm": 1.0,
        "left_hand": 0.5,
        "right_thigh": 4.502,
        "right_shin": 3.0,
        "right_foot": 1.0,
        "left_thigh": 4.502,
        "left_shin": 3.0,
        "left_foot": 1.0,
    },
    "smpl": {
        "Pelvis": 5.125,
        "L_Hip": 7.472,
        "L_Knee": 3.548,
        "L_Ankle": 1.524,
        "L_Toe": 0.379,
        "R_Hip": 7.337,
        "R_Knee": 3.549,
        "R_Ankle": 1.598,
        "R_Toe": 0.408,
        "Torso": 4.4,
        "Spine": 3.895,
        "Chest": 9.604,
        "Neck": 0.645,
        "Head": 4.252,
        "L_Thorax": 1.086,
        "L_Shoulder": 1.896,
        "L_Elbow": 1.05,
        "L_Wrist": 0.298,
        "L_Hand": 0.398,
        "R_Thorax": 1.06,
        "R_Shoulder": 1.983,
        "R_Elbow": 1.086,
        "R_Wrist": 0.316,
        "R_Hand": 0.408,
    },
}
SIZES = {"amp": (15, 28, 49.457), "smpl": (24, 69, 63.314)}  # bodies, degrees of freedom, kg


@pytest.mark.parametrize("name", sorted(SIZES))
def test_sizes_and_masses(name: str):
    skeleton, model = models.skeleton(name), models.character_model(name).spec().compile()
    bodies, dofs, mass = SIZES[name]
    assert (skeleton.num_bodies, skeleton.num_dofs) == (bodies, dofs)
    assert model.body_mass.sum() == pytest.approx(mass, rel=1e-3)
    found = {body: float(model.body(body).mass[0]) for body in skeleton.body_names}
    assert list(found) == list(MASSES[name]), "depth-first order"
    for body, expected in MASSES[name].items():
        # The table rounds to a gram, which is more than 0.1 % of a hand.
        assert found[body] == pytest.approx(expected, rel=1e-3, abs=6e-4), body


def test_amp_limits_and_kinds():
    skeleton = models.skeleton("amp")
    limits = dict(zip(skeleton.dof_names, np.degrees(skeleton.dof_limits.numpy()).tolist(), strict=True))
    assert limits["right_knee"] == pytest.approx([0, 160], abs=1e-3)
    assert limits["left_elbow"] == pytest.approx([-160, 0], abs=1e-3)
    assert limits["abdomen_y"] == pytest.approx([-60, 90], abs=1e-3)
    assert limits["left_shoulder_x"] == pytest.approx([-45, 180], abs=1e-3)
    kinds = dict(zip(skeleton.body_names, (j.kind for j in skeleton.joints), strict=True))
    assert [b for b, kind in kinds.items() if kind == "hinge"] == [
        "right_lower_arm",
        "left_lower_arm",
        "right_shin",
        "left_shin",
    ]
    assert [b for b, kind in kinds.items() if kind == "fixed"] == ["pelvis", "right_hand", "left_hand"]


def test_the_amp_character_is_symmetric():
    skeleton = models.skeleton("amp")
    rotations = skeleton.local_rotations_from_dofs(torch.zeros(skeleton.num_dofs))
    positions, _ = forward_kinematics(skeleton, torch.zeros(3), rotations)
    for body in (b for b in skeleton.body_names if b.startswith("left_")):
        left, right = skeleton.body_indices([body, body.replace("left", "right")])
        torch.testing.assert_close(positions[left], positions[right] * torch.tensor([1.0, -1.0, 1.0]))


@pytest.mark.parametrize("name", sorted(models.MODELS))
def test_a_standing_character_is_as_tall_as_a_person_and_faces_x(name: str):
    skeleton = models.skeleton(name)
    local = skeleton.local_rotations_from_dofs(torch.zeros(skeleton.num_dofs))
    positions, rotations = forward_kinematics(skeleton, torch.zeros(3), local)
    lowest = models.collision_points(name).lowest(positions, rotations)
    head = positions[next(i for i, b in enumerate(skeleton.body_names) if b.lower() == "head"), 2]
    assert 1.3 < float(head - lowest.min()) < 1.7
    toes = [i for i, b in enumerate(skeleton.body_names) if b in ("L_Toe", "R_Toe")]
    assert (positions[toes, 0] > 0).all()
    left = [i for i, b in enumerate(skeleton.body_names) if b.startswith(("L_", "left_"))]
    assert (positions[left, 1] > 0).all()


@pytest.mark.parametrize("name", sorted(models.MODELS))
def test_the_mjcf_text_is_the_model(name: str):
    spec = models.character_model(name).spec()
    model = spec.compile()
    again = mujoco.MjModel.from_xml_string(spec.to_xml())
    np.testing.assert_allclose(again.body_mass, model.body_mass, rtol=1e-4)
    np.testing.assert_allclose(again.jnt_range, model.jnt_range, atol=1e-4)
    assert again.nexclude == len(models.character_model(name).contact_excludes)
    assert (model.nu, model.ngeom) == (0, sum(len(body.geoms) for body in models.character_model(name).bodies))


def test_an_unknown_character_names_the_nearest():
    with pytest.raises(KeyError, match=r"there are.*'smpl'.*did you mean 'smpl'"):
        models.character_model("smpll")
