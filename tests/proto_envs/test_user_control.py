"""What a person sets while robots move, without any window."""

import math

import pytest
import torch

from motionlib.embeddings import embed_labels
from proto_envs.components.masking import CONSTRAINTS
from proto_envs.components.user_control import Dial, Menu, angle_dial, wishes

ALL = torch.arange(2)


def test_a_dial_stays_in_its_range_and_an_angle_goes_around():
    speed = Dial(name="speed", low=0.0, high=2.0, step=0.5, start=1.0, role="pace")
    assert speed.moved(1.0, 1) == 1.5 and speed.moved(1.9, 3) == 2.0 and speed.moved(0.2, -1) == 0.0
    way = angle_dial("direction", role="turn")
    assert way.moved(175.0, 2) == -175.0 and way.moved(-180.0, -1) == 175.0
    assert angle_dial("facing").moved(179.0, 1) == 180.0


def test_wishes_are_numbers_in_the_dials_order():
    dials = [angle_dial("a"), Menu(name="m", options=("x",), start="x"), angle_dial("b")]
    numbers = wishes(dials, {"b": 3.0, "m": "x"}, torch.device("cpu"))
    assert numbers.shape == (2,) and math.isnan(numbers[0]) and numbers[1] == 3.0


@pytest.fixture
def told(make_env, still):
    """`told(env, settings, control="goal")`: environment 1 is told, and a step later."""

    def tell(env, settings, control="goal", ids=ALL[1:]):
        env.unwrapped.components.controls[control].obey(settings, ids)
        env.step(still(env))
        return env.unwrapped.components.controls[control]

    return tell


@pytest.mark.parametrize(("name", "dials"), [("Steering", 2), ("Facing", 3)])
def test_a_steering_command_is_what_was_set_and_the_rest_is_drawn(make_env, told, name, dials):
    env = make_env(2, name=name, motions=None)
    env.reset(seed=0)
    control = env.unwrapped.components.controls["goal"]
    assert [dial.name for dial in control.dials()] == ["direction", "speed", "facing"][:dials]
    before = control.goal.rows(ALL[:1])
    goal = told(env, {"direction": 90.0, "speed": 2.5}).goal
    torch.testing.assert_close(goal.direction[1], torch.tensor([0.0, 1.0]), atol=1e-6, rtol=0)
    assert goal.speed[1] == 2.5
    assert torch.equal(goal.direction[0], before.direction[0]) and goal.speed[0] == before.speed[0]
    if dials == 3:
        goal = told(env, {"direction": 90.0, "speed": 2.5, "facing": 180.0}).goal
        torch.testing.assert_close(goal.facing[1], torch.tensor([-1.0, 0.0]), atol=1e-6, rtol=0)


def test_what_was_set_holds_through_changes_and_new_episodes_until_it_is_let_go(make_env, told, still):
    env = make_env(2, name="Steering", motions=None, task={"hold": (0.1, 0.1), "speed": (1.0, 2.0)})
    env.reset(seed=0)
    control = told(env, {"speed": 0.5})
    for _ in range(8):
        env.step(still(env))
        assert control.goal.speed[1] == 0.5
    env.reset(seed=1)
    assert control.goal.speed[1] == 0.5 and control.goal.speed[0] >= 1.0
    told(env, {})
    assert control.goal.speed[1] != 0.5


def test_settings_change_no_draw_of_the_others(make_env, told, still, assert_equal):
    seen = []
    for settings in ({}, {"speed": 0.5}):
        env = make_env(2, name="Steering", motions=None, task={"hold": (0.1, 0.1)})
        env.reset(seed=0)
        told(env, settings)
        seen.append([env.step(still(env))[0][0] for _ in range(8)])
    for a, b in zip(*seen, strict=True):
        assert_equal(a, b)


def test_a_point_to_reach_is_set_from_where_the_robot_is(make_env, told):
    env = make_env(2, name="Reach", motions=None)
    env.reset(seed=0)
    control = told(env, {"height": 1.0, "left": 0.2})
    context = env.unwrapped._context(None)
    root = context.state.body_positions[:, 0]
    offset = context.in_heading(control.goal.target - root)[1]
    forward = next(dial.start for dial in control.dials() if dial.name == "forward")
    torch.testing.assert_close(offset[:2], torch.tensor([forward, 0.2]), atol=1e-5, rtol=0)
    assert control.goal.target[1, 2] == pytest.approx(1.0)


