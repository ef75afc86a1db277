"""What the engines of the MuJoCo family do alike: joints, and objects and parameters go to those that keep them."""

from __future__ import annotations

from torch import Tensor

from proto_envs.context import ObjectState
from proto_envs.simulators.base import Capabilities, UnsupportedError
from proto_envs.simulators.coordinates import Coordinates
from proto_envs.simulators.objects import PlacedObjects
from proto_envs.simulators.parameters import Parameters

__all__ = ["MujocoFamily"]


class MujocoFamily:
    """Base of an engine that has made its parts."""

    capabilities: Capabilities
    _coordinates: Coordinates
    _qpos: Tensor
    """(N, nq) and `_qvel` (N, nv), of an engine that has them lie still"""
    _qvel: Tensor
    _forces: Tensor
    """(N, D) N m, of the drives in the last physics step"""
    _objects: PlacedObjects
    _projectiles: PlacedObjects
    _parameters: Parameters

    def _joint_level(self, name: str, ids: Tensor | None) -> Tensor:
        """A field of `RobotState` that is read when it is asked for, in a new tensor."""
        match name:
            case "dof_positions":
                return self._coordinates.dof_positions(self._positions(ids))
            case "dof_velocities":
                return self._coordinates.dof_velocities(self._velocities(ids))
            case "dof_forces":
                return self._forces.clone() if ids is None else self._forces[ids]
            case "contact_forces":
                if not self.capabilities.contact_forces:
                    raise UnsupportedError("contact forces are off: set SimulationSettings.contact_forces")
                forces = self._ground_forces()
                return forces if ids is None else forces[ids]
        raise AttributeError(f"RobotState has no field {name!r}")

    def _positions(self, ids: Tensor | None) -> Tensor:
        """(n, nq) generalised positions."""
        return self._qpos if ids is None else self._qpos[ids]

    def _velocities(self, ids: Tensor | None) -> Tensor:
        """(n, nv) generalised velocities."""
        return self._qvel if ids is None else self._qvel[ids]

    def _ground_forces(self) -> Tensor:
        """(N, B, 3) N, of the ground on each body, in a new tensor."""
        raise NotImplementedError

    def objects(self, ids: Tensor | None = None) -> ObjectState:
        """State of the O objects, in new tensors."""
        return self._objects.state(ids)

    def set_objects(self, ids: Tensor | None, state: ObjectState, *, held_only: bool = False) -> None:
        """Put the objects of environments `ids` into a state; all else, with `held_only` the loose ones too, stays."""
        self._objects.put(ids, state, held_only=held_only)

    def projectiles(self) -> ObjectState:
        """State of the K projectiles, in new tensors."""
        return self._projectiles.state(None)

    def throw(self, chosen: Tensor, state: ObjectState) -> None:
        """Put the projectiles that `chosen` (N, K) bool says into a state; all others stay as they are, bit for bit."""
        self._projectiles.put_where(chosen, state)

    def set_params(self, name: str, ids: Tensor | None, values: Tensor) -> None:
        """Change a physical parameter; which there are says `Simulator.set_params`."""
        self._parameters.set(name, ids, values)

    def get_params(self, name: str) -> Tensor:
        """What holds now, (N, ...) with every axis that `Simulator.set_params` says."""
        return self._parameters.get(name)
