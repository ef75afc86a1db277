"""Reading skeletons from MJCF: what must load, and what must fail with which words."""

import math
from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from poselib import models
from poselib.rotations import quat_identity
from poselib.skeleton import Skeleton, SkeletonError

XYZ = "".join(f'<joint name="arm_{a}" axis="{v}"/>' for a, v in zip("xyz", ("1 0 0", "0 1 0", "0 0 1"), strict=True))


def mjcf(joints: str, *, root: str = '<freejoint name="root"/>', arm: str = 'name="arm" pos="0 0.2 0"', top: str = ""):
    return f"""
    <mujoco model="puppet">{top}
      <worldbody>
        <geom name="floor" type="plane" size="1 1 1"/>
        <body name="trunk" pos="0 0 1">{root}<geom size="0.1"/>
          <body {arm}>{joints}<geom size="0.1"/>
            <body name="hand" pos="0 0.3 0"><geom size="0.05"/></body>
          </body>
          <body name="leg" pos="0 0 -0.5"><joint name="leg" axis="0 2 0" range="-30 60"/><geom size="0.1"/></body>
        </body>
      </worldbody>
    </mujoco>"""


def test_bodies_and_dofs_stand_in_depth_first_order():
    skeleton = Skeleton.from_mjcf(mjcf(XYZ))
    assert skeleton.name == "puppet"
    assert skeleton.body_names == ("trunk", "arm", "hand", "leg")
    assert skeleton.parents == (-1, 0, 1, 0)
    assert skeleton.dof_names == ("arm_x", "arm_y", "arm_z", "leg")
    assert skeleton.dof_bodies == (1, 1, 1, 3)
    assert [joint.kind for joint in skeleton.joints] == ["fixed", "ball", "fixed", "hinge"]
    torch.testing.assert_close(skeleton.offsets, torch.tensor([[0, 0, 1], [0, 0.2, 0], [0, 0.3, 0], [0, 0, -0.5]]))
    torch.testing.assert_close(skeleton.rest_rotations, quat_identity(4))
    np.testing.assert_allclose(skeleton.dof_limits[3], np.radians([-30, 60]), atol=1e-6)
    np.testing.assert_allclose(skeleton.dof_limits[0], [-math.pi, math.pi], atol=1e-6)


def test_a_ball_joint_gives_three_dofs_and_its_cone():
    skeleton = Skeleton.from_mjcf(mjcf('<joint name="shoulder" type="ball" range="0 90" limited="true"/>'))
    assert skeleton.joints[1].kind == "ball"
    assert skeleton.dof_names[:3] == ("shoulder_x", "shoulder_y", "shoulder_z")
    np.testing.assert_allclose(skeleton.dof_limits[:3], [[-math.pi / 2, math.pi / 2]] * 3, atol=1e-6)


def test_a_hinge_axis_is_made_unit():
    assert Skeleton.from_mjcf(mjcf("")).joints[3].axes == ((0.0, 1.0, 0.0),)


def test_file_spec_and_string_agree(tmp_path: Path):
    path = tmp_path / "puppet.xml"
    path.write_text(mjcf(XYZ))
    spec = mujoco.MjSpec.from_string(mjcf(XYZ))
    geoms = len(spec.geoms)
    for source in (path, str(path), spec):
        assert Skeleton.from_mjcf(source).dof_names == ("arm_x", "arm_y", "arm_z", "leg")
    assert len(spec.geoms) == geoms, "the caller's spec must stay as it is"


