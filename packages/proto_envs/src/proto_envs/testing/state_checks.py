"""Checks of states: what is set is read back, in our order and frames; others stay; what was saved goes on."""

from __future__ import annotations

from collections.abc import Callable

import mujoco
import torch
from torch import Tensor

from poselib.rotations import angle_between, quat_apply, quat_apply_inverse, wxyz_from_xyzw, xyzw_from_wxyz
from proto_envs.simulators import SimulationSettings, UnsupportedError
from proto_envs.simulators.mjcf import physics_spec
from proto_envs.testing.bench import Bench, Bodies, Check, NotOfferedError, random_state, require, rest_state
from proto_envs.testing.parameter_checks import PARAMETER_CHECKS

__all__ = ["STATE_CHECKS"]


def _worst(wanted: Tensor, found: Tensor) -> float:
    require(torch.isfinite(found).all(), "what is read is not finite")
    return float((wanted - found).abs().max())


def _protocol(bench: Bench) -> float:
    """Sizes, types and rates are as the protocol says, and what an engine does not do is an `UnsupportedError`."""
    bodies, dofs = bench.robot.skeleton.num_bodies, bench.robot.skeleton.num_dofs
    with bench.engine(3) as simulator:
        require(simulator.num_envs == 3, f"num_envs is {simulator.num_envs}, want 3")
        require(abs(simulator.dt * 30.0 - 1.0) < 1e-9, f"dt is {simulator.dt} s at 30 Hz")
        require(simulator.capabilities.name, "capabilities.name is empty")
        state = simulator.robot()
        for name, shape in (
            ("body_positions", (3, bodies, 3)),
            ("body_rotations", (3, bodies, 4)),
            ("body_velocities", (3, bodies, 3)),
            ("body_angular_velocities", (3, bodies, 3)),
            ("dof_positions", (3, dofs)),
            ("dof_velocities", (3, dofs)),
            ("dof_forces", (3, dofs)),
        ):
            field = getattr(state, name)
            require(tuple(field.shape) == shape, f"{name} has shape {tuple(field.shape)}, want {shape}")
            require(field.dtype == torch.float32, f"{name} is {field.dtype}, want float32")
            require(field.device == simulator.device, f"{name} is on {field.device}, the engine on {simulator.device}")
        unstable = simulator.unstable()
        require(unstable.shape == (3,) and unstable.dtype == torch.bool, "unstable() is not (num_envs,) bool")
        unknown = simulator.capabilities.parameters - PARAMETER_CHECKS.keys()
        require(not unknown, f"{sorted(unknown)} are no parameters of the protocol: {sorted(PARAMETER_CHECKS)}")
        _require_refusal(lambda: simulator.set_params("frictoin", None, torch.ones(3)), "an unknown parameter")
        _require_refusal(lambda: simulator.robot().contact_forces, "reading contact forces that were not asked for")
        if not simulator.capabilities.state_dict:
            _require_refusal(simulator.state_dict, "state_dict(), which capabilities do not have,")
    return 0.0


def _require_refusal(ask: Callable[[], object], what: str) -> None:
    try:
        ask()
    except UnsupportedError:
        return
    require(False, f"{what} is no UnsupportedError")


def _order(bench: Bench) -> float:
    """Bodies and degrees of freedom stand in the skeleton's depth-first order: how many do not."""
    wanted, found = bench.set_and_found
    skeleton = bench.robot.skeleton
    misplaced = 0
    for names, want, got in (
        (skeleton.body_names, wanted.positions.transpose(0, 1), found.positions.transpose(0, 1)),
        (skeleton.dof_names, wanted.dof_positions.T, found.dof_positions.T),
    ):
        distance = torch.cdist(want.flatten(1), got.flatten(1))
        nearest = distance.argmin(1)
        own = torch.arange(len(names))
        # Bodies at one and the same place cannot be told apart.
        wrong = (distance[own, nearest] < distance[own, own] - 1e-3).nonzero().flatten()
        misplaced += len(wrong)
        require(not len(wrong), f"{[f'{names[i]} is read as {names[nearest[i]]}' for i in wrong]}")
    return float(misplaced)


def _round_trip(bench: Bench) -> float:
    """Bodies are where a state that was set puts them."""
    wanted, found = bench.set_and_found
    return float((wanted.positions - found.positions).norm(dim=-1).max())


