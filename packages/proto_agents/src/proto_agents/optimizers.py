"""A gradient step, and the state of an optimizer as flat named tensors, as checkpoints keep it."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from proto_agents import distributed

__all__ = ["gradient_step", "load_optimizer_state", "optimizer_state"]

_PREFIX = "optimizer/"


def gradient_step(
    optimizer: torch.optim.Optimizer, loss: Tensor, samples: int, max_norm: float = float("inf")
) -> Tensor:
    """One step of all processes that train together, on the mean of their gradients.

    Args:
        optimizer: of all that is trained.
        loss: scalar, a mean over this process's samples.
        samples: how many they are: its weight among the processes.
        max_norm: the gradient is scaled down to this norm where it is longer.

    Returns:
        The norm of the gradient before that, a scalar.
    """
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    distributed.average_gradients(parameters, samples)
    norm = nn.utils.clip_grad_norm_(parameters, max_norm)
    optimizer.step()
    return norm


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
