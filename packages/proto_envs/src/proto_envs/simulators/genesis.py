"""Genesis, on the CPU and on CUDA: an engine of its own that is asked to compute as MuJoCo does."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor

from poselib.rotations import quat_apply_inverse, xyzw_from_wxyz
from proto_envs.context import ResetState, RobotState
from proto_envs.robots import Robot
from proto_envs.simulators.base import Capabilities, SimulationSettings, UnsupportedError, diverged
from proto_envs.simulators.compilation import news_of_compilation
from proto_envs.simulators.coordinates import Coordinates
from proto_envs.simulators.drives import DriveLaw
from proto_envs.simulators.family import MujocoFamily
from proto_envs.simulators.genesis_parameters import GenesisParameters
from proto_envs.simulators.mjcf import GROUND, physics_spec
from proto_envs.simulators.objects import PlacedObjects

_hook = sys.excepthook
import genesis as gs  # noqa: E402 - it replaces the hook
from genesis.engine.states.solvers import SolverCheckpoint  # noqa: E402
from genesis.utils.array_class import DataKind  # noqa: E402

sys.excepthook = _hook

__all__ = ["GenesisSimulator"]

_FRICTIONS = (0.01, 5.0)
"""that Genesis takes of a surface; the larger of two in contact counts"""
_DOFS = slice(6, None)
"""the joints' among all degrees of freedom: the root has the first"""
_STATE = frozenset({DataKind.STATE})
"""what the future depends on, beside parameters"""


