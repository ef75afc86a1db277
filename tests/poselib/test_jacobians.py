"""Analytic Jacobians against MuJoCo's."""

from __future__ import annotations

import mujoco
import numpy as np
import torch

from poselib.jacobians import coordinate_jacobian, moved, turns_of
from poselib.kinematics import forward_kinematics
from poselib.rotations import exp_map_from_quat, quat_conjugate, quat_from_exp_map, quat_multiply, wxyz_from_xyzw
from poselib.skeleton import Skeleton

MODEL = """\
<mujoco model="mixed">
  <worldbody>
    <body name="a" pos="0 0 1"><freejoint/><geom size="0.1"/>
      <body name="b" pos="0.1 0.2 0.3" euler="20 30 -40"><joint name="b" type="ball"/><geom size="0.1"/>
        <body name="c" pos="0 0.2 0" euler="0 90 10"><geom size="0.1"/>
          <body name="d" pos="0.1 0 0.2" euler="-70 0 0"><geom size="0.1"/><joint name="d" axis="1 2 3"/></body>
        </body>
      </body>
      <body name="e" pos="-0.3 0 0.1"><geom size="0.1"/><joint name="e" axis="0 1 0"/></body>
    </body>
  </worldbody>
</mujoco>"""
SKELETON = Skeleton.from_mjcf(MODEL)
FRAMES = 5


def poses() -> tuple[torch.Tensor, torch.Tensor]:
    """Random ones, `(T, 3)` and `(T, B, 4)`, in double precision."""
    generator = torch.Generator().manual_seed(0)
    dofs = torch.randn(FRAMES, SKELETON.num_dofs, generator=generator, dtype=torch.float64)
    root = quat_from_exp_map(torch.randn(FRAMES, 3, generator=generator, dtype=torch.float64))
    place = torch.randn(FRAMES, 3, generator=generator, dtype=torch.float64)
    return place, SKELETON.local_rotations_from_dofs(dofs, root)


def test_jacobians_are_mujocos():
    place, local = poses()
    positions, rotations = forward_kinematics(SKELETON, place, local)
    turns = turns_of(SKELETON, positions, rotations)
    bodies = torch.arange(SKELETON.num_bodies)
    points = positions + torch.tensor([0.3, -0.1, 0.2], dtype=torch.float64)
    ours, ours_turning = turns.of_points(bodies, points), turns.of_bodies(bodies)
    model = mujoco.MjModel.from_xml_string(MODEL)
    data = mujoco.MjData(model)
    for t in range(FRAMES):
        ball, hinges = local[t, 1], SKELETON.dofs_from_local_rotations(local[t])[3:]
        quaternions = wxyz_from_xyzw(torch.stack([local[t, 0], ball])).numpy()
        data.qpos[:] = np.concatenate([place[t], quaternions[0], quaternions[1], hinges])
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        for body in range(SKELETON.num_bodies):
            linear, angular = np.zeros((2, 3, model.nv))
            mujoco.mj_jac(model, data, linear, angular, points[t, body].numpy(), body + 1)
            np.testing.assert_allclose(ours[t, body], linear, atol=1e-6)
            np.testing.assert_allclose(ours_turning[t, body], angular, atol=1e-6)


def test_points_may_be_of_other_bodies_in_each_frame():
    place, local = poses()
    positions, rotations = forward_kinematics(SKELETON, place, local)
    turns = turns_of(SKELETON, positions, rotations)
    bodies = torch.tensor([[0, 4], [3, 1], [2, 2], [4, 3], [1, 0]])
    points = torch.take_along_dim(positions, bodies[..., None], dim=1)
    mixed = turns.of_points(bodies, points)
    for t in range(FRAMES):
        whole = turns.of_points(torch.arange(5), positions)[t]
        torch.testing.assert_close(mixed[t], whole[bodies[t]])


def test_a_step_moves_bodies_as_the_jacobian_says():
    place, local = poses()
    generator = torch.Generator().manual_seed(1)
    step = 1e-5 * torch.randn(FRAMES, 6 + SKELETON.num_dofs, generator=generator, dtype=torch.float64)
    positions, rotations = forward_kinematics(SKELETON, place, local)
    after, turned = forward_kinematics(SKELETON, *moved(SKELETON, place, local, step))
    turns, bodies = turns_of(SKELETON, positions, rotations), torch.arange(SKELETON.num_bodies)
    expected = (turns.of_points(bodies, positions) @ step[:, None, :, None])[..., 0]
    torch.testing.assert_close(after - positions, expected, rtol=0, atol=1e-9)
    expected = (turns.of_bodies(bodies) @ step[:, None, :, None])[..., 0]
    found = exp_map_from_quat(quat_multiply(turned, quat_conjugate(rotations)))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_coordinates_change_as_their_jacobian_says():
    place, local = poses()
    step = torch.zeros(FRAMES, 6 + SKELETON.num_dofs, dtype=torch.float64)
    step[:, 6:] = 1e-6 * torch.randn(FRAMES, SKELETON.num_dofs, generator=torch.Generator().manual_seed(2))
    _, after = moved(SKELETON, place, local, step)
    change = SKELETON.dofs_from_local_rotations(after) - SKELETON.dofs_from_local_rotations(local)
    expected = (coordinate_jacobian(SKELETON, local) @ step[:, 6:, None])[..., 0]
    torch.testing.assert_close(change, expected, rtol=0, atol=1e-10)
