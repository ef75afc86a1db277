"""Isaac Gym (Preview 4): PhysX in a process of its own, since it runs under Python 3.8 alone. See docs/isaac.md."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import mujoco
import numpy as np
import torch
from torch import Tensor

from poselib.kinematics import forward_kinematics, forward_velocities
from poselib.rotations import exp_map_from_quat, quat_apply, quat_difference, quat_from_exp_map
from proto_envs.context import ObjectState, ResetState, RobotState
from proto_envs.robots import Robot
from proto_envs.simulators.base import Capabilities, SimulationSettings, UnsupportedError, diverged
from proto_envs.simulators.coordinates import Coordinates
from proto_envs.simulators.isaacgym_link import Link
from proto_envs.simulators.isaacgym_robot import IsaacGymRobot
from proto_envs.simulators.mjcf import JointLayout, physics_spec
from proto_envs.simulators.mujoco import cpu_count
from proto_envs.simulators.parameters import Parameters

__all__ = ["IsaacGymSimulator"]

_SPACING = 5.0
"""m between robots, which do not meet, so that the search for contacts need not tell them apart"""
_OFFERED = ("damping", "mass", "stiffness")
"""parameters that Isaac Gym lets a program change while it runs, on CUDA too"""


class IsaacGymSimulator:
    """Isaac Gym with the robots on level ground.

    States and commands cross over through memory that both processes map, on CUDA too: there, the worker copies them
    between that memory and the device, once in each direction a step.

    Isaac Gym computes where bodies are in a physics step alone. For robots that were just put somewhere this engine
    says it by its own kinematics. Velocities are those of centres of mass there and of origins here.
    """

    def __init__(self, robot: Robot, num_envs: int, settings: SimulationSettings) -> None:
        """Start the worker and build N copies of `robot` there.

        Args:
            robot: what to simulate.
            num_envs: N.
            settings: rates, friction, sensors, device.

        Raises:
            ImportError: if no interpreter is named.
            UnsupportedError: for uneven ground, objects, or a robot that Isaac Gym does not take.
            WorkerError: if Isaac Gym does not start; with what it said.
        """
        if not settings.terrain.is_flat:
            raise UnsupportedError("engine isaacgym has level ground alone, no terrain")
        if settings.scenes is not None or settings.projectiles is not None:
            raise UnsupportedError("engine isaacgym has no objects beside the robots: no scenes, no projectiles")
        self.num_envs, self.dt = num_envs, 1.0 / settings.control_hz
        self.device = _device(settings.device)
        self.terrain, self.scenes = settings.terrain.to(self.device), None
        self.capabilities = Capabilities(
            name="isaacgym",
            parameters=frozenset(_OFFERED),
            contact_forces=settings.contact_forces,
            apply_force=True,
        )
        self._robot, self._skeleton = robot, robot.skeleton
        self._model = physics_spec(robot, settings).compile()
        layout = JointLayout.of(robot, self._model)
        self._coordinates = Coordinates(robot, self._model, torch.device("cpu"))
        self._described = IsaacGymRobot.of(robot, self._model, layout)
        self._link = Link(_arrays(num_envs, self._skeleton.num_bodies, self._skeleton.num_dofs))
        try:
            self._start(settings)
            self._parameters = _Parameters(self._model, layout, self._link, self._described)
            self._make_buffers()
            self.set_state(torch.arange(num_envs, device=self.device), self._rest_state())
        except BaseException:
            self._link.close()
            raise

    def _start(self, settings: SimulationSettings) -> None:
        described, arrays = self._described, self._link.arrays
        for name in ("stiffness", "damping"):
            arrays[name][:] = torch.from_numpy(getattr(described, name))
        arrays["mass"].fill_(1.0)
        with tempfile.TemporaryDirectory(prefix="proto-isaacgym-") as folder:
            Path(folder, "robot.xml").write_text(described.mjcf, encoding="utf-8")
            about = {
                "folder": folder,
                "file": "robot.xml",
                "bodies": list(self._skeleton.body_names),
                "dofs": list(self._skeleton.dof_names),
            }
            for name in ("efforts", "armatures", "masses", "coms", "inertias"):
                about[name] = getattr(described, name).tolist()
            started = self._link.call(
                "start",
                layout=self._link.layout,
                robot=about,
                settings={
                    "num_envs": self.num_envs,
                    "dt": self.dt / settings.substeps,
                    "substeps": settings.substeps,
                    "gravity": settings.gravity,
                    "friction": settings.friction,
                    "self_collision": settings.self_collision,
                    "contact_forces": settings.contact_forces,
                    "threads": settings.threads or cpu_count(),
                    "spacing": _SPACING,
                    "device": -1 if self.device.type == "cpu" else self.device.index,
                },
            )
        self._origins = torch.tensor(started["origins"], device=self.device)
        """(N, 3) m, of the environments; all is relative to them here and absolute there"""

    def _make_buffers(self) -> None:
        n, skeleton, device = self.num_envs, self._skeleton, self.device
        self._coms = torch.tensor(self._described.coms, dtype=torch.float32, device=device)
        self._efforts = torch.tensor(self._described.efforts, dtype=torch.float32, device=device)
        self._ball_dofs = torch.tensor(skeleton.ball_dofs, dtype=torch.long, device=device).reshape(-1, 3)
        self._bodies = torch.zeros(n, skeleton.num_bodies, 13, device=device)
        """(N, B, 13) position, rotation, velocity of the origin and angular velocity, as this project means them"""
        self._dofs = torch.zeros(n, skeleton.num_dofs, 2, device=device)
        """(N, D, 2) position and velocity"""
        self._targets = torch.zeros(n, skeleton.num_dofs, device=device)
        self._contacts = torch.zeros(n, skeleton.num_bodies, 3, device=device)
        self._unstable = torch.zeros(n, dtype=torch.bool, device=device)
        self._pushed = False

    def _rest_state(self) -> ResetState:
        n, joints = self.num_envs, self._dofs[..., 0]
        root = self._skeleton.offsets[0].to(self.device).repeat(n, 1)
        zeros = torch.zeros_like(root)
        return ResetState(root, self._skeleton.local_rotations_from_dofs(joints), joints, zeros, zeros, joints)

    # --- stepping ----------------------------------------------------------------------------------------------------

    def step(self, targets: Tensor) -> None:
        """Simulate one control step towards joint targets (N, D) rad."""
        arrays = self._link.arrays
        self._targets.copy_(targets)
        arrays["targets"].copy_(targets)
        self._link.call("step", pushed=self._pushed)
        if self._pushed:
            arrays["push"].zero_()
            self._pushed = False
        self._bodies.copy_(arrays["bodies"].view(self._bodies.shape))
        self._bodies[..., :3] -= self._origins.unsqueeze(1)
        self._bodies[..., 7:10] -= _of_centres(self._bodies, self._coms)
        self._dofs.copy_(arrays["dofs"].view(self._dofs.shape))
        self._contacts.copy_(arrays["contacts"].view(self._contacts.shape))
        # NaN is no smaller than anything.
        self._unstable = diverged(self._bodies, self._dofs)

    def unstable(self) -> Tensor:
        """(N,) bool: the last step left numbers that are not finite, or larger than any that physics has."""
        return self._unstable

    # --- reading -----------------------------------------------------------------------------------------------------

    def robot(self, ids: Tensor | None = None) -> RobotState:
        """State of the robots after the last step or reset, in new tensors."""
        positions, rotations, velocities, angular = (
            part.clone() for part in (self._bodies if ids is None else self._bodies[ids]).split((3, 4, 3, 3), dim=-1)
        )
        return RobotState(positions, rotations, velocities, angular, lambda name: self._joint_level(name, ids))

    def _joint_level(self, name: str, ids: Tensor | None) -> Tensor:
        select = slice(None) if ids is None else ids
        match name:
            case "dof_positions":
                return self._dofs[select][..., 0].clone()
            case "dof_velocities":
                return self._dofs[select][..., 1].clone()
            case "dof_forces":
                return self._drive_forces(select)
            case "contact_forces":
                if not self.capabilities.contact_forces:
                    raise UnsupportedError("contact forces are off: set SimulationSettings.contact_forces")
                return self._contacts[select].clone()
        raise AttributeError(f"RobotState has no field {name!r}")

    def _drive_forces(self, select: slice | Tensor) -> Tensor:
        """What the drives' law says of the last targets and of where joints are now; PhysX does not tell."""
        positions, velocities = self._dofs[select].unbind(-1)
        targets, balls = self._targets[select], self._ball_dofs
        errors = targets - positions
        turns = quat_difference(quat_from_exp_map(positions[:, balls]), quat_from_exp_map(targets[:, balls]))
        errors[:, balls] = exp_map_from_quat(turns)
        stiffness, damping = (self._link.arrays[name].to(self.device)[select] for name in ("stiffness", "damping"))
        return (stiffness * errors - damping * velocities).clamp(-self._efforts, self._efforts)

    # --- writing -----------------------------------------------------------------------------------------------------

    def set_state(self, ids: Tensor, state: ResetState) -> None:
        """Put robots into a state; all others stay as they are, bit for bit.

        Isaac Gym hears of it in the next step.
        """
        skeleton, local = self._skeleton, state.local_rotations
        positions, rotations = forward_kinematics(skeleton, state.root_position, local)
        velocities, angular = forward_velocities(
            skeleton, positions, rotations, state.root_velocity, state.root_angular_velocity, state.dof_velocities
        )
        bodies = torch.cat([positions, rotations, velocities, angular], dim=-1)
        self._bodies[ids] = bodies
        self._dofs[ids] = torch.stack([skeleton.dofs_from_local_rotations(local), state.dof_velocities], dim=-1)
        self._targets[ids] = self._dofs[ids][..., 0]  # drives at rest
        self._contacts[ids] = 0.0
        self._unstable[ids] = False
        root = bodies[:, 0].clone()
        root[:, :3] += self._origins[ids]
        root[:, 7:10] += _of_centres(bodies, self._coms)[:, 0]
        arrays, rows = self._link.arrays, ids.cpu()
        arrays["root"][rows] = root.cpu()
        arrays["dofs"].view(self._dofs.shape)[rows] = self._dofs[ids].cpu()
        arrays["push"].view(self._contacts.shape)[rows] = 0.0
        arrays["written"][rows] = 1

    def add_velocity(self, linear: Tensor, angular: Tensor) -> None:
        """Change the velocity of whole robots by (N, 3) m/s and rad/s, world; their joints keep theirs."""
        root, turn = self._link.arrays["root"], angular.cpu()
        arm = quat_apply(root[:, 3:7], self._coms[0].cpu().expand(self.num_envs, 3))
        change = torch.cat([linear.cpu() + torch.linalg.cross(turn, arm, dim=-1), turn], dim=-1)
        root[:, 7:] += change
        self._link.arrays["written"][change.any(-1)] = 1

    def apply_force(self, body: int, force: Tensor) -> None:
        """Push a body with a world force (N, 3) in N during the next control step."""
        self._link.arrays["push"].view(self._contacts.shape)[:, body] = force.cpu()
        self._pushed = True

    def set_params(self, name: str, ids: Tensor | None, values: Tensor) -> None:
        """Change a physical parameter; which there are says `Simulator.set_params`, and which here `capabilities`."""
        self._parameters.set(name, None if ids is None else ids.cpu(), values.cpu())

    def get_params(self, name: str) -> Tensor:
        """What holds now, (N, ...) with every axis that `Simulator.set_params` says."""
        return self._parameters.get(name).to(self.device)

    # --- objects, of which there are none ----------------------------------------------------------------------------

    def objects(self, ids: Tensor | None = None) -> ObjectState:
        """No objects."""
        n = self.num_envs if ids is None else len(ids)
        return ObjectState(*(torch.zeros(n, 0, size, device=self.device) for size in (3, 4, 3, 3)))

    def set_objects(self, ids: Tensor | None, state: ObjectState, *, held_only: bool = False) -> NoReturn:
        """Refuse."""
        raise UnsupportedError("engine isaacgym has no objects beside the robots")

    def projectiles(self) -> ObjectState:
        """No projectiles."""
        return self.objects()

    def throw(self, chosen: Tensor, state: ObjectState) -> NoReturn:
        """Refuse."""
        raise UnsupportedError("engine isaacgym has no projectiles")

    # --- the rest ----------------------------------------------------------------------------------------------------

    def render_state(self, index: int) -> np.ndarray:
        """The generalised positions qpos (nq,) of one environment."""
        row = slice(index, index + 1)
        bodies, dofs = self._bodies[row, 0].cpu(), self._dofs[row].cpu()
        local = self._skeleton.local_rotations_from_dofs(dofs[..., 0], bodies[:, 3:7])
        state = ResetState(bodies[:, :3], local, dofs[..., 0], bodies[:, 7:10], bodies[:, 10:], dofs[..., 1])
        qpos, qvel = (torch.zeros(1, size, dtype=torch.float64) for size in (self._model.nq, self._model.nv))
        self._coordinates.write(state, qpos, qvel)
        return qpos[0].numpy()

    def state_dict(self) -> NoReturn:
        """Refuse."""
        raise UnsupportedError("engine isaacgym cannot save its exact state: PhysX keeps a part of it to itself")

    def load_state_dict(self, state: Mapping[str, Tensor]) -> NoReturn:
        """Refuse."""
        raise UnsupportedError("engine isaacgym cannot restore a state")

    def close(self) -> None:
        """End the worker; closing again does nothing."""
        self._link.close()