def test_rest_orientations_come_from_euler_degrees_and_defaults():
    top = """<compiler angle="degree" eulerseq="xyz"/>
      <default><joint range="-20 20" limited="true"/>
        <default class="wide"><joint range="-90 45" axis="1 0 0"/></default></default>"""
    joint = '<joint name="arm" class="wide"/>'
    skeleton = Skeleton.from_mjcf(mjcf(joint, top=top, arm='name="arm" euler="30 -40 50"'))
    expected = Rotation.from_euler("XYZ", [30, -40, 50], degrees=True)
    found = Rotation.from_quat(skeleton.rest_rotations[1].numpy())
    assert (found * expected.inv()).magnitude() < 1e-6
    np.testing.assert_allclose(skeleton.dof_limits[0], np.radians([-90, 45]), atol=1e-6)
    assert skeleton.joints[1].axes == ((1.0, 0.0, 0.0),)


def test_radians_stay_radians():
    skeleton = Skeleton.from_mjcf(
        mjcf("", top='<compiler angle="radian" autolimits="true"/>').replace("-30 60", "-1 2")
    )
    np.testing.assert_allclose(skeleton.dof_limits[0], [-1, 2], atol=1e-6)


def test_missing_meshes_and_textures_do_not_matter():
    top = """<asset><mesh name="skin" file="not/there.stl"/>
      <texture name="cloth" type="2d" file="nor/there.png"/><material name="cloth" texture="cloth"/></asset>
      <compiler inertiafromgeom="true"/>"""
    text = mjcf(XYZ + '<geom type="mesh" mesh="skin" material="cloth"/>', top=top)
    text = text.replace("</mujoco>", '<actuator><motor joint="leg"/></actuator></mujoco>')
    assert Skeleton.from_mjcf(text).num_dofs == 4


def test_things_that_refer_to_removed_things_do_not_matter():
    extra = """
      <sensor><framepos objtype="geom" objname="floor"/></sensor>
      <tendon><fixed name="t"><joint joint="leg" coef="1"/></fixed></tendon>
      <equality><weld body1="hand" body2="leg"/></equality>
      <custom><tuple name="g"><element objtype="geom" objname="floor"/></tuple></custom>
      <keyframe><key qpos="0 0 1 1 0 0 0 0 0 0 0"/></keyframe></mujoco>"""
    assert Skeleton.from_mjcf(mjcf(XYZ).replace("</mujoco>", extra)).num_bodies == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (mjcf('<joint name="a" axis="1 0 0" pos="0 0 0.1"/>'), "'arm'.*body's origin"),
        (mjcf('<joint name="a" axis="1 0 0"/><joint name="b" axis="0 1 0"/>'), "'arm'.*three hinges; found.*HINGE"),
        (mjcf('<joint name="a" type="slide"/>'), "'arm'.*found.*SLIDE"),
        (mjcf(XYZ.replace("0 1 0", "1 1 0")), "'arm'.*orthogonal"),
        (mjcf('<joint name="a" ref="20"/>'), "'arm'.*ref = 0"),
        (mjcf("<joint/>"), "'arm'.*no name"),
        (mjcf("", arm='pos="0 0 1"'), "body 2 has no name"),
        (mjcf(XYZ, root=""), "exactly one body with a free joint, found 0"),
        (mjcf(XYZ).replace('name="trunk"', 'name="trunk" euler="0 0 90"'), "'trunk' must have identity orientation"),
        ("<mujoco><worldbody><body></worldbody></mujoco>", "cannot parse"),
        ("no/such/file.xml", "no MJCF file at no/such/file.xml"),
    ],
)
def test_what_is_no_character_of_ours_fails_and_says_why(text: str, words: str):
    with pytest.raises(SkeletonError, match=words):
        Skeleton.from_mjcf(text)


def test_gymnasiums_humanoid_fails_with_the_body_at_fault():
    path = Path(gymnasium.__file__).parent / "envs/mujoco/assets/humanoid.xml"
    with pytest.raises(SkeletonError, match=r"body 'lwaist': joints must sit at the body's origin"):
        Skeleton.from_mjcf(path)


def test_an_unknown_body_is_named_beside_the_known_ones():
    skeleton = Skeleton.from_mjcf(mjcf(XYZ))
    assert skeleton.body_indices(["leg", "trunk"]) == [3, 0]
    with pytest.raises(KeyError, match=r"has no body.*'foot'.*'trunk'"):
        skeleton.body_indices(["foot"])


