"""MuJoCo on all CPU cores, through its own batch interface (`mujoco.batch`)."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping

import mujoco
import numpy as np
import torch
from mujoco.batch import Batch
from torch import Tensor

from poselib.rotations import quat_apply_inverse, xyzw_from_wxyz
from proto_envs.context import ResetState, RobotState
from proto_envs.robots import Robot
from proto_envs.simulators.base import Capabilities, SimulationSettings
from proto_envs.simulators.coordinates import Coordinates
from proto_envs.simulators.family import MujocoFamily
from proto_envs.simulators.mjcf import PROJECTILE, physics_spec
from proto_envs.simulators.objects import PlacedObjects, set_scenes
from proto_envs.simulators.parameters import BatchParameters

__all__ = ["MujocoSimulator", "cpu_count"]

_LOG = logging.getLogger(__name__)

_STAGE_NONE = mujoco.mjtStage.mjSTAGE_NONE.value
_DIVERGED = [
    int(w)
    for w in (
        mujoco.mjtWarning.mjWARN_BADQPOS,
        mujoco.mjtWarning.mjWARN_BADQVEL,
        mujoco.mjtWarning.mjWARN_BADQACC,
        mujoco.mjtWarning.mjWARN_BADCTRL,
    )
]


def cpu_count() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def _log_warning(message: str) -> None:
    # Divergence is counted and ends the episode; it is news only to those who ask for it.
    _LOG.log(logging.INFO if "unstable" in message else logging.WARNING, "MuJoCo: %s", message)


class MujocoSimulator(MujocoFamily):
    """The CPU engine. Results do not depend on the number of threads.

    MuJoCo's state rows and outputs are float64 arrays that stay in place; they are read through zero-copy views and
    rounded to float32 once.
    """

    def __init__(self, robot: Robot, num_envs: int, settings: SimulationSettings) -> None:
        """Build N copies of `robot`.

        Args:
            robot: what to simulate.
            num_envs: N.
            settings: rates, friction, sensors.

        Raises:
            ValueError: for another device than the CPU.
        """
        if settings.device not in ("auto", "cpu"):
            raise ValueError(f"engine mujoco runs on the CPU, not on {settings.device!r}: take backend='mujoco_warp'")
        self.num_envs = num_envs
        self.device = torch.device("cpu")
        self.dt = 1.0 / settings.control_hz
        self.terrain = settings.terrain
        if mujoco.get_mju_user_warning() is None:
            # MuJoCo's own way is to print and to write MUJOCO_LOG.TXT into the working folder.
            mujoco.set_mju_user_warning(_log_warning)
        self.scenes = scenes = settings.scenes
        count = 1 if scenes is None else len(scenes.scenes)
        self._described = (robot, settings)
        self.models = [physics_spec(robot, settings, i).compile() for i in range(count)]
        self.model = self.models[0]
        self.batch = Batch(self.model, num_envs, settings.threads or cpu_count())
        if scenes is not None:
            set_scenes(self.batch, self.models, scenes)
        self._skeleton = robot.skeleton
        self.substeps = settings.substeps
        self._coordinates = Coordinates(robot, self.model, self.device)
        self._layout = self._coordinates.layout
        self._parameters = BatchParameters(self.batch, self._layout)
        self.capabilities = Capabilities(
            name="mujoco",
            parameters=self._parameters.names,
            contact_forces=settings.contact_forces,
            apply_force=True,
            scenes=True,
            deterministic=True,
            state_dict=True,
        )
        self._bind_fields()
        self.batch.reset(stage=_STAGE_NONE)
        scene_of = np.zeros(num_envs, dtype=np.int64) if scenes is None else scenes.assignment.numpy()
        _, first, self._start_of = np.unique(scene_of, return_index=True, return_inverse=True)
        self._starts = self.batch.state[first]
        rows = (self._qpos, self._qvel, self._mocap)
        watched = robot.skeleton.num_bodies if settings.object_forces else 0
        self._objects = PlacedObjects(self.model, rows, scenes, watched)
        self._projectiles = PlacedObjects(self.model, rows, settings.projectiles, kind=PROJECTILE)
        self._seen_warnings = self._count_warnings()
        self._unstable = torch.zeros(num_envs, dtype=torch.bool)
        self._pushed = False

    def _bind_fields(self) -> None:
        # Everything must be bound before the first call: a field bound later reads zeros until the next one.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            self._qpos = torch.from_numpy(self.batch.bind("qpos"))
            self._qvel = torch.from_numpy(self.batch.bind("qvel"))
            drives = slice(len(self._layout.dof_qvel))  # what else their law needs follows them
            self._ctrl = torch.from_numpy(self.batch.bind("ctrl"))[:, drives]
            mocap = (torch.from_numpy(self.batch.bind(f"mocap_{name}")) for name in ("pos", "quat"))
            self._mocap = (next(mocap), next(mocap))
            self._push = torch.from_numpy(self.batch.bind("xfrc_applied"))
            self._actuator_force = torch.from_numpy(self.batch.bind("actuator_force"))[:, drives]
            self._sensordata = torch.from_numpy(self.batch.bind("sensordata")) if self.model.nsensor else None
        self._forces = torch.zeros(self._actuator_force.shape)
        self._contacts = torch.zeros(self.num_envs, self._skeleton.num_bodies, 3)

    # --- stepping ----------------------------------------------------------------------------------------------------

    def step(self, targets: Tensor) -> None:
        """Simulate one control step towards joint targets (N, D) rad."""
        self._parameters.settle()
        self._ctrl.copy_(self.setpoints(targets))
        self.batch.step(nstep=self.substeps)
        self._keep_forces()
        if self._pushed:
            self._push.zero_()
            self._pushed = False
        count = self._count_warnings()
        self._unstable = torch.from_numpy(count > self._seen_warnings)
        self._seen_warnings = count

    def _keep_forces(self) -> None:
        """Forces of the last substep, in new tensors: the next step would write over them."""
        self._forces = self._actuator_force.float()
        if self._sensordata is not None:
            # The sensors report the force of the body on the floor, or on an object; those of objects come last.
            forces = self._sensordata.float().unflatten(-1, (-1, self._skeleton.num_bodies, 3))
            if self.capabilities.contact_forces:
                self._contacts, forces = -forces[:, 0], forces[:, 1:]
            self._objects.forces = forces

    # --- reading -----------------------------------------------------------------------------------------------------

    def robot(self, ids: Tensor | None = None) -> RobotState:
        """State of the robots after the last step or reset, in new tensors."""

        def read(name: str) -> Tensor:
            return self._joint_level(name, ids)

        # MuJoCo's own bodies are where they were before the last substep; a pass of its batch over all that hangs on
        # them would take three times as long as this one over the bodies alone.
        rows = slice(None) if ids is None else ids
        return RobotState(*self._coordinates.bodies(self._qpos[rows], self._qvel[rows]), read)

    def generalized_state(self) -> tuple[Tensor, Tensor]:
        """MuJoCo's qpos (N, nq) and qvel (N, nv), float64, in new tensors."""
        return self._qpos.clone(), self._qvel.clone()

    def setpoints(self, targets: Tensor) -> Tensor:
        """What a step towards joint targets (N, D) rad tells the actuators, (N, D)."""
        return self._coordinates.setpoints(targets, self._qpos)

    def spec(self) -> mujoco.MjSpec:
        """What is simulated, in the first scene, ready to compile."""
        return physics_spec(*self._described)

    def _ground_forces(self) -> Tensor:
        return self._contacts.clone()

    def unstable(self) -> Tensor:
        """(N,) bool: the last step raised a MuJoCo warning, such as a diverged state."""
        return self._unstable

    def _count_warnings(self) -> np.ndarray:
        return self.batch.warning[:, _DIVERGED, 1].sum(axis=1)

    # --- writing -----------------------------------------------------------------------------------------------------

    def set_state(self, ids: Tensor, state: ResetState) -> None:
        """Put robots into a state; all others stay as they are, bit for bit."""
        index = ids.numpy()
        self._parameters.settle()
        self.batch.state[index] = self._starts[self._start_of[index]]  # all that a reset by the batch does
        qpos = self._qpos[ids]  # objects go back to where their scene has them
        qvel = torch.zeros(len(ids), self.model.nv, dtype=torch.float64)
        self._coordinates.write(state, qpos, qvel)
        self._qpos[ids], self._qvel[ids] = qpos, qvel
        self._objects.forget(ids)
        self._forces[ids] = 0.0
        self._contacts[ids] = 0.0
        self._unstable[ids] = False

    def add_velocity(self, linear: Tensor, angular: Tensor) -> None:
        """Change the velocity of whole robots by (N, 3) m/s and rad/s, world; their joints keep theirs."""
        root = xyzw_from_wxyz(self._qpos[:, 3:7])
        self._qvel[:, :3] += linear.double()
        self._qvel[:, 3:6] += quat_apply_inverse(root, angular.double())

    def apply_force(self, body: int, force: Tensor) -> None:
        """Push a body with a world force (N, 3) in N during the next control step."""
        self._push[:, self._layout.bodies.start + body, :3] = force.double()
        self._pushed = True

    # --- the rest ----------------------------------------------------------------------------------------------------

    def render_state(self, index: int) -> np.ndarray:
        """The generalised positions qpos (nq,) of one environment."""
        return self._qpos[index].numpy().copy()

    def state_dict(self) -> dict[str, Tensor]:
        """MuJoCo's integration state of every environment and the parameters that were set; no more is needed."""
        return {
            "state": torch.from_numpy(self.batch.state.copy()),
            **self._parameters.state_dict(),
            **self._objects.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore `state_dict`."""
        rows = state["state"]
        if tuple(rows.shape) != self.batch.state.shape:
            raise ValueError(f"simulation state: want shape {self.batch.state.shape}, got {tuple(rows.shape)}")
        self._parameters.load_state_dict(state)
        self.batch.state[:] = rows.numpy()
        self._objects.load_state_dict(state)
        self._seen_warnings = self._count_warnings()
        self._unstable = torch.zeros_like(self._unstable)
        self._pushed = bool(self._push.any())

    def close(self) -> None:
        """Drop the batch with its threads; closing again does nothing."""
        self.__dict__.pop("_parameters", None)
        for part in ("_objects", "_projectiles"):
            self.__dict__.pop(part, None)
        self.__dict__.pop("batch", None)