def _rotation_frames(bench: Bench) -> float:
    """Rotations are body to world, xyzw."""
    wanted, found = bench.set_and_found
    error = float(angle_between(wanted.rotations, found.rotations).max())
    for other, what in ((xyzw_from_wxyz(found.rotations), "wxyz"), (_inverse(found.rotations), "world to body")):
        if error > 0.01 and float(angle_between(wanted.rotations, other).max()) < 0.01:
            require(False, f"rotations are off by {error:.2f} rad: they are {what}")
    return error


def _inverse(rotations: Tensor) -> Tensor:
    return rotations * torch.tensor([-1.0, -1.0, -1.0, 1.0])


def _joint_coordinates(bench: Bench) -> float:
    """Joints are read as they were set: hinges as angles, balls as rotation vectors."""
    wanted, found = bench.set_and_found
    return _worst(wanted.dof_positions, found.dof_positions)


def _velocity_frames(bench: Bench) -> float:
    """Velocities are those of the bodies' origins in the world, angular ones in the world too."""
    wanted, found = bench.set_and_found
    error = max(
        _worst(wanted.velocities, found.velocities), _worst(wanted.angular_velocities, found.angular_velocities)
    )
    if error > 0.01:
        arms = quat_apply(wanted.rotations, bench.centres.expand_as(wanted.positions))
        of_centres = wanted.velocities + torch.linalg.cross(wanted.angular_velocities, arms, dim=-1)
        require(_worst(of_centres, found.velocities) > 0.01, "velocities are those of the centres of mass")
        turned = quat_apply_inverse(wanted.rotations, wanted.angular_velocities)
        require(_worst(turned, found.angular_velocities) > 0.01, "angular velocities are in the bodies' frames")
    return error


def _joint_velocities(bench: Bench) -> float:
    """Joint velocities are read as they were set: those of balls as angular velocities in the child's frame."""
    wanted, found = bench.set_and_found
    return _worst(wanted.dof_velocities, found.dof_velocities)


def _one_moment(bench: Bench) -> float:
    """After steps, bodies are where the root and the joints say: none is read a physics step late."""
    found = bench.after_steps
    return float((found.of_joints(bench.robot).positions - found.positions).norm(dim=-1).max())


def _one_moment_of_velocities(bench: Bench) -> float:
    """After steps, bodies move as the root and the joints say."""
    found = bench.after_steps
    wanted = found.of_joints(bench.robot)
    return max(_worst(wanted.velocities, found.velocities), _worst(wanted.angular_velocities, found.angular_velocities))


def _not_overwritten(bench: Bench) -> float:
    """What was read stays as it was read through later steps, resets and reads."""
    with bench.engine(2) as simulator:
        bench.put(simulator, random_state(bench.robot, 2, seed=1))
        held, kept = simulator.robot(), Bodies.read(simulator)
        lazy = {name: getattr(held, name) for name in ("dof_positions", "dof_velocities")}
        bench.run(simulator, 2)
        bench.put(simulator, random_state(bench.robot, 2, seed=2))
        Bodies.read(simulator)
        pairs = [(held.body_positions, kept.positions), (held.body_rotations, kept.rotations)]
        pairs += [(held.body_velocities, kept.velocities), (held.body_angular_velocities, kept.angular_velocities)]
        pairs += [(lazy[name], getattr(kept, name)) for name in lazy]
        return max(_worst(then, now.cpu()) for now, then in pairs)


def _render_state(bench: Bench) -> float:
    """The renderer's generalised coordinates put the bodies where the engine has them."""
    state = random_state(bench.robot, 2, seed=1)
    with bench.engine(2) as simulator:
        bench.put(simulator, state)
        qpos, found = simulator.render_state(1), Bodies.read(simulator)
        model = physics_spec(bench.robot, SimulationSettings()).compile()
        require(qpos.shape == (model.nq,), f"render_state is {qpos.shape}, want ({model.nq},)")
    data = mujoco.MjData(model)
    data.qpos[:] = qpos
    mujoco.mj_kinematics(model, data)
    names = bench.robot.skeleton.body_names
    positions = torch.tensor([data.body(name).xpos.tolist() for name in names])
    rotations = torch.tensor([data.body(name).xquat.tolist() for name in names])
    turned = float(angle_between(rotations, wxyz_from_xyzw(found.rotations[1])).max())
    require(turned <= 1e-3, f"bodies of the picture are turned by {turned:.2e} rad")
    return float((positions - found.positions[1]).norm(dim=-1).max())


