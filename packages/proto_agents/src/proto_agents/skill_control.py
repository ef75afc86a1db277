"""Tasks done by choosing skills: a vector environment whose actions are latents, played by a policy that never changes.

Whatever trains on a gymnasium vector environment trains on this one (ASE's high-level controller, Peng et al. 2022).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
import torch.nn.functional as F
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from proto_agents.checkpoint import MODEL_FILE, load_model, load_tensors
from proto_agents.environment import Transition
from proto_agents.models.actor_critic import ActorCritic, ActorCriticConfig
from proto_agents.models.normalization import RunningNormalizer
from proto_agents.skill_env import LayeredEnv
from proto_agents.spaces import Observations, observation_sizes

__all__ = ["SkillControlEnv", "frozen_policy", "observation_size"]


def frozen_policy(
    checkpoint: Path, config: ActorCriticConfig, action_space: gymnasium.Space, device: str | torch.device = "cpu"
) -> ActorCritic:
    """The policy of a checkpoint, not to be trained; its value function is not loaded.

    Args:
        checkpoint: its folder.
        config: of its networks.
        action_space: of a single environment that it is to act in.
        device: where it goes.

    Raises:
        CheckpointError: missing or damaged file, or other actions.
    """
    seen = load_tensors(checkpoint / MODEL_FILE)["normalizers.policy.mean"].shape
    space = gymnasium.spaces.Dict({"policy": gymnasium.spaces.Box(-np.inf, np.inf, tuple(seen), np.float32)})
    model = ActorCritic(space, action_space, config)
    load_model(model, checkpoint, policy_only=True)
    return model.requires_grad_(False).eval().to(device)


def observation_size(model: ActorCritic) -> int:
    """How many numbers its policy is shown."""
    normalizer = model.normalizers["policy"]
    assert isinstance(normalizer, RunningNormalizer)
    return normalizer.shape[0]


class SkillControlEnv(LayeredEnv):
    """One step is several control steps of a policy with skills; the action says which skill it plays.

    - An action is any vector (D,); its direction is the latent.
    - Observations are those of the task. The policy with skills sees their first numbers, as many as it was taught
      with: the group "policy" must begin with what it showed then, and a task's own numbers come after that.
    - The reward is the mean over the control steps; those after an episode's end count as zero.
    - Metrics are means over the control steps up to an episode's end; yes-or-no ones are true if ever they were.
    - Where an episode ends before the last control step, the last observation is that of its end, and a new one begins
      with the next step: what the environment did in between, of itself, is begun anew.
    """

    def __init__(
        self,
        env: VectorEnv,
        model: ActorCritic,
        latent_size: int,
        steps: int = 5,
        *,
        device: str | torch.device | None = None,
    ) -> None:
        """Lay a controller's actions over an environment.

        Args:
            env: of the task; SAME_STEP or DISABLED, and takes `reset(options={"reset_mask": ...})`.
            model: the policy with skills, from `frozen_policy`; acts by its mean.
            latent_size: D.
            steps: control steps of each step.
            device: of the tensors; the environment's own if left out, or CPU.

        Raises:
            ValueError: for an environment that resets itself a step late, or shows too little.
        """
        super().__init__(env, device)
        if self.inner.mode == AutoresetMode.NEXT_STEP:
            raise ValueError("skills cannot be chosen in a NEXT_STEP environment: make it with SAME_STEP or DISABLED")
        self.model, self.steps, self.latent_size = model, steps, latent_size
        sizes = observation_sizes(env.single_observation_space)
        self._seen = observation_size(model) - latent_size
        own = sizes["policy"] - sizes.get("goal", 0)
        if own < self._seen or ("goal" in sizes and own > self._seen):
            raise ValueError(
                f'the policy with skills was shown {self._seen} numbers; the group "policy" has {own} without the goal'
            )
        self._set_observation_sizes(sizes)
        self.single_action_space = gymnasium.spaces.Box(-1.0, 1.0, (latent_size,), np.float32)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        if "render_fps" in self.metadata:
            self.metadata["render_fps"] = self.metadata["render_fps"] / steps

    @property
    def control_hz(self) -> float:
        """Choices per second."""
        return self.env.unwrapped.control_hz / self.steps  # type: ignore[attr-defined]

    @property
    def max_episode_length(self) -> int:
        """Choices in the longest episode."""
        return math.ceil(self.env.unwrapped.max_episode_length / self.steps)  # type: ignore[attr-defined]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Begin new episodes; those of `options={"reset_mask": ...}` alone, if given."""
        if options and "reset_mask" in options:
            return self.inner.restart(torch.as_tensor(options["reset_mask"], device=self.device)), {}
        return self.inner.reset(seed), {}

    @torch.no_grad()
    def step(self, actions: Any) -> tuple[Observations, Tensor, Tensor, Tensor, dict[str, Any]]:  # noqa: ANN401
        """Play the skills that `actions` (N, D) point to, for `steps` control steps."""
        given = torch.as_tensor(actions, dtype=torch.float32, device=self.device)
        latents = F.normalize(given.reshape(self.num_envs, self.latent_size), dim=-1)
        tally = _Tally(self.num_envs, self.device)
        for _ in range(self.steps):
            own = self.inner.observations["policy"][:, : self._seen]
            action = self.model.act_deterministic({"policy": torch.cat([own, latents], dim=-1)})
            before = tally.going
            transition = self.inner.step(action)
            tally.add(transition)
        done, observations = tally.terminated | tally.truncated, transition.observations
        too_early = done & ~before  # their new episode has been played by a skill that was chosen for the old one
        if bool(too_early.any()):
            observations = self.inner.restart(too_early)
        info = self._info(transition, tally.last, done) | {"metrics": tally.metrics()}
        for name in ("episode", "_episode"):  # of the last control step alone
            info.pop(name, None)
        return observations, tally.reward / self.steps, tally.terminated, tally.truncated, info


class _Tally:
    """What happens to each environment during a step, up to the end of its episode."""

    def __init__(self, num_envs: int, device: torch.device) -> None:
        self.going = torch.ones(num_envs, dtype=torch.bool, device=device)
        self.terminated, self.truncated = torch.zeros_like(self.going), torch.zeros_like(self.going)
        self.reward = torch.zeros(num_envs, device=device)
        self.last: Observations = {}
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}
        self._ever: dict[str, Tensor] = {}

    def add(self, transition: Transition) -> None:
        """One control step of all environments; those whose episode has ended do not count."""
        going = self.going
        self.reward = self.reward + torch.where(going, transition.reward, 0.0)
        self.terminated = self.terminated | (going & transition.terminated)
        self.truncated = self.truncated | (going & transition.truncated)
        self.last = {
            name: torch.where(going.unsqueeze(-1), group, self.last.get(name, group))
            for name, group in transition.outcome.items()
        }
        for name, metric in transition.metrics.items():
            if metric.dtype == torch.bool:
                self._ever[name] = self._ever.get(name, torch.zeros_like(going)) | (going & metric)
                continue
            counts = going & ~metric.isnan()
            self._sums[name] = self._sums.get(name, 0.0) + torch.where(counts, metric.float(), 0.0)
            self._counts[name] = self._counts.get(name, 0) + counts.long()
        self.going = going & ~(transition.terminated | transition.truncated)

    def metrics(self) -> dict[str, Tensor]:
        """Means, NaN where nothing was measured; and whether ever."""
        return self._ever | {name: total / self._counts[name] for name, total in self._sums.items()}
