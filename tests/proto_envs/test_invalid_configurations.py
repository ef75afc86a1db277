"""Random configurations with a mistake in them: each is soon an error that names the mistake.

`pytest -m slow tests/proto_envs/test_invalid_configurations.py` tries a thousand.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from random import Random
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import gymnasium
import pytest

from proto_envs.factory import task_class
from proto_envs.randomization.config import Noise, Projectiles, Pushes, Randomization
from proto_envs.registration import TASKS
from proto_envs.robots import ROBOTS
from proto_envs.scenes import SceneObject
from proto_envs.terrain import TerrainConfig

SECONDS = 20.0
"""in which an error has to come"""
TASK_NAMES = sorted(TASKS)


class Case(NamedTuple):
    """A configuration and what its error has to name: one of these texts."""

    id: str
    keywords: dict[str, Any]
    named: tuple[str, ...]


class Thing:
    """Something that is no value of anything."""

    def __repr__(self) -> str:
        return "a Thing"


# --- wrong values ----------------------------------------------------------------------------------------------------

VALUES: dict[str, Any] = {
    "text": "wrong",
    "number": 0.37,
    "whole": 3,
    "bool": True,
    "none": None,
    "list": ["wrong"],
    "mapping": {"wrong": 1},
    "bytes": b"wrong",
    "thing": Thing(),
    "nan": math.nan,
}
"""one value of each kind; "wrong" is never right inside of one"""


def accepted(annotation: Any) -> set[str]:
    """Kinds of `VALUES` that an annotation admits, or may admit."""
    origin = get_origin(annotation)
    if origin is Union or type(annotation).__name__ == "UnionType":
        return set().union(*map(accepted, get_args(annotation)))
    if annotation is Any:
        return set(VALUES)
    if is_dataclass(annotation):
        return {"number", "whole"} if annotation.__name__ in ("Range", "Noise") else set()
    plain = {float: {"number", "whole"}, int: {"whole"}, bool: {"bool"}, str: {"text"}, type(None): {"none"}}
    return set() if origin in (tuple, Literal, Mapping) or origin is not None else plain[annotation]


def wrong_value(random: Random, annotation: Any) -> Any:
    """A value that an annotation does not admit; NaN is no number."""
    kinds = sorted(set(VALUES) - accepted(annotation)) if annotation is not Any else ["thing"]
    return VALUES[random.choice(kinds)]


def misspelt(random: Random, word: str) -> str:
    place = random.randrange(len(word))
    return random.choice(
        (word[:place] + word[place + 1 :] or "x", word[:place] + "q" + word[place:], word[::-1] + "_", word + "s_")
    )


def wrong_fields(random: Random, kind: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Fields of a dataclass with a mistake: a key that there is not, or a value that does not fit."""
    hints = {entry.name: get_type_hints(kind)[entry.name] for entry in fields(kind)}
    name = random.choice(sorted(hints))
    if random.random() < 0.4:
        key = misspelt(random, name)
        return {key: 1.0}, (repr(key),)
    while hints[name] is Any:
        name = random.choice(sorted(hints))
    value = wrong_value(random, hints[name])
    return {name: value}, (name, "lacks")  # a field that must be there may be missed first


# --- wrong configurations, one function for each place of the mistake ------------------------------------------------


def an_id(random: Random) -> str:
    return f"Proto{random.choice(TASK_NAMES)}-{random.choice(['AMP', 'SMPL', 'AMP36'])}-v0"


def wrong_id(random: Random, folder: str) -> Case:
    task, robot = random.choice(TASK_NAMES), random.choice(list(ROBOTS))
    wrong_task, wrong_robot = misspelt(random, task).replace("_", ""), misspelt(random, robot).replace("_", "")
    name = random.choice((f"Proto{wrong_task}-{robot}-v0", f"Proto{task}-{wrong_robot}-v0", f"Proto{task}-{robot}-v7"))
    return Case(name, {}, (name.rpartition("-v")[0],))


def wrong_keyword(random: Random, folder: str) -> Case:
    key = misspelt(random, random.choice(["motions", "terrain", "task", "robot", "output", "scenes", "randomization"]))
    return Case(an_id(random), {key: random.choice(list(VALUES.values()))}, (repr(key),))


CHOICES = ("observation", "output", "autoreset_mode", "render_mode", "backend", "device")
NUMBERS = {"num_envs": (0, -3), "substeps": (0, -2), "threads": (-1,), "control_hz": (0.0, -30.0, math.inf)}


