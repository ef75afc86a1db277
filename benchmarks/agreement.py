"""How far engines are from MuJoCo, after some control steps from the same states with the same targets.

    uv run python benchmarks/agreement.py                                   # every engine found here, every robot
    uv run python benchmarks/agreement.py --engines newton --robots SMPL G1
    uv run python benchmarks/engine_tables.py                               # then the table in docs/engines.md

Robots stand, fall and lie, targets change at random. Distances are between generalised coordinates (m and rad, of
quaternions the components). Where a foot meets the ground a rounding error sooner, all that follows differs; what
rounding alone does is the row of MuJoCo itself, begun 1e-7 (a rounding error of float32) beside.

Writes benchmarks/results/agreement.json, a row for each engine, device and robot; rows
of other runs stay, so that each engine may be run in a virtual environment of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from engine_tables import RESULTS, merge_row, provenance

from proto_envs.context import ResetState
from proto_envs.robots import ROBOTS, Robot, get_robot
from proto_envs.simulators import ENGINES, SimulationSettings, installed, make_simulator
from proto_envs.testing.states import mixed_states

_ROUNDING, _APART = 1e-7, 1e-3
"""m, and m or rad"""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What to compare."""

    engines: tuple[str, ...] = ()
    """names of engines; none: every one that is installed"""
    robots: tuple[str, ...] = ()
    """names of robots; none: all"""
    device: str = "auto"
    """where GPU engines run; "auto" is CUDA where there is some"""
    num_envs: int = 64
    """states"""
    steps: tuple[int, ...] = (12, 50)
    """control steps after which to compare"""
    output: Path = RESULTS / "agreement.json"
    """file to add to"""


def main(args: Arguments) -> None:
    """Compare, print as it goes, write after each robot."""
    engines = args.engines or tuple(name for name in ENGINES if installed(name))
    for robot in map(get_robot, args.robots or tuple(ROBOTS)):
        theirs, _ = coordinates("mujoco", robot, args)
        for engine in engines:
            ours, device = coordinates(engine, robot, args, beside=_ROUNDING if engine == "mujoco" else 0.0)
            for steps in args.steps:
                distances = np.abs(ours[steps] - theirs[steps])
                row = {
                    "engine": engine,
                    "device": device,
                    "robot": robot.name,
                    "states": args.num_envs,
                    "steps": steps,
                    "median": float(np.median(distances)),
                    "apart": float((distances.max(axis=1) > _APART).mean()),
                    **provenance(),
                }
                merge_row(args.output, row, ("engine", "device", "robot", "steps"))
                print(
                    f"{robot.name}, {engine} on {device}, {steps} steps: median {row['median']:.1e}; a coordinate is "
                    f"more than {_APART} off in {row['apart']:.0%}",
                    flush=True,
                )


def coordinates(engine: str, robot: Robot, args: Arguments, beside: float = 0.0) -> tuple[dict[int, np.ndarray], str]:
    """Generalised coordinates (N, nq) after some steps each, and the device.

    Args:
        engine: its name.
        robot: what is simulated.
        args: how many, how long.
        beside: m, by which all robots are lifted at the start.
    """
    device = "auto" if engine == "mujoco" else args.device
    simulator = make_simulator(engine, robot, args.num_envs, SimulationSettings(device=device))
    try:
        drawn = mixed_states(robot, args.num_envs)
        drawn.root_position[:, 2] += beside
        state = ResetState(**{name: field.to(simulator.device) for name, field in vars(drawn).items()})
        simulator.set_state(torch.arange(args.num_envs, device=simulator.device), state)
        generator, found = torch.Generator().manual_seed(1), {}
        for step in range(1, max(args.steps) + 1):
            noise = torch.randn(args.num_envs, robot.skeleton.num_dofs, generator=generator)
            simulator.step((robot.default_dofs + 0.3 * noise).to(simulator.device))
            if step in args.steps:
                found[step] = np.stack([simulator.render_state(i) for i in range(args.num_envs)])
        return found, simulator.device.type
    finally:
        simulator.close()


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
