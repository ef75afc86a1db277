"""Physical parameters of each environment by itself, on Newton."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mujoco
import torch
from torch import Tensor

from proto_envs.simulators.mjcf import JointLayout
from proto_envs.simulators.parameters import Parameters

__all__ = ["NewtonFields", "NewtonParameters"]


@dataclass(frozen=True)
class NewtonFields:
    """Live views of arrays of Newton's model, (N, ...) where nothing else is said."""

    gravity: Tensor
    """(N, 3)"""
    friction: Tensor
    """(S,) of the shapes of all environments, which may have different ones"""
    shape_environments: Tensor
    """(S,)"""
    masses: Tensor
    """(N, bodies), as the three that follow without MuJoCo's world body"""
    inverse_masses: Tensor
    inertias: Tensor
    """(N, bodies, 3, 3)"""
    inverse_inertias: Tensor
    centers: Tensor
    """(N, bodies, 3) centres of mass"""
    gains: Tensor
    """(N, actuators, 10)"""
    biases: Tensor
    """(N, actuators, 10)"""
    damping: Tensor
    """(N, nv), as the two that follow"""
    armature: Tensor
    joint_friction: Tensor


class NewtonParameters(Parameters):
    """Writes into the model's arrays; the solver is notified of all changes at once, before physics is computed."""

    engine = "newton"

    def __init__(
        self,
        model: mujoco.MjModel,
        layout: JointLayout,
        fields: NewtonFields,
        notify: Callable[[frozenset[str]], None],
        centers_moved: Callable[[Tensor | slice], None],
    ) -> None:
        """Take the parameters of a compiled `physics_spec`, none of which is set yet.

        Args:
            model: compiled.
            layout: of the robot in it.
            fields: of Newton's model.
            notify: tells the solver which parameters have changed.
            centers_moved: called with the environments whose centres of mass have moved.
        """
        super().__init__(model, len(fields.gravity), layout, fields.gravity)
        self._fields, self._notify, self._centers_moved = fields, notify, centers_moved
        self._own = NewtonFields(**{name: field.clone() for name, field in vars(fields).items()})
        """fields as they were before anything was set"""
        self._bodies = slice(layout.bodies.start - 1, layout.bodies.stop - 1)
        self._columns = torch.as_tensor(layout.dof_qvel, device=fields.gravity.device)
        self._changed: set[str] = set()

    def _apply(self, name: str, rows: Tensor | slice, values: Tensor) -> None:
        fields, own, bodies, drives = self._fields, self._own, self._bodies, slice(self._dofs)
        self._changed.add(name)
        match name:
            case "gravity":
                fields.gravity[rows] = values
            case "friction":
                fields.friction.copy_(own.friction * self._set[name][fields.shape_environments])
            case "mass":
                factors = values.view(*values.shape, 1, 1)
                fields.masses[rows, bodies] = own.masses[rows, bodies] * values
                fields.inverse_masses[rows, bodies] = own.inverse_masses[rows, bodies] / values
                fields.inertias[rows, bodies] = own.inertias[rows, bodies] * factors
                fields.inverse_inertias[rows, bodies] = own.inverse_inertias[rows, bodies] / factors
            case "com_offset":
                fields.centers[rows, bodies] = own.centers[rows, bodies] + values
                self._centers_moved(rows)
            case "stiffness":
                fields.gains[rows, drives, 0] = own.gains[rows, drives, 0] * values
                fields.biases[rows, drives, 1] = own.biases[rows, drives, 1] * values
            case "damping":
                where = self._where(rows)
                fields.damping[where] = own.damping[where] * values
                for which in (drives, slice(self._dofs, 2 * self._dofs)):
                    fields.biases[rows, which, 2] = own.biases[rows, which, 2] * values
            case "armature":
                where = self._where(rows)
                fields.armature[where] = own.armature[where] * values
            case "joint_friction":
                where = self._where(rows)
                fields.joint_friction[where] = own.joint_friction[where] + values

    def _where(self, rows: Tensor | slice) -> tuple[Tensor | slice, Tensor]:
        return (rows if isinstance(rows, slice) else rows.unsqueeze(-1), self._columns)

    def settle(self) -> None:
        """Bring the solver up to date; to be called before physics is computed."""
        if self._changed:
            self._notify(frozenset(self._changed))
            self._changed.clear()
