"""A vector environment that shows noise beside the observations, which stays the same throughout an episode."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from torch import Tensor

from proto_agents.models.masked_mimic import NOISE_GROUP
from proto_agents.skill_env import LayeredEnv
from proto_agents.spaces import Observations, observation_sizes

__all__ = ["EpisodeNoiseEnv"]


class EpisodeNoiseEnv(LayeredEnv):
    """Adds the group "noise": numbers (N, Z) from a standard normal, drawn anew when an episode begins.

    A policy that draws its latent with them keeps to one way of doing a thing for a whole episode, where fresh noise in
    every step would mix them all (MaskedMimic). The last observation of an episode holds the noise of its episode.
    """

    def __init__(self, env: VectorEnv, size: int, *, seed: int = 0, device: str | torch.device | None = None) -> None:
        """Lay noise beside what `env` shows.

        Args:
            env: any vector environment.
            size: Z.
            seed: of the noise.
            device: of the tensors; the environment's own if left out, or CPU.

        Raises:
            ValueError: the environment shows a group of that name.
        """
        super().__init__(env, device)
        sizes = observation_sizes(env.single_observation_space)
        if NOISE_GROUP in sizes:
            raise ValueError(f"the environment shows a group {NOISE_GROUP!r} of its own")
        self._set_observation_sizes(sizes | {NOISE_GROUP: size})
        self.size = size
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.noise = torch.zeros(self.num_envs, size, device=self.device)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Begin new episodes everywhere, or where `options["reset_mask"]` (N,) is true."""
        if seed is not None:
            self.generator.manual_seed(seed)
        mask, observations = self._begin(seed, options)
        self._renew(mask)
        return self._shown(observations), {}

    def step(self, actions: Any) -> tuple[Observations, Tensor, Tensor, Tensor, dict[str, Any]]:  # noqa: ANN401
        """One step of the inner environment."""
        transition = self.inner.step(self._actions(actions))
        done = transition.terminated | transition.truncated
        final = self._shown(transition.outcome)
        late = self.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
        self._renew(~transition.valid if late else done)
        observations, info = self._shown(transition.observations), self._info(transition, final, done)
        return observations, transition.reward, transition.terminated, transition.truncated, info

    def _shown(self, observations: Observations) -> Observations:
        return observations | {NOISE_GROUP: self.noise}

    def _renew(self, mask: Tensor) -> None:
        """Draws noise where `mask` (N,) says. All are drawn, so that nobody has to wait for how many they are."""
        fresh = torch.randn(self.noise.shape, generator=self.generator, device=self.device)
        self.noise = torch.where(mask.unsqueeze(-1), fresh, self.noise)

    def state_dict(self) -> dict[str, Tensor] | None:
        """That of the inner environment, if it has one, and ours."""
        state = super().state_dict()
        return None if state is None else state | {"noise": self.noise, "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore `state_dict`."""
        super().load_state_dict(state)
        self.noise = state["noise"].to(self.device).clone()
        self.generator.set_state(state["generator"].cpu())
