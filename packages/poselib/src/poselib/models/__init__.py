"""The built-in characters, written as tables of numbers; none needs a mesh or a download."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from functools import cache

from poselib.ground import CollisionPoints
from poselib.models import amp, amp36, g1, h1, smpl, smplx, sword_shield
from poselib.models.description import CharacterModel
from poselib.skeleton import Skeleton

__all__ = ["MODELS", "CharacterModel", "character_model", "character_of", "collision_points", "skeleton"]

MODELS: dict[str, CharacterModel] = {
    model.name: model
    for model in (
        amp.MODEL,
        smpl.MODEL,
        smplx.MODEL,
        sword_shield.MODEL,
        h1.MODEL,
        h1.MODEL_WITH_HANDS,
        g1.MODEL,
        amp36.MODEL,
    )
}


def character_model(name: str) -> CharacterModel:
    """A built-in character by name, such as "amp" or "g1".

    Raises:
        KeyError: naming the built-in characters.
    """
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise KeyError(f"no built-in character {name!r}; there are {sorted(MODELS)}{hint}")
    return MODELS[name]


def character_of(body_names: Collection[str]) -> str | None:
    """The built-in character with just these bodies, the first of those that share them; None if there is none."""
    names = set(body_names)
    return next((name for name in MODELS if set(skeleton(name).body_names) == names), None)


@cache
def skeleton(name: str) -> Skeleton:
    """The skeleton of a built-in character."""
    return Skeleton.from_mjcf(character_model(name).spec())


@cache
def collision_points(name: str) -> CollisionPoints:
    """The collision geometry of a built-in character as points with radii."""
    return CollisionPoints.from_spec(character_model(name).spec(), skeleton(name))
