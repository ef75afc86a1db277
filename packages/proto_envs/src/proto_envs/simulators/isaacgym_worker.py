"""The half of the engine `isaacgym` that runs under Isaac Gym's own Python 3.8, as a process of its own.

It imports nothing of this project, and may use the standard library, isaacgym and, where physics runs on CUDA, numpy
and torch. `isaacgym_link` starts it with the numbers of two inherited files: a socket, over which requests and answers
go as lines of JSON, and a block of memory that both processes map, in which states and commands lie:

    {"id": 1, "call": "start", "arguments": {...}}      {"id": 1, "result": {...}}
    {"id": 2, "call": "step", "arguments": {...}}       {"id": 2, "error": "Traceback ..."}

`Worker` has a method for each call. The process ends with the other end of the socket, whatever it is doing.
"""

from __future__ import annotations

import os
import sys

# Beside this file lie modules that are named like the engines; they are not what is wanted here.
sys.path[:] = [path for path in sys.path if os.path.abspath(path) != os.path.dirname(os.path.abspath(__file__))]

import ctypes  # noqa: E402
import json  # noqa: E402
import math  # noqa: E402
import mmap  # noqa: E402
import select  # noqa: E402
import signal  # noqa: E402
import socket  # noqa: E402
import threading  # noqa: E402
import traceback  # noqa: E402
from typing import Any  # noqa: E402

from isaacgym import gymapi  # noqa: E402  before torch, as Isaac Gym wants it

__all__ = ["DeviceTensors", "HostTensors", "SharedMemory", "Worker", "main"]

_CODES = {"f": gymapi.DTYPE_FLOAT32, "i": gymapi.DTYPE_UINT32}
"""Isaac Gym has no name for signed integers, and takes indices as unsigned ones"""
_FASTEST = 100.0
"""rad/s of joints and of bodies, as in ProtoMotions"""


# --- tensors ---------------------------------------------------------------------------------------------------------


class SharedMemory:
    """Arrays in the block that both processes map."""

    def __init__(self, file: int, layout: list[tuple[str, list[int], str, int]]) -> None:
        """Map the block.

        Args:
            file: descriptor of the block.
            layout: name, shape, code ("f": float32, "i": int32, "B": byte) and offset in bytes of each array.
        """
        block = mmap.mmap(file, 0)
        self._base = ctypes.addressof(ctypes.c_char.from_buffer(block))
        self._layout = {name: (shape, code, offset) for name, shape, code, offset in layout}
        self._views: dict[str, memoryview] = {}
        for name, shape, code, offset in layout:
            size = math.prod(shape) * (1 if code == "B" else 4)
            self._views[name] = memoryview(block)[offset : offset + size].cast(code)  # type: ignore[call-overload]

    def __getitem__(self, name: str) -> memoryview:
        """An array, flat and live."""
        return self._views[name]

    def row(self, name: str, index: int) -> list[float]:
        """A copy of one row of an array with two axes."""
        size = self.shape(name)[1]
        return [float(number) for number in self._views[name][index * size : (index + 1) * size]]

    def shape(self, name: str) -> list[int]:
        """Lengths of the axes of an array."""
        return self._layout[name][0]

    def address(self, name: str) -> int:
        """Where an array begins."""
        return self._base + self._layout[name][2]


class HostTensors:
    """Physics on the CPU: Isaac Gym reads commands right out of the shared memory, and states are copied into it."""

    def __init__(self, memory: SharedMemory) -> None:
        """Take the memory."""
        self._memory = memory
        self._watched: list[tuple[str, gymapi.Tensor]] = []

    def command(self, name: str) -> gymapi.Tensor:
        """An array as Isaac Gym takes it, with what it holds now."""
        tensor = gymapi.Tensor()
        tensor.data_address, tensor.shape = self._memory.address(name), tuple(self._memory.shape(name))
        tensor.dtype, tensor.device, tensor.own_data = _CODES[self._memory[name].format], -1, False
        return tensor

    def watch(self, name: str, tensor: gymapi.Tensor) -> None:
        """From now on `collect` copies a tensor of Isaac Gym into an array of as many numbers."""
        _require_count(name, math.prod(tensor.shape), len(self._memory[name]))
        self._watched.append((name, tensor))

    def collect(self) -> None:
        """Copy what is watched into the shared memory."""
        for name, tensor in self._watched:
            ctypes.memmove(self._memory.address(name), tensor.data_address, 4 * len(self._memory[name]))


