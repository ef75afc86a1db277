"""MaskedMimic's networks: a conditional variational autoencoder with a learned prior (Tessler et al. 2024).

    prior       p(z | what is asked for) = N(mu_p, var_p)            a transformer over tokens
    posterior   q(z | the whole reference) = N(mu_p + mu_e, var_e)   a perceptron that adds to the prior's mean
    decoder     action = D(z, the body's state)                      a perceptron

The posterior teaches; who only acts needs the prior and the decoder. Any environment will do whose observations are
groups (`proto_agents.spaces`): a group of tokens "x" beside a group "x_mask" holds as many tokens as the mask has
numbers, and a token counts where its number is not 0; a group without a mask is one token that always counts.

The action is read from z, and z from the first token, so that must always be there: let it be the body's state. Each
kind of token has a normalizer, which learns from tokens that count, and a perceptron to the transformer's width; each
token adds a learned vector, which says its kind and its place (ours: ProtoMotions has none, so that its tokens carry
times instead, which ours do as well).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import gymnasium
import torch
from torch import Tensor, nn

from proto_agents.models.mlp import Activation, mlp
from proto_agents.models.normalization import RunningNormalizer
from proto_agents.models.transformer import TransformerConfig, encoder_layers
from proto_agents.spaces import Observations, observation_sizes

__all__ = ["NOISE_GROUP", "Latent", "MaskedMimicConfig", "MaskedMimicModel", "kl_divergence"]

NOISE_GROUP = "noise"
"""observations (N, Z) that z is drawn with: mean + standard deviation · noise; without them z is the mean"""
_LOG_VARIANCES = (-10.0, 4.0)
"""bounds: beyond them a Gaussian is a point, or knows nothing"""


@dataclass(frozen=True, kw_only=True)
class MaskedMimicConfig:
    """Sizes of the networks, and which observations they read; groups that the environment lacks are left out."""

    latent_size: int = 64
    """Z, numbers of z"""
    tokens: tuple[str, ...] = ("self", "terrain", "sparse_poses", "history", "text", "object")
    """groups that the prior's transformer reads, in this order"""
    decoder_inputs: tuple[str, ...] = ("self", "previous_targets", "terrain")
    """groups that the decoder reads beside z"""
    expert: str = "expert"
    """group with the whole reference, for the posterior"""
    transformer: TransformerConfig = field(default_factory=TransformerConfig)
    """sizes of the prior's transformer (ProtoMotions 1: width 512, 4 layers, 4 heads, 1024, tokens' perceptrons 256,
    256)"""
    head_hidden_sizes: tuple[int, ...] = (128,)
    """of the perceptron from the transformer's output to mean and variance of the prior (256, 128)"""
    posterior_hidden_sizes: tuple[int, ...] = (256, 256)
    """(1024, 1024, 1024)"""
    decoder_hidden_sizes: tuple[int, ...] = (256, 256)
    """(1024, 1024, 1024)"""
    activation: Activation = "elu"
    """of all perceptrons"""
    residual: bool = True
    """whether the posterior's mean is the prior's and an offset. False: it is its own (the ablation without a residual
    prior, whose prior and posterior drift apart)"""
    observation_clip: float = 5.0
    """normalized observations are clipped to this magnitude"""


@dataclass(frozen=True)
class Latent:
    """A Gaussian of z for each row."""

    mean: Tensor
    """(B, Z)"""
    log_variance: Tensor
    """(B, Z)"""

    def drawn(self, noise: Tensor | None) -> Tensor:
        """The latent (B, Z) that noise (B, Z) means; the mean where there is none."""
        return self.mean if noise is None else self.mean + (0.5 * self.log_variance).exp() * noise


def kl_divergence(posterior: Latent, prior: Latent) -> Tensor:
    """KL(posterior || prior) in nats, summed over the dimensions, (B,)."""
    change = posterior.log_variance - prior.log_variance
    distance = (posterior.mean - prior.mean).square() * (-prior.log_variance).exp()
    return 0.5 * (change.exp() + distance - 1.0 - change).sum(-1)


