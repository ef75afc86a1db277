"""Physical parameters of each environment by itself, on MuJoCo Warp."""

from __future__ import annotations

from collections.abc import Callable

import mujoco
import torch
from torch import Tensor

from proto_envs.simulators.mjcf import JointLayout
from proto_envs.simulators.parameters import Parameters

__all__ = ["WarpParameters"]

_DERIVED = ("body_subtreemass", "body_invweight0", "dof_invweight0")
"""fields that follow from inertias"""


class WarpParameters(Parameters):
    """Tells a model of MuJoCo Warp, whose fields have a row for each world once they are asked for."""

    engine = "mujoco_warp"

    def __init__(
        self,
        model: mujoco.MjModel,
        layout: JointLayout,
        num_envs: int,
        field: Callable[[str], Tensor],
        derive: Callable[[], None],
        make_room: Callable[[int], None],
    ) -> None:
        """Take the parameters of a compiled `physics_spec`, none of which is set yet.

        Args:
            model: compiled.
            layout: of the robot in it.
            num_envs: N.
            field: gives a field of the model by name, live, (N, ...).
            derive: computes what constraints see of the inertias of all worlds.
            make_room: makes room for so many more constraints in each world.
        """
        some = field("opt.gravity")
        super().__init__(model, num_envs, layout, some)
        self._field, self._derive, self._make_room = field, derive, make_room
        self._own: dict[str, Tensor] = {}
        """fields as they were before anything was set"""
        self._columns = torch.as_tensor(layout.dof_qvel, device=some.device)
        # Sums the masses of all bodies at and below each body.
        parents, below = model.body_parentid, torch.eye(model.nbody)
        for body in range(model.nbody - 1, 0, -1):
            below[parents[body]] += below[body]
        self._below = below.to(some)
        self._stale = torch.zeros(num_envs, dtype=torch.bool, device=some.device)
        """environments whose derived constants are out of date"""
        self._any_stale = False

    def _apply(self, name: str, rows: Tensor | slice, values: Tensor) -> None:
        robot, drives = self._layout.bodies, slice(self._dofs)
        match name:
            case "gravity":
                self._field("opt.gravity")[rows] = values
            case "friction":
                field, own = self._fields("geom_friction")
                field[rows, :, 0] = own[rows, :, 0] * values.unsqueeze(-1)
            case "mass":
                field, own = self._fields("body_mass")
                field[rows, robot] = own[rows, robot] * values
                field, own = self._fields("body_inertia")
                field[rows, robot] = own[rows, robot] * values.unsqueeze(-1)
                self._mark_stale(rows)
            case "com_offset":
                field, own = self._fields("body_ipos")
                field[rows, robot] = own[rows, robot] + values
                self._mark_stale(rows)
            case "stiffness":
                gain, own = self._fields("actuator_gainprm")
                stiffness = own[rows, drives, 0] * values
                gain[rows, drives, 0] = stiffness
                self._field("actuator_biasprm")[rows, drives, 1] = -stiffness
            case "damping":
                self._set_dofs("dof_damping", rows, lambda own: own * values)
                bias, own = self._fields("actuator_biasprm")
                for which in (drives, slice(self._dofs, 2 * self._dofs)):
                    bias[rows, which, 2] = own[rows, which, 2] * values
            case "armature":
                self._set_dofs("dof_armature", rows, lambda own: own * values)
                self._mark_stale(rows)
            case "joint_friction":
                if "dof_frictionloss" not in self._own:
                    self._make_room(self._dofs)
                self._set_dofs("dof_frictionloss", rows, lambda own: own + values)

    def _fields(self, name: str) -> tuple[Tensor, Tensor]:
        """A field (N, ...), live, and what it was before anything was set."""
        field = self._field(name)
        if name not in self._own:
            self._own[name] = field.clone()
        return field, self._own[name]

    def _set_dofs(self, name: str, rows: Tensor | slice, change: Callable[[Tensor], Tensor]) -> None:
        field, own = self._fields(name)
        where = (rows if isinstance(rows, slice) else rows.unsqueeze(-1), self._columns)
        field[where] = change(own[where])

    def _mark_stale(self, rows: Tensor | slice) -> None:
        self._stale[rows] = True
        self._any_stale = True

    def settle(self) -> None:
        """Bring derived constants up to date; to be called before physics is computed.

        They are computed for all worlds, and kept for those that are out of date: the others stay as they are, bit for
        bit.
        """
        if not self._any_stale:
            return
        before = {name: self._field(name).clone() for name in _DERIVED}
        self._field("body_subtreemass").copy_(self._field("body_mass") @ self._below.T)
        self._derive()
        for name, old in before.items():
            field = self._field(name)
            stale = self._stale.view(-1, *[1] * (field.dim() - 1))
            field.copy_(torch.where(stale, field, old))
        self._stale.zero_()
        self._any_stale = False
