"""Adversarial skill embeddings (ASE, Peng et al. 2022): a style of many skills, each told by a latent.

The policy is given a latent z, a point on a sphere, that stays for a while (`proto_agents.skill_env.SkillEnv`). Beside
the discriminator's reward for moving like the clips (AMP) it gets one for moving so that an encoder q finds z in the
motion again, (z.q + 1) / 2: so that different latents come to mean different motions. After training, a controller sets
latents to do tasks (`proto_agents.skill_control`).

When is which latent: an observation holds the latent that is acted on next. The reward of a step, and what encoder and
discriminator learn from it, go with the latent that the step was played with, which is `info["latent"]`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from proto_agents.algorithms.discriminator_reward import DiscriminatorConfig, DiscriminatorReward
from proto_agents.environment import Transition
from proto_agents.models.actor_critic import ActorCritic
from proto_agents.models.distributions import Distribution
from proto_agents.models.skills import (
    SkillDiscriminator,
    diversity_loss,
    encoder_loss,
    sample_latents,
    skill_reward,
    uniformity_loss,
)
from proto_agents.parsing import ConfigError
from proto_agents.spaces import Observations

__all__ = ["DiversityLoss", "SkillConfig", "SkillReward"]


@dataclass(frozen=True, kw_only=True)
class SkillConfig:
    """Latent skills: how a policy is taught them (`discriminator.kind: ase`), or which of them drive a task."""

    size: int = 64
    """numbers of a latent, a point on the unit sphere"""
    hold: tuple[int, int] = (1, 150)
    """control steps for which a latent stays, shortest and longest, drawn uniformly; episodes begin with a new one"""
    reward_weight: float = 0.5
    """of the reward for a skill that the encoder knows again, 0 to 1 each step"""
    encoder: Literal["shared", "own"] = "shared"
    """whether the encoder is a layer on the discriminator's hidden ones or has such layers for itself"""
    encoder_weight: float = 1.0
    """of the encoder's loss, beside the discriminator's"""
    uniformity_weight: float = 0.1
    """of the loss that spreads over the sphere what the encoder makes of the agent's motion, and of the experts'"""
    diversity_weight: float = 0.01
    """of the policy's loss that has it act otherwise under another latent; 0: without"""
    conditional: bool = False
    """the discriminator sees motion and latent together. Expert motion with the latent that the encoder gives it is
    right; the agent's with the latent that it was given, and expert motion with any latent of the sphere, are wrong
    (ProtoMotions 3, which drew these from the sphere's positive orthant alone). Needs `encoder: own`"""
    controller: str = ""
    """run, checkpoint or pretrained/<name> of a policy with skills: it plays them, unchanged, and what is trained
    chooses them. Empty: no such thing"""
    controller_steps: int = 5
    """control steps for which it keeps a chosen skill"""

    def __post_init__(self) -> None:
        """Refuse what makes no sense.

        Raises:
            ConfigError: naming the field.
        """
        if self.size < 2:
            raise ConfigError(f"skills.size must be at least 2, not {self.size}: a sphere has no fewer dimensions")
        if not 1 <= self.hold[0] <= self.hold[1]:
            raise ConfigError(f"skills.hold must grow from at least 1 control step, got {self.hold}")
        if self.controller_steps < 1:
            raise ConfigError(f"skills.controller_steps must be at least 1, not {self.controller_steps}")
        if self.conditional and self.encoder == "shared":
            raise ConfigError("skills.conditional needs skills.encoder: own; the other kind would be shown the latent")


