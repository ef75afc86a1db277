"""The controllers made by hand: what they ask for, and that who does what they ask scores as their metric says."""

import json
import math

import gymnasium
import pytest
import torch

import proto_envs  # noqa: F401  registers the ids
from motionlib.embeddings import embed_labels
from poselib.rotations import angle_between, heading_angle, quat_from_exp_map, quat_from_yaw, quat_multiply, slerp
from proto_envs.components.engineered.story import chapter_at
from proto_envs.components.engineered.user import UserCommand, read_script
from proto_envs.components.objects import target_pose
from proto_envs.components.start import default_state
from proto_envs.tasks.masked_mimic import V3

DT = 1 / 30


@pytest.fixture
def make_driven():
    """`make_driven(goal, num_envs=3, robot="AMP", options={}, **task)`."""
    made = []

    def make(goal, num_envs=3, robot="AMP", motions="walk", options=None, scenes=None, **task):
        env = gymnasium.make_vec(
            f"ProtoMaskedMimic-{robot}-v0",
            num_envs=num_envs,
            motions=motions,
            threads=1,
            **({} if scenes is None else {"scenes": scenes}),
            task={"goal": goal, "goal_options": options or {}, **task},
        )
        made.append(env)
        return env

    yield make
    for env in made:
        env.close()


def obey(env):
    """Replace the physics by a stiff figure that glides and turns so that what is asked comes true when it is due.

    It stands in the default pose; of each slot the first body that is asked for leads. Nothing but the goals is read.
    """
    env = env.unwrapped
    simulator, goals, robot = env.simulator, env.components.controls["goals"], env.robot
    ids, shape = torch.arange(env.num_envs), goals.shape
    pose = default_state(robot, env.num_envs, torch.device("cpu"))
    simulator.set_state(ids, pose)
    body = {
        name: simulator.robot().body_positions[:, index] for name, index in zip("abcdef", shape.bodies, strict=True)
    }
    arms = torch.stack(list(body.values()), dim=1) - pose.root_position.unsqueeze(1)

    def lead(goal, kind, env_id):
        """Slot and row of what is due first, or None."""
        asked = goal.mask[env_id, :, :-1, kind].nonzero().tolist()
        return min(asked, key=lambda entry: int(goal.wait[env_id, entry[0]]), default=None)

    def step(targets):
        goal, state = goals.goal, simulator.robot()
        root, rotation = state.body_positions[:, 0].clone(), state.body_rotations[:, 0].clone()
        for i in range(len(ids)):
            if turn := lead(goal, 1, i):
                slot, row = turn
                yaw = heading_angle(goal.rotations[i, slot, row]) - heading_angle(shape.upright[row])
                wait = max(1, int(goal.wait[i, slot]))
                rotation[i] = slerp(rotation[i : i + 1], quat_from_yaw(yaw.view(1)), torch.tensor([[1.0 / wait]]))[0]
            if move := lead(goal, 0, i):
                slot, row = move
                arm = arms[i, row]
                yaw = heading_angle(rotation[i])
                spun = torch.stack(
                    [arm[0] * yaw.cos() - arm[1] * yaw.sin(), arm[0] * yaw.sin() + arm[1] * yaw.cos(), arm[2]]
                )
                way = goal.positions[i, slot, row] - root[i] - spun
                root[i] += way / max(1, int(goal.wait[i, slot]))
        velocity = (root - state.body_positions[:, 0]) / env.simulator.dt
        fresh = default_state(robot, len(ids), root.device)
        local = fresh.local_rotations.clone()
        local[:, 0] = rotation
        simulator.set_state(
            ids,
            type(fresh)(root, local, fresh.dof_positions, velocity, torch.zeros_like(root), fresh.dof_velocities),
        )

    simulator.step = step


def play(env, steps):
    """Metrics (steps, N) of who does what is asked, without falls: the figure may go through the ground."""
    env.reset(seed=3)
    obey(env)
    env.unwrapped.components.terminations.clear()
    rows = []
    for _ in range(steps):
        _, _, _, _, info = env.step(torch.zeros(env.action_space.shape))
        rows.append(info["metrics"])
    return {name: torch.stack([row[name].float() for row in rows]) for name in rows[0]}


@pytest.mark.parametrize("layout", [{}, V3])
def test_reach_is_met_when_it_is_due(make_driven, layout):
    env = make_driven("reach", **layout)
    metrics = play(env, 89)
    # Never asked to be there sooner than in 5 steps, it comes closer by a fifth each step in the end.
    assert metrics["reach_distance"][61:].max() < 0.05 and metrics["reach_distance"][75:].max() < 0.003
    assert metrics["success"][61:].all()


