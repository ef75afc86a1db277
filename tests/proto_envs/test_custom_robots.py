"""Robots that are not ours: gymnasium's humanoid, and models written for these tests."""

from pathlib import Path

import gymnasium
import mujoco
import numpy as np
import pytest
import torch
from gymnasium.envs import mujoco as gymnasium_mujoco

import proto_envs  # noqa: F401  registers the ids
from proto_envs.motions import load_motions
from proto_envs.robots import Drive, RobotError, RobotOptions, from_mjcf, from_yaml, get_robot
from proto_envs.robots.open_chain import open_chain
from proto_envs.simulators import SimulationSettings
from proto_envs.simulators.mjcf import physics_spec
from proto_envs.simulators.mujoco import MujocoSimulator
from proto_envs.testing import check_engine, check_vector_env

HUMANOID = Path(gymnasium_mujoco.__file__).parent / "assets" / "humanoid.xml"

# A box with two legs of a ball and a hinge each, and arms without joints.
LEG = """
<body name="{s}_thigh" pos="0 {y} -0.1">
  <joint name="{s}_hip" type="ball"{ball}/>
  <geom type="capsule" size="0.05" fromto="0 0 0 0 0 -0.35" density="1000"/>
  <body name="{s}_shin" pos="0 0 -0.4">
    <joint name="{s}_knee" axis="0 1 0" range="0 150" limited="true" stiffness="30" springref="20"/>
    <geom type="capsule" size="0.04" fromto="0 0 0 0 0 -0.35"/>
    <body name="{s}_foot" pos="0 0 -0.4"><geom type="box" size="0.1 0.04 0.02" pos="0.04 0 -0.02"/></body>
  </body>
</body>"""
BIPED = """<mujoco model="biped"><compiler angle="degree"/>
<option gravity="0 0 -9.81"/>
<worldbody><geom type="plane" size="1 1 1"/><light pos="0 0 3"/>
<body name="pelvis" pos="0 0 1">{root}<geom type="box" size="0.1 0.15 0.1"/>
  <geom type="sphere" size="0.3" contype="0" conaffinity="0" mass="0"/>
  {left}{right}{more}
</body></worldbody>{rest}</mujoco>"""


def biped(tmp_path, *, root="<freejoint/>", more="", rest="", ball="", name="biped.xml"):
    left, right = (LEG.format(s=s, y=y, ball=ball) for s, y in (("left", 0.1), ("right", -0.1)))
    path = tmp_path / name
    path.write_text(BIPED.format(root=root, left=left, right=right, more=more, rest=rest))
    return path


ROLES = {"head": "pelvis", "torso": "pelvis", "left_hand": "pelvis", "right_hand": "pelvis"}


@pytest.fixture(scope="module")
def humanoid():
    return from_mjcf(HUMANOID)


# --- the character alone ---------------------------------------------------------------------------------------------


def test_the_open_chain_moves_as_the_file_does():
    """Joints away from the origin, two hinges on a body, turned bodies: the same places and the same inertia."""
    model = mujoco.MjModel.from_xml_path(str(HUMANOID))
    chain = open_chain(model, "chain").compile()
    data, ours = mujoco.MjData(model), mujoco.MjData(chain)
    rng = np.random.default_rng(0)
    data.qpos[7:] = rng.uniform(-1, 1, model.nq - 7)
    for joint in range(1, model.njnt):
        ours.joint(model.joint(joint).name).qpos[:] = data.qpos[model.jnt_qposadr[joint]]
    for m, d in ((model, data), (chain, ours)):
        mujoco.mj_forward(m, d)
    for body in range(1, model.nbody):
        name = model.body(body).name
        np.testing.assert_allclose(ours.body(name).xipos, data.body(name).xipos, atol=1e-12)
        np.testing.assert_allclose(ours.body(name).xmat, data.body(name).xmat, atol=1e-12)
    inertia = np.zeros((2, model.nv, model.nv))
    mujoco.mj_fullM(model, data, inertia[0])
    mujoco.mj_fullM(chain, ours, inertia[1])
    np.testing.assert_allclose(inertia[1], inertia[0], atol=1e-5)  # the links between weigh a microgram each


def test_meshes_come_along(tmp_path):
    mesh = '<asset><mesh name="t" vertex="0 0 0 .1 0 0 0 .1 0 0 0 .1" scale="2 2 2"/></asset>'
    geom = '<body name="tail"><geom type="mesh" mesh="t" pos="0.1 0 0" euler="0 0 90"/></body>'
    model = mujoco.MjModel.from_xml_path(str(biped(tmp_path, more=geom, rest=mesh)))
    corners = []
    for m in (model, open_chain(model, "chain").compile()):
        data = mujoco.MjData(m)
        mujoco.mj_forward(m, data)
        geom_id = int(np.flatnonzero(m.geom_type == mujoco.mjtGeom.mjGEOM_MESH)[0])
        corners.append(data.geom_xpos[geom_id] + m.mesh_vert @ data.geom_xmat[geom_id].reshape(3, 3).T)
    np.testing.assert_allclose(corners[1], corners[0], atol=1e-6)


