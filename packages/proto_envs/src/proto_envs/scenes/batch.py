"""Which environment gets which scene, and what the environments know of theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from proto_envs.context import ObjectState
from proto_envs.scenes.errors import SceneError, nearest
from proto_envs.scenes.reading import read_scenes, scene_from
from proto_envs.scenes.scene import Scene, SceneObject
from proto_envs.scenes.tables import SceneTables

__all__ = ["ORDERS", "SceneBatch", "SceneSet", "ScenesLike", "make_scenes", "sample_scene_names"]

Order = Literal["weighted", "sequential", "first"]
ORDERS: tuple[str, ...] = get_args(Order)
"""weighted: in shares as even as can be, in random order. sequential: environment i gets scene i, modulo their number.
first: all get the first"""

_SAMPLES = Path(__file__).parent / "samples"


@dataclass(frozen=True)
class SceneSet:
    """Scenes to be spread over environments."""

    scenes: tuple[Scene, ...]
    order: Order = "weighted"
    seed: int = 0
    """of the order; the same seed gives the same environments the same scenes"""

    def __post_init__(self) -> None:
        """Check that there is something to spread.

        Raises:
            SceneError: naming the field.
        """
        if not self.scenes or not all(isinstance(scene, Scene) for scene in self.scenes):
            raise SceneError(f"scenes: want at least one Scene, got {self.scenes!r}")
        if self.order not in ORDERS:
            raise SceneError(f"scenes: order is {self.order!r}: {nearest(self.order, ORDERS)}there are {list(ORDERS)}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise SceneError(f"scenes: seed must be a whole number of at least 0, got {self.seed!r}")
        if not sum(scene.weight for scene in self.scenes) > 0.0:
            raise SceneError("scenes: at least one scene must have a weight")

    def assign(self, num_envs: int) -> Tensor:
        """(N,) int64, scene of each environment.

        By weight, a scene of share w gets N w environments, rounded up or down (systematic resampling, so that the mean
        over seeds is N w exactly).
        """
        if self.order == "first":
            return torch.zeros(num_envs, dtype=torch.long)
        if self.order == "sequential":
            return torch.arange(num_envs) % len(self.scenes)
        generator = torch.Generator().manual_seed(self.seed)
        shares = torch.tensor([scene.weight for scene in self.scenes], dtype=torch.float64).cumsum(0)
        start = torch.rand(1, generator=generator, dtype=torch.float64)
        places = (torch.arange(num_envs, dtype=torch.float64) + start) / num_envs * shares[-1]
        # An order drawn independently of `start`, so that no environment is favoured.
        chosen = torch.searchsorted(shares, places, right=True).clamp_max(len(shares) - 1)
        return chosen[torch.randperm(num_envs, generator=generator)]

    def batch(self, num_envs: int) -> SceneBatch:
        """The scenes spread over N environments."""
        return SceneBatch(self.scenes, self.assign(num_envs))


@dataclass(frozen=True, eq=False)
class SceneBatch:
    """Scenes on N environments, their objects in O places: first those that are held, then the loose ones.

    An object that is static or kinematic is held; a dynamic one is loose. The k-th held object of each scene has the
    k-th place, and so on; where a scene has fewer, its last places are empty.
    """

    scenes: tuple[Scene, ...]
    """S of them"""
    assignment: Tensor
    """(N,) int64, scene of each environment"""

    @cached_property
    def num_held(self) -> int:
        """Places of objects that are held."""
        return max(len(_held(scene)) for scene in self.scenes)

    @cached_property
    def num_loose(self) -> int:
        """Places of objects that are loose."""
        return max(len(_loose(scene)) for scene in self.scenes)

    @property
    def num_objects(self) -> int:
        """O."""
        return self.num_held + self.num_loose

    @cached_property
    def places(self) -> tuple[tuple[SceneObject | None, ...], ...]:
        """What stands in each of O places in each of S scenes."""
        return tuple(
            _filled(_held(scene), self.num_held) + _filled(_loose(scene), self.num_loose) for scene in self.scenes
        )

    @cached_property
    def tables(self) -> SceneTables:
        """What there is to know of the objects, as tensors, one row per scene."""
        return SceneTables.of(self.scenes, self.places)

    def standing(self, index: int, state: ObjectState) -> list[tuple[SceneObject, Tensor, Tensor]]:
        """The objects of one environment with position (3,) and rotation (4,), where `state` is that of all."""
        row = self.places[int(self.assignment[index])]
        poses = zip(row, state.positions[index], state.rotations[index], strict=True)
        return [(thing, position, rotation) for thing, position, rotation in poses if thing is not None]

    @cached_property
    def has_kinematic(self) -> bool:
        """Whether some object is moved along a trajectory."""
        return any(thing.mobility == "kinematic" for scene in self.scenes for thing in scene.objects)

    def clips(self, names: Sequence[str]) -> Tensor | None:
        """(N, M) bool, which of the clips `names` each environment may play; None where no scene names any: all.

        Raises:
            SceneError: for a scene whose clip is not among them.
        """
        if not any(scene.motions for scene in self.scenes):
            return None
        allowed = torch.zeros(len(self.scenes), len(names), dtype=torch.bool)
        for row, scene in zip(allowed, self.scenes, strict=True):
            for motion in scene.motions:
                found = [i for i, name in enumerate(names) if name in (motion, Path(motion).stem)]
                if not found:
                    raise SceneError(
                        f"scene {scene.name!r}: clip {motion!r} is not among the environment's: "
                        f"{nearest(motion, names)}there are {list(names)}"
                    )
                row[found] = True
            if not scene.motions:
                row[:] = True
        return allowed[self.assignment]


def _held(scene: Scene) -> tuple[SceneObject, ...]:
    return tuple(thing for thing in scene.objects if thing.mobility != "dynamic")


def _loose(scene: Scene) -> tuple[SceneObject, ...]:
    return tuple(thing for thing in scene.objects if thing.mobility == "dynamic")


def _filled(things: tuple[SceneObject, ...], count: int) -> tuple[SceneObject | None, ...]:
    return things + (None,) * (count - len(things))


# --- the keyword `scenes=` -------------------------------------------------------------------------------------------

ScenesLike = str | Path | Scene | Mapping[str, Any] | SceneSet | Sequence[Any]
"""a sample's name, a YAML file, a scene, several of these in a list, a mapping `{scenes, order, seed}`, or a set"""


