"""Physical parameters of each environment by itself, in Genesis."""

from __future__ import annotations

from typing import Any

import mujoco
from torch import Tensor

from proto_envs.simulators.mjcf import JointLayout
from proto_envs.simulators.parameters import Parameters

__all__ = ["GenesisParameters"]


class GenesisParameters(Parameters):
    """Tells a rigid solver of Genesis, which computes what follows from inertias by itself."""

    engine = "genesis"

    def __init__(
        self,
        model: mujoco.MjModel,
        layout: JointLayout,
        solver: Any,  # noqa: ANN401 - Genesis has no types
        links: slice,
        stiffness: Tensor,
    ) -> None:
        """Take the parameters of a built scene, none of which is set yet.

        Args:
            model: the compiled `physics_spec` that the scene was built of.
            layout: of the robot in it.
            solver: of the scene, with properties of links and degrees of freedom for each environment.
            links: the robot's bodies among the solver's; the degrees of freedom are the model's.
            stiffness: (N, D) N m/rad, live, of the drives, which are not the solver's.
        """
        super().__init__(model, len(stiffness), layout, stiffness)
        self._solver, self._links, self._stiffness = solver, links, stiffness
        self._columns = slice(layout.dof_qvel[0], layout.dof_qvel[0] + self._dofs)
        # Models, not environments, have these; they are read before anything is set.
        self._own = {
            "mass": solver.get_links_mass(links)[0],
            "com_offset": solver.get_links_COM(links)[0],
            "stiffness": stiffness[0].clone(),
            "damping": solver.get_dofs_damping(self._columns)[0],
            "armature": solver.get_dofs_armature(self._columns)[0],
            "joint_friction": solver.get_dofs_frictionloss(self._columns)[0],
        }

    def _apply(self, name: str, rows: Tensor | slice, values: Tensor) -> None:
        solver, links, dofs = self._solver, self._links, self._columns
        envs = None if isinstance(rows, slice) else rows
        match name:
            case "gravity":
                solver.set_gravity(values, envs)
            case "friction":
                solver.set_geoms_friction_ratio(values.unsqueeze(-1).repeat(1, solver.n_geoms), None, envs)
            case "mass":
                solver.set_links_mass(self._own[name] * values, links, envs, scale_inertia=True)
            case "com_offset":
                solver.set_links_COM(self._own[name] + values, links, envs)
            case "stiffness":
                self._stiffness[rows] = self._own[name] * values
            case "damping":
                solver.set_dofs_damping(self._own[name] * values, dofs, envs)
            case "armature":
                solver.set_dofs_armature(self._own[name] * values, dofs, envs)
            case "joint_friction":
                solver.set_dofs_frictionloss(self._own[name] + values, dofs, envs)