def test_springs_are_left_behind_and_what_does_not_collide_stays_so(tmp_path):
    robot = from_mjcf(biped(tmp_path), RobotOptions(semantic=ROLES))
    model = physics_spec(robot, SimulationSettings(self_collision=True)).compile()
    assert not model.jnt_stiffness.any()
    (ghost,) = np.flatnonzero(model.geom_contype == 0)
    assert model.geom_size[ghost, 0] == 0.3


@pytest.mark.parametrize(("ball", "cone"), [("", np.pi), (' range="0 70" limited="true"', np.radians(70))])
def test_a_ball_of_the_file_keeps_its_cone(tmp_path, ball, cone):
    robot = from_mjcf(biped(tmp_path, ball=ball), RobotOptions(semantic=ROLES))
    model = physics_spec(robot, SimulationSettings()).compile()
    hip = model.joint("left_thigh")
    assert (model.jnt_range[hip.id, 1] if model.jnt_limited[hip.id] else np.pi) == pytest.approx(cone)
    assert robot.skeleton.dof_names[:4] == ("left_hip_x", "left_hip_y", "left_hip_z", "left_knee")


# --- gains -----------------------------------------------------------------------------------------------------------


def test_position_actuators_give_gains(tmp_path):
    """A gear g makes a joint's stiffness g2 kp; damping of joint and actuator add up."""
    actuators = "".join(
        f'<position joint="{s}_knee" kp="50" kv="3" gear="2" forcerange="-30 30" forcelimited="true"/>'
        for s in ("left", "right")
    )
    hips = {"*_hip_*": Drive(200, 20, 100)}
    robot = from_mjcf(
        biped(tmp_path, rest=f"<actuator>{actuators}</actuator>"), RobotOptions(semantic=ROLES, drives=hips)
    )
    drives = dict(zip(robot.skeleton.dof_names, robot.dof_drives, strict=True))
    assert drives["left_knee"] == Drive(200, 12, 60)
    assert drives["right_hip_y"] == hips["*_hip_*"]


def test_without_position_actuators_gains_follow_the_rule(tmp_path):
    """A knee carries more than it swings; its load by hand."""
    robot = from_mjcf(biped(tmp_path), RobotOptions(semantic=ROLES, frequency=3.0, damping_ratio=0.7))
    drives = dict(zip(robot.skeleton.dof_names, robot.dof_drives, strict=True))
    model = robot.spec().compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    # Above the knee: all but the shin and the foot; twice the stiffness of balance, on two legs.
    shin = model.body("left_shin").id
    carried = model.body_subtreemass[1] - model.body_subtreemass[shin]
    moment = model.body_subtreemass[1] * data.subtree_com[1] - model.body_subtreemass[shin] * data.subtree_com[shin]
    load = carried * 9.81 * (moment[2] / carried - data.xpos[shin, 2])
    knee = drives["left_knee"]
    assert knee.stiffness == pytest.approx(load, rel=1e-6)
    assert knee.damping == pytest.approx(knee.stiffness * 2 * 0.7 / (2 * np.pi * 3.0))
    assert len({drives[f"left_hip_{axis}"] for axis in "xyz"}) == 1


def test_motors_say_how_strong_a_joint_is(humanoid):
    efforts = dict(zip(humanoid.skeleton.dof_names, (d.effort for d in humanoid.dof_drives), strict=True))
    assert efforts["right_hip_y"] == pytest.approx(300 * 0.4)
    assert efforts["left_elbow"] == pytest.approx(25 * 0.4)


# --- gymnasium's humanoid from start to end --------------------------------------------------------------------------


def test_the_humanoid_is_recognised(humanoid):
    assert humanoid.name == "humanoid"
    assert (humanoid.skeleton.num_bodies, humanoid.skeleton.num_dofs) == (16, 17)
    assert humanoid.feet == ("left_foot", "right_foot")
    assert humanoid.semantic["left_hand"] == "left_lower_arm"
    assert humanoid.semantic["torso"] == humanoid.skeleton.body_names[0] == "torso"
    original = mujoco.MjModel.from_xml_path(str(HUMANOID))
    assert humanoid.spec().compile().body_mass.sum() == pytest.approx(original.body_mass.sum(), abs=1e-4)
    low, high = humanoid.skeleton.dof_limits.unbind(-1)
    assert ((humanoid.default_dofs >= low - 1e-6) & (humanoid.default_dofs <= high + 1e-6)).all()