class DeviceTensors:
    """Physics on CUDA: commands and states are copied between the shared memory and the device."""

    def __init__(self, memory: SharedMemory, device: int) -> None:
        """Take the memory, and the index of the device."""
        import numpy
        import torch
        from isaacgym import gymtorch

        self._memory, self._gymtorch = memory, gymtorch
        self._host = lambda name: torch.from_numpy(numpy.frombuffer(memory[name], _numpy_type(memory[name])))
        self._empty = lambda shape, like: torch.empty(shape, dtype=like.dtype, device=torch.device("cuda", device))
        self._commands: dict[str, tuple[Any, Any]] = {}
        self._watched: list[tuple[Any, Any]] = []

    def command(self, name: str) -> gymapi.Tensor:
        """An array as Isaac Gym takes it, with what it holds now."""
        if name not in self._commands:
            host = self._host(name)
            self._commands[name] = (host, self._empty(self._memory.shape(name), host))
        host, tensor = self._commands[name]
        tensor.view(-1).copy_(host)
        return self._gymtorch.unwrap_tensor(tensor)

    def watch(self, name: str, tensor: gymapi.Tensor) -> None:
        """From now on `collect` copies a tensor of Isaac Gym into an array of as many numbers."""
        wrapped = self._gymtorch.wrap_tensor(tensor)
        _require_count(name, wrapped.numel(), len(self._memory[name]))
        self._watched.append((self._host(name), wrapped))

    def collect(self) -> None:
        """Copy what is watched into the shared memory."""
        for host, tensor in self._watched:
            host.copy_(tensor.reshape(-1))


def _numpy_type(view: memoryview) -> str:
    return "float32" if view.format == "f" else "int32"


def _require_count(name: str, found: int, wanted: int) -> None:
    if found != wanted:
        raise ValueError(f"Isaac Gym has {found} numbers of {name}, the engine wants {wanted}")


# --- the simulation --------------------------------------------------------------------------------------------------