def sample_scene_names() -> list[str]:
    """Names of the scenes that come with the package."""
    return sorted(path.stem for path in _SAMPLES.glob("*.yaml"))


def make_scenes(scenes: ScenesLike) -> SceneSet:
    """The scenes that the keyword `scenes=` means.

    Raises:
        TypeError: for something that is none of `ScenesLike`.
        SceneError: for an unknown name, a file or a mapping that makes no scene.
    """
    if isinstance(scenes, SceneSet):
        return scenes
    if isinstance(scenes, Mapping) and "objects" not in scenes:
        known = ["scenes", "order", "seed"]
        for key in scenes:
            if key not in known:
                raise SceneError(f"scenes: unknown key {key!r}: {nearest(key, known)}keys are {known}")
        if "scenes" not in scenes:
            raise SceneError(f"scenes: the key 'scenes' is missing; keys are {known}")
        return SceneSet(_listed(scenes["scenes"]), **{key: scenes[key] for key in known[1:] if key in scenes})
    return SceneSet(_listed(scenes))


def _listed(scenes: Any) -> tuple[Scene, ...]:  # noqa: ANN401
    match scenes:
        case Scene():
            return (scenes,)
        case str() | Path():
            return _named(scenes)
        case Mapping():
            return (scene_from(scenes, Path.cwd(), "scene"),)
        case list() | tuple():
            return tuple(scene for entry in scenes for scene in _listed(entry))
    raise TypeError(f"scenes={scenes!r}: want a name, a file, a Scene, a list of these, or a mapping with 'scenes'")


def _named(name: str | Path) -> tuple[Scene, ...]:
    samples = sample_scene_names()
    if str(name) in samples:
        return read_scenes(_SAMPLES / f"{name}.yaml")
    if Path(name).is_file():
        return read_scenes(name)
    raise SceneError(f"no scene {str(name)!r}: {nearest(name, samples)}there is no such file; samples are {samples}")