def test_the_path_is_kept(make_driven):
    metrics = play(make_driven("path", options={"sharp_turn_share": 0.0}), 100)
    assert metrics["path_distance"][20:].mean() < 0.05
    assert metrics["path_distance"][20:].max() < 0.45 and metrics["success"].all()


@pytest.mark.parametrize(("goal", "top", "layout"), [("steering", 1.6, {}), ("speed", 5.0, V3)])
def test_the_commanded_velocity_and_facing_come_true(make_driven, goal, top, layout):
    metrics = play(make_driven(goal, **layout), 75)
    # The first step also goes to the height that is asked for.
    assert metrics["speed_error"][1:].max() < 0.01 * top
    assert metrics["facing_error"][61:].max() < 0.1
    assert metrics["success"][61:].all()


def test_a_story_is_judged_chapter_by_chapter(make_driven):
    env = make_driven("story", options={"chapters": (("steering", 2.3), ("reach", 2.3), ("path", 2.0))})
    env.reset(seed=3)
    metrics = play(env, 165)
    assert metrics["speed_error"][1:69].max() < 0.05
    assert metrics["reach_distance"][69 + 62 : 138].max() < 0.05
    assert metrics["path_distance"][155:].max() < 0.45
    assert metrics["success"][62:69].all() and metrics["success"][69 + 62 :].all()


def test_the_object_is_walked_to_and_then_shown(make_driven):
    env = make_driven("object", 3, scenes=["chair", "sofa"], options={"distance": (2.0, 6.0)})
    env.reset(seed=3)
    assert goal_of(env).mask.any() and not goal_of(env).object_shown.any()
    metrics = play(env, 240)
    goal = goal_of(env)
    assert goal.object_shown.all() and not goal.mask.any()
    context = env.unwrapped._context(None)
    way = target_pose(context)[0] - context.state.body_positions[:, 0]
    assert way[:, :2].norm(dim=-1).max() <= 2.0
    assert torch.isfinite(metrics["goal_distance"]).all()


def test_chapters_follow_each_other_and_the_last_goes_on():
    ends = torch.tensor([3, 5, 9])
    assert chapter_at(torch.arange(11), ends).tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 2, 2, 2]


# --- what is asked ---------------------------------------------------------------------------------------------------


def goal_of(env):
    return env.unwrapped.components.controls["goals"].goal


def test_reach_asks_for_one_hand_in_the_time_that_is_left_but_never_at_once(make_driven):
    env = make_driven("reach", 3)
    env.reset(seed=0)
    waits = []
    for _ in range(85):
        goal = goal_of(env)
        assert goal.mask.sum() == 3
        row = env.unwrapped.components.controls["goals"].shape.row("right_hand")
        assert goal.mask[:, -1, row, 0].all()
        target = env.unwrapped.components.controls["goal"].goal
        assert torch.equal(goal.positions[:, -1, row], target.target)
        waits.append(int(goal.wait[0, -1]))
        env.unwrapped.components.terminations.clear()
        env.step(torch.zeros(env.action_space.shape))
    assert waits == [max(60 - age, 5) for age in range(85)]


def test_who_is_off_the_path_is_asked_for_one_pose_only(make_driven):
    env = make_driven("path", 2)
    env.reset(seed=0)
    follower = env.unwrapped.components.controls["goal"]
    follower.paths[1, :, 0] += 0.6
    env.unwrapped.components.controls["goals"].observe(env.unwrapped._context(None), env.unwrapped.generator)
    goal = goal_of(env)
    asked = goal.mask.flatten(2).any(-1)
    assert asked.tolist() == [[True] * 5 + [False] * 5 + [True], [False] * 10 + [True]]
    assert goal.wait[:, -1].tolist() == [15, 24]


def test_the_pelvis_is_asked_for_at_nine_tenths_of_a_metre(make_driven):
    env = make_driven("steering", 2, robot="SMPL")
    env.reset(seed=0)
    goal = goal_of(env)
    assert goal.positions[:, -1, 0, 2].tolist() == [pytest.approx(0.9, abs=0.005)] * 2
    assert goal.wait[:, -1].tolist() == [30, 30] and goal.wait[:, -2].tolist() == [10, 10]
    assert goal.mask.any(-1).nonzero()[:, 1:].tolist() == [[9, 0], [10, 0]] * 2
    assert not goal.mask[:, 9, 0, 0].any() and goal.mask[:, 10, 0].all()