class Worker:
    """Isaac Gym with N copies of one robot, each alone on a plane."""

    def __init__(self, memory_file: int) -> None:
        """Take the descriptor of the shared memory."""
        self._memory_file = memory_file
        self._gym = gymapi.acquire_gym()
        self._sim: Any = None
        self._actors: list[tuple[gymapi.Env, int]] = []

    # --- calls -------------------------------------------------------------------------------------------------------

    def start(
        self, layout: list[tuple[str, list[int], str, int]], robot: dict[str, Any], settings: dict[str, Any]
    ) -> dict[str, Any]:
        """Make the simulation; its drives and masses are those in the shared memory.

        Args:
            layout: of the shared memory.
            robot: folder and file of its MJCF; names of its bodies and dofs; efforts (N m) and armatures (kg m2) of its
                dofs; masses (kg), coms (m) and inertias (rows of 3 x 3, kg m2) of its bodies.
            settings: num_envs; dt (s, one physics step); substeps; gravity (m/s2, along z); friction; self_collision;
                contact_forces; threads; spacing (m); device (index of CUDA's; -1: the CPU).

        Returns:
            "origins": where the origin of each environment lies, m.
        """
        self._memory = SharedMemory(self._memory_file, layout)
        self._robot, self._settings = robot, settings
        device = settings["device"]
        self._on_cpu = device < 0
        self._sim = self._gym.create_sim(max(device, 0), -1, gymapi.SIM_PHYSX, _parameters(settings))
        if self._sim is None:
            raise RuntimeError(f"Isaac Gym could not make a simulation on device {device}")
        self._add_ground()
        asset = self._load_robot()
        for index in range(settings["num_envs"]):
            self._add_robot(asset, index)
        if not self._gym.prepare_sim(self._sim):
            raise RuntimeError("Isaac Gym could not prepare the simulation")
        self._tensors = HostTensors(self._memory) if self._on_cpu else DeviceTensors(self._memory, device)
        self._tensors.watch("root", self._gym.acquire_actor_root_state_tensor(self._sim))
        self._tensors.watch("dofs", self._gym.acquire_dof_state_tensor(self._sim))
        self._tensors.watch("bodies", self._gym.acquire_rigid_body_state_tensor(self._sim))
        if settings["contact_forces"]:
            self._tensors.watch("contacts", self._gym.acquire_net_contact_force_tensor(self._sim))
        origins = [self._gym.get_env_origin(env) for env, _ in self._actors]
        return {"origins": [[origin.x, origin.y, origin.z] for origin in origins]}

    def step(self, pushed: bool) -> None:
        """One control step towards the targets in the shared memory, from rows of states that are `written` there.

        Args:
            pushed: apply the forces in `push` throughout.
        """
        gym, sim = self._gym, self._sim
        self._put_written_states()
        gym.set_dof_position_target_tensor(sim, self._tensors.command("targets"))
        for _ in range(self._settings["substeps"]):
            if pushed:  # forces hold for one physics step
                force = self._tensors.command("push")
                gym.apply_rigid_body_force_tensors(sim, forceTensor=force, space=gymapi.ENV_SPACE)
            gym.simulate(sim)
            if self._on_cpu:
                gym.fetch_results(sim, True)
        gym.refresh_actor_root_state_tensor(sim)
        gym.refresh_dof_state_tensor(sim)
        gym.refresh_rigid_body_state_tensor(sim)
        if self._settings["contact_forces"]:
            gym.refresh_net_contact_force_tensor(sim)
        self._tensors.collect()

    def set_parameter(self, name: str, rows: list[int]) -> None:
        """Take over rows of a parameter from the shared memory: "stiffness", "damping" or "mass"."""
        for index in rows:
            if name == "mass":
                self._set_masses(index)
            else:
                self._set_drives(index)

    def close(self) -> None:
        """Free the simulation."""
        if self._sim is not None:
            self._gym.destroy_sim(self._sim)
            self._sim = None

    # --- parts -------------------------------------------------------------------------------------------------------

    def _add_ground(self) -> None:
        plane = gymapi.PlaneParams()
        plane.normal = gymapi.Vec3(0.0, 0.0, 1.0)
        plane.static_friction = plane.dynamic_friction = self._settings["friction"]
        plane.restitution = 0.0
        self._gym.add_ground(self._sim, plane)

    def _load_robot(self) -> gymapi.Asset:
        robot, options = self._robot, gymapi.AssetOptions()
        options.angular_damping = options.linear_damping = 0.0
        options.max_angular_velocity = _FASTEST
        options.collapse_fixed_joints = options.fix_base_link = False
        asset = self._gym.load_asset(self._sim, robot["folder"], robot["file"], options)
        if asset is None:
            raise RuntimeError(f"Isaac Gym could not load {robot['file']} in {robot['folder']}")
        for what, found in (
            ("bodies", self._gym.get_asset_rigid_body_names(asset)),
            ("dofs", self._gym.get_asset_dof_names(asset)),
        ):
            if list(found) != robot[what]:
                raise ValueError(f"Isaac Gym has the {what} {list(found)}, the engine wants {robot[what]}")
        return asset

    def _add_robot(self, asset: gymapi.Asset, index: int) -> None:
        settings, reach = self._settings, 0.5 * self._settings["spacing"]
        low, high = gymapi.Vec3(-reach, -reach, 0.0), gymapi.Vec3(reach, reach, reach)
        env = self._gym.create_env(self._sim, low, high, max(1, int(settings["num_envs"] ** 0.5)))
        # Robots of different groups never meet. Within one, shapes that share a bit of the filter do not.
        together = 0 if settings["self_collision"] else 1
        actor = self._gym.create_actor(env, asset, gymapi.Transform(), "robot", index, together)
        self._actors.append((env, actor))
        shapes = self._gym.get_actor_rigid_shape_properties(env, actor)
        for shape in shapes:
            shape.friction, shape.restitution = settings["friction"], 0.0
        self._gym.set_actor_rigid_shape_properties(env, actor, shapes)
        self._set_drives(index)
        self._set_masses(index)

    def _set_drives(self, index: int) -> None:
        env, actor = self._actors[index]
        drives = self._gym.get_actor_dof_properties(env, actor)
        columns = {
            "stiffness": self._memory.row("stiffness", index),
            "damping": self._memory.row("damping", index),
            "effort": self._robot["efforts"],
            "armature": self._robot["armatures"],
        }
        for dof in range(len(self._robot["dofs"])):
            drives["driveMode"][dof] = int(gymapi.DOF_MODE_POS)
            drives["velocity"][dof], drives["friction"][dof] = _FASTEST, 0.0
            for name, values in columns.items():
                drives[name][dof] = values[dof]
        self._gym.set_actor_dof_properties(env, actor, drives)

    def _set_masses(self, index: int) -> None:
        """Masses and inertias times the factors in the shared memory; the importer's own play no part."""
        env, actor = self._actors[index]
        bodies = self._gym.get_actor_rigid_body_properties(env, actor)
        for body, factor in enumerate(self._memory.row("mass", index)):
            inertia = gymapi.Mat33()
            rows = [gymapi.Vec3(*[factor * number for number in row]) for row in self._robot["inertias"][body]]
            inertia.x, inertia.y, inertia.z = rows
            bodies[body].mass, bodies[body].inertia = factor * self._robot["masses"][body], inertia
            bodies[body].com = gymapi.Vec3(*self._robot["coms"][body])
        self._gym.set_actor_rigid_body_properties(env, actor, bodies, False)

    def _put_written_states(self) -> None:
        """All in one call, since of several calls before a physics step Isaac Gym keeps the last alone."""
        written, rows = self._memory["written"], self._memory["rows"]
        count = 0
        for index, flag in enumerate(written.tobytes()):
            if flag:
                rows[count], written[index] = index, 0
                count += 1
        if count:
            tensors = (self._tensors.command("rows"), count)
            self._gym.set_actor_root_state_tensor_indexed(self._sim, self._tensors.command("root"), *tensors)
            self._gym.set_dof_state_tensor_indexed(self._sim, self._tensors.command("dofs"), *tensors)


