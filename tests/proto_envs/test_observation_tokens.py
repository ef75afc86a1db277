import pytest
import torch


def test_each_pose_to_come_is_a_token(make_env):
    several = make_env(3, motions="walk", task={"future_steps": [1, 4, 9], "start": "zero"})
    seen, _ = several.reset(seed=0)
    tokens = several.unwrapped.observation_tokens
    assert list(tokens) == ["state", "future_poses"]
    assert tokens["state"].shape == (1, 223 + 28) and tokens["future_poses"].shape == (3, 24 * 15)
    # The oracle: environments that look ahead once, at that moment.
    for number, step in enumerate((1, 4, 9)):
        alone = make_env(3, motions="walk", task={"future_steps": [step], "start": "zero"})
        expected, _ = alone.reset(seed=0)
        assert torch.equal(seen[:, tokens["future_poses"][number]], expected[:, 223 : 223 + 360])
        assert torch.equal(seen[:, tokens["state"][0]], expected[:, [*range(223), *range(583, 611)]])


def test_the_ground_is_a_token_and_all_numbers_are_in_one(make_env):
    env = make_env(2, motions="walk", task={"see_ground": True, "action": "residual"})
    seen, _ = env.reset(seed=0)
    tokens = env.unwrapped.observation_tokens
    assert {kind: tuple(indices.shape) for kind, indices in tokens.items()} == {
        "state": (1, 223),
        "height_map": (1, 256),
        "future_poses": (1, 360),
    }
    together = torch.cat([indices.flatten() for indices in tokens.values()])
    assert sorted(together.tolist()) == list(range(seen.shape[1]))


def test_a_task_without_tokens_says_so(make_env):
    with pytest.raises(ValueError, match="does not say how its observations split"):
        _ = make_env(2, name="Steering").unwrapped.observation_tokens
