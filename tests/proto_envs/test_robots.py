import math
from dataclasses import replace

import mujoco
import numpy as np
import pytest
import torch

from poselib import models
from proto_envs.registration import ROBOTS_OF_TASK
from proto_envs.robots import ROBOTS, Drive, get_robot
from proto_envs.simulators import SimulationSettings
from proto_envs.simulators.mjcf import GROUND, JointLayout, physics_spec


def compiled(robot, **settings):
    return physics_spec(robot, SimulationSettings(**settings)).compile()


# --- tables ----------------------------------------------------------------------------------------------------------


def test_every_robot_has_its_ids():
    assert all(set(robots) <= set(ROBOTS) for robots in ROBOTS_OF_TASK.values())
    assert set(ROBOTS_OF_TASK["Mimic"]) == set(ROBOTS)


@pytest.mark.parametrize("name", ROBOTS)
def test_every_built_in_robot_is_complete(name):
    robot = get_robot(name)
    assert robot.name == name
    bodies = set(robot.skeleton.body_names)
    assert {*robot.feet, *robot.key_bodies, *robot.semantic.values()} <= bodies
    assert set(robot.semantic) >= {"head", "torso", "left_hand", "right_hand", "left_foot", "right_foot"}
    assert len(robot.dof_drives) == robot.skeleton.num_dofs
    assert all(d.stiffness > 0 and d.damping > 0 and d.effort > 0 for d in robot.dof_drives)


def test_every_pattern_of_drives_is_used(robot):
    used = {id(drive) for drive in robot.dof_drives}
    assert {id(drive) for drive in robot.drives.values()} == used


def test_a_joint_without_a_drive_is_named(amp):
    drives = {pattern: drive for pattern, drive in amp.drives.items() if pattern != "neck_*"}
    with pytest.raises(ValueError, match=r"robot AMP: joint 'neck_x' must match one drive pattern, matches \[\]"):
        _ = replace(amp, drives=drives).dof_drives


def test_a_joint_with_two_drives_is_named(amp):
    drives = {**amp.drives, "neck_z": Drive(1, 1, 1)}
    with pytest.raises(
        ValueError, match=r"joint 'neck_z' must match one drive pattern, matches \['neck_\*', 'neck_z'\]"
    ):
        _ = replace(amp, drives=drives).dof_drives


def test_an_unknown_robot_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"no robot 'smlp'.*\['AMP', .*'SMPL'.*\].*did you mean 'SMPL'"):
        get_robot("smlp")


@pytest.mark.parametrize("name", ROBOTS)
def test_what_is_simulated_weighs_what_the_character_weighs(name):
    """`tests/poselib/test_models.py` holds the characters against published tables."""
    robot = get_robot(name)
    simulated, character = compiled(robot), models.character_model(robot.model).spec().compile()
    assert simulated.nv == 6 + models.skeleton(robot.model).num_dofs
    for body in models.skeleton(robot.model).body_names:
        assert simulated.body(body).mass == pytest.approx(character.body(body).mass, rel=1e-6), body
    assert simulated.body_mass.sum() == pytest.approx(character.body_mass.sum(), rel=1e-6)


def test_g1_has_the_drives_of_beyondmimic():
    """Its published stiffness, damping and effort; 10 Hz and damping ratio 2 on what the rotors weigh."""
    robot, model = get_robot("G1"), compiled(get_robot("G1"))
    wanted = {
        "left_hip_pitch_joint": (40.179, 2.558, 88, 0.010178),
        "right_hip_roll_joint": (99.098, 6.309, 139, 0.025102),
        "left_knee_joint": (99.098, 6.309, 139, 0.025102),
        "right_ankle_roll_joint": (28.501, 1.814, 50, 0.007219),
        "waist_pitch_joint": (28.501, 1.814, 50, 0.007219),
        "waist_yaw_joint": (40.179, 2.558, 88, 0.010178),
        "left_wrist_roll_joint": (14.251, 0.907, 25, 0.003610),
        "left_wrist_yaw_joint": (16.778, 1.068, 5, 0.00425),
    }
    for name, (stiffness, damping, effort, armature) in wanted.items():
        drive = robot.dof_drives[robot.skeleton.dof_names.index(name)]
        assert (drive.stiffness, drive.damping, drive.effort) == pytest.approx((stiffness, damping, effort), rel=1e-3)
        joint = model.joint(name)
        assert model.dof_armature[joint.dofadr[0]] == pytest.approx(armature, rel=1e-3)
        assert not model.jnt_actfrclimited[joint.id], "the drive has the limit"


