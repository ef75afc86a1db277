"""Newton, whose MuJoCo solver steps the same models as MuJoCo's own engines: on CUDA, and on the CPU for tests."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from dataclasses import replace
from itertools import groupby

import mujoco
import newton
import numpy as np
import torch
import warp as wp
from newton.solvers import SolverMuJoCo
from torch import Tensor

from poselib.rotations import quat_apply, quat_apply_inverse, xyzw_from_wxyz
from proto_envs.context import ObjectState, ResetState, RobotState
from proto_envs.robots import Robot
from proto_envs.simulators.base import Capabilities, SimulationSettings, diverged
from proto_envs.simulators.compilation import news_of_compilation
from proto_envs.simulators.coordinates import Coordinates
from proto_envs.simulators.family import MujocoFamily
from proto_envs.simulators.mjcf import PROJECTILE, physics_spec
from proto_envs.simulators.newton_contacts import ContactForces, parts_of_shapes
from proto_envs.simulators.newton_coordinates import NewtonCoordinates, NewtonRows
from proto_envs.simulators.newton_model import limited_balls, read_into
from proto_envs.simulators.newton_parameters import NewtonFields, NewtonParameters
from proto_envs.simulators.objects import PlacedObjects
from proto_envs.simulators.warp_graph import CapturedLaunches, device_named, on_device, start_warp
from proto_envs.simulators.warp_room import OverflowWatch, room_for

__all__ = ["NewtonSimulator"]

_LOG = logging.getLogger(__name__)

_PATIENCE = 30.0
"""s that a model takes to build at most where its kernels are compiled"""
_FLAGS = {
    "gravity": newton.ModelFlags.MODEL_PROPERTIES,
    "friction": newton.ModelFlags.SHAPE_PROPERTIES,
    "mass": newton.ModelFlags.BODY_INERTIAL_PROPERTIES,
    "com_offset": newton.ModelFlags.BODY_INERTIAL_PROPERTIES,
    "stiffness": newton.ModelFlags.ACTUATOR_PROPERTIES,
    "damping": newton.ModelFlags.JOINT_DOF_FORCE_PROPERTIES,
    "armature": newton.ModelFlags.JOINT_DOF_INERTIAL_PROPERTIES,
    "joint_friction": newton.ModelFlags.JOINT_DOF_FORCE_PROPERTIES,
}
"""parameter to what Newton's solver reads anew"""