def _subset_reset(bench: Bench) -> float:
    """Setting some environments leaves the others bit-equal; a step later too, where equal runs are."""
    now, later = [], []
    for touch in (False, True):
        with bench.engine(4) as simulator:
            bench.put(simulator, random_state(bench.robot, 4, seed=2))
            bench.run(simulator, 1)
            if touch:
                before = Bodies.read(simulator)
                bench.put(simulator, random_state(bench.robot, 2, seed=3), torch.tensor([1, 3]))
                after = Bodies.read(simulator)
                now += [_worst(getattr(before, name)[[0, 2]], getattr(after, name)[[0, 2]]) for name in vars(after)]
            bench.run(simulator, 1)
            later.append(Bodies.read(simulator).positions[[0, 2]])
    require(max(now) == 0.0, f"environments that were not reset changed by {max(now):.2e} at once")
    return _worst(*later) if bench.capabilities.deterministic else 0.0


def _determinism(bench: Bench) -> float:
    """Two equal runs are bit-equal, where the engine promises it."""
    bench.need("deterministic")
    finals = []
    for _ in range(2):
        with bench.engine(3) as simulator:
            bench.put(simulator, random_state(bench.robot, 3, seed=5, height=1.0))
            for step in range(10):
                generator = torch.Generator().manual_seed(step)
                bench.run(simulator, 1, 0.1 * torch.randn(3, bench.robot.skeleton.num_dofs, generator=generator))
            finals.append(Bodies.read(simulator).positions)
    return _worst(*finals)


def _exact_state(bench: Bench) -> float:
    """A saved state goes on in another instance, bit-equal where equal runs are."""
    bench.need("state_dict")
    with bench.engine(2) as simulator, bench.engine(2) as other:
        bench.put(simulator, random_state(bench.robot, 2, seed=6, height=0.9))
        bench.run(simulator, 10)
        other.load_state_dict(simulator.state_dict())
        results = []
        for each in (simulator, other):
            bench.run(each, 10 if bench.capabilities.deterministic else 1)
            results.append(Bodies.read(each).positions)
    error = _worst(*results)
    return error if bench.capabilities.deterministic else max(0.0, error - 1e-4)


def _lost_state(bench: Bench) -> float:
    """A state that is not finite is reported, harms nobody else, and is healed by a reset: positions of others, m."""
    if not bench.capabilities.apply_force:
        raise NotOfferedError("a state is lost by add_velocity, and capabilities.apply_force is false")
    others, lost = [0, 2], torch.tensor([1])
    finals = []
    for lose in (False, True):
        with bench.engine(3, gravity=0.0) as simulator:
            bench.put(simulator, rest_state(bench.robot, 3, 3.0))
            velocity = torch.zeros(3, 3)
            if lose:
                velocity[1] = torch.nan
            simulator.add_velocity(velocity.to(simulator.device), torch.zeros(3, 3, device=simulator.device))
            bench.run(simulator, 1, 0.1)
            told = simulator.unstable().cpu().tolist()
            require(told == [False, lose, False], f"unstable() is {told}")
            bench.put(simulator, rest_state(bench.robot, 1, 3.0), lost)
            require(not simulator.unstable().any(), "unstable() still says so after a reset")
            bench.run(simulator, 1, 0.1)
            require(not simulator.unstable().any(), "an environment that was reset is lost again after a step")
            finals.append(Bodies.read(simulator).positions[others])
    return _worst(*finals)


STATE_CHECKS: dict[str, Check] = {
    "protocol": Check(_protocol, unit=""),
    "order of bodies and joints": Check(_order, unit="misplaced"),
    "state round trip": Check(_round_trip, 1e-4),
    "rotation frames": Check(_rotation_frames, 1e-3, "rad"),
    "velocity frames": Check(_velocity_frames, 2e-3, "m/s, rad/s"),
    "joint positions": Check(_joint_coordinates, 2e-3, "rad"),
    "joint velocities": Check(_joint_velocities, 2e-3, "rad/s"),
    "one moment": Check(_one_moment, 1e-4),
    "one moment of velocities": Check(_one_moment_of_velocities, 5e-3, "m/s, rad/s"),
    "nothing is overwritten": Check(_not_overwritten),
    "render state": Check(_render_state, 1e-4),
    "subset reset": Check(_subset_reset),
    "determinism": Check(_determinism),
    "exact state": Check(_exact_state),
    "lost state": Check(_lost_state, 1e-6),
}
"""name to check"""