def test_engines_pass_their_checks_on_the_humanoid(humanoid):
    check_engine(MujocoSimulator, humanoid)


def test_a_sample_is_retargeted_onto_the_humanoid(humanoid):
    library, again = load_motions("walk", humanoid), load_motions("walk", from_mjcf(HUMANOID))
    source = load_motions("walk", get_robot("AMP"))
    assert torch.equal(library.body_positions, again.body_positions), "the same each time"
    state = library.get_motion_state(torch.zeros(30, dtype=torch.long), torch.linspace(0.0, 1.25, 30))
    dofs = humanoid.skeleton.dofs_from_local_rotations(library.local_rotations)
    low, high = humanoid.skeleton.dof_limits.unbind(-1)
    assert ((dofs >= low - 1e-3) & (dofs <= high + 1e-3)).all()
    lowest = humanoid.collision_points.lowest(state.body_positions, state.body_rotations).amin(-1)
    assert float(lowest.min()) > -0.01 and float(lowest.max()) < 0.05, "it walks on the ground"
    # Strides grow as legs do: thigh and shin of the file and of AMP.
    legs = (0.403 + 0.02 + 0.45) / (0.4215 + 0.4099)
    ways = [clips.body_positions[-1, 0, 0] - clips.body_positions[0, 0, 0] for clips in (library, source)]
    assert float(ways[0] / ways[1]) == pytest.approx(legs, rel=0.1)


def test_a_task_runs_on_the_humanoid(humanoid):
    def make():
        return gymnasium.make_vec(
            "ProtoMimic-v0", num_envs=2, robot=humanoid, motions="walk", threads=1, task={"episode_seconds": 0.3}
        )

    check_vector_env(make, steps=12)


@pytest.mark.parametrize("as_path", [str, Path])
def test_the_file_itself_does_for_a_robot(as_path):
    env = gymnasium.make_vec("ProtoMimic-v0", num_envs=1, robot=as_path(HUMANOID), motions="kick", threads=1)
    assert env.unwrapped.robot.name == "humanoid"
    assert env.single_action_space.shape == (17,)
    env.close()


def test_a_task_without_a_robot_asks_for_one():
    with pytest.raises(TypeError, match=r"robot is missing: pass robot=<name, MJCF or YAML file, or Robot>"):
        gymnasium.make_vec("ProtoMimic-v0", num_envs=1)


def test_the_guide_does_what_it_says(capsys):
    guide = (Path(__file__).parents[2] / "docs" / "robots.md").read_text(encoding="utf-8")
    code = guide.split("## One from start to end")[1].split("```python\n")[1].split("```")[0]
    exec(compile(code, "docs/robots.md", "exec"), {})
    assert capsys.readouterr().out.startswith("('left_foot', 'right_foot') left_lower_arm\ntensor(")


# --- YAML ------------------------------------------------------------------------------------------------------------

YAML = """
mjcf: models/biped.xml
feet: [left_foot, right_foot]
semantic: {head: pelvis, torso: pelvis, left_hand: pelvis, right_hand: pelvis}
default_pose: {"*_knee": 0.4}
drives:
  "*_hip_*": {stiffness: 300, damping: 30, effort: 120}
  "*_knee": {stiffness: 300, damping: 30, effort: 120, armature: 0.02}
control_hz: 50
"""


def test_a_yaml_file_names_a_robot(tmp_path):
    (tmp_path / "models").mkdir()
    biped(tmp_path / "models")
    file = tmp_path / "walker.yaml"
    file.write_text(YAML)
    robot = get_robot(file)
    assert (robot.name, robot.control_hz, robot.feet) == ("walker", 50, ("left_foot", "right_foot"))
    assert set(robot.dof_drives) == {Drive(300, 30, 120), Drive(300, 30, 120, 0.02)}
    assert robot.default_dofs.tolist() == pytest.approx([0, 0, 0, 0.4] * 2)


def test_everything_wrong_with_a_yaml_file_is_said_at_once(tmp_path):
    file = tmp_path / "walker.yaml"
    file.write_text("mjcf: a.xml\nfeets: [a]\ndrives: {knee: 5}\nsemantic: [head]\nname: 3\n")
    with pytest.raises(RobotError) as caught:
        from_yaml(file)
    unknown, semantic, name, drive = caught.value.problems
    assert unknown.startswith("unknown key 'feets': did you mean 'feet'? keys are ['mjcf', ")
    assert semantic == "semantic: want a mapping, got ['head']"
    assert name == "name: want a string, got 3"
    assert drive.startswith("drives['knee']=5: want numbers for stiffness, damping, effort")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "cannot be read as YAML"),
        ("- 1", "want a mapping with the key 'mjcf'"),
        ("mjcf: no.xml", "no such file"),
    ],
)
def test_a_yaml_file_that_is_none_is_refused(tmp_path, text, message):
    (tmp_path / "robot.yaml").write_text(text)
    with pytest.raises(RobotError, match=message):
        from_yaml(tmp_path / "robot.yaml")


