"""How alike an agent's motion is to that of experts, by numbers that no discriminator has a say in.

Motion is what the observation group "style" shows, so that any environment with the protocol of discriminators (the
group and `sample_style`) can be judged. All distances are in units of the experts' own spread: features are divided by
their standard deviation among experts (those that vary less than the median feature does, by that of the median one)
and by the square root of their number, so that an agent that is off by one deviation in every feature is 1 away.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from proto_agents.environment import TensorEnvironment, Transition
from proto_agents.spaces import Observations

__all__ = ["MotionFeatures", "StyleEvaluator", "coverage", "frechet_distance", "matches"]

GROUP = "style"
_EXPERTS = 8192
"""samples that the features are fitted to, and as many again that experts are judged by"""
_EXPLAINED = 0.99
_MOST = 64
_WINDOWS = 1000
"""experts that an agent's samples are compared with one by one"""
_COMPARED = 4000
"""samples of an agent that are compared so"""
_KEPT = 65536
"""samples of an agent at most; above that every other one is dropped"""
_NEIGHBOURS = 5
"""k of the coverage (Naeem et al. 2020 take 5)"""
_SETTLED = 10
"""steps after the start of an episode that do not count: the history there still is that of the clip it began in"""


@dataclass(frozen=True, eq=False)
class MotionFeatures:
    """A fixed projection of style observations: their principal components among experts, and what these miss."""

    mean: Tensor
    """(F,)"""
    scale: Tensor
    """(F,)"""
    axes: Tensor
    """(F, K), orthonormal"""

    @classmethod
    def fit(cls, experts: Tensor) -> "MotionFeatures":
        """Components that explain 99 % of the variance of (S, F) samples of experts, 64 at most."""
        experts = experts.double()
        deviation = experts.std(0)
        floor = deviation.median().clamp_min(1e-6)
        mean, scale = experts.mean(0), deviation.clamp_min(floor) * experts.shape[1] ** 0.5
        variances, axes = torch.linalg.eigh(((experts - mean) / scale).T.cov().reshape(len(mean), len(mean)))
        variances, axes = variances.flip(0), axes.flip(1)
        explained = variances.cumsum(0) / variances.sum().clamp_min(1e-12)
        return cls(mean, scale, axes[:, : min(int((explained < _EXPLAINED).sum()) + 1, _MOST)])

    def __call__(self, samples: Tensor) -> Tensor:
        """(S, F) to (S, K + 1) float64: the components, then the length of the rest, where novel motion shows."""
        centred = (samples.double() - self.mean) / self.scale
        within = centred @ self.axes
        rest = (centred.square().sum(-1) - within.square().sum(-1)).clamp_min(0.0).sqrt()
        return torch.cat([within, rest.unsqueeze(-1)], dim=-1)


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Squared Frechet distance between the Gaussians of two sets of samples, (S, K) and (T, K).

    |m₁ - m₂|² + tr(C₁ + C₂ - 2 (C₁ C₂)^½) (Dowson and Landau 1982; FID, Heusel et al. 2017).
    """
    one, two = (_covariance(samples.double()) for samples in (first, second))
    variances, axes = torch.linalg.eigh(one)
    root = (axes * variances.clamp_min(0.0).sqrt()) @ axes.T
    # (C₁ C₂)^½ has the trace of (C₁^½ C₂ C₁^½)^½, which is symmetric.
    cross = torch.linalg.eigvalsh(root @ two @ root).clamp_min(0.0).sqrt().sum()
    apart = (first.double().mean(0) - second.double().mean(0)).square().sum()
    return max((apart + one.trace() + two.trace() - 2.0 * cross).item(), 0.0)


def _covariance(samples: Tensor) -> Tensor:
    return samples.T.cov().reshape(samples.shape[1], samples.shape[1])


def coverage(experts: Tensor, agents: Tensor, neighbours: int = _NEIGHBOURS) -> float:
    """Share of experts (S, K) with an agent's sample (T, K) no farther than their k-th nearest other expert.

    Naeem et al. 2020, "Reliable fidelity and diversity metrics for generative models", eq. 9.
    """
    radius = torch.cdist(experts, experts).kthvalue(neighbours + 1, dim=1).values  # the first is the expert itself
    return (torch.cdist(experts, agents).amin(1) <= radius).double().mean().item()


def matches(experts: Tensor, agents: Tensor) -> tuple[Tensor, Tensor]:
    """Number (T,) of the nearest of the experts (S, K) to each of an agent's samples (T, K), and its distance (T,)."""
    nearest = torch.cdist(agents, experts).min(1)
    return nearest.indices, nearest.values


