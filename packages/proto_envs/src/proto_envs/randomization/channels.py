"""The ways between policy and robot: noise and delay on joint targets and on observations."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from proto_envs.components.terms import Kernel
from proto_envs.context import Context
from proto_envs.randomization.config import Noise
from proto_envs.randomization.ranges import Range

__all__ = ["DelayLine", "Senses", "TargetChannel", "noise_like"]


def noise_like(values: Tensor, noise: Noise, generator: torch.Generator) -> Tensor:
    """Noise shaped as `values`."""
    if noise.distribution == "normal":
        return noise.size * torch.randn(values.shape, generator=generator, device=values.device)
    return noise.size * (2.0 * torch.rand(values.shape, generator=generator, device=values.device) - 1.0)


class DelayLine:
    """The latest values of N environments, of which each gets those of a number of steps ago."""

    def __init__(self, num_envs: int, size: int, longest: int, device: torch.device) -> None:
        """Make room for (N, size) values of this step and of `longest` steps before."""
        self._values = torch.zeros(longest + 1, num_envs, size, device=device)
        self._now = torch.zeros(1, dtype=torch.long, device=device)
        self._all = torch.arange(num_envs, device=device)

    def push(self, values: Tensor) -> None:
        """Enter the values (N, size) of a new step."""
        self._now.add_(1).remainder_(len(self._values))
        self._values.index_copy_(0, self._now, values.unsqueeze(0))

    def fill(self, ids: Tensor, values: Tensor) -> None:
        """Forget what was before values (n, size) of environments `ids`."""
        self._values[:, ids] = values

    def read(self, ago: Tensor) -> Tensor:
        """(N, size) values of `ago` (N,) steps back."""
        return self._values[(self._now - ago) % len(self._values), self._all]

    def state_dict(self) -> dict[str, Tensor]:
        """All that is remembered."""
        return {"values": self._values, "now": self._now}


class _Channel:
    """Values on their way, late by a number of steps that is drawn for each environment."""

    def __init__(self, sizes: Mapping[str, int], delay: Range | None, num_envs: int, device: torch.device) -> None:
        self._delay = delay or Range(0.0, 0.0)
        self.steps = torch.zeros(num_envs, dtype=torch.long, device=device)
        """(N,) control steps of delay"""
        self.lines = {name: DelayLine(num_envs, size, int(self._delay.high), device) for name, size in sizes.items()}

    def draw(self, ids: Tensor, generator: torch.Generator, *, everything: bool) -> None:
        if everything or self._delay.varies:
            self.steps[ids] = self._delay.draw_steps(len(ids), generator)

    def read(self) -> dict[str, Tensor]:
        return {name: line.read(self.steps) for name, line in self.lines.items()}

    def state_dict(self) -> dict[str, Tensor]:
        lines = {f"{name}.{k}": v for name, line in self.lines.items() for k, v in line.state_dict().items()}
        return {"steps": self.steps, **lines}


class TargetChannel(_Channel):
    """What becomes of joint targets before they reach the drives.

    The task goes on to see the targets as they were commanded.
    """

    def __init__(
        self, noise: Noise | None, delay: Range | None, num_envs: int, num_dofs: int, device: torch.device
    ) -> None:
        """Make the way for targets (N, D)."""
        super().__init__({"targets": num_dofs}, delay, num_envs, device)
        self._noise = noise

    def fill(self, ids: Tensor, targets: Tensor) -> None:
        """Begin episodes, in which `targets` (n, D) were commanded before."""
        self.lines["targets"].fill(ids, targets)

    def send(self, targets: Tensor, generator: torch.Generator) -> Tensor:
        """What reaches the drives in the step in which `targets` (N, D) are commanded."""
        noisy = targets if self._noise is None else targets + noise_like(targets, self._noise, generator)
        self.lines["targets"].push(noisy)
        return self.lines["targets"].read(self.steps)


class Senses(_Channel):
    """What becomes of observations before they reach the policy. Noise is drawn when they are made, then they wait."""

    def __init__(
        self,
        noises: Mapping[str, Noise],
        delay: Range | None,
        groups: Mapping[str, Sequence[Kernel]],
        observed: Sequence[str],
        moment: Context,
    ) -> None:
        """Find the columns of what is noisy.

        Args:
            noises: by group or group/kernel.
            delay: of all groups.
            groups: kernels by group.
            observed: groups that the user gets; noise on others is without effect.
            moment: any context, from which sizes are read.

        Raises:
            ValueError: for a group or kernel that the task does not have.
        """
        columns = _columns(groups, moment)
        for name in noises:
            if name not in columns:
                near = difflib.get_close_matches(name, columns, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise ValueError(f"observation_noise: no observation {name!r}: {hint}there are {sorted(columns)}")
        sizes = {group: columns[group][0].stop for group in observed}
        super().__init__(sizes, delay, len(moment.steps), moment.steps.device)
        self._noises = {
            group: [(part, noise) for name, noise in noises.items() for part in columns[name] if _group(name) == group]
            for group in observed
        }

    def _noisy(self, observation: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        result = {}
        for name, values in observation.items():
            result[name] = values.clone()
            for columns, noise in self._noises[name]:
                part = result[name][:, columns]
                part += noise_like(part, noise, generator)
        return result

    def perceive(self, observation: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """What the policy gets after a step whose true observation (N, F) by group is given."""
        for name, values in self._noisy(observation, generator).items():
            self.lines[name].push(values)
        return self.read()

    def begin(self, ids: Tensor, observation: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """What the policy gets of new episodes whose first true observation (n, F) by group is given."""
        noisy = self._noisy(observation, generator)
        for name, values in noisy.items():
            self.lines[name].fill(ids, values)
        return noisy


def _group(name: str) -> str:
    return name.partition("/")[0]


def _columns(groups: Mapping[str, Sequence[Kernel]], moment: Context) -> dict[str, list[slice]]:
    """Columns of each group, and of each group/kernel; a kernel that stands in a group twice has two parts."""
    result: dict[str, list[slice]] = {}
    for group, kernels in groups.items():
        start = 0
        for kernel in kernels:
            size = kernel(moment).shape[1]
            name = getattr(kernel, "func", kernel).__name__
            result.setdefault(f"{group}/{name}", []).append(slice(start, start + size))
            start += size
        result[group] = [slice(0, start)]
    return result
