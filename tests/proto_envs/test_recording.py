from dataclasses import replace

import gymnasium
import imageio
import numpy as np
import pytest
import torch

import proto_envs  # noqa: F401  registers the ids
from proto_envs.components.control import Markers
from proto_envs.recording import RenderError, SceneRenderer, VideoWriter
from proto_envs.robots import get_robot


@pytest.fixture(scope="module")
def renderer():
    try:
        made = SceneRenderer(get_robot("AMP"), width=160, height=128)
    except RenderError as error:
        pytest.skip(f"no OpenGL without a display: {error}")
    yield made
    made.close()


@pytest.fixture
def standing(renderer):
    """Generalised positions of the robot upright on the ground, with the camera back on it."""
    renderer._look_at.clear()
    qpos = renderer.model.qpos0[: renderer._picture.robot_nq].copy()
    qpos[2] = 0.9
    return qpos


def ghost(shift):
    rotations = torch.zeros(15, 4)
    rotations[:, 3] = 1.0
    return torch.tensor([0.0, shift, 0.9]), rotations


def changed(a, b):
    """Share of pixels that differ by more than noise."""
    return (np.abs(a.astype(int) - b.astype(int)).max(-1) > 12).mean()


# --- frames ----------------------------------------------------------------------------------------------------------


def test_a_frame_shows_the_robot(renderer, standing):
    frame = renderer.frame(standing)
    assert frame.shape == (128, 160, 3) and frame.dtype == np.uint8
    gone = standing.copy()
    gone[2] = -50.0
    empty = renderer.frame(gone)
    assert empty.std() > 2, "floor and sky differ"
    assert 0.01 < changed(frame, empty) < 0.5


def test_the_ghost_is_drawn_beside_the_robot(renderer, standing):
    alone = renderer.frame(standing)
    with_ghost = renderer.frame(standing, ghost(0.8))
    assert 0.005 < changed(alone, with_ghost) < 0.5
    # The robot itself is still there: far from the ghost the pictures are the same.
    assert changed(with_ghost, renderer.frame(standing, ghost(-0.8))) > 0.01
    again = renderer.frame(standing)
    assert changed(alone, again) == 0, "without a reference the ghost is hidden again"


def test_markers_are_drawn_in_their_colours(renderer, standing):
    def pixels(frame, channel):
        others = [c for c in range(3) if c != channel]
        return int(((frame[..., channel] > 120) & (frame[..., others].max(-1) < 60)).sum())

    place = torch.tensor([[0.0, -0.6, 1.0]])
    ball = Markers(place, (1.0, 0.0, 0.0, 1.0), 0.1)
    arrow = Markers(place, (0.0, 1.0, 0.0, 1.0), 0.05, torch.tensor([[0.0, 0.0, 0.6]]))
    plain, red, green = (renderer.frame(standing, None, markers) for markers in ([], [ball], [arrow]))
    assert pixels(plain, 0) == pixels(plain, 1) == 0
    assert pixels(red, 0) > 40 and pixels(green, 1) > 40


def test_a_strike_target_is_drawn(renderer):
    env = gymnasium.make_vec("ProtoStrike-AMP-v0", num_envs=1, threads=1, motions=None, render_mode="rgb_array")
    env.reset(seed=0)
    near = env.simulator.objects()
    frames = []
    for distance in (0.9, 50.0):
        place = torch.tensor([[[0.0, -distance, 0.9]]])
        env.simulator.set_objects(torch.tensor([0]), replace(near, positions=place))
        frames.append(env.render()[0].astype(int))
    env.close()
    assert (np.abs(frames[0] - frames[1]).max(-1) > 30).sum() > 1000


def test_frames_are_not_overwritten_by_later_ones(renderer, standing):
    frame = renderer.frame(standing)
    kept = frame.copy()
    standing[3:7] = [0.7, 0.7, 0.0, 0.0]
    renderer.frame(standing)
    np.testing.assert_array_equal(frame, kept)