def wrong_choice(random: Random, folder: str) -> Case:
    key = random.choice(CHOICES)
    kinds = set(VALUES) - ({"none"} if key == "render_mode" else set())
    return Case(an_id(random), {key: VALUES[random.choice(sorted(kinds))]}, (key, "wrong", "engine"))


def wrong_number(random: Random, folder: str) -> Case:
    key = random.choice(list(NUMBERS))
    kinds = {"text", "list", "mapping", "bytes", "thing", "nan", "bool"}
    kinds |= {"none"} if key in ("num_envs", "threads") else set()
    kinds |= {"number"} if key != "control_hz" else set()
    value = random.choice([*(VALUES[kind] for kind in sorted(kinds)), *NUMBERS[key]])
    return Case(an_id(random), {key: value}, (key,))


def wrong_task(random: Random, folder: str) -> Case:
    name = random.choice(TASK_NAMES)
    if random.random() < 0.1:
        value = VALUES[random.choice(["text", "number", "list", "thing"])]
        return Case(f"Proto{name}-AMP-v0", {"task": value}, ("task=",))
    overrides, named = wrong_fields(random, task_class(name))
    return Case(f"Proto{name}-{random.choice(['AMP', 'SMPL'])}-v0", {"task": overrides}, named)


def wrong_terrain(random: Random, folder: str) -> Case:
    match random.randrange(4):
        case 0:
            value = random.choice([misspelt(random, "complex"), f"{folder}/none.npz", f"{folder}/junk.npz", folder])
            return Case(an_id(random), {"terrain": value}, (str(value),))
        case 1:
            value = VALUES[random.choice(["number", "whole", "bool", "list", "bytes", "thing", "none"])]
            return Case(an_id(random), {"terrain": value}, ("terrain=",))
        case 2:
            bad = {"levels": 0, "columns": -1, "tile_size": 1.0, "border": -1.0, "spacing": 3.0, "seed": -1}
            key = random.choice(list(bad))
            return Case(an_id(random), {"terrain": {key: bad[key]}}, (key,))
    value, named = wrong_fields(random, TerrainConfig)
    return Case(an_id(random), {"terrain": value}, named)


def wrong_randomization(random: Random, folder: str) -> Case:
    nested = {"pushes": Pushes, "projectiles": Projectiles, "action_noise": Noise}
    match random.randrange(5):
        case 0:
            value = random.choice([misspelt(random, "sim2real"), f"{folder}/none.yaml", f"{folder}/junk.yaml", folder])
            return Case(an_id(random), {"randomization": value}, (value,))
        case 1:
            value = VALUES[random.choice(["number", "whole", "bool", "list", "bytes", "thing"])]
            return Case(an_id(random), {"randomization": value}, ("randomization=",))
        case 2:
            key = random.choice(list(nested))
            value, named = wrong_fields(random, nested[key])
            return Case(an_id(random), {"randomization": {key: value}}, named)
        case 3:
            key = random.choice(["friction", "gravity", "mass", "stiffness", "action_delay"])
            value = random.choice([[2.0, 1.0], [math.nan, 1.0], [1.0], [1.0, "wrong"], {"low": 1.0, "hihg": 2.0}])
            return Case(an_id(random), {"randomization": {key: value}}, (key,))
    value, named = wrong_fields(random, Randomization)
    return Case(an_id(random), {"randomization": value}, named)


def wrong_robot(random: Random, folder: str) -> Case:
    name = f"Proto{random.choice(TASK_NAMES)}-v0"
    match random.randrange(4):
        case 0:
            value = misspelt(random, random.choice(list(ROBOTS)))
            return Case(name, {"robot": value}, (repr(value),))
        case 1:
            value = random.choice([f"{folder}/{file}" for file in ("none.xml", "junk.xml", "none.yaml", "junk.yaml")])
            return Case(name, {"robot": value}, (value,))
        case 2:
            return Case(
                name, {"robot": VALUES[random.choice(["number", "whole", "list", "thing", "none"])]}, ("robot",)
            )
    return Case(name, {"robot": "AMP", "task": {misspelt(random, "episode_seconds"): 1.0}}, ("episode_seconds",))


def wrong_motions(random: Random, folder: str) -> Case:
    word = misspelt(random, "walk")
    files = [f"{folder}/none.npz", f"{folder}/junk.npz", folder]
    if random.random() < 0.4:
        value = VALUES[random.choice(["number", "whole", "bool", "thing", "bytes", "mapping"])]
        return Case(an_id(random), {"motions": value}, ("motions", "'wrong'"))
    value = random.choice([word, ["walk", word], *files])
    return Case(an_id(random), {"motions": value}, (value if isinstance(value, str) else value[1],))


