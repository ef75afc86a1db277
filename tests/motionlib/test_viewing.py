"""Replays against MuJoCo's and scipy's kinematics; videos and web pages where the machine can make them."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import mujoco
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from motionlib import Motion, MotionError, sample_path
from motionlib.cli import main
from motionlib.viewing import Painter, RenderError, Replay, VideoWriter, Viewer, shapes_of, write_video
from motionlib.viewing.pictures import pictures
from poselib import models
from poselib.rotations import quat_from_exp_map, quat_multiply

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
KINDS = {2: "sphere", 3: "capsule", 5: "cylinder", 6: "box"}


@pytest.fixture(scope="module")
def walk() -> Motion:
    return Motion.load(sample_path("amp", "walk"))


@pytest.fixture(scope="module")
def can_render() -> None:
    try:
        Painter(width=64, height=64).close()
    except RenderError as error:
        pytest.skip(f"no OpenGL without a display: {error}")


def posed(character: str, frames: int = 3) -> Motion:
    """A clip of random poses within what the joints can do."""
    skeleton = models.skeleton(character)
    generator = torch.Generator().manual_seed(1)
    dofs = torch.randn(frames, skeleton.num_dofs, generator=generator) * 0.5
    root = quat_from_exp_map(torch.randn(frames, 3, generator=generator))
    return Motion(
        name="random",
        fps=30.0,
        body_names=skeleton.body_names,
        parents=skeleton.parents,
        offsets=skeleton.offsets,
        root_positions=torch.randn(frames, 3, generator=generator),
        local_rotations=skeleton.local_rotations_from_dofs(dofs, root),
    )


def with_balls(spec: mujoco.MjSpec) -> mujoco.MjSpec:
    """The model with a ball joint for three hinges."""
    for body in spec.bodies[1:]:
        hinges = [joint for joint in body.joints if joint.type == mujoco.mjtJoint.mjJNT_HINGE]
        if len(hinges) == 3:
            for joint in hinges:
                spec.delete(joint)
            body.add_joint(name=f"{body.name} ball", type=mujoco.mjtJoint.mjJNT_BALL)
    return spec


# --- where everything is ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("character", models.MODELS)
def test_solids_are_where_mujoco_has_the_geoms(character):
    motion = posed(character)
    skeleton, model = models.skeleton(character), with_balls(models.character_model(character).spec()).compile()
    data = mujoco.MjData(model)
    actor = Replay([motion], fps=30.0, seconds=0.1).actors[0]
    dofs = skeleton.dofs_from_local_rotations(motion.local_rotations).numpy()
    local = motion.for_skeleton(skeleton).local_rotations.numpy()
    start = motion.root_positions[0].numpy() * [1.0, 1.0, 0.0]
    for frame in range(motion.num_frames):
        data.qpos[:3] = motion.root_positions[frame].numpy() - start
        for joint in range(model.njnt):
            address, body = model.jnt_qposadr[joint], model.body(model.jnt_bodyid[joint]).name
            if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_HINGE:
                data.qpos[address] = dofs[frame, skeleton.dof_names.index(model.joint(joint).name)]
            else:
                address += 3 if model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_FREE else 0
                data.qpos[address : address + 4] = local[frame, skeleton.body_names.index(body)][[3, 0, 1, 2]]
        mujoco.mj_kinematics(model, data)
        np.testing.assert_allclose(actor.positions[frame], data.geom_xpos, atol=2e-5)
        ours = Rotation.from_quat(actor.rotations[frame]).as_matrix().reshape(-1, 9)
        np.testing.assert_allclose(ours, data.geom_xmat, atol=2e-5)
    for geom, shape in enumerate(actor.shapes):
        assert shape.kind == KINDS[int(model.geom_type[geom])]
        assert shape.size == tuple(model.geom_size[geom])


def test_a_replay_goes_through_the_clip_and_on(walk):
    replay = Replay([walk], seconds=2.0 * walk.duration, fps=walk.fps)
    (actor,) = replay.actors
    positions, _ = walk.world_poses(models.skeleton("amp"))
    start = positions[0, 0] * torch.tensor([1.0, 1.0, 0.0])
    np.testing.assert_allclose(actor.roots[: walk.num_frames], positions[:, 0] - start, atol=1e-5)
    steps = actor.roots[walk.num_frames - 1 :] - actor.roots[: 1 - walk.num_frames]
    np.testing.assert_allclose(np.linalg.norm(steps, axis=1), np.linalg.norm(steps[0]), rtol=0.01)
    assert replay.num_frames == pytest.approx(2 * (walk.num_frames - 1), abs=1)


def test_clips_that_end_wait_for_the_longest(walk):
    short = replace(walk, loop="none")
    replay = Replay([short, Motion.load(sample_path("amp", "punch"))])
    assert replay.seconds == pytest.approx(2.1333, abs=1e-3)
    roots = replay.actors[0].roots
    np.testing.assert_allclose(roots[-1], roots[walk.num_frames], atol=1e-5)


def test_clips_stand_side_by_side(walk):
    replay = Replay([walk, walk, walk], spacing=2.0)
    assert [actor.roots[0, 1] for actor in replay.actors] == pytest.approx([2.0, 0.0, -2.0])
    assert len({actor.name for actor in replay.actors}) == 3
    assert len({actor.name for actor in Replay([walk, Motion.load(sample_path("smpl", "walk"))]).actors}) == 2


def test_a_skeleton_of_its_own_is_shown_as_bones(walk):
    names = tuple(f"bone{index}" for index in range(len(walk.body_names)))
    skeleton, shapes = shapes_of(replace(walk, body_names=names))
    assert skeleton.num_bodies == len(names)
    children = [shape.body for shape in shapes if shape.kind == "capsule"]
    assert set(children) == {parent for parent in walk.parents if parent >= 0}
    thigh = names.index("bone" + str(walk.body_names.index("right_thigh")))
    bone = next(shape for shape in shapes if shape.body == thigh)
    shin = walk.offsets[walk.body_names.index("right_shin")].numpy()
    ends = Rotation.from_quat(bone.rotation).apply([0.0, 0.0, bone.size[1] + bone.size[0]])
    np.testing.assert_allclose(bone.position + ends, shin, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"), [({"seconds": 0.0}, "positive length"), ({"fps": -1.0}, "positive length")]
)
def test_impossible_replays_are_refused(walk, arguments, message):
    with pytest.raises(MotionError, match=message):
        Replay([walk], **arguments)
    with pytest.raises(MotionError, match="at least one clip"):
        Replay([])


# --- errors as colours -----------------------------------------------------------------------------------------------


def test_the_same_clip_elsewhere_is_green(walk):
    moved = replace(walk, name="moved", root_positions=walk.root_positions + torch.tensor([3.0, 1.0, 0.2]))
    first, second = Replay([walk, moved], compare=True).actors
    assert first.errors is None
    np.testing.assert_allclose(second.errors, 0.0, atol=1e-5)
    red, green, _ = second.colors(0, (0.0, 0.0, 0.0)).T
    assert (green > red).all()
    assert (first.colors(0, (0.1, 0.2, 0.3)) == [0.1, 0.2, 0.3]).all()


def test_a_bent_elbow_shows_on_the_hand_alone(walk):
    elbow, hand = (walk.body_names.index(f"left_{name}") for name in ("lower_arm", "hand"))
    local = walk.local_rotations.clone()
    turn = quat_from_exp_map(torch.tensor([0.0, -0.5 * torch.pi, 0.0])).expand(len(local), 4)
    local[:, elbow] = quat_multiply(local[:, elbow], turn)
    _, bent = Replay([walk, replace(walk, name="bent", local_rotations=local)], compare=True, fps=walk.fps).actors
    forearm = float(walk.offsets[hand][[0, 2]].norm())
    for number, shape in enumerate(bent.shapes):
        expected = np.sqrt(2.0) * forearm if shape.body == hand else 0.0
        np.testing.assert_allclose(bent.errors[: walk.num_frames, number], expected, atol=0.02)
    red, green, _ = bent.colors(0, (0.0, 0.0, 0.0))[[shape.body == hand for shape in bent.shapes]].mean(axis=0)
    assert red > green


def test_characters_are_compared_by_their_parts(walk):
    smpl = Motion.load(sample_path("smpl", "walk"))
    _, other = Replay([walk, smpl], compare=True).actors
    assert 0.0 < other.errors.mean() < 0.15
    pelvis = [shape.body == 0 for shape in other.shapes]
    np.testing.assert_allclose(other.errors[:, pelvis], 0.0, atol=1e-6)


# --- video -----------------------------------------------------------------------------------------------------------


def test_pictures_show_the_clips(walk, can_render):
    one, two = (next(pictures(Replay([walk] * n, seconds=0.05), width=160, height=96)) for n in (1, 2))
    assert one.shape == (96, 160, 3)
    assert one.std() > 10
    assert (np.abs(one.astype(int) - two).max(axis=-1) > 20).mean() > 0.01


def test_a_video_has_every_frame(walk, can_render, tmp_path):
    import imageio.v3 as iio

    write_video(Replay([walk], seconds=0.1), tmp_path / "walk.mp4", width=96, height=64)
    assert iio.imread(tmp_path / "walk.mp4").shape == (3, 64, 96, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["walk.mp4"]


def test_an_optimizer_after_a_picture_does_not_crash(can_render):
    """torch's first optimizer imports triton; its LLVM and that of Mesa's OpenGL must be loaded in the right order."""
    script = (
        "from motionlib.viewing import Painter; Painter(width=64, height=64).close();"
        "import torch; torch.optim.Adam([torch.zeros(1, requires_grad=True)]); print('alive')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "alive", done.stderr[-500:]


def test_a_picture_with_too_many_solids_is_an_error(walk, can_render):
    painter = Painter(width=64, height=64, max_shapes=12)
    with pytest.raises(RenderError, match="show fewer clips"):
        painter.frame(Replay([walk], seconds=0.1), 0)
    painter.close()


def test_a_video_that_fails_leaves_nothing_behind(tmp_path):
    with pytest.raises(RuntimeError, match="stop"), VideoWriter(tmp_path / "a.mp4", 30.0) as video:
        video.write(np.zeros((64, 64, 3), np.uint8))
        raise RuntimeError("stop")
    with pytest.raises(RenderError, match="no frame"), VideoWriter(tmp_path / "a.mp4", 30.0):
        pass
    with pytest.raises(RenderError, match="no folder"):
        VideoWriter(tmp_path / "no" / "a.mp4", 30.0)
    with pytest.raises(RenderError, match=r"\.mp4"):
        VideoWriter(tmp_path / "a.gif", 30.0)
    assert list(tmp_path.iterdir()) == []


def test_an_old_video_survives_a_failure(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"old")
    with pytest.raises(RuntimeError, match="stop"), VideoWriter(tmp_path / "a.mp4", 30.0) as video:
        video.write(np.zeros((64, 64, 3), np.uint8))
        raise RuntimeError("stop")
    assert (tmp_path / "a.mp4").read_bytes() == b"old"


def test_missing_extras_say_how_to_get_them(walk, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RenderError, match=r"pip install 'proto-motionlib\[render\]'"):
        VideoWriter(tmp_path / "a.mp4", 30.0)
    with pytest.raises(MotionError, match=r"pip install 'proto-motionlib\[view\]'"):
        Viewer(Replay([walk], seconds=0.1))
    assert main(["play", "amp/walk", "--video", str(tmp_path / "a.mp4")]) == 1
    assert main(["play", "amp/walk"]) == 1
    assert [line.partition("pip")[2] for line in capsys.readouterr().err.splitlines()] == [
        " install 'proto-motionlib[render]'",
        " install 'proto-motionlib[view]'",
    ]


def test_play_writes_a_video(can_render, tmp_path, capsys):
    output = tmp_path / "run.mp4"
    flags = ["--character", "smpl", "--no-ik", "--compare", "--seconds", "0.1", "--width", "96", "--height", "64"]
    assert main(["play", "amp/run", "--video", str(output), *flags, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert facts["clips"] == ["run (amp)", "run (smpl)"]
    assert facts["frames"] == 3
    assert 1 < facts["mean_error_mm"]["run (smpl)"] < 200
    assert output.stat().st_size > 500
    assert main(["play", "amp/run", "--video", str(output)]) == 1
    assert "--overwrite" in capsys.readouterr().err


# --- the web page ----------------------------------------------------------------------------------------------------


@pytest.fixture
def viewer(walk):
    pytest.importorskip("viser")
    pytest.importorskip("trimesh")
    made = Viewer(Replay([walk, replace(walk, name="again")], compare=True), port=18931)
    yield made
    made.close()


def test_the_page_shows_each_frame(viewer):
    replay = viewer.replay
    for index in (0, 5, replay.num_frames + 2):
        viewer.show(index)
        frame = index % replay.num_frames
        assert viewer.index == frame
        for meshes, actor in zip(viewer._meshes, replay.actors, strict=True):
            np.testing.assert_allclose([mesh.position for mesh in meshes], actor.positions[frame], atol=1e-6)
            x, y, z, w = actor.rotations[frame, 3]
            np.testing.assert_allclose(meshes[3].wxyz, (w, x, y, z), atol=1e-6)
        assert viewer.time.value == pytest.approx(float(replay.times[frame]))
    assert "again: 0 mm from walk" in viewer.errors.content


def test_a_clip_can_be_hidden_with_its_name(viewer):
    viewer._set_visible(1, SimpleNamespace(target=SimpleNamespace(value=False)))
    assert not any(handle.visible for handle in (*viewer._meshes[1], viewer._labels[1]))
    assert all(handle.visible for handle in (*viewer._meshes[0], viewer._labels[0]))


def test_the_page_plays_and_stands_still(viewer):
    viewer.show(0)
    viewer.run(seconds=0.3)
    assert viewer.index > 0
    viewer.playing.value = False
    stands = viewer.index
    viewer.run(seconds=0.15)
    assert viewer.index == stands


def test_solids_of_the_page_have_the_right_size(walk):
    pytest.importorskip("trimesh")
    from motionlib.viewing.triangles import triangles

    for character in models.MODELS:
        _, shapes = shapes_of(posed(character))
        for shape in shapes:
            a, b, c = shape.size
            half = {"sphere": (a, a, a), "capsule": (a, a, a + b), "cylinder": (a, a, b), "box": (a, b, c)}[shape.kind]
            bounds = triangles(shape).bounds
            np.testing.assert_allclose(bounds, [[-x for x in half], half], rtol=0.05, atol=1e-3)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
def test_a_browser_shows_the_page(viewer, tmp_path):
    """The middle of the page, where the characters are, has many colours; an empty scene has few."""
    from PIL import Image

    looked = threading.Event()

    def play() -> None:
        while not looked.is_set():
            viewer.run(seconds=0.5)

    player = threading.Thread(target=play)
    player.start()
    shot = tmp_path / "page.png"
    flags = (
        "headless no-sandbox disable-quic no-first-run disable-background-networking disable-component-update "
        "disable-sync use-gl=angle use-angle=swiftshader enable-unsafe-swiftshader virtual-time-budget=15000 "
        f"timeout=20000 window-size=960,640 user-data-dir={tmp_path / 'profile'} screenshot={shot}"
    )
    command = [str(CHROMIUM), *(f"--{flag}" for flag in flags.split()), viewer.url]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    finally:
        looked.set()
        player.join()
    pixels = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    middle = pixels[200:520, 200:640].reshape(-1, 3)
    assert middle.std(axis=0).max() > 8, "the page is blank"
    assert len(np.unique(middle // 8, axis=0)) > 30
    green = (middle[:, 1] > middle[:, 0] + 15) & (middle[:, 1] > middle[:, 2] + 15)
    assert green.mean() > 0.002, "the compared clip is not to be seen"
    assert Path(shot).stat().st_size > 5000
