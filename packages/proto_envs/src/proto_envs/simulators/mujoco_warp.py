"""MuJoCo Warp: MuJoCo's physics in Warp kernels, on CUDA, and on the CPU for tests of this very code."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import fields

import mujoco
import mujoco_warp as mjw
import numpy as np
import torch
import warp as wp
from torch import Tensor

from poselib.rotations import quat_apply_inverse, xyzw_from_wxyz
from proto_envs.context import ResetState, RobotState
from proto_envs.robots import Robot
from proto_envs.simulators.base import Capabilities, SimulationSettings, UnsupportedError, diverged
from proto_envs.simulators.coordinates import Coordinates, read_robot
from proto_envs.simulators.family import MujocoFamily
from proto_envs.simulators.mjcf import PROJECTILE, physics_spec
from proto_envs.simulators.objects import PlacedObjects
from proto_envs.simulators.warp_graph import CapturedLaunches, device_named, on_device, start_warp
from proto_envs.simulators.warp_parameters import WarpParameters
from proto_envs.simulators.warp_room import OverflowWatch, room_for

__all__ = ["MujocoWarpSimulator"]

_LOG = logging.getLogger(__name__)

_UNKNOWN_FLAGS = int(mujoco.mjtDisableBit.mjDSBL_AUTORESET) | int(mujoco.mjtDisableBit.mjDSBL_MIDPHASE)
"""of MuJoCo, which MuJoCo Warp does not take: it neither resets by itself nor has that phase"""
_STATE = ("qpos", "qvel", "qacc_warmstart", "xfrc_applied", "mocap_pos", "mocap_quat")
"""fields of the data that the future depends on"""
_UNUSED = ("body_simple", "dof_length", "body_fluid_box_adr", "body_fluid_ellipsoid_adr")
"""fields that may differ between scenes: what is flexible, sleeps, or moves in a fluid has a use for them"""


class MujocoWarpSimulator(MujocoFamily):
    """The CUDA engine. All physics steps of a control step are one captured graph, on the CPU too.

    State and results stay where they are on the device and are read and written through zero-copy torch views; nothing
    in `step`, `robot` and `set_state` waits for the device. On the CPU, equal runs are bit-equal; on CUDA, sums over
    contacts come in any order.
    """

    def __init__(self, robot: Robot, num_envs: int, settings: SimulationSettings) -> None:
        """Build N copies of `robot`.

        Args:
            robot: what to simulate.
            num_envs: N.
            settings: rates, friction, sensors, device.

        Raises:
            UnsupportedError: for scenes that differ in what the engine cannot vary between environments.
        """
        self.num_envs = num_envs
        self.device = device_named(settings.device)
        self.dt = 1.0 / settings.control_hz
        self.terrain, self.scenes = settings.terrain.to(self.device), settings.scenes
        self.substeps = settings.substeps
        self._skeleton = robot.skeleton
        start_warp()
        models = _compiled(robot, settings)
        self.model = models[0]
        self._coordinates = Coordinates(robot, self.model, self.device)
        self._layout = self._coordinates.layout
        self._room = room_for(self.model, self._layout.bodies, settings)
        with on_device(self.device):
            self._world = mjw.put_model(self.model)
            self._world.opt.warn_overflow = 0  # `OverflowWatch` says it, once
            if self.scenes is not None:
                self._set_scenes([self._world, *map(mjw.put_model, models[1:])], self.scenes.assignment)
            self._data = self._make_data()
        self._physics = CapturedLaunches(self._launch_physics, self.device)
        self._kinematics = CapturedLaunches(self._launch_kinematics, self.device)
        self._constants = CapturedLaunches(self._launch_constants, self.device)
        self._parameters = WarpParameters(
            self.model, self._layout, num_envs, self._field, self._constants, self._make_room
        )
        self.capabilities = Capabilities(
            name="mujoco_warp",
            parameters=self._parameters.names,
            contact_forces=settings.contact_forces,
            apply_force=True,
            scenes=True,
            deterministic=self.device.type == "cpu",
            state_dict=True,
        )
        self._view_data()
        rows = (self._qpos, self._qvel, self._mocap)
        watched = self._skeleton.num_bodies if settings.object_forces else 0
        self._objects = PlacedObjects(self.model, rows, self.scenes, watched)
        self._projectiles = PlacedObjects(self.model, rows, settings.projectiles, kind=PROJECTILE)
        self._overflow = OverflowWatch(wp.to_torch(self._data.overflow), mjw.OverflowType, _LOG)
        self._unstable = torch.zeros(num_envs, dtype=torch.bool, device=self.device)
        self._pushed = False
        self._restart(slice(None))
        self._refresh()

    def _make_data(self) -> mjw.Data:
        contacts, constraints = self._room
        return mjw.make_data(self.model, nworld=self.num_envs, nconmax=contacts, njmax=constraints)

    def _view_data(self) -> None:
        data, model, bodies = self._data, self._world, self._layout.bodies
        view = wp.to_torch
        drives = slice(len(self._layout.dof_qvel))  # what else their law needs follows them
        self._qpos, self._qvel, self._ctrl = view(data.qpos), view(data.qvel), view(data.ctrl)[:, drives]
        self._warmstart, self._push = view(data.qacc_warmstart), view(data.xfrc_applied)
        self._mocap = (view(data.mocap_pos), view(data.mocap_quat))
        self._xpos, self._xquat, self._cvel = (view(field)[:, bodies] for field in (data.xpos, data.xquat, data.cvel))
        self._com = view(data.subtree_com)[:, bodies.start]
        self._forces = view(data.actuator_force)[:, drives]
        self._sensordata = view(data.sensordata)
        held = np.flatnonzero(self.model.body_mocapid >= 0)  # in the order of their mocap ids
        self._start = [
            field.expand(self.num_envs, *field.shape[1:])
            for field in (view(model.qpos0), view(model.body_pos)[:, held], view(model.body_quat)[:, held])
        ]
        """qpos (N, nq), and positions and rotations of held objects, as the scenes have them"""

    # --- fields of the model -----------------------------------------------------------------------------------------

    def _field(self, name: str) -> Tensor:
        """A field of the model, live, (N, ...): from now on it has a row for each world."""
        owner = self._world.opt if name.startswith("opt.") else self._world
        name = name.removeprefix("opt.")
        array = getattr(owner, name)
        if array.shape[0] != self.num_envs:
            shared = wp.to_torch(array)
            array = wp.empty((self.num_envs, *array.shape[1:]), dtype=array.dtype, device=str(self.device))
            wp.to_torch(array).copy_(shared)
            setattr(owner, name, array)
            self._forget_graphs()
        return wp.to_torch(array)

    def _set_scenes(self, models: list[mjw.Model], assignment: Tensor) -> None:
        """Give each world the fields of the model of its scene, where they differ."""
        rows, alike = assignment.to(self.device), []
        for field in fields(mjw.Model):
            values = [getattr(model, field.name) for model in models]
            if not isinstance(values[0], wp.array) or not values[0].size or field.name in _UNUSED:
                continue
            tensors = [wp.to_torch(value) for value in values]
            if all(torch.equal(tensors[0], other) for other in tensors[1:]):
                continue
            if getattr(field.type, "shape", ("",))[0] == "*":
                array = wp.empty((self.num_envs, *values[0].shape[1:]), dtype=values[0].dtype)
                wp.to_torch(array).copy_(torch.cat(tensors)[rows])
                setattr(self._world, field.name, array)
            else:
                alike.append(field.name)
        if alike:
            raise UnsupportedError(f"engine mujoco_warp has one {', '.join(alike)} for the scenes of all environments")

    def _make_room(self, constraints: int) -> None:
        """Make room for more constraints in each world; all else stays, and stays where it is."""
        self._room = (self._room[0], self._room[1] + constraints)
        with on_device(self.device):
            data = self._make_data()
        for field in fields(mjw.Data):
            old, new = getattr(self._data, field.name), getattr(data, field.name)
            if isinstance(old, wp.array) and old.shape == new.shape:
                setattr(data, field.name, old)
        self._data = data
        self._forget_graphs()

    def _forget_graphs(self) -> None:
        for name in ("_physics", "_kinematics", "_constants"):
            if name in self.__dict__:
                getattr(self, name).forget()

    # --- stepping ----------------------------------------------------------------------------------------------------

    def step(self, targets: Tensor) -> None:
        """Simulate one control step towards joint targets (N, D) rad."""
        self._parameters.settle()
        self._ctrl.copy_(self._coordinates.setpoints(targets, self._qpos))
        self._physics()
        if self._pushed:
            self._push.zero_()
            self._pushed = False
        if self._objects.forces.numel():
            self._objects.forces.copy_(self._sensed()[:, -self._objects.forces.shape[1] :])
        self._unstable = diverged(self._qpos, self._qvel)
        self._overflow.look()

    def _launch_physics(self) -> None:
        options = self._world.opt
        flags, silent = options.disableflags, options.disableflags | int(mjw.DisableBit.SENSOR)
        try:
            for left in reversed(range(self.substeps)):
                options.disableflags = silent if left else flags  # forces are those of the last substep
                mjw.step(self._world, self._data)
        finally:
            options.disableflags = flags
        self._launch_kinematics()

    def _launch_kinematics(self) -> None:
        """After a step, poses and velocities of bodies are those before its last substep."""
        mjw.kinematics(self._world, self._data)
        mjw.com_pos(self._world, self._data)
        mjw.com_vel(self._world, self._data)

    def _launch_constants(self) -> None:
        mjw.set_const(self._world, self._data, groups=mjw.SetConstGroup.INERT0)

    def _refresh(self) -> None:
        self._parameters.settle()
        self._kinematics()

    def _sensed(self) -> Tensor:
        """(N, S, B, 3) N, of each body on the ground if that is measured, and on each object if that is."""
        return self._sensordata.unflatten(-1, (-1, self._skeleton.num_bodies, 3))

    # --- reading -----------------------------------------------------------------------------------------------------

    def robot(self, ids: Tensor | None = None) -> RobotState:
        """State of the robots after the last step or reset, in new tensors."""

        def read(name: str) -> Tensor:
            return self._joint_level(name, ids)

        def rows(field: Tensor) -> Tensor:
            return field.clone() if ids is None else field[ids]

        return read_robot(rows(self._xpos), rows(self._xquat), rows(self._cvel), rows(self._com), read)

    def _ground_forces(self) -> Tensor:
        return -self._sensed()[:, 0]

    def unstable(self) -> Tensor:
        """(N,) bool: the last step left numbers that are not finite, or larger than any that physics has."""
        return self._unstable

    # --- writing -----------------------------------------------------------------------------------------------------

    def set_state(self, ids: Tensor, state: ResetState) -> None:
        """Put robots into a state; all others stay as they are, bit for bit."""
        self._restart(ids)
        qpos, qvel = self._qpos[ids], self._qvel[ids]
        self._coordinates.write(state, qpos, qvel)
        self._qpos[ids], self._qvel[ids] = qpos, qvel
        self._refresh()

    def _restart(self, ids: Tensor | slice) -> None:
        """Forget what was; objects go back to where their scene has them."""
        for live in (self._qvel, self._warmstart, self._push, self._forces, self._sensordata):
            live[ids] = 0.0
        for live, start in zip((self._qpos, *self._mocap), self._start, strict=True):
            live[ids] = start[ids]
        self._objects.forget(ids)
        self._unstable[ids] = False

    def add_velocity(self, linear: Tensor, angular: Tensor) -> None:
        """Change the velocity of whole robots by (N, 3) m/s and rad/s, world; their joints keep theirs."""
        self._qvel[:, :3] += linear
        self._qvel[:, 3:6] += quat_apply_inverse(xyzw_from_wxyz(self._qpos[:, 3:7]), angular)

    def apply_force(self, body: int, force: Tensor) -> None:
        """Push a body with a world force (N, 3) in N during the next control step."""
        self._push[:, self._layout.bodies.start + body, :3] = force
        self._pushed = True

    # --- the rest ----------------------------------------------------------------------------------------------------

    def render_state(self, index: int) -> np.ndarray:
        """The generalised positions qpos (nq,) of one environment."""
        return self._qpos[index].double().cpu().numpy()

    def state_dict(self) -> dict[str, Tensor]:
        """All that physics goes on from, and the parameters that were set."""
        state = {name: wp.to_torch(getattr(self._data, name)).clone() for name in _STATE}
        return {**state, **self._parameters.state_dict(), **self._objects.state_dict()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore `state_dict`; derived quantities are computed anew from it."""
        live = {name: wp.to_torch(getattr(self._data, name)) for name in _STATE}
        for name, field in live.items():
            if state[name].shape != field.shape:
                want, got = tuple(field.shape), tuple(state[name].shape)
                raise ValueError(f"simulation state {name!r}: want shape {want}, got {got}")
        self._parameters.load_state_dict(state)
        for name, field in live.items():
            field.copy_(state[name])
        self._objects.load_state_dict(state)
        self._refresh()
        self._unstable = torch.zeros_like(self._unstable)
        self._pushed = bool(self._push.any())

    def close(self) -> None:
        """Drop the arrays; closing again does nothing."""
        for name in list(self.__dict__):
            if name.startswith("_"):
                del self.__dict__[name]


def _compiled(robot: Robot, settings: SimulationSettings) -> list[mujoco.MjModel]:
    """A model for each scene, or the one without any."""
    models = []
    for scene in range(1 if settings.scenes is None else len(settings.scenes.scenes)):
        spec = physics_spec(robot, settings, scene, fixed_shapes=True)
        spec.option.disableflags &= ~_UNKNOWN_FLAGS
        models.append(spec.compile())
    return models
