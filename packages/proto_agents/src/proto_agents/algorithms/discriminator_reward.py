"""Rewards from a discriminator, on top of any learner: adversarial motion priors and differential discriminators.

- AMP (Peng et al. 2021) tells what the robots do (the observation group "style") from what experts do (what the
  environment's `sample_style` draws).
- ASE (Peng et al. 2022) does so as well, and finds the latent skills in it again: see `skill_reward`.
- ADD (Zhang et al. 2025) tells how far a robot is from its reference (the group "difference") from not being away at
  all: a reward for tracking that has no weights to be found.

Either rewards what it takes for an expert's. It comes between environment and learner: rewards are mixed, everything
else passes. With `separate_critic` the learner is also told the parts of the mixture, to value each of them apart
(ProtoMotions 3): the two are seen by the critic at one scale, however different they are in size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from proto_agents import distributed
from proto_agents.environment import Transition
from proto_agents.models.discriminator import Discriminator, DiscriminatorLoss, style_reward
from proto_agents.optimizers import gradient_step, load_optimizer_state, optimizer_state

__all__ = ["GROUPS", "DiscriminatorConfig", "DiscriminatorReward", "Replay"]

GROUPS = {"amp": "style", "ase": "style", "add": "difference"}
"""observation group that each kind of discriminator reads"""


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """Settings of a reward that a discriminator gives; losses and their weights are those of AMP."""

    kind: Literal["none", "amp", "ase", "add"] = "none"
    """none: the environment's reward alone; amp, add: a discriminator's beside it, of style or of tracking; ase: one of
    style and one of latent skills, which the section `skills` is about"""
    task_weight: float = 0.5
    """of the environment's reward"""
    reward_weight: float = 0.5
    """of the discriminator's, 0 to 9.2 each step"""
    separate_critic: bool = False
    """the critic values the environment's reward and the discriminator's apart, each with a normalizer of its own, and
    their advantages are summed; false: it values the mixed reward as one"""
    trained: bool = True
    """false: the discriminator stays as it was made for the whole run and gives a random reward, to compare with. (No
    reward of a discriminator at all: `kind` none)"""
    hidden_sizes: tuple[int, ...] = (512, 256)
    """widths of the discriminator's hidden layers"""
    learning_rate: float = 1e-4
    """of its Adam"""
    minibatch_size: int = 2048
    """samples of each kind per gradient step"""
    gradient_steps: int = 8
    """per update of the learner"""
    gradient_penalty: float = 5.0
    """weight of the squared gradient, at the experts' features, or at the agent's (add: experts have but one)"""
    weight_decay: float = 1e-4
    """weight of the squared weights"""
    logit_decay: float = 1e-2
    """weight of the squared weights of the last layer"""
    replay_size: int = 20_000
    """the agent's samples that are remembered, in 16 bits; half of what the discriminator takes for the agent's"""
    replay_share: float = 0.01
    """share of new samples that are remembered"""
    poor_reward: float = 0.0
    """an episode ends as failed when the discriminator's reward stays below this (ProtoMotions 3: 0.05); 0: never. The
    environment must take `reset(options={"reset_mask": ...})`"""
    poor_steps: int = 10
    """for so many steps in a row"""

    @property
    def reward_parts(self) -> tuple[str, ...]:
        """Parts of the reward that the critic values apart; none: it is one whole."""
        if not self.separate_critic or self.kind == "none":
            return ()
        return ("task", "discriminator", "skill") if self.kind == "ase" else ("task", "discriminator")


