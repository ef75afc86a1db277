"""What every observation, reward and termination sees: the robot's state, its actions, and the task's targets.

All tensors are float32 on the environment's device and batched over the N environments of the call (all of them, or the
subset that is being reset). Quaternions are xyzw; positions and velocities are in the world frame unless a name says
otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from motionlib import BodyState
from poselib.rotations import heading_angle
from proto_envs.goals import JumpGoal, PathGoal, ReachGoal, SparseGoal, SteeringGoal
from proto_envs.robots import Robot
from proto_envs.terrain import FLAT, Terrain

__all__ = [
    "Context",
    "ObjectState",
    "PastStates",
    "RecentBodies",
    "ResetState",
    "RobotState",
    "SceneView",
    "TrackingError",
    "given",
]

if TYPE_CHECKING:
    from proto_envs.scenes.tables import SceneTables

_Part = TypeVar("_Part")


class RobotState:
    """Pose and velocity of all bodies; joint-level quantities are read from the engine only when first asked for."""

    def __init__(
        self,
        body_positions: Tensor,
        body_rotations: Tensor,
        body_velocities: Tensor,
        body_angular_velocities: Tensor,
        read: Callable[[str], Tensor],
    ) -> None:
        """Wrap what an engine has read.

        Args:
            body_positions: (N, B, 3) m.
            body_rotations: (N, B, 4).
            body_velocities: (N, B, 3) m/s, of the bodies' origins.
            body_angular_velocities: (N, B, 3) rad/s.
            read: gives a lazy field by name.
        """
        self.body_positions = body_positions
        self.body_rotations = body_rotations
        self.body_velocities = body_velocities
        self.body_angular_velocities = body_angular_velocities
        self._read = read

    @cached_property
    def dof_positions(self) -> Tensor:
        """(N, D) rad."""
        return self._read("dof_positions")

    @cached_property
    def dof_velocities(self) -> Tensor:
        """(N, D) rad/s; a ball's three are its angular velocity in the child's frame."""
        return self._read("dof_velocities")

    @cached_property
    def dof_forces(self) -> Tensor:
        """(N, D) N m that the drives exerted in the last substep, spring and damper together."""
        return self._read("dof_forces")

    @cached_property
    def contact_forces(self) -> Tensor:
        """(N, B, 3) N, world: net force of the ground on each body in the last substep."""
        return self._read("contact_forces")


@dataclass(frozen=True)
class ResetState:
    """Where a robot starts an episode; world frame, n environments."""

    root_position: Tensor
    """(n, 3) m"""
    local_rotations: Tensor
    """(n, B, 4); the root's is its orientation in the world"""
    dof_positions: Tensor
    """(n, D) rad, the same joints as `Skeleton.dofs_from_local_rotations` gives them"""
    root_velocity: Tensor
    """(n, 3) m/s"""
    root_angular_velocity: Tensor
    """(n, 3) rad/s"""
    dof_velocities: Tensor
    """(n, D) rad/s"""


@dataclass(frozen=True)
class ObjectState:
    """O objects beside each of n robots; world frame."""

    positions: Tensor
    """(n, O, 3) m, of their origins"""
    rotations: Tensor
    """(n, O, 4)"""
    velocities: Tensor
    """(n, O, 3) m/s"""
    angular_velocities: Tensor
    """(n, O, 3) rad/s"""
    robot_forces: Tensor | None = None
    """(n, O, B, 3) N, of each body of the robot on each of them in the last substep, where the task has it measured;
    not needed to set a state"""

    def rows(self, ids: Tensor | None) -> ObjectState:
        """The same of some robots; None stands for all of them."""
        if ids is None:
            return self
        return replace(self, **{name: field[ids] for name, field in vars(self).items() if field is not None})


@dataclass(frozen=True, eq=False)
class SceneView:
    """The scenes of n robots: what their objects are, beside `Context.objects`, which says where they are."""

    tables: SceneTables
    """of the scenes there are"""
    scenes: Tensor
    """(n,) int64, which of them"""
    reference: ObjectState | None = None
    """where the objects should be now, where some have a trajectory"""
    destination: Tensor | None = None
    """(n, 3) m, where a task wants the target's origin to be"""

    @property
    def targets(self) -> Tensor:
        """(n,) int64, place of the object that the task is about."""
        return self.tables.targets[self.scenes]


@dataclass(frozen=True)
class PastStates:
    """What was seen of the robots at H moments before now, the latest first."""

    seen: Tensor
    """(N, H, F), what the history remembers of a moment"""
    ages: Tensor
    """(H,) s before now"""
    known: Tensor
    """(N, H) bool, false before the beginning of an episode or of the clip that it began in"""


@dataclass(frozen=True)
class RecentBodies:
    """Where the bodies were at the last three moments before now, the latest first."""

    positions: Tensor
    """(N, 3, B, 3) m"""
    known: Tensor
    """(N,) int64, how many of these moments belong to this episode"""
    offsets: Tensor | None = None
    """(N, 3, B, 3) m, body less reference, where the task has one"""