class SkillReward(DiscriminatorReward):
    """The discriminator of AMP, an encoder of skills trained along with it, and the rewards of both.

    Transitions must come from a `SkillEnv`: their `info["latent"]` is read. What the discriminator keeps and draws are
    rows of features and, beside them, the latent with which they came to be.
    """

    model: SkillDiscriminator

    def __init__(
        self,
        features: int,
        sample: Callable[[int], Tensor],
        config: DiscriminatorConfig | None = None,
        skills: SkillConfig | None = None,
        *,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        """Make fresh networks; arguments as in `DiscriminatorReward`, and the settings of the skills."""
        self.skills = skills or SkillConfig()
        super().__init__(features, sample, config or DiscriminatorConfig(kind="ase"), seed=seed, device=device)

    @torch.no_grad()
    def shape(self, transition: Transition) -> tuple[Transition, Tensor | None]:
        """Reward a step as AMP does, and for the skill that it shows."""
        shaped, ended = super().shape(transition)
        known = skill_reward(transition.info["latent"], self.model.encode(transition.outcome[self.group]))
        reward, parts = self.skills.reward_weight * known, shaped.reward_parts
        shaped = replace(
            shaped,
            reward=shaped.reward + reward,
            reward_parts=None if parts is None else torch.cat([parts, reward.unsqueeze(-1)], dim=-1),
            metrics=shaped.metrics | {"skill_reward": known},
        )
        return shaped, ended

    def _make_model(self, features: int, weights: torch.Generator) -> SkillDiscriminator:
        return self.skill_model(features, self.config, self.skills, weights)

    @staticmethod
    def skill_model(
        features: int, config: DiscriminatorConfig, skills: SkillConfig, weights: torch.Generator | None = None
    ) -> SkillDiscriminator:
        """The networks that these settings describe, for features of this size; fresh ones."""
        own = config.hidden_sizes if skills.encoder == "own" else None
        return SkillDiscriminator(
            features, skills.size, config.hidden_sizes, own, skills.conditional, generator=weights
        )

    def _row_size(self, features: int) -> int:
        return features + self.skills.size

    def _rows(self, transition: Transition) -> Tensor:
        return torch.cat([transition.outcome[self.group], transition.info["latent"]], dim=-1)

    def _expert_rows(self, count: int) -> Tensor:
        """Experts, each with any latent: theirs are for the encoder to say, in `_step`."""
        return torch.cat([self.experts(count), sample_latents(count, self.skills.size, self.generator)], dim=-1)

    def _step(self, samples: Tensor) -> dict[str, Tensor]:
        """One gradient step; samples as in `DiscriminatorReward`, (2 or 3, B, F + D)."""
        if self.skills.conditional:
            experts = samples[:1]
            with torch.no_grad():
                matched = torch.cat([experts[..., : self.model.size], self.model.encoded(experts)], dim=-1)
            samples = torch.cat([matched, samples[1:], experts])
        return super()._step(samples)

    def _extra_losses(self, samples: Tensor) -> dict[str, Tensor]:
        """Of the encoder: to find the agent's latents, and to tell motions apart."""
        skills, latents = self.skills, samples[1, :, self.model.size :]
        experts, agent = self.model.encoded(samples[:2])
        spread = 0.5 * (uniformity_loss(agent) + uniformity_loss(experts))
        return {
            "skills/encoder_loss": skills.encoder_weight * encoder_loss(latents, agent),
            "skills/uniformity_loss": skills.uniformity_weight * spread,
        }


@dataclass(frozen=True)
class DiversityLoss:
    """The policy's loss of diversity, an `AuxiliaryLoss` of PPO: fresh latents in the same situations.

    Latents are the last numbers of the group "policy", as `SkillEnv` shows them. There they are normalized by running
    statistics, which makes of a point on the sphere one with numbers of unit variance: sqrt(D) z, but for small errors
    of the statistics. So z is read from its direction, and the fresh one is shown as sqrt(D) z'.
    """

    skills: SkillConfig

    def __call__(
        self, model: ActorCritic, observations: Observations, distribution: Distribution, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """The weighted loss of one minibatch.

        Raises:
            ValueError: for discrete actions, which have no mean.
        """
        if model.discrete:
            raise ValueError("skills.diversity_weight must be 0 where actions are discrete: they have no mean")
        size, shown = self.skills.size, observations["policy"]
        other = sample_latents(len(shown), size, generator)
        elsewhere = torch.cat([shown[:, :-size], size**0.5 * other], dim=-1)
        other_mean = model.distribution({"policy": elsewhere}).parameters
        latents = F.normalize(shown[:, -size:], dim=-1)
        loss = diversity_loss(distribution.parameters, other_mean, latents, other)
        return {"loss/diversity": self.skills.diversity_weight * loss}
