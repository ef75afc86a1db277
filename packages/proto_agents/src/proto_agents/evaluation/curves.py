"""How an evaluation went over time: quantiles of each metric, and who had not failed yet."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from proto_agents.environment import TensorEnvironment, Transition
from proto_agents.spaces import Observations

__all__ = ["Curve", "CurveEvaluator"]

_WATCHED = 256
"""environments at most whose every step is kept"""


@dataclass(frozen=True, eq=False)
class Curve:
    """A metric over the steps of the episodes of all seeds; NaN where nothing was measured."""

    low: Tensor
    """(T,) its first decile"""
    middle: Tensor
    """(T,) its median"""
    high: Tensor
    """(T,) its ninth decile"""


class CurveEvaluator:
    """Keeps every step of some metrics of up to 256 environments; adds no numbers to the report."""

    def __init__(self, metrics: tuple[str, ...]) -> None:
        """Watch these metrics, as far as the environment has them."""
        self.metrics = metrics
        self.step_seconds = 1.0
        """s per control step, where the environment says it"""
        self.clip_names: tuple[str, ...] = ()
        """of the clips that the environment plays"""
        self._seeds: list[list[dict[str, Tensor]]] = []

    def begin(self, env: TensorEnvironment, observations: Observations) -> None:
        """Another seed."""
        del observations
        inner = env.env.unwrapped
        rate = getattr(inner, "control_hz", None) or env.env.metadata.get("render_fps")
        self.step_seconds = 1.0 / float(rate) if rate else 1.0
        self.clip_names = tuple(getattr(inner, "clip_names", None) or ())
        self._seeds.append([])
        self._lost = torch.zeros(min(env.num_envs, _WATCHED), dtype=torch.bool, device=env.device)

    def step(self, transition: Transition, active: Tensor) -> None:
        """Keep a step; what is not of the first episode is NaN."""
        kept = active[:_WATCHED]
        row = {
            name: torch.where(kept, value[:_WATCHED].float(), torch.nan)
            for name, value in transition.metrics.items()
            if name in self.metrics
        }
        failed = transition.terminated
        if "failed" in transition.metrics:
            failed = failed | transition.metrics["failed"].bool()
        self._lost |= failed[:_WATCHED] & kept
        row["unfailed"] = (~self._lost).float()
        self._seeds[-1].append(row)

    def numbers(self) -> Mapping[str, float | Tensor]:
        """None."""
        return {}

    def curves(self) -> dict[str, Curve]:
        """By name of the metric, in the order that was asked for."""
        tables = self._tables()
        quantiles = torch.tensor([0.1, 0.5, 0.9])
        return {name: Curve(*tables[name].nanquantile(quantiles, dim=1)) for name in self.metrics if name in tables}

    def unfailed(self) -> Tensor:
        """(T,) share of episodes that have not failed up to each step; those that ended well stay in."""
        return self._tables()["unfailed"].nanmean(dim=1)

    def _tables(self) -> dict[str, Tensor]:
        """(T, environments of all seeds) by metric."""
        longest = max(map(len, self._seeds), default=0)
        if longest == 0:
            return {"unfailed": torch.ones(0, 1)}
        tables: dict[str, Tensor] = {}
        for name in self._seeds[0][0]:
            parts = [torch.stack([row[name] for row in rows]).cpu() for rows in self._seeds]
            # A seed whose last episode ended earlier stays as it ended, in so far as that is known at all.
            filler = [part[-1:].expand(longest - len(part), -1) for part in parts]
            blank = name != "unfailed"
            padded = [torch.cat([p, f.mul(torch.nan) if blank else f]) for p, f in zip(parts, filler, strict=True)]
            tables[name] = torch.cat(padded, dim=1)
        return tables
