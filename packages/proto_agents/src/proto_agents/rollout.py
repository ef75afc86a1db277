"""The experience between two updates, and generalized advantage estimation.

A reward may come in K parts whose sum it is, such as that of a task and that of a style, and the critic may value each
part for itself. Rewards, values and returns then have a last dimension K, and a sample's advantage is the sum of those
of the parts, before any normalization. Weights of parts need no place here: a part's weight is in its reward, so in its
value, so in its advantage, A = sum_k w_k A_k (ProtoMotions 3).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from proto_agents.environment import Transition
from proto_agents.spaces import Observations

__all__ = ["Batch", "PolicyStep", "RolloutBuffer", "generalized_advantages"]


@dataclass(frozen=True, kw_only=True)
class PolicyStep:
    """What a learner did with the observations of one step; all tensors have N rows."""

    action: Tensor
    """(N, A) float or (N,) long"""
    log_prob: Tensor
    """(N,)"""
    value: Tensor
    """(N,) or (N, K) in units of reward"""
    parameters: Tensor
    """(N, P) of the action distribution, for the KL divergence"""
    normalized: Observations
    """the observations as the networks saw them"""


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A rollout flattened to B samples, without the masked ones."""

    observations: Observations
    """(B, size) each, normalized"""
    action: Tensor
    """(B, A) float or (B,) long"""
    log_prob: Tensor
    """(B,)"""
    parameters: Tensor
    """(B, P)"""
    value: Tensor
    """(B,) or (B, K) in units of reward"""
    advantage: Tensor
    """(B,) of all parts of the reward together"""
    returns: Tensor
    """(B,) or (B, K) advantage + value: the target of the value function"""


def generalized_advantages(
    rewards: Tensor,
    values: Tensor,
    next_values: Tensor,
    terminated: Tensor,
    done: Tensor,
    gamma: float,
    lam: float,
) -> Tensor:
    """Generalized advantage estimation (Schulman et al. 2016, eq. 16), over rollouts that contain episode ends.

    Args:
        rewards: (T, N), or (T, N, K) for K parts of a reward, each of which is estimated for itself.
        values: like rewards, V of the observation that was acted on.
        next_values: like rewards, V of the observation that followed, before any reset (at a truncation V(final_obs)).
        terminated: (T, N) bool, failure: the next value counts as 0.
        done: (T, N) bool, terminated or truncated: nothing flows back over this border.
        gamma: discount.
        lam: lambda.

    Returns:
        Advantages, like rewards.
    """
    if rewards.dim() > terminated.dim():
        terminated, done = terminated.unsqueeze(-1), done.unsqueeze(-1)
    delta = rewards + gamma * next_values * (~terminated).float() - values
    decay = gamma * lam * (~done).float()
    advantages = torch.empty_like(delta)
    running = torch.zeros_like(delta[0])
    for t in range(delta.shape[0] - 1, -1, -1):
        running = delta[t] + decay[t] * running
        advantages[t] = running
    return advantages


class RolloutBuffer:
    """Preallocated experience of `horizon` steps of N environments; filled in order, then read with `batch`."""

    def __init__(self, horizon: int, num_envs: int, device: torch.device, reward_parts: int = 1) -> None:
        """Storage of the observations and actions is allocated at the first `add`, from their shapes.

        Args:
            horizon: steps.
            num_envs: N.
            device: of all tensors.
            reward_parts: K, summands of the reward that are valued apart; 1: the reward is one whole, without a
                dimension of its own.
        """
        self.horizon = horizon
        self.num_envs = num_envs
        self.device = device
        self.reward_parts = reward_parts
        self.length = 0

        def column(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(horizon, num_envs, *shape, dtype=dtype, device=device)

        parts = (reward_parts,) if reward_parts > 1 else ()
        self.value, self.reward, self.next_value = column(*parts), column(*parts), column(*parts)
        self.log_prob = column()
        self.terminated, self.truncated, self.valid = (column(dtype=torch.bool) for _ in range(3))
        self.observations: Observations = {}
        self.action: Tensor
        self.parameters: Tensor

    def clear(self) -> None:
        """Makes the buffer empty; storage is kept."""
        self.length = 0

    def add(self, step: PolicyStep, transition: Transition, truncated_value: Tensor) -> None:
        """Stores one step of all environments.

        Args:
            step: what the policy did.
            transition: what came of it.
            truncated_value: one row for each of `transition.truncated_observations`, its V.

        Raises:
            RuntimeError: the buffer is full, or the reward lacks the parts that are valued apart.
        """
        reward = transition.reward if self.reward_parts == 1 else transition.reward_parts
        if reward is None:
            raise RuntimeError(f"the critic values {self.reward_parts} parts of a reward that is one whole")
        if self.length == self.horizon:
            raise RuntimeError(f"the rollout buffer is full ({self.horizon} steps); call clear() first")
        if not self.observations:
            self._allocate(step)
        t = self.length
        for name, group in step.normalized.items():
            self.observations[name][t] = group
        self.action[t] = step.action
        self.parameters[t] = step.parameters
        self.log_prob[t] = step.log_prob
        self.value[t] = step.value
        if t > 0:  # what follows step t-1 is the state acted on now, unless an episode ended there (set below)
            ended = self._like_reward(self.truncated[t - 1] | self.terminated[t - 1])
            self.next_value[t - 1] = torch.where(ended, self.next_value[t - 1], step.value)
        self.next_value[t] = 0.0
        self.next_value[t, transition.truncated_rows] = truncated_value
        self.reward[t] = reward
        self.terminated[t] = transition.terminated
        self.truncated[t] = transition.truncated
        self.valid[t] = transition.valid
        self.length += 1

    def batch(self, last_value: Tensor, gamma: float, lam: float) -> Batch:
        """Computes advantages and flattens. last_value: (N,) or (N, K), V of the observations after the last step.

        Steps in which a NEXT_STEP environment only reset itself are left out. They follow a `done`, so nothing of them
        reaches the advantages of other steps.
        """
        if self.length != self.horizon:
            raise RuntimeError(f"the rollout buffer holds {self.length} of {self.horizon} steps")
        done = self.terminated | self.truncated
        self.next_value[-1] = torch.where(self._like_reward(done[-1]), self.next_value[-1], last_value)
        advantage = generalized_advantages(self.reward, self.value, self.next_value, self.terminated, done, gamma, lam)
        returns = advantage + self.value
        keep = None if bool(self.valid.all()) else self.valid.reshape(-1).nonzero().squeeze(-1)

        def flat(value: Tensor) -> Tensor:
            rows = value.reshape(-1, *value.shape[2:])
            return rows if keep is None else rows[keep]

        return Batch(
            observations={name: flat(group) for name, group in self.observations.items()},
            action=flat(self.action),
            log_prob=flat(self.log_prob),
            parameters=flat(self.parameters),
            value=flat(self.value),
            advantage=flat(advantage if self.reward_parts == 1 else advantage.sum(-1)),
            returns=flat(returns),
        )

    def _like_reward(self, mask: Tensor) -> Tensor:
        """A mask (N,) that goes with rewards of one step."""
        return mask if self.reward_parts == 1 else mask.unsqueeze(-1)

    def _allocate(self, step: PolicyStep) -> None:
        def like(value: Tensor) -> Tensor:
            return torch.zeros(self.horizon, *value.shape, dtype=value.dtype, device=self.device)

        self.observations = {name: like(group) for name, group in step.normalized.items()}
        self.action = like(step.action)
        self.parameters = like(step.parameters)
