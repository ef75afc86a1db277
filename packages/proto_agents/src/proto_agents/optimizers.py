"""The state of an optimizer as flat named tensors, as checkpoints keep it."""

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["load_optimizer_state", "optimizer_state"]

_PREFIX = "optimizer/"


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What it has gathered of each parameter, under "optimizer/<index>/<name>"."""
    entries = optimizer.state_dict()["state"].items()
    return {f"{_PREFIX}{index}/{name}": value for index, entry in entries for name, value in entry.items()}


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: Mapping[str, Tensor]) -> None:
    """Restore `optimizer_state` from among other things; settings such as the learning rate stay."""
    entries: dict[int, dict[str, Tensor]] = {}
    for key, value in state.items():
        if key.startswith(_PREFIX):
            index, name = key.removeprefix(_PREFIX).split("/")
            entries.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": entries})
