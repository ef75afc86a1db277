"""Lowest points against MuJoCo's own distance to a plane."""

import mujoco
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from poselib import models
from poselib.ground import CollisionPoints, contact_labels, height_offset
from poselib.skeleton import Skeleton

SHAPES = {
    "sphere": 'type="sphere" size="0.2"',
    "capsule": 'type="capsule" size="0.1 0.3"',
    "box": 'type="box" size="0.1 0.2 0.3"',
    "mesh": 'type="mesh" mesh="wedge"',
}


def world(geoms: str) -> str:
    return f"""<mujoco><asset><mesh name="wedge" vertex="0 0 0  1 0 0  0 1 0  0 0 1  1 1 0.5"/></asset>
      <worldbody><geom name="floor" type="plane" size="0 0 1"/>
      <body name="a"><freejoint/>{geoms}<body name="ghost" pos="0 0 1"/></body></worldbody></mujoco>"""


def lowest_by_mujoco(model: mujoco.MjModel, data: mujoco.MjData, names: tuple[str, ...]) -> np.ndarray:
    """Signed distance of each body's nearest collision geom to the floor, by MuJoCo's collision code."""
    floor = next(g for g in range(model.ngeom) if model.geom_type[g] == mujoco.mjtGeom.mjGEOM_PLANE)
    result = np.full(len(names), np.inf)
    for g in range(model.ngeom):
        name = model.body(int(model.geom_bodyid[g])).name
        if name in names and (model.geom_contype[g] or model.geom_conaffinity[g]):
            distance = mujoco.mj_geomDistance(model, data, floor, g, 100.0, None)
            result[names.index(name)] = min(result[names.index(name)], distance)
    return result


def check(spec: mujoco.MjSpec, dtype: torch.dtype, tolerance: float, height: float = 5.0) -> None:
    skeleton = Skeleton.from_mjcf(spec)
    points = CollisionPoints.from_spec(spec, skeleton)
    model = spec.compile()
    data, rng = mujoco.MjData(model), np.random.default_rng(0)
    for _ in range(6):
        data.qpos[:3] = [0.3, -0.2, height]
        data.qpos[3:7] = Rotation.random(rng=rng).as_quat(scalar_first=True)
        data.qpos[7:] = rng.uniform(-2, 2, size=model.nq - 7)
        mujoco.mj_kinematics(model, data)
        ids = [model.body(name).id for name in skeleton.body_names]
        positions = torch.tensor(data.xpos[ids], dtype=dtype)
        rotations = torch.tensor(data.xquat[ids][:, [1, 2, 3, 0]], dtype=dtype)
        found = points.lowest(positions, rotations)
        assert found.dtype == dtype
        np.testing.assert_allclose(found, lowest_by_mujoco(model, data, skeleton.body_names), atol=tolerance)


@pytest.mark.parametrize("name", sorted(models.MODELS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_built_in_characters_touch_the_floor_where_mujoco_says(name: str, dtype: torch.dtype):
    spec = models.character_model(name).spec()
    spec.worldbody.add_geom(name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=(0, 0, 1))
    check(spec, dtype, 0.3 * 0.02 if name == "sword_shield" else 1e-5)  # its shield is a cylinder


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_every_shape_in_a_turned_frame(shape: str):
    geom = f'<geom {SHAPES[shape]} pos="0.1 -0.2 0.3" euler="20 50 70"/>'
    check(mujoco.MjSpec.from_string(world(geom)), torch.float64, 1e-5)


def test_a_cylinder_is_found_to_two_percent_of_its_radius():
    check(mujoco.MjSpec.from_string(world('<geom type="cylinder" size="0.2 0.3"/>')), torch.float64, 0.2 * 0.02)


def test_geoms_that_do_not_collide_are_left_out():
    spec = mujoco.MjSpec.from_string(world('<geom size="0.1"/><geom size="9" contype="0" conaffinity="0"/>'))
    points = CollisionPoints.from_spec(spec, Skeleton.from_mjcf(spec))
    assert points.radii.tolist() == pytest.approx([0.1])
    lowest = points.lowest(torch.zeros(2, 3, 2, 3), torch.tensor([0.0, 0, 0, 1]).expand(2, 3, 2, 4))
    assert lowest.shape == (2, 3, 2)
    assert torch.isinf(lowest[..., 1]).all(), "a body without geometry has no lowest point"


def test_an_unknown_shape_is_named():
    spec = mujoco.MjSpec.from_string(world('<geom name="egg" type="ellipsoid" size="0.1 0.2 0.3"/>'))
    with pytest.raises(ValueError, match=r"'egg'.*ELLIPSOID"):
        CollisionPoints.from_spec(spec, Skeleton.from_mjcf(spec))


def test_height_offset_lowers_a_clip_onto_the_floor():
    lowest = torch.tensor([[0.3, 0.2, torch.inf], [0.1, 0.5, torch.inf], [0.4, 0.25, torch.inf]])
    assert height_offset(lowest) == pytest.approx(0.1)
    assert height_offset(lowest, quantile=0.5) == pytest.approx(0.2)


def test_contacts_are_slow_and_low():
    positions = torch.tensor([[0.0, 0.0, 0.05], [0.0, 0.0, 0.05], [0.0, 0.0, 0.3]])
    velocities = torch.tensor([[0.1, 0.0, 0.0], [0.2, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert contact_labels(positions, velocities).tolist() == [True, False, False]
    assert contact_labels(positions, velocities, max_speed=0.3, max_height=1.0).all()
