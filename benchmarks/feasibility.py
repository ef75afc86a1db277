"""What clips ask of a robot, by inverse dynamics along them: forces that nothing gives, torques beyond the drives'.

At each moment of a clip (60 a second; velocities and accelerations over a control step to either side) the equations of
motion say what joints and ground must exert. Points of the body within 3 cm of the ground may push on it, in a friction
cone of coefficient 1; least squares divide the load between them and the joints. What the root still lacks comes from
nowhere: a policy cannot do it, only come near it.

    uv run python benchmarks/feasibility.py --robot AMP --json benchmarks/results/feasibility_amp.json
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import mujoco
import numpy as np
import torch
from scipy.optimize import nnls

from motionlib import MotionLib
from poselib.rotations import quat_apply
from proto_envs.context import ResetState
from proto_envs.motions import load_motions, samples_of
from proto_envs.robots import Robot, get_robot
from proto_envs.simulators.base import SimulationSettings
from proto_envs.simulators.coordinates import Coordinates
from proto_envs.simulators.mjcf import physics_spec

RATE = 60.0
"""Hz, moments that are looked at"""
NEAR = 0.03
"""m over the ground within which a point may push on it"""
_SIDES = ((1.0, 0.0, 1.0), (-1.0, 0.0, 1.0), (0.0, 1.0, 1.0), (0.0, -1.0, 1.0))
"""edges of the friction cone"""


@dataclass(frozen=True)
class Demands:
    """What one clip asks."""

    in_air: float
    """share of the moments at which nothing is near the ground"""
    lacking_in_air: float | None
    """mean force on the root that nothing gives at these moments, in weights of the robot; 0 for a free flight"""
    lacking_on_ground: float
    """the same at the others"""
    lacking_95: float
    """95th percentile of it over all moments"""
    torque_95: float
    """of the largest torque of all joints over its drive's effort, 95th percentile"""
    drive_95: float
    """the same with what the drive needs against its own damping"""
    damping_95: float
    """that damping alone"""


