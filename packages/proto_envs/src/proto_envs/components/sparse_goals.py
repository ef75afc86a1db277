"""The goals that drive a MaskedMimic policy, whoever writes them: a sampler over clips or a controller made by hand."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from poselib.kinematics import forward_kinematics
from poselib.rotations import quat_apply, quat_from_yaw, quat_identity, quat_multiply
from proto_envs.components.control import Control, Markers
from proto_envs.components.masking import ROLES
from proto_envs.context import Context
from proto_envs.goals import SparseGoal
from proto_envs.robots import Robot

__all__ = ["EngineeredGoals", "SparseGoals", "SparseShape", "place_body"]

_NOWHERE = -1000.0
"""m, height at which markers are not seen"""
_NEAR_COLOR, _FAR_COLOR = (0.9, 0.2, 0.2, 0.9), (0.2, 0.4, 0.9, 0.9)


@dataclass(frozen=True, eq=False)
class SparseShape:
    """What goals can be about, and how many poses they hold."""

    robot: Robot
    near: int
    """K, the first slots: the poses 1, 2, ... K control steps from now"""
    far: int
    """M, the other slots: poses at any later time"""
    text_size: int = 0
    """E, numbers of a sentence's embedding; 0: no words"""

    @property
    def slots(self) -> int:
        """T = K + M."""
        return self.near + self.far

    @cached_property
    def bodies(self) -> list[int]:
        """(C,) indices of the bodies that goals may name, `Robot.trackable_bodies`."""
        return self.robot.skeleton.body_indices(self.robot.trackable_bodies)

    @cached_property
    def roles(self) -> Mapping[str, int]:
        """Role (`proto_envs.components.masking.ROLES`) to row of the goals."""
        names = {"pelvis": self.robot.skeleton.body_names[0], **self.robot.semantic}
        tracked = self.robot.trackable_bodies
        return {role: tracked.index(names[role]) for role in ROLES if names.get(role) in tracked}

    def row(self, role: str) -> int:
        """The row of a role.

        Raises:
            ValueError: if no goal names such a body of this robot.
        """
        if role not in self.roles:
            raise ValueError(f"robot {self.robot.name}: goals name no {role!r}; they name {list(self.roles)}")
        return self.roles[role]

    @cached_property
    def upright(self) -> Tensor:
        """(C, 4) rotations of the bodies in the default pose, facing x."""
        robot = self.robot
        local = robot.skeleton.local_rotations_from_dofs(robot.default_dofs)
        _, rotations = forward_kinematics(robot.skeleton, torch.zeros(3), local)
        return rotations[self.bodies]

    def empty(self, count: int, device: torch.device) -> SparseGoal:
        """Goals that ask for nothing, in new tensors; near slots are due one after the other, the others at once."""
        slots, bodies = self.slots, len(self.bodies)
        wait = torch.zeros(count, slots, dtype=torch.long, device=device)
        wait[:, : self.near] = torch.arange(1, self.near + 1, device=device)
        return SparseGoal(
            wait=wait,
            positions=torch.zeros(count, slots, bodies, 3, device=device),
            rotations=quat_identity(count, slots, bodies, device=device),
            velocities=torch.zeros(count, slots, 2, device=device),
            headings=torch.zeros(count, slots, device=device),
            mask=torch.zeros(count, slots, bodies + 1, 2, dtype=torch.bool, device=device),
            text=torch.zeros(count, self.text_size, device=device),
            text_shown=torch.zeros(count, dtype=torch.bool, device=device),
            object_shown=torch.zeros(count, dtype=torch.bool, device=device),
        )


