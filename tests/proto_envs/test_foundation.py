"""What a MaskedMimic policy sees, beside the groups of another task."""

from dataclasses import asdict

import pytest
import torch

from motionlib.embeddings import embed_labels
from poselib.rotations import heading_angle, quat_from_euler
from proto_envs.tasks.foundation import Foundation
from proto_envs.tasks.masked_mimic import V3, MaskedMimic
from proto_envs.testing import check_vector_env

TASKS = ("Steering", "Facing", "PathFollow", "Reach", "Strike", "LongJump")
OWN = {"policy", "goal", "style"}
EVERYTHING = {"see_ground": True, "text_size": 8}


@pytest.fixture
def make(make_env):
    """`make(name, num_envs=3, robot="AMP", foundation={}, task={}, **keywords)`: with all groups."""

    def make(name, num_envs=3, robot="AMP", foundation=None, **keywords):
        given = {"motions": "walk", "observation": "groups", "foundation": foundation or {}, **keywords}
        return make_env(num_envs, robot, name, **given)

    return make


def sizes(env):
    return {name: box.shape[0] for name, box in env.single_observation_space.spaces.items()}


def goals_of(env):
    return env.unwrapped.components.controls["goals"]


# --- groups ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("robot", ["AMP", "SMPL"])
@pytest.mark.parametrize("layout", [{}, V3, EVERYTHING])
def test_the_policy_sees_groups_of_the_sizes_that_it_was_trained_on(make, make_env, robot, layout):
    trained = sizes(make_env(1, robot, "MaskedMimic", motions="walk", observation="groups", task=layout))
    del trained["policy"], trained["expert"]
    for task in TASKS:
        found = sizes(make(task, 1, robot, layout))
        own = {name: found.pop(name) for name in OWN}
        assert found == trained
        assert own == sizes(make_env(1, robot, task, motions="walk", observation="groups"))


def test_a_policy_that_was_trained_beside_objects_has_a_token_for_them_in_any_task(make, make_env):
    trained = make_env(1, name="MaskedMimic", motions="walk", observation="groups", scenes="chair")
    seen = sizes(trained)
    for task in ("Steering", "Strike"):
        env = make(task, 1, foundation={"object_token": True})
        found = sizes(env)
        assert {name: found[name] for name in ("object", "object_mask")} == {"object": 37, "object_mask": 1}
        assert found.keys() - OWN == seen.keys() - {"policy", "expert"}
        observation, _ = env.reset(seed=0)
        assert not observation["object"].any() and not observation["object_mask"].any()
    assert "object" not in sizes(make("Strike", 1))


def test_uneven_ground_is_seen(make):
    uneven = {"proportions": {"rough_slope": 1}, "levels": 2, "columns": 1}
    assert sizes(make("Steering", 1, terrain=uneven))["terrain"] == 256
    assert "terrain" not in sizes(make("Steering", 1, terrain=uneven, foundation={"see_ground": False}))


def test_a_whole_task_of_a_run_may_be_given(make):
    run = asdict(MaskedMimic(goal="reach", expert_action="residual", near_frames=3, gap_frames=(2, 3), text_size=8))
    assert sizes(make("Steering", 1, foundation=run)) == sizes(
        make("Steering", 1, foundation={"near_frames": 3, "text_size": 8})
    )


# --- nothing is asked ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("layout", [EVERYTHING, V3])
def test_all_goals_are_hidden(make, noisy, task, layout):
    env = make(task, foundation=layout, task={"episode_seconds": 0.2})
    observation, _ = env.reset(seed=0)
    for step in range(9):
        for name in ("sparse_poses", "sparse_poses_mask", *(("text", "text_mask") if layout is EVERYTHING else ())):
            assert not observation[name].any()
        assert observation["self"].any() and observation["previous_targets"].any()
        observation, *_ = env.step(noisy(env, step))
    assert not goals_of(env).goal.mask.any()


def test_what_is_seen_of_the_body_is_what_the_task_sees_of_it(make, noisy):
    env = make("Reach", foundation={"see_ground": True}, task={"see_ground": True})
    env.reset(seed=0)
    observation, *_ = env.step(noisy(env, 0))
    shown = torch.cat([observation[name] for name in ("self", "terrain", "goal")], dim=-1)
    assert torch.equal(shown, observation["policy"])
    assert torch.equal(observation["previous_targets"], env.unwrapped._context(None).targets)


def test_a_new_episode_has_the_past_of_its_own(make, noisy):
    rest = {"rest_share": 1.0, "episode_seconds": 0.5, "fall_height": None}
    env = make("Steering", foundation={"history_length": 3, "history_stride": 4}, task=rest)
    observation, _ = env.reset(seed=0)
    assert not observation["history_mask"].any(), "who begins at rest has no past"
    for step in range(15):
        observation, _, _, truncated, info = env.step(noisy(env, step))
    assert truncated.all() and info["final_obs"]["history_mask"].all()
    assert not observation["history_mask"].any() and not observation["history"].any()