def _parameters(settings: dict[str, Any]) -> gymapi.SimParams:
    """How PhysX solves; the numbers are those of ProtoMotions."""
    parameters = gymapi.SimParams()
    parameters.dt, parameters.substeps = settings["dt"], 1
    parameters.up_axis = gymapi.UP_AXIS_Z
    parameters.gravity = gymapi.Vec3(0.0, 0.0, settings["gravity"])
    parameters.use_gpu_pipeline = settings["device"] >= 0
    physx = parameters.physx
    physx.use_gpu = settings["device"] >= 0
    physx.num_threads = settings["threads"]
    physx.solver_type, physx.num_position_iterations, physx.num_velocity_iterations = 1, 4, 0
    physx.contact_offset, physx.rest_offset = 0.02, 0.0
    physx.bounce_threshold_velocity, physx.max_depenetration_velocity = 0.2, 10.0
    physx.contact_collection = gymapi.CC_LAST_SUBSTEP
    physx.max_gpu_contact_pairs, physx.default_buffer_size_multiplier = 8 * 1024 * 1024, 5.0
    return parameters


# --- the process -----------------------------------------------------------------------------------------------------


def main(socket_file: int, memory_file: int) -> None:
    """Answer calls until told to close, or until nobody is there any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started this one
    threading.Thread(target=_end_with_the_other_side, args=(socket_file,), daemon=True).start()
    connection = socket.socket(fileno=socket_file)
    worker = Worker(memory_file)
    for line in connection.makefile("r", encoding="utf-8"):
        request = json.loads(line)
        answer: dict[str, Any] = {"id": request["id"]}
        try:
            answer["result"] = getattr(worker, request["call"])(**request["arguments"])
        except Exception:
            answer["error"] = traceback.format_exc()
        connection.sendall(json.dumps(answer).encode() + b"\n")
        if request["call"] == "close":
            break
    os._exit(0)  # what Isaac Gym does when the interpreter takes it apart is not worth waiting for


def _end_with_the_other_side(socket_file: int) -> None:
    watch = select.poll()
    watch.register(socket_file, 0)  # tells of a hang-up alone
    watch.poll()
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
