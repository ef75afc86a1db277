"""Physics engines behind one protocol. Each engine is imported in its own file and only when asked for."""

from __future__ import annotations

import os
import shutil
from importlib import import_module
from importlib.util import find_spec

import torch

from proto_envs.robots import Robot
from proto_envs.simulators.base import Capabilities, SimulationSettings, Simulator, UnsupportedError

__all__ = [
    "ENGINES",
    "NEEDS",
    "Capabilities",
    "SimulationSettings",
    "Simulator",
    "UnsupportedError",
    "fitting_engine",
    "installed",
    "make_simulator",
]

ENGINES = {
    "mujoco": "proto_envs.simulators.mujoco:MujocoSimulator",
    "mujoco_warp": "proto_envs.simulators.mujoco_warp:MujocoWarpSimulator",
    "genesis": "proto_envs.simulators.genesis:GenesisSimulator",
    "newton": "proto_envs.simulators.newton:NewtonSimulator",
    "isaaclab": "proto_envs.simulators.isaaclab:IsaacLabSimulator",
    "isaacgym": "proto_envs.simulators.isaacgym:IsaacGymSimulator",
}
NEEDS = {
    "mujoco_warp": ("mujoco_warp", "proto-envs[warp]"),
    "genesis": ("genesis", "proto-envs[genesis]"),
    "newton": ("newton", "proto-envs[newton]"),
}
"""engine to the module that it needs and that is not always there, and the package that brings it"""


def make_simulator(backend: str, robot: Robot, num_envs: int, settings: SimulationSettings) -> Simulator:
    """Start an engine.

    Args:
        backend: one of `ENGINES`; or "auto" for MuJoCo Warp where there is CUDA and it is installed, else MuJoCo on the
            CPU. A device in the settings decides too.
        robot: what to simulate.
        num_envs: copies.
        settings: rates, friction, sensors.

    Raises:
        ValueError: naming the engines.
        ImportError: with the command that installs the engine.
        UnsupportedError: if the settings ask for what the engine lacks.
    """
    name = fitting_engine(settings.device) if backend == "auto" else backend
    if not isinstance(name, str) or name not in ENGINES:
        raise ValueError(f"backend: no engine {backend!r}; there are 'auto' and {sorted(ENGINES)}")
    if name in NEEDS and not installed(name):
        module, package = NEEDS[name]
        raise ImportError(f"engine {name} needs the module {module}: pip install '{package}'", name=module)
    module, _, attribute = ENGINES[name].partition(":")
    simulator = getattr(import_module(module), attribute)(robot, num_envs, settings)
    if (settings.scenes or settings.projectiles) is not None and not simulator.capabilities.scenes:
        simulator.close()
        raise UnsupportedError(f"engine {name} has no objects beside the robots, which this environment needs")
    return simulator


def fitting_engine(device: str) -> str:
    """The engine that "auto" stands for, where the tensors are to live on `device`."""
    if device.startswith("cuda"):
        return "mujoco_warp"
    return "mujoco_warp" if device == "auto" and torch.cuda.is_available() and installed("mujoco_warp") else "mujoco"


def installed(engine: str) -> bool:
    """The module that an engine needs is found, or the interpreter that has it; nothing is imported."""
    if engine == "isaacgym":
        return shutil.which(os.environ.get("PROTO_ISAACGYM_PYTHON", "")) is not None
    if engine == "isaaclab":
        return find_spec("isaaclab") is not None
    return engine not in NEEDS or find_spec(NEEDS[engine][0]) is not None
