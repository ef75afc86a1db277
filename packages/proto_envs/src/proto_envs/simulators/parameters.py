"""Physical parameters of each environment by itself: what was set, and how `mujoco.batch` is told of it."""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np
import torch
from mujoco.batch import Batch
from torch import Tensor

from proto_envs.simulators.base import UnsupportedError
from proto_envs.simulators.mjcf import JointLayout

__all__ = ["BatchParameters", "Parameters"]

_SAME = mujoco.mjtSameFrame
_PREFIX = "parameter."


class Parameters:
    """What `set_params` has set, whatever the engine; an engine's own class says how it is told.

    Values are always meant against the model as it was compiled, so that setting a parameter twice is setting it once.
    """

    engine = ""
    """its name, for messages"""

    def __init__(self, model: mujoco.MjModel, num_envs: int, layout: JointLayout, like: Tensor) -> None:
        """Take the parameters of a compiled `physics_spec`, none of which is set yet.

        Args:
            model: compiled.
            num_envs: N.
            layout: of the robot in it.
            like: any tensor on the engine's device and in its precision.
        """
        n, bodies, dofs = num_envs, layout.bodies.stop - layout.bodies.start, len(layout.dof_qvel)
        self._layout, self._dofs = layout, dofs
        self._neutral = {
            "gravity": like.new_tensor(model.opt.gravity).repeat(n, 1),
            "friction": like.new_ones(n),
            "mass": like.new_ones(n, bodies),
            "com_offset": like.new_zeros(n, bodies, 3),
            "stiffness": like.new_ones(n, dofs),
            "damping": like.new_ones(n, dofs),
            "armature": like.new_ones(n, dofs),
            "joint_friction": like.new_zeros(n, dofs),
        }
        """values that change nothing"""
        self._set: dict[str, Tensor] = {}
        """those that were set, by name, of all environments"""

    @property
    def names(self) -> frozenset[str]:
        """What can be set."""
        return frozenset(self._neutral)

    def get(self, name: str) -> Tensor:
        """Present values (N, ...) of a parameter, in a new tensor.

        Raises:
            UnsupportedError: for an unknown name, with the known ones.
        """
        self._require(name)
        return self._set.get(name, self._neutral[name]).to(torch.float32, copy=True)

    def set(self, name: str, ids: Tensor | None, values: Tensor) -> None:
        """Change a parameter; names, shapes and units are those of `Simulator.set_params`.

        Raises:
            UnsupportedError: for an unknown name, with the known ones.
            ValueError: for values of a shape that the parameter does not have.
        """
        self._require(name)
        held = self._set.setdefault(name, self._neutral[name].clone())
        count = len(held) if ids is None else len(ids)
        wanted = (count, *held.shape[1:])
        if name == "gravity" and values.dim() == 1:
            values = torch.nn.functional.pad(values.unsqueeze(-1), (2, 0))
        elif name != "com_offset" and values.dim() == 1:
            values = values.view(-1, *[1] * (held.dim() - 1)).expand(-1, *held.shape[1:])
        if tuple(values.shape) != wanted:
            raise ValueError(f"parameter {name!r}: want shape {wanted}, got {tuple(values.shape)}")
        rows = slice(None) if ids is None else ids
        held[rows] = values.to(held.dtype)
        self._apply(name, rows, held[rows])

    def _apply(self, name: str, rows: Tensor | slice, values: Tensor) -> None:
        """Tell the engine that `values` (n, ...) hold in environments `rows`."""
        raise NotImplementedError

    def _require(self, name: str) -> None:
        if name not in self._neutral:
            raise UnsupportedError(f"engine {self.engine} cannot set {name!r}; it can set {sorted(self._neutral)}")

    def settle(self) -> None:
        """Bring derived constants up to date; to be called before physics is computed."""

    def state_dict(self) -> dict[str, Tensor]:
        """What was set, each under "parameter." and its name."""
        return {_PREFIX + name: values for name, values in self._set.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore `state_dict` from among other things; what was set here but not there becomes the model's own."""
        given = {name.removeprefix(_PREFIX): values for name, values in state.items() if name.startswith(_PREFIX)}
        for name in self._set.keys() - given.keys():
            self.set(name, None, self._neutral[name])
            del self._set[name]
        for name, values in given.items():
            self.set(name, None, values)


class BatchParameters(Parameters):
    """Tells a batch of MuJoCo.

    MuJoCo's derived constants (inertias seen by constraints, subtree masses) are computed anew by `settle`, once for
    all changes since the last time.
    """

    engine = "mujoco"

    def __init__(self, batch: Batch, layout: JointLayout) -> None:
        """Take the parameters of a compiled `physics_spec`, none of which is set yet."""
        super().__init__(batch.model, batch.nsim, layout, torch.zeros(0, dtype=torch.float64))
        self._batch = batch
        n, own = batch.nsim, batch.expanded("geom_friction")
        self._friction = np.tile(batch.model.geom_friction[:, 0], (n, 1)) if own is None else own[..., 0].copy()
        """(N, geoms) of the models; objects differ between environments"""
        self._stale = np.zeros(n, dtype=bool)
        """environments whose derived constants are out of date"""

    def _apply(self, name: str, rows: Tensor | slice, values: Tensor) -> None:
        self._apply_arrays(name, rows if isinstance(rows, slice) else rows.numpy(), values.numpy())

    def _apply_arrays(self, name: str, rows: np.ndarray | slice, values: np.ndarray) -> None:
        model, bodies, qvel = self._batch.model, self._layout.bodies, self._layout.dof_qvel
        expand = self._batch.expand
        match name:
            case "gravity":
                expand("opt.gravity")[rows] = values
            case "friction":
                expand("geom_friction")[rows, :, 0] = self._friction[rows] * values[:, None]
            case "mass":
                expand("body_mass")[rows, bodies] = model.body_mass[bodies] * values
                expand("body_inertia")[rows, bodies] = model.body_inertia[bodies] * values[..., None]
                self._stale[rows] = True
            case "com_offset":
                self._loosen_frames()
                expand("body_ipos")[rows, bodies] = model.body_ipos[bodies] + values
                self._stale[rows] = True
            case "stiffness":
                stiffness = model.actuator_gainprm[: self._dofs, 0] * values
                expand("actuator_gainprm")[rows, : self._dofs, 0] = stiffness
                expand("actuator_biasprm")[rows, : self._dofs, 1] = -stiffness
            case "damping":
                _columns(expand("dof_damping"), rows, qvel, model.dof_damping[qvel] * values)
                drives, undamped = slice(self._dofs), slice(self._dofs, 2 * self._dofs)
                for which in (drives, undamped):
                    expand("actuator_biasprm")[rows, which, 2] = model.actuator_biasprm[which, 2] * values
            case "armature":
                _columns(expand("dof_armature"), rows, qvel, model.dof_armature[qvel] * values)
                self._stale[rows] = True
            case "joint_friction":
                _columns(expand("dof_frictionloss"), rows, qvel, model.dof_frictionloss[qvel] + values)

    def _loosen_frames(self) -> None:
        """Make MuJoCo compute where centres of mass are.

        The compiler notes which frames fall together and the engine then copies one for the other: without this, a
        moved centre of mass would stay where it was, or take geoms along.
        """
        body, geom = self._batch.expand("body_sameframe"), self._batch.expand("geom_sameframe")
        body[body == int(_SAME.mjSAMEFRAME_BODY)] = int(_SAME.mjSAMEFRAME_BODYROT)
        geom[geom == int(_SAME.mjSAMEFRAME_INERTIA)] = int(_SAME.mjSAMEFRAME_INERTIAROT)

    def settle(self) -> None:
        """Bring derived constants up to date; to be called before physics is computed."""
        if self._stale.any():
            self._batch.set_const(np.flatnonzero(self._stale))
            self._stale[:] = False


def _columns(field: np.ndarray, rows: np.ndarray | slice, columns: np.ndarray, values: np.ndarray) -> None:
    """field[rows, columns] = values, (n, len(columns))."""
    index = np.arange(len(field))[rows]
    field[index[:, None], columns] = values
