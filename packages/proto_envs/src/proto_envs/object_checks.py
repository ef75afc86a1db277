"""Checks of what an engine does with objects; `proto_envs.testing.check_engine` runs them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from poselib.rotations import angle_between, quat_normalize
from proto_envs.context import ObjectState
from proto_envs.robots import Robot
from proto_envs.scenes import Box, Cylinder, Scene, SceneObject, SceneSet, Sphere
from proto_envs.simulators import SimulationSettings, Simulator

__all__ = ["OBJECT_CHECKS"]

_Make = Callable[[Robot, int, SimulationSettings], Simulator]

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


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _made(make: _Make, robot: Robot, num_envs: int) -> Simulator | None:
    """An engine with the scenes; None if it takes none."""
    probe = make(robot, 1, SimulationSettings())
    able = probe.capabilities.scenes
    probe.close()
    return make(robot, num_envs, SimulationSettings(scenes=_SCENES.batch(num_envs))) if able else None


def _as_they_stand(num_envs: int, device: torch.device) -> ObjectState:
    batch = _SCENES.batch(num_envs)
    state = batch.tables.poses(batch.assignment, torch.zeros(num_envs))
    fields = (state.positions, state.rotations, state.velocities, state.angular_velocities)
    return ObjectState(*(field.to(device) for field in fields))


def check_objects_round_trip(make: _Make, robot: Robot, tolerance: float) -> float:
    """What is set is read back, in one environment without the others. Worst position error, m."""
    if (simulator := _made(make, robot, 4)) is None:
        return float("nan")
    generator = torch.Generator().manual_seed(7)

    def draw(size: int) -> Tensor:
        return torch.randn(4, 4, size, generator=generator).to(simulator.device)

    state = ObjectState(draw(3), quat_normalize(draw(4)), draw(3), draw(3))
    simulator.set_objects(None, state)
    found = simulator.objects()
    error = float((found.positions - state.positions).norm(dim=-1).max())
    _require(error <= tolerance, f"objects are {error:.2e} m from where they were put")
    angle = float(angle_between(found.rotations, state.rotations).max())
    _require(angle <= 10 * tolerance, f"objects are turned by {angle:.2e} rad against how they were put")
    for name in ("velocities", "angular_velocities"):
        off = float((getattr(found, name) - getattr(state, name)).abs().max())
        assert off <= 20 * tolerance, f"objects' {name} are off by {off:.2e}"
    some = torch.tensor([1, 3], device=simulator.device)
    moved = ObjectState(draw(3), quat_normalize(draw(4)), draw(3), draw(3)).rows(some)
    simulator.set_objects(some, moved, held_only=True)
    after = simulator.objects()
    _require(torch.equal(after.positions[[0, 2]], found.positions[[0, 2]]), "objects of other environments have moved")
    _require(torch.equal(after.positions[:, _LOOSE], found.positions[:, _LOOSE]), "held_only has moved loose objects")
    held = float((after.positions[some, :2] - moved.positions[:, :2]).abs().max())
    _require(held <= tolerance, f"held objects are {held:.2e} m from where they were put")
    simulator.close()
    return error


def check_objects_rest(make: _Make, robot: Robot, tolerance: float) -> float:
    """Each environment's own objects stand on the ground and on each other for a second. Farthest move, m."""
    if (simulator := _made(make, robot, 4)) is None:
        return float("nan")
    simulator.set_objects(None, (start := _as_they_stand(4, simulator.device)))
    targets = torch.zeros(4, robot.skeleton.num_dofs, device=simulator.device)
    for _ in range(round(1.0 / simulator.dt)):
        simulator.step(targets)
    present = _SCENES.batch(4).tables.present[_SCENES.batch(4).assignment].to(simulator.device)
    moved = (simulator.objects().positions - start.positions).norm(dim=-1)[present]
    _require(float(moved.max()) <= 0.01, f"an object that stands has moved by {float(moved.max()):.3f} m")
    simulator.close()
    return float(moved.max())


def check_objects_fall(make: _Make, robot: Robot, tolerance: float) -> float:
    """Loose objects in the air fall as gravity says, held ones not at all. Worst error of the height, m."""
    if (simulator := _made(make, robot, 2)) is None:
        return float("nan")
    state = _as_they_stand(2, simulator.device)
    state.positions[:, _LOOSE, 2] += 5.0
    simulator.set_objects(None, state)
    targets = torch.zeros(2, robot.skeleton.num_dofs, device=simulator.device)
    for _ in range(10):
        simulator.step(targets)
    found = simulator.objects().positions
    _require(torch.equal(found[:, :2], state.positions[:, :2]), "a held object has moved by itself")
    time, substep = 10 * simulator.dt, simulator.dt / SimulationSettings().substeps
    want = state.positions[..., 2] - 0.5 * 9.81 * time * (time + substep)
    # The ball of the first scene, and both crates of the second.
    error = float((found[..., 2] - want)[[0, 1, 1], [2, 2, 3]].abs().max())
    _require(error <= 0.01, f"after {time:.2f} s of free fall an object is {error:.3f} m off the parabola")
    simulator.close()
    return error


OBJECT_CHECKS: dict[str, Callable[[_Make, Robot, float], float]] = {
    "objects round trip": check_objects_round_trip,
    "objects at rest": check_objects_rest,
    "objects in free fall": check_objects_fall,
}
"""name to (engine factory, robot, position tolerance) -> what was measured"""