# --- what is wrong ---------------------------------------------------------------------------------------------------


def problems(path, **options):
    with pytest.raises(RobotError) as caught:
        from_mjcf(path, RobotOptions(**options))
    assert str(caught.value).startswith(f"{path}: {len(caught.value.problems)} thing(s) to put right:\n  - ")
    return caught.value.problems


def test_everything_wrong_with_a_model_is_said_at_once(tmp_path):
    more = """
      <body name="rail"><joint name="slider" type="slide"/><geom size="0.1"/></body>
      <body pos="1 0 0"><joint/><geom type="ellipsoid" size="0.1 0.2 0.3"/></body>
      <body name="bent"><joint name="bend" ref="30"/><geom size="0.1"/></body>"""
    rest = """<equality><weld name="glue" body1="left_foot" body2="pelvis"/></equality>
      <actuator><position joint="left_knee" kp="100"/></actuator>"""
    found = problems(
        biped(tmp_path, more=more, rest=rest),
        feet=["left_fot"],
        key_bodies="left_foot",
        semantic={"hed": "pelvis", "torso": "chest"},
        default_pose={"*_knee": 3.0, "elbow": 0.1},
        drives={"left_hip_*": Drive(100, 10, 0), "*_hip_x": Drive(1, 1, 1)},
        substeps=0,
        action_map="torque",
    )
    wanted = [
        "bodies without a name: 9 (below 'pelvis'); motions are matched to bodies by name",
        "joint 'slider' slides: only hinges and balls are driven",
        "a joint of body '' has no name",
        "joint 'bend' has ref=0.524: want angle 0 as drawn",
        "equality constraints (glue): a robot is an open chain; remove them",
        "geom 'number 10' of body '' is of type ellipsoid; want one of sphere, capsule, cylinder, box, mesh",
        "feet: there is no body 'left_fot'; did you mean 'left_foot'?",
        "key_bodies='left_foot': want a list of names of bodies",
        "semantic: there is no role 'hed'; did you mean 'head'?",
        "semantic['torso']: there is no body 'chest'",
        "default_pose: joint 'left_knee' at 3 rad is outside its range 0 to 2.62",
        "default_pose: there is no joint 'elbow'",
        "drives['left_hip_*']: stiffness, damping and effort must be positive",
        "drives: joint 'left_hip_x' matches ['left_hip_*', '*_hip_x']",
        "have no position actuator, though others have",
        "substeps=0: want a positive number",
        "action_map='torque': there are ['range', 'pose', 'effort']",
    ]
    lacking = [text for text in wanted if not any(text in problem for problem in found)]
    assert not lacking, "\n".join(["", *lacking, "--- among", *found])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"root": ""}, "no body has a free joint: put <freejoint/> into the robot's root body"),
        ({"rest": "<asset><mesh name='m' file='no.stl'/></asset>"}, "MuJoCo cannot compile it: .*no.stl"),
    ],
)
def test_a_model_without_what_it_needs_is_refused(tmp_path, change, message):
    with pytest.raises(RobotError, match=message):
        from_mjcf(biped(tmp_path, **change), RobotOptions(semantic=ROLES))


def test_roles_that_are_not_recognised_are_asked_for(tmp_path):
    """The biped has no arms, and a quadruped is no person."""
    found = problems(biped(tmp_path))
    assert [problem.partition(":")[0] for problem in found] == [
        f"no body recognised as {role}" for role in ("head", "torso", "left_hand", "right_hand")
    ]
    found = problems(HUMANOID.parent / "ant.xml")
    assert any("bodies without a name" in problem for problem in found)


@pytest.mark.parametrize("name", ["half_cheetah.xml", "hopper.xml", "swimmer.xml", "pusher.xml", "walker2d.xml"])
def test_other_models_of_gymnasium_are_refused_with_reasons(name):
    assert problems(HUMANOID.parent / name)


def test_a_sample_for_a_robot_in_which_no_person_is_seen_is_refused(tmp_path):
    path = biped(tmp_path)
    path.write_text(path.read_text().replace("left_thigh", "lump_a").replace("left_shin", "lump_b"))
    robot = from_mjcf(path, RobotOptions(semantic={**ROLES, "left_foot": "left_foot", "right_foot": "right_foot"}))
    with pytest.raises(ValueError, match=r"sample 'walk' cannot be put on robot biped: .*found no bodies for"):
        load_motions("walk", robot)
