"""How a task names its parts: observation, reward and termination terms, and their evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from proto_envs.components.actions import ActionMap
from proto_envs.components.control import Control
from proto_envs.context import Context

__all__ = [
    "Components",
    "Kernel",
    "Reward",
    "Termination",
    "TokenLayout",
    "any_failure",
    "measure",
    "observe",
    "one_token",
    "token_indices",
    "total_reward",
]

Kernel = Callable[[Context], Tensor]
"""A pure function of the moment. Parameters are bound with `functools.partial`."""

TokenLayout = Callable[[int], Tensor]
"""Width F of an observation kernel's output to indices (T, n) into it: T tokens of n numbers"""


@dataclass(frozen=True)
class Reward:
    """One term of the reward."""

    kernel: Kernel
    """Context to (N,)"""
    weight: float = 1.0
    multiplicative: bool = False
    """multiply with the other such terms first; the product then counts as one term of weight 1"""
    skip_grace: bool = False
    """0 during the grace steps after a reset"""
    minimum: float | None = None
    """lowest weighted value, for terms without a bound"""


@dataclass(frozen=True)
class Termination:
    """One way to fail."""

    kernel: Kernel
    """Context to (N,) bool"""


@dataclass(frozen=True, kw_only=True)
class Components:
    """Everything a task is made of."""

    observations: Mapping[str, Sequence[Kernel]]
    """group name to kernels whose (N, F) outputs are laid side by side; the group "policy" must be there"""
    action: ActionMap
    """actions in [-1, 1] to joint targets"""
    rewards: Mapping[str, Reward]
    expert_action: Callable[[Tensor], Tensor] | None = None
    """actions (N, D) of the expert that is shown the group "expert" to the actions of this task that command the same
    joint targets at this moment; None: there is no expert"""
    terminations: Mapping[str, Termination] = field(default_factory=dict)
    metrics: Mapping[str, Kernel] = field(default_factory=dict)
    """Context to (N,); reported each step beside the reward terms' raw values"""
    controls: Mapping[str, Control] = field(default_factory=dict)
    tokens: Mapping[Kernel, TokenLayout] = field(default_factory=dict)
    """kernels of the group "policy" whose outputs are tokens of their own, for a transformer; what the others show is
    its first token"""
    sample_style: Callable[[int, torch.Generator, Tensor | None], Tensor] | None = None
    """(count, generator, clips) to (count, F): what the group "style" would show, were the robots to move like the
    clips; of which clip each is to be, (count,), may be left to chance with None"""
    style_clips: tuple[str, ...] = ()
    """names of these clips"""

    def showing(self, group: str) -> Components:
        """The same with one group of observations only, and without controls that serve another; "": all of them."""
        if not group:
            return self
        controls = {name: control for name, control in self.controls.items() if control.serves in ("", group)}
        return replace(self, observations={group: self.observations[group]}, controls=controls)


def observe(kernels: Sequence[Kernel], context: Context, known: dict[Kernel, Tensor] | None = None) -> Tensor:
    """Lay the outputs of observation kernels side by side, (N, F).

    Args:
        kernels: of one group.
        context: the moment.
        known: outputs of kernels at this moment, to be used and added to: groups share kernels.

    Raises:
        ValueError: naming the kernel whose output is not (N, F).
    """
    known = {} if known is None else known
    for kernel in kernels:
        if kernel not in known:
            known[kernel] = kernel(context)
    parts = [known[kernel] for kernel in kernels]
    num_envs = len(context.steps)
    for kernel, part in zip(kernels, parts, strict=True):
        if part.dim() != 2 or len(part) != num_envs:
            raise ValueError(f"observation {kernel_name(kernel)}: want ({num_envs}, F), got {tuple(part.shape)}")
    return torch.cat(parts, dim=-1)


def one_token(width: int) -> Tensor:
    """All of a kernel's output as one token, (1, width): a `TokenLayout`."""
    return torch.arange(width).unsqueeze(0)


def token_indices(components: Components, context: Context) -> dict[str, Tensor]:
    """How the group "policy" splits into tokens: indices (T, n) by kind, "state" first.

    Raises:
        ValueError: if all of it is one token.
    """
    state: list[Tensor] = []
    others: dict[str, Tensor] = {}
    start = 0
    for kernel in components.observations["policy"]:
        width = kernel(context).shape[1]
        layout = components.tokens.get(kernel)
        if layout is None:
            state.append(start + torch.arange(width))
        else:
            others[kernel_name(kernel)] = start + layout(width)
        start += width
    if not others:
        raise ValueError("this task does not say how its observations split into tokens: all of them are one")
    return {"state": torch.cat(state).unsqueeze(0)} | others


def total_reward(rewards: Mapping[str, Reward], context: Context, grace: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Weighted sum of the terms, (N,), and each term's raw value by name.

    Args:
        rewards: terms by name.
        context: the moment after the step.
        grace: (N,) bool, environments still in their grace steps.

    Raises:
        ValueError: naming the term whose output is not (N,).
    """
    total = torch.zeros(len(grace), device=grace.device)
    product: Tensor | None = None
    raw = {}
    for name, term in rewards.items():
        raw[name] = value = _checked(f"reward {name!r}", term.kernel, context)
        if term.skip_grace:
            value = value.masked_fill(grace, 0.0)
        if term.multiplicative:
            product = term.weight * value if product is None else product * term.weight * value
            continue
        value = term.weight * value
        total += value if term.minimum is None else value.clamp_min(term.minimum)
    return (total if product is None else total + product), raw


def any_failure(terminations: Mapping[str, Termination], context: Context) -> Tensor:
    """(N,) bool, true where one of the terms holds.

    Raises:
        ValueError: naming the term whose output is not (N,).
    """
    failed = torch.zeros_like(context.steps, dtype=torch.bool)
    for name, term in terminations.items():
        failed |= _checked(f"termination {name!r}", term.kernel, context)
    return failed


def measure(metrics: Mapping[str, Kernel], context: Context) -> dict[str, Tensor]:
    """Each metric's value, (N,), by name.

    Raises:
        ValueError: naming the metric whose output is not (N,).
    """
    return {name: _checked(f"metric {name!r}", kernel, context) for name, kernel in metrics.items()}


def _checked(what: str, kernel: Kernel, context: Context) -> Tensor:
    value, want = kernel(context), context.steps.shape
    if value.shape != want:
        raise ValueError(f"{what}: want {tuple(want)}, got {tuple(value.shape)}")
    return value


def kernel_name(kernel: Kernel) -> str:
    """Readable name of a kernel for messages."""
    if isinstance(kernel, partial):
        return f"{kernel.func.__name__}({', '.join(f'{k}={v!r}' for k, v in kernel.keywords.items())})"
    return getattr(kernel, "__name__", repr(kernel))
