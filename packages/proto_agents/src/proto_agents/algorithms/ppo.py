"""Proximal policy optimization (Schulman et al. 2017) with a learning rate that follows the KL divergence.

Details that matter, and where they are from:
- The KL divergence is the exact one between the old and the new distribution of each sample, so the rollout keeps the
  old distribution's parameters (for a Gaussian the means; its standard deviation is one vector for all samples).
- `kl_target` is per update and grows with the number of action dimensions: 0.1 suits 28 dimensions with std 0.1.
- A minibatch whose KL exceeds `kl_stop` ends the update before its gradient step.
- Observations are normalized once, when acting; the update trains on the stored result, so the first minibatch's
  probability ratio is exactly one although the running statistics have moved on since.
- Returns are normalized by running statistics; the value network works in those units (ProtoMotions v1, rl_games).
- A reward that comes in parts may be valued part by part: the value network then has an output and a normalizer for
  each part, and the advantages of the parts are summed before they are normalized (ProtoMotions 3).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import gymnasium
import torch
from torch import Tensor

from proto_agents import distributed
from proto_agents.models.actor_critic import ActorCritic, ActorCriticConfig
from proto_agents.models.distributions import Distribution
from proto_agents.models.precision import Precision, mixed_precision
from proto_agents.models.symmetry import Symmetry
from proto_agents.models.transformer import ObservationTokens
from proto_agents.optimizers import gradient_step, load_optimizer_state, optimizer_state
from proto_agents.rollout import Batch, PolicyStep, RolloutBuffer
from proto_agents.spaces import Observations

__all__ = ["PPO", "AuxiliaryLoss", "PPOConfig"]

AuxiliaryLoss = Callable[[ActorCritic, Observations, Distribution, torch.Generator], dict[str, Tensor]]
"""From model, normalized observations (M, size) each of a minibatch, the policy's distribution there and a source of
randomness: weighted scalars to be added to the loss, by the names under which they are logged."""


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """Settings of PPO; the defaults are those with which a 28-dof humanoid learns to walk on two CPU cores."""

    kind: Literal["ppo"] = "ppo"
    """which algorithm this is"""
    horizon: int = 16
    """steps of each environment between two updates"""
    minibatch_size: int = 2048
    """samples per gradient step (rounded so that all minibatches of an epoch are equally large)"""
    epochs: int = 5
    """passes over the rollout per update"""
    learning_rate: float = 3e-4
    """of Adam; the initial one where the schedule is adaptive"""
    critic_learning_rate: float | None = None
    """fixed learning rate of the value network; None: the same as the policy's"""
    schedule: Literal["adaptive", "fixed"] = "adaptive"
    """adaptive: the learning rate is divided by `kl_factor` when the last epoch's KL exceeds 2 kl_target, and
    multiplied by it below kl_target / 2"""
    kl_target: float = 0.1
    """nats per update; about 0.0036 per action dimension at std 0.1"""
    kl_factor: float = 1.5
    """step of the adaptive schedule"""
    kl_stop: float | None = 0.3
    """nats; a minibatch beyond it ends the update. None: never"""
    min_learning_rate: float = 1e-5
    """lower bound of the adaptive schedule"""
    max_learning_rate: float = 1e-2
    """upper bound of the adaptive schedule"""
    anneal: float = 0.0
    """share of the run, at its end, over which the learning rate falls linearly to a twentieth (and `kl_target` with
    its square): large steps leave the policy's mean noisy, small ones settle it"""
    clip: float = 0.2
    """bound of |probability ratio - 1|"""
    gamma: float = 0.97
    """discount per step"""
    gae_lambda: float = 0.95
    """lambda of generalized advantage estimation"""
    value_clip: float | None = None
    """bound of the change of a value per update, in units of the value normalizer; None: unbounded"""
    entropy_coefficient: float = 0.0
    """weight of the entropy bonus"""
    value_coefficient: float = 1.0
    """weight of the value loss (half the mean squared error; of parts of a reward the sum)"""
    bounds_coefficient: float = 0.0
    """weight of the penalty on policy means beyond +-1 (ProtoMotions v1: 10)"""
    max_gradient_norm: float = 1.0
    """of policy and value network together"""
    normalize_advantages: bool = True
    """zero mean and unit variance over the rollout"""
    normalize_values: bool = True
    """whether the value network works in units of running return statistics"""
    precision: Precision = "float32"
    """of the hidden layers while learning; an update in bfloat16 is two to three times as fast on hardware that has it,
    and auto takes it there"""


