"""What the ground and each object push each body of a robot with, from Newton's list of contacts."""

from __future__ import annotations

import mujoco
import torch
from torch import Tensor

from proto_envs.simulators.mjcf import GROUND

__all__ = ["ContactForces", "parts_of_shapes"]


class ContactForces:
    """Sums the forces of all contacts of a step by body and by what it touches."""

    def __init__(
        self, pairs: tuple[Tensor, Tensor], forces: Tensor, shapes: tuple[Tensor, Tensor], sizes: tuple[int, int, int]
    ) -> None:
        """Take the live list of contacts.

        Args:
            pairs: two of (C,) int, the shapes of each contact; of those that there are not, any.
            forces: (C, 6) N and N m, world, on the first shape; 0 where there is no contact.
            shapes: two of (S,) int, for each shape its environment and its part, as `parts_of_shapes` says.
            sizes: environments N, bodies B, objects O.
        """
        self._pairs, self._forces, self._sizes = pairs, forces, sizes
        n, bodies, objects = sizes
        environments, parts = (shape.long().clamp_min(0) for shape in shapes)
        of_robot, touched = (shapes[1] >= 0) & (shapes[1] < bodies), shapes[1] >= bodies
        self._body = torch.where(of_robot, environments * (1 + objects) * bodies + parts, -1)
        self._touched = torch.where(touched, (parts - bodies) * bodies, -1)
        self._nobody = n * (1 + objects) * bodies

    def sums(self) -> Tensor:
        """(N, 1 + O, B, 3) N, of the ground and of each object on each body of the robot."""
        n, bodies, objects = self._sizes
        total = self._forces.new_zeros(self._nobody + 1, 3)
        for (mine, other), sign in ((self._pairs, 1.0), (self._pairs[::-1], -1.0)):
            body, touched = self._body[mine.clamp_min(0)], self._touched[other.clamp_min(0)]
            row = torch.where((body < 0) | (touched < 0), self._nobody, body + touched)
            total.index_add_(0, row, sign * self._forces[:, :3])
        return total[:-1].view(n, 1 + objects, bodies, 3)


def parts_of_shapes(model: mujoco.MjModel, bodies: int, shape_bodies: Tensor) -> Tensor:
    """What each shape belongs to: a body of the robot, or B for the ground, B + 1 + k for object k; -1 for none.

    Args:
        model: compiled, of one environment.
        bodies: B, of the robot.
        shape_bodies: (S,) int, body of each shape among those of all environments; -1 for none.

    Returns:
        (S,) int64.
    """
    parts = []
    for body in range(1, model.nbody):
        name, parent = model.body(body).name, model.body(model.body_parentid[body]).name
        if body <= bodies:
            parts.append(body - 1)
        elif GROUND in (name, parent):
            parts.append(bodies)
        else:
            parts.append(bodies + 1 + int(name.removeprefix("object_")) if name.startswith("object_") else -1)
    count = len(parts)
    numbers = torch.tensor([*parts, bodies], device=shape_bodies.device)  # the last: on no body, the ground
    return numbers[torch.where(shape_bodies < 0, count, shape_bodies % count).long()]
