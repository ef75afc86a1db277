"""One view of every gymnasium vector environment: tensors in, tensors out, whatever its autoreset mode."""

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from torch import Tensor

from proto_agents.spaces import Observations, observation_sizes, select, to_observations

__all__ = ["NonFiniteError", "TensorEnvironment", "Transition"]


class NonFiniteError(RuntimeError):
    """An environment returned NaN or infinity, or an update of the weights did."""


@dataclass(frozen=True, kw_only=True)
class Transition:
    """What one step of all environments gave."""

    observations: Observations
    """to act on next; for environments that were reset in this step, of the new episode"""
    reward: Tensor
    """(N,) float32"""
    terminated: Tensor
    """(N,) bool: failure; nothing follows"""
    truncated: Tensor
    """(N,) bool: the episode was cut by a limit and would have gone on (never true together with terminated)"""
    valid: Tensor
    """(N,) bool: false for the step in which a NEXT_STEP environment ignores the action and resets"""
    outcome: Observations
    """(N, size) each: what the step led to; where an episode ended, before the reset"""
    truncated_rows: Tensor
    """(K,) long: the environments that were truncated"""
    truncated_observations: Observations
    """(K, size) each: their last observations, before the reset"""
    metrics: dict[str, Tensor]
    """info["metrics"] of this transition, (N,) each; empty where the environment has none"""
    info: dict[str, Any]
    """the rest of what the environment said"""
    reward_parts: Tensor | None = None
    """(N, K) summands of `reward`, for a critic that values each of them; None: it is one whole"""


