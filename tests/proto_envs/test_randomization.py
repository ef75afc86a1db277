"""Numbers that are drawn, and how configurations are read and refused."""

import math
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from scipy import stats

from proto_envs.randomization.channels import DelayLine, noise_like
from proto_envs.randomization.config import Noise, Projectiles, Pushes, Randomization
from proto_envs.randomization.pushes import Timer
from proto_envs.randomization.ranges import Range, Vector
from proto_envs.randomization.reading import PRESETS, make_randomization

COUNT = 20_000
LIKELY = 1e-3
"""a sampler that is right fails one test in a thousand; seeds are fixed, so each has passed once and for all"""


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


# --- samplers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        ("uniform", stats.uniform(0.5, 1.5)),
        ("log_uniform", stats.loguniform(0.5, 2.0)),
        ("normal", stats.truncnorm(-2.0, 2.0, loc=1.25, scale=0.375)),
    ],
)
def test_a_range_draws_what_its_distribution_says(distribution, expected):
    drawn = Range(0.5, 2.0, distribution).draw(COUNT, stream())
    assert drawn.min() >= 0.5 and drawn.max() <= 2.0
    assert stats.kstest(drawn.numpy(), expected.cdf).pvalue > LIKELY


def test_a_range_without_width_is_that_number():
    assert Range(3.0, 3.0, "log_uniform").draw(4, stream()).tolist() == [3.0] * 4


def test_whole_numbers_are_all_alike_probable():
    drawn = Range(1, 4).draw_steps(COUNT, stream())
    assert drawn.dtype == torch.long
    counts = np.bincount(drawn.numpy(), minlength=6)
    assert counts[0] == counts[5] == 0
    assert stats.chisquare(counts[1:5]).pvalue > LIKELY


def test_the_axes_of_a_vector_are_independent():
    drawn = Vector(Range(-1, 1), Range(0, 2), Range(5, 5)).draw(COUNT, stream()).numpy()
    assert stats.kstest(drawn[:, 0], stats.uniform(-1, 2).cdf).pvalue > LIKELY
    assert stats.kstest(drawn[:, 1], stats.uniform(0, 2).cdf).pvalue > LIKELY
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 4 / math.sqrt(COUNT)
    assert (drawn[:, 2] == 5).all()


