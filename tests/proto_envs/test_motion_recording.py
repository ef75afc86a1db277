import gymnasium
import pytest
import torch

import proto_envs  # noqa: F401  registers the ids
from motionlib import MotionError, load
from proto_envs.motion_recording import MotionRecorder


@pytest.fixture(scope="module")
def env():
    made = gymnasium.make_vec("ProtoMimic-AMP-v0", num_envs=3, motions="walk")
    yield made
    made.close()


def test_a_recorded_clip_is_what_was_simulated(env, tmp_path):
    env.reset(seed=0)
    recorder, positions, rotations = MotionRecorder(env.unwrapped, [2, 0]), [], []
    for _ in range(12):
        recorder.add()
        state = env.unwrapped.simulator.robot()
        positions.append(state.body_positions[2])
        rotations.append(state.body_rotations[2])
        env.step(0.5 * torch.randn(3, 28, generator=torch.Generator().manual_seed(1)))
    path = tmp_path / "walk-002.npz"
    recorder.motion(0, path.stem).save(path)
    clip = load(path)
    assert (
        clip.name == "walk-002"
        and clip.num_frames == 12
        and clip.fps == pytest.approx(1.0 / env.unwrapped.simulator.dt)
    )
    seen, turned = clip.world_poses(env.unwrapped.robot.skeleton)
    torch.testing.assert_close(seen, torch.stack(positions), atol=1e-5, rtol=0)
    alike = (turned * torch.stack(rotations)).sum(-1).abs()
    torch.testing.assert_close(alike, torch.ones_like(alike), atol=1e-5, rtol=0)


def test_a_clip_may_be_shorter_than_what_was_seen_but_not_a_single_pose(env):
    env.reset(seed=0)
    recorder = MotionRecorder(env.unwrapped, range(3))
    for _ in range(3):
        recorder.add()
    assert len(recorder) == 3 and recorder.motion(1, "short", frames=2).num_frames == 2
    with pytest.raises(MotionError, match="at least 2 frames"):
        recorder.motion(1, "pose", frames=1)
