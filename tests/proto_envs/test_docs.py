"""The blocks of `docs/components.md` run as they stand, are short, and do what the text says."""

import re
import warnings
from dataclasses import replace
from pathlib import Path

import gymnasium
import pytest
import torch

from proto_envs import registration
from proto_envs.components.control import Control
from proto_envs.context import given
from proto_envs.tasks.style import Style

PAGE = (Path(__file__).parents[2] / "docs" / "components.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^## (.*?)\n.*?```python\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE))
"""heading to the first block below it"""


@pytest.fixture(autouse=True)
def _ids(monkeypatch):
    """Ids that a test registers are gone after it."""
    for table in (registration.TASKS, registration.ROBOTS_OF_TASK, gymnasium.registry):
        for key in table:
            monkeypatch.setitem(table, key, table[key])
    before = set(gymnasium.registry)
    known = set(registration.TASKS)
    yield
    for name in set(gymnasium.registry) - before:
        del gymnasium.registry[name]
    for name in set(registration.TASKS) - known:
        del registration.TASKS[name], registration.ROBOTS_OF_TASK[name]


def run(heading):
    names = {"__name__": "__main__"}
    exec(compile(BLOCKS[heading], f"docs/components.md, {heading}", "exec"), names)
    return names


@pytest.fixture
def made():
    """`made(heading)`: the environment of a block after a reset and two steps, its observation and its info."""
    environments = []

    def make(heading):
        env = run(heading)["env"]
        environments.append(env)
        env.reset(seed=0)
        for _ in range(2):
            observation, reward, *_, info = env.step(torch.zeros(env.action_space.shape))
            assert torch.isfinite(reward).all()
        return env, observation, info

    yield make
    for env in environments:
        env.close()


def test_every_part_is_shown_once_and_shortly():
    assert list(BLOCKS) == [
        "A reward",
        "An observation",
        "A termination",
        "A control",
        "A task",
        "A robot",
        "Into this repository",
    ]
    assert len(re.findall("```python", PAGE)) == len(BLOCKS)
    lines = {heading: block.count("\n") for heading, block in BLOCKS.items()}
    assert all(count < 30 for count in lines.values()), lines


def test_a_reward(made):
    env, _, info = made("A reward")
    upright = info["metrics"]["reward/upright"]
    assert ((upright > 0.8) & (upright <= 1.0 + 1e-6)).all(), "the walk is upright"
    assert env.components.rewards["upright"].weight == 0.1


def test_an_observation(made):
    env, observation, _ = made("An observation")
    assert observation["feet"].shape == (4, 6)
    assert (observation["feet"].view(4, 2, 3)[..., 2] < -0.3).all(), "feet are below the root"
    with_feet = '"policy": [*parts.observations["policy"], feet]'
    assert with_feet in PAGE
    shown = BLOCKS["An observation"].replace('"feet": [feet]', with_feet).replace('observation="groups"', "threads=1")
    names = {"__name__": "__main__"}
    exec(shown, names)
    assert names["env"].observation_space.shape[1] == env.observation_space["policy"].shape[1] + 6


def test_a_termination(made):
    env, _, _ = made("A termination")
    assert env.task.lowest_root == 0.5 and set(env.components.terminations) == {"lost_track", "sunk"}
    sunk = run("A termination")["sunk"]
    context = env._context(None)
    height = context.state.body_positions[:, 0, 2]
    assert sunk(context, float(height.max()) + 0.01).all() and not sunk(context, float(height.min()) - 0.01).any()


def test_a_control(made):
    env, _, _ = made("A control")
    env.reset(seed=1)
    target = env.components.controls["goal"].goal.target
    offset = target - env.simulator.robot().body_positions[:, 0]
    torch.testing.assert_close(offset[:, :2].norm(dim=-1), torch.full((4,), 0.6))
    torch.testing.assert_close(offset[:, 2], torch.full((4,), 0.5))


def test_a_task(made):
    env, _, info = made("A task")
    assert registration.ROBOTS_OF_TASK["HandsUp"] == registration.ROBOTS_OF_TASK["Mimic"]
    assert not info["metrics"]["success"].any(), "nobody walks with their hands up"
    bodies = env.robot.skeleton.body_indices(["head", "left_hand", "right_hand"])
    head, left, right = env.simulator.robot().body_positions[:, bodies, 2].T
    lack = (head + 0.1 - torch.minimum(left, right)).clamp_min(0.0)
    torch.testing.assert_close(info["metrics"]["reward/hands_up"], torch.exp(-4.0 * lack**2))


def test_a_robot(made, capsys):
    env, _, info = made("A robot")
    assert "('left_foot', 'right_foot')" in capsys.readouterr().out
    assert env.robot.name == "Humanoid" and env.metadata["render_fps"] == 50
    knees = [i for i, name in enumerate(env.robot.skeleton.dof_names) if "knee" in name]
    assert len(knees) == 2
    assert [env.robot.dof_drives[knee].stiffness for knee in knees] == [300, 300]
    torch.testing.assert_close(env.robot.default_dofs[knees], torch.tensor([-0.2, -0.2]))
    assert torch.isfinite(info["metrics"]["mpjpe_mm"]).all()


def test_the_whole_contract_is_checked():
    run("Into this repository")
    assert "check_vector_env(" in BLOCKS["Into this repository"]


# --- registering -----------------------------------------------------------------------------------------------------


class Own(Style):
    """A task of one's own."""


def test_a_registered_task_has_ids_like_any_other():
    registration.register_task("Own", Own, robots=("AMP", "G1"))
    assert [id for id in registration.environment_ids() if id.startswith("ProtoOwn-")] == [
        "ProtoOwn-AMP-v0",
        "ProtoOwn-G1-v0",
    ]
    for env in (gymnasium.make("ProtoOwn-AMP-v0"), gymnasium.make_vec("ProtoOwn-v0", num_envs=2, robot="AMP")):
        assert env.unwrapped.observation_space.shape[-1] == 223
        env.close()


def test_a_task_may_be_registered_again_but_not_take_the_name_of_another():
    registration.register_task("Own", Own)
    again = type("Own", (Style,), {"__qualname__": Own.__qualname__})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        registration.register_task("Own", again)
    assert registration.TASKS["Own"] is again
    with pytest.raises(ValueError, match=r"there is a task 'Own' already, .*Own"):
        registration.register_task("Own", type("Other", (Style,), {}))
    with pytest.raises(ValueError, match=r"there is a task 'Mimic' already, proto_envs\.tasks\.mimic:Mimic"):
        registration.register_task("Mimic", Own)


@pytest.mark.parametrize(
    ("name", "task", "robots", "error", "message"),
    [
        ("My-Task", Own, ("AMP",), ValueError, r"'My-Task': want ASCII letters and digits"),
        ("", Own, ("AMP",), ValueError, r"'': want ASCII letters and digits"),
        ("Own", Own(), ("AMP",), TypeError, r"'Own': want a subclass of proto_envs\.tasks\.base\.Task, got Own\("),
        ("Own", dict, ("AMP",), TypeError, r"'Own': want a subclass .*got <class 'dict'>"),
        ("Own", Own, ("AMP", "Amp2"), ValueError, r"no built-in robots \['Amp2'\]; there are \['AMP', "),
    ],
)
def test_what_makes_no_ids_is_refused(name, task, robots, error, message):
    before = set(gymnasium.registry)
    with pytest.raises(error, match=message):
        registration.register_task(name, task, robots)
    assert set(gymnasium.registry) == before


# --- a goal of one's own ---------------------------------------------------------------------------------------------


def test_a_control_may_give_a_goal_that_is_not_ours():
    class Crouch(Style):
        def goal(self, setup):
            class Height(Control):
                def context(self, ids):
                    height = 0.1 * torch.arange(setup.num_envs)
                    return {"goal": height if ids is None else height[ids]}

            return replace(
                super().goal(setup), control=Height(), metrics={"asked": lambda ctx: given(ctx.goal).clone()}
            )

    registration.register_task("Crouch", Crouch)
    env = gymnasium.make_vec("ProtoCrouch-AMP-v0", num_envs=3)
    env.reset(seed=0)
    torch.testing.assert_close(env.step(torch.zeros(3, 28))[-1]["metrics"]["asked"], torch.tensor([0.0, 0.1, 0.2]))
    env.close()