def test_an_episode_that_begins_in_a_clip_has_the_clips_past(make, make_env, noisy):
    senses = {"history_length": 4, "history_stride": 2}
    env = make("Steering", foundation=senses, task={"fall_height": None})
    observation, _ = env.reset(seed=0)
    start = env.unwrapped.components.controls["start"]
    ages = observation["history"].unflatten(-1, (4, -1))[0, :, -1]
    assert ages.tolist() == pytest.approx([-2 / 30, -4 / 30, -6 / 30, -8 / 30])
    past = env.unwrapped.components.controls["history"].context(None)["past"]
    for moment in range(4):
        state = start.motions.get_body_state(start.clips, start.times + float(ages[moment]))
        torch.testing.assert_close(past.seen[:, moment, :45], state.body_positions.flatten(1), atol=1e-4, rtol=0)
    assert torch.equal(observation["history_mask"] > 0, past.known) and past.known.any()


# --- as environments -------------------------------------------------------------------------------------------------

SHORT = {"episode_seconds": 0.2}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("robot", ["AMP", "SMPL"])
def test_environments_obey_the_contract(make, task, robot):
    priors = {"conditioning": True} if robot == "AMP" else {}
    check_vector_env(lambda: make(task, 2, robot, foundation=priors, task=SHORT), steps=10)


@pytest.mark.parametrize("task", TASKS)
def test_a_saved_environment_goes_on_bit_for_bit(make, roll, assert_equal, task):
    first, second = (make(task, foundation={"conditioning": True}, task={"episode_seconds": 0.5}) for _ in range(2))
    first.reset(seed=1)
    second.reset(seed=2)
    roll(first, 10)
    roll(second, 3)
    second.unwrapped.load_state_dict(first.unwrapped.state_dict())
    assert_equal(tuple(roll(first, 12, 10)), tuple(roll(second, 12, 10)))


def test_a_detailed_evaluation_measures_the_same_environment(make, roll):
    env = make("Steering", foundation={}, detailed_metrics=True)
    env.reset(seed=0)
    observation, *_, info = roll(env, 1)[0]
    assert "jerk_mps3" in info["metrics"] and "history" in observation


# --- conditioning ----------------------------------------------------------------------------------------------------

_DRIVEN = {"hold": (6.63, 6.67), "fresh_share": 1.0, "stop_share": 0.0, "speed": (1.5, 1.6)}


@pytest.mark.parametrize(
    ("task", "fields", "goal"),
    [("Facing", _DRIVEN, "steering"), ("Reach", {}, "reach"), ("PathFollow", {}, "path")],
)
@pytest.mark.parametrize("layout", [{}, V3])
def test_a_policy_is_asked_for_what_the_controller_asks_for(make, make_env, noisy, task, fields, goal, layout):
    conditioned = make(task, foundation={**layout, "conditioning": True}, task=fields)
    driven = make_env(3, name="MaskedMimic", motions="walk", observation="groups", task={**layout, "goal": goal})
    mine, theirs = conditioned.reset(seed=4)[0], driven.reset(seed=4)[0]
    for step in range(6):
        for name in theirs.keys() - {"policy"}:
            assert torch.equal(mine[name], theirs[name]), name
        assert mine["sparse_poses_mask"].any()
        action = 0.2 * noisy(conditioned, step)
        mine, theirs = conditioned.step(action)[0], driven.step(action)[0]


def test_steering_asks_for_the_pelvis_and_its_heading_a_second_ahead(make, still):
    env = make("Steering", foundation={"conditioning": True}, task={"stop_share": 0.3})
    env.reset(seed=0)
    env.step(still(env))
    goal, pelvis = goals_of(env).goal, goals_of(env).shape.row("pelvis")
    command, root = env.unwrapped._context(None).steering, env.unwrapped.simulator.robot().body_positions[:, 0]
    velocity = command.speed.unsqueeze(-1) * command.direction
    course = torch.atan2(command.direction[:, 1], command.direction[:, 0])
    assert goal.wait[:, -1].tolist() == [30] * 3
    torch.testing.assert_close(goal.positions[:, -1, pelvis, :2], root[:, :2] + velocity)
    torch.testing.assert_close(goal.velocities[:, -1], velocity)
    for yaw in (heading_angle(goal.rotations[:, -1, pelvis]), goal.headings[:, -1]):
        torch.testing.assert_close((yaw - course).cos(), torch.ones(3))
    assert goal.mask[:, -1, [pelvis, -1]].all()


def test_strike_asks_to_face_the_target_while_it_is_far_and_stands(make, still):
    env = make("Strike", 64, foundation={"conditioning": True}, task={"rest_share": 1.0})
    env.reset(seed=0)
    env.step(still(env))
    context = env.unwrapped._context(None)
    way = (context.objects.positions[:, 0] - context.state.body_positions[:, 0])[:, :2]
    far = way.norm(dim=-1) > 2.0
    goals = goals_of(env)
    rows = [goals.shape.row("pelvis"), goals.shape.row("head")]
    assert 0 < far.sum() < 64
    wanted = torch.zeros_like(goals.goal.mask)
    wanted[:, -1, rows, 1] = far.unsqueeze(1)
    assert torch.equal(goals.goal.mask, wanted)
    for row in rows:
        yaw = heading_angle(goals.goal.rotations[far, -1, row]) - heading_angle(goals.shape.upright[row])
        torch.testing.assert_close((yaw - torch.atan2(way[far, 1], way[far, 0])).cos(), torch.ones(int(far.sum())))
    fallen = env.unwrapped.simulator.objects()
    fallen.rotations[:] = quat_from_euler("xyz", torch.tensor([1.5, 0.0, 0.0]))
    env.unwrapped.simulator.set_objects(torch.arange(64), fallen)
    goals.observe(env.unwrapped._context(None), env.unwrapped.generator)
    assert not goals.goal.mask.any()


