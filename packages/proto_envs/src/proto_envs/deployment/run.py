"""Runs the policy in this folder in plain MuJoCo: needs mujoco, numpy and onnxruntime, and nothing else.

    python run.py                                 # the recorded start and reference or goals; says how it went
    python run.py --set steering.speed=1.5        # another goal, all the time
    python run.py --viewer                        # in a window
    python run.py --output path.npz               # states qpos and qvel, step by step

policy.onnx maps the state to set-points of the drives, robot.xml is the robot with its drives on its ground, start.npz
has the inputs of the policy in an episode of the environment that it was exported from, step by step.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import onnxruntime

__all__ = ["main"]

HERE = Path(__file__).resolve().parent
STATE = ("qpos", "qvel", "previous_targets")


def main() -> None:
    """Load, run, report."""
    arguments = parse_arguments()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # small networks: more threads wait for each other
    session = onnxruntime.InferenceSession(HERE / "policy.onnx", options, providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["proto"])
    recorded = dict(np.load(HERE / "start.npz"))
    given = {name: recorded[name] for name in about["inputs"] if name not in STATE}
    given |= {name: override(name, text, given) for name, text in (pair.split("=", 1) for pair in arguments.set)}

    model = mujoco.MjModel.from_xml_path(str(HERE / "robot.xml"))
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = recorded["qpos"][0], recorded["qvel"][0]
    mujoco.mj_forward(model, data)

    steps = min(len(values) for values in recorded.values())
    if arguments.seconds is not None:
        steps = min(steps, round(arguments.seconds * about["control_hz"]))
    show = start_viewer(model, data, about["control_hz"]) if arguments.viewer else lambda: None
    targets = recorded.get("previous_targets", np.zeros((1, 0), np.float32))[:1]
    path = run(session, about, model, data, given, targets, steps, show)
    report(about, recorded, path)
    if arguments.output is not None:
        np.savez_compressed(arguments.output, allow_pickle=False, **path)


def run(
    session: onnxruntime.InferenceSession,
    about: dict[str, Any],
    model: mujoco.MjModel,
    data: mujoco.MjData,
    given: dict[str, np.ndarray],
    first_targets: np.ndarray,
    steps: int,
    show: Callable[[], None],
) -> dict[str, np.ndarray]:
    """Close the loop for some control steps; returns qpos and qvel before each of them, and seconds per inference."""
    substeps = round(about["physics_hz"] / about["control_hz"])
    targets = first_targets
    path: dict[str, list[Any]] = {"qpos": [], "qvel": [], "inference": []}
    for step in range(steps):
        path["qpos"].append(data.qpos.copy())
        path["qvel"].append(data.qvel.copy())
        inputs = {"qpos": data.qpos[None].astype(np.float32), "qvel": data.qvel[None].astype(np.float32)}
        inputs["previous_targets"] = targets
        inputs |= {name: values[step : step + 1] for name, values in given.items()}
        began = time.perf_counter()
        wanted = {name: inputs[name] for name in about["inputs"]}
        _, targets, ctrl = session.run(["action", "targets", "ctrl"], wanted)
        path["inference"].append(time.perf_counter() - began)
        data.ctrl[: ctrl.shape[1]] = ctrl[0]
        for _ in range(substeps):
            mujoco.mj_step(model, data)
        show()
    return {name: np.array(values) for name, values in path.items()}


def report(about: dict[str, Any], recorded: dict[str, np.ndarray], path: dict[str, np.ndarray]) -> None:
    """Print how high the root stayed, and how far it is from where it was in the environment."""
    steps = len(path["qpos"])
    height = path["qpos"][:, 2]
    apart = np.linalg.norm(path["qpos"][:, :3] - recorded["qpos"][:steps, :3], axis=1)
    early = min(steps, round(about["control_hz"])) - 1
    print(f"{about['robot']}, {about['task']}: {steps} steps of {1.0 / about['control_hz']:.4f} s")
    there, inference = recorded["qpos"][:steps, 2], 1000.0 * path["inference"]
    print(f"root height {height.min():.3f} to {height.max():.3f} m; in the environment", end=" ")
    print(f"{there.min():.3f} to {there.max():.3f} m")
    print(f"root from its place in the environment: {apart[early]:.2e} m after 1 s, {apart[-1]:.2e} m at the end")
    print(f"inference: {np.median(inference):.2f} ms a step, at best {inference.min():.2f} ms")


def override(name: str, text: str, given: dict[str, np.ndarray]) -> np.ndarray:
    """A goal that stays the same in all steps."""
    if name not in given:
        raise SystemExit(f"--set {name}: there are {sorted(given)}")
    shape = given[name].shape
    value = np.array([float(number) for number in text.split(",")], given[name].dtype).reshape(shape[1:])
    return np.broadcast_to(value, shape)


def start_viewer(model: mujoco.MjModel, data: mujoco.MjData, control_hz: float) -> Callable[[], None]:
    """Open a window; the function returned shows the present state and keeps to real time."""
    import mujoco.viewer

    window = mujoco.viewer.launch_passive(model, data)

    def show() -> None:
        window.sync()
        time.sleep(1.0 / control_hz)

    return show


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, help="of simulated time; all that was recorded if left out")
    parser.add_argument("--set", action="append", default=[], metavar="INPUT=NUMBERS", help="a goal, such as 1,0")
    parser.add_argument("--viewer", action="store_true", help="show it in a window")
    parser.add_argument("--output", type=Path, help="file (npz) for the states")
    return parser.parse_args()


if __name__ == "__main__":
    main()
