"""The built-in characters against the published tables."""

from enum import Enum
from pathlib import Path

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
    "g1": {
        "pelvis": 3.813,
        "head": 0.0,
        "left_hip_pitch_link": 1.35,
        "left_hip_roll_link": 1.52,
        "left_hip_yaw_link": 1.702,
        "left_knee_link": 1.932,
        "left_ankle_pitch_link": 0.074,
        "left_ankle_roll_link": 0.608,
        "right_hip_pitch_link": 1.35,
        "right_hip_roll_link": 1.52,
        "right_hip_yaw_link": 1.702,
        "right_knee_link": 1.932,
        "right_ankle_pitch_link": 0.074,
        "right_ankle_roll_link": 0.608,
        "waist_yaw_link": 0.214,
        "waist_roll_link": 0.086,
        "torso_link": 7.818,
        "left_shoulder_pitch_link": 0.718,
        "left_shoulder_roll_link": 0.643,
        "left_shoulder_yaw_link": 0.734,
        "left_elbow_link": 0.6,
        "left_wrist_roll_link": 0.085,
        "left_wrist_pitch_link": 0.484,
        "left_wrist_yaw_link": 0.255,
        "left_rubber_hand": 0.0,
        "right_shoulder_pitch_link": 0.718,
        "right_shoulder_roll_link": 0.643,
        "right_shoulder_yaw_link": 0.734,
        "right_elbow_link": 0.6,
        "right_wrist_roll_link": 0.085,
        "right_wrist_pitch_link": 0.484,
        "right_wrist_yaw_link": 0.255,
        "right_rubber_hand": 0.0,
    },
    "h1": {
        "pelvis": 5.39,
        "left_hip_yaw_link": 2.244,
        "left_hip_roll_link": 2.232,
        "left_hip_pitch_link": 4.152,
        "left_knee_link": 1.721,
        "left_ankle_link": 0.446,
        "right_hip_yaw_link": 2.244,
        "right_hip_roll_link": 2.232,
        "right_hip_pitch_link": 4.152,
        "right_knee_link": 1.721,
        "right_ankle_link": 0.446,
        "torso_link": 17.789,
        "left_shoulder_pitch_link": 1.033,
        "left_shoulder_roll_link": 0.793,
        "left_shoulder_yaw_link": 0.839,
        "left_elbow_link": 0.669,
        "right_shoulder_pitch_link": 1.033,
        "right_shoulder_roll_link": 0.793,
        "right_shoulder_yaw_link": 0.839,
        "right_elbow_link": 0.669,
    },
    "smplx": {
        "Pelvis": 18.537,
        "L_Hip": 7.282,
        "L_Knee": 3.471,
        "L_Ankle": 0.705,
        "L_Toe": 0.164,
        "R_Hip": 6.855,
        "R_Knee": 3.773,
        "R_Ankle": 0.706,
        "R_Toe": 0.164,
        "Torso": 3.616,
        "Spine": 3.975,
        "Chest": 10.05,
        "Neck": 0.85,
        "Head": 4.335,
        "L_Thorax": 1.086,
        "L_Shoulder": 1.97,
        "L_Elbow": 1.037,
        "L_Wrist": 0.261,
        "L_Index1": 0.008,
        "L_Index2": 0.004,
        "L_Index3": 0.003,
        "L_Middle1": 0.009,
        "L_Middle2": 0.004,
        "L_Middle3": 0.003,
        "L_Pinky1": 0.003,
        "L_Pinky2": 0.003,
        "L_Pinky3": 0.001,
        "L_Ring1": 0.006,
        "L_Ring2": 0.004,
        "L_Ring3": 0.002,
        "L_Thumb1": 0.015,
        "L_Thumb2": 0.008,
        "L_Thumb3": 0.007,
        "R_Thorax": 1.276,
        "R_Shoulder": 1.999,
        "R_Elbow": 1.044,
        "R_Wrist": 0.252,
        "R_Index1": 0.008,
        "R_Index2": 0.004,
        "R_Index3": 0.003,
        "R_Middle1": 0.009,
        "R_Middle2": 0.004,
        "R_Middle3": 0.003,
        "R_Pinky1": 0.003,
        "R_Pinky2": 0.003,
        "R_Pinky3": 0.001,
        "R_Ring1": 0.006,
        "R_Ring2": 0.004,
        "R_Ring3": 0.002,
        "R_Thumb1": 0.015,
        "R_Thumb2": 0.008,
        "R_Thumb3": 0.007,
    },
}
SHARED_DATA = Path(__file__).parents[3] / "shared" / "data"
SIZES = {  # bodies, degrees of freedom, kg
    "amp": (15, 28, 49.457),
    "amp36": (15, 36, 49.457),
    "smpl": (24, 69, 63.314),
    "smplx": (52, 153, 73.568),
    "sword_shield": (17, 31, 52.279),
    "h1": (20, 19, 51.437),
    "h1_hands": (22, 19, 51.437),
    "g1": (33, 29, 33.341),
}
HEIGHTS = {"smpl": 1.7, "smplx": 1.72, "h1": 1.79, "h1_hands": 1.79, "g1": 1.36}
HEIGHTS |= {"amp": 1.62, "amp36": 1.62, "sword_shield": 1.62}
"""m from sole to crown; the robots' as their meshes have it with straight legs"""


