"""Inverse kinematics of whole clips: damped least squares (Levenberg-Marquardt) over all frames at once.

Bodies are drawn to goals in position and orientation; joints keep to their limits; points in stance neither slide nor
leave the ground, and nothing sinks into it; corrections to the given motion change smoothly over time. Sliding and
smoothness tie neighbouring frames together, so the normal equations are block tridiagonal and one sweep over the frames
solves them. Jacobians are analytic (`poselib.jacobians`): one batched product for all frames, without a compiled model.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from poselib.ground import CollisionPoints
from poselib.jacobians import Turns, coordinate_jacobian, moved, turns_of
from poselib.kinematics import forward_kinematics
from poselib.least_squares import Bounds, System, Term
from poselib.rotations import exp_map_from_quat, quat_apply, quat_conjugate, quat_multiply
from poselib.skeleton import Skeleton

__all__ = ["Goals", "Ground", "Solution", "Weights", "limit_coordinates", "solve_ik"]

_LIMIT_MARGIN = 0.01
"""rad inside its limits that a joint is held"""
_LOWEST = 12
"""points per frame that are kept out of the ground; the others lie higher"""
_DAMPING = (1e-3, 1e6)
"""range of the damping: the least keeps coordinates still that hardly matter, above the most no step is worth it"""


_HARDNESS = (0.1, 1.0)
"""factors of the weights of bounds, one after the other: against hard bounds alone steps are short"""


@dataclass(frozen=True, eq=False)
class Goals:
    """Where points of bodies, and how bodies, should be in the world."""

    bodies: list[int]
    """K indices"""
    points: Tensor
    """(K, 3) m in the bodies' frames"""
    positions: Tensor
    """(T, K, 3) m"""
    rotations: Tensor
    """(T, K, 4)"""
    position_weights: Tensor
    """(K,) per m"""
    rotation_weights: Tensor
    """(K,) per rad"""


@dataclass(frozen=True, eq=False)
class Ground:
    """The floor z = 0, and what of the collision geometry stands on it."""

    points: CollisionPoints
    """P points"""
    stance: Tensor
    """(T, P) how firmly each point stands, 0 to 1"""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What a residual counts in the sum of squares, per frame."""

    slide: float = 2.0
    """per m/s of a point in stance"""
    touch: float = 10.0
    """per m that a point in stance is above or below the ground"""
    sink: float = 50.0
    """per m that any point is below the ground"""
    limit: float = 10.0
    """per rad beyond a joint's limit"""
    smooth: float = 0.05
    """per m/s and rad/s at which the correction of the given motion changes"""
    keep: float = 0.01
    """per m and rad of correction"""


@dataclass(frozen=True, eq=False)
class Solution:
    """The motion that was found."""

    root_positions: Tensor
    """(T, 3) m"""
    local_rotations: Tensor
    """(T, B, 4); joint coordinates lie within their limits"""
    costs: list[float]
    """weighted sum of squares before the first and after each step that was taken"""


def solve_ik(
    skeleton: Skeleton,
    root_positions: Tensor,
    local_rotations: Tensor,
    goals: Goals,
    *,
    fps: float = 30.0,
    ground: Ground | None = None,
    weights: Weights | None = None,
    iterations: int = 12,
    tolerance: float = 3e-3,
) -> Solution:
    """Change a motion so that it meets its goals.

    Args:
        skeleton: B bodies, D degrees of freedom.
        root_positions: `(T, 3)` m, where to start. T = 1 solves a single pose.
        local_rotations: `(T, B, 4)`, likewise. Corrections are counted from here.
        goals: for K bodies.
        fps: frames per second; speeds are seen through it.
        ground: the floor, or None for a character in the air.
        weights: of what is asked for beside the goals.
        iterations: at most so many steps against soft bounds, and as many against hard ones.
        tolerance: the relative gain of a step below which it is the last one.

    Returns:
        The motion, in the floating type that was given; joints that no goal nor the ground moves stay as they are.
    """
    problem = _Problem(skeleton, root_positions.double(), local_rotations.double(), goals, fps, ground, weights)
    pose = problem.pose(problem.root, problem.local)
    costs: list[float] = []
    for hardness in _HARDNESS:
        problem.hardness = hardness
        pose, found = _descend(problem, pose, iterations, tolerance)
        costs += found
    local = _within_limits(skeleton, pose.local)
    return Solution(pose.root.to(root_positions), local.to(local_rotations), costs)


def _descend(problem: _Problem, pose: _Pose, iterations: int, tolerance: float) -> tuple[_Pose, list[float]]:
    """Take damped Gauss-Newton steps; the pose they lead to, and the costs on the way."""
    costs, damping = [problem.cost(pose)], _DAMPING[0]
    for _ in range(iterations):
        plain, bounds = problem.system(pose)
        system, cost, enough = plain, costs[-1], tolerance * costs[-1]
        while damping <= _DAMPING[1]:
            step = system.step(damping)
            trial = problem.pose(*moved(problem.skeleton, pose.root, pose.local, problem.widened(step)))
            cost = problem.cost(trial)
            if cost < costs[-1] or system.promise(step) < enough:
                break
            # Mostly a step fails because it runs into bounds that it does not know of; if not, it is too long.
            fresh = bounds.crossed(problem.bounded(trial, bounds.rows))
            if system is plain and fresh is not None:
                system = plain.extended(*fresh)
            else:
                system, damping = plain, 8.0 * damping
        if cost >= costs[-1]:
            break
        pose, damping = trial, max(damping / 8.0, _DAMPING[0])
        costs.append(cost)
        if costs[-2] - cost < enough:
            break
    return pose, costs