class _Parameters(Parameters):
    """Puts rows into the shared memory, and tells the worker which."""

    engine = "isaacgym"

    def __init__(self, model: mujoco.MjModel, layout: JointLayout, link: Link, robot: IsaacGymRobot) -> None:
        """Take the parameters of a compiled `physics_spec`, none of which is set yet."""
        super().__init__(model, len(link.arrays["root"]), layout, torch.zeros(0))
        self._neutral = {name: self._neutral[name] for name in _OFFERED}
        self._link = link
        self._model_values = {
            "mass": torch.ones(()),
            "stiffness": torch.from_numpy(robot.stiffness).float(),
            "damping": torch.from_numpy(robot.damping).float(),
        }

    def _apply(self, name: str, rows: Tensor | slice, values: Tensor) -> None:
        array = self._link.arrays[name]
        array[rows] = self._model_values[name] * values
        self._link.call("set_parameter", name=name, rows=torch.arange(len(array))[rows].tolist())


def _arrays(n: int, bodies: int, dofs: int) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """What both processes see, shaped as Isaac Gym has it; all in its frames and units."""
    return {
        "root": ((n, 13), torch.float32),
        "dofs": ((n * dofs, 2), torch.float32),
        "bodies": ((n * bodies, 13), torch.float32),
        "contacts": ((n * bodies, 3), torch.float32),
        "targets": ((n, dofs), torch.float32),
        "push": ((n * bodies, 3), torch.float32),
        "stiffness": ((n, dofs), torch.float32),
        "damping": ((n, dofs), torch.float32),
        "mass": ((n, bodies), torch.float32),
        "written": ((n,), torch.uint8),
        "rows": ((n,), torch.int32),
    }


def _of_centres(bodies: Tensor, coms: Tensor) -> Tensor:
    """How much faster than its origin the centre of mass (B, 3) of each body (n, B, 13) is, (n, B, 3) m/s."""
    arms = quat_apply(bodies[..., 3:7], coms.expand(*bodies.shape[:2], 3))
    return torch.linalg.cross(bodies[..., 10:], arms, dim=-1)


def _device(name: str) -> torch.device:
    """A device by its name; "auto" is CUDA where there is some."""
    device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device
