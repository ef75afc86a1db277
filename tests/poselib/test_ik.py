from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch

from poselib import models
from poselib.ground import CollisionPoints
from poselib.ik import Goals, Ground, Weights, limit_coordinates, solve_ik
from poselib.kinematics import forward_kinematics
from poselib.rotations import quat_from_exp_map, quat_identity
from poselib.skeleton import Skeleton

REACH = {
    "amp": [
        "pelvis",
        "left_hand",
        "right_hand",
        "left_foot",
        "right_foot",
        "left_lower_arm",
        "left_shin",
        "right_shin",
    ],
    "g1": [
        "pelvis",
        "left_rubber_hand",
        "right_rubber_hand",
        "left_ankle_roll_link",
        "right_ankle_roll_link",
        "left_knee_link",
        "right_knee_link",
        "left_elbow_link",
        "right_elbow_link",
    ],
    "h1": [
        "pelvis",
        "left_elbow_link",
        "right_elbow_link",
        "left_ankle_link",
        "right_ankle_link",
        "left_knee_link",
        "right_knee_link",
    ],
}
HOPPER = """\
<mujoco model="hopper"><worldbody><body name="trunk" pos="0 0 1"><freejoint/><geom size="0.1"/>
  <body name="thigh"><joint name="hip" axis="0 1 0" range="-90 90"/>
  <geom type="capsule" fromto="0 0 -.1 0 0 -.4" size=".03"/>
  <body name="shin" pos="0 0 -.5"><joint name="knee" axis="0 1 0" range="0 150"/>
  <geom type="capsule" fromto="0 0 -.1 0 0 -.4" size=".03"/>
  <body name="foot" pos="0 0 -.45"><joint name="ankle" axis="0 1 0" range="-60 60"/>
  <geom type="box" size=".1 .05 .02" pos=".03 0 -.03"/></body></body></body></body></worldbody></mujoco>"""


