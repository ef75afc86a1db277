"""Isaac Lab, where it is installed; docs/isaac.md says how."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import pytest

from proto_envs.robots import get_robot
from proto_envs.simulators import SimulationSettings, UnsupportedError, make_simulator
from proto_envs.testing import check_engine

needs_isaac_lab = pytest.mark.skipif(find_spec("isaaclab") is None, reason="docs/isaac.md says how to install it")
CHECKS = (
    *("protocol", "order of bodies and joints", "state round trip", "rotation frames", "velocity frames"),
    *("joint positions", "joint velocities", "one moment", "one moment of velocities", "nothing is overwritten"),
    *("render state", "subset reset", "free fall", "pose tracking"),
)


@pytest.mark.engine
@needs_isaac_lab
def test_a_robot_of_hinges_passes_the_checks_of_what_it_offers():
    def on_cpu(robot, num_envs, settings):
        return make_simulator("isaaclab", robot, num_envs, replace(settings, device="cpu"))

    check_engine(on_cpu, get_robot("G1"), checks=CHECKS)


@pytest.mark.engine
@needs_isaac_lab
def test_ball_joints_are_refused():
    with pytest.raises(UnsupportedError, match="engine isaaclab has no ball joints"):
        make_simulator("isaaclab", get_robot("AMP"), 1, SimulationSettings(device="cpu"))


@pytest.mark.skipif(find_spec("isaaclab") is not None, reason="it is installed")
def test_without_isaac_lab_it_says_where_the_commands_are():
    with pytest.raises(ImportError, match=r"Isaac Lab 3 .* docs/isaac\.md"):
        make_simulator("isaaclab", get_robot("G1"), 1, SimulationSettings(device="cpu"))