class PosteriorEncoder(nn.Module):
    """What the whole reference says of z."""

    def __init__(self, size: int, config: MaskedMimicConfig, generator: torch.Generator | None) -> None:
        """Make the network; size: of the expert's group."""
        super().__init__()
        self.normalizer = RunningNormalizer((size,), config.observation_clip)
        sizes = (size, *config.posterior_hidden_sizes, 2 * config.latent_size)
        self.network = mlp(sizes, config.activation, 0.1, generator)

    def forward(self, normalized: Tensor) -> Latent:
        """Of normalized observations (B, size)."""
        return _latent(self.network(normalized))


class MaskedMimicModel(nn.Module):
    """The networks. Methods that say "normalized" want what `normalize` returns."""

    def __init__(
        self,
        observation_space: gymnasium.Space,
        action_space: gymnasium.Space,
        config: MaskedMimicConfig | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        """Make the networks.

        Args:
            observation_space: of a single environment. Without the expert's group there is no posterior: such a model
                can act, not learn.
            action_space: of a single environment, a Box.
            config: sizes and groups.
            generator: source of the initial weights (CPU).

        Raises:
            TypeError: the actions are no Box.
            ValueError: the environment shows no tokens, or masks that do not fit.
        """
        super().__init__()
        if not isinstance(action_space, gymnasium.spaces.Box):
            raise TypeError(f"masked_mimic needs Box actions, not {action_space}")
        config = config or MaskedMimicConfig()
        sizes = observation_sizes(observation_space)
        self.tokens = {name: _token_shape(name, sizes) for name in config.tokens if name in sizes}
        """kind of token to (how many, numbers of each)"""
        if not self.tokens or f"{next(iter(self.tokens))}_mask" in sizes:
            raise ValueError(
                f"masked_mimic reads its action from the first of the tokens {list(config.tokens)} that the environment"
                f" shows, which must be one without a mask; it shows {sorted(sizes)}"
            )
        self.decoder_inputs = tuple(name for name in config.decoder_inputs if name in sizes)
        self.config = replace(config, tokens=tuple(self.tokens), decoder_inputs=self.decoder_inputs)
        """the groups that it reads named, whatever else another environment shows"""
        widths = {name: numbers for name, (_, numbers) in self.tokens.items()}
        widths |= {name: sizes[name] for name in self.decoder_inputs}
        clip, activation = config.observation_clip, config.activation
        self.normalizers = nn.ModuleDict({name: RunningNormalizer((width,), clip) for name, width in widths.items()})
        outputs, width = int(torch.Size(action_space.shape).numel()), config.transformer.width
        self.embedders = nn.ModuleDict(
            {
                name: mlp((numbers, *config.transformer.token_hidden_sizes, width), activation, 1.0, generator)
                for name, (_, numbers) in self.tokens.items()
            }
        )
        self.places = nn.ParameterDict(
            {name: 0.02 * torch.randn(count, width, generator=generator) for name, (count, _) in self.tokens.items()}
        )
        self.layers = encoder_layers(config.transformer, generator)
        self.norm = nn.LayerNorm(width)
        both = 2 * config.latent_size
        # Small last layers: prior and posterior begin alike, as standard normals, and the student acts close to zero.
        self.head = mlp((width, *config.head_hidden_sizes, both), activation, 0.1, generator)
        expert = config.expert
        self.expert = PosteriorEncoder(sizes[expert], config, generator) if expert in sizes else None
        into = sum(sizes[name] for name in self.decoder_inputs) + config.latent_size
        self.decoder = mlp((into, *config.decoder_hidden_sizes, outputs), activation, 0.1, generator)

    # --- observations ------------------------------------------------------------------------------------------------

    def update_normalizers(self, observations: Observations) -> None:
        """Adds observations to the running statistics; of tokens, those that count."""
        for name, normalizer in self._normalizers(self.normalizers):
            seen = observations[name]
            if name in self.tokens:
                seen = seen.unflatten(1, self.tokens[name]).flatten(0, 1)
                if (mask := observations.get(f"{name}_mask")) is not None:
                    seen = seen[mask.flatten() > 0.0]
            normalizer.update(seen)
        if self.expert is not None:
            self.expert.normalizer.update(observations[self.config.expert])

    def normalize(self, observations: Observations, tokens: Iterable[str] | None = None) -> Observations:
        """Normalized copies (B, size) of the groups that the networks read, and the masks and the noise as they are.

        Args:
            observations: (B, size) each.
            tokens: kinds that will be attended to; None for all.
        """
        kinds = tuple(self.tokens if tokens is None else tokens)
        result = {}
        for name, normalizer in self._normalizers(dict.fromkeys((*kinds, *self.decoder_inputs))):
            group = observations[name]
            split = group.unflatten(1, self.tokens[name]) if name in self.tokens else group
            result[name] = normalizer.normalize(split).flatten(1)
        expert = self.config.expert
        if self.expert is not None and expert in observations:
            result[expert] = self.expert.normalizer.normalize(observations[expert])
        kept = (*(f"{name}_mask" for name in kinds), NOISE_GROUP)
        return result | {name: observations[name] for name in kept if name in observations}

    # --- networks ----------------------------------------------------------------------------------------------------

    def embed(self, normalized: Observations, tokens: Iterable[str] | None = None) -> tuple[Tensor, Tensor | None]:
        """Tokens (B, T, width) before the transformer, of some kinds or of all, and which are hidden, (B, T) bool.

        None is hidden, and attention is cheaper, where no kind has a mask.
        """
        parts, hidden, masked = [], [], False
        for name in self.tokens if tokens is None else tokens:
            group = normalized[name].unflatten(1, self.tokens[name])
            parts.append(self.embedders[name](group) + self.places[name])
            mask = normalized.get(f"{name}_mask")
            masked |= mask is not None
            hidden.append(torch.zeros_like(group[..., 0], dtype=torch.bool) if mask is None else mask <= 0.0)
        return torch.cat(parts, dim=1), torch.cat(hidden, dim=1) if masked else None

    def attend(self, tokens: Tensor, hidden: Tensor | None) -> Latent:
        """The prior, of tokens (B, T, width), the first of which is read; `hidden` (B, T) bool are not looked at."""
        for layer in self.layers:
            tokens = layer(tokens, src_key_padding_mask=hidden)
        return _latent(self.head(self.norm(tokens[:, 0])))

    def prior(self, normalized: Observations) -> Latent:
        """What z should be by what is asked for."""
        return self.attend(*self.embed(normalized))

    def posterior(self, normalized: Observations, prior: Latent) -> Latent:
        """What z should be by the whole reference.

        Raises:
            RuntimeError: the environment that the model was made for shows no reference.
        """
        if self.expert is None:
            raise RuntimeError(f"there is no posterior: the environment shows no group {self.config.expert!r}")
        own = self.expert(normalized[self.config.expert])
        return Latent(prior.mean + own.mean, own.log_variance) if self.config.residual else own

    def decode(self, normalized: Mapping[str, Tensor], latent: Tensor) -> Tensor:
        """Actions (B, A) of latents (B, Z)."""
        return self.decoder(torch.cat([*(normalized[name] for name in self.decoder_inputs), latent], dim=-1))

    # --- acting ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def act_deterministic(self, observations: Observations) -> Tensor:
        """Actions (B, A) by the prior's mean: what is asked for in the most usual way. Noise is not looked at."""
        normalized = self.normalize(observations)
        return self.decode(normalized, self.prior(normalized).mean)

    @torch.no_grad()
    def act(self, observations: Observations, generator: torch.Generator) -> Tensor:
        """Actions (B, A) with z drawn from the prior: with the observed noise, or else with fresh one."""
        normalized = self.normalize(observations)
        prior = self.prior(normalized)
        noise = normalized.get(NOISE_GROUP)
        if noise is None:
            noise = torch.randn(prior.mean.shape, generator=generator, device=prior.mean.device)
        return self.decode(normalized, prior.drawn(noise))

    def _normalizers(self, names: Iterable[str]) -> Iterator[tuple[str, RunningNormalizer]]:
        for name in names:
            normalizer = self.normalizers[name]
            assert isinstance(normalizer, RunningNormalizer)
            yield name, normalizer


def _token_shape(name: str, sizes: Mapping[str, int]) -> tuple[int, int]:
    """How many tokens a group holds, and of how many numbers each."""
    count, size = sizes.get(f"{name}_mask", 1), sizes[name]
    if not count or size % count:
        raise ValueError(f"group {name!r} has {size} numbers, which {count} tokens (by {name}_mask) cannot share")
    return count, size // count


def _latent(output: Tensor) -> Latent:
    mean, log_variance = output.chunk(2, dim=-1)
    return Latent(mean, log_variance.clamp(*_LOG_VARIANCES))