class StyleEvaluator:
    """Compares what the agent did, all moments of all episodes, with what experts do.

    Numbers: `style_frechet`, with `style_frechet_of_clips` of as many fresh samples of experts, which is what a perfect
    agent would get; `style_distance` to the nearest expert, median; `style_coverage` (k nearest neighbours) and
    `style_matched`, the share of the experts' moments that are the nearest to some moment of the agent's, over that of
    fresh experts. Where the clips of experts are known: `style_clips_matched`, the share of clips that at least a tenth
    of their due of the agent's moments are nearest to (ASE, Peng et al. 2022, section 8.1, matches trajectories so),
    and `style_match/<clip>`, the share of moments nearest to each.
    """

    def __init__(
        self,
        sample: Callable[[int], Tensor],
        clips: Sequence[str] = (),
        sample_of: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        """Draw the experts; nothing is drawn later, so that evaluations do not disturb an environment's generator.

        Args:
            sample: draws (count, F) experts.
            clips: names of the clips that they come from.
            sample_of: draws one expert of each clip (n,) that is asked for, (n, F).
        """
        fitted = torch.as_tensor(sample(_EXPERTS)).double()
        self.features = MotionFeatures.fit(fitted)
        self.experts = self.features(fitted)
        self.fresh = self.features(torch.as_tensor(sample(_EXPERTS)))
        self.clips = tuple(clips) if sample_of is not None else ()
        if sample_of is not None and self.clips:
            self.labels = torch.arange(_WINDOWS, device=fitted.device) % len(self.clips)
            self.windows = self.features(torch.as_tensor(sample_of(self.labels)))
        else:
            self.windows = self.fresh[:_WINDOWS]

    def begin(self, env: TensorEnvironment, observations: Observations) -> None:
        """Forget the agent's motion.

        Raises:
            ValueError: the environment does not show the group "style".
        """
        if GROUP not in observations:
            raise ValueError(f"the environment shows {sorted(observations)}, no observations {GROUP!r} to judge")
        self.steps = torch.zeros(env.num_envs, dtype=torch.long, device=env.device)
        self.kept: list[Tensor] = []
        self.every, self.passed, self.count = 1, 0, 0

    def step(self, transition: Transition, active: Tensor) -> None:
        """Keep the motion of the episodes that have settled."""
        self.steps += active
        self.passed += 1
        if self.passed % self.every:
            return
        rows = (active & (self.steps > _SETTLED)).nonzero().squeeze(-1)
        if not len(rows):
            return
        self.kept.append(self.features(transition.outcome[GROUP][rows].to(self.features.mean.device)).float())
        self.count += len(rows)
        if self.count > _KEPT:
            self.kept, self.every = self.kept[1::2], 2 * self.every
            self.count = sum(map(len, self.kept))

    def numbers(self) -> Mapping[str, float]:
        """See the class; nothing where no episode was long enough."""
        agents = torch.cat(self.kept).double() if self.kept else self.experts[:0]
        if len(agents) < 2:
            return {}
        fresh = self.fresh[: max(len(agents), 2)]
        some, same = (part[_spread(len(part), _COMPARED)] for part in (agents, self.fresh))
        same = same[: len(some)]
        nearest, distance = matches(self.windows, some)
        of_fresh, _ = matches(self.windows, same)
        found = {
            "style_frechet": frechet_distance(self.experts, agents),
            "style_frechet_of_clips": frechet_distance(self.experts, fresh),
            "style_distance": distance.median().item(),
            "style_coverage": coverage(self.windows, agents[_spread(len(agents), _WINDOWS)]),
            "style_matched": len(nearest.unique()) / len(of_fresh.unique()),
            "style_samples": float(len(agents)),
        }
        if self.clips:
            shares = torch.bincount(self.labels[nearest], minlength=len(self.clips)).double() / len(nearest)
            due = torch.bincount(self.labels[of_fresh], minlength=len(self.clips)).double() / len(of_fresh)
            found["style_clips_matched"] = (shares >= 0.1 * due).double().mean().item()
            found |= {f"style_match/{name}": share for name, share in zip(self.clips, shares.tolist(), strict=True)}
        return found


def _spread(count: int, most: int) -> Tensor:
    """Rows, evenly spread over all `count` of them, `most` at the most."""
    return torch.linspace(0, count - 1, min(count, most)).round().long()
