"""The viewer without a browser: what a session does, what is drawn, what is recorded."""

import importlib.util
import os
import threading
import time

import numpy as np
import pytest
import torch

from motionlib import Motion
from motionlib.viewing import RenderError
from poselib.kinematics import forward_kinematics
from proto_envs.robots import ROBOTS, get_robot
from proto_envs.scenes import Box, Scene, SceneObject, Sphere
from proto_envs.viewer import BrowserViewer, ScriptedAgent, Session, ViewerError, WindowViewer, run
from proto_envs.viewer import recorder as recorder_module
from proto_envs.viewer.actions import ACTIONS, DRIVING, actions_of
from proto_envs.viewer.frames import frame_of
from proto_envs.viewer.history import History
from proto_envs.viewer.session import CAMERAS
from proto_envs.viewer.solids import body_solids, ground_lines, ground_solid, object_solid


@pytest.fixture
def no_drawing(monkeypatch):
    """A machine that cannot draw: recordings are clips alone."""

    def refuse(*given, **named):
        raise RenderError("no OpenGL here")

    monkeypatch.setattr(recorder_module, "SceneRenderer", refuse)


@pytest.fixture
def make_session(make_env, tmp_path):
    """`make_session(name="Mimic", agent="zero", **keywords of make_env)`."""
    made = []

    def make(name="Mimic", agent="zero", num_envs=3, robot="AMP", **keywords):
        env = make_env(num_envs, robot, name, **keywords)
        made.append(Session(env, ScriptedAgent(env.unwrapped, agent), recordings=tmp_path / "recordings"))
        return made[-1]

    yield make
    for session in made:
        session.close()


def press(session, label):
    """What a key or a button does."""
    action = next(action for action in (*ACTIONS, *DRIVING) if action.label == label)
    session.ask(lambda: action.do(session))
    session.tick()


# --- time ------------------------------------------------------------------------------------------------------------


def test_a_session_steps_pauses_and_goes_on(make_session):
    session = make_session()
    assert session.tick() and session.time == pytest.approx(session.dt)
    press(session, "pause")
    here = session.time
    assert not session.tick() and session.time == here
    press(session, "step")
    assert session.time == pytest.approx(here + session.dt) and not session.tick()
    press(session, "pause")
    assert session.time == pytest.approx(here + 2 * session.dt)


def test_the_loop_keeps_the_pace(make_session):
    class Display:
        shown = 0

        def is_open(self):
            return self.shown < 12

        def show(self):
            self.shown += 1

    session, display = make_session(num_envs=1), Display()
    session.speed = 0.5
    begin = time.monotonic()
    run(session, display)
    took = time.monotonic() - begin
    # A busy machine is late, but never early.
    assert display.shown == 12 and session.time <= 0.5 * took + 2 * session.dt + 0.06
    run(session, Display(), seconds=0.1)
    session.closed = True
    run(session, Display())


def test_what_is_asked_from_another_thread_is_done_between_steps(make_session):
    session = make_session()
    done = []
    asker = threading.Thread(target=lambda: session.ask(lambda: done.append(threading.current_thread())))
    asker.start()
    asker.join()
    session.tick()
    assert done == [threading.current_thread()]


def test_what_goes_wrong_is_told_and_the_rest_is_done(make_session):
    session = make_session()
    session.ask(lambda: session.look_at(7))
    session.ask(session.next_camera)
    session.tick()
    assert "there are 0 to 2" in session.notices[-1] and session.camera == CAMERAS[1]


# --- meddling --------------------------------------------------------------------------------------------------------


def test_a_reset_begins_one_episode_alone(make_session):
    session = make_session()
    for _ in range(5):
        session.tick()
    session.look_at(1)
    session.reset()
    assert session.world._steps.tolist() == [5, 0, 5] and session.episode_return == 0.0
    session.tick()


