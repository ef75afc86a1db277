"""Checks of what an engine does with objects: they stay where they are put, rest, fall, and are thrown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from poselib.rotations import angle_between, quat_normalize
from proto_envs.context import ObjectState
from proto_envs.scenes import Box, Cylinder, Scene, SceneObject, SceneSet, Sphere
from proto_envs.simulators import SimulationSettings, Simulator
from proto_envs.testing.bench import Bench, Check, require

__all__ = ["OBJECT_CHECKS"]

_TOWER = Scene(
    name="a ball on a table beside a post",
    objects=(
        SceneObject(
            name="table", parts=(Box(size=(1.0, 1.0, 0.5), position=(0.0, 0.0, 0.25)),), position=(3.0, 0.0, 0.0)
        ),
        SceneObject(name="post", parts=(Cylinder(radius=0.1, height=2.0),), position=(3.0, 2.0, 1.0)),
        SceneObject(name="ball", mobility="dynamic", parts=(Sphere(radius=0.2),), position=(3.0, 0.0, 0.7)),
    ),
)
_CRATES = Scene(
    name="two crates",
    objects=(
        SceneObject(name="large", mobility="dynamic", parts=(Box(size=(0.8, 0.8, 0.8)),), position=(3.0, 0.0, 0.4)),
        SceneObject(name="small", mobility="dynamic", parts=(Box(size=(0.4, 0.4, 0.4)),), position=(3.0, 2.0, 0.2)),
    ),
)
_SCENES = SceneSet((_TOWER, _CRATES), "sequential")
"""two held places and two loose ones; the second scene has no held object, the first only one loose"""
_LOOSE = slice(2, 4)
_BALLS = Scene(
    name="two balls",
    objects=tuple(
        SceneObject(name=f"ball {i}", mobility="dynamic", parts=(Sphere(radius=0.1),), position=(2.0 * i, 0.0, 500.0))
        for i in range(2)
    ),
)
"""far above the robots until they are thrown"""


@contextmanager
def _furnished(bench: Bench, num_envs: int) -> Iterator[Simulator]:
    """An engine with the scenes."""
    bench.need("scenes")
    with bench.engine(num_envs, scenes=_SCENES.batch(num_envs)) as simulator:
        yield simulator


def _as_they_stand(num_envs: int) -> ObjectState:
    batch = _SCENES.batch(num_envs)
    return batch.tables.poses(batch.assignment, torch.zeros(num_envs))


def _on(device: torch.device | str, state: ObjectState) -> ObjectState:
    names = ("positions", "rotations", "velocities", "angular_velocities")
    return ObjectState(*(getattr(state, name).to(device) for name in names))


def _round_trip(bench: Bench) -> float:
    """What is set is read back, in one environment without the others."""
    generator = torch.Generator().manual_seed(7)

    def draw(size: int) -> Tensor:
        return torch.randn(4, 4, size, generator=generator)

    state, other = (ObjectState(draw(3), quat_normalize(draw(4)), draw(3), draw(3)) for _ in range(2))
    some = torch.tensor([1, 3])
    moved = other.rows(some)
    with _furnished(bench, 4) as simulator:
        simulator.set_objects(None, _on(simulator.device, state))
        found = _on("cpu", simulator.objects())
        simulator.set_objects(some.to(simulator.device), _on(simulator.device, moved), held_only=True)
        after = _on("cpu", simulator.objects())
    error = float((found.positions - state.positions).norm(dim=-1).max())
    angle = float(angle_between(found.rotations, state.rotations).max())
    require(angle <= 1e-3, f"objects are turned by {angle:.2e} rad against how they were put")
    for name in ("velocities", "angular_velocities"):
        off = float((getattr(found, name) - getattr(state, name)).abs().max())
        require(off <= 2e-3, f"objects' {name} are off by {off:.2e}")
    require(torch.equal(after.positions[[0, 2]], found.positions[[0, 2]]), "objects of other environments have moved")
    require(torch.equal(after.positions[:, _LOOSE], found.positions[:, _LOOSE]), "held_only has moved loose objects")
    held = float((after.positions[some, :2] - moved.positions[:, :2]).abs().max())
    require(held <= 1e-4, f"held objects are {held:.2e} m from where they were put")
    return error


def _rest(bench: Bench) -> float:
    """Each environment's own objects stand on the ground and on each other for a second: farthest move."""
    start = _as_they_stand(4)
    with _furnished(bench, 4) as simulator:
        simulator.set_objects(None, _on(simulator.device, start))
        bench.run(simulator, round(1.0 / simulator.dt))
        found = simulator.objects().positions.cpu()
    batch = _SCENES.batch(4)
    present = batch.tables.present[batch.assignment]
    return float((found - start.positions).norm(dim=-1)[present].max())


def _fall(bench: Bench) -> float:
    """Loose objects in the air fall as gravity says, held ones not at all."""
    state = _as_they_stand(2)
    state.positions[:, _LOOSE, 2] += 5.0
    with _furnished(bench, 2) as simulator:
        simulator.set_objects(None, _on(simulator.device, state))
        before = simulator.objects().positions.cpu()
        bench.run(simulator, 10)
        found = simulator.objects().positions.cpu()
        want = state.positions[..., 2] - _drop(simulator, 10)
    require(torch.equal(found[:, :2], before[:, :2]), "a held object has moved by itself")
    # The ball of the first scene, and both crates of the second.
    return float((found[..., 2] - want)[[0, 1, 1], [2, 2, 3]].abs().max())


def _drop(simulator: Simulator, steps: int) -> float:
    """How far, in m, a thing falls from rest in some steps of semi-implicit integration."""
    time, substep = steps * simulator.dt, simulator.dt / SimulationSettings().substeps
    return 0.5 * 9.81 * time * (time + substep)


def _throw(bench: Bench) -> float:
    """A projectile that is thrown flies its parabola, and no other one is touched."""
    bench.need("scenes")
    chosen = torch.tensor([[False, False], [True, False]])
    zeros, velocity = torch.zeros(2, 2, 3), torch.tensor([2.0, 1.0, 3.0])
    place = torch.tensor([4.0, 4.0, 3.0])
    turned = torch.tensor([0.0, 0.0, 0.0, 1.0]).expand(2, 2, 4)
    thrown = ObjectState(place.expand(2, 2, 3), turned, velocity.expand(2, 2, 3), zeros)
    with bench.engine(2, projectiles=SceneSet((_BALLS,), "first").batch(2)) as simulator:
        before = simulator.projectiles().positions.cpu()
        simulator.throw(chosen.to(simulator.device), _on(simulator.device, thrown))
        after = simulator.projectiles().positions.cpu()
        bench.run(simulator, 10)
        found = simulator.projectiles().positions[1, 0].cpu()
        want = place + velocity * 10 * simulator.dt - torch.tensor([0.0, 0.0, _drop(simulator, 10)])
    require(torch.equal(after[~chosen], before[~chosen]), "projectiles that were not thrown have moved")
    require((after[1, 0] - place).norm() <= 1e-4, "a projectile is not where it was thrown from")
    return float((found - want).norm())


OBJECT_CHECKS: dict[str, Check] = {
    "objects round trip": Check(_round_trip, 1e-4),
    "objects at rest": Check(_rest, 0.01),
    "objects in free fall": Check(_fall, 0.01),
    "projectiles": Check(_throw, 0.01),
}
"""name to check"""
