"""Writes a policy and what runs it into a folder: graph, robot, start and reference, and a program for plain MuJoCo."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from proto_envs.deployment.graph import DeploymentError, PolicyGraph
from proto_envs.simulators.mujoco import MujocoSimulator
from proto_envs.vector_env import ProtoVectorEnv

__all__ = ["Deployment", "DeploymentError", "deploy"]

OUTPUTS = ("action", "targets", "ctrl")
TOLERANCE = 1e-4
"""rad, beyond which graph and environment do not agree"""
_INSTALL = 'exporting needs onnx, onnxruntime and onnxscript: pip install "proto-envs[onnx]"'


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """What was written."""

    folder: Path
    """with policy.onnx, robot.xml, start.npz and run.py"""
    inputs: tuple[str, ...]
    """of the graph"""
    difference: float
    """the largest between the graph's numbers and the environment's, over the steps that were compared"""
    steps: int
    """how many those were"""


def deploy(
    env: ProtoVectorEnv,
    policy: Callable[[Tensor], Tensor],
    folder: Path,
    *,
    about: dict[str, Any] | None = None,
    seconds: float = 10.0,
) -> Deployment:
    """Write a policy so that it runs without this project, and compare it with the environment over an episode.

    Args:
        env: with one robot, in MuJoCo; it is reset and played for `seconds`.
        policy: observations (1, F) to actions (1, D).
        folder: to make; it appears when it is complete and has been checked.
        about: what else the graph's metadata should say.
        seconds: of the reference that is written beside it, for policies that follow one.

    Raises:
        DeploymentError: the folder exists, the environment cannot be exported, or graph and environment differ.
        ImportError: the packages that the extra `onnx` names are missing.
    """
    if folder.exists():
        raise DeploymentError(f"{folder} exists: choose another folder, or remove it first")
    env.reset(seed=0)
    graph = PolicyGraph(env, policy).eval()
    fresh = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        used = _write_graph(graph, fresh / "policy.onnx", about or {})
        _write_robot(env, fresh)
        shutil.copyfile(Path(__file__).with_name("run.py"), fresh / "run.py")
        played, difference = _play(graph, fresh / "policy.onnx", used, round(seconds / env.simulator.dt))
        if not difference <= TOLERANCE:
            raise DeploymentError(f"graph and environment differ by {difference:.2g}, more than {TOLERANCE:g}")
        np.savez_compressed(fresh / "start.npz", allow_pickle=False, **played)
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return Deployment(folder=folder, inputs=used, difference=difference, steps=len(played["qpos"]))


def _write_graph(graph: PolicyGraph, path: Path, about: dict[str, Any]) -> tuple[str, ...]:
    """Write the graph with its metadata; returns the inputs that it turned out to need."""
    try:
        import onnx
        import onnxruntime  # noqa: F401 - needed soon
        import onnxscript  # noqa: F401 - the exporter's
    except ImportError as error:
        raise ImportError(_INSTALL) from error
    examples = graph.inputs()
    with torch.no_grad():
        program = torch.onnx.export(
            graph,
            tuple(examples.values()),
            dynamo=True,
            input_names=list(graph.names),
            output_names=list(OUTPUTS),
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    read = {name for node in model.graph.node for name in node.input}
    for unused in [given for given in model.graph.input if given.name not in read]:
        model.graph.input.remove(unused)
    used = tuple(given.name for given in model.graph.input)
    metadata = _metadata(graph.env, {name: examples[name] for name in used}) | about
    onnx.helper.set_model_props(model, {"proto": json.dumps(metadata)})
    onnx.save(model, path)
    return used


def _metadata(env: ProtoVectorEnv, inputs: dict[str, Tensor]) -> dict[str, Any]:
    robot, simulator = env.robot, env.simulator
    assert isinstance(simulator, MujocoSimulator)
    skeleton = robot.skeleton
    drives = robot.dof_drives
    return {
        "robot": robot.name,
        "task": type(env.task).__name__,
        "control_hz": round(1.0 / simulator.dt, 6),
        "physics_hz": round(simulator.substeps / simulator.dt, 6),
        "joints": list(skeleton.dof_names),
        "bodies": list(skeleton.body_names),
        "stiffness": [drive.stiffness for drive in drives],
        "damping": [drive.damping for drive in drives],
        "effort": [drive.effort for drive in drives],
        "drive_law": "clip(stiffness * (target - position) - damping * velocity, -effort, effort), each physics step",
        "inputs": {name: {"shape": list(value.shape), "dtype": str(value.dtype)[6:]} for name, value in inputs.items()},
        "outputs": {
            "action": "the policy's, in [-1, 1]",
            "targets": "rad, of each joint; a ball joint's three are a rotation vector",
            "ctrl": "for the first actuators of robot.xml; what targets are there at the present qpos",
        },
        "future_steps": list(getattr(env.task, "future_steps", ())),
        "proto_envs": version("proto-envs"),
    }


def _write_robot(env: ProtoVectorEnv, folder: Path) -> None:
    """Write the robot on its ground as it is simulated: joints, drives, contacts and rates."""
    simulator = env.simulator
    assert isinstance(simulator, MujocoSimulator)
    spec = simulator.spec()
    spec.compile()
    (folder / "robot.xml").write_text(spec.to_xml(), encoding="utf-8")
    for name, content in spec.assets.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def _play(graph: PolicyGraph, path: Path, used: tuple[str, ...], steps: int) -> tuple[dict[str, np.ndarray], float]:
    """Play an episode in the environment with the graph beside it.

    Returns:
        Inputs that are used, step by step (T, ...), without those that a run makes itself; and the largest difference
        of actions, targets and set-points.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    env, simulator = graph.env, graph.env.simulator
    assert isinstance(simulator, MujocoSimulator)
    observation, _ = env.reset(seed=0)
    rows: list[dict[str, np.ndarray]] = []
    difference = 0.0
    for _ in range(steps):
        values = graph.inputs()
        rows.append({name: value[0].numpy() for name, value in values.items() if name in used or name.startswith("q")})
        found = dict(zip(OUTPUTS, session.run(list(OUTPUTS), {n: values[n].numpy() for n in used}), strict=True))
        policy_sees = observation["policy"] if isinstance(observation, dict) else observation
        with torch.no_grad():
            action = graph.policy(torch.as_tensor(policy_sees)).clamp(-1.0, 1.0)
            targets = env.components.action(action)
            wanted = {"action": action, "targets": targets, "ctrl": simulator.setpoints(targets)}
        difference = max(difference, *(float(np.abs(found[n] - wanted[n].numpy()).max()) for n in OUTPUTS))
        observation, _, terminated, truncated, _ = env.step(action)
        if bool(terminated | truncated):
            break
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}, difference