class PPO:
    """The learner: acts, and improves its `model` from rollouts. All randomness comes from `self.generator`."""

    def __init__(
        self,
        observation_space: gymnasium.Space,
        action_space: gymnasium.Space,
        config: PPOConfig | None = None,
        model_config: ActorCriticConfig | None = None,
        *,
        seed: int = 0,
        device: str | torch.device = "cpu",
        symmetry: Symmetry | None = None,
        reward_parts: Sequence[str] = (),
        auxiliary_loss: AuxiliaryLoss | None = None,
        tokens: ObservationTokens | None = None,
        model: ActorCritic | None = None,
    ) -> None:
        """Make a fresh learner.

        Args:
            observation_space: of a single environment (`env.single_observation_space`).
            action_space: of a single environment.
            config: of the algorithm.
            model_config: of the networks.
            seed: of the initial weights and of all random draws.
            device: where the networks live.
            symmetry: of the environment, where the networks are to be symmetric.
            reward_parts: names of the parts of the reward that are valued apart, in the order of
                `Transition.reward_parts`; none: the reward is one whole.
            auxiliary_loss: what the networks are to learn besides, such as the diversity of skills.
            tokens: how the environment's observation splits into tokens, where the policy is a transformer.
            model: networks made elsewhere; `model_config`, `symmetry` and `tokens` are not looked at then.
        """
        self.config = config or PPOConfig()
        self.device = torch.device(device)
        self.auxiliary_loss = auxiliary_loss
        weights = torch.Generator().manual_seed(seed)
        self.reward_parts = tuple(reward_parts)
        parts = max(1, len(self.reward_parts))
        if model is None:
            model = ActorCritic(observation_space, action_space, model_config, weights, symmetry, parts, tokens)
        self.model = model.to(self.device)
        self.mixed = mixed_precision(self.config.precision, self.device)
        self.generator = torch.Generator(self.device).manual_seed(distributed.rank_seed(seed))
        self.learning_rate = self.config.learning_rate
        self.progress = 0.0
        """share of the run that is done, told by the runner before each update"""
        actor = [p for name, p in self.model.named_parameters() if p.requires_grad and not name.startswith("critic.")]
        self.optimizer = torch.optim.Adam(
            [{"params": actor}, {"params": list(self.model.critic.parameters())}],
            lr=self.learning_rate,
            fused=self.device.type in ("cpu", "cuda"),
        )

    def make_buffer(self, num_envs: int) -> RolloutBuffer:
        """A buffer for one rollout."""
        return RolloutBuffer(self.config.horizon, num_envs, self.device, max(1, len(self.reward_parts)))

    @torch.no_grad()
    def act(self, observations: Observations) -> PolicyStep:
        """Draws actions for a training step; the observations enter the running statistics."""
        self.model.update_normalizers(observations)
        normalized = self.model.normalize(observations)
        with self.mixed:  # as in the update, so that the first ratio is one
            distribution = self.model.distribution(normalized)
            value = self.model.normalized_value(normalized)
        action = distribution.sample(self.generator)
        return PolicyStep(
            action=action,
            log_prob=distribution.log_prob(action),
            value=self.model.value_normalizer.denormalize(value),
            parameters=distribution.parameters,
            normalized=normalized,
        )

    @torch.no_grad()
    def value(self, observations: Observations) -> Tensor:
        """Value in units of reward, (B,), or (B, K) of K parts."""
        with self.mixed:
            return self.model.value(observations)

    def update(self, buffer: RolloutBuffer, last_value: Tensor) -> dict[str, float]:
        """Improves the model from a full rollout.

        Args:
            buffer: the experience, full.
            last_value: (N,) or (N, K), `value` of the observations after the last step.

        Returns:
            Means over the gradient steps, under names such as "loss/policy", "policy/kl", "policy/learning_rate".
        """
        self._apply_learning_rate()
        batch = buffer.batch(last_value, self.config.gamma, self.config.gae_lambda)
        if self.config.normalize_values:
            self.model.value_normalizer.update(batch.returns)
        normalizer = self.model.value_normalizer
        old_value, target = normalizer.normalize(batch.value), normalizer.normalize(batch.returns)
        advantage = batch.advantage
        if self.config.normalize_advantages:
            mean, std = distributed.mean_and_std(advantage)
            advantage = (advantage - mean) / (std + 1e-8)

        old_std = self.model.std
        sums: dict[str, Tensor] = {}
        epoch_kl: list[Tensor] = []
        steps, stopped = 0, False
        for _ in range(self.config.epochs):
            epoch_kl = []
            for rows in self._minibatches(advantage.shape[0]):
                loss, parts = self._loss(batch, rows, advantage, old_value, target, old_std)
                epoch_kl.append(distributed.mean(parts["policy/kl"], len(rows)))
                stopped = self.config.kl_stop is not None and float(epoch_kl[-1]) > self.config.kl_stop
                if stopped:
                    break
                norm = gradient_step(self.optimizer, loss, len(rows), self.config.max_gradient_norm)
                steps += 1
                for name, part in (parts | {"policy/gradient_norm": norm}).items():
                    sums[name] = sums[name] + part.detach() if name in sums else part.detach()
            if stopped:
                break
        final_kl = sum(torch.stack(epoch_kl).tolist()) / len(epoch_kl)
        result = {name: total.item() / max(steps, 1) for name, total in sums.items()}
        result |= {
            "policy/kl": final_kl,
            "policy/learning_rate": self._annealing() * self.learning_rate,
            "policy/gradient_steps": steps,
        }
        result |= self._explained_variances(batch)
        if old_std is not None:
            result["policy/std"] = old_std.mean().item()
        self._schedule(final_kl)
        return result

    def state_dict(self) -> dict[str, Tensor]:
        """Everything but the model that the next update depends on, as a flat dictionary of tensors."""
        state = {
            "generator": self.generator.get_state(),
            "learning_rate": torch.tensor(self.learning_rate, dtype=torch.float64),
        }
        return state | optimizer_state(self.optimizer)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores `state_dict`."""
        self.generator.set_state(state["generator"].cpu())
        self.learning_rate = float(state["learning_rate"])
        load_optimizer_state(self.optimizer, state)
        self._apply_learning_rate()

    def _minibatches(self, samples: int) -> list[Tensor]:
        """Rows of each minibatch of an epoch, in a fresh random order."""
        order = torch.randperm(samples, generator=self.generator, device=self.device)
        return list(order.tensor_split(distributed.num_minibatches(samples, self.config.minibatch_size)))

    def _loss(
        self,
        batch: Batch,
        rows: Tensor,
        advantage: Tensor,
        old_value: Tensor,
        target: Tensor,
        old_std: Tensor | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of one minibatch and its parts. rows: (M,) long; the other tensors have B rows."""
        config = self.config
        observations = {name: group.index_select(0, rows) for name, group in batch.observations.items()}
        with self.mixed:
            distribution = self.model.distribution(observations)
            value = self.model.normalized_value(observations)
        minibatch_advantage, minibatch_target = advantage.index_select(0, rows), target.index_select(0, rows)

        log_prob = distribution.log_prob(batch.action.index_select(0, rows))
        ratio = (log_prob - batch.log_prob.index_select(0, rows)).exp()
        bounded = ratio.clamp(1.0 - config.clip, 1.0 + config.clip)
        policy_loss = -torch.minimum(ratio * minibatch_advantage, bounded * minibatch_advantage).mean()
        value_error = (value - minibatch_target).square()
        if config.value_clip is not None:
            old = old_value.index_select(0, rows)
            clipped = old + (value - old).clamp(-config.value_clip, config.value_clip)
            value_error = torch.maximum(value_error, (clipped - minibatch_target).square())
        value_losses = 0.5 * value_error.mean(dim=0)
        value_loss = value_losses.sum()
        loss = policy_loss + config.value_coefficient * value_loss

        entropy = distribution.entropy().mean()
        if config.entropy_coefficient:
            loss = loss - config.entropy_coefficient * entropy
        parts = {"loss/policy": policy_loss, "loss/value": value_loss, "policy/entropy": entropy}
        if len(self.reward_parts) > 1:
            parts |= {f"loss/value_{name}": part for name, part in zip(self.reward_parts, value_losses, strict=True)}
        if config.bounds_coefficient and not self.model.discrete:
            excess = (distribution.parameters.abs() - 1.0).clamp(min=0.0)
            parts["loss/bounds"] = excess.square().sum(dim=-1).mean()
            loss = loss + config.bounds_coefficient * parts["loss/bounds"]
        if self.auxiliary_loss is not None:
            with self.mixed:
                extra = self.auxiliary_loss(self.model, observations, distribution, self.generator)
            loss, parts = loss + torch.stack(list(extra.values())).sum(), parts | extra
        with torch.no_grad():
            parts["policy/kl"] = distribution.kl_from(batch.parameters.index_select(0, rows), old_std).mean()
            parts["policy/clip_fraction"] = ((ratio - 1.0).abs() > config.clip).float().mean()
        return loss, parts

    def _explained_variances(self, batch: Batch) -> dict[str, float]:
        """How much of the returns' variance the values knew, for the whole reward and, where it has any, its parts."""
        columns = {"": (batch.returns, batch.value)}
        if len(self.reward_parts) > 1:
            columns = {"": (batch.returns.sum(-1), batch.value.sum(-1))}
            for part, name in enumerate(self.reward_parts):
                columns[f"_{name}"] = batch.returns[:, part], batch.value[:, part]
        result = {}
        for suffix, (returns, value) in columns.items():
            spread = returns.var(correction=0).clamp(min=1e-8)
            unknown = (returns - value).var(correction=0) / spread
            result[f"value/explained_variance{suffix}"] = (1.0 - unknown).item()
        return result

    def _schedule(self, kl: float) -> None:
        if self.config.schedule == "fixed":
            return
        target = self.config.kl_target * self._annealing() ** 2  # the KL grows with the square of the step
        if kl > 2.0 * target:
            self.learning_rate = max(self.learning_rate / self.config.kl_factor, self.config.min_learning_rate)
        elif kl < 0.5 * target:
            self.learning_rate = min(self.learning_rate * self.config.kl_factor, self.config.max_learning_rate)
        self._apply_learning_rate()

    def _annealing(self) -> float:
        """Factor of the learning rate at this point of the run, in [0.05, 1]."""
        if self.config.anneal <= 0.0:
            return 1.0
        return min(1.0, max(0.05, (1.0 - self.progress) / self.config.anneal))

    def _apply_learning_rate(self) -> None:
        actor, critic = self.optimizer.param_groups
        factor, fixed = self._annealing(), self.config.critic_learning_rate
        actor["lr"] = factor * self.learning_rate
        critic["lr"] = factor * (self.learning_rate if fixed is None else fixed)