def test_bodies_that_are_asked_to_stand_upright_do(make_driven):
    env = make_driven("path", 2, robot="G1", motions=None)
    env.reset(seed=0)
    goals = env.unwrapped.components.controls["goals"]
    robot = env.unwrapped.robot
    env.unwrapped.simulator.set_state(torch.arange(2), default_state(robot, 2, torch.device("cpu")))
    row = goals.shape.row("head")
    standing = env.unwrapped.simulator.robot().body_rotations[:, goals.shape.bodies[row]]
    assert angle_between(goals.facing(row, torch.zeros(2)), standing).max() < 1e-3
    turned = quat_multiply(quat_from_exp_map(torch.tensor([[0.0, 0.0, 0.4]])), standing[:1])
    assert angle_between(goals.facing(row, torch.tensor([0.4])), turned).max() < 1e-3


# --- a person --------------------------------------------------------------------------------------------------------


def vectors(texts):
    return [[float(len(text)), 1.0] for text in texts]


def test_a_script_is_followed_in_time(make_driven, tmp_path, library):
    clips = embed_labels(library("walk"), vectors)
    label = clips.labels[0][0]
    script = tmp_path / "script.json"
    script.write_text(
        json.dumps(
            [
                {"direction": 90, "speed": 1.2},
                {"at": 0.5, "right_hand": [0.3, -0.2, 1.0], "text": label},
                {"at": 1.0},
            ]
        )
    )
    env = make_driven("user", 2, motions=clips, options={"script": str(script)})
    env.reset(seed=0)
    env.unwrapped.components.terminations.clear()
    shape = env.unwrapped.components.controls["goals"].shape
    for step in range(34):
        goal, state = goal_of(env), env.unwrapped.simulator.robot()
        root = state.body_positions[:, 0]
        if step < 15:
            ahead = goal.positions[:, -1, shape.row("pelvis")] - root
            torch.testing.assert_close(ahead[:, :2], torch.tensor([[0.0, 1.2]] * 2), atol=1e-4, rtol=0)
            assert heading_angle(goal.rotations[0, -1, 0]).item() == pytest.approx(math.pi / 2, abs=1e-4)
            assert not goal.text_shown.any()
        elif step < 30:
            hand = goal.positions[:, -1, shape.row("right_hand")]
            yaw = heading_angle(state.body_rotations[:, 0])
            forward = torch.stack([yaw.cos(), yaw.sin()], -1)
            left = torch.stack([-yaw.sin(), yaw.cos()], -1)
            torch.testing.assert_close(hand[:, :2], root[:, :2] + 0.3 * forward - 0.2 * left, atol=1e-4, rtol=0)
            torch.testing.assert_close(hand[:, 2], torch.ones(2), atol=1e-4, rtol=0)
            assert goal.mask.sum() == 2 and goal.text_shown.all()
            assert goal.text.tolist() == [vectors([label])[0]] * 2
        else:
            assert not goal.mask.any() and not goal.text_shown.any()
        env.step(torch.zeros(env.action_space.shape))


def test_a_person_can_say_something_at_any_time(make_driven):
    env = make_driven("user", 3)
    env.reset(seed=0)
    goals = env.unwrapped.components.controls["goals"]
    goals.say(UserCommand(facing=180.0, head=1.2), torch.tensor([1]))
    env.step(torch.zeros(env.action_space.shape))
    asked = goals.goal.mask.flatten(1).sum(-1)
    assert asked[0] == asked[2] == 0 and asked[1] > 0
    assert goals.goal.positions[1, -1, goals.shape.row("head"), 2].item() == pytest.approx(1.2, abs=1e-4)
    with pytest.raises(ValueError, match=r"text 'fly': the motions have no embeddings"):
        goals.say(UserCommand(text="fly"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "want a list"),
        ("[{", "script"),
        ('[{"walk": 1}]', r"\['walk'\] of .* is unknown"),
        ('[{"speed": "fast"}]', "speed wants 1 finite number"),
        ('[{"left_hand": [1, 2]}]', "left_hand wants 3 finite number"),
        ('[{"at": -1}]', "must not be negative"),
        ("[3]", "3 is unknown"),
    ],
)
def test_scripts_that_make_no_sense_are_refused(tmp_path, content, message):
    script = tmp_path / "script.json"
    script.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_script(script)