class GenesisSimulator(MujocoFamily):
    """A scene of Genesis with the robots' MJCF in it, in its mode of compatibility with MuJoCo.

    Its rows of positions and velocities are laid out as MuJoCo's. It has its own ways to find contacts, so that robots
    on the ground do not move exactly as in MuJoCo; those in the air do. Cones that limit ball joints are unknown to it.

    Genesis drives a ball joint by Euler angles. So the drives are ours: before each physics step they set torques, in
    the way that MuJoCo's actuators do; damping is the joints', and implicit.

    It computes in 64 bits on the CPU and in 32 on CUDA, on one of the two in a process.
    """

    def __init__(self, robot: Robot, num_envs: int, settings: SimulationSettings) -> None:
        """Build N copies of `robot`.

        Args:
            robot: what to simulate.
            num_envs: N.
            settings: rates, friction, sensors, device.

        Raises:
            UnsupportedError: for objects beside the robots.
            RuntimeError: if Genesis already runs on another device in this process.
        """
        if (settings.scenes or settings.projectiles) is not None:
            raise UnsupportedError("engine genesis has no objects beside the robots (capabilities.scenes is false)")
        self.num_envs = num_envs
        self.device = _start(settings.device)
        self.dt = 1.0 / settings.control_hz
        self.substeps = settings.substeps
        self.terrain, self.scenes = settings.terrain.to(self.device), None
        self.model = physics_spec(robot, settings).compile()
        self._skeleton = robot.skeleton
        self._coordinates = Coordinates(robot, self.model, self.device)
        self._layout = self._coordinates.layout
        with news_of_compilation("genesis", "~/.cache/quadrants", patience=30.0):
            self._build(robot, settings)
        self._make_drives(robot)
        self._parameters = GenesisParameters(self.model, self._layout, self._solver, self._links, self._stiffness)
        self.capabilities = Capabilities(
            name="genesis",
            parameters=self._parameters.names,
            contact_forces=settings.contact_forces,
            apply_force=True,
            scenes=False,
            deterministic=self.device.type == "cpu",
            state_dict=True,
        )
        none = (self._zeros(self.model.nq), self._zeros(self.model.nv), (self._zeros(0, 3), self._zeros(0, 4)))
        self._objects = self._projectiles = PlacedObjects(self.model, none, None)
        self._push = self._zeros(robot.skeleton.num_bodies, 3)
        """(N, B, 3) N, during the next control step"""
        self._pushed = False
        self._forces = self._zeros(robot.skeleton.num_dofs).float()
        self._unstable = torch.zeros(num_envs, dtype=torch.bool, device=self.device)
        self._refresh()

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(self.num_envs, *shape, dtype=gs.tc_float, device=self.device)

    def _build(self, robot: Robot, settings: SimulationSettings) -> None:
        """Make the scene: the ground, and the robot as it is in `self.model`."""
        option = self.model.opt
        self._scene = gs.Scene(
            sim_options=gs.options.SimOptions(dt=option.timestep, substeps=1, gravity=tuple(option.gravity)),
            rigid_options=gs.options.RigidOptions(
                enable_mujoco_compatibility=True,
                integrator=gs.integrator.implicitfast,
                friction_cone=gs.friction_cone.elliptic if option.cone else gs.friction_cone.pyramidal,
                impratio=option.impratio,
                iterations=option.iterations,
                ls_iterations=option.ls_iterations,
                constraint_timeconst=0.02,  # MuJoCo's default solref, which is not in a file
                enable_self_collision=settings.self_collision,
                enable_neutral_collision=True,  # else what overlaps in the MJCF's pose would never collide
                max_contacts=settings.max_contacts or None,
                batch_links_info=True,
                batch_dofs_info=True,
            ),
            show_viewer=False,
        )
        ground = _add_ground(self._scene, self.model, settings)
        morph = gs.morphs.MJCF(file=_mjcf(robot, settings), visualization=False, default_armature=None)
        entity = self._scene.add_entity(morph)
        self._scene.build(n_envs=self.num_envs)
        self._solver = self._scene.sim.rigid_solver
        names, wanted = tuple(link.name for link in entity.links), robot.skeleton.body_names
        if names != wanted or self._solver.n_qs != self.model.nq or self._solver.n_dofs != self.model.nv:
            raise AssertionError(f"Genesis has the bodies {names}, the skeleton {wanted}")
        self._links = slice(entity.link_start, entity.link_end)
        self._is_ground = torch.zeros(self._solver.n_links, dtype=torch.bool, device=self.device)
        self._is_ground[[link.idx for part in ground for link in part.links]] = True
        self._state_names = [item.name for item in self._solver.data if getattr(item, "kind", None) in _STATE]

    def _make_drives(self, robot: Robot) -> None:
        self._law = DriveLaw(robot, self.device)
        self._stiffness = self._law.stiffness.to(self._zeros()).repeat(self.num_envs, 1)
        self._axes = torch.eye(robot.skeleton.num_dofs).to(self._stiffness)
        """(D, D) from torques of drives to those on the solver's degrees of freedom, x, y, z of a ball's body"""
        for body, dofs in zip(self._layout.ball_bodies, self._layout.ball_dofs, strict=True):
            self._axes[dofs[:, None], dofs] = torch.tensor(robot.skeleton.joints[body].axes).to(self._axes)

    # --- stepping ----------------------------------------------------------------------------------------------------

    def step(self, targets: Tensor) -> None:
        """Simulate one control step towards joint targets (N, D) rad."""
        solver, coordinates = self._solver, self._coordinates
        setpoints = coordinates.setpoints(targets, self._positions())
        damping = self._law.damping * self._parameters.get("damping")
        for _ in range(self.substeps):
            away = setpoints - coordinates.dof_positions(self._positions())
            rates = coordinates.dof_velocities(self._velocities())
            forces = self._law.torques(away, rates, self._stiffness, damping)
            # The joints' dampers, which the solver sees implicitly, take what is given back here.
            solver.control_dofs_force((forces + damping * rates) @ self._axes, _DOFS)
            if self._pushed:
                solver.clear_external_force()
                solver.apply_links_external_wrench(self._push, None, self._links, ref=gs.link_ref_frame.link_COM)
            solver.substep(0)
        self._forces.copy_(forces)
        if self._pushed:
            solver.clear_external_force()
            self._push.zero_()
            self._pushed = False
        self._refresh()
        # Genesis leaves a state as it was where it would come out as NaN, or had no room for contacts, and notes it.
        self._unstable.copy_(diverged(self._positions(), self._velocities()) | solver.get_error_envs_mask())

    def _positions(self, ids: Tensor | None = None) -> Tensor:
        return self._solver.get_qpos(None, ids)

    def _velocities(self, ids: Tensor | None = None) -> Tensor:
        return self._solver.get_dofs_velocity(None, ids)

    def _refresh(self) -> None:
        """As in MuJoCo, poses and velocities of bodies are those before the last physics step until this is called."""
        self._solver.update_forward_pos()

    # --- reading -----------------------------------------------------------------------------------------------------

    def robot(self, ids: Tensor | None = None) -> RobotState:
        """State of the robots after the last step or reset, in new tensors."""

        def read(name: str) -> Tensor:
            return self._joint_level(name, ids)

        solver, links = self._solver, self._links
        return RobotState(
            solver.get_links_pos(links, ids).float(),
            xyzw_from_wxyz(solver.get_links_quat(links, ids).float()),
            solver.get_links_vel(links, ids).float(),
            solver.get_links_ang(links, ids).float(),
            read,
        )

    def _ground_forces(self) -> Tensor:
        """(N, B, 3) N, of the ground on each body."""
        contacts = self._solver.collider.get_contacts(is_padded=True)
        first, second = (contacts[name].clamp_min(0).long() for name in ("link_a", "link_b"))
        force = contacts["force"]  # of the first body on the second
        live = torch.arange(first.shape[1], device=self.device) < contacts["n_contacts"].unsqueeze(-1)
        total = self._zeros(self._solver.n_links, 3)
        for body, other, sign in ((first, second, -1.0), (second, first, 1.0)):
            counts = (live & self._is_ground[other]).unsqueeze(-1)
            total.scatter_add_(1, body.unsqueeze(-1).expand(-1, -1, 3), torch.where(counts, sign * force, 0.0))
        return total[:, self._links].float()

    def unstable(self) -> Tensor:
        """(N,) bool: the last step found numbers that are not finite or larger than any, or too many contacts."""
        return self._unstable.clone()

    # --- writing -----------------------------------------------------------------------------------------------------

    def set_state(self, ids: Tensor, state: ResetState) -> None:
        """Put robots into a state; all others stay as they are, bit for bit."""
        qpos, qvel = self._positions(ids), torch.zeros_like(self._velocities(ids))
        self._coordinates.write(state, qpos, qvel)
        self._solver.collider.reset(ids, cache_only=False)
        self._solver.set_qpos(qpos, None, ids, skip_forward=True)
        self._solver.set_dofs_velocity(qvel, None, ids, skip_forward=True)
        for live in (self._forces, self._push):
            live[ids] = 0.0
        self._unstable[ids] = False
        self._refresh()

    def add_velocity(self, linear: Tensor, angular: Tensor) -> None:
        """Change the velocity of whole robots by (N, 3) m/s and rad/s, world; their joints keep theirs."""
        qvel = self._velocities()
        qvel[:, :3] += linear
        qvel[:, 3:6] += quat_apply_inverse(xyzw_from_wxyz(self._positions()[:, 3:7]), angular.to(qvel.dtype))
        self._solver.set_dofs_velocity(qvel)

    def apply_force(self, body: int, force: Tensor) -> None:
        """Push a body with a world force (N, 3) in N during the next control step."""
        self._push[:, body] = force.to(self._push.dtype)
        self._pushed = True

    # --- the rest ----------------------------------------------------------------------------------------------------

    def render_state(self, index: int) -> np.ndarray:
        """The generalised positions qpos (nq,) of one environment."""
        return self._positions()[index].double().cpu().numpy()

    def state_dict(self) -> dict[str, Tensor]:
        """All arrays of Genesis that physics goes on from, pushes that wait, and the parameters that were set."""
        arrays = self._solver.__getstate__().arrays
        state = {f"genesis.{name}": torch.as_tensor(arrays[name]) for name in self._state_names}
        return {**state, **self._parameters.state_dict(), "push": self._push.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore `state_dict`; derived quantities are computed anew from it."""
        own = self.state_dict()
        for name, tensor in own.items():
            if name in state and not name.startswith("parameter.") and state[name].shape != tensor.shape:
                want, got = tuple(tensor.shape), tuple(state[name].shape)
                raise ValueError(f"simulation state {name!r}: want shape {want}, got {got}")
        self._parameters.load_state_dict(state)
        arrays = {name: state[f"genesis.{name}"] for name in self._state_names}
        self._solver.__setstate__(SolverCheckpoint(arrays=arrays, configs={}, kinds=_STATE))
        self._push.copy_(state["push"])
        self._pushed = bool(self._push.any())
        self._unstable.zero_()

    def close(self) -> None:
        """Drop the scene; closing again does nothing."""
        if (scene := self.__dict__.pop("_scene", None)) is not None:
            scene.destroy()
        for name in list(self.__dict__):
            if name.startswith("_"):
                del self.__dict__[name]


def _start(name: str) -> torch.device:
    """Start Genesis in this process, unless it runs already; the device it runs on.

    Args:
        name: "cpu", "cuda" or "cuda:1"; "auto" is CUDA where there is some.
    """
    device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
    if device.index is not None:
        torch.cuda.set_device(device)  # Genesis takes the current one
    backend, precision = (gs.cuda, "32") if device.type == "cuda" else (gs.cpu, "64")
    if gs.backend is None:
        gs.init(backend=backend, precision=precision, logging_level="warning")
    if gs.backend != backend or gs.np_float != {"32": np.float32, "64": np.float64}[precision]:
        found = f"{gs.backend.name} with {np.dtype(gs.np_float).name}"
        raise RuntimeError(f"Genesis runs in this process on {found}, and not on {name!r} with {precision} bits too")
    return gs.device


def _add_ground(scene: Any, model: mujoco.MjModel, settings: SimulationSettings) -> list[Any]:  # noqa: ANN401
    """Add the ground of a compiled `physics_spec` to a scene; its parts."""
    material = gs.materials.Rigid(friction=min(max(settings.friction, _FRICTIONS[0]), _FRICTIONS[1]))
    if settings.terrain.is_flat:
        return [scene.add_entity(gs.morphs.Plane(visualization=False), material=material)]
    morphs = []
    for geom in map(model.geom, range(model.ngeom)):
        if not geom.name.startswith(GROUND):
            continue
        if geom.type[0] == mujoco.mjtGeom.mjGEOM_BOX:
            place = model.body_pos[geom.bodyid[0]]
            morphs.append(gs.morphs.Box(pos=tuple(place), size=tuple(2.0 * geom.size), fixed=True, visualization=False))
            continue
        columns, rows = model.hfield_ncol[0], model.hfield_nrow[0]
        half_x, half_y, height, _ = model.hfield_size[0]
        heights = height * model.hfield_data.reshape(rows, columns).T  # (X, Y)
        # Genesis cuts the cells along the other diagonal. Turned by a right angle, that is ours.
        morphs.append(
            gs.morphs.Terrain(
                height_field=np.ascontiguousarray(heights[::-1].T),
                horizontal_scale=settings.terrain.spacing,
                vertical_scale=1.0,
                pos=(geom.pos[0] + half_x, geom.pos[1] - half_y, geom.pos[2]),
                euler=(0.0, 0.0, 90.0),
                visualization=False,
            )
        )
    return [scene.add_entity(morph, material=material) for morph in morphs]


def _mjcf(robot: Robot, settings: SimulationSettings) -> str:
    """The robot as an MJCF document, without what Genesis does not take or is told elsewhere."""
    spec = physics_spec(robot, settings)
    for part in (*spec.sensors, *spec.actuators):
        spec.delete(part)
    ground = spec.body(GROUND)
    spec.delete(spec.geom(GROUND) if ground is None else ground)
    for field in spec.hfields:
        spec.delete(field)
    for joint in spec.joints:
        if joint.type == mujoco.mjtJoint.mjJNT_BALL:
            joint.limited = mujoco.mjtLimited.mjLIMITED_FALSE
    spec.compile()
    return spec.to_xml()