def test_the_long_jump_asks_for_the_middle_of_the_track_up_to_the_line(make, still):
    env = make("LongJump", foundation={"conditioning": True}, task={"line": 5.0})
    env.reset(seed=0)
    track, goals = env.unwrapped.components.controls["goal"].track, goals_of(env)
    across = torch.stack([-track.direction[:, 1], track.direction[:, 0]], dim=-1)
    # One has strayed from the middle, one is behind the line.
    track.start[0] += 0.3 * across[0]
    track.start[1] -= 6.0 * track.direction[1]
    env.step(still(env))
    root, pelvis = env.unwrapped.simulator.robot().body_positions[:, 0, :2], goals.shape.row("pelvis")
    offset = goals.goal.positions[:, -1, pelvis, :2] - track.start
    here = ((root - track.start) * track.direction).sum(-1)
    torch.testing.assert_close((offset * track.direction).sum(-1) - here, torch.full((3,), 4.0), atol=1e-4, rtol=0)
    torch.testing.assert_close((offset * across).sum(-1), torch.zeros(3), atol=1e-4, rtol=0)
    assert goals.goal.mask[:, -1, pelvis].all(-1).tolist() == [True, False, True]
    assert not goals.goal.mask[1].any()


# --- words -----------------------------------------------------------------------------------------------------------


def vectors(texts):
    return [[float(len(text)), 1.0] for text in texts]


@pytest.mark.parametrize("conditioning", [False, True])
def test_a_sentence_is_told_all_the_time(make, noisy, library, conditioning):
    clips = embed_labels(library("walk", "kick"), vectors)
    label = clips.labels[1][0]
    senses = {"prior_text": label, "conditioning": conditioning}
    env = make("Reach", motions=clips, foundation=senses, task={"episode_seconds": 0.2})
    observation, _ = env.reset(seed=0)
    for step in range(9):
        assert observation["text"].tolist() == vectors([label]) * 3
        assert observation["text_mask"].all()
        assert bool(observation["sparse_poses_mask"].any()) == conditioning
        observation, *_ = env.step(noisy(env, step))


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("foundation", "error", "message"),
    [
        ({"near_frame": 3}, TypeError, "foundation: .*'near_frame': did you mean 'near_frames'"),
        ({"conditionning": True}, TypeError, "foundation: .*'conditionning': did you mean 'conditioning'"),
        ({"conditioning": "yes"}, TypeError, "foundation: .*'conditioning' wants bool"),
        ({"history_length": -1}, ValueError, "foundation: .*history_length must"),
        ({"tokens": "v2"}, ValueError, "foundation: .*'tokens' is 'v2'; there are"),
        ({"conditioning": True, "far_poses": 0}, ValueError, "far_poses is 0, want 1 or more"),
        ({"prior_text": "a jump"}, ValueError, "'a jump': the policy reads no words, as its text_size is 0"),
        ({"prior_text": "a jump", "text_size": 8}, ValueError, "text 'a jump': the motions have no embeddings"),
        (["near_frames"], TypeError, r"foundation=\['near_frames'\]: want a mapping"),
    ],
)
def test_what_makes_no_sense_is_refused(make_env, foundation, error, message):
    with pytest.raises(error, match=message):
        make_env(1, name="Reach", motions="walk", observation="groups", foundation=foundation)


def test_a_text_that_is_no_label_is_refused(make, library):
    clips = embed_labels(library("walk"), vectors)
    with pytest.raises(ValueError, match="text 'a jump': no clip is labelled so"):
        make("Reach", 1, motions=clips, foundation={"prior_text": "a jump"})
    with pytest.raises(ValueError, match="without motions there are no labels"):
        make("Reach", 1, motions=None, foundation={"prior_text": "a jump", "text_size": 2})


def test_it_stands_beside_the_groups_of_a_goal_task_alone(make, make_env):
    with pytest.raises(ValueError, match="observation='flat'"):
        make("Reach", 1, observation="flat", foundation={"near_frames": 3})
    with pytest.raises(ValueError, match="task Mimic has no goal that a token"):
        make("Mimic", 1)
    with pytest.raises(ValueError, match=r"task GetUp has no controller made by hand; those of \['Steering', "):
        make("GetUp", 1, foundation={"conditioning": True}, task={"dropped": 2})


def test_only_fields_of_the_task_and_its_own_are_fields():
    assert Foundation.of({"gap_frames": [2, 5], "conditioning": True}).gap_frames == (2, 5)