def test_the_camera_follows_the_robot(renderer, standing):
    standing[:2] = 6.0, -4.0
    for _ in range(40):
        frame = renderer.frame(standing)
    standing[2] = -50.0
    assert changed(frame, renderer.frame(standing)) > 0.01


def test_the_ghosts_pose_is_the_robots_where_both_agree(renderer, standing):
    np.testing.assert_allclose(renderer._picture.ghost_qpos(*ghost(0.0)), standing, atol=1e-6)


def test_the_environment_renders_each_robot_with_its_reference(renderer, make_env):
    env = make_env(2, render_mode="rgb_array", task={"start": "random"})
    env.reset(seed=0)
    frames = env.render()
    assert len(frames) == 2
    assert all(frame.shape == (480, 640, 3) and frame.dtype == np.uint8 and frame.std() > 5 for frame in frames)
    assert not np.array_equal(*frames)
    assert [frame.shape for frame in env.call("render")] == [(480, 640, 3)] * 2


def test_a_few_of_many_are_drawn_as_among_all(renderer, make_env):
    env = make_env(3, render_mode="rgb_array", task={"start": "random"})
    env.reset(seed=0)
    everyone = env.render()
    env.unwrapped.rendered = [2, 0]
    few = env.render()
    assert len(few) == 2
    assert changed(few[0], everyone[2]) < 0.02 and changed(few[1], everyone[0]) < 0.02  # the shadow's map may differ


def test_each_camera_follows_its_own_robot(renderer, standing):
    here, there = standing.copy(), standing.copy()
    there[:2] = 1.5, 0.0
    alone = [renderer.frame(here, number=7) for _ in range(20)][-1]
    for _ in range(20):
        beside = renderer.frame(here, number=8)
        renderer.frame(there, number=9)
    assert changed(alone, beside) < 0.001  # shadows differ by a grey level


# --- files -----------------------------------------------------------------------------------------------------------


def frames(count=7):
    rows = np.linspace(0, 255, 64, dtype=np.uint8)
    return [np.broadcast_to(np.roll(rows, 8 * k)[None, :, None], (48, 64, 3)).copy() for k in range(count)]


def test_a_video_can_be_read_again(tmp_path):
    path = tmp_path / "walk.mp4"
    with VideoWriter(path, fps=30) as video:
        for frame in frames():
            video.write(frame)
        assert not path.exists(), "the file appears when it is complete"
    with imageio.get_reader(path) as reader:
        read = [np.asarray(frame) for frame in reader]
        assert reader.get_meta_data()["fps"] == 30
    assert [frame.shape for frame in read] == [(48, 64, 3)] * 7
    for before, after in zip(frames(), read, strict=True):
        assert np.abs(before.astype(int) - after.astype(int)).mean() < 12
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_nothing_behind(tmp_path):
    with pytest.raises(ZeroDivisionError), VideoWriter(tmp_path / "walk.mp4", fps=30) as video:
        for frame in frames():
            video.write(frame)
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_the_video_that_was_there(tmp_path):
    path = tmp_path / "walk.mp4"
    path.write_bytes(b"before")
    with pytest.raises(ZeroDivisionError), VideoWriter(path, fps=30) as video:
        video.write(frames()[0])
        _ = 1 / 0
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_video_without_frames_is_an_error(tmp_path):
    with pytest.raises(RenderError, match=r"no frame was written to walk\.mp4"), VideoWriter(tmp_path / "walk.mp4", 30):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(RenderError, match=r"no folder .*nowhere to write the video walk\.mp4"):
        VideoWriter(tmp_path / "nowhere" / "walk.mp4", fps=30)


def test_another_kind_of_file_is_refused(tmp_path):
    with pytest.raises(RenderError, match=r"\.mp4 files, got walk\.gif"):
        VideoWriter(tmp_path / "walk.gif", fps=30)
