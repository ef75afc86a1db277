"""A policy and a value function with their own networks and running normalizers."""

from dataclasses import dataclass, field
from typing import Literal

import gymnasium
import torch
from torch import Tensor, nn

from proto_agents.models.distributions import Categorical, Distribution, Gaussian
from proto_agents.models.mlp import Activation, mlp
from proto_agents.models.normalization import RunningNormalizer
from proto_agents.models.symmetry import Mirror, Symmetry
from proto_agents.models.transformer import ObservationTokens, TransformerConfig, TransformerPolicy
from proto_agents.spaces import Observations, observation_sizes

__all__ = ["ActorCritic", "ActorCriticConfig"]


@dataclass(frozen=True, kw_only=True)
class ActorCriticConfig:
    """Sizes and initial values of the networks."""

    kind: Literal["mlp", "transformer", "masked_mimic", "task_tokens"] = "mlp"
    """what the policy is. mlp: a multi-layer perceptron, as the value function always is. transformer: over tokens, of
    which the environment must say how its observation splits into them (`proto_agents.models.transformer`).
    masked_mimic: a variational autoencoder (`proto_agents.models.masked_mimic`), which learns from a teacher.
    task_tokens: such a policy adapted to a task (`proto_agents.models.task_tokens`)"""
    hidden_sizes: tuple[int, ...] = (256, 256)
    """widths of the policy's hidden layers; of a transformer, those between its encoder and the action"""
    critic_hidden_sizes: tuple[int, ...] = (256, 256)
    """widths of the value function's hidden layers"""
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    """sizes of the encoder, where `kind` is transformer"""
    activation: Activation = "elu"
    """between the layers of both networks"""
    std: float = 0.1
    """initial standard deviation of each action dimension, in units of the action"""
    learn_std: bool = False
    """whether the standard deviation is trained; if not, it stays at `std`"""
    hidden_gain: float = 2.0**0.5
    """gain of the hidden layers' orthogonal initialisation; 3**-0.5 is the size of torch's default weights"""
    output_gain: float = 0.01
    """gain of the policy's last layer: a fresh policy acts close to zero"""
    observation_clip: float = 5.0
    """normalized observations are clipped to this magnitude"""
    symmetric: bool = False
    """treat a situation and its mirror image alike; the environment must say what its mirror image is (see
    `proto_agents.models.symmetry`). Learns from about a third fewer samples, at twice the cost of the networks"""