class NewtonSimulator(MujocoFamily):
    """Newton's state goes through its solver in place; all physics steps of a control step are one captured graph.

    The solver keeps MuJoCo's coordinates beside Newton's. Ours are read from and written to MuJoCo's, as in the other
    engines of the family, and `NewtonCoordinates` tells Newton of what was written. Bodies are Newton's own.
    """

    def __init__(self, robot: Robot, num_envs: int, settings: SimulationSettings) -> None:
        """Build N copies of `robot`.

        Args:
            robot: what to simulate.
            num_envs: N.
            settings: rates, friction, sensors, device.
        """
        self.num_envs = num_envs
        self.device = device_named(settings.device)
        self.dt = 1.0 / settings.control_hz
        self.terrain, self.scenes = settings.terrain.to(self.device), settings.scenes
        self.substeps = settings.substeps
        self._skeleton = robot.skeleton
        start_warp()
        with on_device(self.device), news_of_compilation("Newton", wp.config.kernel_cache_dir, _PATIENCE):
            models, self._world = _built(robot, num_envs, settings, str(self.device))
            self.model = models[0]
            self._coordinates = Coordinates(robot, self.model, self.device)
            self._layout = self._coordinates.layout
            self._solver = _solver(self._world, self.model, self._layout.bodies, settings)
            self._state, self._control = self._world.state(), self._world.control()
        self._check_layout()
        self._view_arrays()
        self._place_objects(models, settings)
        self._list_contacts(settings)
        self._physics = CapturedLaunches(self._launch_physics, self.device)
        self._kinematics = CapturedLaunches(self._launch_kinematics, self.device)
        self._parameters = NewtonParameters(self.model, self._layout, self._fields(), self._notify, self._publish_rows)
        self.capabilities = Capabilities(
            name="newton",
            parameters=self._parameters.names,
            contact_forces=settings.contact_forces,
            apply_force=True,
            scenes=True,
            deterministic=self.device.type == "cpu",
            state_dict=True,
        )
        self._unstable = torch.zeros(num_envs, dtype=torch.bool, device=self.device)
        self._pushed = False
        everything = torch.arange(num_envs, device=self.device)
        self._restart(everything)
        self._publish_rows(everything)

    def _check_layout(self) -> None:
        """Newton's model must be laid out as ours."""
        ours, theirs = self.model, self._solver.mj_model
        for name in ("nq", "nv", "nu", "nbody", "jnt_type", "jnt_qposadr"):
            if not np.array_equal(getattr(ours, name), getattr(theirs, name)):
                raise AssertionError(f"Newton has {name} {getattr(theirs, name)}, MuJoCo {getattr(ours, name)}")
        names = self._skeleton.body_names
        found = tuple(label.rpartition("/")[2] for label in self._world.body_label[: len(names)])
        if found != names:
            raise AssertionError(f"Newton ordered the bodies {found}, the skeleton {names}")

    def _rows(self, array: wp.array) -> Tensor:
        """A live view of an array, a row for each environment."""
        return wp.to_torch(array).unflatten(0, (self.num_envs, -1))

    def _view_arrays(self) -> None:
        data, state, rows = self._solver.mjw_data, self._state, self._rows
        self._qpos, self._qvel = wp.to_torch(data.qpos), wp.to_torch(data.qvel)
        drives = slice(len(self._layout.dof_qvel))  # what else their law needs follows them
        self._warmstart, self._forces = wp.to_torch(data.qacc_warmstart), wp.to_torch(data.actuator_force)[:, drives]
        self._ctrl = rows(self._control.mujoco.ctrl)[:, drives]
        self._joint_q, self._joint_qd = rows(state.joint_q), rows(state.joint_qd)
        self._push = rows(state.body_f)
        bodies = slice(0, self._skeleton.num_bodies)
        self._body_poses, self._body_velocities = rows(state.body_q)[:, bodies], rows(state.body_qd)[:, bodies]
        self._centers = rows(self._world.body_com)
        both = NewtonRows(self._qpos, self._qvel, self._joint_q, self._joint_qd, self._centers)
        self._newton_coordinates = NewtonCoordinates(self.model, both)
        kinds = self._solver.import_mujoco()[1].OverflowType
        self._overflow = OverflowWatch(wp.to_torch(data.overflow), kinds, _LOG)

    def _place_objects(self, models: list[mujoco.MjModel], settings: SimulationSettings) -> None:
        """Find what stands beside the robots, and where each scene has it."""
        scenes, first = self.scenes, self.model
        held = np.flatnonzero(first.body_mocapid >= 0)  # in the order of their mocap ids
        which = torch.zeros(self.num_envs, dtype=torch.long) if scenes is None else scenes.assignment

        def of_scenes(values: list[np.ndarray]) -> Tensor:
            return torch.as_tensor(np.stack(values), dtype=torch.float32)[which].to(self.device)

        self._start = [
            of_scenes(values)
            for values in (
                [model.qpos0 for model in models],
                [model.body_pos[held] for model in models],
                [model.body_quat[held] for model in models],
            )
        ]
        """qpos (N, nq), and positions and rotations (wxyz) of held objects, as the scenes have them"""
        self._mocap = (self._start[1].clone(), self._start[2].clone())
        child = self._rows(self._world.joint_child) % (first.nbody - 1)
        wanted = torch.as_tensor(held - 1, device=self.device)
        self._held_joints = (child[0].unsqueeze(-1) == wanted).nonzero()[:, 0]
        self._frames = self._rows(self._world.joint_X_p)
        rows = (self._qpos, self._qvel, self._mocap)
        watched = self._skeleton.num_bodies if settings.object_forces else 0
        self._objects = PlacedObjects(first, rows, scenes, watched)
        self._projectiles = PlacedObjects(first, rows, settings.projectiles, kind=PROJECTILE)
        names = [first.body(body).name for body in first.jnt_bodyid]
        self._joints_of = {
            kind: torch.tensor([name.startswith(f"{kind}_") for name in names], device=self.device)
            for kind in ("object", PROJECTILE)
        }
        """kind of things to (joints,) bool, those of them"""

    def _list_contacts(self, settings: SimulationSettings) -> None:
        """Make room for the list of contacts, if forces are measured."""
        self._contacts = self._contact_forces = self._observables = None
        if not (settings.contact_forces or settings.object_forces):
            return
        with on_device(self.device):
            self._contacts = newton.Contacts(self._solver.get_max_contact_count(), 0, device=str(self.device))
            kinds = {self._solver.ObservableKind.CONTACT_F}
            self._observables = observables = self._solver.observables(kinds, contacts=self._contacts)
        first, second = self._contacts.rigid_contact_shape0, self._contacts.rigid_contact_shape1
        bodies, objects = self._skeleton.num_bodies, 0 if self.scenes is None else self.scenes.num_objects
        parts = parts_of_shapes(self.model, bodies, wp.to_torch(self._world.shape_body))
        self._contact_forces = ContactForces(
            (wp.to_torch(first), wp.to_torch(second)),
            wp.to_torch(observables.contact_f),
            (wp.to_torch(self._world.shape_world), parts),
            (self.num_envs, bodies, objects),
        )
        self._forces_of_ground = torch.zeros(self.num_envs, self._skeleton.num_bodies, 3, device=self.device)

    def _fields(self) -> NewtonFields:
        world, rows = self._world, self._rows
        return NewtonFields(
            gravity=wp.to_torch(world.gravity)[: self.num_envs],
            friction=wp.to_torch(world.shape_material_mu),
            shape_environments=wp.to_torch(world.shape_world).long(),
            masses=rows(world.body_mass),
            inverse_masses=rows(world.body_inv_mass),
            inertias=rows(world.body_inertia),
            inverse_inertias=rows(world.body_inv_inertia),
            centers=self._centers,
            gains=rows(world.mujoco.actuator_gainprm),
            biases=rows(world.mujoco.actuator_biasprm),
            damping=rows(world.joint_damping),
            armature=rows(world.joint_armature),
            joint_friction=rows(world.joint_friction),
        )

    def _notify(self, parameters: frozenset[str]) -> None:
        flags = 0
        for name in parameters:
            flags |= int(_FLAGS[name])
        with on_device(self.device):
            self._solver.notify_model_changed(flags)

    # --- stepping ----------------------------------------------------------------------------------------------------

    def step(self, targets: Tensor) -> None:
        """Simulate one control step towards joint targets (N, D) rad."""
        self._parameters.settle()
        self._ctrl.copy_(self._coordinates.setpoints(targets, self._qpos))
        self._physics()
        if self._pushed:
            self._push.zero_()
            self._pushed = False
        if self._contact_forces is not None:
            forces = self._contact_forces.sums()
            self._forces_of_ground = forces[:, 0]
            if self._objects.forces.numel():
                self._objects.forces.copy_(-forces[:, 1:])
        self._unstable = diverged(self._qpos, self._qvel)
        self._overflow.look()

    def _launch_physics(self) -> None:
        state, substep = self._state, self.dt / self.substeps
        for left in reversed(range(self.substeps)):
            seen = None if left else self._observables  # forces are those of the last substep
            self._solver.step(state, state, self._control, self._contacts, substep, observables=seen)

    def _launch_kinematics(self) -> None:
        newton.eval_fk(self._world, self._state.joint_q, self._state.joint_qd, self._state)

    def _publish(self, joints: Tensor) -> None:
        """Tell Newton of joints (N, joints) bool that were written, and bring its bodies up to date."""
        self._newton_coordinates.publish(joints)
        self._frames[:, self._held_joints, :3] = self._mocap[0]
        self._frames[:, self._held_joints, 3:] = xyzw_from_wxyz(self._mocap[1])
        self._kinematics()

    def _publish_rows(self, ids: Tensor | slice) -> None:
        written = torch.zeros(self.num_envs, self.model.njnt, dtype=torch.bool, device=self.device)
        written[ids] = True
        self._publish(written)

    # --- reading -----------------------------------------------------------------------------------------------------

    def robot(self, ids: Tensor | None = None) -> RobotState:
        """State of the robots after the last step or reset, in new tensors."""

        def read(name: str) -> Tensor:
            return self._joint_level(name, ids)

        def rows(field: Tensor) -> Tensor:
            return field.clone() if ids is None else field[ids]

        poses, velocities = rows(self._body_poses), rows(self._body_velocities)
        rotations, angular = poses[..., 3:], velocities[..., 3:]
        # Newton's velocities are those of centres of mass.
        arms = quat_apply(rotations, rows(self._centers[:, : self._skeleton.num_bodies]))
        linear = velocities[..., :3] - torch.linalg.cross(angular, arms, dim=-1)
        return RobotState(poses[..., :3], rotations, linear, angular, read)

    def _ground_forces(self) -> Tensor:
        return self._forces_of_ground.clone()

    def unstable(self) -> Tensor:
        """(N,) bool: the last step left numbers that are not finite, or larger than any that physics has."""
        return self._unstable

    # --- writing -----------------------------------------------------------------------------------------------------

    def set_state(self, ids: Tensor, state: ResetState) -> None:
        """Put robots into a state; all others stay as they are, bit for bit."""
        self._parameters.settle()
        self._restart(ids)
        qpos, qvel = self._qpos[ids], self._qvel[ids]
        self._coordinates.write(state, qpos, qvel)
        self._qpos[ids], self._qvel[ids] = qpos, qvel
        self._publish_rows(ids)

    def _restart(self, ids: Tensor) -> None:
        """Forget what was; objects go back to where their scene has them."""
        for live in (self._qvel, self._warmstart, self._push, self._forces):
            live[ids] = 0.0
        for live, start in zip((self._qpos, *self._mocap), self._start, strict=True):
            live[ids] = start[ids]
        self._objects.forget(ids)
        if self._contact_forces is not None:
            self._forces_of_ground[ids] = 0.0
        self._unstable[ids] = False

    def set_objects(self, ids: Tensor | None, state: ObjectState, *, held_only: bool = False) -> None:
        """Put the objects of environments `ids` into a state; all else, with `held_only` the loose ones too, stays."""
        super().set_objects(ids, state, held_only=held_only)
        written = torch.zeros(self.num_envs, self.model.njnt, dtype=torch.bool, device=self.device)
        if not held_only:
            written[slice(None) if ids is None else ids] = self._joints_of["object"]
        self._publish(written)

    def throw(self, chosen: Tensor, state: ObjectState) -> None:
        """Put the projectiles that `chosen` (N, K) bool says into a state; all others stay as they are, bit for bit."""
        super().throw(chosen, state)
        written = torch.zeros(self.num_envs, self.model.njnt, dtype=torch.bool, device=self.device)
        written[:, self._joints_of[PROJECTILE]] = chosen
        self._publish(written)

    def add_velocity(self, linear: Tensor, angular: Tensor) -> None:
        """Change the velocity of whole robots by (N, 3) m/s and rad/s, world; their joints keep theirs."""
        self._qvel[:, :3] += linear
        self._qvel[:, 3:6] += quat_apply_inverse(xyzw_from_wxyz(self._qpos[:, 3:7]), angular)
        root = torch.arange(self.model.njnt, device=self.device) == 0
        self._publish(root.expand(self.num_envs, -1))

    def apply_force(self, body: int, force: Tensor) -> None:
        """Push a body with a world force (N, 3) in N during the next control step."""
        self._push[:, body, :3] = force
        self._pushed = True

    # --- the rest ----------------------------------------------------------------------------------------------------

    def render_state(self, index: int) -> np.ndarray:
        """The generalised positions qpos (nq,) of one environment."""
        return self._qpos[index].double().cpu().numpy()

    def _live(self) -> dict[str, Tensor]:
        """All that physics goes on from."""
        return {
            "qpos": self._qpos,
            "qvel": self._qvel,
            "joint_q": self._joint_q,
            "joint_qd": self._joint_qd,
            "qacc_warmstart": self._warmstart,
            "body_f": self._push,
            "mocap_pos": self._mocap[0],
            "mocap_quat": self._mocap[1],
        }

    def state_dict(self) -> dict[str, Tensor]:
        """All that physics goes on from, and the parameters that were set."""
        live = {name: field.clone() for name, field in self._live().items()}
        return {**live, **self._parameters.state_dict(), **self._objects.state_dict()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore `state_dict`; derived quantities are computed anew from it."""
        for name, field in self._live().items():
            if state[name].shape != field.shape:
                want, got = tuple(field.shape), tuple(state[name].shape)
                raise ValueError(f"simulation state {name!r}: want shape {want}, got {got}")
        self._parameters.load_state_dict(state)
        for name, field in self._live().items():
            field.copy_(state[name])
        self._objects.load_state_dict(state)
        self._parameters.settle()
        self._publish(torch.zeros(self.num_envs, self.model.njnt, dtype=torch.bool, device=self.device))
        self._unstable = torch.zeros_like(self._unstable)
        self._pushed = bool(self._push.any())

    def close(self) -> None:
        """Drop the arrays; closing again does nothing."""
        for name in list(self.__dict__):
            if name.startswith("_"):
                del self.__dict__[name]


def _built(
    robot: Robot, num_envs: int, settings: SimulationSettings, device: str
) -> tuple[list[mujoco.MjModel], newton.Model]:
    """A compiled model for each scene, or the one without any, and Newton's of all environments."""
    # Newton has no sensors of MuJoCo's: it lists contacts instead.
    silent, scenes = replace(settings, contact_forces=False, object_forces=False), settings.scenes
    models, ones = [], []
    for scene in range(1 if scenes is None else len(scenes.scenes)):
        spec = physics_spec(robot, silent, scene, fixed_shapes=True)
        models.append(spec.compile())
        ones.append(newton.ModelBuilder())
        read_into(ones[-1], spec, models[-1], int(newton.BodyFlags.KINEMATIC))
    builder = newton.ModelBuilder()
    for scene, copies in groupby([0] * num_envs if scenes is None else scenes.assignment.tolist()):
        builder.replicate(ones[scene], len(list(copies)))
    with warnings.catch_warnings():
        # Worlds never meet, so that their height fields need not.
        warnings.filterwarnings("ignore", message="Heightfield-vs-heightfield")
        world = builder.finalize(device=device)
    world.set_gravity(tuple(models[0].opt.gravity))  # of MJCF's, Newton reads only whether there is any
    return models, world


def _solver(world: newton.Model, model: mujoco.MjModel, robot: slice, settings: SimulationSettings) -> SolverMuJoCo:
    contacts, constraints = room_for(model, robot, settings)
    with warnings.catch_warnings():
        # Newton asks for MuJoCo 3.17 and runs with 4.0 as well: it is compared with MuJoCo in our tests.
        warnings.filterwarnings("ignore", message="MuJoCo dependency version mismatch")
        solver = SolverMuJoCo(
            world,
            nconmax=contacts,
            njmax=constraints + model.nv,  # dry friction in joints may be set later
            integrator=int(model.opt.integrator),  # MJCF leaves out MuJoCo's default, which is not Newton's
            enable_multiccd=True,
            kinematic_switchable_roots=False,
        )
    solver.mjw_model.jnt_limited_ball_adr = wp.array(limited_balls(model), dtype=wp.int32)
    solver.mjw_model.opt.warn_overflow = 0  # `OverflowWatch` says it, once
    return solver