@dataclass(frozen=True)
class TrackingError:
    """How far the robot is from its reference, body by body. Everything is computed once, when first asked for."""

    state: RobotState
    reference: BodyState

    @cached_property
    def offsets(self) -> Tensor:
        """(N, B, 3) m, robot minus reference."""
        return self.state.body_positions - self.reference.body_positions

    @cached_property
    def squared_distances(self) -> Tensor:
        """(N, B) m2."""
        return self.offsets.square().sum(-1)

    @cached_property
    def distances(self) -> Tensor:
        """(N, B) m."""
        return self.squared_distances.sqrt()

    @cached_property
    def root_relative_distances(self) -> Tensor:
        """(N, B) m, with both roots moved onto each other (not turned)."""
        return (self.offsets - self.offsets[:, :1]).norm(dim=-1)

    @cached_property
    def angles(self) -> Tensor:
        """(N, B) rad, good to 5e-4 rad; `poselib.rotations.angle_between` is exact near 0 but costs twice as much."""
        cosine = (self.state.body_rotations * self.reference.body_rotations).sum(-1).abs().clamp_max(1.0)
        # acos(cosine), which has no vectorized form on CPUs.
        return 2.0 * torch.atan2((1.0 - cosine.square()).sqrt(), cosine)


@dataclass(frozen=True)
class Context:
    """One moment of N environments."""

    robot: Robot
    dt: float
    """s per control step"""
    state: RobotState
    steps: Tensor
    """(N,) control steps since the episode began"""
    targets: Tensor
    """(N, D) rad, joint targets commanded for the step just made"""
    previous_targets: Tensor
    """(N, D) rad, those of the step before"""
    ground_height: Tensor
    """(N,) m under the root"""
    terrain: Terrain = FLAT
    """the ground; `terrain.heights` gives its height anywhere"""
    objects: ObjectState | None = None
    """what stands beside the robots, where there is something"""
    scene: SceneView | None = None
    """what that is, where a `Scenery` keeps it"""
    motion: BodyState | None = None
    """reference at this moment, where the task has one"""
    upcoming: BodyState | None = None
    """reference at the K future moments the task looks at, (N, K, ...) in each field"""
    style_frames: Callable[[], Tensor] | None = None
    """gives (N, K, F), what `StyleHistory` remembers of K moments, the newest first"""
    goal: Any = None
    """a goal that is none of those below: of your own control, of the type that your own kernels expect"""
    steering: SteeringGoal | None = None
    place_before: Tensor | None = None
    """(N, 2) m, of the root on the ground some time ago, where a task judges a mean speed"""
    path: PathGoal | None = None
    reach: ReachGoal | None = None
    jump: JumpGoal | None = None
    sparse: SparseGoal | None = None
    past: PastStates | None = None
    recent: RecentBodies | None = None
    """where an evaluation asked for detailed metrics"""

    @property
    def reference(self) -> BodyState:
        """The reference pose that the robot should be in now.

        Raises:
            LookupError: if the task has no reference motion.
        """
        if self.motion is None:
            raise LookupError("this task has no reference motion: add a MotionReference to its controls")
        return self.motion

    @property
    def future(self) -> BodyState:
        """The reference at future moments, (N, K, ...).

        Raises:
            LookupError: if the task has no reference motion.
        """
        if self.upcoming is None:
            raise LookupError("this task has no reference motion: add a MotionReference to its controls")
        return self.upcoming

    @cached_property
    def tracking(self) -> TrackingError:
        """Error against `reference`."""
        return TrackingError(self.state, self.reference)

    @cached_property
    def heading_matrix(self) -> Tensor:
        """(N, 3, 3) such that `row_vectors @ heading_matrix` turns world vectors into the root's heading frame."""
        yaw = heading_angle(self.state.body_rotations[:, 0])
        cosine, sine = torch.cos(yaw), torch.sin(yaw)
        zero, one = torch.zeros_like(yaw), torch.ones_like(yaw)
        rows = [cosine, -sine, zero, sine, cosine, zero, zero, zero, one]
        return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))

    def in_heading(self, vectors: Tensor) -> Tensor:
        """World vectors (N, ..., 3), or (N, ..., 2) on the ground, in the root's heading frame."""
        size = vectors.shape[-1]
        flat = vectors.reshape(len(vectors), -1, size)
        return (flat @ self.heading_matrix[:, :size, :size]).view(vectors.shape)


def given(part: _Part | None) -> _Part:
    """A field of `Context` that the task's controls fill in, such as `given(ctx.steering)`.

    Raises:
        LookupError: if no control fills it in.
    """
    if part is None:
        raise LookupError("this part of the context is empty: the task lacks the control that fills it in")
    return part
