"""MaskedMimic's learner: a student that sees parts of the goal imitates a teacher that sees all of it (DAgger).

The student acts, so that it meets the situations that it leads to, and the teacher says what it would have done there
(Ross et al. 2011); the labels are the teacher's mean actions. The loss is Tessler et al. 2024's:

    mean (a_student(z) - a_teacher)^2 + beta KL(q || p),   z = mu_q + sigma_q · noise

with the noise of the episode (`proto_agents.noise_env`), and beta growing linearly over a part of the run: first the
posterior learns to say what the teacher does, then the prior to guess it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import gymnasium
import torch
import tyro
from torch import Tensor

from proto_agents import distributed
from proto_agents.environment import Transition
from proto_agents.models.masked_mimic import NOISE_GROUP, MaskedMimicConfig, MaskedMimicModel, kl_divergence
from proto_agents.optimizers import gradient_step, load_optimizer_state, optimizer_state
from proto_agents.spaces import Observations

__all__ = ["Distillation", "DistillationBuffer", "DistillationConfig", "DistillationStep", "Teacher"]

Teacher = Callable[[Observations], Tensor]
"""Observations (N, size) each to what the expert would do, (N, A)"""


@dataclass(frozen=True, kw_only=True)
class DistillationConfig:
    """Settings of the learner."""

    teacher: Annotated[str, tyro.conf.arg(name="teacher", prefix_name=False)] = ""
    """run, checkpoint or pretrained/<name> of the tracker whose actions are imitated"""
    horizon: int = 16
    """steps of each environment between two updates"""
    minibatch_size: int = 2048
    """samples per gradient step (rounded so that all minibatches of an epoch are equally large)"""
    epochs: int = 2
    """passes over the rollout per update (ProtoMotions: 6)"""
    learning_rate: float = 3e-4
    """of Adam (ProtoMotions: 2e-5)"""
    anneal: float = 0.0
    """share of the run, at its end, over which the learning rate falls linearly to a twentieth"""
    kl_weights: tuple[float, float] = (1e-4, 1e-2)
    """beta at first and in the end"""
    kl_ramp: tuple[float, float] = (0.2, 0.6)
    """shares of the run at which beta begins to grow, and has grown"""
    rollout: Literal["posterior", "prior"] = "posterior"
    """whose latents the student acts by while it learns"""
    max_gradient_norm: float = 1.0
    """of all networks together"""

    def __post_init__(self) -> None:
        """Refuse a ramp that falls.

        Raises:
            ValueError: naming the field.
        """
        start, end = self.kl_ramp
        if not 0.0 <= start <= end:
            raise ValueError(f"distillation.kl_ramp must be two shares of the run, the lower first, got {self.kl_ramp}")


@dataclass(frozen=True, kw_only=True)
class DistillationStep:
    """What the student did in one step, and what the teacher would have done; all tensors have N rows."""

    action: Tensor
    """(N, A)"""
    label: Tensor
    """(N, A)"""
    normalized: Observations
    """the observations as the networks saw them, masks and noise among them"""


class DistillationBuffer:
    """Preallocated steps of N environments."""

    def __init__(self, horizon: int) -> None:
        """Storage is allocated at the first `add`."""
        self.horizon = horizon
        self.length = 0
        self.observations: Observations = {}
        self.labels: Tensor
        self.valid: Tensor

    def clear(self) -> None:
        """Makes the buffer empty; storage is kept."""
        self.length = 0

    def add(self, step: DistillationStep, transition: Transition, truncated_value: Tensor) -> None:
        """Stores one step; rewards and values do not matter here.

        Raises:
            RuntimeError: the buffer is full.
        """
        del truncated_value
        if self.length == self.horizon:
            raise RuntimeError(f"the rollout buffer is full ({self.horizon} steps); call clear() first")
        if not self.observations:
            self.observations = {name: self._like(group) for name, group in step.normalized.items()}
            self.labels, self.valid = self._like(step.label), self._like(transition.valid)
        for name, group in step.normalized.items():
            self.observations[name][self.length] = group
        self.labels[self.length] = step.label
        self.valid[self.length] = transition.valid
        self.length += 1

    def batch(self) -> tuple[Observations, Tensor]:
        """Observations and labels (B, A) of all steps, without those in which an environment only reset itself.

        Raises:
            RuntimeError: the buffer is not full.
        """
        if self.length != self.horizon:
            raise RuntimeError(f"the rollout buffer holds {self.length} of {self.horizon} steps")
        keep = self.valid.flatten()
        flat = {name: group.flatten(0, 1) for name, group in (self.observations | {"": self.labels}).items()}
        if not bool(keep.all()):
            flat = {name: group[keep] for name, group in flat.items()}
        return flat, flat.pop("")

    def _like(self, value: Tensor) -> Tensor:
        return torch.zeros(self.horizon, *value.shape, dtype=value.dtype, device=value.device)


class Distillation:
    """The learner. All randomness comes from `self.generator` and the noise that the environment shows."""

    reward_parts: tuple[str, ...] = ()

    def __init__(
        self,
        observation_space: gymnasium.Space,
        action_space: gymnasium.Space,
        config: DistillationConfig | None = None,
        model_config: MaskedMimicConfig | None = None,
        *,
        teacher: Teacher | None = None,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ) -> None:
        """Make a fresh student.

        Args:
            observation_space: of a single environment (`env.single_observation_space`).
            action_space: of a single environment.
            config: of the algorithm.
            model_config: of the networks.
            teacher: who is imitated; None for a student that only acts.
            seed: of the initial weights and of all random draws.
            device: where the networks live.
        """
        self.config = config or DistillationConfig()
        self.device = torch.device(device)
        self.teacher = teacher
        weights = torch.Generator().manual_seed(seed)
        self.model = MaskedMimicModel(observation_space, action_space, model_config, weights).to(self.device)
        self.generator = torch.Generator(self.device).manual_seed(distributed.rank_seed(seed))
        self.learning_rate = self.config.learning_rate
        self.progress = 0.0
        """share of the run that is done, told by the runner before each update"""
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=self.learning_rate, fused=self.device.type in ("cpu", "cuda")
        )

    def make_buffer(self, num_envs: int) -> DistillationBuffer:
        """A buffer for one rollout."""
        del num_envs
        return DistillationBuffer(self.config.horizon)

    @torch.no_grad()
    def act(self, observations: Observations) -> DistillationStep:
        """The student's actions, and the teacher's; the observations enter the running statistics.

        Raises:
            RuntimeError: there is no teacher.
        """
        if self.teacher is None:
            raise RuntimeError("a student without a teacher can act (model.act_deterministic), not learn")
        self.model.update_normalizers(observations)
        normalized = self.model.normalize(observations)
        latent = self.model.prior(normalized)
        if self.config.rollout == "posterior":
            latent = self.model.posterior(normalized, latent)
        action = self.model.decode(normalized, latent.drawn(normalized.get(NOISE_GROUP)))
        return DistillationStep(action=action, label=self.teacher(observations).clamp(-1.0, 1.0), normalized=normalized)

    def value(self, observations: Observations) -> Tensor:
        """Zeros (B,): nothing is valued here."""
        return next(iter(observations.values())).new_zeros(len(next(iter(observations.values()))))

    def update(self, buffer: DistillationBuffer, last_value: Tensor) -> dict[str, float]:
        """Improves the student from a full rollout; returns means over the gradient steps."""
        del last_value
        for group in self.optimizer.param_groups:
            group["lr"] = self._annealing() * self.learning_rate
        observations, labels = buffer.batch()
        sums: dict[str, Tensor] = {}
        steps = 0
        for _ in range(self.config.epochs):
            for rows in self._minibatches(len(labels)):
                picked = {name: group.index_select(0, rows) for name, group in observations.items()}
                loss, parts = self.loss(picked, labels.index_select(0, rows))
                norm = gradient_step(self.optimizer, loss, len(rows), self.config.max_gradient_norm)
                parts["policy/gradient_norm"] = norm
                steps += 1
                for name, part in parts.items():
                    sums[name] = sums[name] + part.detach() if name in sums else part.detach()
        rate = self._annealing() * self.learning_rate
        result = {name: total.item() / steps for name, total in sums.items()}
        return result | {"loss/kl_weight": self.kl_weight, "policy/learning_rate": rate}

    def loss(self, normalized: Observations, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of normalized observations (B, size) and labels (B, A), and its parts."""
        prior = self.model.prior(normalized)
        posterior = self.model.posterior(normalized, prior)
        action = self.model.decode(normalized, posterior.drawn(normalized.get(NOISE_GROUP)))
        imitation = (action - labels).square().mean()
        divergence = kl_divergence(posterior, prior).mean()
        parts = {"loss/imitation": imitation, "loss/kl": divergence}
        return imitation + self.kl_weight * divergence, parts

    @property
    def kl_weight(self) -> float:
        """Beta at this point of the run."""
        (first, last), (start, end) = self.config.kl_weights, self.config.kl_ramp
        grown = (self.progress - start) / (end - start) if end > start else float(self.progress >= start)
        return first + (last - first) * min(1.0, max(0.0, grown))

    def state_dict(self) -> dict[str, Tensor]:
        """Everything but the model that the next update depends on, as a flat dictionary of tensors."""
        return {"generator": self.generator.get_state()} | optimizer_state(self.optimizer)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores `state_dict`."""
        self.generator.set_state(state["generator"].cpu())
        load_optimizer_state(self.optimizer, state)

    def _annealing(self) -> float:
        if self.config.anneal <= 0.0:
            return 1.0
        return min(1.0, max(0.05, (1.0 - self.progress) / self.config.anneal))

    def _minibatches(self, samples: int) -> list[Tensor]:
        order = torch.randperm(samples, generator=self.generator, device=self.device)
        return list(order.tensor_split(distributed.num_minibatches(samples, self.config.minibatch_size)))
