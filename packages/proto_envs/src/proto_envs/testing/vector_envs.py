"""Checks that any vector environment must pass. Gymnasium ships a checker for single environments only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from proto_envs.testing.bench import ConformanceError, require

__all__ = ["check_vector_env"]


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
    require(isinstance(env, VectorEnv), f"want a gymnasium.vector.VectorEnv, got {type(env).__name__}")
    for name in ("observation", "action"):
        single, batched = getattr(env, f"single_{name}_space"), getattr(env, f"{name}_space")
        require(batched == batch_space(single, env.num_envs), f"{name}_space is not batch_space(single_{name}_space)")
    mode = env.metadata.get("autoreset_mode")
    require(isinstance(mode, AutoresetMode), f'metadata["autoreset_mode"] is {mode!r}, want an AutoresetMode')
    require(env.metadata is not type(env).metadata, "metadata must be the instance's own dictionary")


def _check_rollouts(first: VectorEnv, second: VectorEnv, steps: int, seed: int) -> None:
    n, mode = first.num_envs, first.metadata["autoreset_mode"]
    a, info = first.reset(seed=seed)
    b, _ = second.reset(seed=seed)
    require(isinstance(info, dict), "reset must return (observation, info dict)")
    first.action_space.seed(seed)
    pending = np.zeros(n, dtype=bool)
    ended = False
    for step in range(steps):
        _check_observation(first, a, f"step {step}")
        require(_equal(a, b), f"step {step}: same seed, different observations")
        kept, copy = a, _copy(a)
        action = first.action_space.sample()
        a, *outcome, info = first.step(action)
        b, *other, _ = second.step(action)
        for name, x, y in zip(("reward", "terminated", "truncated"), outcome, other, strict=True):
            require(tuple(x.shape) == (n,), f"step {step}: {name} has shape {tuple(x.shape)}, want ({n},)")
            require(_equal(x, y), f"step {step}: same seed, different {name}")
        reward, terminated, truncated = (_array(x) for x in outcome)
        require(np.isfinite(reward).all(), f"step {step}: reward is not finite")
        require(terminated.dtype == bool and truncated.dtype == bool, f"step {step}: ends must be bool")
        require(_equal(kept, copy), f"step {step}: an observation handed out before was overwritten")
        done = terminated | truncated
        if mode is AutoresetMode.SAME_STEP and done.any():
            _check_final_observation(first, info, done, step)
        if mode is AutoresetMode.NEXT_STEP and pending.any():
            require(not reward[pending].any(), f"step {step}: the step of a reset must have reward 0")
            require(not done[pending].any(), f"step {step}: the step of a reset must not end an episode")
        pending = done
        ended |= bool(done.any())
        if mode is AutoresetMode.DISABLED and done.any():
            a, _ = first.reset(options={"reset_mask": done})
            b, _ = second.reset(options={"reset_mask": done})
    require(ended, f"no episode ended in {steps} steps, so autoreset was not checked: take more steps")


def _check_final_observation(env: VectorEnv, info: dict[str, Any], done: np.ndarray, step: int) -> None:
    for key in ("final_obs", "_final_obs"):
        require(key in info, f'step {step}: an episode ended in SAME_STEP mode without info["{key}"]')
    require((_array(info["_final_obs"]) == done).all(), f'step {step}: info["_final_obs"] is not the mask of ends')
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
        require(array.shape == want.shape, f"{where}: observation {name} {array.shape}, want {want.shape}")
        require(array.dtype == want.dtype, f"{where}: observation {name} {array.dtype}, want {want.dtype}")
        require(np.isfinite(array).all(), f"{where}: observation {name} is not finite")


def _array(value: Any) -> np.ndarray:  # noqa: ANN401
    return value.cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)


def _copy(value: Any) -> Any:  # noqa: ANN401
    return {k: _copy(v) for k, v in value.items()} if isinstance(value, dict) else _array(value).copy()


def _equal(a: Any, b: Any) -> bool:  # noqa: ANN401
    if isinstance(a, dict):
        return all(_equal(a[key], b[key]) for key in a)
    return bool(np.array_equal(_array(a), _array(b)))