class Replay:
    """Samples of the past, in a ring of 16-bit numbers; full, the oldest make room."""

    def __init__(self, size: int, features: int, device: torch.device) -> None:
        """Begin empty, with room for `size` samples."""
        self.samples = torch.zeros(size, features, dtype=torch.float16, device=device)
        self.added = 0

    def __len__(self) -> int:
        """How many there are."""
        return min(self.added, len(self.samples))

    def add(self, samples: Tensor) -> None:
        """Remember (n, F)."""
        samples = samples[-len(self.samples) :]
        rows = (self.added + torch.arange(len(samples), device=samples.device)) % len(self.samples)
        self.samples[rows] = samples.half()
        self.added += len(samples)

    def restore(self, samples: Tensor, added: int) -> None:
        """Hold what another one held, (n, F) in its order; of a larger one as much as there is room for."""
        self.added = added if len(samples) == min(added, len(self.samples)) else 0
        if self.added:
            self.samples[: len(samples)] = samples.to(self.samples.device)
        else:
            self.add(samples.to(self.samples.device))

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, F), with replacement."""
        rows = torch.randint(len(self), (count,), generator=generator, device=self.samples.device)
        return self.samples[rows].float()


class DiscriminatorReward:
    """The discriminator, what it is trained on, and the rewards it gives. Randomness comes from `self.generator`."""

    def __init__(
        self,
        features: int,
        sample: Callable[[int], Tensor] | None = None,
        config: DiscriminatorConfig | None = None,
        *,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        """Make a fresh discriminator.

        Args:
            features: F, size of the group that is read.
            sample: draws (count, F) of experts; ADD needs none.
            config: of losses and memory.
            seed: of the initial weights and of all random draws.
            device: of the discriminator.

        Raises:
            KeyError: for the kind "none".
            ValueError: if `sample` is missing or gives other features than the group has, or there are no gradient
                steps.
        """
        self.config = config or DiscriminatorConfig(kind="amp")
        if self.config.gradient_steps < 1:
            raise ValueError("discriminator.gradient_steps must be at least 1; without training: trained: false")
        self.group = GROUPS[self.config.kind]
        self.device = torch.device(device)
        self.generator = torch.Generator(self.device).manual_seed(distributed.rank_seed(seed))
        weights = torch.Generator().manual_seed(seed)
        self.model = self._make_model(features, weights).to(self.device)
        fused = self.device.type in ("cpu", "cuda")
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=self.config.learning_rate, fused=fused)
        self.replay = Replay(distributed.share(self.config.replay_size), self._row_size(features), self.device)
        if sample is None and self.config.kind != "add":
            raise ValueError(f"{self.config.kind.upper()} needs samples of experts: pass sample=...")
        self._sample = sample if self.config.kind != "add" else None
        self._features = features
        self._seen: list[Tensor] = []
        self._poor = torch.zeros(0, dtype=torch.long, device=self.device)
        """(N,) steps in a row with a poor reward"""
        given = tuple(self.experts(1).shape)
        if given != (1, features):
            raise ValueError(f"sample_style(1) gave {given}, want (1, {features}), as the group {self.group!r} has")

    def experts(self, count: int) -> Tensor:
        """(count, F) of what experts do; of differences, none."""
        if self._sample is None:
            return torch.zeros(count, self._features, device=self.device)
        return torch.as_tensor(self._sample(count), dtype=torch.float32, device=self.device)

    # What a subclass adds: rows of more than features, and losses that are trained on them at the same time.

    def _make_model(self, features: int, weights: torch.Generator) -> Discriminator:
        return Discriminator(features, self.config.hidden_sizes, generator=weights)

    def _row_size(self, features: int) -> int:
        return features

    def _rows(self, transition: Transition) -> Tensor:
        """What is judged of a step, (N, row size)."""
        return transition.outcome[self.group]

    def _expert_rows(self, count: int) -> Tensor:
        return self.experts(count)

    def _extra_losses(self, samples: Tensor) -> dict[str, Tensor]:
        """Weighted terms of the loss of `_step`, by the names under which they are logged."""
        del samples
        return {}

    @torch.no_grad()
    def shape(self, transition: Transition) -> tuple[Transition, Tensor | None]:
        """Reward a step, and remember its features for the next `update`.

        Returns:
            The transition with the mixed reward; and (N,) bool, episodes that end here, as failed, because the reward
            has been poor for too long, to be begun anew by the caller. None: that never happens.
        """
        rows = self._rows(transition)
        reward = style_reward(self.model(rows))
        if self.config.trained:
            self._seen.append(rows[transition.valid])
        parts = self.config.task_weight * transition.reward, self.config.reward_weight * reward
        shaped = replace(
            transition,
            reward=parts[0] + parts[1],
            reward_parts=torch.stack(parts, dim=-1) if self.config.reward_parts else None,
            metrics=transition.metrics | {"discriminator_reward": reward},
        )
        if not self.config.poor_reward:
            return shaped, None
        done = transition.terminated | transition.truncated
        if len(self._poor) != len(reward):
            self._poor = torch.zeros_like(reward, dtype=torch.long)
        self._poor = torch.where((reward < self.config.poor_reward) & ~done & transition.valid, self._poor + 1, 0)
        ended = self._poor >= self.config.poor_steps
        self._poor.masked_fill_(ended, 0)
        return replace(shaped, terminated=shaped.terminated | ended), ended

    def update(self) -> dict[str, float]:
        """Train on what was seen since the last time; returns means over the gradient steps, nothing if untrained."""
        if not self.config.trained:
            return {}
        seen = torch.cat(self._seen)
        self._seen.clear()
        config, model = self.config, self.model
        # Statistics and gradient steps share one draw: experts are dear, each a query of many moments of motion.
        count = config.gradient_steps * distributed.share(config.minibatch_size)
        rows = torch.randint(len(seen), (count,), generator=self.generator, device=self.device)
        agent, expert = seen.index_select(0, rows), self._expert_rows(len(rows))
        # Differences are scaled but not moved, so that none stays none.
        model.update_normalizer(torch.cat([agent, expert if config.kind != "add" else -agent]))
        parts = [expert, agent]
        if len(self.replay):
            parts.append(self.replay.draw(len(rows), self.generator))
        steps = torch.stack([model.normalize(part).unflatten(0, (config.gradient_steps, -1)) for part in parts], 1)
        sums: dict[str, Tensor] = {}
        for samples in steps:
            values = self._step(samples)
            sums = {name: sums.get(name, 0.0) + value.detach() for name, value in values.items()}
        kept = torch.rand(len(seen), generator=self.generator, device=self.device) < config.replay_share
        self.replay.add(seen[kept])
        return {name: float(total) / config.gradient_steps for name, total in sums.items()}

    def _step(self, samples: Tensor) -> dict[str, Tensor]:
        """One gradient step; returns the parts of the loss.

        Args:
            samples: (2 or more, B, F), normalized: of experts, of the agent, and of what else is none of an expert, as
                the agent was.
        """
        model, config = self.model, self.config
        expert, agent, *past = model.logits(samples.flatten(0, 1)).chunk(len(samples))
        loss = DiscriminatorLoss(expert, agent, torch.cat(past) if past else None)
        penalty = model.gradient_penalty(samples[1] if config.kind == "add" else samples[0])
        weights, last = model.squared_weights()
        total = loss.classification + config.gradient_penalty * penalty
        total = total + config.weight_decay * weights + config.logit_decay * last
        extra = self._extra_losses(samples)
        total = sum(extra.values(), total)
        gradient_step(self.optimizer, total, samples.shape[1])
        return {
            "discriminator/loss": loss.classification,
            "discriminator/gradient_penalty": penalty,
            "discriminator/expert_accuracy": loss.expert_accuracy,
            "discriminator/agent_accuracy": loss.agent_accuracy,
            **extra,
        }

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that the next rewards and updates depend on, as flat named tensors."""
        state = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        added = torch.tensor(self.replay.added)
        memory = {"replay/samples": self.replay.samples[: len(self.replay)], "replay/added": added, "poor": self._poor}
        return {**state, **optimizer_state(self.optimizer), **memory, "generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore `state_dict`."""
        self.model.load_state_dict({name[6:]: value for name, value in state.items() if name.startswith("model/")})
        load_optimizer_state(self.optimizer, state)
        self._poor = state["poor"].to(self.device)
        self.replay.restore(state["replay/samples"], int(state["replay/added"]))
        self.generator.set_state(state["generator"].cpu())
