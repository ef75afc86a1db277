"""The state of an environment as flat named tensors: taken from its parts, checked, and put back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["LiveTensors", "Part", "collect", "restore"]


class Part(Protocol):
    """What has a state."""

    def state_dict(self) -> dict[str, Tensor]:
        """The state, maybe in live tensors."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore it."""


@dataclass(frozen=True)
class LiveTensors:
    """Tensors that are written in place, and a generator of random numbers."""

    tensors: Mapping[str, Tensor]
    generator: torch.Generator

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors, and the state of the generator."""
        return {**self.tensors, "generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore `state_dict`."""
        for name, live in self.tensors.items():
            live.copy_(state[name])
        self.generator.set_state(state["generator"])


def collect(parts: Mapping[str, Part]) -> dict[str, Tensor]:
    """The state of all parts, copied, each tensor named after its part and itself."""
    return {f"{name}.{key}": value.clone() for name, part in parts.items() for key, value in part.state_dict().items()}


def restore(parts: Mapping[str, Part], state: Mapping[str, Tensor]) -> None:
    """Put a state that `collect` took back into parts like those it is of.

    Raises:
        ValueError: for an entry that is missing or of another shape, before anything has changed.
    """
    own = collect(parts)
    if missing := [name for name in own if name not in state]:
        raise ValueError(f"environment state lacks {missing}: it was not saved by such an environment")
    for name, live in own.items():
        if state[name].shape != live.shape:
            raise ValueError(
                f"environment state {name!r}: want shape {tuple(live.shape)}, got {tuple(state[name].shape)}; it is of"
                " another number of environments, another robot or other motions"
            )
    for name, part in parts.items():
        prefix = f"{name}."
        part.load_state_dict({key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)})