class ActorCritic(nn.Module):
    """Separate policy and value networks for one environment.

    Observations are dictionaries of groups (see `proto_agents.spaces`): the policy reads "policy", the value function
    "critic" where the environment has it, otherwise "policy" too, and then both share one normalizer. Methods that say
    "normalized" want the output of `normalize`: a learner normalizes once and trains on the result many times.
    """

    def __init__(
        self,
        observation_space: gymnasium.Space,
        action_space: gymnasium.Space,
        config: ActorCriticConfig | None = None,
        generator: torch.Generator | None = None,
        symmetry: Symmetry | None = None,
        reward_parts: int = 1,
        tokens: ObservationTokens | None = None,
        actor: nn.Module | None = None,
    ) -> None:
        """Make the networks.

        Args:
            observation_space: of a single environment.
            action_space: of a single environment.
            config: sizes and initial values.
            generator: source of the initial weights (CPU).
            symmetry: what the environment says of its mirror image; only read where the model is symmetric, and not
                needed where weights will be loaded.
            reward_parts: K, summands of the reward that are valued apart, each in units of its own normalizer.
            tokens: how the environment's observation splits into tokens; only read where the policy is a transformer.
            actor: a policy network made elsewhere, for subclasses that know what to feed it.
        """
        super().__init__()
        self.config = config or ActorCriticConfig()
        sizes = observation_sizes(observation_space)
        self.critic_group = "critic" if "critic" in sizes else "policy"
        self.groups = tuple(dict.fromkeys(("policy", self.critic_group)))
        self.normalizers = nn.ModuleDict(
            {group: RunningNormalizer((sizes[group],), self.config.observation_clip) for group in self.groups}
        )
        self.value_normalizer = RunningNormalizer((reward_parts,) if reward_parts > 1 else (), clip=None)
        self.discrete = isinstance(action_space, gymnasium.spaces.Discrete)
        if isinstance(action_space, gymnasium.spaces.Discrete):
            outputs = int(action_space.n)
        elif isinstance(action_space, gymnasium.spaces.Box):
            outputs = int(torch.Size(action_space.shape).numel())
        else:
            raise TypeError(f"the action space must be Box or Discrete, not {action_space}")
        self.action_size = outputs
        self.actor = self._make_actor(sizes["policy"], outputs, tokens, generator) if actor is None else actor
        # One network with K outputs, not K networks: what tells good situations from bad is much the same for all parts
        # (Burda et al. 2018 do so as well), the normalizer puts all outputs on one scale, and it costs as much as one.
        self.critic = mlp(
            (sizes[self.critic_group], *self.config.critic_hidden_sizes, reward_parts),
            self.config.activation,
            1.0,
            generator,
            self.config.hidden_gain,
        )
        if not self.discrete:
            if self.config.std <= 0.0:
                raise ValueError(f"std must be positive, not {self.config.std}")
            log_std = torch.full((outputs,), self.config.std).log()
            self.log_std = nn.Parameter(log_std, requires_grad=self.config.learn_std)
        self.mirrors = nn.ModuleDict()
        if self.config.symmetric:
            self._make_mirrors({group: sizes[group] for group in self.groups} | {"action": outputs}, symmetry)

    def _make_actor(
        self, size: int, outputs: int, tokens: ObservationTokens | None, generator: torch.Generator | None
    ) -> nn.Module:
        config = self.config
        gain, hidden_gain = config.output_gain, config.hidden_gain
        if config.kind == "mlp":
            return mlp((size, *config.hidden_sizes, outputs), config.activation, gain, generator, hidden_gain)
        if tokens is None:
            raise ValueError("a transformer must be told how the observation splits: it needs observation tokens")
        return TransformerPolicy(
            tokens,
            size,
            outputs,
            config.transformer,
            hidden_sizes=config.hidden_sizes,
            activation=config.activation,
            output_gain=gain,
            hidden_gain=hidden_gain,
            generator=generator,
        )

    def _make_mirrors(self, sizes: dict[str, int], symmetry: Symmetry | None) -> None:
        if self.discrete:
            raise ValueError("a symmetric model needs Box actions: a discrete one has no sign to turn around")
        for name, size in sizes.items():
            self.mirrors[name] = mirror = Mirror(size)
            if symmetry is None:
                continue
            if name not in symmetry:
                raise ValueError(f"the environment's symmetry lacks {name!r}; it has {sorted(symmetry)}")
            mirror.set(name, *symmetry[name])

    @property
    def std(self) -> Tensor | None:
        """A copy of the standard deviations, (A,); None for discrete actions."""
        return None if self.discrete else self._log_std().detach().exp()

    def update_normalizers(self, observations: Observations) -> None:
        """Adds observations to the running statistics."""
        for group in self.groups:
            seen = observations[group]
            self._normalizer(group).update(torch.cat([seen, self.mirrors[group](seen)]) if self.mirrors else seen)

    def normalize(self, observations: Observations) -> Observations:
        """Normalized copies of the groups that the networks read."""
        return {group: self._normalizer(group).normalize(observations[group]) for group in self.groups}

    def distribution(self, normalized: Observations) -> Distribution:
        """Action distribution for normalized observations, (B, size) each."""
        output = self._both_sides(self.actor, normalized, "policy", "action")
        return Categorical(output) if self.discrete else Gaussian(output, self._log_std())

    def normalized_value(self, normalized: Observations) -> Tensor:
        """Value in units of the value normalizer, for normalized observations. Returns (B,), or (B, K) of K parts."""
        return self._both_sides(self.critic, normalized, self.critic_group).squeeze(-1)

    def _both_sides(self, network: nn.Module, normalized: Observations, group: str, output: str = "") -> Tensor:
        """What a network says of the situation, or the mean of that and of what it says of the mirror image."""
        observation = normalized[group]
        if not self.mirrors:
            return network(observation)
        here, there = network(torch.cat([observation, self.mirrors[group](observation)])).chunk(2)
        return 0.5 * (here + (self.mirrors[output](there) if output else there))

    def _log_std(self) -> Tensor:
        if not self.mirrors:
            return self.log_std
        mirror = self.mirrors["action"]
        assert isinstance(mirror, Mirror)
        return 0.5 * (self.log_std + self.log_std[mirror.indices])

    def value(self, observations: Observations) -> Tensor:
        """Value in units of reward. Returns (B,), or (B, K) of K parts."""
        return self.value_normalizer.denormalize(self.normalized_value(self.normalize(observations)))

    @torch.no_grad()
    def act(self, observations: Observations, generator: torch.Generator) -> Tensor:
        """Draws actions: (B, A) float or (B,) long. Box actions are not clamped, that is the environment's part."""
        return self.distribution(self.normalize(observations)).sample(generator)

    @torch.no_grad()
    def act_deterministic(self, observations: Observations) -> Tensor:
        """The most probable actions: (B, A) float or (B,) long."""
        normalized = self._normalizer("policy").normalize(observations["policy"])
        return self.distribution({"policy": normalized}).mode()

    def evaluate(self, observations: Observations, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probability of the actions, entropy, and value in units of reward, (B,) each; value (B, K) of K parts."""
        normalized = self.normalize(observations)
        distribution = self.distribution(normalized)
        value = self.value_normalizer.denormalize(self.normalized_value(normalized))
        return distribution.log_prob(action), distribution.entropy(), value

    def _normalizer(self, group: str) -> RunningNormalizer:
        normalizer = self.normalizers[group]
        assert isinstance(normalizer, RunningNormalizer)
        return normalizer