def test_a_push_moves_the_robot_that_is_watched(make_session):
    session = make_session(num_envs=2)
    before = session.world.simulator.robot().body_velocities[:, 0].clone()
    session.disturb()
    after = session.world.simulator.robot().body_velocities[:, 0]
    change = (after - before).norm(dim=-1)
    assert change[0] == pytest.approx(1.0, abs=1e-4) and change[1] < 1e-6
    assert session.notices[-1] == "pushed"


def test_a_box_is_thrown_where_boxes_are_thrown(make_session):
    session = make_session(num_envs=2, randomization={"projectiles": {"interval": [1000, 1000]}})
    session.tick()
    press(session, "push")
    assert session.notices[-1] == "a box is thrown"
    boxes = session.world.simulator.projectiles().positions[..., 2]
    assert (boxes[0] < 100).sum() == 1 and (boxes[1] > 100).all()
    assert any(float(position[2]) < 100 for _, position, _ in session.frame().objects)


def test_pushes_that_are_configured_are_those_of_the_key(make_session):
    session = make_session(num_envs=2, randomization={"pushes": {"interval": [1000, 1000], "force": 100.0}})
    assert session.world.randomization.disturb(torch.tensor([1])) == "push"
    assert session.world.randomization._pusher._timer.left.tolist()[1] == 0


def test_goals_are_renewed_or_there_are_none(make_session):
    reach = make_session("Reach", motions=None)
    before = reach.world.components.controls["goal"].goal.target.clone()
    press(reach, "goals")
    after = reach.world.components.controls["goal"].goal.target
    assert not torch.equal(before[0], after[0]) and torch.equal(before[1:], after[1:])
    mimic = make_session()
    press(mimic, "goals")
    assert mimic.notices[-1] == "task Mimic has no goals that change"


def test_cameras_and_markers_change_in_turn(make_session):
    session = make_session()
    seen = []
    for _ in CAMERAS:
        press(session, "camera")
        seen.append(session.camera)
    assert seen == [*CAMERAS[1:], CAMERAS[0]]
    press(session, "markers")
    assert not session.shows["goals"]


# --- driving ---------------------------------------------------------------------------------------------------------


def test_keys_and_sliders_drive_and_let_go(make_session):
    session = make_session("Facing", motions=None)
    command = session.world.components.controls["goal"]
    assert actions_of(session) == (*ACTIONS, *DRIVING)
    press(session, "turn left")
    assert session.settings == {"direction": 5.0, "speed": 1.2}
    press(session, "faster")
    assert session.settings["speed"] == pytest.approx(1.3) and command.goal.speed[0] == pytest.approx(1.3)
    session.ask(lambda: session.set("facing", 90.0))
    session.tick()
    assert command.goal.facing[0, 1] == pytest.approx(1.0)
    session.ask(session.let_go)
    session.tick()
    assert session.settings == {} and command._wishes[0].isnan().all()


def test_what_is_set_goes_along_to_the_robot_that_is_watched(make_session):
    session = make_session("Steering", motions=None)
    session.set("speed", 3.0)
    session.look_at(2)
    wishes = session.world.components.controls["goal"]._wishes
    assert wishes[2, 1] == 3.0 and wishes[0].isnan().all()


def test_what_is_set_holds_after_a_reset(make_session):
    session = make_session("MaskedMimic", robot="SMPL", motions="walk", task={"goal": "user"})
    session.set("direction", 0.0)
    session.reset()
    assert session.world.components.controls["goals"].numbers[0, 0] == 0.0


def test_a_task_without_commands_has_no_driving_keys(make_session):
    assert actions_of(make_session()) == ACTIONS


def test_no_key_does_two_things():
    keys = [key for action in (*ACTIONS, *DRIVING) for key in action.keys]
    assert len(keys) == len(set(keys))
    assert {"j", "l", ";", "u", "o", "m", "r", "space", "."} <= set(keys)


# --- who acts --------------------------------------------------------------------------------------------------------


def test_the_reference_agent_keeps_closer_to_the_clip_than_zero_actions(make_session):
    errors = {}
    for agent in ("zero", "reference"):
        session = make_session(agent=agent, motions="walk", task={"start": "zero", "termination_distance": None})
        for _ in range(15):
            session.tick()
        errors[agent] = float(session.world._context(None).tracking.root_relative_distances.mean())
    assert errors["reference"] < 0.5 * errors["zero"]