def test_goals_are_renewed_where_it_is_asked_for(make_env, still):
    env = make_env(2, name="Reach", motions=None)
    env.reset(seed=0)
    control = env.unwrapped.components.controls["goal"]
    before = control.goal.target.clone()
    assert control.renew(ALL[1:])
    env.step(still(env))
    assert torch.equal(control.goal.target[0], before[0]) and not torch.equal(control.goal.target[1], before[1])
    mimic = make_env(2)
    assert not any(control.renew(ALL) for control in mimic.unwrapped.components.controls.values())


def test_a_path_begins_anew_under_the_head(make_env, still):
    env = make_env(2, name="PathFollow", motions=None)
    env.reset(seed=0)
    env.step(still(env))
    control = env.unwrapped.components.controls["goal"]
    before = control.paths.clone()
    assert control.renew(ALL[1:])
    env.step(still(env))
    head = env.unwrapped.simulator.robot().body_positions[1, control._head, :2]
    torch.testing.assert_close(control.paths[1, 0, :2], head)
    assert torch.equal(control.paths[0], before[0]) and control.age.tolist() == [2, 0]


def test_masks_are_drawn_anew(make_env, still):
    env = make_env(2, "SMPL", "MaskedMimic", motions="walk")
    env.reset(seed=0)
    control = env.unwrapped.components.controls["goals"]
    before = control.goal.wait[:, -1].clone()
    assert control.renew(ALL[1:])
    env.step(still(env))
    assert control.goal.wait[0, -1] == before[0] - 1 and control.goal.wait[1, -1] != before[1] - 1
    assert control._renewed is None


def test_a_person_drives_maskedmimic(make_env, told):
    env = make_env(2, "SMPL", "MaskedMimic", motions="walk", task={"goal": "user"})
    env.reset(seed=0)
    control = env.unwrapped.components.controls["goals"]
    assert [dial.name for dial in control.dials()] == ["direction", "speed", "facing", "head"]
    told(env, {"direction": 90.0, "speed": 1.5}, "goals")
    root, pelvis = env.unwrapped.simulator.robot().body_positions[1, 0], control.shape.row("pelvis")
    asked = control.goal.positions[1, -1, pelvis]
    torch.testing.assert_close(asked[:2], root[:2] + torch.tensor([0.0, 1.5]), atol=1e-4, rtol=0)
    assert not control.goal.mask[0].any()
    told(env, {"speed": 1.0}, "goals")
    assert control.goal.positions[1, -1, pelvis, 0] == pytest.approx(float(root[0]) + 1.0, abs=0.2)
    told(env, {}, "goals")
    assert not control.goal.mask[1].any()


def test_texts_to_choose_are_the_labels_of_the_motions(make_env, told, library):
    clips = library("walk", "kick", robot="smpl")
    labels = ["a person kicks", "a person walks forward"]

    def encoder(texts):
        return [[float(labels.index(text)), 1.0] for text in texts]

    env = make_env(2, "SMPL", "MaskedMimic", motions=embed_labels(clips, encoder), task={"goal": "user"})
    env.reset(seed=0)
    (menu,) = (d for d in env.unwrapped.components.controls["goals"].dials() if isinstance(d, Menu))
    assert menu.name == "text" and menu.options == (menu.start, *labels)
    control = told(env, {"text": menu.options[1]}, "goals")
    assert control.goal.text[1].tolist() == [0.0, 1.0]
    assert control.goal.text_shown.tolist() == [False, True]
    assert not told(env, {"text": menu.start}, "goals").goal.text_shown.any()


@pytest.mark.parametrize("goal", ["clip", "inbetween"])
def test_a_preset_says_what_is_asked_of_clips(make_env, told, goal, still):
    env = make_env(2, "SMPL", "MaskedMimic", motions="walk", task={"goal": goal})
    env.reset(seed=0)
    control = env.unwrapped.components.controls["goals"]
    (menu,) = control.dials()
    assert set(menu.options) - {"random"} == set(CONSTRAINTS) and menu.start in menu.options
    told(env, {"constraint": "head"}, "goals", ALL)
    for _ in range(3):
        head, mask = control.shape.row("head"), control.goal.mask
        assert mask[:, :, head].any() and not mask[:, :, [r for r in range(mask.shape[2]) if r != head]].any()
        env.step(still(env))
    told(env, {"constraint": "none"}, "goals", ALL)
    assert not control.goal.mask.any()
    told(env, {}, "goals", ALL)
