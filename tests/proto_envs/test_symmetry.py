import gymnasium
import pytest
import torch

import proto_envs  # noqa: F401 - registers the ids
from motionlib import MotionLib, sample_path
from motionlib.motion import Motion
from motionlib.processing import mirrored
from poselib import models
from proto_envs.symmetry import signed_permutation


def make(name="Mimic-AMP", **options):
    if name.startswith("Mimic"):
        options = {"motions": "walk"} | options
    return gymnasium.make_vec(f"Proto{name}-v0", num_envs=2, threads=1, **options).unwrapped


def libraries():
    walk = Motion.load(sample_path("amp", "walk"))
    skeleton = models.skeleton("amp")
    return [MotionLib([clip], skeleton) for clip in (walk, mirrored(walk))]


@pytest.mark.parametrize("action", ["absolute", "residual"])
def test_mujoco_moves_the_mirrored_robot_like_the_robot_in_the_mirror(action):
    """The oracle is the simulation: mirrored clip, mirrored actions, and what comes of them."""
    envs = [make(motions=m, task={"start": "zero", "action": action}) for m in libraries()]
    symmetry = envs[0].symmetry

    def image(name, vectors):
        indices, signs = symmetry[name]
        return signs * vectors[:, indices]

    here, there = (env.reset(seed=0)[0] for env in envs)
    generator = torch.Generator().manual_seed(0)
    for _ in range(6):
        torch.testing.assert_close(there, image("policy", here), atol=5e-3, rtol=0)
        actions = 0.4 * torch.randn(2, envs[0].single_action_space.shape[0], generator=generator)
        here, reward, *_ = envs[0].step(actions)
        there, mirrored_reward, *_ = envs[1].step(image("action", actions))
        torch.testing.assert_close(mirrored_reward, reward, atol=1e-3, rtol=0)
    assert (here - there).abs().max() > 0.5  # they did not move alike


@pytest.mark.parametrize(
    "name", ["Mimic-SMPL", "Mimic-SMPLX", "Mimic-G1", "Steering-H1", "Facing-AMP", "PathFollow-AMP"]
)
def test_a_mirror_image_of_the_mirror_image_is_the_thing_itself(name):
    env = make(name)
    sizes = {"action": env.single_action_space.shape[0], "policy": env.single_observation_space.shape[0]}
    symmetry = env.symmetry
    assert set(symmetry) == set(sizes)
    for name, (indices, signs) in symmetry.items():
        assert indices.shape == signs.shape == (sizes[name],)
        assert torch.equal(indices[indices], torch.arange(sizes[name]))
        assert torch.equal(signs * signs[indices], torch.ones(sizes[name]))
        assert (signs < 0).any() and (indices != torch.arange(sizes[name])).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "Mimic-SwordShield"}, "'sword' is not the mirror image"),
        ({"name": "Reach-AMP"}, "reward 'reach' differs"),
        ({"terrain": "complex"}, "uneven"),
    ],
)
def test_what_is_not_symmetric_says_so(options, message):
    with pytest.raises(ValueError, match=message):
        _ = make(**options).symmetry


def test_numbers_are_found_again_with_their_signs_also_twins_and_zeros():
    before = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
    before = torch.cat([before, before[:, :1], torch.zeros(32, 1)], dim=1)  # number 4 is number 0 again, 5 is always 0
    indices, signs = torch.tensor([0, 2, 1, 3, 4, 5]), torch.tensor([-1.0, 1.0, 1.0, -1.0, -1.0, 1.0])
    found = signed_permutation(before, signs * before[:, indices])
    assert torch.equal(found[0], indices) and torch.equal(found[1], signs)
    with pytest.raises(ValueError, match="number 3"):
        signed_permutation(before, torch.cat([before[:, :3], before[:, 3:4] ** 2, before[:, 4:]], dim=1))
