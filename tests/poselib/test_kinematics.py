"""Kinematics against MuJoCo, whose characters stack three hinges where we have one ball joint."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from poselib import models
from poselib.kinematics import (
    forward_kinematics,
    forward_velocities,
    joint_velocities,
    local_rotations_from_world,
)
from poselib.rotations import angle_between, quat_from_exp_map, quat_multiply, xyzw_from_wxyz
from poselib.skeleton import Skeleton

OBLIQUE = """\
<mujoco model="oblique">
  <worldbody>
    <body name="a" pos="0 0 1"><freejoint/><geom size="0.1"/>
      <body name="b" pos="0.1 0.2 0.3" euler="20 30 -40"><joint name="b" axis="1 2 3"/><geom size="0.1"/>
        <body name="c" pos="0 0.2 0" euler="0 90 10"><geom size="0.1"/>
          <body name="d" pos="0.1 0 0.2" euler="-70 0 0"><geom size="0.1"/>
            <joint name="dz" axis="0 0 1"/><joint name="dx" axis="1 0 0"/><joint name="dy" axis="0 -1 0"/></body>
        </body>
      </body>
    </body>
  </worldbody>
</mujoco>"""


@dataclass
class Sample:
    """Random states of a character and what MuJoCo makes of them."""

    skeleton: Skeleton
    root_position: Tensor
    local_rotations: Tensor
    positions: Tensor
    rotations: Tensor
    root_velocity: Tensor
    root_angular_velocity: Tensor
    dof_velocities: Tensor
    velocities: Tensor
    angular_velocities: Tensor


def hinge_motion(axes: np.ndarray, angles: np.ndarray, rates: np.ndarray) -> tuple[Rotation, np.ndarray]:
    """Rotation of stacked hinges, and its angular velocity in the frame of the body that they carry."""
    turn, velocity = Rotation.identity(), np.zeros(3)
    for axis, angle, rate in zip(axes, angles, rates, strict=True):
        step = Rotation.from_rotvec(axis * angle)
        turn, velocity = turn * step, step.inv().apply(velocity) + axis * rate
    return turn, velocity


def mujoco_sample(source: str, count: int = 8) -> Sample:
    spec = mujoco.MjSpec.from_string(source) if source.startswith("<") else models.character_model(source).spec()
    skeleton, model = Skeleton.from_mjcf(spec), spec.compile()
    data, rng = mujoco.MjData(model), np.random.default_rng(0)
    rows: list[list[np.ndarray]] = []
    for _ in range(count):
        data.qpos[:3] = rng.normal(size=3)
        data.qpos[3:7] = Rotation.random(rng=rng).as_quat(scalar_first=True)
        data.qpos[7:] = rng.uniform(-3, 3, size=model.nq - 7)
        data.qvel[:] = rng.normal(scale=3.0, size=model.nv)
        mujoco.mj_forward(model, data)
        local, turning = [], []
        for name in skeleton.body_names:
            body = model.body(name)
            joints = [j for j in range(body.jntadr[0], body.jntadr[0] + body.jntnum[0]) if model.jnt_type[j] == 3]
            dofs = model.jnt_dofadr[joints]
            turn, velocity = hinge_motion(model.jnt_axis[joints], data.qpos[model.jnt_qposadr[joints]], data.qvel[dofs])
            local.append(turn.as_quat())
            turning.append(velocity)
        local[0] = data.qpos[[4, 5, 6, 3]]
        twists = np.zeros((skeleton.num_bodies, 6))
        ids = [model.body(name).id for name in skeleton.body_names]
        for i, b in enumerate(ids):
            mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_XBODY, b, twists[i], 0)
        rows.append([data.qpos[:3].copy(), local, data.xpos[ids], data.xquat[ids], np.array(turning), twists])
    columns = [torch.tensor(np.array(column)) for column in zip(*rows, strict=True)]
    root_position, local_rotations, positions, rotations, turning, twists = columns
    return Sample(
        skeleton=skeleton,
        root_position=root_position,
        local_rotations=local_rotations,
        positions=positions,
        rotations=xyzw_from_wxyz(rotations),
        root_velocity=twists[:, 0, 3:],
        root_angular_velocity=twists[:, 0, :3],
        dof_velocities=skeleton.dof_velocities_from_joint_velocities(turning),
        velocities=twists[..., 3:],
        angular_velocities=twists[..., :3],
    )


@pytest.fixture(scope="module", params=[*sorted(models.MODELS), OBLIQUE], ids=[*sorted(models.MODELS), "oblique"])
def sample(request: pytest.FixtureRequest) -> Sample:
    return mujoco_sample(request.param)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_poses_agree_with_mujoco(sample: Sample, dtype: torch.dtype):
    positions, rotations = forward_kinematics(
        sample.skeleton, sample.root_position.to(dtype), sample.local_rotations.to(dtype)
    )
    assert positions.dtype == rotations.dtype == dtype
    torch.testing.assert_close(positions.double(), sample.positions, atol=1e-5, rtol=0)
    assert angle_between(rotations.double(), sample.rotations).max() < 1e-5


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_velocities_agree_with_mujoco(sample: Sample, dtype: torch.dtype):
    linear, angular = forward_velocities(
        sample.skeleton,
        sample.positions.to(dtype),
        sample.rotations.to(dtype),
        sample.root_velocity.to(dtype),
        sample.root_angular_velocity.to(dtype),
        sample.dof_velocities.to(dtype),
    )
    assert linear.dtype == angular.dtype == dtype
    tolerance = 1e-6 if dtype == torch.float64 else 5e-5  # m/s and rad/s, of speeds up to 50
    torch.testing.assert_close(linear.double(), sample.velocities, atol=tolerance, rtol=0)
    torch.testing.assert_close(angular.double(), sample.angular_velocities, atol=tolerance, rtol=0)


def test_joint_velocities_come_back_from_the_world(sample: Sample):
    relative = joint_velocities(sample.skeleton, sample.rotations, sample.angular_velocities)
    found = sample.skeleton.dof_velocities_from_joint_velocities(relative)
    torch.testing.assert_close(found, sample.dof_velocities, atol=1e-6, rtol=0)


def test_local_rotations_come_back_from_the_world(sample: Sample):
    local = local_rotations_from_world(sample.skeleton, -sample.rotations)
    assert angle_between(local, sample.local_rotations).max() < 1e-6


def test_dof_velocity_is_the_rate_of_the_rotation(sample: Sample):
    """A short step by the joint velocity is what the pose does: ties positions and velocities without MuJoCo."""
    skeleton, step = sample.skeleton, 1e-6
    turning = skeleton.joint_velocities_from_dof_velocities(sample.dof_velocities)
    later = quat_multiply(sample.local_rotations, quat_from_exp_map(turning * step))
    root = quat_multiply(quat_from_exp_map(sample.root_angular_velocity * step), sample.local_rotations[:, 0])
    later = torch.cat([root.unsqueeze(-2), later[:, 1:]], dim=-2)
    before, _ = forward_kinematics(skeleton, sample.root_position, sample.local_rotations)
    after, _ = forward_kinematics(skeleton, sample.root_position + sample.root_velocity * step, later)
    torch.testing.assert_close((after - before) / step, sample.velocities, atol=2e-3, rtol=0)


def test_leading_dimensions_are_free(sample: Sample):
    few = sample.root_position[0], sample.local_rotations[0]
    many = sample.root_position.reshape(2, 4, 3), sample.local_rotations.reshape(2, 4, -1, 4)
    for root_position, local in (few, many):
        positions, rotations = forward_kinematics(sample.skeleton, root_position, local)
        assert positions.shape == (*root_position.shape[:-1], sample.skeleton.num_bodies, 3)
        torch.testing.assert_close(positions.reshape(-1, 3)[0], sample.positions[0, 0])
        assert rotations.shape == local.shape


def test_gradients_reach_every_joint():
    skeleton = models.skeleton("smpl")
    dofs = torch.zeros(skeleton.num_dofs, requires_grad=True)
    positions, _ = forward_kinematics(skeleton, torch.zeros(3), skeleton.local_rotations_from_dofs(dofs))
    (gradient,) = torch.autograd.grad(positions.square().sum(), dofs)
    assert gradient.isfinite().all()
    inner = [d for d, b in enumerate(skeleton.dof_bodies) if b in skeleton.parents]
    assert (gradient[inner].reshape(-1, 3).norm(dim=-1) > 0).all()


@pytest.mark.parametrize("backend", ["eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_kinematics_compile_into_one_graph(backend: str):
    skeleton = Skeleton.from_mjcf(models.character_model("amp").spec())  # fresh: its tables are made while tracing

    def pose(dofs: Tensor, root_position: Tensor, root_rotation: Tensor) -> tuple[Tensor, ...]:
        local = skeleton.local_rotations_from_dofs(dofs, root_rotation)
        positions, rotations = forward_kinematics(skeleton, root_position, local)
        linear, angular = forward_velocities(skeleton, positions, rotations, root_position, root_position, dofs)
        return positions, rotations, linear, angular, skeleton.dofs_from_local_rotations(local)

    arguments = torch.rand(3, skeleton.num_dofs), torch.rand(3, 3), torch.tensor([[0.0, 0.6, 0.0, 0.8]]).expand(3, 4)
    found = torch.compile(pose, backend=backend, fullgraph=True)(*arguments)
    for a, b in zip(found, pose(*arguments), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