def test_the_links_inside_others_do_not_collide():
    model = compiled(get_robot("G1"), self_collision=True)
    inside = model.body("left_ankle_pitch_link").geomadr[0]
    assert model.geom_contype[inside] == model.geom_conaffinity[inside] == 0


def test_goals_name_the_root_the_head_hands_and_feet():
    assert get_robot("SMPL").trackable_bodies == ("Pelvis", "L_Ankle", "R_Ankle", "Head", "L_Hand", "R_Hand")
    g1 = get_robot("G1").trackable_bodies
    feet, hands = (tuple(f"{side}_{end}" for side in ("left", "right")) for end in ("ankle_roll_link", "rubber_hand"))
    assert g1 == ("pelvis", "head", *feet, *hands)


def test_sword_and_shield_may_touch_the_ground():
    assert get_robot("SwordShield").contacts_allowed == ("right_foot", "left_foot", "sword", "shield")
    assert get_robot("AMP").contacts_allowed == get_robot("AMP").feet


# --- what an action means --------------------------------------------------------------------------------------------


def test_actions_cover_the_limits_of_every_joint(robot):
    limits = robot.skeleton.dof_limits
    low, high = robot.action_offset - robot.action_scale, robot.action_offset + robot.action_scale
    assert (low <= limits[:, 0].clamp_min(-math.pi) + 1e-6).all()
    assert (high >= limits[:, 1].clamp_max(math.pi) - 1e-6).all()
    assert (robot.action_scale > 0).all() and (robot.action_scale <= math.pi + 1e-6).all()


def test_the_three_axes_of_a_ball_have_one_scale_and_no_offset(robot):
    dof = 0
    for joint in robot.skeleton.joints:
        mine = slice(dof, dof + len(joint.names))
        if joint.kind == "ball":
            assert not robot.action_offset[mine].any()
            assert len(set(robot.action_scale[mine].tolist())) == 1
        elif joint.kind == "hinge":
            assert float(robot.action_offset[mine]) == pytest.approx(0.5 * (joint.lower[0] + joint.upper[0]))
        dof += len(joint.names)


def test_g1s_actions_ask_for_effort_about_the_default_pose():
    """BeyondMimic: target = default + action · effort / stiffness; its quarter is for unbounded actions."""
    robot = get_robot("G1")
    knee = robot.skeleton.dof_names.index("left_knee_joint")
    assert float(robot.action_offset[knee]) == pytest.approx(0.669)
    assert float(robot.action_scale[knee]) == pytest.approx(139 / 99.098, rel=1e-3)


def test_h1s_actions_cover_its_range_from_the_default_pose():
    robot = get_robot("H1")
    hip = robot.skeleton.dof_names.index("left_hip_pitch_joint")
    assert float(robot.action_offset[hip]) == pytest.approx(-0.4)
    assert float(robot.action_scale[hip]) == pytest.approx(1.4 * (math.radians(89.95) + 0.4))
    low, high = robot.action_offset - robot.action_scale, robot.action_offset + robot.action_scale
    assert (low <= robot.skeleton.dof_limits[:, 0]).all() and (high >= robot.skeleton.dof_limits[:, 1]).all()


# --- the physics model -----------------------------------------------------------------------------------------------


def test_stacked_hinges_become_one_ball_joint_with_three_actuators(robot):
    model, skeleton = compiled(robot), robot.skeleton
    kinds = [joint.kind for joint in skeleton.joints]
    assert (model.jnt_type == mujoco.mjtJoint.mjJNT_BALL).sum() == kinds.count("ball")
    assert (model.jnt_type == mujoco.mjtJoint.mjJNT_HINGE).sum() == kinds.count("hinge")
    assert model.nv == 6 + skeleton.num_dofs
    dofs = skeleton.num_dofs
    assert model.nu == 2 * dofs
    assert tuple(model.actuator(i).name for i in range(dofs)) == skeleton.dof_names
    for i in range(dofs):
        body = model.jnt_bodyid[model.actuator_trnid[i, 0]]
        assert model.body(body).name == skeleton.body_names[skeleton.dof_bodies[i]]


