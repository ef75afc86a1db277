"""Isaac Lab 3 without Kit: its articulations over Newton's MuJoCo solver. See docs/isaac.md."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from proto_envs.context import ObjectState, ResetState, RobotState
from proto_envs.robots import Robot
from proto_envs.simulators.base import Capabilities, SimulationSettings, UnsupportedError, diverged
from proto_envs.simulators.coordinates import Coordinates
from proto_envs.simulators.drives import DriveLaw
from proto_envs.simulators.mjcf import physics_spec

try:
    import mujoco_usd_converter
    from isaaclab.actuators import ImplicitActuatorCfg
    from isaaclab.assets import ArticulationCfg
    from isaaclab.cloner import CloneCfg, clone_plan_from_env_0, replicate
    from isaaclab.sim import SimulationCfg, UsdFileCfg, build_simulation_context, create_prim
    from isaaclab_newton.assets import Articulation
    from isaaclab_newton.physics import MJWarpSolverCfg, NewtonCfg
    from pxr import Sdf, Usd, UsdPhysics
except ImportError as error:
    raise ImportError(
        f"engine isaaclab needs Isaac Lab 3 and mujoco-usd-converter in an environment of Python 3.12 ({error}): "
        "docs/isaac.md has the commands",
        name=error.name,
    ) from error

__all__ = ["IsaacLabSimulator"]

_PLACE = "/World/Env_{}"
"""where an environment stands in the stage"""
_CONTACTS = 64
"""of an environment, that there is room for unless the settings say so"""
_ROWS_PER_CONTACT = 4
"""constraints that a contact with friction makes"""
_BALLS = "Newton 1.6 leaves out their armature where it reads USD"


class IsaacLabSimulator:
    """Robots as articulations of Isaac Lab, made of our MJCF by way of USD.

    Drives are this engine's own: before each physics step they set the efforts of the joints, as MuJoCo's position
    drives would; damping sits in the joints. Isaac Lab has one simulation at a time in a process.
    """

    def __init__(self, robot: Robot, num_envs: int, settings: SimulationSettings) -> None:
        """Build N copies of `robot`.

        Args:
            robot: what to simulate.
            num_envs: N.
            settings: rates, friction, device.

        Raises:
            UnsupportedError: for uneven ground, objects, or a robot with ball joints.
        """
        if not settings.terrain.is_flat:
            raise UnsupportedError("engine isaaclab has level ground alone, no terrain")
        if settings.scenes is not None or settings.projectiles is not None:
            raise UnsupportedError("engine isaaclab has no objects beside the robots: no scenes, no projectiles")
        for name, joint in zip(robot.skeleton.body_names, robot.skeleton.joints, strict=True):
            if joint.kind == "ball":
                raise UnsupportedError(f"engine isaaclab has no ball joints, such as that of {name!r}: {_BALLS}")
        self.num_envs, self.dt, self.substeps = num_envs, 1.0 / settings.control_hz, settings.substeps
        automatic = "cuda:0" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(automatic if settings.device == "auto" else settings.device)
        self.terrain, self.scenes = settings.terrain.to(self.device), None
        self.capabilities = Capabilities(name="isaaclab")
        self._skeleton = robot.skeleton
        self._model = physics_spec(robot, settings).compile()
        self._coordinates = Coordinates(robot, self._model, torch.device("cpu"))
        self._law = DriveLaw(robot, self.device)
        self._forces = torch.zeros(num_envs, robot.skeleton.num_dofs, device=self.device)
        """N m, of the drives in the last physics step"""
        self._end = ExitStack()
        try:
            self._start(robot, settings)
        except BaseException:
            self._end.close()
            raise

    def _start(self, robot: Robot, settings: SimulationSettings) -> None:
        contacts = settings.max_contacts or _CONTACTS
        solver = MJWarpSolverCfg(
            nconmax=contacts,
            njmax=_ROWS_PER_CONTACT * contacts + int(self._model.jnt_limited.sum()),
            integrator="implicitfast",
        )
        configured = SimulationCfg(
            device=str(self.device),
            dt=self.dt / self.substeps,
            gravity=(0.0, 0.0, settings.gravity),
            physics=NewtonCfg(solver_cfg=solver, num_substeps=1, use_cuda_graph=self.device.type == "cuda"),
        )
        self._sim = self._end.enter_context(build_simulation_context(sim_cfg=configured, device=str(self.device)))
        folder = self._end.enter_context(tempfile.TemporaryDirectory(prefix="proto-isaaclab-"))
        for index in range(self.num_envs):
            create_prim(_PLACE.format(index), "Xform")
        wanted = ArticulationCfg(
            prim_path=_PLACE.format(".*") + "/Robot",
            spawn=UsdFileCfg(usd_path=_usd(robot, settings, Path(folder))),
            actuators={"all": ImplicitActuatorCfg(joint_names_expr=[".*"], stiffness=0.0, damping=0.0)},
        )
        clone_plan_from_env_0(CloneCfg(clone_template=_PLACE), (wanted,), self.num_envs, 0.0)
        self._articulation = Articulation(wanted)
        replicate(self._sim.get_clone_plan())
        self._sim.reset()
        self._find_order()

    def _find_order(self) -> None:
        """Where our bodies and degrees of freedom stand in Isaac Lab, which visits a body's children in its own order.

        Joints stand in the order of the bodies below them.
        """
        skeleton, theirs = self._skeleton, list(self._articulation.body_names)
        if sorted(theirs) != sorted(skeleton.body_names):
            raise UnsupportedError(f"Isaac Lab has the bodies {theirs}, want {list(skeleton.body_names)}")
        dofs = [d for name in theirs for d, b in enumerate(skeleton.dof_bodies) if skeleton.body_names[b] == name]
        self._bodies = torch.tensor([theirs.index(name) for name in skeleton.body_names], device=self.device)
        self._our_dofs = torch.tensor(dofs, device=self.device)
        """ours, in Isaac Lab's order"""
        self._dofs = torch.argsort(self._our_dofs)
        """Isaac Lab's, in our order"""

    # --- stepping ----------------------------------------------------------------------------------------------------

    def step(self, targets: Tensor) -> None:
        """Simulate one control step towards joint targets (N, D) rad."""
        robot = self._articulation
        for _ in range(self.substeps):
            away = targets - self._joint_level("dof_positions", None)
            rates = self._joint_level("dof_velocities", None)
            self._forces.copy_(self._law.torques(away, rates))
            # The joints' dampers, which the solver sees implicitly, take what is given back here.
            efforts = self._forces + self._law.damping * rates
            robot.actuators.target_command.set_effort_index(value=efforts[:, self._our_dofs])
            robot.write_data_to_sim()
            self._sim.step(render=False)
            robot.update(self.dt / self.substeps)

    def unstable(self) -> Tensor:
        """(N,) bool: the last step left numbers that are not finite, or larger than any that physics has."""
        data = self._articulation.data
        fields = (data.body_link_pose_w, data.body_link_vel_w, data.joint_pos, data.joint_vel)
        return diverged(*(field.torch for field in fields))

    # --- reading -----------------------------------------------------------------------------------------------------

    def robot(self, ids: Tensor | None = None) -> RobotState:
        """State of the robots after the last step or reset, in new tensors."""
        data = self._articulation.data
        pose, motion = (
            self._rows(field.torch, ids, self._bodies) for field in (data.body_link_pose_w, data.body_link_vel_w)
        )
        return RobotState(
            pose[..., :3], pose[..., 3:], motion[..., :3], motion[..., 3:], lambda name: self._joint_level(name, ids)
        )

    def _rows(self, field: Tensor, ids: Tensor | None, columns: Tensor) -> Tensor:
        return (field if ids is None else field[ids])[:, columns]

    def _joint_level(self, name: str, ids: Tensor | None) -> Tensor:
        data = self._articulation.data
        match name:
            case "dof_positions":
                return self._rows(data.joint_pos.torch, ids, self._dofs)
            case "dof_velocities":
                return self._rows(data.joint_vel.torch, ids, self._dofs)
            case "dof_forces":
                return self._forces.clone() if ids is None else self._forces[ids]
            case "contact_forces":
                raise UnsupportedError("engine isaaclab does not measure contact forces")
        raise AttributeError(f"RobotState has no field {name!r}")

    # --- writing -----------------------------------------------------------------------------------------------------

    def set_state(self, ids: Tensor, state: ResetState) -> None:
        """Put robots into a state; all others stay as they are, bit for bit."""
        robot, rows, local = self._articulation, ids.to(torch.int32), state.local_rotations
        joints = self._skeleton.dofs_from_local_rotations(local)
        pose = torch.cat([state.root_position, local[:, 0]], dim=-1)
        motion = torch.cat([state.root_velocity, state.root_angular_velocity], dim=-1)
        robot.write_root_link_pose_to_sim_index(root_pose=pose, env_ids=rows)
        robot.write_joint_state_to_sim_index(
            position=joints[:, self._our_dofs], velocity=state.dof_velocities[:, self._our_dofs], env_ids=rows
        )
        # After the pose: where the centre of mass is that Isaac Lab keeps the velocity of depends on it.
        robot.write_root_link_velocity_to_sim_index(root_velocity=motion, env_ids=rows)
        self._forces[ids] = 0.0

    def add_velocity(self, linear: Tensor, angular: Tensor) -> NoReturn:
        """Refuse."""
        raise UnsupportedError("engine isaaclab cannot push robots")

    def apply_force(self, body: int, force: Tensor) -> NoReturn:
        """Refuse."""
        raise UnsupportedError("engine isaaclab cannot push robots")

    def set_params(self, name: str, ids: Tensor | None, values: Tensor) -> NoReturn:
        """Refuse."""
        raise UnsupportedError(f"engine isaaclab cannot set {name!r}; it can set nothing")

    def get_params(self, name: str) -> NoReturn:
        """Refuse."""
        raise UnsupportedError(f"engine isaaclab has no parameter {name!r}; it can set nothing")

    # --- objects, of which there are none ----------------------------------------------------------------------------

    def objects(self, ids: Tensor | None = None) -> ObjectState:
        """No objects."""
        n = self.num_envs if ids is None else len(ids)
        return ObjectState(*(torch.zeros(n, 0, size, device=self.device) for size in (3, 4, 3, 3)))

    def set_objects(self, ids: Tensor | None, state: ObjectState, *, held_only: bool = False) -> NoReturn:
        """Refuse."""
        raise UnsupportedError("engine isaaclab has no objects beside the robots")

    def projectiles(self) -> ObjectState:
        """No projectiles."""
        return self.objects()

    def throw(self, chosen: Tensor, state: ObjectState) -> NoReturn:
        """Refuse."""
        raise UnsupportedError("engine isaaclab has no projectiles")

    # --- the rest ----------------------------------------------------------------------------------------------------

    def render_state(self, index: int) -> np.ndarray:
        """The generalised positions qpos (nq,) of one environment."""
        state = self.robot(torch.tensor([index], device=self.device))
        root = (part[:, 0].cpu() for part in (state.body_positions, state.body_rotations))
        position, rotation = root
        joints, zeros = state.dof_positions.cpu(), torch.zeros(1, 3)
        local = self._skeleton.local_rotations_from_dofs(joints, rotation)
        qpos, qvel = (torch.zeros(1, size, dtype=torch.float64) for size in (self._model.nq, self._model.nv))
        self._coordinates.write(ResetState(position, local, joints, zeros, zeros, torch.zeros_like(joints)), qpos, qvel)
        return qpos[0].numpy()

    def state_dict(self) -> NoReturn:
        """Refuse."""
        raise UnsupportedError("engine isaaclab cannot save its exact state")

    def load_state_dict(self, state: Mapping[str, Tensor]) -> NoReturn:
        """Refuse."""
        raise UnsupportedError("engine isaaclab cannot restore a state")

    def close(self) -> None:
        """End the simulation; closing again does nothing."""
        self._end.close()


def _usd(robot: Robot, settings: SimulationSettings, folder: Path) -> str:
    """Our physics model with its floor, without drives, as a USD file in a folder."""
    spec = physics_spec(robot, settings)
    for thing in (*spec.actuators, *spec.sensors):
        spec.delete(thing)
    spec.compile()
    source = folder / "robot.xml"
    source.write_text(spec.to_xml(), encoding="utf-8")
    path = str(mujoco_usd_converter.Converter(scene=False).convert(str(source), str(folder / "usd")).path)
    stage = Usd.Stage.Open(path)
    for prim in stage.Traverse():
        if prim.HasAPI(UsdPhysics.ArticulationRootAPI):
            flag = prim.CreateAttribute("newton:selfCollisionEnabled", Sdf.ValueTypeNames.Bool)
            flag.Set(settings.self_collision)
    stage.Save()
    return path