def wrong_scenes(random: Random, folder: str) -> Case:
    able = [name for name in TASK_NAMES if task_class(name).takes_scenes]
    if not able or random.random() < 0.2:
        name = random.choice([name for name in TASK_NAMES if name not in able])
        return Case(f"Proto{name}-AMP-v0", {"scenes": "armchair"}, ("takes none",))
    name, box = f"Proto{random.choice(able)}-AMP-v0", {"name": "block", "box": {"size": [1.0, 1.0, 1.0]}}
    match random.randrange(4):
        case 0:
            value = random.choice([misspelt(random, "armchair"), f"{folder}/none.yaml", f"{folder}/junk.yaml", folder])
            return Case(name, {"scenes": value}, (value,))
        case 1:
            value = VALUES[random.choice(["number", "whole", "bool", "thing", "bytes"])]
            return Case(name, {"scenes": value}, ("scenes=",))
        case 2:
            key = misspelt(random, random.choice(["scenes", "order", "seed", "objects"]))
            return Case(name, {"scenes": {"scenes": ["armchair"], key: 1}}, (key,))
    key = random.choice([entry.name for entry in fields(SceneObject)])
    if random.random() < 0.5:
        key, value = misspelt(random, key), 1
    else:
        value = VALUES[random.choice(["nan", "thing", "bytes", "bool"])]
    return Case(name, {"scenes": {"name": "one", "objects": [{**box, key: value}]}}, (key,))


MISTAKES = (
    wrong_id,
    wrong_keyword,
    wrong_choice,
    wrong_number,
    wrong_task,
    wrong_task,
    wrong_terrain,
    wrong_randomization,
    wrong_robot,
    wrong_motions,
    wrong_scenes,
)
EXTRAS = ({}, {}, {"observation": "groups"}, {"output": "numpy"}, {"autoreset_mode": "disabled"}, {"control_hz": 60})
"""keywords that are right"""


# --- the test --------------------------------------------------------------------------------------------------------


class Hang(BaseException):
    """Not an `Exception`, so that nobody takes it for a mistake."""


@contextmanager
def time_limit():
    def stop(*_):
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def folder(tmp_path):
    """A folder with files that are not what their names say."""
    for name in ("junk.xml", "junk.yaml", "junk.npz"):
        (tmp_path / name).write_text("[ nothing: of the kind")
    return str(tmp_path)


def complaint(case):
    """What is wrong with the answer to a wrong configuration; None if nothing is."""
    try:
        with time_limit():
            env = gymnasium.make_vec(case.id, **case.keywords)
    except (ValueError, TypeError, gymnasium.error.Error) as error:
        message = str(error)
        return None if any(text in message for text in case.named) else f"does not name {case.named}: {error!r}"
    except BaseException as error:
        return f"is no clear error: {error!r}"
    env.close()
    return "was accepted"


def check(seeds, folder):
    failures = []
    for seed in seeds:
        random = Random(seed)
        case = random.choice(MISTAKES)(random, folder)
        extra = {key: value for key, value in random.choice(EXTRAS).items() if key not in case.keywords}
        case = case._replace(keywords={"num_envs": random.choice([1, 2]), **extra, **case.keywords})
        if problem := complaint(case):
            failures.append(f"{seed}: {case.id} {case.keywords} {problem}")
    assert not failures, "\n".join([f"{len(failures)} failures", *failures])


def test_a_wrong_configuration_is_an_error_that_names_the_mistake(folder):
    check(range(60), folder)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 1000, 100))
def test_a_thousand_wrong_configurations(folder, first):
    check(range(first, first + 100), folder)


def numbers_of_tasks():
    """Task, field and default of every number, and of every row of numbers."""
    for name in TASK_NAMES:
        for entry in fields(task_class(name)):
            kinds = {entry.type.removesuffix(" | None")} & {"float", "int", "tuple[float, float]", "tuple[int, ...]"}
            if kinds:
                yield pytest.param(name, entry.name, kinds.pop(), id=f"{name}-{entry.name}")


@pytest.mark.parametrize(("name", "key", "kind"), list(numbers_of_tasks()))
def test_every_number_of_a_task_has_to_make_sense(name, key, kind):
    task = task_class(name)
    wrong = [-1] if "int" in kind else [-1.0, math.nan, math.inf]
    for number in wrong:
        with pytest.raises(ValueError, match=key):
            task.configured({key: (number, number) if kind.startswith("tuple") else number})