def test_agents_change_and_say_what_they_cannot(make_session):
    session = make_session("Reach", motions=None)
    session.ask(lambda: session.choose_agent("random"))
    session.tick()
    actions = session.agent.act(None)
    assert session.agent.chosen == "random" and actions.min() < 0 < actions.max() and actions.abs().max() <= 1
    session.ask(lambda: session.choose_agent("reference"))
    session.tick()
    assert "plays no clip" in session.notices[-1] and session.agent.chosen == "random"
    assert not session.agent.refresh()
    with pytest.raises(ViewerError, match="zero, random, reference"):
        session.agent.choose("me")


def test_a_residual_reference_is_zero(make_session):
    session = make_session(agent="reference", task={"action": "residual"})
    assert not session.agent.act(None).any()


# --- what is seen ----------------------------------------------------------------------------------------------------


def test_a_frame_is_what_the_engine_and_the_reference_say(make_session):
    session = make_session(detailed_metrics=True)
    session.tick()
    frame, state = frame_of(session.world, 1), session.world.simulator.robot()
    np.testing.assert_array_equal(frame.positions, state.body_positions[1])
    reference = session.world.components.controls["reference"]
    np.testing.assert_allclose(frame.ghost[0], reference.context(None)["motion"].body_positions[1], atol=2e-3)
    np.testing.assert_array_equal(frame.forces, state.contact_forces[1])
    assert frame_of(make_session("Reach", motions=None, num_envs=1).world, 0).ghost is None


@pytest.mark.parametrize("name", ["AMP", "SMPL", "H1", "G1"])
def test_bodies_look_as_mujoco_shows_them(name):
    pytest.importorskip("trimesh")
    robot = get_robot(name)
    solids = body_solids(robot)
    assert 0.6 * robot.skeleton.num_bodies < len(solids) <= robot.skeleton.num_bodies
    positions, _ = forward_kinematics(
        robot.skeleton,
        torch.tensor([0.0, 0.0, robot.default_root_height]),
        robot.skeleton.local_rotations_from_dofs(robot.default_dofs),
    )
    lowest = min(float(positions[body, 2]) + solid.vertices[:, 2].min() for body, solid in solids.items())
    assert abs(lowest) < 0.15, "it stands on the ground"
    for solid in solids.values():
        assert solid.faces.max() < len(solid.vertices) and np.isfinite(solid.vertices).all()


def test_every_robot_has_solids():
    pytest.importorskip("trimesh")
    assert all(body_solids(get_robot(name)) for name in ROBOTS)


