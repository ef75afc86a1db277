"""Task Tokens: a frozen MaskedMimic policy does a task when it is told by one more token (Vainshtein et al. 2025).

A small encoder turns the task's goal into a token, which the policy's transformer attends to beside its own. PPO trains
the encoder alone: gradients flow through the frozen networks, but nothing in them changes. The other ways to adapt the
same policy are here too, to compare: low-rank additions to its weights, and fine-tuning of all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import gymnasium
import torch
from torch import Tensor, nn

from proto_agents.models.actor_critic import ActorCritic, ActorCriticConfig
from proto_agents.models.distributions import Gaussian
from proto_agents.models.low_rank import adapt
from proto_agents.models.masked_mimic import MaskedMimicModel
from proto_agents.models.mlp import mlp
from proto_agents.models.normalization import RunningNormalizer
from proto_agents.spaces import Observations, observation_sizes

__all__ = ["TaskTokenActor", "TaskTokenConfig", "TaskTokenModel"]

_TOKENS, _HIDDEN, _GOAL = "foundation_tokens", "foundation_hidden", "task_goal"
"""groups that `TaskTokenActor.prepare` adds: embedded tokens of the foundation and which are hidden, and the goal"""


@dataclass(frozen=True, kw_only=True)
class TaskTokenConfig:
    """What is adapted, and how."""

    foundation: str = ""
    """run, checkpoint or pretrained/<name> of the MaskedMimic policy"""
    adaptation: Literal["token", "lora", "finetune", "none"] = "token"
    """token: the encoder alone is trained. lora: low-rank additions to the transformer and the decoder as well.
    finetune: everything. none: there is no token, and nothing to train: the policy as it is"""
    goal: tuple[str, ...] = ("goal",)
    """groups of observations that the encoder reads; with "self" it knows the body's state too"""
    hidden_sizes: tuple[int, ...] = (256, 256)
    """of the encoder: with a goal of 3 numbers and a token of 512 these have 198,400 weights"""
    tokens: tuple[str, ...] = ("self", "terrain")
    """kinds of the policy's own tokens that it attends to; "sparse_poses" and "text" are for conditioning by hand"""
    rank: int = 4
    """of the additions, with lora"""


class TaskTokenActor(nn.Module):
    """Goals and what the foundation sees to actions."""

    def __init__(
        self,
        sizes: dict[str, int],
        foundation: MaskedMimicModel,
        config: TaskTokenConfig,
        generator: torch.Generator | None = None,
    ) -> None:
        """Freeze the foundation, but for what is adapted, and make the encoder.

        Args:
            sizes: of the environment's groups.
            foundation: the policy; it is taken over, not copied.
            config: what is adapted.
            generator: source of the initial weights (CPU).

        Raises:
            ValueError: the environment shows no such goal, or a group of the foundation is missing.
        """
        super().__init__()
        if missing := [name for name in config.goal if name not in sizes]:
            raise ValueError(f"task_tokens.goal {missing}: the environment shows {sorted(sizes)}")
        self.config = config
        self.foundation = foundation.requires_grad_(False)
        self.kinds = tuple(kind for kind in foundation.tokens if kind in config.tokens)
        if self.kinds[:1] != tuple(foundation.tokens)[:1]:
            raise ValueError(f"task_tokens.tokens must hold {next(iter(foundation.tokens))!r}, from which actions come")
        if config.adaptation == "finetune":
            foundation.requires_grad_(True)
        elif config.adaptation == "lora":
            for part in (foundation.layers, foundation.head, foundation.decoder):
                adapt(part, config.rank, generator)
        size = sum(sizes[name] for name in config.goal)
        self.normalizer = RunningNormalizer((size,), foundation.config.observation_clip)
        width = foundation.config.transformer.width
        self.encoder = mlp((size, *config.hidden_sizes, width), foundation.config.activation, 1.0, generator)
        self.encoder.requires_grad_(config.adaptation != "none")

    def update(self, observations: Observations) -> None:
        """Adds goals to the running statistics; those of the foundation stay."""
        self.normalizer.update(self._goal(observations))

    def prepare(self, observations: Observations) -> Observations:
        """What `forward` reads. The foundation's own tokens are embedded here, once, unless they are trained."""
        normalized = self.foundation.normalize(observations, self.kinds)
        result = {_GOAL: self.normalizer.normalize(self._goal(observations))}
        if self.config.adaptation == "finetune":
            return result | normalized
        with torch.no_grad():
            tokens, hidden = self.foundation.embed(normalized, self.kinds)
        result |= {_TOKENS: tokens.flatten(1)} | ({} if hidden is None else {_HIDDEN: hidden.float()})
        return result | {name: normalized[name] for name in self.foundation.decoder_inputs}

    def forward(self, prepared: Observations) -> Tensor:
        """Actions (B, A), by the mean of the prior."""
        foundation = self.foundation
        if self.config.adaptation == "finetune":
            tokens, hidden = foundation.embed(prepared, self.kinds)
        else:
            hidden = prepared[_HIDDEN] > 0.0 if _HIDDEN in prepared else None
            tokens = prepared[_TOKENS].unflatten(1, (-1, foundation.config.transformer.width))
        if self.config.adaptation != "none":
            token = self.encoder(prepared[_GOAL]).unsqueeze(1)
            tokens = torch.cat([tokens, token], dim=1)
            if hidden is not None:
                hidden = torch.cat([hidden, torch.zeros_like(hidden[:, :1])], dim=1)
        return foundation.decode(prepared, foundation.attend(tokens, hidden).mean)

    def _goal(self, observations: Observations) -> Tensor:
        return torch.cat([observations[name] for name in self.config.goal], dim=-1)


class TaskTokenModel(ActorCritic):
    """An `ActorCritic` whose policy is an adapted foundation; its value function is a fresh one, as ever.

    Its checkpoints hold the foundation as well, so that they need no other file.
    """

    def __init__(
        self,
        observation_space: gymnasium.Space,
        action_space: gymnasium.Space,
        foundation: MaskedMimicModel,
        task_config: TaskTokenConfig | None = None,
        config: ActorCriticConfig | None = None,
        generator: torch.Generator | None = None,
        reward_parts: int = 1,
    ) -> None:
        """Make what is new about the policy, and the value function.

        Args:
            observation_space: of a single environment.
            action_space: of a single environment.
            foundation: made for this environment, with its trained weights, or to be loaded with all others.
            task_config: what is adapted, and how.
            config: of the value function, and the policy's standard deviation.
            generator: source of the initial weights (CPU).
            reward_parts: as of `ActorCritic`.
        """
        actor = TaskTokenActor(
            observation_sizes(observation_space), foundation, task_config or TaskTokenConfig(), generator
        )
        super().__init__(observation_space, action_space, config, generator, reward_parts=reward_parts, actor=actor)

    @property
    def _tokens(self) -> TaskTokenActor:
        assert isinstance(self.actor, TaskTokenActor)
        return self.actor

    def update_normalizers(self, observations: Observations) -> None:
        """Adds observations to the running statistics of the goal and of the value function."""
        super().update_normalizers(observations)
        self._tokens.update(observations)

    def normalize(self, observations: Observations) -> Observations:
        """Normalized copies of the groups that the networks read."""
        return super().normalize(observations) | self._tokens.prepare(observations)

    def distribution(self, normalized: Observations) -> Gaussian:
        """Action distribution for normalized observations."""
        return Gaussian(self.actor(normalized), self.log_std)

    @torch.no_grad()
    def act_deterministic(self, observations: Observations) -> Tensor:
        """The most probable actions, (B, A)."""
        return self.actor(self._tokens.prepare(observations))
