"""The border of an environment: what comes in is checked here, what goes out is put into the asked-for form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

__all__ = ["Border", "Chosen", "blanked", "looking_is_free"]


def looking_is_free(device: torch.device) -> bool:
    """Whether it costs nothing to look at values in tensors; on a GPU the host would wait for all work before."""
    return device.type == "cpu"


class Chosen:
    """Where a mask is true, for the host, which has to know how many rows it works on.

    A GPU is asked at once and goes on with what it is given next; only the mask is waited for, not all of that.
    """

    def __init__(self, mask: Tensor) -> None:
        """Ask for `mask` (N,) bool."""
        self._mask = mask
        self._arrived: torch.cuda.Event | None = None
        if mask.is_cuda:
            self._mask = torch.empty(mask.shape, dtype=torch.bool, pin_memory=True)
            self._mask.copy_(mask, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record(torch.cuda.current_stream(mask.device))
        self._device = mask.device

    def ids(self) -> Tensor:
        """(n,) long, on the mask's device."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._mask.nonzero().squeeze(-1).to(self._device, non_blocking=True)


@dataclass(frozen=True)
class Border:
    """Checks actions and reset options, and presents observations and infos."""

    num_envs: int
    num_actions: int
    device: torch.device
    observation: Literal["flat", "groups"]
    """one tensor, that of the group "policy", or a dict of all groups"""
    output: Literal["torch", "numpy"]

    def actions(self, actions: Any) -> Tensor:  # noqa: ANN401
        """(N, D) float32 on the environment's device.

        Raises:
            ValueError: for a wrong shape or, on the CPU, where looking costs nothing, for NaN or infinity.
        """
        tensor = torch.as_tensor(actions, dtype=torch.float32, device=self.device)
        want = (self.num_envs, self.num_actions)
        if tuple(tensor.shape) != want:
            raise ValueError(
                f"actions: want shape {want} (environments, degrees of freedom), got {tuple(tensor.shape)}"
            )
        if looking_is_free(self.device) and not torch.isfinite(tensor).all():
            bad = (~torch.isfinite(tensor).all(-1)).nonzero().flatten().tolist()
            raise ValueError(f"actions of environments {bad[:8]} are NaN or infinite; want numbers in [-1, 1]")
        return tensor

    def reset_mask(self, options: Mapping[str, Any]) -> Tensor | None:
        """(N,) bool, the environments to reset; None for all.

        Raises:
            ValueError: for an unknown option or a mask that is none.
        """
        unknown = set(options) - {"reset_mask"}
        if unknown:
            raise ValueError(f"reset options {sorted(unknown)} are unknown; there is only 'reset_mask'")
        mask = options.get("reset_mask")
        if mask is None:
            return None
        mask = torch.as_tensor(mask, device=self.device)
        if mask.dtype != torch.bool or mask.shape != (self.num_envs,) or not mask.any():
            raise ValueError(
                f"reset_mask: want ({self.num_envs},) bool with at least one true, got {tuple(mask.shape)} {mask.dtype}"
            )
        return mask

    def view(self, groups: dict[str, Tensor]) -> Any:  # noqa: ANN401
        """An observation as the user asked for it, still in tensors."""
        return groups if self.observation == "groups" else groups["policy"]

    def out(self, value: Any) -> Any:  # noqa: ANN401
        """A tensor, or a dict with tensors somewhere in it, as tensors or as arrays."""
        if self.output == "torch":
            return value
        if isinstance(value, dict):
            return {key: self.out(part) for key, part in value.items()}
        return value.cpu().numpy() if isinstance(value, Tensor) else value


def blanked(observation: dict[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    """A copy with zeros in `rows` (N,) bool, whose state is lost: none of it may reach a policy or its statistics."""
    return {name: part.masked_fill(rows.unsqueeze(-1), 0.0) for name, part in observation.items()}