def limit_coordinates(skeleton: Skeleton, local: Tensor) -> Tensor:
    """Joint coordinates `(..., D)` to hold against `dof_limits`: hinges within half a turn of their range's middle.

    Some ranges reach beyond pi, such as 255 degrees of H1's shoulder; `dofs_from_local_rotations` never does.
    """
    dofs = skeleton.dofs_from_local_rotations(local)
    middle = skeleton.dof_limits.to(dofs).mean(dim=-1)
    turns = torch.round((middle - dofs) / (2.0 * torch.pi))
    hinges = skeleton.tables(local).hinge_dofs
    return dofs.index_add(-1, hinges, 2.0 * torch.pi * turns.index_select(-1, hinges))


def _within_limits(skeleton: Skeleton, local: Tensor) -> Tensor:
    """Local rotations `(T, B, 4)` with joint coordinates cut to their limits; other joints are not touched."""
    dofs = limit_coordinates(skeleton, local)
    low, high = skeleton.dof_limits.to(local).unbind(-1)
    cut = skeleton.local_rotations_from_dofs(dofs.clamp(low, high), local[:, 0])
    over = (dofs < low) | (dofs > high)
    bodies = skeleton.tables(local).dof_bodies[over.any(dim=0)].unique()
    return local.index_copy(1, bodies, cut[:, bodies])


@dataclass(frozen=True, eq=False)
class _Pose:
    root: Tensor
    local: Tensor
    positions: Tensor
    rotations: Tensor


