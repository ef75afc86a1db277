"""Checks that any vector environment, and any engine, must pass. Public: use them on your own.

Gymnasium ships a checker for single environments only; `check_vector_env` is one for batched ones. Each check raises
`ConformanceError` that says what was expected and what was found.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from poselib.kinematics import forward_kinematics, forward_velocities
from poselib.rotations import angle_between, quat_from_exp_map
from proto_envs.context import ResetState
from proto_envs.object_checks import OBJECT_CHECKS
from proto_envs.parameter_checks import PARAMETER_CHECKS
from proto_envs.robots import Robot
from proto_envs.simulators import SimulationSettings, Simulator

__all__ = ["ENGINE_CHECKS", "ConformanceError", "check_engine", "check_vector_env"]


class ConformanceError(AssertionError):
    """A contract is broken; the message says which."""


def _require(condition: Any, message: str) -> None:  # noqa: ANN401
    if not bool(condition):
        raise ConformanceError(message)


# --- vector environments ---------------------------------------------------------------------------------------------


def check_vector_env(make: Callable[[], VectorEnv], *, steps: int = 40, seed: int = 0) -> None:
    """Check the contract of `gymnasium.vector.VectorEnv`.

    Spaces are batches of single spaces; reset and step return the promised shapes and types; the same seed gives the
    same rollout; returned observations are not overwritten by later steps; autoreset does what the metadata say; wrong
    shapes are refused.

    Args:
        make: makes a new environment, with arrays or CPU tensors.
        steps: length of the rollouts; let it be enough for some episodes to end.
        seed: of resets and actions.

    Raises:
        ConformanceError: at the first broken rule.
    """
    first, second = make(), make()
    try:
        _check_spaces(first)
        _check_rollouts(first, second, steps, seed)
        _check_refusals(first)
    finally:
        first.close()
        second.close()


def _check_spaces(env: VectorEnv) -> None:
    _require(isinstance(env, VectorEnv), f"want a gymnasium.vector.VectorEnv, got {type(env).__name__}")
    for name in ("observation", "action"):
        single, batched = getattr(env, f"single_{name}_space"), getattr(env, f"{name}_space")
        _require(batched == batch_space(single, env.num_envs), f"{name}_space is not batch_space(single_{name}_space)")
    mode = env.metadata.get("autoreset_mode")
    _require(isinstance(mode, AutoresetMode), f'metadata["autoreset_mode"] is {mode!r}, want an AutoresetMode')
    _require(env.metadata is not type(env).metadata, "metadata must be the instance's own dictionary")


def _check_rollouts(first: VectorEnv, second: VectorEnv, steps: int, seed: int) -> None:
    n, mode = first.num_envs, first.metadata["autoreset_mode"]
    a, info = first.reset(seed=seed)
    b, _ = second.reset(seed=seed)
    _require(isinstance(info, dict), "reset must return (observation, info dict)")
    first.action_space.seed(seed)
    pending = np.zeros(n, dtype=bool)
    ended = False
    for step in range(steps):
        _check_observation(first, a, f"step {step}")
        _require(_equal(a, b), f"step {step}: same seed, different observations")
        kept, copy = a, _copy(a)
        action = first.action_space.sample()
        a, *outcome, info = first.step(action)
        b, *other, _ = second.step(action)
        for name, x, y in zip(("reward", "terminated", "truncated"), outcome, other, strict=True):
            _require(tuple(x.shape) == (n,), f"step {step}: {name} has shape {tuple(x.shape)}, want ({n},)")
            _require(_equal(x, y), f"step {step}: same seed, different {name}")
        reward, terminated, truncated = (_array(x) for x in outcome)
        _require(np.isfinite(reward).all(), f"step {step}: reward is not finite")
        _require(terminated.dtype == bool and truncated.dtype == bool, f"step {step}: ends must be bool")
        _require(_equal(kept, copy), f"step {step}: an observation handed out before was overwritten")
        done = terminated | truncated
        if mode is AutoresetMode.SAME_STEP and done.any():
            _check_final_observation(first, info, done, step)
        if mode is AutoresetMode.NEXT_STEP and pending.any():
            _require(not reward[pending].any(), f"step {step}: the step of a reset must have reward 0")
            _require(not done[pending].any(), f"step {step}: the step of a reset must not end an episode")
        pending = done
        ended |= bool(done.any())
        if mode is AutoresetMode.DISABLED and done.any():
            a, _ = first.reset(options={"reset_mask": done})
            b, _ = second.reset(options={"reset_mask": done})
    _require(ended, f"no episode ended in {steps} steps, so autoreset was not checked: take more steps")


def _check_final_observation(env: VectorEnv, info: dict[str, Any], done: np.ndarray, step: int) -> None:
    for key in ("final_obs", "_final_obs"):
        _require(key in info, f'step {step}: an episode ended in SAME_STEP mode without info["{key}"]')
    _require((_array(info["_final_obs"]) == done).all(), f'step {step}: info["_final_obs"] is not the mask of ends')
    final = info["final_obs"]
    if not isinstance(final, np.ndarray) or final.dtype != object:
        _check_observation(env, final, f"step {step} final_obs")


def _check_refusals(env: VectorEnv) -> None:
    action = env.action_space.sample()
    if not isinstance(action, np.ndarray) or action.ndim < 2:
        return
    for bad, what in ((action[:, :-1], "one number short"), (action[0], "of a single environment")):
        try:
            env.step(bad)
        except Exception:  # the environment chooses which
            continue
        raise ConformanceError(f"an action {what} was accepted")


def _check_observation(env: VectorEnv, observation: Any, where: str) -> None:  # noqa: ANN401
    parts = observation if isinstance(observation, dict) else {"": observation}
    space: Any = env.observation_space
    for name, part in parts.items():
        want = space[name] if name else space
        array = _array(part)
        _require(array.shape == want.shape, f"{where}: observation {name} {array.shape}, want {want.shape}")
        _require(array.dtype == want.dtype, f"{where}: observation {name} {array.dtype}, want {want.dtype}")
        _require(np.isfinite(array).all(), f"{where}: observation {name} is not finite")


def _array(value: Any) -> np.ndarray:  # noqa: ANN401
    return value.cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)


def _copy(value: Any) -> Any:  # noqa: ANN401
    return {k: _copy(v) for k, v in value.items()} if isinstance(value, dict) else _array(value).copy()


def _equal(a: Any, b: Any) -> bool:  # noqa: ANN401
    if isinstance(a, dict):
        return all(_equal(a[key], b[key]) for key in a)
    return bool(np.array_equal(_array(a), _array(b)))


# --- engines ---------------------------------------------------------------------------------------------------------

EngineFactory = Callable[[Robot, int, SimulationSettings], Simulator]

_STANDING = 1.5  # m, a root height from which no built-in robot touches the ground


def check_engine(make: EngineFactory, robot: Robot, *, position_tolerance: float = 1e-4) -> dict[str, float]:
    """Run every check of `ENGINE_CHECKS` on an engine.

    Args:
        make: (robot, num_envs, settings) to a simulator.
        robot: what to simulate.
        position_tolerance: m, allowed between an engine's kinematics and ours.

    Returns:
        What each check measured, for a support matrix.

    Raises:
        ConformanceError: naming the check.
    """
    results = {}
    for name, check in ENGINE_CHECKS.items():
        try:
            results[name] = check(make, robot, position_tolerance)
        except AssertionError as error:
            raise ConformanceError(f"{name}: {error}") from error
    return results


def _random_state(robot: Robot, n: int, seed: int, *, height: float = _STANDING, size: float = 0.5) -> ResetState:
    skeleton, generator = robot.skeleton, torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    limits = skeleton.dof_limits
    dofs = (size * draw(n, skeleton.num_dofs)).clamp(0.8 * limits[:, 0], 0.8 * limits[:, 1])
    root = draw(n, 3) * 0.1 + torch.tensor([0.0, 0.0, height])
    return ResetState(
        root_position=root,
        local_rotations=skeleton.local_rotations_from_dofs(dofs, quat_from_exp_map(0.3 * draw(n, 3))),
        dof_positions=dofs,
        root_velocity=draw(n, 3),
        root_angular_velocity=draw(n, 3),
        dof_velocities=draw(n, skeleton.num_dofs),
    )


def _rest_state(robot: Robot, n: int, height: float) -> ResetState:
    skeleton = robot.skeleton
    zeros, joints = torch.zeros(n, 3), torch.zeros(n, skeleton.num_dofs)
    return ResetState(
        root_position=torch.tensor([0.0, 0.0, height]).repeat(n, 1),
        local_rotations=skeleton.local_rotations_from_dofs(joints),
        dof_positions=joints,
        root_velocity=zeros,
        root_angular_velocity=zeros,
        dof_velocities=joints,
    )


def _ids(simulator: Simulator) -> Tensor:
    return torch.arange(simulator.num_envs, device=simulator.device)


def check_state_round_trip(make: EngineFactory, robot: Robot, tolerance: float) -> float:
    """A state that is set is read back: order, frames, velocities, joint coordinates. Worst position error, m."""
    simulator = make(robot, 4, SimulationSettings())
    state = _random_state(robot, 4, seed=1)
    simulator.set_state(_ids(simulator), state)
    found = simulator.robot()
    skeleton = robot.skeleton
    positions, rotations = forward_kinematics(skeleton, state.root_position, state.local_rotations)
    velocities, angular = forward_velocities(
        skeleton, positions, rotations, state.root_velocity, state.root_angular_velocity, state.dof_velocities
    )
    position_error = float((found.body_positions - positions).norm(dim=-1).max())
    _require(position_error <= tolerance, f"body positions are off by {position_error:.2e} m")
    angle = float(angle_between(found.body_rotations, rotations).max())
    _require(angle <= 10 * tolerance, f"body rotations are off by {angle:.2e} rad")
    for name, want, got in (
        ("body velocities", velocities, found.body_velocities),
        ("body angular velocities", angular, found.body_angular_velocities),
        ("joint positions", skeleton.dofs_from_local_rotations(state.local_rotations), found.dof_positions),
        ("joint velocities", state.dof_velocities, found.dof_velocities),
    ):
        error = float((want - got).abs().max())
        _require(error <= 20 * tolerance, f"{name} are off by {error:.2e}")
    simulator.close()
    return position_error


def check_subset_reset(make: EngineFactory, robot: Robot, tolerance: float) -> float:
    """Setting some environments leaves the others as they are one step later. Difference found, m.

    Bit for bit where the engine promises that equal runs are equal; else they may differ as those do.
    """
    states = []
    for touch in (False, True):
        simulator = make(robot, 4, SimulationSettings())
        simulator.set_state(_ids(simulator), _random_state(robot, 4, seed=2))
        targets = torch.zeros(4, robot.skeleton.num_dofs, device=simulator.device)
        simulator.step(targets)
        if touch:
            simulator.set_state(torch.tensor([1, 3], device=simulator.device), _random_state(robot, 2, seed=3))
        simulator.step(targets)
        states.append(simulator.robot().body_positions[[0, 2]].clone())
        promised = simulator.capabilities.deterministic
        simulator.close()
    difference = float((states[0] - states[1]).abs().max())
    allowed = 0.0 if promised else tolerance
    _require(difference <= allowed, f"environments that were not reset moved by {difference:.2e} m")
    return difference


def check_free_fall(make: EngineFactory, robot: Robot, tolerance: float) -> float:
    """In the air the root falls as gravity says. Worst error of the height after 10 steps, m."""
    simulator = make(robot, 2, SimulationSettings())
    height = 3.0
    simulator.set_state(_ids(simulator), _rest_state(robot, 2, height))
    targets = torch.zeros(2, robot.skeleton.num_dofs, device=simulator.device)
    for _ in range(10):
        simulator.step(targets)
    time, substep = 10 * simulator.dt, simulator.dt / SimulationSettings().substeps
    # Semi-implicit integration adds g·t·h/2 to the exact parabola.
    want = height - 0.5 * 9.81 * time * (time + substep)
    error = float((simulator.robot().body_positions[:, 0, 2] - want).abs().max())
    _require(error <= 0.01, f"after {time:.2f} s of free fall the root is {error:.3f} m off the parabola")
    simulator.close()
    return error


def check_pose_tracking(make: EngineFactory, robot: Robot, tolerance: float) -> float:
    """Drives reach a commanded pose without gravity: targets mean rotation vectors. Median error, rad."""
    n = 16
    simulator = make(robot, n, SimulationSettings(gravity=0.0))
    simulator.set_state(_ids(simulator), _rest_state(robot, n, 3.0))
    goal = robot.skeleton.dofs_from_local_rotations(_random_state(robot, n, seed=4, size=0.6).local_rotations)
    for _ in range(60):
        simulator.step(goal.to(simulator.device))
    skeleton = robot.skeleton
    want = skeleton.local_rotations_from_dofs(goal)
    got = skeleton.local_rotations_from_dofs(simulator.robot().dof_positions.cpu())
    moved = sorted(set(skeleton.dof_bodies))
    error = float(angle_between(want, got)[:, moved].median())
    _require(error <= 0.02, f"joints end {error:.3f} rad (median) away from a commanded pose")
    simulator.close()
    return error


def check_weight(make: EngineFactory, robot: Robot, tolerance: float) -> float:
    """Lying still, the robot presses on the ground with its weight. Relative error; needs contact forces."""
    simulator = make(robot, 2, SimulationSettings(contact_forces=True))
    if not simulator.capabilities.contact_forces:
        return float("nan")
    mass = float(robot.spec().compile().body_mass.sum())
    simulator.set_state(_ids(simulator), _rest_state(robot, 2, 0.4))
    targets = torch.zeros(2, robot.skeleton.num_dofs, device=simulator.device)
    upward = torch.zeros(2)
    for step in range(150):
        simulator.step(targets)
        if step >= 120:
            upward += simulator.robot().contact_forces[..., 2].sum(-1).cpu() / 30
    error = float((upward / (mass * 9.81) - 1.0).abs().max())
    _require(error <= 0.05, f"contact forces carry {100 * (1 + error):.1f} % of the weight at rest")
    simulator.close()
    return error


def check_determinism(make: EngineFactory, robot: Robot, tolerance: float) -> float:
    """Two equal runs are bit-equal, where the engine promises it. Largest difference, m."""
    finals = []
    for _ in range(2):
        simulator = make(robot, 3, SimulationSettings())
        simulator.set_state(_ids(simulator), _random_state(robot, 3, seed=5, height=1.0))
        for step in range(10):
            targets = 0.1 * torch.randn(3, robot.skeleton.num_dofs, generator=torch.Generator().manual_seed(step))
            simulator.step(targets.to(simulator.device))
        finals.append(simulator.robot().body_positions.clone())
        promised = simulator.capabilities.deterministic
        simulator.close()
    difference = float((finals[0] - finals[1]).abs().max())
    _require(difference == 0.0 or not promised, f"two equal runs differ by {difference:.2e} m")
    return difference


def check_parameters(make: EngineFactory, robot: Robot, tolerance: float) -> float:
    """Parameters of single environments take effect, there alone. Largest error, as a share of the allowed one."""
    simulator = make(robot, 2, SimulationSettings())
    known = simulator.capabilities.parameters
    simulator.close()
    worst = float("nan")
    for name in sorted(known):
        if name not in PARAMETER_CHECKS:
            raise ConformanceError(f"{name!r} is no parameter of the protocol; there are {sorted(PARAMETER_CHECKS)}")
        check, allowed = PARAMETER_CHECKS[name]
        error = check(make, robot)
        _require(error <= allowed, f"{name}: error {error:.2e}, at most {allowed:.0e} ({check.__doc__})")
        worst = max(error / allowed, 0.0 if math.isnan(worst) else worst)
    return worst


def check_exact_state(make: EngineFactory, robot: Robot, tolerance: float) -> float:
    """A saved state goes on bit-equal in another instance, where the engine can save. Largest difference, m."""
    simulator = make(robot, 2, SimulationSettings())
    if not simulator.capabilities.state_dict:
        return float("nan")
    simulator.set_state(_ids(simulator), _random_state(robot, 2, seed=6, height=0.9))
    targets = torch.zeros(2, robot.skeleton.num_dofs, device=simulator.device)
    for _ in range(10):
        simulator.step(targets)
    other = make(robot, 2, SimulationSettings())
    other.load_state_dict(simulator.state_dict())
    results = []
    for each in (simulator, other):
        for _ in range(10):
            each.step(targets)
        results.append(each.robot().body_positions.clone())
        each.close()
    difference = float((results[0] - results[1]).abs().max())
    _require(difference == 0.0, f"a restored state went on {difference:.2e} m apart")
    return difference


ENGINE_CHECKS: dict[str, Callable[[EngineFactory, Robot, float], float]] = {
    "state round trip": check_state_round_trip,
    "subset reset": check_subset_reset,
    "free fall": check_free_fall,
    "pose tracking": check_pose_tracking,
    "weight at rest": check_weight,
    "determinism": check_determinism,
    "parameters": check_parameters,
    "exact state": check_exact_state,
    **OBJECT_CHECKS,
}
"""name to (engine factory, robot, position tolerance) -> what was measured"""