@pytest.mark.parametrize("name", sorted(models.MODELS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_joint_coordinates_come_back(name: str, dtype: torch.dtype):
    skeleton = models.skeleton(name)
    dofs = torch.rand(6, skeleton.num_dofs, dtype=dtype, generator=torch.Generator().manual_seed(0)) * 3.0 - 1.5
    root = Rotation.random(6, rng=np.random.default_rng(0)).as_quat()
    local = skeleton.local_rotations_from_dofs(dofs, torch.tensor(root, dtype=dtype))
    assert local.shape == (6, skeleton.num_bodies, 4)
    torch.testing.assert_close(local[:, 0], torch.tensor(root, dtype=dtype))
    back = skeleton.dofs_from_local_rotations(-local)
    assert back.dtype == dtype
    torch.testing.assert_close(back, dofs, atol=3e-6 if dtype == torch.float32 else 1e-12, rtol=0)
    velocities = skeleton.joint_velocities_from_dof_velocities(dofs)
    assert (velocities[:, 0] == 0).all()
    torch.testing.assert_close(skeleton.dof_velocities_from_joint_velocities(velocities), dofs)


def test_oblique_hinges_keep_their_angle_and_drop_the_swing():
    skeleton = Skeleton.from_mjcf(mjcf('<joint name="a" axis="3 0 4"/>'))
    dofs = torch.tensor([[2.9, -0.4]])
    local = skeleton.local_rotations_from_dofs(dofs)
    expected = Rotation.from_rotvec(2.9 * np.array([0.6, 0, 0.8]))
    assert (Rotation.from_quat(local[0, 1].numpy()) * expected.inv()).magnitude() < 1e-6
    torch.testing.assert_close(skeleton.dofs_from_local_rotations(local), dofs)
    swing = Rotation.from_rotvec([0, 0.5, 0]) * expected
    local[0, 1] = torch.tensor(swing.as_quat())
    torch.testing.assert_close(skeleton.dofs_from_local_rotations(local), dofs)


def test_turned_axes_of_a_ball_are_read_along_themselves():
    joints = '<joint name="z" axis="0 0 -1"/><joint name="x" axis="1 0 0"/><joint name="y" axis="0 1 0"/>'
    skeleton = Skeleton.from_mjcf(mjcf(joints))
    local = skeleton.local_rotations_from_dofs(torch.tensor([0.3, 0.1, 0.2, 0.0]))
    np.testing.assert_allclose(Rotation.from_quat(local[1].numpy()).as_rotvec(), [0.1, 0.2, -0.3], atol=1e-6)
    torch.testing.assert_close(skeleton.dofs_from_local_rotations(local), torch.tensor([0.3, 0.1, 0.2, 0.0]))


def test_a_skeleton_without_dofs_works():
    skeleton = Skeleton.from_mjcf(
        '<mujoco><worldbody><body name="a"><freejoint/><geom size="1"/></body></worldbody></mujoco>'
    )
    assert skeleton.num_dofs == 0
    assert skeleton.dof_limits.shape == (0, 2)
    local = skeleton.local_rotations_from_dofs(torch.zeros(2, 0))
    assert local.shape == (2, 1, 4)
    assert skeleton.dofs_from_local_rotations(local).shape == (2, 0)


def test_constants_made_in_inference_mode_serve_training():
    skeleton = Skeleton.from_mjcf(mjcf(XYZ))
    with torch.inference_mode():
        skeleton.local_rotations_from_dofs(torch.zeros(4))
    dofs = torch.zeros(4, requires_grad=True)
    skeleton.dofs_from_local_rotations(skeleton.local_rotations_from_dofs(dofs)).sum().backward()
    torch.testing.assert_close(dofs.grad, torch.ones(4))
