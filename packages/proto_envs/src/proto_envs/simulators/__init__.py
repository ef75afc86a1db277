"""Physics engines behind one protocol. Each engine is imported in its own file and only when asked for."""

from __future__ import annotations

from importlib import import_module

from proto_envs.robots import Robot
from proto_envs.simulators.base import Capabilities, SimulationSettings, Simulator, UnsupportedError

__all__ = ["ENGINES", "Capabilities", "SimulationSettings", "Simulator", "UnsupportedError", "make_simulator"]

ENGINES = {"mujoco": "proto_envs.simulators.mujoco:MujocoSimulator"}


def make_simulator(backend: str, robot: Robot, num_envs: int, settings: SimulationSettings) -> Simulator:
    """Start an engine.

    Args:
        backend: one of `ENGINES`, or "auto" for MuJoCo on the CPU.
        robot: what to simulate.
        num_envs: copies.
        settings: rates, friction, sensors.

    Raises:
        ValueError: naming the engines.
        UnsupportedError: if the settings ask for what the engine lacks.
    """
    name = "mujoco" if backend == "auto" else backend
    if not isinstance(name, str) or name not in ENGINES:
        raise ValueError(f"backend: no engine {backend!r}; there are 'auto' and {sorted(ENGINES)}")
    module, _, attribute = ENGINES[name].partition(":")
    simulator = getattr(import_module(module), attribute)(robot, num_envs, settings)
    if (settings.scenes or settings.projectiles) is not None and not simulator.capabilities.scenes:
        simulator.close()
        raise UnsupportedError(f"engine {name} has no objects beside the robots, which this environment needs")
    return simulator