@dataclass(eq=False)
class _Problem:
    """All residuals of one clip."""

    skeleton: Skeleton
    root: Tensor
    local: Tensor
    goals: Goals
    fps: float
    ground: Ground | None
    given_weights: Weights | None
    hardness: float = 1.0
    """factor of the weights of bounds"""
    columns: Tensor = field(init=False)
    """(N,) the columns that may change"""

    def __post_init__(self) -> None:
        self.weights = self.given_weights or Weights()
        turns = turns_of(self.skeleton, *forward_kinematics(self.skeleton, self.root[:1], self.local[:1]))
        moves = turns.moves[self.goals.bodies]
        if self.ground is not None:
            standing = (self.ground.stance > 0).any(dim=0).nonzero()[:, 0]
            self.standing, self.stance = standing, self.ground.stance[:, standing].double()
            self.point_bodies = torch.tensor(self.ground.points.bodies)
            moves = torch.cat([moves, turns.moves[self.point_bodies[standing]]])
        free = (moves > 0).any(dim=0)
        free[:3] = True
        self.columns = torch.cat([torch.arange(3), 3 + free.nonzero()[:, 0]])

    def limits(self) -> tuple[Tensor, Tensor, Tensor]:
        """Lower and upper bounds of what `bounded` gives, and their weights, `(C,)` each."""
        low, high = self.skeleton.dof_limits.double().unbind(-1)
        margin = torch.minimum(torch.full_like(low, _LIMIT_MARGIN), 0.1 * (high - low))
        count = 0 if self.ground is None else min(_LOWEST, len(self.ground.points.bodies))
        floor = torch.zeros(count, dtype=low.dtype)
        weights = torch.cat([floor + self.weights.sink, torch.full_like(low, self.weights.limit)])
        return torch.cat([floor, low + margin]), torch.cat([floor + torch.inf, high - margin]), self.hardness * weights

    def pose(self, root: Tensor, local: Tensor) -> _Pose:
        """With the poses of all bodies."""
        return _Pose(root, local, *forward_kinematics(self.skeleton, root, local))

    def widened(self, step: Tensor) -> Tensor:
        """A step in the free columns `(T, N)` as one in all `(T, 6 + D)`."""
        return step.new_zeros(len(step), 6 + self.skeleton.num_dofs).index_copy(1, self.columns, step)

    def deviation(self, pose: _Pose) -> Tensor:
        """The correction so far, `(T, N)`."""
        turned = exp_map_from_quat(quat_multiply(quat_conjugate(self.local), pose.local))
        dofs = self.skeleton.dof_velocities_from_joint_velocities(turned)
        return torch.cat([pose.root - self.root, turned[:, 0], dofs], dim=-1)[:, self.columns]

    def terms(self, pose: _Pose) -> list[Term]:
        """All but bounds and smoothness."""
        return [*self._goal_terms(pose), *self._stance_terms(pose)]

    def cost(self, pose: _Pose) -> float:
        """Weighted sum of squares."""
        deviation, weights = self.deviation(pose), self.weights
        squares = [term.residual.square().sum() for term in self.terms(pose)]
        values = self.bounded(pose, self.lowest(pose))
        lower, upper, scale = self.limits()
        squares.append((scale * ((lower - values).clamp_min(0.0) + (values - upper).clamp_min(0.0))).square().sum())
        squares.append((weights.keep * deviation).square().sum())
        squares.append((weights.smooth * self.fps * deviation.diff(dim=0)).square().sum())
        return float(torch.stack(squares).sum())

    def system(self, pose: _Pose) -> tuple[System, Bounds]:
        """Normal equations at a pose, with the bounds that are crossed there."""
        frames, size = len(self.root), len(self.columns)
        zeros = self.root.new_zeros
        system = System(zeros(frames, size, size), zeros(max(frames - 1, 0), size, size), zeros(frames, size))
        turns = turns_of(self.skeleton, pose.positions, pose.rotations)
        for term in self.terms(pose):
            assert term.jacobian is not None
            system.add(term, term.jacobian(turns)[..., self.columns])
        system.add_smoothness(self.deviation(pose), self.weights.smooth * self.fps, self.weights.keep)
        bounds = self._bounds(pose, turns)
        crossed = bounds.crossed(bounds.values)
        if crossed is not None:
            system.add(*crossed)
        bounds.active = (bounds.values < bounds.lower) | (bounds.values > bounds.upper)
        return system, bounds

    def heights(self, pose: _Pose) -> tuple[Tensor, Tensor]:
        """Collision points `(T, P, 3)` and their heights `(T, P)`, m."""
        assert self.ground is not None
        on, geometry = self.point_bodies, self.ground.points
        points = pose.positions[:, on] + quat_apply(pose.rotations[:, on], geometry.points.to(pose.positions))
        return points, points[..., 2] - geometry.radii.to(points)

    def lowest(self, pose: _Pose) -> Tensor:
        """The lowest points of each frame, `(T, R)`."""
        if self.ground is None:
            return torch.zeros(len(self.root), 0, dtype=torch.long)
        _, heights = self.heights(pose)
        return heights.topk(min(_LOWEST, heights.shape[1]), largest=False).indices

    def bounded(self, pose: _Pose, rows: Tensor) -> Tensor:
        """The values that have bounds, `(T, C)`: heights of the points `rows`, then joint coordinates."""
        dofs = limit_coordinates(self.skeleton, pose.local)
        if self.ground is None:
            return dofs
        return torch.cat([torch.take_along_dim(self.heights(pose)[1], rows, dim=1), dofs], dim=-1)

    def _bounds(self, pose: _Pose, turns: Turns) -> Bounds:
        rows = self.lowest(pose)
        lower, upper, scale = self.limits()
        joints = coordinate_jacobian(self.skeleton, pose.local)
        jacobian = torch.cat([joints.new_zeros(*joints.shape[:-1], 6), joints], dim=-1)[..., self.columns]
        if self.ground is not None:
            points = torch.take_along_dim(self.heights(pose)[0], rows[..., None], dim=1)
            rise = turns.of_points(self.point_bodies[rows], points)[..., 2, self.columns]
            jacobian = torch.cat([rise, jacobian], dim=1)
        values = self.bounded(pose, rows)
        none = torch.zeros_like(values, dtype=torch.bool)
        return Bounds(rows, values, lower, upper, scale, scale[:, None] * jacobian, none)

    def _goal_terms(self, pose: _Pose) -> list[Term]:
        goals = self.goals
        bodies = torch.tensor(goals.bodies)
        rotations = pose.rotations[:, bodies]
        points = pose.positions[:, bodies] + quat_apply(rotations, goals.points.to(rotations))
        errors = exp_map_from_quat(quat_multiply(rotations, quat_conjugate(goals.rotations.to(rotations))))
        near = goals.position_weights.double()[:, None]
        aligned = goals.rotation_weights.double()[:, None]
        return [
            Term(
                (near * (points - goals.positions.to(points))).flatten(1),
                lambda turns: (near[..., None] * turns.of_points(bodies, points)).flatten(1, 2),
            ),
            Term(
                (aligned * errors).flatten(1),
                lambda turns: (aligned[..., None] * turns.of_bodies(bodies)).flatten(1, 2),
            ),
        ]

    def _stance_terms(self, pose: _Pose) -> list[Term]:
        if self.ground is None:
            return []
        points, heights = self.heights(pose)
        standing, weights = self.standing, self.weights
        points, bodies = points[:, standing], self.point_bodies[standing]
        touch = weights.touch * self.stance
        slide = weights.slide * self.fps * torch.minimum(self.stance[1:], self.stance[:-1])
        slide = slide.repeat_interleave(2, dim=-1)
        return [
            Term(
                touch * heights[:, standing],
                lambda turns: touch[..., None] * turns.of_points(bodies, points)[..., 2, :],
            ),
            Term(
                slide * points[..., :2].flatten(1).diff(dim=0),
                lambda turns: turns.of_points(bodies, points)[..., :2, :].flatten(1, 2),
                slide,
            ),
        ]
