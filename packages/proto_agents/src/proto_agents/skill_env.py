"""A vector environment whose observations hold a latent skill, new at times: a policy is taught skills in it."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from torch import Tensor

from proto_agents.environment import TensorEnvironment, Transition
from proto_agents.models.skills import sample_latents
from proto_agents.spaces import Observations, observation_sizes

__all__ = ["LATENT_GROUPS", "LayeredEnv", "SkillEnv", "with_latents"]

LATENT_GROUPS = ("policy", "critic")
"""observation groups that hold the latent, at their end"""


def with_latents(observations: Observations, latents: Tensor) -> Observations:
    """The same observations with latents (N, D) at the end of each group that a policy or a critic reads."""
    return {
        name: torch.cat([group, latents], dim=-1) if name in LATENT_GROUPS else group
        for name, group in observations.items()
    }


class LayeredEnv(VectorEnv):
    """An environment made of another: tensors in and out, groups of observations, all else passed through.

    Ends of episodes are told as SAME_STEP, unless the inner environment resets itself a step later: then so does this.
    What it does not know itself, such as `control_hz`, `clip_names` or `sample_style`, is the inner environment's.
    """

    def __init__(self, env: VectorEnv, device: str | torch.device | None = None) -> None:
        """Lay this over `env`; device: of the tensors, the environment's own if left out, or CPU."""
        self.env = env
        self.inner = TensorEnvironment(env, device)
        self.device = self.inner.device
        self.num_envs = env.num_envs
        self.spec, self.render_mode = env.spec, env.render_mode
        late = self.inner.mode == AutoresetMode.NEXT_STEP
        self.metadata = {
            **env.metadata,
            "autoreset_mode": AutoresetMode.NEXT_STEP if late else AutoresetMode.SAME_STEP,
        }
        self.action_space, self.single_action_space = env.action_space, env.single_action_space

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        """What is not ours is the inner environment's; but not what that says of its own observations and actions."""
        if name in ("env", "symmetry", "observation_tokens") or name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.env.unwrapped, name)

    def _set_observation_sizes(self, sizes: dict[str, int]) -> None:
        boxes: dict[str, gymnasium.Space] = {
            name: gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32) for name, size in sizes.items()
        }
        self.single_observation_space = gymnasium.spaces.Dict(boxes)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)

    def _begin(self, seed: int | None, options: dict[str, Any] | None) -> tuple[Tensor, Observations]:
        """Begins episodes in the inner environment; returns where, (N,) bool, and the observations of all."""
        if options and "reset_mask" in options:
            mask = torch.as_tensor(options["reset_mask"], device=self.device)
            return mask, self.inner.restart(mask)
        return torch.ones(self.num_envs, dtype=torch.bool, device=self.device), self.inner.reset(seed)

    def _actions(self, actions: Any) -> Tensor:  # noqa: ANN401
        """Actions as `TensorEnvironment` takes them: choices are numbered from 0."""
        actions, space = torch.as_tensor(actions, device=self.device), self.inner.single_action_space
        return actions - int(space.start) if isinstance(space, gymnasium.spaces.Discrete) else actions

    def _info(self, transition: Transition, final: Observations, done: Tensor) -> dict[str, Any]:
        """What the inner environment said, with the last observations of the episodes that are `done` (N,)."""
        info = {**transition.info, "metrics": transition.metrics}
        for name in ("final_obs", "_final_obs"):
            info.pop(name, None)
        if self.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP:
            info |= {"final_obs": final, "_final_obs": done}
        return info

    def state_dict(self) -> dict[str, Tensor] | None:
        """Everything that the future depends on; None where the inner environment cannot be saved."""
        inner = self.inner.state_dict()
        return None if inner is None else {f"inner/{name}": value for name, value in inner.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore `state_dict`."""
        self.inner.load_state_dict({name[6:]: value for name, value in state.items() if name.startswith("inner/")})

    def render(self) -> Any:  # noqa: ANN401
        """Frames of the inner environment."""
        return self.env.render()

    def close_extras(self, **kwargs: Any) -> None:  # noqa: ANN401
        """Close the inner environment."""
        self.env.close(**kwargs)


class SkillEnv(LayeredEnv):
    """Shows a latent z beside the observations, at the end of the groups "policy" and "critic".

    Each environment has a latent of its own, uniform over the sphere, that stays for a number of control steps drawn
    uniformly from `hold`, and a fresh one when an episode begins.

    An observation holds the latent that is acted on next. Where one changes in the middle of an episode, the
    observation after the step therefore holds the new one, and so does the value that a learner takes of it: the change
    is part of what the environment does, and V(s, new z) a sample of what comes then. Where an episode ends, its last
    observation ("final_obs") still holds the latent that it was played with. `info["latent"]` (N, D) is the latent that
    the step was played with, in any case: rewards for skills go by it.
    """

    def __init__(
        self,
        env: VectorEnv,
        size: int = 64,
        hold: tuple[int, int] = (1, 150),
        *,
        seed: int = 0,
        device: str | torch.device | None = None,
    ) -> None:
        """Lay skills over an environment.

        Args:
            env: any vector environment.
            size: D.
            hold: control steps for which a latent stays, shortest and longest.
            seed: of the latents, until `reset` is given one.
            device: of the tensors; the environment's own if left out, or CPU.
        """
        super().__init__(env, device)
        self.latent_size, self.hold = size, hold
        sizes = observation_sizes(env.single_observation_space)
        self._set_observation_sizes({name: n + size * (name in LATENT_GROUPS) for name, n in sizes.items()})
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.latents = torch.zeros(self.num_envs, size, device=self.device)
        """(N, D) that are acted on next"""
        self.remaining = torch.zeros(self.num_envs, dtype=torch.long, device=self.device)
        """(N,) control steps for which they stay"""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Begin new episodes, with new latents; those of `options={"reset_mask": ...}` alone, if given."""
        if seed is not None:
            self.generator.manual_seed(seed)
        mask, observations = self._begin(seed, options)
        self._renew(mask)
        return with_latents(observations, self.latents), {}

    def step(self, actions: Any) -> tuple[Observations, Tensor, Tensor, Tensor, dict[str, Any]]:  # noqa: ANN401
        """One control step; see the class for which latent is where."""
        transition = self.inner.step(self._actions(actions))
        played, done = self.latents, transition.terminated | transition.truncated
        self.remaining -= transition.valid.long()
        late = self.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
        fresh = ~transition.valid if late else done
        self._renew(fresh | ((self.remaining <= 0) & ~done))
        info = self._info(transition, with_latents(transition.outcome, played), done) | {"latent": played}
        observations = with_latents(transition.observations, self.latents)
        return observations, transition.reward, transition.terminated, transition.truncated, info

    def command(self, latents: Tensor, steps: int) -> Observations:
        """Play these latents (N, D) from now on, for `steps` control steps or to the end of an episode.

        Returns:
            The observations to act on next.
        """
        self.latents = latents.to(self.device).clone()
        self.remaining.fill_(steps)
        return with_latents(self.inner.observations, self.latents)

    def _renew(self, mask: Tensor) -> None:
        """New latents where `mask` (N,) says. All are drawn, so that nobody has to wait for how many they are."""
        fresh = sample_latents(self.num_envs, self.latent_size, self.generator)
        low, high = self.hold
        steps = torch.randint(low, high + 1, mask.shape, generator=self.generator, device=self.device)
        self.latents = torch.where(mask.unsqueeze(-1), fresh, self.latents)
        self.remaining = torch.where(mask, steps, self.remaining)

    def state_dict(self) -> dict[str, Tensor] | None:
        """That of the inner environment, if it has one, and ours."""
        state = super().state_dict()
        own = {"latents": self.latents, "remaining": self.remaining, "generator": self.generator.get_state()}
        return None if state is None else state | own

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore `state_dict`."""
        super().load_state_dict(state)
        self.latents = state["latents"].to(self.device).clone()
        self.remaining = state["remaining"].to(self.device).clone()
        self.generator.set_state(state["generator"].cpu())