def test_drives_are_where_mujoco_wants_them(robot):
    model, layout = compiled(robot), JointLayout.of(robot, compiled(robot))
    for i, drive in enumerate(robot.dof_drives):
        assert model.actuator_gainprm[i, 0] == drive.stiffness == -model.actuator_biasprm[i, 1]
        returned = len(robot.dof_drives) + i
        assert -model.actuator_biasprm[i, 2] == model.actuator_biasprm[returned, 2] == drive.damping
        assert model.actuator_trnid[i, 0] == model.actuator_trnid[returned, 0]
        assert model.dof_damping[layout.dof_qvel[i]] == drive.damping
        np.testing.assert_array_equal(model.actuator_forcerange[i], [-drive.effort, drive.effort])
        assert model.actuator_forcelimited[i] and not model.actuator_ctrllimited[i]
        assert not model.actuator_forcelimited[returned]
    assert not model.dof_damping[:6].any()


def test_a_ball_whose_axes_differ_in_damping_is_refused(amp):
    drives = {**amp.drives, "neck_[xy]": Drive(100, 10, 50), "neck_z": Drive(100, 20, 50)}
    del drives["neck_*"]
    with pytest.raises(ValueError, match="body 'head': the three axes of a ball joint share one damping"):
        compiled(replace(amp, drives=drives))


def test_the_length_of_a_balls_actuators_is_its_rotation_vector(robot):
    model, skeleton = compiled(robot), robot.skeleton
    data, layout = mujoco.MjData(model), JointLayout.of(robot, model)
    dofs = 0.8 * torch.rand(skeleton.num_dofs, generator=torch.Generator().manual_seed(0)) - 0.4
    local = skeleton.local_rotations_from_dofs(dofs).numpy()
    data.qpos[layout.hinge_qpos] = dofs.numpy()[layout.hinge_dofs]
    data.qpos[layout.ball_qpos] = np.roll(local[layout.ball_bodies], 1, axis=-1)
    mujoco.mj_forward(model, data)
    np.testing.assert_allclose(data.actuator_length.reshape(2, -1), [dofs, dofs], atol=1e-5)


def test_the_time_step_and_the_safeguards_are_set(amp):
    model = compiled(amp, control_hz=50.0, substeps=5, gravity=-1.6)
    assert model.opt.timestep == pytest.approx(1 / 250)
    assert model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_AUTORESET
    assert model.opt.integrator == mujoco.mjtIntegrator.mjINT_EULER
    np.testing.assert_array_equal(model.opt.gravity, [0, 0, -1.6])


@pytest.mark.parametrize("self_collision", [False, True])
def test_bodies_collide_with_each_other_only_when_asked(robot, self_collision):
    model = compiled(robot, self_collision=self_collision)
    floor = model.geom(GROUND).id
    data, between = mujoco.MjData(model), 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        # Curled up in the air.
        mujoco.mj_resetData(model, data)
        data.qpos[2] = 5.0
        data.qvel[6:] = rng.uniform(-1, 1, model.nv - 6)
        mujoco.mj_integratePos(model, data.qpos, data.qvel, 1.2)
        mujoco.mj_fwdPosition(model, data)
        between += sum(floor not in contact.geom for contact in data.contact)
    assert (between > 0) == self_collision
    data.qpos[2] = 0.0
    mujoco.mj_fwdPosition(model, data)
    assert any(floor in contact.geom for contact in data.contact)


def test_contact_sensors_stand_in_body_order_and_only_when_asked(robot):
    assert compiled(robot).nsensor == 0
    model = compiled(robot, contact_forces=True)
    assert tuple(model.sensor(i).name for i in range(model.nsensor)) == tuple(
        f"contact_{body}" for body in robot.skeleton.body_names
    )
    assert (model.sensor_dim == 3).all()