@pytest.mark.parametrize(
    ("noise", "expected"),
    [
        (Noise(size=0.3), stats.norm(0, 0.3)),
        (Noise(size=0.3, distribution="uniform"), stats.uniform(-0.3, 0.6)),
    ],
)
def test_noise_has_the_size_it_says(noise, expected):
    drawn = noise_like(torch.zeros(COUNT // 10, 10), noise, stream())
    assert stats.kstest(drawn.flatten().numpy(), expected.cdf).pvalue > LIKELY


def test_a_timer_waits_as_its_interval_says_each_environment_by_itself():
    dt, generator = 0.02, stream()
    timer = Timer(Range(0.5, 1.5), dt, 500, torch.device("cpu"))
    timer.reset(torch.arange(500), generator)
    due = torch.stack([timer.step(generator) for _ in range(1000)])
    waits = np.concatenate([np.diff(np.flatnonzero(column)) for column in due.numpy().T])
    # Waits are whole steps: a fair amount in [0, 1) spreads them for the test of a continuous distribution.
    spread = waits - 0.5 + np.random.default_rng(0).random(len(waits))
    assert waits.min() >= 25 and waits.max() <= 75
    assert stats.kstest(spread, stats.uniform(25, 50).cdf).statistic < 0.02
    assert len(set(due.float().argmax(0).tolist())) > 20


def test_a_delay_line_gives_back_what_was_so_many_steps_ago():
    line, ago = DelayLine(3, 2, longest=2, device=torch.device("cpu")), torch.tensor([0, 1, 2])
    line.fill(torch.arange(3), torch.full((3, 2), -1.0))
    seen = []
    for step in range(5):
        line.push(torch.full((3, 2), float(step)))
        seen.append(line.read(ago)[:, 0].tolist())
        if step == 3:
            line.fill(torch.tensor([2]), torch.full((1, 2), 9.0))
    assert seen == [[0, -1, -1], [1, 0, -1], [2, 1, 0], [3, 2, 1], [4, 3, 9]]


# --- configurations --------------------------------------------------------------------------------------------------


def test_plain_values_read_as_they_are_meant(tmp_path):
    text = """
gravity: {x: [-1, 1], z: -12}
friction: [0.3, 1.6]
mass: {torso: {low: 0.5, high: 2, distribution: log_uniform, when: start}, "*hand": 3}
com_offset: {torso: {y: [-0.05, 0.05]}}
stiffness: [0.9, 1.1]
pushes: {interval: [2, 4], force: [100, 200], body: torso}
projectiles: {}
action_delay: [0, 2]
action_noise: {size: 0.025, distribution: uniform}
observation_noise: {policy: 0.02}
terrain: {levels: 2, columns: 2}
"""
    file = tmp_path / "hard.yaml"
    file.write_text(text)
    expected = Randomization(
        gravity=Vector(x=Range(-1.0, 1.0), z=Range(-12.0, -12.0)),
        friction=Range(0.3, 1.6),
        mass={"torso": Range(0.5, 2.0, "log_uniform", "start"), "*hand": Range(3.0, 3.0)},
        com_offset={"torso": Vector(y=Range(-0.05, 0.05))},
        stiffness=Range(0.9, 1.1),
        pushes=Pushes(interval=Range(2.0, 4.0), force=Range(100.0, 200.0), body="torso"),
        projectiles=Projectiles(),
        action_delay=Range(0.0, 2.0),
        action_noise=Noise(size=0.025, distribution="uniform"),
        observation_noise={"policy": Noise(size=0.02)},
        terrain={"levels": 2, "columns": 2},
    )
    for path in (file, str(file)):
        assert make_randomization(path) == expected
    assert make_randomization(expected) is expected
    assert make_randomization(None) == make_randomization({}) == Randomization()
    (tmp_path / "empty.yaml").write_text("")
    assert make_randomization(tmp_path / "empty.yaml") == Randomization()


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_found_by_its_name(name):
    assert make_randomization(name) is PRESETS[name] != Randomization()


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (3, TypeError, r"randomization=3: want a name"),
        ("pushs", ValueError, r"'pushs': did you mean 'pushes'\?.*'sim2real'"),
        ({"gravty": 3}, TypeError, r"no key 'gravty': did you mean 'gravity'.*'observation_noise'"),
        (
            {"gravity": "low"},
            TypeError,
            r"randomization\.gravity wants a number, .* or a mapping, got 'low'",
        ),
        ({"gravity": [1, 2, 3]}, TypeError, r"gravity wants a number, \[low, high\]"),
        ({"gravity": {"w": 1}}, TypeError, r"gravity has no key 'w'"),
        ({"gravity": {"x": 1, "up": 2}}, TypeError, r"gravity has no key 'up'.*'x', 'y', 'z'"),
        ({"gravity": [float("nan"), 1]}, ValueError, r"gravity: wants finite bounds"),
        ({"gravity": True}, TypeError, r"gravity wants a number"),
        ({"friction": [2, 1]}, ValueError, r"friction: wants finite bounds, the lower one first, got 2\.0 and 1\.0"),
        ({"friction": [-1, 1]}, ValueError, r"friction must be at least 0, got -1\.0"),
        ({"friction": {"low": 1}}, TypeError, r"friction lacks high"),
        ({"friction": {"low": 0, "high": 1, "distribution": "log_uniform"}}, ValueError, r"bounds above 0"),
        ({"friction": {"low": 0, "high": 1, "distribution": "gauss"}}, ValueError, r"'gauss'.*'uniform'"),
        ({"friction": {"low": 0, "high": 1, "when": "never"}}, ValueError, r"friction\.when is 'never'.*'reset'"),
        ({"friction": ["a", 1]}, TypeError, r"friction\.low wants a number, got 'a'"),
        ({"mass": {"torso": 0}}, ValueError, r"mass\.torso must be at least 0\.001, got 0\.0"),
        ({"mass": ["torso"]}, TypeError, r"mass wants a number"),
        ({"com_offset": [1, 2]}, TypeError, r"com_offset wants a mapping of names"),
        ({"com_offset": {"torso": 0.1}}, TypeError, r"com_offset\.torso wants a mapping with x, y and z"),
        ({"pushes": {}}, ValueError, r"pushes: there must be a velocity, an angular_velocity or a force"),
        ({"pushes": {"forse": 3}}, TypeError, r"pushes has no key 'forse': did you mean 'force'"),
        ({"pushes": {"force": 3, "interval": 0}}, ValueError, r"pushes: interval must be above 0"),
        ({"pushes": {"force": 3, "duration": 0}}, ValueError, r"pushes: duration must be above 0"),
        ({"pushes": {"force": {"low": 1, "high": 2, "when": "start"}}}, ValueError, r"force is drawn each time anew"),
        ({"projectiles": {"count": 0}}, ValueError, r"projectiles: count must be from 1 to 32"),
        ({"projectiles": {"count": 1.5}}, TypeError, r"projectiles\.count wants int, got 1\.5"),
        ({"projectiles": {"half_size": [0.2, 0.1]}}, ValueError, r"half_size must be above 0, the smaller first"),
        ({"projectiles": {"half_size": 0.1}}, TypeError, r"projectiles\.half_size wants .*float, float.*got 0\.1"),
        ({"projectiles": {"lifetime": 60}}, ValueError, r"lifetime must be from 0\.01 to 5"),
        ({"projectiles": {"speed": 0}}, ValueError, r"speed must be above 0"),
        ({"action_delay": [0, 1.5]}, ValueError, r"action_delay wants whole control steps up to 100, got 0 to 1\.5"),
        ({"action_delay": -1}, ValueError, r"action_delay must be at least 0"),
        ({"observation_delay": 1000}, ValueError, r"observation_delay wants whole control steps up to 100"),
        ({"action_delay": {"low": 0, "high": 2, "distribution": "normal"}}, ValueError, r"only be uniform"),
        ({"action_noise": -1}, ValueError, r"action_noise: size must be finite and not negative"),
        ({"action_noise": {"sise": 1}}, TypeError, r"action_noise has no key 'sise': did you mean 'size'"),
        ({"observation_noise": 0.1}, TypeError, r"observation_noise wants a mapping of names, got 0\.1"),
        ({"observation_noise": {"policy": {"size": 1, "distribution": "cauchy"}}}, ValueError, r"'cauchy'"),
        ({"terrain": 3}, TypeError, r"terrain wants"),
    ],
)
def test_a_wrong_configuration_is_refused_with_what_would_be_right(value, error, message):
    with pytest.raises(error, match=message):
        make_randomization(value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Range(0, 1, "gauss"), r"distribution is 'gauss'"),
        (lambda: Range(0, 1, when="now"), r"when is 'now'"),
        (lambda: Noise(size=1, distribution="gauss"), r"distribution is 'gauss'"),
    ],
)
def test_dataclasses_made_by_hand_are_checked_too(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_file_that_is_no_yaml_is_refused_by_name(tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text("gravity: [1, 2")
    with pytest.raises(ValueError, match=r"bad\.yaml is no YAML file"):
        make_randomization(file)
    file.write_text("gravity: {sideways: 1, x: 2}")
    with pytest.raises(TypeError, match=r"bad\.yaml\.gravity has no key 'sideways'"):
        make_randomization(file)


# --- the page about it -----------------------------------------------------------------------------------------------

PAGE = (Path(__file__).parents[2] / "docs" / "randomization.md").read_text(encoding="utf-8")


def test_the_pages_code_runs_and_its_numbers_are_read():
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names = {}
    exec(program.replace("num_envs=64", "num_envs=2, threads=1"), names)
    assert names["env"].unwrapped.randomization.values["gravity"].shape == (2, 3)
    names["env"].close()
    (numbers,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert make_randomization(yaml.safe_load(numbers)).mass == Range(0.5, 2.0, "log_uniform", "start")


@pytest.mark.parametrize("kind", [Randomization, Pushes, Projectiles])
def test_the_page_has_a_row_for_every_key(kind):
    keys = set(
        re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in PAGE.splitlines() if line.startswith("|")))
    )
    assert {entry.name for entry in fields(kind)} <= keys


def test_the_pages_table_of_papers_names_overlays_that_are_there():
    assert {name for name in re.findall(r"perturbation/(\w+)", PAGE) if name != "none"} <= PRESETS.keys()
