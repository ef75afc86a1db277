"""How much room MuJoCo Warp, alone or inside Newton, gets for contacts, and news of when there was too little."""

from __future__ import annotations

import logging
from enum import IntFlag

import mujoco
import numpy as np
import torch
from torch import Tensor

from proto_envs.simulators.base import SimulationSettings

__all__ = ["OverflowWatch", "room_for"]

_GROUND_CONTACTS = {
    mujoco.mjtGeom.mjGEOM_PLANE: 0,
    mujoco.mjtGeom.mjGEOM_HFIELD: 0,
    mujoco.mjtGeom.mjGEOM_SPHERE: 1,
    mujoco.mjtGeom.mjGEOM_ELLIPSOID: 1,
    mujoco.mjtGeom.mjGEOM_CAPSULE: 2,
}
"""most contacts of a geom with level ground; others have 4"""
_USUAL = 40
"""contacts of a robot, on average over many; lying ones were seen to have 15 (SMPLX)"""
_SHARE = 2 / 3
"""of a robot's contacts that it has at once; of SMPLX flailing on its back more than a third were seen"""
_FEWEST = 32
"""contacts that there is room for in any case; the search for them needs it too"""
_ROWS_PER_CONTACT = 4
"""constraints that a contact with friction makes"""
_OVERFLOWS = {
    "NEFC": "constraints",
    "NJMAX_NNZ": "numbers in constraints",
    "BROADPHASE": "pairs of near geoms",
    "NARROWPHASE": "contacts",
    "CCD": "contacts of convex geoms",
    "HFIELD": "contacts of one geom with the height field",
    "CONTACT_MATCH": "contacts of one body whose force is measured",
    "EPA_HORIZON": "edges of a polytope between convex geoms",
}
"""what there can be too many of, by the name of MuJoCo Warp's flag"""


class OverflowWatch:
    """Tells, once for each kind, of what there was no room for, without waiting for the device."""

    def __init__(self, flags: Tensor, kinds: type[IntFlag], log: logging.Logger) -> None:
        """Watch flags (N,) int32 that the engine sets, which mean what `mujoco_warp.OverflowType` says."""
        self._flags, self._log = flags, log
        self._bits = torch.tensor([int(kinds[name]) for name in _OVERFLOWS], dtype=flags.dtype, device=flags.device)
        self._counts = torch.zeros(len(_OVERFLOWS), dtype=torch.long, pin_memory=flags.is_cuda)
        self._on_host = self._counts.numpy()
        self._told: set[str] = set()

    def look(self) -> None:
        """Tell what arrived on the host from an earlier look, and send for what is new."""
        for what, count in zip(_OVERFLOWS.values(), self._on_host, strict=True):
            if count and what not in self._told:
                self._told.add(what)
                self._log.warning(
                    "MuJoCo Warp: too many %s in %d of %d environments; some were left out. Make room with a larger "
                    "max_contacts.",
                    what,
                    count,
                    len(self._flags),
                )
        self._counts.copy_((self._flags.unsqueeze(-1) & self._bits).ne(0).sum(0), non_blocking=True)


def room_for(model: mujoco.MjModel, robot: slice, settings: SimulationSettings) -> tuple[int, int]:
    """Contacts, on average over all environments, and constraints of each of them, that room is made for.

    Args:
        model: compiled.
        robot: its bodies.
        settings: which may say how many contacts.
    """
    average = worst = settings.max_contacts
    if not average:
        most = np.array([_GROUND_CONTACTS.get(mujoco.mjtGeom(kind), 4) for kind in model.geom_type])
        most *= model.geom_contype > 0
        bodies = model.geom_bodyid
        of_robot = (bodies >= robot.start) & (bodies < robot.stop)
        of_objects = ((model.body_mocapid >= 0) | (model.body_dofnum > 0))[bodies] & ~of_robot
        average = min(int(most[of_robot].sum()), _USUAL)
        worst = max(average, round(_SHARE * int(most[of_robot].sum())))
        # A thing may stand on one side and carry something on the other; uneven ground touches twice as often.
        beside, times = (
            2 * int(most[of_objects].sum()),
            (1 if settings.terrain.is_flat else 2) + settings.self_collision,
        )
        average, worst = times * (average + beside), times * (worst + beside)
    return max(average, _FEWEST), _ROWS_PER_CONTACT * worst + int(model.jnt_limited.sum())
