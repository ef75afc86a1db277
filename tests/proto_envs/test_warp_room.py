"""Room for contacts, counted by hand."""

import mujoco
import pytest

from proto_envs.robots import get_robot
from proto_envs.simulators import SimulationSettings
from proto_envs.simulators.mjcf import JointLayout, physics_spec
from proto_envs.simulators.warp_room import room_for


def room(name, **settings):
    robot, settings = get_robot(name), SimulationSettings(**settings)
    model = physics_spec(robot, settings).compile()
    return room_for(model, JointLayout.of(robot, model).bodies, settings), int(model.jnt_limited.sum())


def test_spheres_touch_once_capsules_twice_and_boxes_four_times():
    model = physics_spec(get_robot("AMP"), SimulationSettings()).compile()
    kinds = [mujoco.mjtGeom(kind).name[7:] for kind, on in zip(model.geom_type, model.geom_contype, strict=True) if on]
    assert kinds.count("PLANE") == 1
    touching = kinds.count("SPHERE") + 2 * kinds.count("CAPSULE") + 4 * kinds.count("BOX")
    (contacts, rows), limits = room("AMP")
    assert (contacts, rows) == (touching, 4 * touching + limits)


@pytest.mark.parametrize(("given", "times"), [({"self_collision": True}, 2), ({}, 1)])
def test_a_large_robot_has_more_rows_than_its_share_of_the_pool(given, times):
    (contacts, rows), limits = room("SMPLX", **given)
    assert contacts == 40 * times
    assert (rows - limits) / 4 > 1.5 * contacts


def test_what_the_user_says_holds():
    (contacts, rows), limits = room("SMPLX", max_contacts=100)
    assert (contacts, rows) == (100, 400 + limits)