class Inverse:
    """Inverse dynamics of a robot over flat ground."""

    def __init__(self, robot: Robot) -> None:
        self.robot = robot
        settings = SimulationSettings(control_hz=robot.control_hz, substeps=robot.substeps)
        self.model = physics_spec(robot, settings).compile()
        self.data = mujoco.MjData(self.model)
        self.coordinates = Coordinates(robot, self.model, torch.device("cpu"))
        self.weight = float(self.model.body_subtreemass[1] * -self.model.opt.gravity[2])
        drives, dofs = robot.dof_drives, self.coordinates.layout.dof_qvel
        self.effort, self.damping = np.ones(self.model.nv), np.zeros(self.model.nv)
        self.effort[dofs], self.damping[dofs] = [d.effort for d in drives], [d.damping for d in drives]
        # The root's balance before that of the joints, forces as parts of the weight.
        self._scale = np.concatenate(
            [np.full(3, 1.0 / self.weight), np.full(3, 2.0 / self.weight), 0.02 / self.effort[6:]]
        )

    def positions(self, library: MotionLib, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of qpos (T, nq) at times of the first clip, and the places of all collision points (T, P, 3)."""
        moments = torch.as_tensor(times, dtype=torch.float32)
        state = library.get_motion_state(torch.zeros(len(times), dtype=torch.long), moments)
        start = ResetState(
            root_position=state.body_positions[:, 0],
            local_rotations=state.local_rotations,
            dof_positions=state.dof_positions,
            root_velocity=state.body_velocities[:, 0],
            root_angular_velocity=state.body_angular_velocities[:, 0],
            dof_velocities=state.dof_velocities,
        )
        qpos = torch.zeros(len(times), self.model.nq, dtype=torch.float64)
        qvel = torch.zeros(len(times), self.model.nv, dtype=torch.float64)
        self.coordinates.write(start, qpos, qvel)
        points = self.robot.collision_points
        places = (
            quat_apply(state.body_rotations[:, points.bodies], points.points) + state.body_positions[:, points.bodies]
        )
        places[..., 2] -= points.radii
        return qpos.numpy(), places.double().numpy()

    def solve(
        self, before: np.ndarray, now: np.ndarray, after: np.ndarray, places: np.ndarray, step: float
    ) -> Solution:
        """At one moment: qpos (nq,) a step earlier, now and a step later, points (P, 3)."""
        model, data = self.model, self.data
        first, second = np.zeros(model.nv), np.zeros(model.nv)
        mujoco.mj_differentiatePos(model, first, step, before, now)
        mujoco.mj_differentiatePos(model, second, step, now, after)
        data.qpos[:], data.qvel[:] = now, 0.5 * (first + second)
        mujoco.mj_fwdPosition(model, data)
        mujoco.mj_fwdVelocity(model, data)
        needed = np.zeros(model.nv)
        mujoco.mj_mulM(model, data, needed, (second - first) / step)
        needed += data.qfrc_bias
        columns = []
        bodies = self.coordinates.layout.bodies.start + np.array(self.robot.collision_points.bodies)
        touching = np.flatnonzero(places[:, 2] < NEAR)
        for point in touching:
            jacobian = np.zeros((3, model.nv))
            mujoco.mj_jac(model, data, jacobian, None, places[point], bodies[point])
            columns += [self.weight * jacobian.T @ np.array(side) for side in _SIDES]
        if columns:
            pushes = np.array(columns).T
            shares, _ = nnls(pushes * self._scale[:, None], needed * self._scale)
            needed = needed - pushes @ shares
        resisted = self.damping * data.qvel
        joints = [np.abs(part[6:] / self.effort[6:]).max() for part in (needed, needed + resisted, resisted)]
        return Solution(not len(touching), float(np.linalg.norm(needed[:3])) / self.weight, *map(float, joints))


@dataclass(frozen=True)
class Solution:
    """Of one moment: what the root lacks in weights, and the largest shares of the efforts."""

    in_air: bool
    lacking: float
    torque: float
    drive: float
    damping: float


def demands(inverse: Inverse, clip: str) -> Demands:
    """Of a sample clip."""
    library = load_motions(clip, inverse.robot)
    assert library is not None
    step, duration = 1.0 / inverse.robot.control_hz, float(library.durations[0])
    times = np.arange(0.0, duration, 1.0 / RATE)
    if not bool(library.loops[0]):
        times = times[(times > step) & (times < duration - step)]
    now, places = inverse.positions(library, times)
    before, after = (inverse.positions(library, times + side)[0] for side in (-step, step))
    moments = [inverse.solve(*parts, step) for parts in zip(before, now, after, places, strict=True)]
    table = {field.name: np.array([getattr(m, field.name) for m in moments]) for field in fields(Solution)}
    air, lacking = table["in_air"], table["lacking"]
    return Demands(
        in_air=float(air.mean()),
        lacking_in_air=float(lacking[air].mean()) if air.any() else None,
        lacking_on_ground=float(lacking[~air].mean()),
        lacking_95=float(np.quantile(lacking, 0.95)),
        torque_95=float(np.quantile(table["torque"], 0.95)),
        drive_95=float(np.quantile(table["drive"], 0.95)),
        damping_95=float(np.quantile(table["damping"], 0.95)),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--robot", default="AMP", help="name of a robot")
    parser.add_argument("--clips", nargs="*", help="samples; all if left out")
    parser.add_argument("--json", type=Path, help="also write the numbers there")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    inverse = Inverse(get_robot(options.robot))
    names = [field.name for field in fields(Demands)]
    print(f"{'clip':16}" + "".join(f"{name:>19}" for name in names))
    found = {}
    for clip in options.clips or samples_of(inverse.robot):
        found[clip] = asdict(demands(inverse, clip))
        print(
            f"{clip:16}" + "".join(f"{'' if v is None else f'{v:.2f}':>19}" for v in found[clip].values()), flush=True
        )
    if options.json:
        clips = {c: {k: None if v is None else round(v, 3) for k, v in row.items()} for c, row in found.items()}
        result = {"robot": options.robot, "clips": clips}
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