def test_a_mesh_and_an_ellipsoid_of_a_robot_are_drawn(tmp_path):
    trimesh = pytest.importorskip("trimesh")
    import mujoco

    from proto_envs.viewer.solids import _meshes

    trimesh.creation.box(extents=(0.2, 0.4, 0.6)).export(tmp_path / "box.stl")
    model = mujoco.MjSpec.from_string(
        f"""<mujoco><compiler meshdir="{tmp_path}"/><asset><mesh name="box" file="box.stl"/></asset><worldbody>
        <body name="a"><geom type="mesh" mesh="box" pos="1 0 0"/><geom type="ellipsoid" size="0.1 0.2 0.3"/></body>
        </worldbody></mujoco>"""
    ).compile()
    (a, mesh), (b, ball) = _meshes(model, ["other", "a"])
    assert a == b == 1
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), [0.2, 0.4, 0.6], atol=1e-6)
    np.testing.assert_allclose(mesh.vertices.mean(axis=0), [1.0, 0.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(np.ptp(ball.vertices, axis=0), [0.2, 0.4, 0.6], rtol=0.05)


def test_objects_and_ground_are_triangles():
    pytest.importorskip("trimesh")
    parts = (Box(size=(1.0, 2.0, 3.0), position=(0.0, 0.0, 1.5)), Sphere(radius=0.5, position=(5.0, 0.0, 0.0)))
    solid = object_solid(SceneObject(name="two", parts=parts))
    np.testing.assert_allclose(solid.vertices.max(axis=0), [5.5, 1.0, 3.0], atol=1e-2)
    y, x = torch.meshgrid(torch.arange(3.0), torch.arange(4.0), indexing="ij")
    vertices = torch.stack([x, y, x * y], dim=-1)
    ground = ground_solid(vertices)
    assert ground.faces.shape == (12, 3)
    corners = ground.vertices[ground.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (normals[:, 2] > 0).all(), "seen from above"
    assert normals[:, 2].sum() / 2 == pytest.approx(6.0), "no gaps, nothing twice"
    assert ground_lines(vertices, 2.0).shape == (2 * 3 + 2 * 2, 2, 3)


def test_history_keeps_the_last_steps_aligned():
    history = History(length=3)
    history.add(0.0, 1.0, {"reward/a": 0.5})
    for k in range(1, 5):
        history.add(float(k), float(k), {"reward/a": 0.5, "late": float("nan") if k == 4 else 2.0})
    assert history.terms == ("reward", "reward/a") and history.metrics == ("late",) and len(history) == 3
    times, rewards, late = history.series(("reward", "late"))
    assert times.tolist() == rewards.tolist() == [2.0, 3.0, 4.0] and late.tolist() == [2.0, 2.0, 0.0]


def test_terms_are_plotted_as_they_count_in_the_reward(make_session):
    session = make_session("Facing", motions=None, num_envs=1)
    session.tick()
    history = session.history
    total = sum(float(history.series((name,))[1][-1]) for name in history.terms if name != "reward")
    assert total == pytest.approx(float(history.series(("reward",))[1][-1]), abs=1e-5)


# --- recording -------------------------------------------------------------------------------------------------------


def test_a_recording_is_a_clip_that_motionlib_reads(make_session, no_drawing, tmp_path):
    session = make_session(motions="walk")
    press(session, "record")
    assert "without a video: no OpenGL here" in session.notices[-1]
    seen = [session.world.simulator.robot().body_positions[0].clone()]
    for _ in range(6):
        session.tick()
        seen.append(session.world.simulator.robot().body_positions[0].clone())
    session.paused = True
    press(session, "record")
    (path,) = (tmp_path / "recordings").iterdir()
    assert str(path) in session.notices[-1]
    motion = Motion.load(path)
    assert motion.fps == pytest.approx(1.0 / session.dt) and motion.num_frames in (7, 8)
    positions, _ = motion.world_poses(session.world.robot.skeleton)
    torch.testing.assert_close(positions[-7:], torch.stack(seen), atol=1e-3, rtol=0)


def test_a_recording_is_thrown_away_or_written_at_the_end_of_the_episode(make_session, no_drawing, tmp_path):
    session = make_session()
    press(session, "record")
    press(session, "cancel")
    assert session.notices[-1] == "recording thrown away" and not session.recorder.recording
    press(session, "record")
    session.tick()
    session.reset()
    assert session.notices[-1].startswith("reset: wrote ") and not session.recorder.recording
    press(session, "record")
    session.tick()
    session.look_at(1)
    assert session.notices[-1].startswith("another robot: wrote ")
    assert len(list((tmp_path / "recordings").glob("*.npz"))) == 2
    (tmp_path / "recordings").rename(tmp_path / "moved")
    (tmp_path / "recordings").write_text("a file")
    press(session, "record")
    assert "cannot record into" in session.notices[-1]


def test_a_video_is_written_beside_the_clip(make_session, tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    session = make_session()
    press(session, "record")
    if "without a video" in session.notices[-1]:
        pytest.skip(session.notices[-1])
    session.tick()
    press(session, "cancel")
    assert not list((tmp_path / "recordings").iterdir())
    press(session, "record")
    session.tick()
    press(session, "record")
    clip, video = sorted((tmp_path / "recordings").iterdir(), key=lambda path: path.suffix, reverse=True)
    assert clip.stem == video.stem and video.suffix == ".mp4" and video.stat().st_size > 500


# --- windows ---------------------------------------------------------------------------------------------------------


def test_missing_extras_say_how_to_get_them(make_session, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ViewerError, match=r"viser and trimesh: pip install 'proto-envs\[viewer\]'"):
        BrowserViewer(make_session(), "")


def test_without_a_display_there_is_no_window(make_session, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ViewerError, match="no display"):
        WindowViewer(make_session())


def test_other_environments_are_refused(make_env):
    import gymnasium

    with pytest.raises(ViewerError, match="environments of proto-envs"):
        Session(gymnasium.make_vec("CartPole-v1", num_envs=1), None)


@pytest.fixture
def page(make_session):
    """`page(*as make_session)`: a viewer whose server is closed after the test."""
    pytest.importorskip("viser")
    pytest.importorskip("trimesh")
    made = []

    def make(*given, **named):
        made.append(BrowserViewer(make_session(*given, **named), "a robot", port=18960 + os.getpid() % 500))
        return made[-1]

    yield make
    for viewer in made:
        viewer.close()


def test_the_page_places_bodies_around_the_robot_that_is_followed(page):
    viewer = page(detailed_metrics=True)
    session = viewer.session
    for _ in range(3):
        session.tick()
        viewer.show()
    frame, scene = session.frame(), viewer.scene
    for body, handle in scene._bodies.items():
        np.testing.assert_allclose(handle.position, frame.positions[body], atol=1e-5)
    offset = scene._world.position + np.array([*frame.root[:2], 0.0])
    assert np.abs(offset[:2]).max() < 0.3, "the robot is where the camera looks"
    assert scene._forces._handle.visible == bool((np.linalg.norm(frame.forces, axis=-1) > 5).any())
    session.shows["reference"] = False
    session.camera = "free"
    stands = np.array(scene._world.position)
    session.tick()
    viewer.show()
    assert not any(handle.visible for handle in scene._ghost.values())
    np.testing.assert_array_equal(scene._world.position, stands)


def test_the_page_shows_what_keys_have_changed(page):
    viewer = page("Facing", motions=None)
    session = viewer.session
    session.nudge("turn", 2.0)
    session.look_at(1)
    session.pause()
    session.tick()
    viewer.show()
    assert viewer.panel._dials["direction"].value == 10.0 and viewer.panel._index.value == "1"
    assert "paused" in viewer.panel._status.content and "direction" in viewer.panel._told.content
    assert any(marks._arrows._handle.visible for marks in viewer.scene._marks)
    session.toggle("goals")
    viewer.show()
    assert not any(marks._arrows._handle.visible for marks in viewer.scene._marks)


def test_the_page_plots_what_was_measured(page):
    viewer = page(motions="walk")
    for _ in range(4):
        viewer.session.tick()
        viewer._written = -1.0
        viewer.show()
    assert viewer.plots._terms.data[0].shape == (4,) and "clip walk" in viewer.panel._status.content
    viewer.plots._chosen.value = viewer.session.history.metrics[0]
    viewer.plots.show()
    assert len(viewer.plots._metric.data) == 2


def test_the_page_shows_objects_goals_and_uneven_ground(page):
    crate = SceneObject(name="crate", mobility="dynamic", position=(1, 0, 0.3), parts=(Box(size=(0.4, 0.4, 0.4)),))
    viewer = page(
        "Scene", robot="SMPL", num_envs=1, scenes=Scene(name="crate", objects=(crate,)), task={"mode": "carry"}
    )
    viewer.session.tick()
    viewer.show()
    handles = viewer.scene._objects[1]
    np.testing.assert_allclose(handles[0].position, viewer.session.frame().objects[0][1], atol=1e-5)


def test_the_page_shows_uneven_ground(page, plateau):
    viewer = page(terrain=plateau(0.5), num_envs=1)
    viewer.show()
    assert viewer.scene._floor is None and viewer.scene._window.middle is not None
    assert viewer.scene._world.position[2] == pytest.approx(-0.5)