def masses_of(name: str) -> dict[str, float]:
    """The published masses in depth-first order."""
    table = dict(MASSES[{"amp36": "amp", "sword_shield": "amp", "h1_hands": "h1"}.get(name, name)])
    extra = {
        "sword_shield": [("right_hand", "sword", 0.701), ("left_lower_arm", "shield", 2.121)],
        "h1_hands": [(f"{side}_elbow_link", f"{side}_arm_end_effector", 0.0) for side in ("left", "right")],
    }
    for after, body, mass in extra.get(name, []):
        rows = list(table.items())
        place = list(table).index(after) + 1
        table = dict([*rows[:place], (body, mass), *rows[place:]])
    return table


@pytest.mark.parametrize("name", sorted(SIZES))
def test_sizes_and_masses(name: str):
    skeleton, model = models.skeleton(name), models.character_model(name).spec().compile()
    bodies, dofs, mass = SIZES[name]
    assert (skeleton.num_bodies, skeleton.num_dofs) == (bodies, dofs)
    assert model.body_mass.sum() == pytest.approx(mass, rel=1e-3)
    found = {body: float(model.body(body).mass[0]) for body in skeleton.body_names}
    assert list(found) == list(masses_of(name)), "depth-first order"
    for body, expected in masses_of(name).items():
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
def test_a_standing_character_is_as_tall_as_its_kind_and_faces_x(name: str):
    skeleton = models.skeleton(name)
    local = skeleton.local_rotations_from_dofs(torch.zeros(skeleton.num_dofs))
    positions, rotations = forward_kinematics(skeleton, torch.zeros(3), local)
    points = models.collision_points(name)
    over = torch.tensor([1.0, 0.0, 0.0, 0.0])  # head down, the crown is the lowest point
    flipped = forward_kinematics(skeleton, torch.zeros(3), torch.cat([over[None], local[1:]]))
    height = -float(points.lowest(*flipped).min() + points.lowest(positions, rotations).min())
    assert height == pytest.approx(HEIGHTS[name], abs=0.02)
    toes = [i for i, b in enumerate(skeleton.body_names) if b in ("L_Toe", "R_Toe")]
    assert (positions[toes, 0] > 0).all()
    left = [i for i, b in enumerate(skeleton.body_names) if b.startswith(("L_", "left_"))]
    assert (positions[left, 1] > 0).all()


