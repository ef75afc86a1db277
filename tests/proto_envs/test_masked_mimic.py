from pathlib import Path

import gymnasium
import pytest
import torch
import yaml

import proto_envs  # noqa: F401  registers the ids
from proto_envs.tasks.masked_mimic import V3, MaskedMimic
from proto_envs.testing import check_vector_env


@pytest.fixture
def make_masked():
    """`make_masked(num_envs, robot="AMP", motions="walk", **task)`: with all groups."""
    made = []

    def make(num_envs=3, robot="AMP", motions="walk", scenes=None, **task):
        env = gymnasium.make_vec(
            f"ProtoMaskedMimic-{robot}-v0",
            num_envs=num_envs,
            motions=motions,
            threads=1,
            observation="groups",
            task=task,
            **({} if scenes is None else {"scenes": scenes}),
        )
        made.append(env)
        return env

    yield make
    for env in made:
        env.close()


SMALL = {"proportions": {"rough_slope": 1}, "levels": 2, "columns": 1}


def sizes(env):
    return {name: box.shape[0] for name, box in env.single_observation_space.spaces.items()}


# --- sizes -----------------------------------------------------------------------------------------------------------


def test_version_1_has_30_tokens(make_masked):
    found = sizes(make_masked(robot="SMPL", scenes="chair", see_ground=True, text_size=512))
    objects = 37 + 6
    assert found == {
        "policy": 358 + 69 + 11 * 184 + 256 + 512 + 1 + 37 + 1,
        "self": 358,
        "previous_targets": 69,
        "sparse_poses": 11 * 184,
        "sparse_poses_mask": 11,
        "terrain": 256,
        "text": 512,
        "text_mask": 1,
        "object": 37,
        "object_mask": 1,
        "history": 15 * 217,
        "history_mask": 15,
        "expert": 358 + 256 + 576 + 69 + objects,
    }
    tokens = {"self": 358, "terrain": 256, "sparse_poses": 184, "history": 217, "text": 512, "object": 37}
    assert sum(found[name] // size for name, size in tokens.items()) == 30


def test_version_3_has_11_tokens(make_masked):
    found = sizes(make_masked(robot="SMPL", **V3))
    assert found == {
        "policy": 358 + 69 + 5 * 157,
        "self": 358,
        "previous_targets": 69,
        "sparse_poses": 5 * 157,
        "sparse_poses_mask": 5,
        "history": 5 * 359,
        "history_mask": 5,
        "expert": 358 + 576 + 69,
    }
    assert sum(found[name] // size for name, size in {"self": 358, "sparse_poses": 157, "history": 359}.items()) == 11


@pytest.mark.parametrize("layout", [{}, V3])
def test_controllers_drive_a_policy_as_it_is(make_masked, layout):
    trained = sizes(make_masked(1, **layout))
    del trained["expert"]
    for goal in ("inbetween", "reach", "path", "steering", "speed", "story", "user"):
        assert sizes(make_masked(1, goal=goal, **layout)) == trained
    beside = sizes(make_masked(1, scenes="chair", **layout))
    del beside["expert"]
    assert sizes(make_masked(1, goal="object", **layout)) == beside


def test_the_expert_sees_what_the_full_body_tracker_sees(make_masked, make_env):
    masked, tracker = make_masked(3), make_env(3, task={"rewards": "v1", "termination_distance": 0.25})
    seen, _ = masked.reset(seed=4)
    full, _ = tracker.reset(seed=4)
    assert torch.equal(seen["expert"], full)


# --- the environment -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "task",
    [
        {},
        {"goal": "story", "goal_options": {"chapters": (("steering", 0.3), ("path", 0.3))}},
    ],
)
def test_environments_obey_the_contract(task):
    check_vector_env(
        lambda: gymnasium.make_vec(
            "ProtoMaskedMimic-AMP-v0",
            num_envs=3,
            threads=1,
            motions=["walk", "kick"],
            observation="groups",
            task={**task, "episode_seconds": 0.8},
        ),
        steps=30,
    )


def test_the_object_is_seen_where_it_is_shown(make_masked):
    env = make_masked(200, scenes="chair")
    seen, _ = env.reset(seed=0)
    shown = seen["object_mask"][:, 0]
    assert shown.mean() == pytest.approx(0.8, abs=0.1)
    assert torch.equal(seen["object"].any(-1).float(), shown)


@pytest.mark.parametrize("goal", ["clip", "story", "user"])
def test_a_saved_environment_goes_on_bit_for_bit(make_masked, assert_equal, goal):
    first, second = (make_masked(3, motions=["walk", "kick"], goal=goal) for _ in range(2))
    first.reset(seed=1)
    second.reset(seed=2)
    action = torch.zeros(first.action_space.shape)
    for _ in range(13):
        first.step(action)
    for _ in range(4):
        second.step(action)
    second.load_state_dict(first.state_dict())
    for _ in range(25):
        (a, *outcome, _), (b, *other, _) = first.step(action), second.step(action)
        assert_equal(dict(a), dict(b))
        assert all(torch.equal(x, y) for x, y in zip(outcome, other, strict=True))


def test_history_goes_on_over_resets_and_ground_is_under_it():
    env = gymnasium.make_vec(
        "ProtoMaskedMimic-AMP-v0", num_envs=4, motions="walk", threads=1, terrain=SMALL, observation="groups"
    )
    env.reset(seed=0)
    for _ in range(40):
        observation, *_ = env.step(torch.zeros(env.action_space.shape))
    past = env.unwrapped.components.controls["history"].context(None)["past"]
    root = past.seen[..., :3]
    now = env.unwrapped.simulator.robot().body_positions[:, :1]
    assert past.known.all() and (root - now).norm(dim=-1).max() < 20.0
    height = root[..., 2] - env.unwrapped.ground.terrain.heights(root)
    assert height.min() > 0.0 and height.max() < 1.5
    assert observation["terrain"].shape == (4, 256)
    env.close()


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"goal": "fly"}, "goal.*'fly'.*there are"),
        ({"constraint": "toes"}, "constraint.*'toes'.*there are"),
        ({"text_share": 2.0}, r"text_share must be in \[0, 1\]"),
        ({"action": "residual"}, "residual action would tell"),
        ({"history_stride": 0}, "history_stride must be at least 1"),
        ({"inbetween_seconds": 0.0}, "inbetween_seconds must be positive"),
        ({"goal": "reach", "scenes": "chair"}, "goal 'reach' has no place for scenes"),
        ({"goal": "object", "goal_options": {"mode": "carry"}}, "there is only 'sit'"),
        ({"goal": "reach", "far_poses": 0}, "far_poses is 0, want 1 or more"),
        ({"goal": "story", "goal_options": {"chapters": (("fly", 1.0),)}}, "story chapters"),
        ({"goal": "user", "goal_options": {"script": "nowhere.json"}}, "script nowhere.json"),
    ],
)
def test_impossible_tasks_are_refused(make_masked, task, message):
    with pytest.raises(ValueError, match=message):
        make_masked(1, **task)


def test_unknown_options_of_a_controller_are_refused(make_masked):
    with pytest.raises(TypeError, match="task Reach has no field 'hands': did you mean 'hand'"):
        make_masked(1, goal="reach", goal_options={"hands": "left_hand"})


def test_the_overlay_of_version_3_is_its_fields():
    overlay = Path(__file__).parents[2] / "configs/opt/masked_mimic_v3.yaml"
    assert yaml.safe_load(overlay.read_text(encoding="utf-8")) == {"env": {"task": dict(V3)}}


def test_shares_are_fields_of_the_task():
    assert MaskedMimic.configured({"gap_frames": [2, 5], "near_repeat": 1}).gap_frames == (2, 5)
