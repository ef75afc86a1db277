"""Exported policies against the environments that they come from; the program beside them runs with nothing of ours."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from proto_envs.deployment import DeploymentError, PolicyGraph, deploy

pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture
def policy():
    """`policy(env)`: a small network with random weights that keeps actions small."""

    def make(env):
        observation, _ = env.reset(seed=0)
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(observation.shape[1], 16), nn.Tanh(), nn.Linear(16, env.action_space.shape[1]))
        return nn.Sequential(net, nn.Tanh()).requires_grad_(False)

    return make


ENVIRONMENTS = {
    "residual": {"motions": "walk", "task": {"action": "residual", "termination_distance": None}},
    "absolute": {"motions": "walk", "task": {"termination_distance": None}},
    "real robot": {"robot": "G1", "name": "DeployableMimic", "motions": "walk"},
    "steering": {"name": "Steering"},
    "path": {"name": "PathFollow"},
    "reach": {"name": "Reach"},
}


@pytest.mark.parametrize("keywords", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_the_graph_is_the_environment_and_its_policy(make_env, policy, keywords):
    env = make_env(1, **keywords)
    act = policy(env)
    graph = PolicyGraph(env, act)
    observation, _ = env.reset(seed=3)
    for _ in range(5):
        action, targets, setpoints = graph(*graph.inputs().values())
        torch.testing.assert_close(action, act(observation), atol=1e-5, rtol=0)
        wanted = env.components.action(action)
        torch.testing.assert_close(targets, wanted, atol=1e-5, rtol=0)
        torch.testing.assert_close(setpoints, env.simulator.setpoints(wanted), atol=1e-5, rtol=0)
        observation, *_ = env.step(action)


@pytest.mark.slow  # torch takes a minute to write a graph
def test_a_folder_runs_by_itself_and_ends_where_the_environment_does(make_env, policy, tmp_path):
    env = make_env(1, **ENVIRONMENTS["residual"])
    found = deploy(env, policy(env), tmp_path / "walk", about={"note": "test"}, seconds=0.5)
    assert found.difference <= 1e-5 and found.steps == 15
    assert "next.local_rotations" in found.inputs and not any(name.startswith("motion") for name in found.inputs)
    about = json.loads(
        onnxruntime.InferenceSession(found.folder / "policy.onnx").get_modelmeta().custom_metadata_map["proto"]
    )
    assert (
        about["joints"] == list(env.robot.skeleton.dof_names) and about["control_hz"] == 30 and about["note"] == "test"
    )
    # An interpreter that sees none of our packages: what the program imports is all that it needs.
    hide = "import runpy, sys; sys.modules.update(dict.fromkeys(['proto_envs', 'poselib', 'motionlib', 'torch']))"
    start = "sys.argv = ['run.py', '--output', 'path.npz']; runpy.run_path('run.py', run_name='__main__')"
    command = [sys.executable, "-c", f"{hide}; {start}"]
    said = subprocess.run(command, cwd=found.folder, capture_output=True, text=True, check=True).stdout
    assert "15 steps of 0.0333 s" in said
    path, recorded = np.load(found.folder / "path.npz"), np.load(found.folder / "start.npz")
    np.testing.assert_allclose(path["qpos"], recorded["qpos"], atol=1e-4)


@pytest.mark.slow
def test_what_cannot_be_exported_is_refused_and_leaves_nothing(make_env, policy, tmp_path):
    with pytest.raises(DeploymentError, match="num_envs=1"):
        PolicyGraph(make_env(2, name="Steering"), policy)
    uneven = make_env(1, name="Steering", terrain="complex")
    with pytest.raises(DeploymentError, match="uneven ground"):
        PolicyGraph(uneven, policy(uneven))
    env = make_env(1, name="Steering")

    class Drifting(nn.Module):
        """Does not do the same thing twice."""

        def forward(self, observation):
            return 0.1 * torch.rand(1, env.action_space.shape[1])

    with pytest.raises(DeploymentError, match="graph and environment differ by"):
        deploy(env, Drifting(), tmp_path / "drifting", seconds=0.2)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "there").mkdir()
    with pytest.raises(DeploymentError, match="there exists"):
        deploy(env, policy(env), tmp_path / "there")