@pytest.mark.parametrize("name", sorted(models.MODELS))
def test_a_character_at_rest_touches_nothing_and_moves_freely(name: str):
    model = models.character_model(name).spec().compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    pairs = {
        (model.body(model.geom_bodyid[c.geom1]).name, model.body(model.geom_bodyid[c.geom2]).name) for c in data.contact
    }
    assert not pairs
    moving = model.body_dofnum > 0
    assert (model.body_mass[moving] > 0).all()
    assert (model.body_inertia[moving] > 0).all()


def test_soles_lie_as_deep_below_the_ankles_as_the_robots_do():
    """Unitree's own meshes: the lowest vertex of H1's foot is at -0.070 m, of G1's at -0.035 m."""
    for name, foot, depth in (("h1", "left_ankle_link", 0.070), ("g1", "right_ankle_roll_link", 0.035)):
        body = models.skeleton(name).body_indices([foot])[0]
        skeleton = models.skeleton(name)
        positions, rotations = forward_kinematics(
            skeleton, torch.zeros(3), skeleton.local_rotations_from_dofs(torch.zeros(skeleton.num_dofs))
        )
        lowest = models.collision_points(name).lowest(positions, rotations)
        assert float(positions[body, 2] - lowest[body]) == pytest.approx(depth, abs=1e-5)
        assert float(lowest.min()) == pytest.approx(float(lowest[body]), abs=1e-5)


def test_motors_of_the_robots_have_their_torque():
    efforts = {
        "g1": {"left_hip_pitch_joint": 88, "right_knee_joint": 139, "right_wrist_yaw_joint": 5},
        "h1": {"left_knee_joint": 300, "right_ankle_joint": 40, "torso_joint": 200, "left_elbow_joint": 18},
    }
    for name, table in efforts.items():
        model = models.character_model(name).spec().compile()
        assert {joint: model.jnt_actfrcrange[model.joint(joint).id].tolist() for joint in table} == {
            joint: [-effort, effort] for joint, effort in table.items()
        }


def test_links_of_the_robots_lean_at_rest():
    """At joint zero G1's thighs and shins cancel, so that the soles are level; so do H1's shoulders."""
    for name, leaning, level in (
        ("g1", "left_hip_roll_link", "left_ankle_roll_link"),
        ("h1", "right_shoulder_pitch_link", "right_shoulder_roll_link"),
    ):
        skeleton = models.skeleton(name)
        _, rotations = forward_kinematics(
            skeleton, torch.zeros(3), skeleton.local_rotations_from_dofs(torch.zeros(skeleton.num_dofs))
        )
        lean, none = rotations[skeleton.body_indices([leaning, level])]
        assert abs(float(lean[3])) < 0.998
        assert abs(float(none[3])) == pytest.approx(1.0, abs=1e-6)


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


class _State(Enum):
    COMMON = "common"


@pytest.mark.parametrize(("name", "file", "error"), [("g1", "g1_walk", 5e-6), ("smplx", "smplx_walking", 2e-6)])
def test_recorded_bodies_stand_where_the_tables_put_them(name: str, file: str, error: float):
    """Clips of other projects hold the positions of all bodies beside the joint coordinates."""
    path = SHARED_DATA / "protomotions" / f"{file}.motion"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    with torch.serialization.safe_globals(
        [(_State, "protomotions.simulator.base_simulator.simulator_state.StateConversion")]
    ):
        clip = torch.load(path, weights_only=True)
    skeleton, expected = models.skeleton(name), clip["rigid_body_pos"].double()
    rotations = clip["rigid_body_rot"].double()
    local = skeleton.local_rotations_from_dofs(clip["dof_pos"].double(), rotations[:, 0])
    positions, found = forward_kinematics(skeleton, expected[:, 0], local)
    torch.testing.assert_close(positions, expected, atol=error, rtol=0)
    if name == "g1":  # walks on the ground; the median frame stands
        lowest = models.collision_points(name).lowest(positions, found).amin(dim=-1)
        assert abs(float(lowest.median())) < 5e-3