class TensorEnvironment:
    """Wraps a vector environment: converts to tensors, hides the autoreset mode, refuses non-finite numbers."""

    def __init__(self, env: VectorEnv, device: str | torch.device | None = None) -> None:
        """device: of the tensors handed out; the environment's own where None, or CPU."""
        self.env = env
        self.num_envs = env.num_envs
        self.device = torch.device(device if device is not None else getattr(env.unwrapped, "device", "cpu"))
        self.single_observation_space: gymnasium.Space = env.single_observation_space
        self.single_action_space: gymnasium.Space = env.single_action_space
        self.mode = AutoresetMode(env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
        self.steps = 0
        self.resetting = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        """(N,) NEXT_STEP environments whose next step is the reset"""
        self._groups = tuple(observation_sizes(env.single_observation_space))
        self._speaks_torch = False
        self._env_device = torch.device(getattr(env.unwrapped, "device", self.device))
        self._observations: Observations = {}

    def reset(self, seed: int | None = None) -> Observations:
        """Starts a new episode everywhere."""
        raw, _ = self.env.reset(seed=seed)
        first = next(iter(raw.values())) if isinstance(raw, dict) else raw
        self._speaks_torch = isinstance(first, Tensor)
        self.resetting.zero_()
        self._observations = to_observations(raw, self.device)
        self._require_finite(self._observations, "observation", "reset")
        return self._observations

    def step(self, action: Tensor) -> Transition:
        """One step. action: (N, A) float for a Box, (N,) long for Discrete.

        Raises:
            NonFiniteError: an observation or reward is NaN or infinite; names the step and the environments.
        """
        raw, raw_reward, raw_terminated, raw_truncated, info = self.env.step(self._to_env(action))
        self.steps += 1
        observations = to_observations(raw, self.device)
        reward = torch.as_tensor(raw_reward, device=self.device).float()
        terminated = torch.as_tensor(raw_terminated, device=self.device).bool()
        truncated = torch.as_tensor(raw_truncated, device=self.device).bool() & ~terminated
        where = f"step {self.steps}"
        self._require_finite(observations, "observation", where)
        self._require_finite({"": reward}, "reward", where)

        done = terminated | truncated
        valid = ~self.resetting
        rows = truncated.nonzero().squeeze(-1)
        # In other modes than SAME_STEP the returned observation is the last one of the episode.
        same_step = self.mode == AutoresetMode.SAME_STEP
        outcome = self._before_reset(observations, info, done) if same_step else observations
        if self.mode == AutoresetMode.NEXT_STEP:
            self.resetting = done
        elif self.mode == AutoresetMode.DISABLED and bool(done.any()):
            observations = self.restart(done)
        self._observations = observations
        metrics = {name: torch.as_tensor(v, device=self.device) for name, v in info.get("metrics", {}).items()}
        return Transition(
            observations=observations,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            valid=valid,
            outcome=outcome,
            truncated_rows=rows,
            truncated_observations=select(outcome, rows),
            metrics=metrics,
            info=info,
        )

    @property
    def observations(self) -> Observations:
        """Those to act on next."""
        return self._observations

    def restart(self, mask: Tensor) -> Observations:
        """Begin new episodes where `mask` (N,) bool says, in an environment that takes a "reset_mask"."""
        raw, _ = self.env.reset(
            options={"reset_mask": mask.to(self._env_device) if self._speaks_torch else mask.cpu().numpy()}
        )
        self._observations = to_observations(raw, self.device)
        self._require_finite(self._observations, "observation", f"the reset after step {self.steps}")
        return self._observations

    def state_dict(self) -> dict[str, Tensor] | None:
        """The environment's own state and ours, where it can be saved; None where it cannot."""
        save = getattr(self.env.unwrapped, "state_dict", None)
        saved = None if save is None else save()
        if saved is None:
            return None
        own = {f"observations/{name}": group for name, group in self._observations.items()}
        return {f"env/{name}": value for name, value in saved.items()} | own | {"resetting": self.resetting}

    def load_state_dict(self, state: dict[str, Tensor], seed: int | None = None) -> Observations:
        """Goes on where `state_dict` was taken; returns the observations to act on.

        The environment is reset with the seed first, so that its buffers exist before its state is put back.
        """
        self.reset(seed=seed)
        load: Any = self.env.unwrapped
        load.load_state_dict({name[4:]: value for name, value in state.items() if name.startswith("env/")})
        self.resetting = state["resetting"].to(self.device)
        prefix = "observations/"
        self._observations = {
            name[len(prefix) :]: value.to(self.device) for name, value in state.items() if name.startswith(prefix)
        }
        return self._observations

    def close(self) -> None:
        """Closes the environment."""
        self.env.close()

    def _to_env(self, action: Tensor) -> Any:  # noqa: ANN401 - tensor or array, as the environment speaks
        if isinstance(self.single_action_space, gymnasium.spaces.Discrete):
            action = action + int(self.single_action_space.start)
        else:
            action = action.reshape(self.num_envs, *(self.single_action_space.shape or ()))
        return action.to(self._env_device) if self._speaks_torch else action.cpu().numpy()

    def _before_reset(self, observations: Observations, info: dict[str, Any], done: Tensor) -> Observations:
        """SAME_STEP: what dense tensors or gymnasium's object array say of the ends, in the rows that are `done`."""
        if "final_obs" not in info:
            if bool(done.any()):
                raise ValueError('a SAME_STEP environment ended an episode without info["final_obs"]')
            return observations
        final = info["final_obs"]
        if isinstance(final, np.ndarray) and final.dtype == object:
            rows = done.nonzero().squeeze(-1)
            singles = [final[row] for row in rows.tolist()]
            if isinstance(singles[0], dict):
                final = {name: np.stack([single[name] for single in singles]) for name in singles[0]}
            else:
                final = np.stack(singles)
            ends = to_observations(final, self.device)
            return {name: group.index_copy(0, rows, ends[name]) for name, group in observations.items()}
        ends = to_observations(final, self.device)
        return {name: torch.where(done.unsqueeze(-1), ends[name], group) for name, group in observations.items()}

    def _require_finite(self, values: dict[str, Tensor], what: str, where: str) -> None:
        for name, value in values.items():
            # One sum is far cheaper than a mask; a finite value that overflows the sum passes the second look.
            if bool(torch.isfinite(value.sum())):
                continue
            bad = (~torch.isfinite(value)).reshape(self.num_envs, -1).any(dim=-1).nonzero().squeeze(-1).tolist()
            if bad:
                group = f' (group "{name}")' if name else ""
                listed = ", ".join(map(str, bad[:8])) + (", ..." if len(bad) > 8 else "")
                raise NonFiniteError(
                    f"non-finite {what}{group} at {where} in environment {listed} ({len(bad)} of {self.num_envs}). "
                    "An environment must end such an episode itself; check its physics step, rewards and resets."
                )
