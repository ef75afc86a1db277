"""What the engines of the MuJoCo family do alike: objects, projectiles and parameters go to those that keep them."""

from __future__ import annotations

from torch import Tensor

from proto_envs.context import ObjectState
from proto_envs.simulators.objects import PlacedObjects
from proto_envs.simulators.parameters import Parameters

__all__ = ["MujocoFamily"]


class MujocoFamily:
    """Base of an engine that has made its parts."""

    _objects: PlacedObjects
    _projectiles: PlacedObjects
    _parameters: Parameters

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
