"""Least squares over the frames of a clip: residuals, bounds, and normal equations that are block tridiagonal in time.

N columns may change in each of T frames; a residual belongs to one frame or is a difference of two neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from poselib.jacobians import Turns

__all__ = ["Bounds", "System", "Term"]


@dataclass(frozen=True, eq=False)
class Term:
    """One kind of residual; the Jacobian is worked out only where it is needed."""

    residual: Tensor
    """(T, R), or (T - 1, R) between neighbouring frames"""
    jacobian: Callable[[Turns], Tensor] | None = None
    """to (T, R, 6 + D)"""
    pairs: Tensor | None = None
    """(T - 1, R) weights if the residual is `pairs * (value[t + 1] - value[t])`; the Jacobian is then that of value"""


@dataclass(eq=False)
class Bounds:
    """Values that must stay within bounds: heights of the lowest points and joint coordinates, C of them."""

    rows: Tensor
    """(T, R) the lowest points"""
    values: Tensor
    """(T, C)"""
    lower: Tensor
    """(C,)"""
    upper: Tensor
    """(C,)"""
    weights: Tensor
    """(C,)"""
    jacobian: Tensor
    """(T, C, N), weighted"""
    active: Tensor
    """(T, C) which ones the system knows of"""

    def crossed(self, values: Tensor) -> tuple[Term, Tensor] | None:
        """The bounds that other values `(T, C)` cross and the system does not know of, with their Jacobian."""
        below, above = (values < self.lower) & ~self.active, (values > self.upper) & ~self.active
        fresh = below | above
        if not bool(fresh.any()):
            return None
        gaps = torch.where(below, self.values - self.lower, 0.0) + torch.where(above, self.values - self.upper, 0.0)
        return Term(self.weights * gaps), fresh[..., None] * self.jacobian


@dataclass(eq=False)
class System:
    """Block tridiagonal normal equations in N columns."""

    diagonal: Tensor
    """(T, N, N)"""
    below: Tensor
    """(T - 1, N, N) block of frame t + 1 (rows) and t (columns)"""
    gradient: Tensor
    """(T, N)"""

    def add(self, term: Term, jacobian: Tensor) -> None:
        """Add a term; its Jacobian has N columns."""
        if term.pairs is None:
            self.diagonal += jacobian.mT @ jacobian
            self.gradient += (jacobian.mT @ term.residual[..., None])[..., 0]
            return
        before, after = term.pairs[..., None] * jacobian[:-1], term.pairs[..., None] * jacobian[1:]
        self.diagonal[:-1] += before.mT @ before
        self.diagonal[1:] += after.mT @ after
        self.below -= after.mT @ before
        self.gradient[:-1] -= (before.mT @ term.residual[..., None])[..., 0]
        self.gradient[1:] += (after.mT @ term.residual[..., None])[..., 0]

    def add_smoothness(self, deviation: Tensor, change: float, keep: float) -> None:
        """Add the size of the correction `(T, N)` and, weighted by `change`, its difference from frame to frame."""
        columns = self.diagonal.diagonal(dim1=-2, dim2=-1)
        columns += keep**2
        self.gradient += keep**2 * deviation
        step = change**2 * deviation.diff(dim=0)
        columns[:-1] += change**2
        columns[1:] += change**2
        self.below.diagonal(dim1=-2, dim2=-1).sub_(change**2)
        self.gradient[:-1] -= step
        self.gradient[1:] += step

    def extended(self, term: Term, jacobian: Tensor) -> System:
        """A copy with one more term, which must not couple frames."""
        result = System(self.diagonal.clone(), self.below, self.gradient.clone())
        result.add(term, jacobian)
        return result

    def promise(self, step: Tensor) -> float:
        """By how much a step `(T, N)` would lower the cost if all were linear (a lower bound)."""
        return -float((self.gradient * step).sum())

    def step(self, damping: float) -> Tensor:
        """The damped Gauss-Newton step `(T, N)`, by a block Cholesky factorisation along the frames."""
        frames, size = self.gradient.shape
        damped = self.diagonal + damping * torch.eye(size).to(self.diagonal)
        factors, links, values = [], [], []
        block, value = damped[0], -self.gradient[0]
        for t in range(frames):
            factor = torch.linalg.cholesky(block)
            values.append(torch.linalg.solve_triangular(factor, value[:, None], upper=False))
            factors.append(factor)
            if t + 1 < frames:
                links.append(torch.linalg.solve_triangular(factor, self.below[t].T, upper=False))
                block = damped[t + 1] - links[t].T @ links[t]
                value = -self.gradient[t + 1] - (links[t].T @ values[t])[:, 0]
        steps = [torch.linalg.solve_triangular(factors[-1].T, values[-1], upper=True)]
        for t in range(frames - 2, -1, -1):
            steps.append(torch.linalg.solve_triangular(factors[t].T, values[t] - links[t] @ steps[-1], upper=True))
        return torch.stack(steps[::-1])[..., 0]