class SparseGoals(Control):
    """Keeps what is asked of each robot, shows it to the policy, and draws it."""

    def __init__(self, shape: SparseShape, num_envs: int, device: torch.device) -> None:
        """Begin with goals that ask for nothing.

        Args:
            shape: of the goals.
            num_envs: N.
            device: of the goals.
        """
        self.shape = shape
        self.goal = shape.empty(num_envs, device)

    def step(self, generator: torch.Generator) -> None:
        """Poses draw nearer."""
        del generator
        self.goal.wait.sub_(1)

    def context(self, ids: Tensor | None) -> Mapping[str, Any]:
        """What is asked for."""
        return {"sparse": self.goal if ids is None else self.goal.map(lambda field: field[ids])}

    def _write(self, fresh: SparseGoal, ids: Tensor | None = None) -> None:
        """Copy goals of all robots, or of `ids`, into the live ones."""
        for name, live in vars(self.goal).items():
            if ids is None:
                live.copy_(vars(fresh)[name])
            else:
                live[ids] = vars(fresh)[name]

    def markers(self) -> list[Markers]:
        """Spheres for positions that are asked for, arrows along the x axes for rotations; blue in the far slots."""
        goal, near = self.goal, self.shape.near
        nowhere = goal.positions.new_tensor([0.0, 0.0, _NOWHERE])
        forward = quat_apply(goal.rotations, goal.positions.new_tensor([0.3, 0.0, 0.0]))
        spheres, shafts = (
            torch.where(goal.mask[:, :, :-1, kind : kind + 1], goal.positions, nowhere) for kind in (0, 1)
        )
        drawn = []
        for slots, color in ((slice(0, near), _NEAR_COLOR), (slice(near, None), _FAR_COLOR)):
            drawn.append(Markers(spheres[:, slots].flatten(1, 2), color, 0.04))
            drawn.append(Markers(shafts[:, slots].flatten(1, 2), color, 0.012, forward[:, slots].flatten(1, 2)))
        return drawn

    def state_dict(self) -> dict[str, Tensor]:
        """The goals."""
        return dict(vars(self.goal))


class EngineeredGoals(SparseGoals):
    """Goals that follow from where the robot is and what it is commanded; subclasses say how.

    They may use the near slots, and one far slot, the last.
    """

    def __init__(self, shape: SparseShape, num_envs: int, dt: float, device: torch.device) -> None:
        """Begin with goals that ask for nothing.

        Args:
            shape: of the goals.
            num_envs: N.
            dt: s per control step.
            device: of the goals.

        Raises:
            ValueError: without a far slot.
        """
        if not shape.far:
            raise ValueError(
                "controllers made by hand need a slot for a pose at any time: far_poses is 0, want 1 or more"
            )
        super().__init__(shape, num_envs, device)
        self._dt = dt

    @abstractmethod
    def ask(self, context: Context, ids: Tensor | None) -> SparseGoal:
        """Goals in new tensors.

        Args:
            context: of n environments.
            ids: (n,) which these are; None: all.
        """

    def begin(self, ids: Tensor, context: Context, generator: torch.Generator) -> None:
        """Ask for something at once."""
        del generator
        self._write(self.ask(context, ids), ids)

    def observe(self, context: Context, generator: torch.Generator) -> None:
        """Ask anew."""
        del generator
        self._write(self.ask(context, None))

    def nothing(self, context: Context) -> SparseGoal:
        """Goals for these environments that ask for nothing."""
        return self.shape.empty(len(context.steps), context.steps.device)

    def steps_in(self, seconds: float) -> int:
        """Control steps in a time, at least 1."""
        return max(1, round(seconds / self._dt))

    def facing(self, row: int, yaw: Tensor) -> Tensor:
        """Rotations (n, 4) of a body that stands upright and faces `yaw` (n,) rad."""
        return quat_multiply(quat_from_yaw(yaw), self.shape.upright[row].to(yaw).expand(len(yaw), 4))


def place_body(
    goal: SparseGoal,
    slot: int,
    row: int,
    *,
    position: Tensor | None = None,
    rotation: Tensor | None = None,
    where: Tensor | None = None,
) -> None:
    """Ask for a body's position (n, 3) or rotation (n, 4), or both, in a slot; `where` (n,) bool, else everywhere."""
    for kind, (field, value) in enumerate(((goal.positions, position), (goal.rotations, rotation))):
        if value is not None:
            field[:, slot, row] = value
            goal.mask[:, slot, row, kind] = True if where is None else where