def smooth_motion(skeleton: Skeleton, frames: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    """From one random posture within the limits to another, `(T, 3)` and `(T, B, 4)`."""
    generator = torch.Generator().manual_seed(5)
    low, high = skeleton.dof_limits.unbind(-1)
    ends = 0.35 + 0.3 * torch.rand(2, skeleton.num_dofs, generator=generator)
    blend = torch.linspace(0.0, 1.0, frames)[:, None]
    dofs = low + (high - low) * torch.lerp(ends[0], ends[1], blend)
    root = quat_from_exp_map(blend * torch.tensor([0.1, 0.2, 0.6]))
    return torch.tensor([0.0, 0.0, 1.0]) + blend * torch.tensor([0.4, 0.1, 0.0]), skeleton.local_rotations_from_dofs(
        dofs, root
    )


def goals(skeleton: Skeleton, names: list[str], positions: torch.Tensor, rotations: torch.Tensor) -> Goals:
    """Points of bodies where they are in a motion; the root in rotation too."""
    bodies = skeleton.body_indices(names)
    aligned = torch.zeros(len(names))
    aligned[0] = 1.0
    return Goals(
        bodies, torch.zeros(len(names), 3), positions[:, bodies], rotations[:, bodies], torch.ones(len(names)), aligned
    )


@pytest.mark.parametrize("name", REACH)
def test_what_can_be_reached_is_reached(name: str):
    """Goals made by the same robot, so an exact solution exists; the start is up to a radian away from it."""
    skeleton = models.skeleton(name)
    root, local = smooth_motion(skeleton)
    positions, rotations = forward_kinematics(skeleton, root, local)
    wanted = goals(skeleton, REACH[name], positions, rotations)
    start = skeleton.local_rotations_from_dofs(0.5 * skeleton.dofs_from_local_rotations(local))
    light = Weights(smooth=3e-4, keep=1e-4)
    found = solve_ik(skeleton, root + 0.05, start, wanted, weights=light, iterations=60, tolerance=1e-4)
    reached, _ = forward_kinematics(skeleton, found.root_positions, found.local_rotations)
    assert float((reached[:, wanted.bodies] - wanted.positions).norm(dim=-1).max()) < 1e-3
    assert found.costs[-1] < 1e-3 * found.costs[0]
    low, high = skeleton.dof_limits.unbind(-1)
    dofs = limit_coordinates(skeleton, found.local_rotations)
    assert bool(((dofs >= low - 1e-5) & (dofs <= high + 1e-5)).all())


def test_what_nothing_asks_for_stays_as_it_is():
    skeleton = models.skeleton("smplx")
    root, local = smooth_motion(skeleton, 3)
    positions, rotations = forward_kinematics(skeleton, root, local)
    wanted = goals(skeleton, ["Pelvis", "L_Ankle"], positions + torch.tensor([0.0, 0.0, 0.02]), rotations)
    found = solve_ik(skeleton, root, local, wanted)
    still = skeleton.body_indices(["R_Index1", "Head", "R_Knee"])
    torch.testing.assert_close(found.local_rotations[:, still], local[:, still])
    assert found.local_rotations.dtype == torch.float32


def hopper() -> tuple[Skeleton, CollisionPoints]:
    spec = mujoco.MjSpec.from_string(HOPPER)
    skeleton = Skeleton.from_mjcf(spec)
    return skeleton, CollisionPoints.from_spec(spec, skeleton)


def sliding(frames: int = 30) -> tuple[Skeleton, CollisionPoints, torch.Tensor, torch.Tensor, Goals]:
    """A hopper that stands 4 cm deep in the ground and slides over it at 0.3 m/s."""
    skeleton, points = hopper()
    dofs = torch.tensor([-0.5, 1.0, -0.5]).expand(frames, 3)
    local = skeleton.local_rotations_from_dofs(dofs, quat_identity(frames))
    root = torch.zeros(frames, 3)
    root[:, 0] = 0.3 * torch.arange(frames) / 30.0
    lowest = points.lowest(*forward_kinematics(skeleton, root, local)).amin(dim=-1)
    root[:, 2] = -lowest - 0.04
    positions, rotations = forward_kinematics(skeleton, root, local)
    return skeleton, points, root, local, goals(skeleton, ["trunk"], positions, rotations)


def test_feet_in_stance_stay_put_and_nothing_sinks():
    skeleton, points, root, local, wanted = sliding()
    foot = skeleton.body_indices(["foot"])[0]
    stance = torch.tensor([float(body == foot and i % 2 == 0) for i, body in enumerate(points.bodies)]).expand(30, -1)
    found = solve_ik(skeleton, root, local, wanted, fps=30.0, ground=Ground(points, stance))
    positions, rotations = forward_kinematics(skeleton, found.root_positions, found.local_rotations)
    assert float(points.lowest(positions, rotations).amin()) > -2e-3
    speed = positions[:, foot, :2].diff(dim=0).norm(dim=-1) * 30.0
    assert float(speed.max()) < 0.03
    assert float((found.root_positions - root).norm(dim=-1).max()) < 0.15
    steps = found.root_positions.diff(dim=0) * 30.0
    assert float(steps.diff(dim=0).abs().max()) < 0.1, "m/s from frame to frame"


def test_without_stance_the_ground_only_lifts():
    skeleton, points, root, local, wanted = sliding()
    ground = Ground(points, torch.zeros(30, len(points.bodies)))
    found = solve_ik(skeleton, root, local, wanted, fps=30.0, ground=ground)
    positions, rotations = forward_kinematics(skeleton, found.root_positions, found.local_rotations)
    assert float(points.lowest(positions, rotations).amin()) > -2e-3
    torch.testing.assert_close(found.root_positions[:, 0], root[:, 0], rtol=0, atol=0.02)


def test_a_noisy_goal_is_followed_smoothly():
    skeleton = models.skeleton("amp")
    frames = 40
    rest = quat_identity(frames, skeleton.num_bodies)
    root = torch.tensor([0.0, 0.0, 1.0]).expand(frames, 3)
    positions, rotations = forward_kinematics(skeleton, root, rest)
    noise = 0.03 * torch.randn(positions.shape, generator=torch.Generator().manual_seed(0))
    wanted = goals(skeleton, ["pelvis", "left_hand"], positions + noise, rotations)
    roughness = []
    for smooth in (1e-4, 0.05):
        found = solve_ik(skeleton, root, rest, wanted, fps=30.0, weights=Weights(smooth=smooth))
        hand = forward_kinematics(skeleton, found.root_positions, found.local_rotations)[0][:, wanted.bodies[1]]
        roughness.append(float(hand.diff(n=2, dim=0).norm(dim=-1).mean()))
    assert roughness[1] < 0.3 * roughness[0]


def test_mink_reaches_the_same_point():
    """Another solver, on MuJoCo's own Jacobians: the same hand target, the same place."""
    mink = pytest.importorskip("mink")
    pytest.importorskip("daqp")
    spec = models.character_model("g1").spec()
    model, skeleton = spec.compile(), models.skeleton("g1")
    hand = skeleton.body_indices(["left_rubber_hand"])[0]
    target = np.array([0.25, 0.3, 0.95])
    configuration = mink.Configuration(model)
    reach = mink.FrameTask("left_rubber_hand", "body", position_cost=1.0, orientation_cost=0.0)
    reach.set_target(mink.SE3.from_translation(target))
    hold = mink.FrameTask("pelvis", "body", position_cost=10.0, orientation_cost=10.0)
    hold.set_target_from_configuration(configuration)
    for _ in range(200):
        velocity = mink.solve_ik(configuration, [reach, hold], 0.05, "daqp", limits=[mink.ConfigurationLimit(model)])
        configuration.integrate_inplace(velocity, 0.05)
    theirs = configuration.data.xpos[model.body("left_rubber_hand").id]

    rest, root = quat_identity(1, skeleton.num_bodies), skeleton.offsets[:1]
    positions, rotations = forward_kinematics(skeleton, root, rest)
    positions[:, hand] = torch.from_numpy(target).float()
    wanted = goals(skeleton, ["pelvis", "left_rubber_hand"], positions, rotations)
    found = solve_ik(skeleton, root, rest, wanted, weights=Weights(keep=1e-4), iterations=40, tolerance=1e-5)
    ours = forward_kinematics(skeleton, found.root_positions, found.local_rotations)[0][0, hand]
    np.testing.assert_allclose(theirs, target, atol=2e-3)
    np.testing.assert_allclose(ours, theirs, atol=3e-3)
